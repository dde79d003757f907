/* Reports what a program does where threads and processes meet, and waits there until it may go on.

   Loaded by LD_PRELOAD into a program that is not changed otherwise. GRUPO_GATES is a folder with
   the socket `gates` (AF_UNIX, SOCK_SEQPACKET) of a controller. Each thread connects to it at its
   first event. An event is one packet, a line of JSON; then the thread waits for one byte:

       {"t": 123, "p": 9, "th": 11, "a": "thread-2", "e": "B.lock.wait", "o": "lock-1",
        "at": "server+0x1a2b"}

   B.KIND comes before a call, E.KIND after it, I.KIND alone. No event holds a message or a
   password. The byte `a` after a wait that ran into its time-out has it wait again: so a controller
   stops time. Without such a socket nothing happens at all; once the controller has gone, all gates
   are open. errno, results and cancellation points stay as they are.

   What must hold here:
   - No call of ours waits while it holds a lock, be it ours, malloc's or the loader's.
   - Between block_signals() and restore_signals() no signal handler runs: one that calls a function
     of this file finds everything in order.
   - The functions of the C library are called by REAL(), so that ours do not call each other. */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define MINE __thread __attribute__((tls_model("initial-exec"))) /* never allocates */
#define FROM __builtin_return_address(0)
#define NAME 64         /* bytes of an actor's name: "[IPv6%scope]:port" fits */
#define ABOUT 104       /* bytes of what an event is about */
#define LONG_PATH 1024
#define MODULES 64
#define DESCRIPTORS 4096 /* for so many, their clients' addresses are remembered */
#define MOST_GATES (1 << 20) /* descriptors of gates are below this number */
#define PAIRS 256       /* socketpairs that are remembered */
#define IDS (1 << 15)   /* locks, conditions, semaphores and threads of a process */

/* Newer than some C libraries; so the headers may lack them. */
void closefrom(int);
int close_range(unsigned, unsigned, int);
pid_t _Fork(void);
int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);
ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
char *__fgets_chk(char *, size_t, int, FILE *);
size_t __fread_chk(void *, size_t, size_t, size_t, FILE *);
int __vfprintf_chk(FILE *, int, const char *, va_list);
int __vdprintf_chk(int, int, const char *, va_list);
int __fprintf_chk(FILE *, int, const char *, ...);
int __printf_chk(int, const char *, ...);
int __vprintf_chk(int, const char *, va_list);
int __dprintf_chk(int, int, const char *, ...);

/* ---- The C library's own functions ----------------------------------------------------------- */

/* First what a malloc with locks of its own needs: it is called while the rest is looked for. */
#define FUNCTIONS(X) \
    X(pthread_mutex_lock) X(pthread_mutex_trylock) X(pthread_mutex_unlock) \
    X(accept) X(accept4) X(recv) X(recvfrom) X(recvmsg) X(read) X(readv) X(send) X(sendto) \
    X(sendmsg) X(write) X(writev) X(sendfile) X(pwrite) X(pwrite64) X(pwritev) X(fsync) \
    X(fdatasync) X(ftruncate) X(ftruncate64) X(rename) X(renameat) X(unlink) X(unlinkat) \
    X(__read_chk) X(__recv_chk) X(__recvfrom_chk) X(eventfd_read) X(eventfd_write) X(socketpair) \
    X(fgets) X(__fgets_chk) X(fgetc) X(getc) X(getchar) X(getline) X(getdelim) X(__getdelim) \
    X(fread) X(__fread_chk) X(fputs) X(puts) X(fputc) X(putc) X(putchar) X(fwrite) X(fflush) \
    X(fclose) X(vfprintf) X(vdprintf) X(__vfprintf_chk) X(__vdprintf_chk) \
    X(poll) X(__poll_chk) X(ppoll) X(__ppoll_chk) X(select) X(pselect) X(epoll_wait) \
    X(epoll_pwait) X(epoll_pwait2) X(sigwait) X(sigwaitinfo) X(sigtimedwait) X(sigsuspend) \
    X(pause) X(pthread_mutex_timedlock) X(pthread_mutex_clocklock) X(pthread_mutex_init) \
    X(pthread_mutex_destroy) X(mtx_lock) X(mtx_trylock) X(mtx_timedlock) X(mtx_unlock) X(mtx_init) \
    X(mtx_destroy) X(pthread_rwlock_rdlock) X(pthread_rwlock_tryrdlock) \
    X(pthread_rwlock_timedrdlock) X(pthread_rwlock_clockrdlock) X(pthread_rwlock_wrlock) \
    X(pthread_rwlock_trywrlock) X(pthread_rwlock_timedwrlock) X(pthread_rwlock_clockwrlock) \
    X(pthread_rwlock_unlock) X(pthread_rwlock_init) X(pthread_rwlock_destroy) \
    X(pthread_spin_lock) X(pthread_spin_trylock) X(pthread_spin_unlock) X(pthread_spin_init) \
    X(pthread_spin_destroy) X(cnd_init) X(cnd_destroy) X(cnd_wait) X(cnd_timedwait) X(cnd_signal) \
    X(cnd_broadcast) X(sem_init) X(sem_destroy) X(sem_open) X(sem_close) X(sem_wait) \
    X(sem_timedwait) X(sem_clockwait) X(sem_trywait) X(sem_post) X(semop) \
    X(semtimedop) X(msgsnd) X(msgrcv) X(mq_send) X(mq_timedsend) X(mq_receive) X(mq_timedreceive) \
    X(pthread_barrier_wait) X(pthread_barrier_init) X(pthread_barrier_destroy) X(pthread_create) \
    X(pthread_join) X(pthread_timedjoin_np) X(pthread_clockjoin_np) X(thrd_create) X(thrd_join) \
    X(fork) X(_Fork) X(wait) X(waitpid) X(wait3) X(wait4) X(waitid) X(nanosleep) \
    X(clock_nanosleep) X(usleep) X(sleep) X(thrd_sleep) X(flock) X(lockf) X(lockf64) X(fcntl) \
    X(fcntl64) X(dup2) X(dup3) X(close) X(closefrom) X(close_range)
/* Of these the C library also has an old form, for conditions of another size. */
#define CONDITIONS(X) \
    X(pthread_cond_init) X(pthread_cond_destroy) X(pthread_cond_wait) X(pthread_cond_timedwait) \
    X(pthread_cond_clockwait) X(pthread_cond_signal) X(pthread_cond_broadcast)

#define DECLARED(name) __typeof__(name) *name;
static struct { FUNCTIONS(DECLARED) CONDITIONS(DECLARED) } real;
static int found;
static MINE int finds;  /* this thread looks for them now */

/* The new form of a function, if what was found is the C library's: a sanitizer's is not. */
static void *new_form(void *function, const char *name)
{
    Dl_info one, other;
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found && dladdr(function, &one) && dladdr(found, &other) &&
           one.dli_fbase == other.dli_fbase ? found : function;
}

static void find_functions(void)
{
#define FOUND(name) real.name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);
#define FOUND_NEW(name) \
    real.name = (__typeof__(name) *)new_form(dlsym(RTLD_NEXT, #name), #name);
    int kept = errno;
    if (finds)
        return;
    finds = 1;
    FUNCTIONS(FOUND)
    CONDITIONS(FOUND_NEW)
    finds = 0;
    __atomic_store_n(&found, 1, __ATOMIC_RELEASE);
    errno = kept;
}

/* The first call may come before begin(): from the constructor of another library. */
#define REAL(name) \
    (__atomic_load_n(&found, __ATOMIC_ACQUIRE) ? (void)0 : find_functions(), real.name)

/* ---- This process and this thread ------------------------------------------------------------ */

struct module {         /* the program itself, which is the first, or a library */
    uintptr_t start, end, base;
    int is_runtime;     /* its locks are not the program's own */
    char name[48];
};

static int controlled;  /* 0: all gates are open */
static pid_t pid;
static unsigned generation = 1; /* one more in each forked child */
static unsigned process_number; /* of a forked child among its parent's, from 1 */
static unsigned children, threads; /* made by this process so far */
static char controller[PATH_MAX]; /* the folder in which its socket is, as `gates` */
static struct module modules[MODULES];
static int module_count;
static pthread_key_t at_end;
static int opening;     /* a lock: one thread changes the limit of descriptors */
/* A bit for each descriptor: whether it is a gate. */
static unsigned long gates[MOST_GATES / (8 * sizeof(unsigned long))];

static MINE struct {
    unsigned generation; /* for which the rest holds */
    pid_t tid;
    unsigned number;    /* from 1, of all but the first thread of a process */
    int gate;           /* descriptor; -1: none yet */
    uint64_t cookie;    /* of its socket: another file may get its number */
    int is_over;        /* its last event was reported */
    char inherited[16]; /* the name that the system had for it at its start */
    char client[NAME];  /* the address of the client that it serves */
    int client_fd;
    ino_t client_inode;
    int serves_many;
    int forks;          /* it holds `opening` until it has forked */
} my;

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* All but the two that the C library needs to cancel threads and to change users. */
static uint64_t block_signals(void)
{
    uint64_t all = ~(3ULL << 31), old = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof old);
    return old;
}

static void restore_signals(uint64_t old)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof old);
}

static void lock_opening(void)
{
    while (__atomic_exchange_n(&opening, 1, __ATOMIC_ACQUIRE))
        syscall(SYS_sched_yield);
}

static void unlock_opening(void) { __atomic_store_n(&opening, 0, __ATOMIC_RELEASE); }

/* ---- Text: without malloc, and without a locale ---------------------------------------------- */

struct text { char *end, *limit; };

static void put(struct text *to, const char *text)
{
    while (*text && to->end < to->limit)
        *to->end++ = *text++;
    *to->end = '\0';
}

static void put_number(struct text *to, long long number, unsigned base)
{
    char digits[24], *start = digits + sizeof digits;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    *--start = '\0';
    do
        *--start = "0123456789abcdef"[rest % base];
    while (rest /= base);
    if (number < 0)
        *--start = '-';
    put(to, start);
}

/* The inside of a string of JSON. Others choose names of files: only plain characters stay. */
static void put_string(struct text *to, const char *text)
{
    for (; *text && to->end < to->limit; text++)
        *to->end++ = *text < ' ' || *text > '~' || strchr("\"\\", *text) ? '?' : *text;
    *to->end = '\0';
}

static struct text text_in(char *buffer, size_t size)
{
    buffer[0] = '\0';
    return (struct text){ buffer, buffer + size - 1 };
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- Places in the program ------------------------------------------------------------------- */

static int is_runtime(const char *name)
{
    static const char *const runtimes[] = { "libc.so", "libc-", "ld-", "libpthread", "libjemalloc",
        "libtcmalloc", "libmimalloc", "libasan", "libtsan", "libubsan", "libgcc_s" };
    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++)
        if (strncmp(name, runtimes[i], strlen(runtimes[i])) == 0)
            return 1;
    return 0;
}

