/* Preloaded into the program under test: the FAULT_AT-th call that changes something under
 * FAULT_DIR fails as FAULT_KIND says. The number of such calls is written to FAULT_LOG at the
 * end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENOSPC_ONCE, EIO_ONCE, FULL, SHORT, TORN };
#define FILES 65536

static const char *folder;
static size_t folder_len;
static long fault_at;
static int kind;
static atomic_long calls;
/* 1: a file or folder under FAULT_DIR; 2: the same, whose next write fails. */
static _Atomic unsigned char ours[FILES];

__attribute__((constructor)) static void start(void) {
    static const char *const names[] = {"enospc", "eio", "full", "short", "torn"};
    const char *at = getenv("FAULT_AT"), *name = getenv("FAULT_KIND");
    folder = getenv("FAULT_DIR");
    folder_len = folder ? strlen(folder) : 0;
    fault_at = at ? atol(at) : 0;
    for (int i = 0; name && i < 5; i++)
        if (!strcmp(name, names[i])) kind = i;
}

static int under(const char *path) {
    return folder && !strncmp(path, folder, folder_len);
}

static int ours_is(int fd) {
    return fd >= 0 && fd < FILES ? ours[fd] : 0;
}

/* Whether this call is to fail. */
static int strike(int *is_it) {
    long call = atomic_fetch_add(&calls, 1) + 1;
    *is_it = fault_at > 0 && call == fault_at;
    if (kind == FULL && fault_at > 0 && call >= fault_at) return 1;
    return *is_it && (kind == ENOSPC_ONCE || kind == EIO_ONCE);
}

static int fail(void) {
    errno = kind == EIO_ONCE ? EIO : ENOSPC;
    return -1;
}

#define REAL(name, type)          \
    static __typeof__(type) real; \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

static int opened(const char *path, int flags, mode_t mode) {
    typedef int (*open_t)(const char *, int, ...);
    REAL("open64", open_t);
    int is_it, here = under(path);
    if (here && flags & (O_CREAT | O_WRONLY | O_RDWR) && strike(&is_it)) return fail();
    int fd = real(path, flags, mode);
    if (fd >= 0 && fd < FILES) ours[fd] = here;
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(path, flags, mode);
}

int close(int fd) {
    REAL("close", int (*)(int));
    if (fd >= 0 && fd < FILES) ours[fd] = 0;
    return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL("write", ssize_t (*)(int, const void *, size_t));
    int is_it, state = ours_is(fd);
    if (!state) return real(fd, bytes, size);
    if (state == 2) return fail();
    if (strike(&is_it)) return fail();
    if (is_it && size > 1 && (kind == SHORT || kind == TORN)) {
        if (kind == TORN) ours[fd] = 2;
        return real(fd, bytes, size / 2);
    }
    return real(fd, bytes, size);
}

#define ON_FILE(name)                                    \
    int name(int fd) {                                   \
        REAL(#name, int (*)(int));                       \
        int is_it;                                       \
        if (ours_is(fd) && strike(&is_it)) return fail(); \
        return real(fd);                                 \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

int ftruncate64(int fd, off_t size) {
    REAL("ftruncate64", int (*)(int, off_t));
    int is_it;
    if (ours_is(fd) && strike(&is_it)) return fail();
    return real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL("rename", int (*)(const char *, const char *));
    int is_it;
    if (under(to) && strike(&is_it)) return fail();
    return real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int (*)(const char *, mode_t));
    int is_it;
    if (under(path) && strike(&is_it)) return fail();
    return real(path, mode);
}

__attribute__((destructor)) static void end(void) {
    const char *log = getenv("FAULT_LOG");
    FILE *file = log ? fopen(log, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", atomic_load(&calls));
        fclose(file);
    }
}
