/* A group-chat server, stage 4: a process serves each client, and pipes lead to the room. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINE 512 /* bytes, with the LF */
#define MAX_TEXT 400
#define MAX_PASSWORD 128
#define MAX_NAME 32
#define MAX_ERRORS 10 /* of a client that is no member */
#define MAX_CLIENTS 2048

/* A client as the parent knows it: the process that serves it, and the pipes to it. */
struct client {
    int up, down; /* where its requests come from; where its lines go, -1 once it is closed */
    pid_t pid;
    char rest[MAX_LINE]; /* the beginning of a line whose end has not come yet */
    size_t rest_len;
    char *outbox; /* what the pipe has not accepted yet */
    size_t out_len, out_room;
    char name[MAX_NAME + 1]; /* of a member, else "" */
    int errors;
    bool over;           /* it was sent BYE */
    bool gone;           /* its child has ended */
    struct client *next; /* of those that are here */
};

static struct client *clients[MAX_CLIENTS], *here;
static int count;
static long seq = 1; /* event 1 is the group's name */
static const char *host = "127.0.0.1", *group = "grupo";
static int port = 7000;

/* The flags that every server accepts (protocol.md, section 12). */
static void arguments(int argc, char **argv)
{
    static const struct option flags[] = {
        {"host", required_argument, NULL, 'h'}, {"port", required_argument, NULL, 'p'},
        {"group", required_argument, NULL, 'g'}, {"dir", required_argument, NULL, 'd'},
        {"admit", required_argument, NULL, 'a'}, {0}};
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        if (flag == 'h')
            host = optarg;
        else if (flag == 'p')
            port = atoi(optarg);
        else if (flag == 'g')
            group = optarg;
        else if (flag == '?')
            exit(2);
    }
}

/* Returns a socket that listens, and prints where. */
static int listening(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1 || bind(listener, (void *)&at, size) < 0 ||
        listen(listener, 128) < 0) {
        perror(host);
        exit(2);
    }
    getsockname(listener, (void *)&at, &size);
    printf("listening on %s:%d\n", host, ntohs(at.sin_port));
    fflush(stdout); /* else the line waits in a buffer until the program ends */
    return listener;
}

/* Puts a line into a client's outbox. */
static void say(struct client *c, const char *form, ...)
{
    char line[MAX_LINE + 1];
    va_list values;
    va_start(values, form);
    size_t len = vsnprintf(line, MAX_LINE, form, values);
    va_end(values);
    line[len++] = '\n';
    if (c->out_len + len > c->out_room) {
        c->out_room = 2 * (c->out_len + len);
        c->outbox = realloc(c->outbox, c->out_room);
        if (!c->outbox)
            abort();
    }
    memcpy(c->outbox + c->out_len, line, len);
    c->out_len += len;
}

/* Sends an event to everyone who is here. */
static void event(const char *verb, const char *fields)
{
    char time[40];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    seq++;
    for (struct client *c = here; c; c = c->next)
        say(c, "%s %ld %s.%03ldZ %s", verb, seq, time, now.tv_nsec / 1000000, fields);
}

/* Takes a client out of the room, if it is there, and tells the others. */
static void leave(struct client *c)
{
    struct client **at = &here;
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at) {
        *at = c->next;
        event("OUT", c->name);
    }
}

/* Ends a conversation; the client may still read what was sent to it before. */
static void bye(struct client *c, const char *code)
{
    say(c, "BYE %s", code);
    c->over = true;
    leave(c);
}

static void refuse(struct client *c, const char *code)
{
    say(c, "ERR %s this request was not done", code);
    c->errors += !c->name[0];
    if (!strcmp(code, "too-long") || (c->errors == MAX_ERRORS && !c->name[0]))
        bye(c, "protocol");
}

/* Whether these bytes are UTF-8; then `is_text` says whether no character of them is forbidden. */
static bool is_utf8(const char *bytes, size_t len, bool *is_text)
{
    const unsigned char *at = (const unsigned char *)bytes, *end = at + len;
    *is_text = true;
    while (at < end) {
        unsigned one = *at++;
        int more = one < 0x80 ? 0 : one >> 5 == 6 ? 1 : one >> 4 == 14 ? 2 : one >> 3 == 30 ? 3 : -1;
        if (more < 0 || end - at < more)
            return false;
        if (more)
            one &= 0x3f >> more;
        for (int i = 0; i < more; i++, at++) {
            if (*at >> 6 != 2)
                return false;
            one = one << 6 | (*at & 0x3f);
        }
        static const unsigned least[] = {0, 0x80, 0x800, 0x10000};
        if (one < least[more] || one > 0x10ffff || (one >= 0xd800 && one <= 0xdfff))
            return false;
        if (one < 0x20 || (one >= 0x7f && one <= 0x9f) || (one >= 0x202a && one <= 0x202e) ||
            (one >= 0x2066 && one <= 0x2069) || (one >= 0xfdd0 && one <= 0xfdef) ||
            (one & 0xfffe) == 0xfffe)
            *is_text = false; /* a control, a change of the direction of writing, no character */
    }
    return true;
}