/* Whether `info` is about a part of the program at all: one that is in memory. */
static int describe(struct module *module, const struct dl_phdr_info *info)
{
    char path[LONG_PATH] = "";
    const char *name = info->dlpi_name;
    module->base = info->dlpi_addr;
    module->start = UINTPTR_MAX, module->end = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        uintptr_t end = start + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        module->start = start < module->start ? start : module->start;
        module->end = end > module->end ? end : module->end;
    }
    if (!name[0]) { /* the program itself */
        ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
    }
    struct text text = text_in(module->name, sizeof module->name);
    put_string(&text, base_name(name[0] ? name : path));
    module->is_runtime = name[0] && is_runtime(module->name);
    return module->end > 0;
}

static int is_in(const struct module *module, uintptr_t address)
{
    return address >= module->start && address < module->end;
}

static int add_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    if (module_count < MODULES && describe(&modules[module_count], info))
        module_count++;
    return 0;
}

/* The module with this address, among those that were there at the start. */
static const struct module *known_module(uintptr_t address)
{
    for (int i = 0; i < module_count; i++)
        if (is_in(&modules[i], address))
            return &modules[i];
    return NULL;
}

struct search { uintptr_t wanted; struct module *found; };

static int compare_module(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    return describe(search->found, info) && is_in(search->found, search->wanted);
}

/* The module of a place in the code; `other` is for one that was loaded later. */
static const struct module *module_of(uintptr_t place, struct module *other)
{
    const struct module *module = known_module(place);
    if (module)
        return module;
    /* This takes a lock, but not the one that is held while a library's constructors run. */
    struct search search = { place, other };
    return dl_iterate_phdr(compare_module, &search) ? other : NULL;
}

static void put_place(struct text *to, uintptr_t place)
{
    struct module other;
    const struct module *module = module_of(place, &other);
    if (module) {
        put(to, module->name);
        put(to, "+");
    }
    put(to, "0x");
    put_number(to, place - (module ? module->base : 0), 16);
}

/* The symbols of the program itself, if it was not stripped. */
static struct {
    const ElfW(Sym) *all;
    size_t count;
    const char *names;
    size_t names_size;
} symbols;

/* Takes the table of symbols out of a program's file, which is at `start` in memory. */
static void find_symbols(const char *start, size_t size)
{
    const ElfW(Ehdr) *head = (const void *)start;
    const ElfW(Shdr) *parts = (const void *)(start + head->e_shoff);
    if (size < sizeof *head || head->e_shoff > size ||
        (size - head->e_shoff) / sizeof *parts < head->e_shnum)
        return;
    for (int i = 0; i < head->e_shnum; i++) {
        const ElfW(Shdr) *table = &parts[i], *names = &parts[table->sh_link];
        if (table->sh_type != SHT_SYMTAB || table->sh_link >= head->e_shnum ||
            table->sh_offset > size || table->sh_size > size - table->sh_offset ||
            names->sh_offset > size || names->sh_size > size - names->sh_offset ||
            !names->sh_size || start[names->sh_offset + names->sh_size - 1])
            continue;
        symbols.all = (const void *)(start + table->sh_offset);
        symbols.count = table->sh_size / sizeof *symbols.all;
        symbols.names = start + names->sh_offset;
        symbols.names_size = names->sh_size;
        return;
    }
}

static void map_symbols(void)
{
    struct stat about;
    int fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &about) == 0 && about.st_size > 0) {
        void *start = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (start != MAP_FAILED)
            find_symbols(start, about.st_size);
    }
    syscall(SYS_close, fd);
}

/* The name of a variable, NULL if it is none. */
static const char *variable(const ElfW(Sym) *symbol)
{
    int is_variable = (symbol->st_info & 15) == STT_OBJECT && symbol->st_shndx != SHN_UNDEF;
    return is_variable && symbol->st_name < symbols.names_size ? symbols.names + symbol->st_name
                                                               : NULL;
}

/* Whether another variable of the program has this name, too: one of another file, or function. */
static int is_ambiguous(const ElfW(Sym) *symbol, const char *name, size_t length)
{
    for (size_t i = 0; i < symbols.count; i++) {
        const char *other = variable(&symbols.all[i]);
        if (other && symbols.all[i].st_value != symbol->st_value &&
            strncmp(other, name, length) == 0 && (!other[length] || other[length] == '.'))
            return 1;
    }
    return 0;
}

/* The variable at an offset of the program, as the program calls it; 0: it has no name for it. */
static int put_variable(struct text *to, uintptr_t offset)
{
    for (size_t i = 0; i < symbols.count; i++) {
        const ElfW(Sym) *symbol = &symbols.all[i];
        const char *name = variable(symbol);
        if (!name || offset - symbol->st_value >= (symbol->st_size ? symbol->st_size : 1))
            continue;
        size_t length = strcspn(name, "."); /* the compiler adds .N to those of functions */
        for (size_t at = 0; at < length && to->end < to->limit; at++)
            *to->end++ = name[at];
        *to->end = '\0';
        if (is_ambiguous(symbol, name, length)) {
            put(to, "@0x");
            put_number(to, symbol->st_value, 16);
        }
        if (offset != symbol->st_value) {
            put(to, "+0x");
            put_number(to, offset - symbol->st_value, 16);
        }
        return 1;
    }
    return 0;
}

/* A variable by its name, or by its place in its module: the same in every run. 0: it is none. */
static int put_static(struct text *to, uintptr_t address)
{
    const struct module *module = known_module(address);
    if (!module)
        return 0;
    if (module != modules || !put_variable(to, address - module->base)) {
        put(to, module->name);
        put(to, "+0x");
        put_number(to, address - module->base, 16);
    }
    return 1;
}

/* Whether the call at this place is to be reported. */
static int is_watched(const void *from)
{
    struct module other;
    if (!__atomic_load_n(&controlled, __ATOMIC_RELAXED) || my.is_over)
        return 0;
    const struct module *module = module_of((uintptr_t)from, &other);
    return !module || !module->is_runtime;
}

/* ---- The gate of a thread -------------------------------------------------------------------- */

static int is_gate(int fd)
{
    const int bits = 8 * sizeof *gates;
    return fd >= 0 && fd < MOST_GATES &&
           __atomic_load_n(&gates[fd / bits], __ATOMIC_RELAXED) >> (fd % bits) & 1;
}

static void mark_gate(int fd, int is)
{
    const int bits = 8 * sizeof *gates;
    unsigned long bit = 1UL << (fd % bits);
    if (is)
        __atomic_or_fetch(&gates[fd / bits], bit, __ATOMIC_RELAXED);
    else
        __atomic_and_fetch(&gates[fd / bits], ~bit, __ATOMIC_RELAXED);
}

static void close_gate(int fd)
{
    mark_gate(fd, 0);
    syscall(SYS_close, fd);
}

/* A socket with a number that the program does not get: above its limit, or else in the upper half.
   The limit is higher only for a moment, and no child is forked meanwhile. */
static int high_socket(void)
{
    struct rlimit old, high;
    lock_opening();
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &old);
    high = old;
    high.rlim_cur = old.rlim_max < MOST_GATES ? old.rlim_max : MOST_GATES;
    if (high.rlim_cur > old.rlim_cur)
        syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &high, NULL);
    rlim_t first = high.rlim_cur > old.rlim_cur ? old.rlim_cur
                 : old.rlim_cur > 16384 ? old.rlim_cur - 8192 : old.rlim_cur / 2;
    int low = syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int fd = low < 0 ? -1 : syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, first);
    if (low >= 0)
        syscall(SYS_close, low);
    if (high.rlim_cur > old.rlim_cur)
        syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &old, NULL);
    if (fd >= MOST_GATES) {
        syscall(SYS_close, fd);
        fd = -1;
    } else if (fd >= 0)
        mark_gate(fd, 1);
    unlock_opening();
    return fd;
}

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ? 0 : cookie;
}

/* Connects a socket. A path that does not fit into a socket's name goes by way of the descriptor of
   its folder. Returns a negative number and sets errno if it cannot. */
static int connect_to_controller(int fd)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    struct text text = text_in(name.sun_path, sizeof name.sun_path);
    int folder = -1;
    if (strlen(controller) + strlen("/gates") < sizeof name.sun_path)
        put(&text, controller);
    else {
        folder = syscall(SYS_openat, AT_FDCWD, controller, O_PATH | O_DIRECTORY | O_CLOEXEC);
        put(&text, "/proc/self/fd/");
        put_number(&text, folder, 10);
    }
    put(&text, "/gates");
    int result = syscall(SYS_connect, fd, &name, sizeof name);
    int error = errno;
    if (folder >= 0)
        syscall(SYS_close, folder);
    errno = error;
    return result;
}

/* Whether this thread has a gate now. The program may have closed it behind our back. */
static int has_gate(void)
{
    if (my.gate >= 0 && cookie_of(my.gate) == my.cookie)
        return 1;
    if (my.gate >= 0)
        mark_gate(my.gate, 0); /* the number is another file's now: not ours to close */
    my.gate = my.forks ? -1 : high_socket();
    if (my.gate < 0)
        return 0; /* no descriptor is left: this event is not reported, the next one may be */
    my.cookie = cookie_of(my.gate);
    while (connect_to_controller(my.gate) < 0)
        if (errno != EINTR) {
            close_gate(my.gate);
            my.gate = -1;
            __atomic_store_n(&controlled, 0, __ATOMIC_RELAXED);
            return 0;
        }
    return 1;
}

/* Shows a line to the controller, and waits until this thread may go on. Returns the answer. */
static char pass_gate(const char *line, size_t size)
{
    char answer = 0;
    ssize_t n;
    if (!has_gate())
        return 0;
    do
        n = syscall(SYS_sendto, my.gate, line, size, MSG_NOSIGNAL, NULL, 0);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        do
            n = syscall(SYS_recvfrom, my.gate, &answer, 1, 0, NULL, NULL);
        while (n < 0 && errno == EINTR);
    if (n <= 0 && cookie_of(my.gate) == my.cookie) /* else another thread closed it */
        __atomic_store_n(&controlled, 0, __ATOMIC_RELAXED);
    return answer;
}

/* ---- Forked children, and names -------------------------------------------------------------- */

static void before_fork(void)
{
    lock_opening();
    my.forks = 1;
    children++;
}

static void in_parent(void)
{
    my.forks = 0;
    unlock_opening();
}

/* A child has copies of its parent's gates: while they are open, its parent seems to live. */
static void in_child(void)
{
    const size_t bits = 8 * sizeof *gates;
    pid = getpid();
    generation++;
    process_number = children;
    children = threads = my.forks = 0;
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++)
        for (size_t bit = 0; gates[i]; bit++)
            if (gates[i] >> bit & 1)
                close_gate(i * bits + bit);
    unlock_opening();
}

static void get_system_name(char name[16]) { syscall(SYS_prctl, PR_GET_NAME, name); }

static void know_myself(void)
{
    if (getpid() != pid)
        in_child(); /* made by a system call that no function of the C library saw */
    if (my.generation == generation)
        return;
    my.generation = generation;
    my.tid = syscall(SYS_gettid);
    my.gate = my.client_fd = -1;
    my.client[0] = '\0';
    my.serves_many = 0;
    if (my.tid == pid)
        my.number = 0;
    else if (!my.number) { /* made by the C library for itself */
        my.number = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
        pthread_setspecific(at_end, (void *)1);
    }
    if (!my.inherited[0] || my.tid == pid)
        get_system_name(my.inherited);
}

