/* The load generator: many members of one group in one process. It counts only lines that it has compared.

   The first member that hears a line adds it to the record, where it is parsed once. For each other member, the
   line is compared with the record by one memcmp. So the generator counts each line on each member, and knows
   that all members heard the same lines in the same order.

   load PORT grupo|irc     reads orders from stdin, and answers each by one JSON line; ends at the end of stdin

   join N                    N more members join
   talk S W SECONDS 0        closed loop: S members talk, each has W messages under way, and sends the next one
                             when one comes back
   talk S 1 SECONDS RATE     open loop: S members send RATE messages a second in all, whatever comes back
   visit K SECONDS           K clients at a time connect, join, send one message, hear it, and quit; then the next K
   history FILE SECONDS      the first member reads the whole transcript repeatedly, and compares it with FILE

   Between orders it answers PINGs, so that members may be idle. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000                      /* members */
#define ON_THE_WAY 1024                 /* messages of one member that have not come back */
#define AT_ONCE (irc ? 8 : 64)          /* clients without a WELCOME; ngircd listens with a backlog of 10 */
#define LINE 512
#define GULP (1 << 18)
#define RECORD (1ul << 31)              /* bytes; only the part in use costs memory */
#define STALL 10.0                      /* seconds without a byte from a server that owes some */
#define TEXT 60                         /* bytes of a message: its number, then x */
#define SECONDS_MOST 60

typedef unsigned long long Count;

typedef struct {
    int fd, number;
    bool welcome, leaving;
    int pongs;
    Count seq;                          /* of the newest event heard, in grupo/1 */
    size_t at;                          /* how much of the record this member has heard */
    int rest;                           /* bytes in `tail`: a line without its end */
    char tail[LINE];
    struct Talk *talk;
} Member;

typedef struct Talk {                   /* a member's messages of one `talk`: said >= parsed >= back */
    Count said, parsed, back;             /* sent; in the record; heard by the member itself */
    double when[ON_THE_WAY];            /* when it was sent; in the open loop, when it was due */
    size_t end[ON_THE_WAY];             /* where it ends in the record */
} Talk;

static enum { JOINING, TALKING, VISITING, READING } doing;
static bool irc;
static int port, epoll, members, welcomed, opened;
static Member *member[MOST];
static char *record, buffer[LINE + GULP];
static size_t record_size;              /* of the record */
static Count record_lines, record_seq, said, back, visits;
static double last_heard, last_event, until;
static bool open_loop;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("{\"error\": \"");
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\') printf("\\%c", *c);
        else if (*c >= ' ' && *c < 127) putchar(*c);
        else if (*c != '\n' && *c != '\r') printf("\\u%04x", (unsigned char)*c);
    printf("\"}\n");
    exit(1);
}

/* -- The histogram of latencies: 32 steps for each doubling, so each value is exact to 3 per cent --------------------------- */

static Count histogram[64 * 32], samples;
static double longest;

static void note_latency(double seconds) {
    Count ns = seconds > 0 ? seconds * 1e9 : 0;
    int shift = ns < 32 ? 0 : 58 - __builtin_clzll(ns);
    histogram[32 * shift + (ns >> shift)]++;
    samples++;
    if (seconds > longest) longest = seconds;
}

static double percentile(double percent) {
    Count seen = 0;
    for (int i = 0; i < 64 * 32; i++)
        if ((seen += histogram[i]) && seen >= samples * percent / 100) {
            int shift = i < 64 ? 0 : i / 32 - 1;
            double middle = ((Count)(i - 32 * shift) << shift) + (1ull << shift) / 2.0;
            return middle / 1e9 < longest ? middle / 1e9 : longest;
        }
    return 0;
}

/* -- Sending --------------------------------------------------------------------------------------------------------------- */

static void put(Member *m, const char *data, size_t size) {
    ssize_t sent = send(m->fd, data, size, MSG_NOSIGNAL);
    if (sent != (ssize_t)size)          /* so few bytes are under way that they fit, unless the server does not read */
        fail("member %d cannot send: %s", m->number, sent < 0 ? strerror(errno) : "the server does not read");
}

static __attribute__((format(printf, 2, 3))) void putf(Member *m, const char *format, ...) {
    char line[LINE];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put(m, line, size);
}

