/* The upper limit for the other servers: a server in C on epoll, with just enough of grupo/1 to be measured.

   epoll gather: the events of a turn are joined into one chunk, and each member gets it in one send.
   epoll each: each member gets each event in a send of its own. There is no other difference. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 65536
#define LINE 512
#define GULP 65536

typedef struct {
    char *data;
    size_t size, room;
} Bytes;

typedef struct {
    int fd;
    bool here, leaving, gone;
    char name[65];
    int rest;
    char tail[LINE];
    size_t mark;                /* bytes of this turn's events that were sent to it, or came before its JOIN */
    Bytes out;                  /* bytes that the socket did not take yet */
} Client;

static Client *client[MOST];    /* by descriptor */
static int epoll, highest;
static bool gather;
static Bytes turn_events;       /* with `gather` */
static unsigned long long seq = 1;
static char stamp[40];

static void add(Bytes *to, const char *data, size_t size) {
    if (to->size + size > to->room)
        to->data = realloc(to->data, to->room = 2 * (to->size + size));
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

static void watch(Client *c, unsigned events) {
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &(struct epoll_event){.events = events, .data.fd = c->fd});
}

/* One send; bytes that the socket does not take are buffered. */
static void send_now(Client *c, const char *data, size_t size) {
    if (c->gone) return;
    ssize_t sent = c->out.size ? 0 : send(c->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) c->gone = true;
    if (sent < 0) sent = 0;
    if (sent < (ssize_t)size) {
        if (!c->out.size) watch(c, EPOLLIN | EPOLLOUT);
        add(&c->out, data + sent, size - sent);
    }
}

static void send_rest(Client *c) {
    ssize_t sent = send(c->fd, c->out.data, c->out.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) c->gone = true;
    if (sent <= 0) return;
    memmove(c->out.data, c->out.data + sent, c->out.size -= sent);
    if (!c->out.size) watch(c, EPOLLIN);
}

/* A line for this client alone, after the events before it. */
static void tell_one(Client *c, const char *line, size_t size) {
    if (c->here && c->mark < turn_events.size)
        send_now(c, turn_events.data + c->mark, turn_events.size - c->mark);
    c->mark = turn_events.size;
    send_now(c, line, size);
}

static void tell_all(const char *event, size_t size) {
    if (gather) add(&turn_events, event, size);
    else
        for (int fd = 0; fd <= highest; fd++)
            if (client[fd] && client[fd]->here) send_now(client[fd], event, size);
}

static void end_turn(void) {
    for (int fd = 0; fd <= highest && turn_events.size; fd++) {
        Client *c = client[fd];
        if (c && c->here && c->mark < turn_events.size)
            send_now(c, turn_events.data + c->mark, turn_events.size - c->mark);
        if (c) c->mark = 0;
    }
    turn_events.size = 0;
}

static void line(Client *c, char *text, int size) {
    char out[2 * LINE];
    if (!strncmp(text, "SAY ", 4) && c->here)
        tell_all(out, sprintf(out, "MSG %llu %s %s %.400s\n", ++seq, stamp, c->name, text + 4));
    else if (!strncmp(text, "JOIN ", 5) && !c->here && sscanf(text + 5, "%64s", c->name) == 1) {
        tell_one(c, out, sprintf(out, "PENDING\nWELCOME %llu %s\n", seq, c->name));
        c->here = true;
        tell_all(out, sprintf(out, "IN %llu %s %s\n", ++seq, stamp, c->name));
    } else if (!strncmp(text, "PING ", 5))
        tell_one(c, out, sprintf(out, "PONG %.64s\n", text + 5));
    else if (size == 4 && !strcmp(text, "QUIT")) {
        tell_one(c, "BYE quit\n", 9);
        c->leaving = true;
    }
}

static void read_from(Client *c) {
    static char data[LINE + GULP];
    memcpy(data, c->tail, c->rest);
    ssize_t got = recv(c->fd, data + c->rest, GULP, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    char *start = data, *end = data + c->rest + (got > 0 ? got : 0), *newline;
    while (!c->leaving && (newline = memchr(start, '\n', end - start))) {
        *newline = 0;
        line(c, start, newline - start);
        start = newline + 1;
    }
    c->rest = end - start < LINE ? end - start : 0;
    memcpy(c->tail, start, c->rest);
    if (got <= 0 || c->leaving) c->gone = true;
}

static void drop(Client *c) {
    bool was_here = c->here;
    char out[LINE];
    client[c->fd] = NULL;
    close(c->fd);
    if (was_here) tell_all(out, sprintf(out, "OUT %llu %s %s\n", ++seq, stamp, c->name));
    free(c->out.data);
    free(c);
}

static void newcomer(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= MOST) { close(fd); return; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    client[fd] = calloc(1, sizeof(Client));
    client[fd]->fd = fd;
    if (fd > highest) highest = fd;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
    tell_one(client[fd], "HELLO grupo/1 bench\n", 20);
}

static void read_clock(void) {
    struct timespec now;
    char seconds[24];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", gmtime(&now.tv_sec));
    sprintf(stamp, "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
}

int main(int argc, char **argv) {
    if (argc != 2 || !((gather = !strcmp(argv[1], "gather")) || !strcmp(argv[1], "each"))) {
        fprintf(stderr, "usage: epoll gather|each\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) {
        perror("epoll");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[1024];
        int count = epoll_wait(epoll, events, 1024, -1);
        read_clock();
        for (int i = 0; i < count; i++) {
            Client *c = client[events[i].data.fd];
            if (events[i].data.fd == listener) newcomer(listener);
            else {
                if (events[i].events & EPOLLOUT) send_rest(c);
                if (events[i].events & ~EPOLLOUT) read_from(c);
            }
        }
        end_turn();
        for (int i = 0; i < count; i++)         /* only now: a descriptor must not be reused within a turn */
            if (events[i].data.fd != listener && client[events[i].data.fd]->gone) drop(client[events[i].data.fd]);
        end_turn();
    }
}
