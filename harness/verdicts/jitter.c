/* Delays a program at random where threads and processes race: before it sends or writes, before it takes a lock, after it releases
   one. So another thread gets in between two sections under a lock, and between a check and the act that follows it.

   Loaded by LD_PRELOAD into a program that is not changed otherwise. GRUPO_JITTER is a seed: each process and thread draws its own
   chances from it. One call in 16 waits, 0 to 0.4 ms, and no thread spends more than half of its life so: a program that locks all
   day is not brought to a halt. Writes to terminals and devices are not delayed. errno, results and cancellation points stay as they are.

   GRUPO_JITTER_NO_SEMAPHORES leaves semaphores alone: Python's own locks are semaphores, and Python holds its interpreter lock
   while it posts them, so that a delay there would stop all its threads and let none in between. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define ONE_IN 16
#define MOST 400000                 /* ns */
#define MINE __thread __attribute__((tls_model("initial-exec")))       /* never allocates: safe in a signal handler */

static uint64_t seed;               /* of this process; 0: nothing is delayed */
static unsigned generation = 1;     /* one more in each forked child */
static unsigned threads, forks;
static int semaphores;              /* whether they are delayed, too */

static MINE uint64_t state;
static MINE unsigned seeded;        /* the generation for which `state` was seeded */
static MINE int64_t born, slept;    /* ns */

static uint64_t mixed(uint64_t x)   /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void before_fork(void) { __atomic_add_fetch(&forks, 1, __ATOMIC_RELAXED); }
static void in_child(void) { seed = mixed(seed + forks) | 1; generation++; threads = 0; }

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("GRUPO_JITTER");
    if (text && *text) {
        pthread_atfork(before_fork, NULL, in_child);
        seed = mixed(strtoull(text, NULL, 10)) | 1;
        semaphores = !getenv("GRUPO_JITTER_NO_SEMAPHORES");
    }
}

static int drawn(void)
{
    if (!seed)
        return 0;
    if (seeded != generation) {
        seeded = generation;
        state = mixed(seed + __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED));
        born = now(), slept = 0;
    }
    state = mixed(state);
    return state % ONE_IN == 0;
}

static void wait_a_little(void)
{
    int kept = errno;
    int64_t start = now();
    if (slept <= (start - born) / 2) {
        struct timespec little = {0, mixed(state) % MOST};
        syscall(SYS_nanosleep, &little, NULL);          /* not nanosleep(): that is a cancellation point. A signal may cut it short */
        slept += now() - start;
    }
    errno = kept;
}

static void at_lock(void)
{
    if (drawn())
        wait_a_little();
}

static void before_send(int fd)
{
    int kept = errno;
    struct stat about;
    if (drawn() && fstat(fd, &about) == 0 && (S_ISSOCK(about.st_mode) || S_ISFIFO(about.st_mode) || S_ISREG(about.st_mode)))
        wait_a_little();
    errno = kept;
}

/* The function that this one wraps. */
#define REAL(name) \
    static __typeof__(name) *real; \
    if (!__atomic_load_n(&real, __ATOMIC_RELAXED)) \
        __atomic_store_n(&real, (__typeof__(name) *) dlsym(RTLD_NEXT, #name), __ATOMIC_RELAXED)

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    REAL(send);
    before_send(fd);
    return real(fd, data, size, flags);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length)
{
    REAL(sendto);
    before_send(fd);
    return real(fd, data, size, flags, to, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    before_send(fd);
    return real(fd, message, flags);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    before_send(fd);
    return real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    REAL(writev);
    before_send(fd);
    return real(fd, pieces, count);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    REAL(pwrite);
    before_send(fd);
    return real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    REAL(pwrite64);
    before_send(fd);
    return real(fd, data, size, at);
}

#define LOCKS(name, type) \
    int name(type *lock) \
    { \
        REAL(name); \
        at_lock(); \
        return real(lock); \
    }

#define UNLOCKS(name, type) \
    int name(type *lock) \
    { \
        REAL(name); \
        int result = real(lock); \
        at_lock(); \
        return result; \
    }

LOCKS(pthread_mutex_lock, pthread_mutex_t)
LOCKS(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCKS(pthread_rwlock_wrlock, pthread_rwlock_t)
LOCKS(mtx_lock, mtx_t)
UNLOCKS(pthread_mutex_unlock, pthread_mutex_t)
UNLOCKS(pthread_rwlock_unlock, pthread_rwlock_t)
UNLOCKS(mtx_unlock, mtx_t)

int pthread_spin_lock(pthread_spinlock_t *lock)
{
    REAL(pthread_spin_lock);
    at_lock();
    return real(lock);
}

int pthread_spin_unlock(pthread_spinlock_t *lock)
{
    REAL(pthread_spin_unlock);
    int result = real(lock);
    at_lock();
    return result;
}

int sem_wait(sem_t *semaphore)
{
    REAL(sem_wait);
    if (semaphores)
        at_lock();
    return real(semaphore);
}

int sem_post(sem_t *semaphore)
{
    REAL(sem_post);
    int result = real(semaphore);
    if (semaphores)
        at_lock();
    return result;
}

int flock(int fd, int operation)
{
    REAL(flock);
    if (operation & LOCK_UN) {
        int result = real(fd, operation);
        at_lock();
        return result;
    }
    at_lock();
    return real(fd, operation);
}