/* Whether a text is a token: 1 to 64 printable ASCII characters. NULL is none. */
static bool is_token(const char *text)
{
    size_t len = text ? strlen(text) : 0;
    for (size_t i = 0; i < len; i++)
        if (text[i] < '!' || text[i] > '~')
            return false;
    return len >= 1 && len <= 64;
}

/* Whether a text is a name: letters, digits, and after the first also . _ - */
static bool is_name(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !(i && strchr("._-", text[i])))
            return false;
    return len >= 1 && len <= MAX_NAME;
}

/* Makes a client a member. `rest` is its name and its password. */
static void join(struct client *c, char *rest)
{
    char *password = rest ? strchr(rest, ' ') : NULL;
    if (!password || password == rest || !password[1] || strlen(password + 1) > MAX_PASSWORD) {
        refuse(c, "bad-arguments");
        return;
    }
    *password = '\0';
    if (!is_name(rest)) {
        refuse(c, "bad-name");
        return;
    }
    say(c, "PENDING");
    for (struct client *other = here; other; other = other->next) {
        if (!strcasecmp(other->name, rest)) {
            say(c, "REJECTED refused");
            return;
        }
    }
    strcpy(c->name, rest);
    say(c, "WELCOME %ld %s", seq, c->name);
    c->next = here;
    here = c;
    event("IN", c->name);
}

static void say_to_all(struct client *c, const char *text)
{
    char fields[MAX_LINE];
    snprintf(fields, sizeof fields, "%s %s", c->name, text);
    event("MSG", fields);
}

/* Does a request: its verb, and the text after it or NULL. */
static void answer(struct client *c, const char *verb, char *rest)
{
    bool is_ping = !strcmp(verb, "PING"), is_pong = !strcmp(verb, "PONG");
    bool is_say = !strcmp(verb, "SAY"), is_join = !strcmp(verb, "JOIN");
    if (!is_ping && !is_pong && !is_say && !is_join && strcmp(verb, "QUIT"))
        refuse(c, "unknown");
    else if (is_say && !c->name[0])
        refuse(c, "not-joined");
    else if (is_join && c->name[0])
        refuse(c, "already-joined");
    else if (is_join)
        join(c, rest);
    else if ((is_ping || is_pong) ? !is_token(rest)
             : is_say ? !rest || !*rest || strlen(rest) > MAX_TEXT : rest != NULL)
        refuse(c, "bad-arguments");
    else if (is_ping)
        say(c, "PONG %s", rest);
    else if (is_say)
        say_to_all(c, rest);
    else if (!is_pong)
        bye(c, "quit");
}

/* Answers one line, without its LF. */
static void handle(struct client *c, const char *bytes, size_t len)
{
    char line[MAX_LINE];
    bool is_text;
    if (len && bytes[len - 1] == '\r')
        len--;
    if (!len) { /* the child says so: its client sends nothing more */
        bye(c, "quit");
        return;
    }
    if (!is_utf8(bytes, len, &is_text)) {
        refuse(c, "bad-utf8");
        return;
    }
    if (!is_text) {
        refuse(c, "bad-text");
        return;
    }
    memcpy(line, bytes, len);
    line[len] = '\0';
    char *space = strchr(line, ' ');
    if (space)
        *space = '\0';
    answer(c, line, space ? space + 1 : NULL);
}

/* Finds the lines in what has come. */
static void feed(struct client *c, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !c->over; i++) {
        if (data[i] == '\n') {
            handle(c, c->rest, c->rest_len);
            c->rest_len = 0;
        } else {
            c->rest[c->rest_len++] = data[i];
            if (c->rest_len == MAX_LINE)
                refuse(c, "too-long");
        }
    }
}

/* In a child: sends these bytes up, whole. */
static void send_up(int up, const char *data, size_t len)
{
    while (len) {
        ssize_t now = write(up, data, len);
        if (now < 0)
            _exit(0); /* the parent has gone */
        data += now;
        len -= now;
    }
}

/* In a child: sends the client what has come down. Returns false if the client has gone. */
static bool send_down(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t now = send(fd, data, len, MSG_NOSIGNAL);
        if (now < 0)
            return false;
        data += now;
        len -= now;
    }
    return true;
}

