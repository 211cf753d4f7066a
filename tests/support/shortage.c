/* A libc whose calls fail when a test wants it: preloaded into a process, it counts calls by the place that makes them.
 *
 * Each process maps the file $SHORTAGE_DIR/PID, which tests.support.shortage reads and writes. While its mode is RECORD,
 * calls are counted by place: the name of the call, the library that makes it, and the Python code that runs (the
 * innermost frame, and the innermost of zspider). While it is FAIL, the next `left` calls of one place, or of all calls
 * of a set, return with an error and do nothing.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PLACES 2000
#define TEXT 240
#define ARENA (1 << 20) /* what Python's allocator asks for: counted as a call of its own */

enum { OFF, RECORD, FAIL };

struct place {
    uint64_t key;
    uint32_t count;
    uint32_t reserved;
    char text[TEXT]; /* call TAB library TAB innermost frame TAB innermost frame of zspider */
};

struct control {
    _Atomic uint32_t mode;
    int32_t error;
    uint64_t key; /* of the place; 0: all calls whose name is in `calls`, in which the place's must be, too */
    _Atomic int32_t left;
    _Atomic uint32_t failed;
    _Atomic uint32_t lock;
    _Atomic uint32_t places;
    char calls[256]; /* " open socket " */
    struct place place[PLACES];
};

static struct control *control;
static __thread int inside;
static __thread int memory = -1; /* where this thread's Python frames are written to */
static void *(*thread_state)(void);
static void (*dump_traceback)(int, void *);

static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

/* The functions of the C library, looked up once and before anybody forks: dlsym takes a lock, which a forked child may
 * find taken for ever. */
#define DECLARE(name)                                                      \
    static __typeof__(&name) real_##name;                                  \
    __attribute__((constructor(101))) static void find_##name(void) {      \
        if (!real_##name) real_##name = (__typeof__(&name))real(#name);    \
    }                                                                      \
    static __typeof__(&name) get_##name(void) {                            \
        find_##name();                                                     \
        return real_##name;                                                \
    }
#define REAL(name) get_##name()

DECLARE(syscall)
DECLARE(mmap)
DECLARE(mmap64)
DECLARE(fork)
DECLARE(write)
DECLARE(epoll_ctl)
DECLARE(pthread_create)
DECLARE(getaddrinfo)
DECLARE(fcntl)
DECLARE(fcntl64)

static long raw(long number, long a, long b, long c) {
    return REAL(syscall)(number, a, b, c, 0L, 0L, 0L);
}

static void forget(void) { /* in a forked child: what it does before exec is not ours */
    control = NULL;
}

