/* A group-chat server, stage 1: it finds the lines in what a client sends, and answers each. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINE 512 /* bytes, with the LF */
#define MAX_ERRORS 10

struct client {
    int fd;
    char rest[MAX_LINE]; /* the beginning of a line whose end has not come yet */
    size_t rest_len;
    int errors;
    bool over; /* it was sent BYE */
};

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
            return; /* it has gone: the next recv says so */
        sent += now;
    }
}

static void bye(struct client *c, const char *code)
{
    say(c, "BYE %s", code);
    c->over = true;
}

static void refuse(struct client *c, const char *code)
{
    say(c, "ERR %s this request was not done", code);
    if (++c->errors == MAX_ERRORS || !strcmp(code, "too-long"))
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

/* Does a request: its verb, and the text after it or NULL. */
static void answer(struct client *c, const char *verb, const char *rest)
{
    bool is_ping = !strcmp(verb, "PING"), is_pong = !strcmp(verb, "PONG");
    if (!is_ping && !is_pong && strcmp(verb, "QUIT"))
        refuse(c, "unknown");
    else if ((is_ping || is_pong) ? !is_token(rest) : rest != NULL)
        refuse(c, "bad-arguments");
    else if (is_ping)
        say(c, "PONG %s", rest);
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

/* Serves one client up to its end. */
static void serve(int fd)
{
    struct client c = {.fd = fd};
    char data[65536];
    ssize_t len;
    say(&c, "HELLO grupo/1 %s", group);
    while (!c.over && (len = recv(fd, data, sizeof data, 0)) > 0)
        feed(&c, data, len);
    if (!c.over)
        bye(&c, "quit");
    shutdown(fd, SHUT_WR);
    while (recv(fd, data, sizeof data, 0) > 0)
        ; /* a close with unread bytes would reset the connection, and the BYE might be lost */
}

int main(int argc, char **argv)
{
    arguments(argc, argv);
    int listener = listening();
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        serve(fd);
        close(fd);
    }
}
