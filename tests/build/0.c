/* A group-chat server, stage 0: it greets one client after the other. */
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
    arguments(argc, argv);
    int listener = listening();
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        dprintf(fd, "HELLO grupo/1 %s\n", group);
        close(fd);
    }
}