/* One line with the member's message `number`. IRC has no echo: there the member sends it to the channel and to itself. */
static size_t message(Member *m, char *line, unsigned number) {
    char *end = line + (irc ? sprintf(line, "PRIVMSG #bench,m%05d :", m->number) : sprintf(line, "SAY "));
    memset(end, 'x', TEXT);
    for (int i = 6; i >= 0; i--, number /= 10)
        end[i] = '0' + number % 10;
    end[7] = ' ';
    end += TEXT;
    if (irc) *end++ = '\r';
    *end++ = '\n';
    return end - line;
}

static void say(Member *m, int count, double when) {
    static char lines[ON_THE_WAY * 128];
    size_t size = 0;
    Talk *t = m->talk;
    for (; count; count--, t->said++, said++) {
        if (t->said - t->back == ON_THE_WAY)
            fail("the server cannot keep up: %d messages of member %d are under way", ON_THE_WAY, m->number);
        t->when[t->said % ON_THE_WAY] = when;
        size += message(m, lines + size, t->said);
    }
    put(m, lines, size);
}

/* -- Receiving ------------------------------------------------------------------------------------------------------------- */

static bool begins(const char *line, const char *with) {
    return !strncmp(line, with, strlen(with));
}

static void open_member(Member *m, int number) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *m = (Member){.number = number, .talk = m->talk, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (m->fd < 0 || connect(m->fd, (struct sockaddr *)&to, sizeof to))
        fail("member %d cannot connect: %s", number, strerror(errno));
    setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(m->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll, EPOLL_CTL_ADD, m->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = m});
    opened++;
    if (irc) putf(m, "NICK m%05d\r\nUSER m 0 * :m\r\n", number);
    else putf(m, "JOIN m%05d bench\n", number);
}

static void enter(Member *m) {
    m->welcome = true;
    welcomed++;
    if (doing == VISITING) {
        char line[LINE];
        put(m, line, message(m, line, 0));
    }
}

static void read_history(Member *m) {
    putf(m, "HISTORY 0\n");
    said++;
}

/* Handles a line for this member alone, and returns true; false if the line is an event of grupo/1. */
static bool is_private(Member *m, const char *line) {
    if (begins(line, "MSG ") || begins(line, "IN ") || begins(line, "OUT ") || begins(line, "GROUP "))
        return false;
    if (begins(line, "PING ")) putf(m, "PONG %s\n", line + 5);
    else if (begins(line, "PONG ")) m->pongs++;
    else if (begins(line, "WELCOME ")) {
        m->seq = strtoull(line + 8, NULL, 10);
        enter(m);
    } else if (begins(line, "END HISTORY ") && doing == READING) {
        if (m->at != record_size)
            fail("HISTORY ended %zu bytes before the transcript", record_size - m->at);
        back++;
        m->at = 0;
        if (last_heard < until) read_history(m);
    } else if (!(begins(line, "HELLO ") || begins(line, "PENDING") || (begins(line, "BYE quit") && m->leaving)))
        fail("member %d got: %s", m->number, line);
    return true;
}

/* The same for IRC. If the line is a message, `what` becomes "m00001 0000001 xxx". */
static bool is_private_irc(Member *m, char *line, char **what) {
    char *verb = line;
    if (*line == ':')
        verb = (verb = strchr(line, ' ')) ? verb + 1 : line;
    if (begins(verb, "PRIVMSG ")) {
        char *text = strstr(verb, " :"), *nick_end = strchr(line, '!');
        if (!text || !nick_end || nick_end != line + 7) fail("member %d got: %s", m->number, line);
        *what = text - 5;               /* it overwrites the target, the ":m00001" before the text */
        memmove(*what, line + 1, 6);
        (*what)[6] = ' ';
        return false;
    }
    if (begins(verb, "PING ")) putf(m, "PONG %s\r\n", verb + 5);
    else if (begins(verb, "PONG ")) m->pongs++;
    else if (begins(verb, "376 ") || begins(verb, "422 ")) putf(m, "JOIN #bench\r\n");
    else if (begins(verb, "366 ") && !m->welcome) enter(m);
    else if (begins(verb, "ERROR ") ? !m->leaving : *verb == '4' || *verb == '5')
        fail("member %d got: %s", m->number, line);
    return true;
}

/* The value of the next `count` digits; -1 if one of them is no digit. */
static int digits(const char *text, int count) {
    int value = 0;
    for (; count; count--, text++) {
        if (*text < '0' || *text > '9') return -1;
        value = 10 * value + *text - '0';
    }
    return value;
}