/* The name of this thread: its own, or its number among those of its process. */
static void put_name(struct text *to)
{
    char name[16] = "";
    get_system_name(name);
    if (strncmp(name, my.inherited, sizeof name) != 0)
        put_string(to, name);
    else if (my.number) {
        put(to, "thread-");
        put_number(to, my.number, 10);
    } else if (process_number) {
        put(to, "child-");
        put_number(to, process_number, 10);
    } else
        put(to, "main");
}

/* ---- Events ---------------------------------------------------------------------------------- */

struct call {
    const char *kind;
    const void *from;
    char about[ABOUT];
    char lock[40];      /* of a wait for a condition */
    int64_t time;       /* 0: now */
};

static const long YES = 1, NO = -1;

static void put_field(struct text *to, const char *name, long long number)
{
    put(to, ", \"");
    put(to, name);
    put(to, "\": ");
    put_number(to, number, 10);
}

static void put_text(struct text *to, const char *name, const char *value)
{
    put(to, ", \"");
    put(to, name);
    put(to, "\": \"");
    put_string(to, value);
    put(to, "\"");
}

static void put_event(struct text *to, const char when[2], const struct call *call, const long *n)
{
    char text[NAME + 24] = "";
    struct text name = text_in(text, sizeof text);
    put(to, "{\"t\": ");
    put_number(to, call->time ? call->time : now(), 10);
    put_field(to, "p", pid);
    put_field(to, "th", my.tid);
    if (my.client[0])
        put(&name, my.client);
    else
        put_name(&name);
    put_text(to, "a", text);
    put(to, ", \"e\": \"");
    put(to, when);
    put(to, ".");
    put(to, call->kind);
    put(to, "\"");
    put_text(to, "o", call->about);
    if (call->lock[0])
        put_text(to, "l", call->lock);
    if (n)
        put_field(to, "n", *n);
    if (call->from) {
        name = text_in(text, sizeof text);
        put_place(&name, (uintptr_t)call->from);
        put_text(to, "at", text);
    }
    put(to, "}\n");
}

/* Reports an event, waits, and returns the answer. `when` is "B", "E" or "I". */
static char report(const char when[2], const struct call *call, const long *n)
{
    char line[640], answer = 0;
    if (!__atomic_load_n(&controlled, __ATOMIC_RELAXED))
        return 0;
    int kept = errno;
    uint64_t old = block_signals();
    if (!my.is_over) {
        know_myself();
        struct text text = text_in(line, sizeof line);
        put_event(&text, when, call, n);
        answer = pass_gate(line, text.end - line);
    }
    restore_signals(old);
    errno = kept;
    return answer;
}

static void start_call(struct call *call, const char *kind, const void *from)
{
    call->kind = kind;
    call->from = from;
    call->about[0] = call->lock[0] = '\0';
    call->time = 0;
}

/* The end of a call whose result is a number; returns that. */
static long ended(const struct call *call, long result)
{
    report("E", call, &result);
    return result;
}

/* The end of a wait; returns whether it is to wait again: it timed out while time is stopped. One
   that a signal ended does not. */
static int is_again(const struct call *call, long result)
{
    int timed_out = result >= 0 || errno == EAGAIN || errno == ETIMEDOUT;
    return report("E", call, &result) == 'a' && timed_out;
}

/* The beginning of a call that may wait for `ms` at most, without end if that is negative. */
static int wait_begins(struct call *call, const char *kind, const char *about, long ms,
                       const void *from)
{
    if (!is_watched(from))
        return 0;
    start_call(call, kind, from);
    struct text text = text_in(call->about, sizeof call->about);
    put_string(&text, about);
    report("B", call, ms < 0 ? NULL : &ms);
    return 1;
}

static int begins(struct call *call, const char *kind, const char *about, const void *from)
{
    return wait_begins(call, kind, about, -1, from);
}

/* ---- Names of locks, conditions, semaphores, threads ----------------------------------------- */

enum thing { LOCK = 1, CONDITION, SEMAPHORE, BARRIER, THREAD, THINGS };
static const char *const words[] = { "", "lock-", "cond-", "sem-", "barrier-", "thread-" };

struct id { uintptr_t key; unsigned number; };

static struct id own_ids[IDS];
static unsigned own_counts[THINGS];
/* Of those that several processes share: in memory that forked children share. */
static struct shared { unsigned counts[THINGS]; struct id ids[IDS / 8]; } *shared;
/* Of those that the program gave a name: a variable's, or that for sem_open(). */
static char given_names[1024][40];
static unsigned given_count;
#define NAMED (1u << 31) /* with the number of a given name */

/* The entry of a thing. Only adds: so it needs no lock. NULL: there is none, and none was added. */
static struct id *entry_of(struct id *ids, size_t size, enum thing thing, uintptr_t address,
                           int add)
{
    uintptr_t key = address ^ (uintptr_t)thing << 60, hash = key * 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < size; i++) {
        struct id *id = &ids[((hash >> 32) + i) % size];
        uintptr_t there = __atomic_load_n(&id->key, __ATOMIC_ACQUIRE);
        if (there == 0 && add &&
            __atomic_compare_exchange_n(&id->key, &there, key, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return id;
        if (there == key)
            return id;
        if (there == 0)
            return NULL;
    }
    return NULL;
}

static struct id *shared_entry(enum thing thing, uintptr_t address, int add)
{
    size_t size = sizeof shared->ids / sizeof *shared->ids;
    return shared ? entry_of(shared->ids, size, thing, address, add) : NULL;
}

static unsigned number_in(struct id *id, unsigned *count)
{
    unsigned number = __atomic_load_n(&id->number, __ATOMIC_ACQUIRE), none = 0;
    if (number)
        return number;
    number = __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n(&id->number, &none, number, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE) ? number : none;
}

static void give_name(struct id *id, const char *name)
{
    unsigned place = __atomic_fetch_add(&given_count, 1, __ATOMIC_RELAXED);
    if (place >= sizeof given_names / sizeof *given_names)
        return;
    struct text text = text_in(given_names[place], sizeof given_names[place]);
    put_string(&text, name);
    __atomic_store_n(&id->number, place | NAMED, __ATOMIC_RELEASE);
}

/* The number of a thing of this process, which gets one if it has none. */
static unsigned own_number(enum thing thing, uintptr_t address)
{
    struct id *id = entry_of(own_ids, IDS, thing, address, 1);
    char name[sizeof given_names[0]];
    struct text text = text_in(name, sizeof name);
    if (!id)
        return 0;
    if (!__atomic_load_n(&id->number, __ATOMIC_ACQUIRE) && thing != THREAD &&
        put_static(&text, address))
        give_name(id, name);
    return number_in(id, &own_counts[thing]);
}

static void put_id(struct text *to, enum thing thing, const void *address)
{
    struct id *id = shared_entry(thing, (uintptr_t)address, 0);
    unsigned number = id ? __atomic_load_n(&id->number, __ATOMIC_ACQUIRE) : 0;
    if (number)
        put(to, "shared-");
    else
        number = own_number(thing, (uintptr_t)address);
    if (number & NAMED) {
        put(to, given_names[number & ~NAMED]);
    } else {
        put(to, words[thing]);
        put_number(to, number, 10);
    }
}

/* A thing that is made or destroyed at this address is another one than before, unless the program
   has a name for it. */
static void renew(enum thing thing, const void *address, int is_shared)
{
    if (!__atomic_load_n(&controlled, __ATOMIC_RELAXED))
        return;
    struct id *id = entry_of(own_ids, IDS, thing, (uintptr_t)address, 0);
    if (id && !(id->number & NAMED))
        __atomic_store_n(&id->number, 0, __ATOMIC_RELEASE);
    if ((id = shared_entry(thing, (uintptr_t)address, is_shared)))
        __atomic_store_n(&id->number, 0, __ATOMIC_RELEASE);
    if (id && is_shared)
        number_in(id, &shared->counts[thing]);
}

static void start_about(struct call *call, const char *kind, enum thing thing, const void *address,
                        const void *from)
{
    start_call(call, kind, from);
    struct text text = text_in(call->about, sizeof call->about);
    put_id(&text, thing, address);
}

/* ---- What a descriptor is -------------------------------------------------------------------- */

struct peer {
    ino_t inode;        /* of the socket that has this descriptor */
    pid_t accepted_by;  /* thread; 0: not known */
    char address[NAME];
};

static struct peer peers[DESCRIPTORS];
static struct { ino_t one, other; } pairs[PAIRS];
static unsigned pair_count;
static struct { dev_t device; ino_t inode; } console[3]; /* that this process got at its start */
static const char CONSOLE[] = "console"; /* the address of the owner */

static int has_address(const struct sockaddr_storage *peer, char address[NAME])
{
    const struct sockaddr_in *v4 = (const void *)peer;
    const struct sockaddr_in6 *v6 = (const void *)peer;
    char host[INET6_ADDRSTRLEN] = "";
    struct text text = text_in(address, NAME);
    if (peer->ss_family == AF_INET) {
        put(&text, inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host));
    } else if (peer->ss_family == AF_INET6) {
        put(&text, "[");
        put(&text, inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host));
        put(&text, "]");
    } else
        return 0;
    put(&text, ":");
    put_number(&text, ntohs(v4->sin_port), 10); /* at the same place in both */
    return 1;
}

/* The address of a client, also after the client has reset the connection. */
static int has_client(int fd, ino_t inode, char address[NAME])
{
    struct sockaddr_storage peer = { 0 };
    socklen_t size = sizeof peer;
    struct peer *known = fd < DESCRIPTORS ? &peers[fd] : NULL;
    if (syscall(SYS_getpeername, fd, &peer, &size) < 0) {
        if (!known || known->inode != inode || !known->address[0])
            return 0;
        memcpy(address, known->address, NAME);
        return 1;
    }
    if (!has_address(&peer, address))
        return 0;
    if (known && known->inode != inode)
        known->inode = inode, known->accepted_by = 0;
    if (known)
        memcpy(known->address, address, NAME);
    return 1;
}

static void put_pipe(struct text *to, ino_t inode)
{
    for (unsigned i = 0; i < pair_count && i < PAIRS; i++)
        if (pairs[i].other == inode)
            inode = pairs[i].one;
    put(to, "pipe:[");
    put_number(to, inode, 10);
    put(to, "]");
}

/* What the program got from the one that started it: reading is from its owner. NULL: it is not. */
static const char *kind_of_console(const struct stat *about, int writes, struct text *to)
{
    static const char *const names[] = { "stdin", "stdout", "stderr" };
    for (int i = 0; i < 3; i++)
        if (console[i].inode == about->st_ino && console[i].device == about->st_dev) {
            put(to, writes ? names[i] : CONSOLE);
            return writes ? "pipe.write" : "recv";
        }
    return NULL;
}

/* The path of an open file, or what the system calls it. */
static void path_of(int fd, char *path, size_t size)
{
    char link[32];
    struct text text = text_in(link, sizeof link);
    put(&text, "/proc/self/fd/");
    put_number(&text, fd, 10);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
    path[length > 0 ? length : 0] = '\0';
}