__attribute__((constructor)) static void begin(void) {
    const char *directory = getenv("SHORTAGE_DIR");
    char path[512];
    if (!directory) return;
    inside++;
    snprintf(path, sizeof path, "%s/%d", directory, (int)getpid());
    int fd = (int)raw(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT | O_CLOEXEC);
    if (fd >= 0) {
        fchmod(fd, 0600);
        if (raw(SYS_ftruncate, fd, sizeof(struct control), 0) == 0) {
            void *at = REAL(mmap)(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (at != MAP_FAILED) control = at;
        }
        close(fd);
    }
    /* From the start, for this process alone: "record", or "CALL KEY ERROR LEFT". */
    const char *wish = getenv("SHORTAGE_AT_ONCE");
    if (control && wish) {
        unsigned long key;
        int error, left;
        char call[40];
        if (strcmp(wish, "record") == 0) {
            control->mode = RECORD;
        } else if (sscanf(wish, "%39s %lu %d %d", call, &key, &error, &left) == 4) {
            snprintf(control->calls, sizeof control->calls, " %s ", call);
            control->key = key;
            control->error = error;
            control->left = left;
            control->mode = FAIL;
        }
        unsetenv("SHORTAGE_AT_ONCE");
    }
    pthread_atfork(NULL, NULL, forget);
    thread_state = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    dump_traceback = (void (*)(int, void *))dlsym(RTLD_DEFAULT, "_Py_DumpTraceback");
    inside--;
}

static const char *base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* One line of a traceback, `  File "PATH", line N in NAME`, as `PATH:N NAME` without the folders above zspider. */
static int frame(const char *line, const char *end, char *out, size_t size) {
    const char *path = memchr(line, '"', end - line);
    const char *quote = path ? memchr(path + 1, '"', end - path - 1) : NULL;
    const char *number = quote ? memmem(quote, end - quote, "line ", 5) : NULL;
    const char *name = number ? memmem(number, end - number, " in ", 4) : NULL;
    if (!name) return 0;
    const char *start = path + 1;
    const char *inner = memmem(start, quote - start, "/zspider/", 9);
    if (inner) {
        start = inner + 1;
    } else {
        for (const char *at = start; at < quote; at++)
            if (*at == '/' && memchr(at + 1, '/', quote - at - 1)) start = at + 1; /* folder/file */
    }
    snprintf(out, size, "%.*s:%.*s %.*s", (int)(quote - start), start, (int)(name - number - 5), number + 5,
             (int)(end - name - 4), name + 4);
    return 1;
}

static void python_frames(char *innermost, char *ours, size_t size) {
    char text[4096];
    void *state = thread_state && dump_traceback ? thread_state() : NULL;
    if (!state) return;
    if (memory < 0) memory = (int)raw(SYS_memfd_create, (long)"frames", 1, 0);
    if (memory < 0) return;
    raw(SYS_ftruncate, memory, 0, 0);
    raw(SYS_lseek, memory, 0, SEEK_SET);
    dump_traceback(memory, state);
    raw(SYS_lseek, memory, 0, SEEK_SET);
    long length = raw(SYS_read, memory, (long)text, sizeof text);
    if (length <= 0) return;
    for (char *line = text, *stop = text + length; line < stop;) {
        char *end = memchr(line, '\n', stop - line);
        if (!end) break;
        if (memmem(line, end - line, "File \"", 6)) {
            char shown[96] = "";
            if (frame(line, end, shown, sizeof shown)) {
                if (!*innermost) snprintf(innermost, size, "%s", shown);
                if (strncmp(shown, "zspider/", 8) == 0) {
                    snprintf(ours, size, "%s", shown);
                    return;
                }
            }
        }
        line = end + 1;
    }
}

static uint64_t hash(const char *text) {
    uint64_t value = 14695981039346656037u;
    for (; *text; text++) value = (value ^ (unsigned char)*text) * 1099511628211u;
    return value ? value : 1;
}

static void count(struct control *at, uint64_t key, const char *text) {
    uint32_t zero = 0;
    while (!atomic_compare_exchange_weak(&at->lock, &zero, 1)) zero = 0;
    uint32_t index, places = atomic_load(&at->places);
    for (index = 0; index < places && at->place[index].key != key; index++) {}
    if (index < PLACES) {
        if (index == places) {
            at->place[index].key = key;
            strcpy(at->place[index].text, text);
            atomic_store(&at->places, places + 1);
        }
        at->place[index].count++;
    }
    atomic_store(&at->lock, 0);
}

/* The error with which this call is to fail; 0: it is to be made. */
static int gate(const char *call, void *from) {
    struct control *at = control;
    if (!at || inside) return 0;
    uint32_t mode = atomic_load_explicit(&at->mode, memory_order_relaxed);
    if (mode == OFF) return 0;
    int error = 0, before = errno;
    char text[TEXT] = "", innermost[96] = "", ours[96] = "", wanted[40];
    snprintf(wanted, sizeof wanted, " %s ", call);
    if (mode == FAIL && !strstr(at->calls, wanted)) return 0;
    inside++;
    Dl_info library = {0};
    const char *name = dladdr(from, &library) && library.dli_fname ? base(library.dli_fname) : "?";
    if (mode == RECORD || at->key) {
        python_frames(innermost, ours, sizeof ours);
        if (!*innermost) snprintf(innermost, sizeof innermost, "+%lx", (unsigned long)((char *)from - (char *)library.dli_fbase));
        snprintf(text, sizeof text, "%s\t%s\t%s\t%s", call, name, innermost, ours);
    }
    if (mode == RECORD) {
        count(at, hash(text), text);
    } else if (!at->key || hash(text) == at->key) {
        if (atomic_fetch_sub(&at->left, 1) > 0) {
            atomic_fetch_add(&at->failed, 1);
            error = at->error;
        }
    }
    inside--;
    errno = before;
    return error;
}

#define CALLED_AS(call, failure)                                   \
    do {                                                           \
        int error_ = gate(call, __builtin_return_address(0));      \
        if (error_) {                                              \
            errno = error_;                                        \
            return failure;                                        \
        }                                                          \
    } while (0)

static mode_t mode_of(int flags, va_list *more) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(*more, mode_t) : 0;
}

#define OPEN(name)                                     \
    DECLARE(name)                                      \
    int name(const char *path, int flags, ...) {       \
        va_list more;                                  \
        va_start(more, flags);                         \
        mode_t mode = mode_of(flags, &more);           \
        va_end(more);                                  \
        CALLED_AS("open", -1);                         \
        return REAL(name)(path, flags, mode);          \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                             \
    DECLARE(name)                                                \
    int name(int folder, const char *path, int flags, ...) {     \
        va_list more;                                            \
        va_start(more, flags);                                   \
        mode_t mode = mode_of(flags, &more);                     \
        va_end(more);                                            \
        CALLED_AS("open", -1);                                   \
        return REAL(name)(folder, path, flags, mode);            \
    }
OPENAT(openat)
OPENAT(openat64)

#define WRAP(kind, failure, label, name, parameters, arguments) \
    DECLARE(name)                                               \
    kind name parameters {                                      \
        CALLED_AS(label, failure);                              \
        return REAL(name) arguments;                            \
    }

WRAP(FILE *, NULL, "open", fopen, (const char *path, const char *mode), (path, mode))
WRAP(FILE *, NULL, "open", fopen64, (const char *path, const char *mode), (path, mode))
WRAP(DIR *, NULL, "opendir", opendir, (const char *path), (path))
WRAP(int, -1, "socket", socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, -1, "socketpair", socketpair, (int domain, int type, int protocol, int pair[2]), (domain, type, protocol, pair))
WRAP(int, -1, "accept", accept, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size))
WRAP(int, -1, "accept", accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags), (fd, address, size, flags))
WRAP(int, -1, "pipe", pipe, (int pair[2]), (pair))
WRAP(int, -1, "pipe", pipe2, (int pair[2], int flags), (pair, flags))
WRAP(int, -1, "eventfd", eventfd, (unsigned int value, int flags), (value, flags))
WRAP(int, -1, "epoll_create", epoll_create, (int size), (size))
WRAP(int, -1, "epoll_create", epoll_create1, (int flags), (flags))
WRAP(int, -1, "dup", dup, (int fd), (fd))
WRAP(int, -1, "memfd_create", memfd_create, (const char *name, unsigned int flags), (name, flags))
pid_t fork(void) {
    CALLED_AS("fork", -1);
    return REAL(fork)();
}


