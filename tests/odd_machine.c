/* Loaded before the C library (LD_PRELOAD), it makes a file system that lacks something.

   ODD_FSYNC=N: fsync of a folder fails with error N, as on shared folders of VirtualBox.
   ODD_OWNER=N: all files and folders have this owner and mode 0777, as on FAT or a CIFS share. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int shown(int (*real)(int, struct stat *), int fd, struct stat *about)
{
    int failed = real(fd, about);
    const char *owner = getenv("ODD_OWNER");
    if (!failed && owner && (S_ISREG(about->st_mode) || S_ISDIR(about->st_mode))) {
        about->st_uid = atoi(owner);
        about->st_mode |= 0777;
    }
    return failed;
}

int fstat(int fd, struct stat *about)
{
    return shown((int (*)(int, struct stat *))dlsym(RTLD_NEXT, "fstat"), fd, about);
}

int fstat64(int fd, struct stat64 *about) /* the same structure, where off_t has 64 bits */
{
    return fstat(fd, (struct stat *)about);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct stat about;
    const char *error = getenv("ODD_FSYNC");
    if (error && !fstat(fd, &about) && S_ISDIR(about.st_mode)) {
        errno = atoi(error);
        return -1;
    }
    return real(fd);
}
