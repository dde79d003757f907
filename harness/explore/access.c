/* Reports each access to memory that threads may share, as an event of gates.c.

   A program that is compiled with -fsanitize=thread calls a function at each access. Linked to this
   file, and not to the sanitizer's own library, it calls these:

       cc -g -fsanitize=thread -c server.c && cc -pthread server.o access.o

   Not reported: what lies on the thread's own stack, or among its own variables, and what nobody
   can change. Without gates.c all that an access costs is a look at a pointer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MINE __thread __attribute__((tls_model("initial-exec")))
#define FROM __builtin_return_address(0)
#define PARTS 64
#define OWN 4096 /* bytes around a thread's pointer: its variables, and the C library's */

static void (*report)(const void *address, int writes, const void *from); /* gates.c's */
static MINE uintptr_t stack, stack_size;
static struct { uintptr_t start, size; } constant[PARTS]; /* parts that cannot be written */
static int parts;

static int add_constant(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (int i = 0; i < info->dlpi_phnum && parts < PARTS; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && !(info->dlpi_phdr[i].p_flags & PF_W)) {
            constant[parts].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            constant[parts++].size = info->dlpi_phdr[i].p_memsz;
        }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    dl_iterate_phdr(add_constant, NULL);
    report = (__typeof__(report))dlsym(RTLD_DEFAULT, "grupo_access");
}

static void find_stack(void)
{
    pthread_attr_t attributes;
    void *start = NULL;
    size_t size = 0;
    stack_size = 1; /* this is called once, also if it fails */
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &start, &size);
        pthread_attr_destroy(&attributes);
        stack = (uintptr_t)start;
        stack_size = size;
    }
}

static int is_shared(uintptr_t address)
{
    if (!stack_size)
        find_stack();
    uintptr_t own = (uintptr_t)__builtin_thread_pointer() - OWN;
    if (address - stack < stack_size || address - own < 2 * OWN)
        return 0;
    for (int i = 0; i < parts; i++)
        if (address - constant[i].start < constant[i].size)
            return 0;
    return 1;
}

static inline void accessed(const void *address, int writes, const void *from)
{
    if (report && is_shared((uintptr_t)address))
        report(address, writes, from);
}

void __tsan_init(void) {}
void __tsan_func_entry(void *from) { (void)from; }
void __tsan_func_exit(void) {}
void __tsan_ignore_thread_begin(void) {}
void __tsan_ignore_thread_end(void) {}

#define ACCESSES(size) \
    void __tsan_read##size(void *address) { accessed(address, 0, FROM); } \
    void __tsan_write##size(void *address) { accessed(address, 1, FROM); } \
    void __tsan_unaligned_read##size(void *address) { accessed(address, 0, FROM); } \
    void __tsan_unaligned_write##size(void *address) { accessed(address, 1, FROM); } \
    void __tsan_volatile_read##size(void *address) { accessed(address, 0, FROM); } \
    void __tsan_volatile_write##size(void *address) { accessed(address, 1, FROM); } \
    void __tsan_unaligned_volatile_read##size(void *address) { accessed(address, 0, FROM); } \
    void __tsan_unaligned_volatile_write##size(void *address) { accessed(address, 1, FROM); } \
    void __tsan_read_write##size(void *address) { accessed(address, 1, FROM); } \
    void __tsan_unaligned_read_write##size(void *address) { accessed(address, 1, FROM); }

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void *address, size_t size) { (void)size; accessed(address, 0, FROM); }
void __tsan_write_range(void *address, size_t size) { (void)size; accessed(address, 1, FROM); }
void __tsan_vptr_read(void **address) { accessed(address, 0, FROM); }
void __tsan_vptr_update(void **address, void *value) { (void)value; accessed(address, 1, FROM); }

/* Clang's names for what copies memory. */
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    accessed(from, 0, FROM);
    accessed(to, 1, FROM);
    return memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size)
{
    accessed(from, 0, FROM);
    accessed(to, 1, FROM);
    return memmove(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size)
{
    accessed(to, 1, FROM);
    return memset(to, byte, size);
}

/* ---- Atomic operations: each in the strongest order, which any weaker one allows ------------- */

#define CHANGES(bits, type, name, operation) \
    type __tsan_atomic##bits##_##name(volatile type *address, type value, int order) \
    { \
        (void)order; \
        accessed((void *)address, 1, FROM); \
        return operation(address, value, __ATOMIC_SEQ_CST); \
    }
#define COMPARES(bits, type, kind) \
    int __tsan_atomic##bits##_compare_exchange_##kind(volatile type *address, type *expected, \
                                                      type value, int order, int if_not) \
    { \
        (void)order, (void)if_not; \
        accessed((void *)address, 1, FROM); \
        return __atomic_compare_exchange_n(address, expected, value, 0, __ATOMIC_SEQ_CST, \
                                           __ATOMIC_SEQ_CST); \
    }
#define ATOMIC(bits, type) \
    type __tsan_atomic##bits##_load(const volatile type *address, int order) \
    { \
        (void)order; \
        accessed((void *)address, 0, FROM); \
        return __atomic_load_n(address, __ATOMIC_SEQ_CST); \
    } \
    void __tsan_atomic##bits##_store(volatile type *address, type value, int order) \
    { \
        (void)order; \
        accessed((void *)address, 1, FROM); \
        __atomic_store_n(address, value, __ATOMIC_SEQ_CST); \
    } \
    CHANGES(bits, type, exchange, __atomic_exchange_n) \
    CHANGES(bits, type, fetch_add, __atomic_fetch_add) \
    CHANGES(bits, type, fetch_sub, __atomic_fetch_sub) \
    CHANGES(bits, type, fetch_and, __atomic_fetch_and) \
    CHANGES(bits, type, fetch_or, __atomic_fetch_or) \
    CHANGES(bits, type, fetch_xor, __atomic_fetch_xor) \
    CHANGES(bits, type, fetch_nand, __atomic_fetch_nand) \
    COMPARES(bits, type, strong) \
    COMPARES(bits, type, weak) \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *address, type expected, \
                                                    type value, int order, int if_not) \
    { \
        (void)order, (void)if_not; \
        accessed((void *)address, 1, FROM); \
        __atomic_compare_exchange_n(address, &expected, value, 0, __ATOMIC_SEQ_CST, \
                                    __ATOMIC_SEQ_CST); \
        return expected; \
    }

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order)
{
    (void)order;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