static int is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           (type == SOCK_STREAM || type == SOCK_SEQPACKET);
}

/* What reading from a file without a kind of its own is: a signal, a timer, a counter. */
static const char *kind_of_anonymous(int fd, int writes, struct text *about)
{
    char path[64];
    path_of(fd, path, sizeof path);
    if (!strstr(path, "[eventfd]"))
        return writes || !strstr(path, "anon_inode") ? NULL : "wait";
    put(about, "eventfd:[");
    put_number(about, fd, 10);
    put(about, "]");
    return writes ? "pipe.write" : "pipe.read";
}

/* The kind of event that reading or writing a descriptor is, NULL if it is none. */
static const char *kind_of(int fd, int writes, char about[ABOUT])
{
    struct text text = text_in(about, ABOUT);
    struct stat found;
    const char *kind;
    char path[LONG_PATH];
    if (fd < 0 || is_gate(fd) || fstat(fd, &found) < 0)
        return NULL;
    switch (found.st_mode & S_IFMT) {
    case S_IFSOCK:
        if (!is_stream(fd))
            return NULL;
        if (has_client(fd, found.st_ino, about))
            return writes ? "send" : "recv";
        /* fall through */
    case S_IFIFO:
        if ((kind = kind_of_console(&found, writes, &text)))
            return kind;
        put_pipe(&text, found.st_ino);
        return writes ? "pipe.write" : "pipe.read";
    case S_IFCHR: /* of the devices, only terminals make one wait */
        return isatty(fd) ? kind_of_console(&found, writes, &text) : NULL;
    case S_IFREG:
    case S_IFDIR:
        if (!writes || kind_of_console(&found, writes, &text))
            return NULL;
        path_of(fd, path, sizeof path);
        put_string(&text, base_name(path));
        return "keep";
    default:
        return kind_of_anonymous(fd, writes, &text);
    }
}

/* Names this thread after the client from which it receives. One that receives now from this client
   and now from that keeps its own name, as does the first thread with the console, and with those
   that it accepted. */
static void serve(int fd, const char *client)
{
    struct stat found;
    int is_first = !my.number && !process_number;
    if (my.serves_many || strcmp(my.client, client) == 0 || fstat(fd, &found) < 0)
        return;
    if (is_first && (strcmp(client, CONSOLE) == 0 ||
                     (fd < DESCRIPTORS && peers[fd].accepted_by == my.tid)))
        return;
    if (my.client[0]) {
        struct stat before;
        if (fstat(my.client_fd, &before) == 0 && before.st_ino == my.client_inode) {
            my.serves_many = 1;
            my.client[0] = '\0';
            return;
        }
    }
    my.client_fd = fd;
    my.client_inode = found.st_ino;
    struct text text = text_in(my.client, sizeof my.client);
    put(&text, client);
}

/* The beginning of a call that reads or writes a descriptor; 0: it is not reported. */
static int begins_at(struct call *call, int fd, int writes, const void *from)
{
    if (!is_watched(from))
        return 0;
    int kept = errno;
    uint64_t old = block_signals();
    know_myself();
    start_call(call, NULL, from);
    call->kind = kind_of(fd, writes, call->about);
    if (call->kind && strcmp(call->kind, "recv") == 0)
        serve(fd, call->about);
    restore_signals(old);
    errno = kept;
    if (call->kind)
        report("B", call, NULL);
    return call->kind != NULL;
}

/* ---- Sockets, pipes, files ------------------------------------------------------------------- */