/* The sender of `what`, which is "m00001 0000001 xxx". */
static int sender_of(Member *m, const char *what) {
    int sender = *what == 'm' ? digits(what + 1, 5) : -1;
    if (sender < 0 || sender >= members) fail("member %d heard what nobody said: %s", m->number, what);
    return sender;
}

static const char *skip(const char *line, int words) {
    while (words--) line = strchrnul(line, ' ') + 1;
    return line;
}

/* A new event of the record: it must be the next one of the server, and the next one of its sender. */
static void parse(Member *m, const char *event) {
    if (!irc) {
        Count seq = strtoull(skip(event, 1), NULL, 10);
        if (seq != ++record_seq)
            fail("member %d heard event %llu where %llu was the next", m->number, seq, record_seq);
        if (!begins(event, "MSG ")) fail("member %d heard what nobody caused: %s", m->number, event);
    }
    const char *what = irc ? event : skip(event, 3);
    Talk *t = member[sender_of(m, what)]->talk;
    if (!t || t->parsed == t->said || digits(what + 7, 7) != (int)(t->parsed % 10000000))
        fail("member %d heard a message doubled, lost or out of its order: %s", m->number, event);
    t->end[t->parsed++ % ON_THE_WAY] = record_size;
    record_lines++;
}

/* One event. The 0 at line[size - 1] is in the place of the LF; put the LF back before the line is copied or compared. */
static void hear_event(Member *m, char *line, size_t size) {
    if (doing == JOINING || doing == VISITING) {
        if (!irc) {
            Count seq = strtoull(skip(line, 1), NULL, 10);
            if (seq != ++m->seq) fail("member %d heard event %llu where %llu was the next", m->number, seq, m->seq);
        }
        if (doing == VISITING && m->welcome && !m->leaving && (irc || begins(line, "MSG "))
            && sender_of(m, irc ? line : skip(line, 3)) == m->number) {
            m->leaving = true;
            put(m, irc ? "QUIT\r\n" : "QUIT\n", irc ? 6 : 5);
        }
        return;
    }
    last_event = last_heard;
    if (m->at == record_size) {
        if (doing == READING) fail("HISTORY is longer than the transcript");
        if (record_size + size > RECORD) fail("more than %lu bytes of events: talk for a shorter time", RECORD);
        record_size += size;
        parse(m, line);
        line[size - 1] = '\n';
        memcpy(record + m->at, line, size);
    } else {
        line[size - 1] = '\n';
        if (size > record_size - m->at || memcmp(record + m->at, line, size)) {
            char *other = record + m->at, *end = memchr(other, '\n', record_size - m->at);
            fail("not all heard the same: member %d heard %.*s where another heard %.*s",
                 m->number, (int)size - 1, line, (int)(end - other), other);
        }
    }
    m->at += size;
}

static void hear_line(Member *m, char *line, size_t size) {
    char *what = line;
    line[size - 1] = 0;
    if (irc && size > 1 && line[size - 2] == '\r') line[size - 2] = 0;
    bool private = irc ? is_private_irc(m, line, &what) : is_private(m, line);
    if (!private) hear_event(m, what, irc ? strlen(what) + 1 : size);
}

/* Whole lines. Those that the record already holds take one comparison; the others go one by one. */
static void hear_lines(Member *m, char *data, size_t size) {
    while (size) {
        size_t known = record_size - m->at < size ? record_size - m->at : size;
        if (!irc && (doing == TALKING || doing == READING) && known && !memcmp(data, record + m->at, known)) {
            m->at += known;
            last_event = last_heard;
        } else {
            known = (char *)memchr(data, '\n', size) + 1 - data;
            hear_line(m, data, known);
        }
        data += known;
        size -= known;
    }
}

/* The member's own messages that came back: this measures the latency. */
static void take_back(Member *m) {
    Talk *t = m->talk;
    int count = 0;
    for (; t->back < t->parsed && t->end[t->back % ON_THE_WAY] <= m->at; t->back++, back++, count++)
        note_latency(last_heard - t->when[t->back % ON_THE_WAY]);
    if (count && !open_loop && last_heard < until)
        say(m, count, now());
}

