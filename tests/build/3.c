/* A group-chat server, stage 3: a thread serves each client, and a lock guards what they share. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINE 512 /* bytes, with the LF */
#define MAX_TEXT 400
#define MAX_PASSWORD 128
#define MAX_NAME 32
#define MAX_ERRORS 10 /* of a client that is no member */

struct client {
    int fd;
    char rest[MAX_LINE]; /* the beginning of a line whose end has not come yet */
    size_t rest_len;
    char name[MAX_NAME + 1]; /* of a member, else "" */
    int errors;
    bool over;           /* it was sent BYE */
    struct client *next; /* of those that are here */
};

/* Guards the room, all clients that are in it, and the order of what they receive. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct client *here;
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

/* Sends a client a line. */
static void say(struct client *c, const char *form, ...)
{
    char line[MAX_LINE + 1];
    va_list values;
    va_start(values, form);
    size_t len = vsnprintf(line, MAX_LINE, form, values), sent = 0;
    va_end(values);
    line[len++] = '\n';
    while (sent < len) {
        ssize_t now = send(c->fd, line + sent, len - sent, MSG_NOSIGNAL);
        if (now < 0)
            return; /* it has gone: its own thread sees that, too */
        sent += now;
    }
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
    if (!len)
        return;
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

/* Serves one client up to its end, in a thread of its own. */
static void *serve(void *given)
{
    struct client *c = given;
    char data[65536];
    ssize_t len;
    say(c, "HELLO grupo/1 %s", group);
    while (!c->over) {
        len = recv(c->fd, data, sizeof data, 0);
        pthread_mutex_lock(&lock);
        if (len > 0)
            feed(c, data, len);
        else
            bye(c, "quit");
        pthread_mutex_unlock(&lock);
    }
    shutdown(c->fd, SHUT_WR);
    while (recv(c->fd, data, sizeof data, 0) > 0)
        ; /* a close with unread bytes would reset the connection */
    close(c->fd);
    free(c);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t detached;
    arguments(argc, argv);
    int listener = listening();
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        struct client *c = calloc(1, sizeof *c);
        if (c)
            c->fd = fd;
        if (!c || pthread_create(&thread, &detached, serve, c)) {
            free(c);
            close(fd);
        }
    }
}