/* A word into an eventfd needs nothing. */
ssize_t write(int fd, const void *data, size_t size) {
    if (size != sizeof(uint64_t)) CALLED_AS("write", -1);
    return REAL(write)(fd, data, size);
}

WRAP(ssize_t, -1, "write", writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRAP(ssize_t, -1, "pwrite", pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP(ssize_t, -1, "pwrite", pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP(int, -1, "fsync", fsync, (int fd), (fd))
WRAP(int, -1, "fsync", fdatasync, (int fd), (fd))
WRAP(int, -1, "ftruncate", ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, -1, "ftruncate", ftruncate64, (int fd, off64_t size), (fd, size))
WRAP(int, -1, "ftruncate", truncate, (const char *path, off_t size), (path, size))
WRAP(int, -1, "ftruncate", truncate64, (const char *path, off64_t size), (path, size))
WRAP(int, -1, "rename", rename, (const char *from, const char *to), (from, to))
WRAP(int, -1, "mkdir", mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, -1, "unlink", unlink, (const char *path), (path))
WRAP(int, -1, "bind", bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
WRAP(int, -1, "listen", listen, (int fd, int backlog), (fd, backlog))
WRAP(int, -1, "connect", connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
WRAP(ssize_t, -1, "send", send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, -1, "send", sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, -1, "send", sendto, (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length),
     (fd, data, size, flags, to, length))
WRAP(ssize_t, -1, "recv", recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
WRAP(ssize_t, -1, "recv", recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(int, -1, "poll", poll, (struct pollfd *fds, nfds_t count, int wait_ms), (fds, count, wait_ms))

/* Only what is added needs memory. */
int epoll_ctl(int set, int what, int fd, struct epoll_event *event) {
    if (what == EPOLL_CTL_ADD) CALLED_AS("epoll_ctl", -1);
    return REAL(epoll_ctl)(set, what, fd, event);
}

/* The child of vfork would return through a frame of ours that is gone by then: a fork does as well. */
pid_t vfork(void) {
    CALLED_AS("fork", -1);
    return REAL(fork)();
}

#define MMAP(name)                                                                              \
    void *name(void *at, size_t size, int protection, int flags, int fd, __typeof__((off_t)0) offset) { \
        CALLED_AS(fd == -1 && size == ARENA ? "arena" : "mmap", MAP_FAILED);                    \
        return REAL(name)(at, size, protection, flags, fd, offset);                             \
    }
MMAP(mmap)
MMAP(mmap64)

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    int error = gate("pthread_create", __builtin_return_address(0));
    return error ? error : REAL(pthread_create)(thread, attributes, run, argument);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int error = gate("getaddrinfo", __builtin_return_address(0));
    if (error) {
        errno = error;
        return error == ENOMEM ? EAI_MEMORY : EAI_SYSTEM;
    }
    return REAL(getaddrinfo)(host, service, hints, found);
}

#define FCNTL(name)                                                                   \
    int name(int fd, int what, ...) {                                                 \
        va_list more;                                                                 \
        va_start(more, what);                                                         \
        void *argument = va_arg(more, void *);                                        \
        va_end(more);                                                                 \
        if (what == F_DUPFD || what == F_DUPFD_CLOEXEC) CALLED_AS("dup", -1);         \
        return REAL(name)(fd, what, argument);                                        \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

long syscall(long number, ...) {
    va_list more;
    va_start(more, number);
    long a = va_arg(more, long), b = va_arg(more, long), c = va_arg(more, long);
    long d = va_arg(more, long), e = va_arg(more, long), f = va_arg(more, long);
    va_end(more);
    if (number == SYS_pidfd_open) CALLED_AS("pidfd_open", -1);
    if (number == SYS_memfd_create) CALLED_AS("memfd_create", -1);
    return REAL(syscall)(number, a, b, c, d, e, f);
}