static void hear(Member *m) {
    memcpy(buffer, m->tail, m->rest);
    ssize_t got = recv(m->fd, buffer + m->rest, GULP, 0);
    if (got < 0 && errno == EAGAIN) return;
    last_heard = now();
    if (got <= 0) {
        if (!m->leaving) fail("member %d was disconnected: %s", m->number, got ? strerror(errno) : "the server closed");
        close(m->fd);
        visits++;
        if (last_heard < until) open_member(m, m->number);
        return;
    }
    size_t size = m->rest + got;
    char *end = memrchr(buffer, '\n', size);
    size_t whole = end ? end + 1 - buffer : 0;
    if (size - whole > LINE) fail("member %d heard a line of more than %d bytes", m->number, LINE);
    memcpy(m->tail, buffer + whole, size - whole);
    m->rest = size - whole;
    hear_lines(m, buffer, whole);
    if (doing == TALKING && m->talk) take_back(m);
}

/* -- Turns ----------------------------------------------------------------------------------------------------------------- */

static char orders[4096];
static size_t orders_size;
static bool orders_end;

static void read_orders(void) {
    ssize_t got = read(0, orders + orders_size, sizeof orders - 1 - orders_size);
    if (got > 0) orders_size += got;
    else {
        orders_end = true;
        epoll_ctl(epoll, EPOLL_CTL_DEL, 0, NULL);
    }
}

/* Reads once from each member that has something to read; waits at most so many seconds for one. */
static void turn(double seconds) {
    struct epoll_event events[512];
    struct timespec wait = {seconds, (seconds - (long)seconds) * 1e9};
    int count = epoll_pwait2(epoll, events, 512, &wait, NULL);
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr) hear(events[i].data.ptr);
        else read_orders();
}

/* A turn while the server owes a line; `what` names it. */
static void turn_owed(const char *what) {
    turn(0.1);
    if (now() - last_heard > STALL) fail("%s: no byte came for %g s", what, STALL);
}

/* A PONG comes after every event handled before its PING. So after this, each member has heard all events so far. */
static void fence(void) {
    for (int i = 0; i < members; i++) {
        member[i]->pongs = 0;
        putf(member[i], irc ? "PING bench\r\n" : "PING bench\n");
    }
    last_heard = now();
    for (int i = 0; i < members; i++)
        while (!member[i]->pongs) turn_owed("a PING is not answered");
}

/* -- Orders ---------------------------------------------------------------------------------------------------------------- */

static void clear(int what, double seconds) {
    doing = what;
    record_size = record_lines = said = back = samples = 0;
    memset(histogram, 0, sizeof histogram);
    longest = 0;
    last_heard = last_event = now();
    until = last_heard + seconds;
    for (int i = 0; i < members; i++) {
        member[i]->at = 0;
        if (member[i]->talk) member[i]->talk->said = member[i]->talk->parsed = member[i]->talk->back = 0;
    }
}

static void join(int count) {
    if (count < 1 || members + count > MOST) fail("there can be 1 to %d members", MOST);
    clear(JOINING, 0);
    double start = last_heard, used = cpu();
    opened = welcomed = 0;
    while (welcomed < count) {
        while (opened < count && opened - welcomed < AT_ONCE) {
            member[members] = calloc(1, sizeof(Member));
            open_member(member[members], members);
            members++;
        }
        turn_owed("a JOIN is not answered");
    }
    double took = last_heard - start;
    fence();
    for (int i = 0; i < members; i++)
        if (member[i]->seq != member[0]->seq)
            fail("member %d has heard events up to %llu, member 0 up to %llu", i, member[i]->seq, member[0]->seq);
    record_seq = members ? member[0]->seq : 0;
    printf("{\"joined\": %d, \"seconds\": %.4f, \"cpu\": %.4f}\n", count, took, cpu() - used);
}