/* `fd` is among the parameters. */
#define AT(type, name, writes, parameters, ...) \
    type name parameters \
    { \
        struct call call; \
        if (!begins_at(&call, fd, writes, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return ended(&call, REAL(name)(__VA_ARGS__)); \
    }

AT(ssize_t, recv, 0, (int fd, void *data, size_t size, int flags), fd, data, size, flags)
AT(ssize_t, recvfrom, 0,
   (int fd, void *data, size_t size, int flags, struct sockaddr *whom, socklen_t *length),
   fd, data, size, flags, whom, length)
AT(ssize_t, recvmsg, 0, (int fd, struct msghdr *message, int flags), fd, message, flags)
AT(ssize_t, read, 0, (int fd, void *data, size_t size), fd, data, size)
AT(ssize_t, readv, 0, (int fd, const struct iovec *pieces, int count), fd, pieces, count)
AT(ssize_t, __read_chk, 0, (int fd, void *data, size_t size, size_t room), fd, data, size, room)
AT(ssize_t, __recv_chk, 0, (int fd, void *data, size_t size, size_t room, int flags),
   fd, data, size, room, flags)
AT(ssize_t, __recvfrom_chk, 0,
   (int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *whom,
    socklen_t *length),
   fd, data, size, room, flags, whom, length)
AT(int, eventfd_read, 0, (int fd, eventfd_t *value), fd, value)

AT(ssize_t, send, 1, (int fd, const void *data, size_t size, int flags), fd, data, size, flags)
AT(ssize_t, sendto, 1,
   (int fd, const void *data, size_t size, int flags, const struct sockaddr *whom,
    socklen_t length),
   fd, data, size, flags, whom, length)
AT(ssize_t, sendmsg, 1, (int fd, const struct msghdr *message, int flags), fd, message, flags)
AT(ssize_t, write, 1, (int fd, const void *data, size_t size), fd, data, size)
AT(ssize_t, writev, 1, (int fd, const struct iovec *pieces, int count), fd, pieces, count)
AT(ssize_t, sendfile, 1, (int fd, int of, off_t *at, size_t size), fd, of, at, size)
AT(ssize_t, pwrite, 1, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
AT(ssize_t, pwrite64, 1, (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
AT(ssize_t, pwritev, 1, (int fd, const struct iovec *pieces, int count, off_t at),
   fd, pieces, count, at)
AT(int, fsync, 1, (int fd), fd)
AT(int, fdatasync, 1, (int fd), fd)
AT(int, ftruncate, 1, (int fd, off_t size), fd, size)
AT(int, ftruncate64, 1, (int fd, off64_t size), fd, size)
AT(int, eventfd_write, 1, (int fd, eventfd_t value), fd, value)

/* Named by a path. */
#define KEEPS(name, parameters, path, ...) \
    int name parameters \
    { \
        struct call call; \
        if (!begins(&call, "keep", base_name(path), FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return ended(&call, REAL(name)(__VA_ARGS__)); \
    }

KEEPS(rename, (const char *from, const char *to), to, from, to)
KEEPS(renameat, (int there, const char *from, int here, const char *to), to, there, from, here, to)
KEEPS(unlink, (const char *path), path, path)
KEEPS(unlinkat, (int there, const char *path, int flags), path, there, path, flags)

/* This thread has got a connection: so the client's address stays known. */
static void know_client(int fd)
{
    char address[NAME];
    struct stat about;
    int kept = errno;
    if (fd >= 0 && fd < DESCRIPTORS && fstat(fd, &about) == 0) {
        peers[fd].inode = 0;
        if (has_client(fd, about.st_ino, address))
            peers[fd].accepted_by = my.tid;
    }
    errno = kept;
}

#define ACCEPTS(name, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        int client; \
        if (!begins(&call, "accept", "listener", FROM)) \
            return REAL(name)(__VA_ARGS__); \
        do \
            know_client(client = REAL(name)(__VA_ARGS__)); \
        while (is_again(&call, client)); \
        return client; \
    }

ACCEPTS(accept, (int fd, struct sockaddr *address, socklen_t *length), fd, address, length)
ACCEPTS(accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags),
        fd, address, length, flags)

int socketpair(int domain, int type, int protocol, int fds[2])
{
    int result = REAL(socketpair)(domain, type, protocol, fds), kept = errno;
    struct stat one, other;
    if (result == 0 && fstat(fds[0], &one) == 0 && fstat(fds[1], &other) == 0) {
        unsigned place = __atomic_fetch_add(&pair_count, 1, __ATOMIC_RELAXED) % PAIRS;
        pairs[place].one = one.st_ino;
        pairs[place].other = other.st_ino;
    }
    errno = kept;
    return result;
}

/* ---- stdio: it calls read and write behind our back ------------------------------------------ */

static int has_buffered(FILE *file, size_t size)
{
    return (size_t)(file->_IO_read_end - file->_IO_read_ptr) >= size;
}

static int has_line(FILE *file, int stop)
{
    return memchr(file->_IO_read_ptr, stop, file->_IO_read_end - file->_IO_read_ptr) != NULL;
}

/* Whether more text makes it write: at once, at a line's end, or because its buffer is full. */
static int will_write(FILE *file, size_t more)
{
    const int unbuffered = 2; /* _IO_UNBUFFERED of glibc */
    return file->_flags & unbuffered || __flbf(file) ||
           (__fbufsize(file) && __fpending(file) + more > __fbufsize(file));
}

static int descriptor_of(FILE *file)
{
    int kept = errno, fd = fileno(file); /* which is an error of a stream in memory */
    errno = kept;
    return fd;
}

static int begins_reading(struct call *call, FILE *file, int is_there, const void *from)
{
    return !is_there && begins_at(call, descriptor_of(file), 0, from);
}

static int begins_writing(struct call *call, FILE *file, size_t more, const void *from)
{
    return will_write(file, more) && begins_at(call, descriptor_of(file), 1, from);
}

static char *got_line(const struct call *call, char *line)
{
    ended(call, line ? (long)strlen(line) : -1);
    return line;
}

static int got_character(const struct call *call, int character)
{
    ended(call, character == EOF ? -1 : 1);
    return character;
}

char *fgets(char *line, int size, FILE *file)
{
    struct call call;
    if (!begins_reading(&call, file, has_line(file, '\n'), FROM))
        return REAL(fgets)(line, size, file);
    return got_line(&call, REAL(fgets)(line, size, file));
}

char *__fgets_chk(char *line, size_t room, int size, FILE *file)
{
    struct call call;
    if (!begins_reading(&call, file, has_line(file, '\n'), FROM))
        return REAL(__fgets_chk)(line, room, size, file);
    return got_line(&call, REAL(__fgets_chk)(line, room, size, file));
}

#define READS_LINE(name, parameters, stop, ...) \
    ssize_t name parameters \
    { \
        struct call call; \
        if (!begins_reading(&call, file, has_line(file, stop), FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return ended(&call, REAL(name)(__VA_ARGS__)); \
    }

READS_LINE(getline, (char **line, size_t *size, FILE *file), '\n', line, size, file)
READS_LINE(getdelim, (char **line, size_t *size, int stop, FILE *file), stop,
           line, size, stop, file)
READS_LINE(__getdelim, (char **line, size_t *size, int stop, FILE *file), stop,
           line, size, stop, file)

#define READS_CHARACTER(name, file, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        if (!begins_reading(&call, file, has_buffered(file, 1), FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return got_character(&call, REAL(name)(__VA_ARGS__)); \
    }

#undef getc
READS_CHARACTER(fgetc, file, (FILE *file), file)
READS_CHARACTER(getc, file, (FILE *file), file)
READS_CHARACTER(getchar, stdin, (void))

size_t fread(void *data, size_t size, size_t count, FILE *file)
{
    struct call call;
    if (!begins_reading(&call, file, has_buffered(file, size * count), FROM))
        return REAL(fread)(data, size, count, file);
    return ended(&call, REAL(fread)(data, size, count, file));
}

size_t __fread_chk(void *data, size_t room, size_t size, size_t count, FILE *file)
{
    struct call call;
    if (!begins_reading(&call, file, has_buffered(file, size * count), FROM))
        return REAL(__fread_chk)(data, room, size, count, file);
    return ended(&call, REAL(__fread_chk)(data, room, size, count, file));
}

#define PUTS(type, name, file, more, parameters, ...) \
    type name parameters \
    { \
        struct call call; \
        if (!begins_writing(&call, file, more, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return ended(&call, REAL(name)(__VA_ARGS__)); \
    }

#undef putc
PUTS(int, fputs, file, strlen(text), (const char *text, FILE *file), text, file)
PUTS(int, puts, stdout, strlen(text) + 1, (const char *text), text)
PUTS(int, fputc, file, 1, (int character, FILE *file), character, file)
PUTS(int, putc, file, 1, (int character, FILE *file), character, file)
PUTS(int, putchar, stdout, 1, (int character), character)
PUTS(size_t, fwrite, file, size * count, (const void *data, size_t size, size_t count, FILE *file),
     data, size, count, file)
PUTS(int, vfprintf, file, 0, (FILE *file, const char *format, va_list values), file, format, values)
PUTS(int, __vfprintf_chk, file, 0, (FILE *file, int flag, const char *format, va_list values),
     file, flag, format, values)

/* What is formatted, and where from, goes on to the function that takes a list. */
static int formatted(FILE *file, int flag, const char *format, va_list values, const void *from)
{
    struct call call;
    int is_reported = begins_writing(&call, file, 0, from);
    int result = flag < 0 ? REAL(vfprintf)(file, format, values)
                          : REAL(__vfprintf_chk)(file, flag, format, values);
    return is_reported ? ended(&call, result) : result;
}

static int formatted_at(int fd, int flag, const char *format, va_list values, const void *from)
{
    struct call call;
    int is_reported = begins_at(&call, fd, 1, from);
    int result = flag < 0 ? REAL(vdprintf)(fd, format, values)
                          : REAL(__vdprintf_chk)(fd, flag, format, values);
    return is_reported ? ended(&call, result) : result;
}

#define FORMATS(name, by, to, flag, parameters) \
    int name parameters \
    { \
        va_list values; \
        va_start(values, format); \
        int result = by(to, flag, format, values, FROM); \
        va_end(values); \
        return result; \
    }

FORMATS(fprintf, formatted, file, -1, (FILE *file, const char *format, ...))
FORMATS(printf, formatted, stdout, -1, (const char *format, ...))
FORMATS(dprintf, formatted_at, fd, -1, (int fd, const char *format, ...))
FORMATS(__fprintf_chk, formatted, file, flag, (FILE *file, int flag, const char *format, ...))
FORMATS(__printf_chk, formatted, stdout, flag, (int flag, const char *format, ...))
FORMATS(__dprintf_chk, formatted_at, fd, flag, (int fd, int flag, const char *format, ...))

int vprintf(const char *format, va_list values)
{
    return formatted(stdout, -1, format, values, FROM);
}

int __vprintf_chk(int flag, const char *format, va_list values)
{
    return formatted(stdout, flag, format, values, FROM);
}

int vdprintf(int fd, const char *format, va_list values)
{
    return formatted_at(fd, -1, format, values, FROM);
}

int __vdprintf_chk(int fd, int flag, const char *format, va_list values)
{
    return formatted_at(fd, flag, format, values, FROM);
}

int fflush(FILE *file)
{
    struct call call;
    if (!file || !__fpending(file) || !begins_at(&call, descriptor_of(file), 1, FROM))
        return REAL(fflush)(file);
    return ended(&call, REAL(fflush)(file));
}

/* ---- Waiting for something to be ready ------------------------------------------------------- */

static long ms_of(const struct timespec *time)
{
    return time ? time->tv_sec * 1000 + time->tv_nsec / 1000000 : -1;
}

/* `n`: how much is ready, 0 if it timed out. */
#define WAITS(name, ms, n, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        int result; \
        if (!wait_begins(&call, "wait", "", ms, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        do \
            result = REAL(name)(__VA_ARGS__); \
        while (is_again(&call, n)); \
        return result; \
    }

WAITS(poll, ms, result, (struct pollfd *fds, nfds_t count, int ms), fds, count, ms)
WAITS(__poll_chk, ms, result, (struct pollfd *fds, nfds_t count, int ms, size_t room),
      fds, count, ms, room)
WAITS(ppoll, ms_of(time), result,
      (struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask),
      fds, count, time, mask)
WAITS(__ppoll_chk, ms_of(time), result,
      (struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask,
       size_t room),
      fds, count, time, mask, room)
WAITS(epoll_wait, ms, result, (int epoll, struct epoll_event *events, int count, int ms),
      epoll, events, count, ms)
WAITS(epoll_pwait, ms, result,
      (int epoll, struct epoll_event *events, int count, int ms, const sigset_t *mask),
      epoll, events, count, ms, mask)
WAITS(epoll_pwait2, ms_of(time), result,
      (int epoll, struct epoll_event *events, int count, const struct timespec *time,
       const sigset_t *mask),
      epoll, events, count, time, mask)
WAITS(sigwait, -1, result == 0 ? YES : NO, (const sigset_t *set, int *number), set, number)
WAITS(sigwaitinfo, -1, result, (const sigset_t *set, siginfo_t *about), set, about)
WAITS(sigtimedwait, ms_of(time), result < 0 && errno == EAGAIN ? 0 : result,
      (const sigset_t *set, siginfo_t *about, const struct timespec *time), set, about, time)
WAITS(sigsuspend, -1, result, (const sigset_t *mask), mask)
WAITS(pause, -1, result, (void))

/* select changes what it is given: before it waits again, that is put back. */
enum { TO_KEEP, TO_PUT_BACK };

static void copy_sets(fd_set *const sets[3], fd_set kept[3], int count, int way)
{
    size_t size = (count + 63) / 64 * 8;
    for (int i = 0; i < 3; i++)
        if (sets[i])
            memcpy(way == TO_KEEP ? &kept[i] : sets[i], way == TO_KEEP ? sets[i] : &kept[i], size);
}

#define SELECTS(name, ms, parameters, again, ...) \
    int name parameters \
    { \
        struct call call; \
        fd_set *const sets[] = { in, out, odd }; \
        fd_set kept[3]; \
        int result; \
        if (count < 0 || count > FD_SETSIZE || !wait_begins(&call, "wait", "", ms, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        copy_sets(sets, kept, count, TO_KEEP); \
        while (is_again(&call, result = REAL(name)(__VA_ARGS__))) { \
            copy_sets(sets, kept, count, TO_PUT_BACK); \
            again; \
        } \
        return result; \
    }

/* Of its time it leaves none: each new wait is a short one. */
SELECTS(select, time ? time->tv_sec * 1000 + time->tv_usec / 1000 : -1,
        (int count, fd_set *in, fd_set *out, fd_set *odd, struct timeval *time),
        if (time) time->tv_usec = 10000, count, in, out, odd, time)
SELECTS(pselect, ms_of(time),
        (int count, fd_set *in, fd_set *out, fd_set *odd, const struct timespec *time,
         const sigset_t *mask),
        , count, in, out, odd, time, mask)

/* ---- Deadlines: what is spent at a gate does not count --------------------------------------- */

struct deadline { clockid_t clock; long long left; struct timespec until; };

static long long ns_of(const struct timespec *time)
{
    return time->tv_sec * 1000000000LL + time->tv_nsec;
}

/* `until` is the program's, on this clock. */
static struct deadline deadline(clockid_t clock, const struct timespec *until)
{
    struct timespec time = { 0 };
    struct deadline deadline = { clock, 0, *until };
    if (clock_gettime(clock, &time) == 0)
        deadline.left = ns_of(until) - ns_of(&time);
    return deadline;
}

static long ms_left(const struct deadline *deadline)
{
    return deadline->left > 0 ? deadline->left / 1000000 : 0;
}

/* When it is from now on. A time that is past, or none at all, stays as it is. */
static const struct timespec *from_now(struct deadline *deadline)
{
    struct timespec time;
    int is_time = deadline->until.tv_nsec >= 0 && deadline->until.tv_nsec < 1000000000;
    if (deadline->left > 0 && is_time && clock_gettime(deadline->clock, &time) == 0) {
        long long until = deadline->left + ns_of(&time);
        deadline->until = (struct timespec){ until / 1000000000, until % 1000000000 };
    }
    return &deadline->until;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

/* Whether it takes no waiting, and changes nothing for the others: the lock is this thread's. */
static int is_mine_already(const pthread_mutex_t *lock)
{
    int kind = lock->__data.__kind & 3;
    return (kind == PTHREAD_MUTEX_RECURSIVE_NP || kind == PTHREAD_MUTEX_ERRORCHECK_NP) &&
           lock->__data.__owner == syscall(SYS_gettid);
}

static int writes_already(const pthread_rwlock_t *lock)
{
    return lock->__data.__cur_writer == syscall(SYS_gettid);
}

/* Whether it stays this thread's when it is unlocked once. */
static int is_mine_still(const pthread_mutex_t *lock)
{
    return lock->__data.__count > 1 && is_mine_already(lock);
}

static int never(const void *lock) { return 0; }

static int lock_begins(struct call *call, const void *lock, int shared, const void *from)
{
    if (!is_watched(from))
        return 0;
    start_about(call, "lock.wait", LOCK, lock, from);
    report("B", call, shared ? &YES : NULL);
    return 1;
}

static void holds(struct call *call, int shared)
{
    call->kind = "lock.hold";
    report("B", call, shared ? &YES : NULL);
}

static int lock_ends(struct call *call, int result, int shared)
{
    int has = result == 0 || result == EOWNERDEAD;
    call->time = now();
    report("E", call, has ? &YES : &NO);
    if (has)
        holds(call, shared);
    return result;
}

/* After an attempt that does not wait. */
static int lock_tried(const void *lock, int result, int shared, const void *from)
{
    struct call call;
    int64_t time = now();
    if (!is_watched(from))
        return result;
    start_about(&call, "lock.wait", LOCK, lock, from);
    call.time = time;
    if (result == 0 || result == EOWNERDEAD)
        holds(&call, shared);
    else
        report("E", &call, &NO);
    return result;
}

/* Before a release. The event comes after it, with the time before it: once it is free, another
   thread may take it sooner than this one reports. */
static int release_begins(struct call *call, const void *lock, const void *from)
{
    if (!is_watched(from))
        return 0;
    start_about(call, "lock.hold", LOCK, lock, from);
    call->time = now();
    return 1;
}

static int release_ends(struct call *call, int result)
{
    if (result == 0)
        report("E", call, NULL);
    return result;
}

#define TAKES(name, is_mine, shared, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        if (is_mine((void *)lock) || !lock_begins(&call, (void *)lock, shared, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return lock_ends(&call, REAL(name)(__VA_ARGS__), shared); \
    }
#define TAKES_UNTIL(name, is_mine, shared, clock, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        struct deadline limit = deadline(clock, until); \
        if (is_mine((void *)lock) || !lock_begins(&call, (void *)lock, shared, FROM)) \
            return REAL(name)(__VA_ARGS__, until); \
        return lock_ends(&call, REAL(name)(__VA_ARGS__, from_now(&limit)), shared); \
    }
#define TRIES(name, is_mine, shared, type) \
    int name(type *lock) \
    { \
        if (is_mine((void *)lock)) \
            return REAL(name)(lock); \
        return lock_tried((void *)lock, REAL(name)(lock), shared, FROM); \
    }
#define FREES(name, is_mine_still, type) \
    int name(type *lock) \
    { \
        struct call call; \
        if (is_mine_still((void *)lock) || !release_begins(&call, (void *)lock, FROM)) \
            return REAL(name)(lock); \
        return release_ends(&call, REAL(name)(lock)); \
    }

TAKES(pthread_mutex_lock, is_mine_already, 0, (pthread_mutex_t *lock), lock)
TAKES(mtx_lock, is_mine_already, 0, (mtx_t *lock), lock)
TAKES_UNTIL(pthread_mutex_timedlock, is_mine_already, 0, CLOCK_REALTIME,
            (pthread_mutex_t *lock, const struct timespec *until), lock)
TAKES_UNTIL(pthread_mutex_clocklock, is_mine_already, 0, clock,
            (pthread_mutex_t *lock, clockid_t clock, const struct timespec *until), lock, clock)
TAKES_UNTIL(mtx_timedlock, is_mine_already, 0, CLOCK_REALTIME,
            (mtx_t *lock, const struct timespec *until), lock)
TRIES(pthread_mutex_trylock, is_mine_already, 0, pthread_mutex_t)
TRIES(mtx_trylock, is_mine_already, 0, mtx_t)
FREES(pthread_mutex_unlock, is_mine_still, pthread_mutex_t)
FREES(mtx_unlock, is_mine_still, mtx_t)

#define RWLOCK (pthread_rwlock_t *lock, const struct timespec *until)
#define RWLOCK_BY_CLOCK (pthread_rwlock_t *lock, clockid_t clock, const struct timespec *until)
TAKES(pthread_rwlock_rdlock, writes_already, 1, (pthread_rwlock_t *lock), lock)
TAKES(pthread_rwlock_wrlock, writes_already, 0, (pthread_rwlock_t *lock), lock)
TAKES_UNTIL(pthread_rwlock_timedrdlock, writes_already, 1, CLOCK_REALTIME, RWLOCK, lock)
TAKES_UNTIL(pthread_rwlock_timedwrlock, writes_already, 0, CLOCK_REALTIME, RWLOCK, lock)
TAKES_UNTIL(pthread_rwlock_clockrdlock, writes_already, 1, clock, RWLOCK_BY_CLOCK, lock, clock)
TAKES_UNTIL(pthread_rwlock_clockwrlock, writes_already, 0, clock, RWLOCK_BY_CLOCK, lock, clock)
TRIES(pthread_rwlock_tryrdlock, never, 1, pthread_rwlock_t)
TRIES(pthread_rwlock_trywrlock, never, 0, pthread_rwlock_t)
FREES(pthread_rwlock_unlock, never, pthread_rwlock_t)

TAKES(pthread_spin_lock, never, 0, (pthread_spinlock_t *lock), lock)
TRIES(pthread_spin_trylock, never, 0, pthread_spinlock_t)
FREES(pthread_spin_unlock, never, pthread_spinlock_t)

int pthread_mutex_init(pthread_mutex_t *lock, const pthread_mutexattr_t *attributes)
{
    int is_shared = 0;
    if (attributes)
        pthread_mutexattr_getpshared(attributes, &is_shared);
    renew(LOCK, lock, is_shared);
    return REAL(pthread_mutex_init)(lock, attributes);
}

int pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes)
{
    int is_shared = 0;
    if (attributes)
        pthread_rwlockattr_getpshared(attributes, &is_shared);
    renew(LOCK, lock, is_shared);
    return REAL(pthread_rwlock_init)(lock, attributes);
}

int pthread_spin_init(pthread_spinlock_t *lock, int is_shared)
{
    renew(LOCK, (void *)lock, is_shared);
    return REAL(pthread_spin_init)(lock, is_shared);
}

int mtx_init(mtx_t *lock, int type)
{
    renew(LOCK, lock, 0);
    return REAL(mtx_init)(lock, type);
}

#define DESTROYS(type, name, thing, what) \
    type name(what *it) \
    { \
        renew(thing, (void *)it, 0); \
        return REAL(name)(it); \
    }

DESTROYS(int, pthread_mutex_destroy, LOCK, pthread_mutex_t)
DESTROYS(int, pthread_rwlock_destroy, LOCK, pthread_rwlock_t)
DESTROYS(int, pthread_spin_destroy, LOCK, pthread_spinlock_t)
DESTROYS(void, mtx_destroy, LOCK, mtx_t)

/* ---- Locks on files: what closes a file frees them ------------------------------------------- */

enum { BY_FLOCK = 1, BY_FCNTL = 2 };
static unsigned char file_locks[DESCRIPTORS]; /* by descriptor */

/* What a lock on a file is called; 0: the call is not reported. */
static int names_file_lock(struct call *call, int fd, int by, const void *from)
{
    char path[LONG_PATH];
    if (!is_watched(from) || fd < 0 || fd >= DESCRIPTORS || is_gate(fd))
        return 0;
    int kept = errno;
    start_call(call, "lock.wait", from);
    struct text text = text_in(call->about, sizeof call->about);
    path_of(fd, path, sizeof path);
    put(&text, by == BY_FLOCK ? "flock:" : "fcntl:");
    put_string(&text, base_name(path));
    errno = kept;
    return 1;
}

/* Before a lock of a file is freed, if it has this one. */
static int file_release_begins(struct call *call, int fd, int by, const void *from)
{
    if (fd < 0 || fd >= DESCRIPTORS || !(file_locks[fd] & by))
        return 0;
    file_locks[fd] &= ~by;
    if (!names_file_lock(call, fd, by, from))
        return 0;
    call->kind = "lock.hold";
    call->time = now();
    return 1;
}

struct releases { struct call flock, fcntl; int of_flock, of_fcntl; };

static void closing(struct releases *all, int fd, const void *from)
{
    all->of_flock = file_release_begins(&all->flock, fd, BY_FLOCK, from);
    all->of_fcntl = file_release_begins(&all->fcntl, fd, BY_FCNTL, from);
}

static int closed(struct releases *all, int result)
{
    if (all->of_flock)
        release_ends(&all->flock, result);
    if (all->of_fcntl)
        release_ends(&all->fcntl, result);
    return result;
}

enum how { WAITING, TRYING, RELEASING };

/* Whether a lock of a file begins that is to be reported at its end, too. */
static int file_lock_begins(struct call *call, int fd, int by, enum how how, int shared,
                            const void *from)
{
    if (how == RELEASING)
        return file_release_begins(call, fd, by, from);
    if (fd < 0 || fd >= DESCRIPTORS || file_locks[fd] & by || !names_file_lock(call, fd, by, from))
        return 0; /* one that it has already only changes */
    if (how == WAITING)
        report("B", call, shared ? &YES : NULL);
    return 1;
}

static int file_lock_ends(struct call *call, int fd, int by, enum how how, int shared, int result)
{
    int kept = errno;
    if (how == RELEASING)
        release_ends(call, result);
    else {
        if (result == 0)
            file_locks[fd] |= by;
        call->time = now();
        if (how == WAITING || result != 0)
            report("E", call, result == 0 ? &YES : &NO);
        if (result == 0)
            holds(call, shared);
    }
    errno = kept;
    return result;
}

int flock(int fd, int operation)
{
    struct call call;
    enum how how = operation & LOCK_UN ? RELEASING : operation & LOCK_NB ? TRYING : WAITING;
    int shared = operation & LOCK_SH;
    if (!file_lock_begins(&call, fd, BY_FLOCK, how, shared, FROM))
        return REAL(flock)(fd, operation);
    return file_lock_ends(&call, fd, BY_FLOCK, how, shared, REAL(flock)(fd, operation));
}

#define LOCKF(name, offset) \
    int name(int fd, int operation, offset size) \
    { \
        struct call call; \
        enum how how = operation == F_ULOCK ? RELEASING : operation == F_TLOCK ? TRYING : WAITING; \
        if (operation == F_TEST || !file_lock_begins(&call, fd, BY_FCNTL, how, 0, FROM)) \
            return REAL(name)(fd, operation, size); \
        return file_lock_ends(&call, fd, BY_FCNTL, how, 0, REAL(name)(fd, operation, size)); \
    }

LOCKF(lockf, off_t)
LOCKF(lockf64, off64_t)

static int locks_file(int command)
{
    return command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||
           command == F_OFD_SETLKW;
}

#define FCNTL(name) \
    int name(int fd, int command, ...) \
    { \
        struct call call; \
        va_list values; \
        va_start(values, command); \
        void *value = va_arg(values, void *); \
        va_end(values); \
        if (!locks_file(command)) \
            return REAL(name)(fd, command, value); \
        int type = ((struct flock *)value)->l_type, shared = type == F_RDLCK; \
        enum how how = type == F_UNLCK ? RELEASING \
                     : command == F_SETLK || command == F_OFD_SETLK ? TRYING : WAITING; \
        if (!file_lock_begins(&call, fd, BY_FCNTL, how, shared, FROM)) \
            return REAL(name)(fd, command, value); \
        return file_lock_ends(&call, fd, BY_FCNTL, how, shared, REAL(name)(fd, command, value)); \
    }

FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- Conditions ------------------------------------------------------------------------------ */

static int condition_begins(struct call *call, const void *condition, const void *lock,
                            int is_timed, const void *from)
{
    if (!is_watched(from))
        return 0;
    start_about(call, "cond.wait", CONDITION, condition, from);
    struct text text = text_in(call->lock, sizeof call->lock);
    put_id(&text, LOCK, lock);
    report("B", call, is_timed ? &YES : NULL);
    return 1;
}

/* When the wait ends, also because the thread is cancelled: it holds the lock again. */
static void condition_cut(struct call **call)
{
    if (*call)
        report("E", *call, NULL);
}

/* A thread that was woken gives the lock up again, and waits for it as all others do. So another
   one can come first, which without that is a matter of luck. */
#define TAKE_AGAIN(call, lock, take, free) \
    if (__atomic_load_n(&controlled, __ATOMIC_RELAXED) && REAL(free)(lock) == 0) { \
        struct call again = call; \
        again.kind = "lock.wait"; \
        memcpy(again.about, call.lock, sizeof call.lock); \
        again.lock[0] = '\0'; \
        report("B", &again, NULL); \
        REAL(take)(lock); \
        report("E", &again, &YES); \
    }

/* A wait that timed out while time is stopped begins again, without another event. */
#define WAITS_FOR(name, is_timed, time_out, limits, take, free, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        limits; \
        if (!condition_begins(&call, condition, lock, is_timed, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        struct call *unfinished __attribute__((cleanup(condition_cut))) = &call; \
        int result; \
        do \
            result = REAL(name)(__VA_ARGS__); \
        while (result == time_out && report("E", &call, &NO) == 'a'); \
        unfinished = NULL; \
        if (result == 0) \
            TAKE_AGAIN(call, lock, take, free) \
        if (result != time_out) \
            report("E", &call, &YES); \
        return result; \
    }

/* By which clock a condition's deadlines go: that is set when it is made. */
static clockid_t clock_of(const pthread_cond_t *condition)
{
    return condition->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

WAITS_FOR(pthread_cond_wait, 0, ETIMEDOUT, , pthread_mutex_lock, pthread_mutex_unlock,
          (pthread_cond_t *condition, pthread_mutex_t *lock), condition, lock)
WAITS_FOR(pthread_cond_timedwait, 1, ETIMEDOUT,
          struct deadline limit = deadline(clock_of(condition), until),
          pthread_mutex_lock, pthread_mutex_unlock,
          (pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until),
          condition, lock, from_now(&limit))
WAITS_FOR(pthread_cond_clockwait, 1, ETIMEDOUT, struct deadline limit = deadline(clock, until),
          pthread_mutex_lock, pthread_mutex_unlock,
          (pthread_cond_t *condition, pthread_mutex_t *lock, clockid_t clock,
           const struct timespec *until),
          condition, lock, clock, from_now(&limit))
WAITS_FOR(cnd_wait, 0, thrd_timedout, , mtx_lock, mtx_unlock,
          (cnd_t *condition, mtx_t *lock), condition, lock)
WAITS_FOR(cnd_timedwait, 1, thrd_timedout, struct deadline limit = deadline(CLOCK_REALTIME, until),
          mtx_lock, mtx_unlock,
          (cnd_t *condition, mtx_t *lock, const struct timespec *until),
          condition, lock, from_now(&limit))

#define WAKES(name, type, count) \
    int name(type *condition) \
    { \
        struct call call; \
        const long n = count; \
        if (is_watched(FROM)) { \
            start_about(&call, "cond.wake", CONDITION, condition, FROM); \
            report("I", &call, &n); \
        } \
        return REAL(name)(condition); \
    }

WAKES(pthread_cond_signal, pthread_cond_t, 1)
WAKES(pthread_cond_broadcast, pthread_cond_t, 0)
WAKES(cnd_signal, cnd_t, 1)
WAKES(cnd_broadcast, cnd_t, 0)

int pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    int is_shared = 0;
    if (attributes)
        pthread_condattr_getpshared(attributes, &is_shared);
    renew(CONDITION, condition, is_shared);
    return REAL(pthread_cond_init)(condition, attributes);
}

int cnd_init(cnd_t *condition)
{
    renew(CONDITION, condition, 0);
    return REAL(cnd_init)(condition);
}

DESTROYS(int, pthread_cond_destroy, CONDITION, pthread_cond_t)
DESTROYS(void, cnd_destroy, CONDITION, cnd_t)

/* ---- Semaphores, barriers, queues ------------------------------------------------------------ */

static int semaphore_begins(struct call *call, sem_t *semaphore, long ms, const void *from)
{
    if (!is_watched(from))
        return 0;
    start_about(call, "sem.wait", SEMAPHORE, semaphore, from);
    report("B", call, ms < 0 ? NULL : &ms);
    return 1;
}

static int semaphore_ends(const struct call *call, int result)
{
    report("E", call, result == 0 ? &YES : &NO);
    return result;
}

#define WAITS_SEMAPHORE(name, limits, ms, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        int result; \
        limits; \
        if (!semaphore_begins(&call, semaphore, ms, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        do \
            result = REAL(name)(__VA_ARGS__); \
        while (is_again(&call, result == 0 ? YES : NO)); \
        return result; \
    }

WAITS_SEMAPHORE(sem_wait, , -1, (sem_t *semaphore), semaphore)
WAITS_SEMAPHORE(sem_timedwait, struct deadline limit = deadline(CLOCK_REALTIME, until),
                ms_left(&limit), (sem_t *semaphore, const struct timespec *until),
                semaphore, from_now(&limit))
WAITS_SEMAPHORE(sem_clockwait, struct deadline limit = deadline(clock, until), ms_left(&limit),
                (sem_t *semaphore, clockid_t clock, const struct timespec *until),
                semaphore, clock, from_now(&limit))

int sem_trywait(sem_t *semaphore)
{
    struct call call;
    int result = REAL(sem_trywait)(semaphore);
    if (!is_watched(FROM))
        return result;
    start_about(&call, "sem.wait", SEMAPHORE, semaphore, FROM);
    return semaphore_ends(&call, result);
}

/* An event before a call that never waits. */
static void instant(const char *kind, const char *about, const void *from)
{
    struct call call;
    if (!is_watched(from))
        return;
    start_call(&call, kind, from);
    struct text text = text_in(call.about, sizeof call.about);
    put_string(&text, about);
    report("I", &call, NULL);
}

int sem_post(sem_t *semaphore)
{
    struct call call;
    if (is_watched(FROM)) {
        start_about(&call, "sem.post", SEMAPHORE, semaphore, FROM);
        report("I", &call, NULL);
    }
    return REAL(sem_post)(semaphore);
}

int sem_init(sem_t *semaphore, int is_shared, unsigned value)
{
    renew(SEMAPHORE, semaphore, is_shared);
    return REAL(sem_init)(semaphore, is_shared, value);
}

DESTROYS(int, sem_destroy, SEMAPHORE, sem_t)
DESTROYS(int, sem_close, SEMAPHORE, sem_t)

sem_t *sem_open(const char *name, int flags, ...)
{
    va_list values;
    va_start(values, flags);
    mode_t mode = flags & O_CREAT ? va_arg(values, mode_t) : 0;
    unsigned value = flags & O_CREAT ? va_arg(values, unsigned) : 0;
    va_end(values);
    sem_t *semaphore = REAL(sem_open)(name, flags, mode, value);
    if (semaphore != SEM_FAILED && __atomic_load_n(&controlled, __ATOMIC_RELAXED)) {
        struct id *id = entry_of(own_ids, IDS, SEMAPHORE, (uintptr_t)semaphore, 1);
        if (id)
            give_name(id, name);
    }
    return semaphore;
}

/* Semaphores of System V: each operation that may wait lowers one, or waits until it is 0. */
static int semop_begins(struct call *call, int set, const struct sembuf *operations, size_t count,
                        const void *from)
{
    char name[24];
    int waits = 0;
    struct text text = text_in(name, sizeof name);
    put(&text, "semaphores-");
    put_number(&text, set, 10);
    for (size_t i = 0; i < count; i++)
        waits |= operations[i].sem_op <= 0 && !(operations[i].sem_flg & IPC_NOWAIT);
    if (waits)
        return begins(call, "sem.wait", name, from);
    instant("sem.post", name, from);
    return 0;
}

int semop(int set, struct sembuf *operations, size_t count)
{
    struct call call;
    if (!semop_begins(&call, set, operations, count, FROM))
        return REAL(semop)(set, operations, count);
    return semaphore_ends(&call, REAL(semop)(set, operations, count));
}

int semtimedop(int set, struct sembuf *operations, size_t count, const struct timespec *time)
{
    struct call call;
    if (!semop_begins(&call, set, operations, count, FROM))
        return REAL(semtimedop)(set, operations, count, time);
    return semaphore_ends(&call, REAL(semtimedop)(set, operations, count, time));
}

int pthread_barrier_wait(pthread_barrier_t *barrier)
{
    struct call call;
    if (!is_watched(FROM))
        return REAL(pthread_barrier_wait)(barrier);
    start_about(&call, "sem.wait", BARRIER, barrier, FROM);
    report("B", &call, NULL);
    return ended(&call, REAL(pthread_barrier_wait)(barrier));
}

int pthread_barrier_init(pthread_barrier_t *barrier, const pthread_barrierattr_t *attributes,
                         unsigned count)
{
    int is_shared = 0;
    if (attributes)
        pthread_barrierattr_getpshared(attributes, &is_shared);
    renew(BARRIER, barrier, is_shared);
    return REAL(pthread_barrier_init)(barrier, attributes, count);
}

DESTROYS(int, pthread_barrier_destroy, BARRIER, pthread_barrier_t)

/* Queues of messages, of System V and of POSIX. */
static const char *queue_name(char name[24], const char *kind, int queue)
{
    struct text text = text_in(name, 24);
    put(&text, kind);
    put_number(&text, queue, 10);
    return name;
}

#define PUTS_IN_QUEUE(name, kind, parameters, ...) \
    int name parameters \
    { \
        char text[24]; \
        instant("queue.put", queue_name(text, kind, queue), FROM); \
        return REAL(name)(__VA_ARGS__); \
    }
#define GETS_FROM_QUEUE(name, kind, limits, ms, parameters, ...) \
    ssize_t name parameters \
    { \
        struct call call; \
        char text[24]; \
        ssize_t result; \
        limits; \
        if (!wait_begins(&call, "queue.get", queue_name(text, kind, queue), ms, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        do \
            result = REAL(name)(__VA_ARGS__); \
        while (is_again(&call, result)); \
        return result; \
    }

PUTS_IN_QUEUE(msgsnd, "messages-", (int queue, const void *data, size_t size, int flags),
              queue, data, size, flags)
GETS_FROM_QUEUE(msgrcv, "messages-", , flags & IPC_NOWAIT ? 0 : -1,
                (int queue, void *data, size_t size, long type, int flags),
                queue, data, size, type, flags)
PUTS_IN_QUEUE(mq_send, "mqueue-", (mqd_t queue, const char *data, size_t size, unsigned priority),
              queue, data, size, priority)
PUTS_IN_QUEUE(mq_timedsend, "mqueue-",
              (mqd_t queue, const char *data, size_t size, unsigned priority,
               const struct timespec *until),
              queue, data, size, priority, until)
GETS_FROM_QUEUE(mq_receive, "mqueue-", , -1,
                (mqd_t queue, char *data, size_t size, unsigned *priority),
                queue, data, size, priority)
GETS_FROM_QUEUE(mq_timedreceive, "mqueue-",
                struct deadline limit = deadline(CLOCK_REALTIME, until), ms_left(&limit),
                (mqd_t queue, char *data, size_t size, unsigned *priority,
                 const struct timespec *until),
                queue, data, size, priority, from_now(&limit))

/* ---- Threads --------------------------------------------------------------------------------- */

struct start {
    void *(*run)(void *);
    int (*run_c11)(void *);
    void *argument;
    unsigned number;
    char inherited[16];
};

static void know_thread(pthread_t thread, unsigned number)
{
    struct id *id = entry_of(own_ids, IDS, THREAD, (uintptr_t)thread, 1);
    if (id)
        __atomic_store_n(&id->number, number, __ATOMIC_RELEASE);
}

/* What the new thread needs, after an event of the one that makes it. NULL: it needs nothing. */
static struct start *thread_begins(const void *from, void *argument)
{
    struct call call;
    struct start *start = is_watched(from) ? calloc(1, sizeof *start) : NULL;
    if (!start)
        return NULL;
    start->argument = argument;
    start->number = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
    get_system_name(start->inherited);
    start_call(&call, "thread", from);
    struct text text = text_in(call.about, sizeof call.about);
    put(&text, words[THREAD]);
    put_number(&text, start->number, 10);
    report("I", &call, NULL);
    return start;
}

/* The new thread's first event. */
static struct start begin_thread(void *of)
{
    struct call call;
    struct start start = *(struct start *)of;
    free(of);
    my.number = start.number;
    memcpy(my.inherited, start.inherited, sizeof my.inherited);
    know_thread(pthread_self(), start.number);
    pthread_setspecific(at_end, (void *)1);
    start_call(&call, "begin", NULL);
    struct text text = text_in(call.about, sizeof call.about);
    put_name(&text);
    report("I", &call, NULL);
    return start;
}

static void *run_thread(void *of)
{
    struct start start = begin_thread(of);
    return start.run(start.argument);
}

static int run_c11_thread(void *of)
{
    struct start start = begin_thread(of);
    return start.run_c11(start.argument);
}

/* The last event, also of a thread that is cancelled. Other destructors may still take locks: so
   this waits for the last turn. */
static void end_thread(void *turn)
{
    struct call call;
    if ((uintptr_t)turn < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(at_end, (void *)((uintptr_t)turn + 1));
        return;
    }
    start_call(&call, "end", NULL);
    report("I", &call, NULL);
    uint64_t old = block_signals();
    my.is_over = 1;
    if (my.generation == generation && my.gate >= 0 && cookie_of(my.gate) == my.cookie)
        close_gate(my.gate);
    my.gate = -1;
    restore_signals(old);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    struct start *start = thread_begins(FROM, argument);
    if (!start)
        return REAL(pthread_create)(thread, attributes, run, argument);
    unsigned number = start->number; /* the thread frees `start` */
    start->run = run;
    int result = REAL(pthread_create)(thread, attributes, run_thread, start);
    if (result == 0)
        know_thread(*thread, number);
    else
        free(start);
    return result;
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *argument)
{
    struct start *start = thread_begins(FROM, argument);
    if (!start)
        return REAL(thrd_create)(thread, run, argument);
    unsigned number = start->number;
    start->run_c11 = run;
    int result = REAL(thrd_create)(thread, run_c11_thread, start);
    if (result == thrd_success)
        know_thread(*thread, number);
    else
        free(start);
    return result;
}

#define JOINS(name, parameters, ...) \
    int name parameters \
    { \
        struct call call; \
        if (!is_watched(FROM)) \
            return REAL(name)(__VA_ARGS__); \
        start_about(&call, "join", THREAD, (void *)thread, FROM); \
        report("B", &call, NULL); \
        int result = REAL(name)(__VA_ARGS__); \
        report("E", &call, result == 0 ? &YES : &NO); \
        return result; \
    }

JOINS(pthread_join, (pthread_t thread, void **result_of), thread, result_of)
JOINS(pthread_timedjoin_np, (pthread_t thread, void **result_of, const struct timespec *until),
      thread, result_of, until)
JOINS(pthread_clockjoin_np,
      (pthread_t thread, void **result_of, clockid_t clock, const struct timespec *until),
      thread, result_of, clock, until)
JOINS(thrd_join, (thrd_t thread, int *result_of), thread, result_of)

/* ---- Processes ------------------------------------------------------------------------------- */

static pid_t forked(pid_t (*fork_now)(void), const void *from)
{
    struct call call;
    if (!begins(&call, "fork", "", from))
        return fork_now();
    pid_t child = fork_now();
    if (child == 0) {
        know_myself();
        start_call(&call, "begin", NULL);
        struct text text = text_in(call.about, sizeof call.about);
        put_name(&text);
        report("I", &call, NULL);
    } else
        ended(&call, child);
    return child;
}

/* Without the handlers of pthread_atfork. */
static pid_t fork_plainly(void)
{
    before_fork();
    pid_t child = REAL(_Fork)();
    if (child == 0)
        in_child();
    else
        in_parent();
    return child;
}

pid_t fork(void) { return forked(REAL(fork), FROM); }
pid_t _Fork(void) { return forked(fork_plainly, FROM); }

/* A child that runs in its parent's memory would look like its parent. POSIX allows a fork here. */
pid_t vfork(void) { return forked(REAL(fork), FROM); }

static int child_begins(struct call *call, long whom, int options, const void *from)
{
    char name[24];
    struct text text = text_in(name, sizeof name);
    if (options & WNOHANG)
        return 0;
    if (whom > 0)
        put_number(&text, whom, 10);
    return begins(call, "join", name, from);
}

#define WAITS_FOR_CHILD(type, name, whom, options, parameters, ...) \
    type name parameters \
    { \
        struct call call; \
        if (!child_begins(&call, whom, options, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return ended(&call, REAL(name)(__VA_ARGS__)); \
    }

WAITS_FOR_CHILD(pid_t, wait, -1, 0, (int *status), status)
WAITS_FOR_CHILD(pid_t, waitpid, child, options, (pid_t child, int *status, int options),
                child, status, options)
WAITS_FOR_CHILD(pid_t, wait3, -1, options, (int *status, int options, struct rusage *usage),
                status, options, usage)
WAITS_FOR_CHILD(pid_t, wait4, child, options,
                (pid_t child, int *status, int options, struct rusage *usage),
                child, status, options, usage)
WAITS_FOR_CHILD(int, waitid, type == P_PID ? (long)child : -1, options,
                (idtype_t type, id_t child, siginfo_t *about, int options),
                type, child, about, options)

/* ---- Sleeping -------------------------------------------------------------------------------- */

static int sleep_begins(struct call *call, long ms, const void *from)
{
    if (!is_watched(from))
        return 0;
    start_call(call, "sleep", from);
    report("B", call, &ms);
    return 1;
}

/* How long it is until a time of this clock, or with that as a length. */
static long ms_until(clockid_t clock, int flags, const struct timespec *time)
{
    struct timespec now = { 0 };
    if (flags & TIMER_ABSTIME)
        clock_gettime(clock, &now);
    long left = ms_of(time) - ms_of(&now);
    return left > 0 ? left : 0;
}

#define SLEEPS(type, name, ms, parameters, ...) \
    type name parameters \
    { \
        struct call call; \
        if (!sleep_begins(&call, ms, FROM)) \
            return REAL(name)(__VA_ARGS__); \
        return ended(&call, REAL(name)(__VA_ARGS__)); \
    }

SLEEPS(int, nanosleep, ms_of(time), (const struct timespec *time, struct timespec *left),
       time, left)
SLEEPS(int, clock_nanosleep, ms_until(clock, flags, time),
       (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
       clock, flags, time, left)
SLEEPS(int, usleep, us / 1000, (useconds_t us), us)
SLEEPS(unsigned, sleep, seconds * 1000L, (unsigned seconds), seconds)
SLEEPS(int, thrd_sleep, ms_of(time), (const struct timespec *time, struct timespec *left),
       time, left)

/* ---- Closing: gates are not the program's to close ------------------------------------------- */

int close(int fd)
{
    struct releases releases;
    if (is_gate(fd)) {
        errno = EBADF; /* as of a descriptor that is not open */
        return -1;
    }
    closing(&releases, fd, FROM);
    return closed(&releases, REAL(close)(fd));
}

int fclose(FILE *file)
{
    struct call call;
    struct releases releases;
    int is_reported = __fpending(file) && begins_at(&call, descriptor_of(file), 1, FROM);
    closing(&releases, descriptor_of(file), FROM);
    int result = closed(&releases, REAL(fclose)(file));
    return is_reported ? ended(&call, result) : result;
}

/* Calls `close_part` for the parts of a range between which there are gates. */
static int around_gates(unsigned first, unsigned last, int flags,
                        int (*close_part)(unsigned, unsigned, int))
{
    int result = 0;
    for (unsigned fd = first; fd <= last && fd < MOST_GATES && result == 0; fd++) {
        if (!is_gate(fd))
            continue;
        if (fd > first)
            result = close_part(first, fd - 1, flags);
        first = fd + 1;
    }
    return result || first > last ? result : close_part(first, last, flags);
}

int close_range(unsigned first, unsigned last, int flags)
{
    return around_gates(first, last, flags, REAL(close_range));
}

void closefrom(int first)
{
    int kept = errno;
    if (around_gates(first < 0 ? 0 : first, ~0U, 0, REAL(close_range)) < 0)
        REAL(closefrom)(first); /* an old kernel: has_gate() sees that the gates are closed */
    errno = kept;
}

/* The program wants the number of a gate: it gets it, and the gate's thread opens another one. */
int dup2(int fd, int number)
{
    if (is_gate(number))
        mark_gate(number, 0);
    return REAL(dup2)(fd, number);
}

int dup3(int fd, int number, int flags)
{
    if (is_gate(number))
        mark_gate(number, 0);
    return REAL(dup3)(fd, number, flags);
}

/* ---- Accesses to memory: from access.c, in a program that was compiled for it ---------------- */

/* Reports an access, if other threads may share the memory. */
void grupo_access(const void *address, int writes, const void *from)
{
    struct call call;
    if (!__atomic_load_n(&threads, __ATOMIC_RELAXED) || !is_watched(from))
        return;
    start_call(&call, "access", from);
    struct text text = text_in(call.about, sizeof call.about);
    if (!put_static(&text, (uintptr_t)address)) {
        put(&text, "0x");
        put_number(&text, (uintptr_t)address, 16);
    }
    report("I", &call, &(long){ writes });
}

/* ---- The beginning --------------------------------------------------------------------------- */

/* Programs that schedule themselves, or that have gates of their own: to these it does nothing. */
static int is_foreign(void)
{
    static const char *const signs[] = { "Py_GetVersion", "rpython_startup_code",
        "napi_create_function", "JLI_Launch", "JNI_CreateJavaVM" };
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (dlsym(RTLD_DEFAULT, signs[i]))
            return 1;
    return 0;
}

static int has_controller(const char *folder)
{
    struct stat about;
    char path[PATH_MAX];
    struct text text = text_in(path, sizeof path);
    put(&text, folder);
    put(&text, "/gates");
    if (text.end == text.limit || stat(path, &about) < 0 || !S_ISSOCK(about.st_mode))
        return 0;
    text = text_in(controller, sizeof controller);
    put(&text, folder);
    return 1;
}

static void know_console(void)
{
    struct stat about;
    for (int fd = 0; fd < 3; fd++)
        if (fstat(fd, &about) == 0) {
            console[fd].device = about.st_dev;
            console[fd].inode = about.st_ino;
        }
}

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("GRUPO_GATES");
    if (!folder || !*folder || is_foreign() || !has_controller(folder))
        return;
    if (pthread_key_create(&at_end, end_thread) != 0 ||
        pthread_atfork(before_fork, in_parent, in_child) != 0)
        return;
    find_functions();
    pid = getpid();
    know_console();
    map_symbols();
    dl_iterate_phdr(add_module, NULL);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        shared = NULL;
    pthread_setspecific(at_end, (void *)1);
    __atomic_store_n(&controlled, 1, __ATOMIC_RELAXED);
}