/* In a child: sends the lines up that these bytes complete. An empty line would mean the end. */
static void forward(int up, const char *data, size_t len)
{
    static char line[MAX_LINE];
    static size_t size;
    for (size_t i = 0; i < len; i++) {
        line[size++] = data[i];
        bool is_empty = line[0] == '\n' || (line[0] == '\r' && line[1] == '\n' && size == 2);
        if (data[i] != '\n' && size < MAX_LINE)
            continue;
        if (!is_empty)
            send_up(up, line, size);
        size = 0;
    }
}

/* In a child: carries what its client sends up, and what comes down to its client. */
static void converse(int fd, int up, int down)
{
    struct pollfd waits[] = {{.fd = fd, .events = POLLIN}, {.fd = down, .events = POLLIN}};
    struct timeval second = {.tv_sec = 1};
    char data[65536];
    ssize_t len;
    for (;;) {
        if (poll(waits, 2, -1) < 0)
            continue; /* a signal */
        if (waits[0].revents) {
            len = recv(fd, data, sizeof data, 0);
            forward(up, data, len > 0 ? len : 0);
            if (len <= 0) {
                send_up(up, "\n", 1);
                waits[0].fd = -1;
            }
        }
        if (waits[1].revents) {
            len = read(down, data, sizeof data);
            if (len <= 0 || !send_down(fd, data, len))
                break; /* the conversation is over */
        }
    }
    shutdown(fd, SHUT_WR);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    while (recv(fd, data, sizeof data, 0) > 0)
        ; /* a close with unread bytes would reset the connection */
}

/* In a child: closes what it has inherited. A pipe ends only when nobody holds its other end. */
static void close_all_but_mine(int listener)
{
    close(listener);
    for (int i = 0; i < count; i++) {
        close(clients[i]->up);
        if (clients[i]->down >= 0)
            close(clients[i]->down);
    }
}

static void accept_one(int listener)
{
    int up[2], down[2], fd = accept(listener, NULL, NULL);
    struct client *c = fd >= 0 && count < MAX_CLIENTS ? calloc(1, sizeof *c) : NULL;
    if (!c || pipe(up) < 0 || pipe(down) < 0) {
        close(fd);
        free(c);
        return;
    }
    c->pid = fork();
    if (c->pid == 0) {
        close_all_but_mine(listener);
        close(up[0]);
        close(down[1]);
        converse(fd, up[1], down[0]);
        _exit(0); /* not exit: what is in stdout's buffer is the parent's to print */
    }
    close(fd);
    close(up[1]);
    close(down[0]);
    fcntl(down[1], F_SETFL, O_NONBLOCK);
    c->up = up[0];
    c->down = down[1];
    clients[count++] = c;
    say(c, "HELLO grupo/1 %s", group);
}

static void read_from(struct client *c)
{
    char data[65536];
    ssize_t len = read(c->up, data, sizeof data);
    if (len > 0) {
        feed(c, data, len);
        return;
    }
    c->gone = true;
    leave(c);
}

/* Writes what the pipe accepts now. */
static void write_to(struct client *c)
{
    if (c->out_len && c->down >= 0) {
        ssize_t sent = write(c->down, c->outbox, c->out_len);
        if (sent < 0 && errno != EAGAIN)
            sent = c->out_len; /* the child has ended: the next read says so */
        if (sent > 0) {
            c->out_len -= sent;
            memmove(c->outbox, c->outbox + sent, c->out_len);
        }
    }
    if (c->over && !c->out_len && c->down >= 0) {
        close(c->down);
        c->down = -1;
    }
}

/* Forgets a client whose child has ended. */
static void drop(struct client *c)
{
    close(c->up);
    if (c->down >= 0)
        close(c->down);
    waitpid(c->pid, NULL, 0);
    free(c->outbox);
    free(c);
}

int main(int argc, char **argv)
{
    static struct pollfd waits[2 * MAX_CLIENTS + 1];
    arguments(argc, argv);
    int listener = listening();
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int watched = count;
        waits[2 * count] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (int i = 0; i < count; i++) {
            struct client *c = clients[i];
            waits[2 * i] = (struct pollfd){.fd = c->up, .events = POLLIN};
            waits[2 * i + 1] = (struct pollfd){.fd = c->out_len ? c->down : -1, .events = POLLOUT};
        }
        if (poll(waits, 2 * watched + 1, -1) < 0)
            continue; /* a signal */
        for (int i = 0; i < watched; i++)
            if (waits[2 * i].revents)
                read_from(clients[i]);
        if (waits[2 * watched].revents)
            accept_one(listener);
        for (int i = 0; i < count; i++) {
            write_to(clients[i]);
            if (!clients[i]->gone)
                continue;
            drop(clients[i]);
            clients[i--] = clients[--count];
        }
    }
}