static void talk(int talkers, int on_the_way, double seconds, double rate) {
    if (talkers < 1 || talkers > members || on_the_way < 1 || on_the_way > ON_THE_WAY)
        fail("talk: S of 1 to N, W of 1 to %d", ON_THE_WAY);
    for (int i = 0; i < talkers; i++)
        if (!member[i]->talk && !(member[i]->talk = malloc(sizeof(Talk)))) fail("no memory left");
    clear(TALKING, seconds);
    double start = last_heard, used = cpu();
    open_loop = rate > 0;
    if (open_loop)
        for (double due = start; due < until; due = start + said / rate) {
            if (due <= now()) say(member[said % talkers], 1, due);
            turn(due > now() ? due - now() : 0);
        }
    else
        for (int i = 0; i < talkers; i++) say(member[i], on_the_way, now());
    while (back < said) turn_owed("a message did not come back to its sender");
    fence();
    for (int i = 0; i < members; i++)
        if (member[i]->at != record_size) {
            Count lacks = 0;
            for (size_t at = member[i]->at; at < record_size; at++) lacks += record[at] == '\n';
            fail("member %d lacks %llu of %llu lines", i, lacks, record_lines);
        }
    if (record_lines != said) fail("%llu messages were sent, %llu were heard", said, record_lines);
    for (int i = 0; i < members; i++) member[i]->seq = record_seq;
    double took = last_event - start;
    printf("{\"said\": %llu, \"deliveries\": %llu, \"bytes\": %zu, \"seconds\": %.4f, \"rate\": %.1f, \"cpu\": %.4f, "
           "\"p50\": %.7f, \"p99\": %.7f, \"max\": %.7f}\n",
           said, record_lines * members, record_size * members, took, record_lines * members / took, cpu() - used,
           percentile(50), percentile(99), longest);
}

static void visit(int at_once, double seconds) {
    if (members || at_once < 1 || at_once > AT_ONCE) fail("visit: K of 1 to %d, before any join", AT_ONCE);
    clear(VISITING, seconds);
    double start = last_heard, used = cpu();
    visits = opened = 0;
    members = at_once;
    for (int i = 0; i < at_once; i++) open_member(member[i] = calloc(1, sizeof(Member)), i);
    while (visits < (Count)opened) turn_owed("a visitor waits");
    members = 0;
    double took = last_heard - start;
    printf("{\"visits\": %llu, \"seconds\": %.4f, \"rate\": %.1f, \"cpu\": %.4f}\n", visits, took, visits / took, cpu() - used);
}

static void history(const char *path, double seconds) {
    struct stat about;
    int file = open(path, O_RDONLY);
    if (!members || irc || file < 0 || fstat(file, &about) || !about.st_size) fail("history: needs a member and a transcript");
    char *own = record;
    record = mmap(NULL, about.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (record == MAP_FAILED) fail("%s: %s", path, strerror(errno));
    clear(READING, seconds);
    record_size = about.st_size;
    double start = last_heard, used = cpu();
    read_history(member[0]);
    while (back < said) turn_owed("HISTORY is incomplete");
    Count bytes = back * record_size;
    printf("{\"readings\": %llu, \"bytes\": %llu, \"seconds\": %.4f, \"rate\": %.1f, \"cpu\": %.4f}\n",
           back, bytes, last_event - start, bytes / (last_event - start), cpu() - used);
    munmap(record, record_size);
    close(file);
    record = own;
    clear(JOINING, 0);
}

static double bounded(double seconds) {
    if (!(seconds > 0 && seconds <= SECONDS_MOST)) fail("SECONDS must be above 0 and at most %d", SECONDS_MOST);
    return seconds;
}

static void obey(const char *order) {
    int a, b;
    double seconds, rate;
    char path[LINE];
    if (sscanf(order, "join %d", &a) == 1) join(a);
    else if (sscanf(order, "talk %d %d %lf %lf", &a, &b, &seconds, &rate) == 4) talk(a, b, bounded(seconds), rate);
    else if (sscanf(order, "visit %d %lf", &a, &seconds) == 2) visit(a, bounded(seconds));
    else if (sscanf(order, "history %511s %lf", path, &seconds) == 2) history(path, bounded(seconds));
    else fail("no such order: %s", order);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3 || (port = atoi(argv[1])) < 1 || !(!strcmp(argv[2], "grupo") || (irc = !strcmp(argv[2], "irc")))) {
        fprintf(stderr, "usage: load PORT grupo|irc\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    record = mmap(NULL, RECORD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (record == MAP_FAILED || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN}))
        fail("cannot start: %s (orders come through a pipe)", strerror(errno));
    for (;;) {
        char *end = memchr(orders, '\n', orders_size);
        if (end) {
            char order[sizeof orders];
            size_t size = end + 1 - orders;
            memcpy(order, orders, size);
            order[size - 1] = 0;
            orders_size -= size;
            memmove(orders, end + 1, orders_size);
            obey(order);
        } else if (orders_end)
            return 0;
        else
            turn(1);
    }
}
