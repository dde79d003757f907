/* processes.c: a server for grupo/1, in C, with fork and pipes.
 *
 * Build:  cc -O2 -Wall -Wextra -o processes processes.c -lcrypt -lm
 * Run:    ./processes --port 7000 --group os-lab --dir ./grupo --admit ask
 *
 * The law: nothing is shared. One process, the hub, owns everything, decides everything, and alone writes to the sockets.
 * Each client has a child, which only reads: that client's socket. Two pipes join it to the hub: requests go up, answers
 * come down. A pipe ends when the process at its other end is gone, even by kill -9: so the hub sees the end of a child, and a child
 * that of the hub. That holds only if nobody else has a copy: a child closes what it inherited, before anything else.
 *
 * Lines go up: a request as the client sent it (of a JOIN not the password), `!VERB code words` if it is malformed, and
 * `=HASH`, of a password. Down come `check SETTING`, when it is the child's turn to hash, `done`, when a JOIN is finished, and
 * `over`. No event is sent to anybody before it is in the journal. A connection is freed in one place only (in the hub's
 * loop, if it is `gone` and its child, too). Read from the bottom up: main, the loop, then what it calls.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {                                      /* sizes on the wire, in bytes */
    LINE = 512, NAME = 32, TEXT = 400, GROUP = 64, PASSWORD = 128, TOKEN = 64, DIGITS = 16
};
enum {                                      /* what one server bears */
    OUTBOX = 1 << 20,                       /* bytes that may wait for one client */
    SNDBUF = 65536,                         /* bytes that may wait in the kernel for one client */
    CHUNK = 65536,                          /* HISTORY is read from the journal in pieces of this size */
    GULP = 4096,                            /* a socket, or a pipe, is read in pieces of at most this size */
    SCREEN = 65536,                         /* bytes that may wait for the owner */
    RATION = 65536,                         /* bytes of events that a member may cause in a second, if they are rationed */
    READER_TAKES = 128 * 1024,              /* in READER_WINDOW: a client that took so much keeps reading */
    MAX_CONNS = 2048, MAX_HERE = 1024, MAX_STRANGERS = 256, MAX_ASKING = 32, MAX_NO = 3, MAX_ERR = 10
};
static const double JOIN_WITHIN = 20, PING_AFTER = 60, IDLE_AFTER = 90, SLOW_AFTER = 10, REJECT_AFTER = 1, LINGER = 1,
                    READER_WINDOW = 2, STOP_WITHIN = 1.2,       /* (the page allows 2) */
                    HOLD = 2, HOLD_AGAIN = 60;      /* the members wait for those that read no longer than this in that */

struct outbox { char *bytes; size_t len, room; };

struct member {
    char name[NAME + 1];
    char hash[CRYPT_OUTPUT_SIZE];
    bool banned;                            /* then this is no member, but a name held by a ban */
    bool out_due;                           /* gone, but the OUT could not be written yet */
    struct conn *here;                      /* NULL: away */
    struct member *next;
};

enum state { STRANGER, CHECKED, ASKING, HERE, OVER };

struct conn {
    int fd;                                 /* its child reads it, we write it */
    int up, down;                           /* our ends of the child's pipes; down is -1 after hang_up */
    pid_t pid;                              /* 0: the child is gone */
    enum state state;
    char address[INET6_ADDRSTRLEN + 32];
    char in[GULP];                          /* what has come up */
    size_t in_len;
    struct outbox out;
    bool eof;                               /* all that the child has sent up is read, and it is gone */
    bool gone;                              /* to be hung up, and freed when its child has ended */
    bool shut;                              /* BYE is sent, and so is our end of file */
    struct member *member;                  /* while HERE */
    char name[NAME + 1];                    /* while CHECKED or ASKING; empty once it is refused */
    char hash[CRYPT_OUTPUT_SIZE];           /* while CHECKED, the member's (empty: a new name); while ASKING, the client's own */
    bool hopeless;                          /* another JOIN with this new name is under way */
    unsigned long ticket;                   /* while it waits for its turn to hash: the least is next. Else 0 */
    bool has_turn;                          /* its child hashes */
    bool child_waits, told_over;            /* what the child waits for, and has heard */
    bool refused, pinged;                   /* REJECTED will be sent when its time has come; PING was sent */
    int noes, errs;                         /* REJECTED and ERR, so far */
    uint64_t history_to;                    /* an answer to HISTORY is under way up to this event; 0: none */
    uint64_t history_since, history_seen;   /* after this one; how many stand before history_at */
    off_t history_at;                       /* how far the journal has been read for it */
    double join_by, joined_at, heard_at, close_at;
    double took_at;                         /* when the client last took a byte, or began to have one waiting */
    double window_start;                    /* of what is counted in window_took */
    size_t window_took;
    bool reads;                             /* it keeps reading, so the others wait for it */
    size_t newer;                           /* bytes put in `out` after the latest answer to WHO or HISTORY */
    double rest_until;                      /* it has caused so many events that it is not read until then */
};

static enum { ASK, ALL, NONE } admission = ASK;
static char group[GROUP + 1] = "grupo";
static struct member *members;
static int outs_due;                        /* members with out_due */
static struct conn *conns[MAX_CONNS];
static int conn_count;
static bool crowded;                        /* a client that keeps reading has much waiting: members are not read, */
static double held_for, held_until;         /* until they have waited so long, the last time then: from now on they are rationed */
static int turns, max_turns;                /* children that hash now, and the most at the same time */

static int journal;                         /* the group's file, locked while we live */
static off_t journal_size;
static uint64_t seq;                        /* of the newest event */
static char *event;                         /* the newest event's line, */
static size_t event_len;                    /* with its LF */

static int listener, signals, spare;
static bool orders_over, want_consent, stopping;
static struct outbox screen;                /* what waits for the owner */
static unsigned long not_shown;
static double now, wake_at, retry_outs_at, stop_by, accept_at; /* accept_at 0: at once */

static const char *const unwritten = "the server cannot write to its disk",
                  *const not_saved = "not-saved the server cannot write to its disk; try again later";
static void end(struct conn *c, const char *code);     /* below: `err` and it need each other */

/* ---------- small things ---------- */

static void die(int status, const char *what, const char *why)
{
    fprintf(stderr, "processes: %s: %s\n", what, why);
    exit(status);
}

/* Is it time? If not yet, the loop will wake in time. If so, something will change: the loop takes another turn. */
static bool due(double when)
{
    if (when < wake_at)
        wake_at = when;
    return when <= now;
}

static bool put(struct outbox *o, const char *bytes, size_t n)
{
    if (o->len + n > o->room) {
        char *more = realloc(o->bytes, 2 * (o->len + n));
        if (!more)
            return false;
        o->bytes = more;
        o->room = 2 * (o->len + n);
    }
    memcpy(o->bytes + o->len, bytes, n);
    o->len += n;
    return true;
}

static void taken(struct outbox *o, size_t n)
{
    o->len -= n;
    if (o->len) {
        memmove(o->bytes, o->bytes + n, o->len);
    } else {                                /* most outboxes are empty most of the time: they keep no memory */
        free(o->bytes);
        *o = (struct outbox){ 0 };
    }
}

static bool try_again(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* What is wrong with these bytes as text, as ERR says it; NULL: nothing. A bad byte anywhere comes before a bad character. */
static const char *text_fault(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    const char *const bad_utf8 = "bad-utf8 this is not UTF-8", *fault = NULL;
    for (size_t i = 0; i < len;) {
        int more = s[i] < 0x80 ? 0 : s[i] < 0xE0 ? 1 : s[i] < 0xF0 ? 2 : 3;     /* how many bytes follow this one */
        if ((s[i] >= 0x80 && s[i] < 0xC0) || s[i] >= 0xF8 || i + more >= len)
            return bad_utf8;
        uint32_t ch = more == 0 ? s[i] : s[i] & (0x3F >> more);
        i++;
        for (int k = 0; k < more; k++, i++) {
            if ((s[i] & 0xC0) != 0x80)
                return bad_utf8;
            ch = ch << 6 | (s[i] & 0x3F);
        }
        if (ch < least[more] || ch > 0x10FFFF || (ch >= 0xD800 && ch < 0xE000))
            return bad_utf8;
        if (ch < 0x20 || (ch >= 0x7F && ch < 0xA0)                                          /* controls */
            || (ch >= 0x202A && ch <= 0x202E) || (ch >= 0x2066 && ch <= 0x2069)             /* turn the direction of writing */
            || (ch >= 0xFDD0 && ch <= 0xFDEF) || (ch & 0xFFFE) == 0xFFFE)                   /* no characters */
            fault = "bad-text a character that may not be sent";
    }
    return fault;
}

static bool is_name(const char *s)
{
    static const char chars[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-";
    size_t len = strlen(s);
    return len >= 1 && len <= NAME && strspn(s, chars) == len && !strchr("._-", s[0]);
}

static bool is_group(const char *s)
{
    size_t len = strlen(s);
    return len >= 1 && len <= GROUP && s[0] != ' ' && s[len - 1] != ' ' && !text_fault(s, len);
}

/* ---------- requests, as they go up ---------- */

enum verb { JOIN, SAY, RENAME, WHO, HISTORY, LEAVE, QUIT, PING, PONG, UNKNOWN };

static enum verb verb_of(const char *word)
{
    static const char *const verbs[] = { "JOIN", "SAY", "NAME", "WHO", "HISTORY", "LEAVE", "QUIT", "PING", "PONG" };
    enum verb verb = JOIN;
    while (verb < UNKNOWN && strcmp(word, verbs[verb]) != 0)
        verb++;
    return verb;
}

/* What is wrong with what follows the verb (NULL: nothing follows), as ERR says it; NULL: nothing is wrong. */
static const char *argument_fault(enum verb verb, const char *rest, const char *password)
{
    bool good = verb == WHO || verb == LEAVE || verb == QUIT ? !rest : rest && rest[0];
    switch (good ? verb : UNKNOWN) {
    case JOIN: good = password && password[0] && strlen(password) <= PASSWORD; break;
    case SAY: good = strlen(rest) <= TEXT; break;
    case RENAME: good = !strchr(rest, ' '); break;
    case HISTORY: good = strlen(rest) <= DIGITS && rest[strspn(rest, "0123456789")] == '\0'; break;
    case PING: case PONG:
        good = strlen(rest) <= TOKEN;
        for (const char *p = rest; good && *p; p++)
            good = *p > ' ' && *p <= '~';   /* a byte beyond ASCII is below ' ', or above '~' where char is unsigned */
        break;
    default: break;
    }
    if (!good)
        return "bad-arguments something is missing, too long, or too much";
    if ((verb == JOIN || verb == RENAME) && !is_name(rest))
        return "bad-name a name is 1 to 32 ASCII letters, digits, '.', '_' or '-'; first a letter or a digit";
    return NULL;
}

/* ---------- in the child ---------- */

struct child {                              /* all that is a child's own */
    int fd, up, down;
    FILE *answers;                          /* reads `down`, */
    char answer[LINE];                      /* and this was the last one */
    char in[GULP];                          /* what has come from the client */
    size_t in_len;
    bool over;                              /* the hub has heard enough: what still comes is discarded */
};

/* A socket or a pipe ends only when its last copy is closed: here are copies of the listener, the journal, and of what the
 * hub holds of all the siblings. Standard error stays. */
static void close_inherited(const struct child *me)
{
    unsigned kept[] = { STDERR_FILENO, me->fd, me->up, me->down }, from = 0, next;
    do {
        next = ~0U;
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
            if (kept[i] >= from && kept[i] < next)
                next = kept[i];
        if (next > from)
            close_range(from, next - 1, 0);
        from = next + 1;
    } while (next != ~0U);
}

/* Ctrl-C and a kill of the whole group reach the children, too. But it is the hub who decides when they end. */
static void ignore_signals(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

/* Its end of our pipe is closed: it has hung up, or was killed. _exit, not exit: nothing of the hub's is ours to clean up. */
__attribute__((noreturn))
static void hub_is_gone(void)
{
    _exit(0);
}

/* Hands up one line, whole: so few bytes (PIPE_BUF) go in one piece, or wait for room: as long as the hub does not hear us. */
static void hand_up(const struct child *me, const char *before, const char *word, const char *after)
{
    char line[LINE + 1];
    int n = snprintf(line, sizeof line, "%s%s%s%s\n", before, word, after ? " " : "", after ? after : "");
    if (write(me->up, line, n) < 0)
        hub_is_gone();
}

/* The next answer. (`answers` has no buffer: what it held could not be seen by poll.) */
static void hear_hub(struct child *me)
{
    if (!fgets(me->answer, LINE, me->answers))
        hub_is_gone();
    me->answer[strcspn(me->answer, "\n")] = '\0';
    me->over |= strcmp(me->answer, "over") == 0;
}

/* True: the client has sent something, or ended. A wait for the client alone would not see that the hub is gone. */
static bool wait_for_client(struct child *me)
{
    struct pollfd both[] = { { .fd = me->fd, .events = POLLIN }, { .fd = me->down, .events = POLLIN } };
    if (poll(both, 2, -1) < 0)
        return false;
    if (both[1].revents)
        hear_hub(me);
    return both[0].revents;
}

/* The slow part of a JOIN. The password stays in this process; its hash goes up. */
static void hash_password(struct child *me, const char *stored, const char *password)
{
    static struct crypt_data data;          /* 32 KiB: much for a stack */
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *setting = stored[0] ? stored : crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof salt);
    const char *hash = setting ? crypt_r(password, setting, &data) : NULL;
    hand_up(me, "=", hash && hash[0] != '*' ? hash : "", NULL);     /* `*` is how libcrypt says that it failed */
    explicit_bzero(&data, sizeof data);
}

/* What was handed up last has an answer, and the client's next request has to wait for it. */
static void wait_for_hub(struct child *me, const char *password)
{
    for (hear_hub(me); strncmp(me->answer, "check ", 6) == 0; hear_hub(me))
        hash_password(me, me->answer + 6, password);
}

/* One line of the client's, without its end. The hub may trust what goes up: only who may do what is left for it to decide. */
static void validate(struct child *me, char *line, size_t len)
{
    const char *fault = text_fault(line, len);
    char *rest = strchr(line, ' '), *password = NULL;
    if (rest)
        *rest++ = '\0';
    enum verb verb = verb_of(line);
    if (fault || verb == UNKNOWN) {
        hand_up(me, "! ", fault ? fault : "unknown there is no such verb", NULL);
        return;
    }
    if (verb == JOIN && rest && (password = strchr(rest, ' ')))
        *password++ = '\0';
    fault = argument_fault(verb, rest, password);
    hand_up(me, fault ? "!" : "", line, fault ? fault : rest);
    if (!fault && (verb == JOIN || verb == QUIT))
        wait_for_hub(me, password);
    if (password)
        explicit_bzero(password, strlen(password));
}

/* Cuts what has come into lines, and hands up a request for each. What follows the last LF waits for its end. */
static void cut_lines(struct child *me)
{
    size_t start = 0;
    while (!me->over) {
        char *line = me->in + start, *lf = memchr(line, '\n', me->in_len - start);
        size_t len = lf ? (size_t)(lf - line) : me->in_len - start;
        if (len >= LINE) {
            hand_up(me, "! ", "too-long a line has at most 512 bytes", NULL);
            wait_for_hub(me, NULL);         /* it will be: over */
            break;
        }
        if (!lf)
            break;
        start += len + 1;
        if (len && line[len - 1] == '\r')
            len--;
        line[len] = '\0';
        if (len)
            validate(me, line, len);
    }
    me->in_len = me->over ? 0 : me->in_len - start;
    memmove(me->in, me->in + start, me->in_len);
}

/* A child's whole life: wait for bytes, hand up the requests. It never returns. */
__attribute__((noreturn))
static void child_main(int fd, int up, int down)
{
    struct child me = { .fd = fd, .up = up, .down = down, .answers = fdopen(down, "r") };
    close_inherited(&me);
    ignore_signals();
    if (!me.answers || setvbuf(me.answers, NULL, _IONBF, 0) != 0)
        _exit(1);
    for (;;) {
        if (!wait_for_client(&me))
            continue;
        ssize_t n = recv(fd, me.in + me.in_len, sizeof me.in - me.in_len, 0);
        if (n < 0 && try_again())
            continue;
        if (n <= 0)
            break;                          /* a reset is an end like any other */
        me.in_len += n;
        cut_lines(&me);
    }
    _exit(0);                               /* an unfinished last line is dropped */
}

/* ---------- the owner's screen ---------- */

/* A line for the owner, unless more than `limit` bytes are buffered for them already. */
__attribute__((format(printf, 2, 3)))
static void show(size_t limit, const char *format, ...)
{
    char line[2 * LINE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[n++] = '\n';
    if (screen.len > limit || !put(&screen, line, n))
        not_shown++;
}
#define EVENT_LIMIT SCREEN
#define ASK_LIMIT (2 * SCREEN)
#define ANSWER_LIMIT SIZE_MAX               /* bounded all the same: orders are not read while the screen is full */

static void flush_screen(void)
{
    if (!screen.len)
        return;
    ssize_t n = write(STDOUT_FILENO, screen.bytes, screen.len);
    if (n >= 0 || !try_again())             /* if it failed the owner's side is closed: nobody reads this */
        taken(&screen, n >= 0 ? (size_t)n : screen.len);
}

/* ---------- sending to one client ---------- */

static void send_bytes(struct conn *c, const char *bytes, size_t n)
{
    if (c->out.len == 0) {
        c->took_at = c->window_start = now;
        c->window_took = 0;
    }
    c->newer += n;
    if (!put(&c->out, bytes, n))
        c->gone = true;                     /* no memory: a plain close */
}

__attribute__((format(printf, 2, 3)))
static void tell(struct conn *c, const char *format, ...)
{
    char line[LINE + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, LINE, format, args);
    va_end(args);
    line[n++] = '\n';
    send_bytes(c, line, n);
}

/* `what` is the code and the words. */
static void err(struct conn *c, const char *what)
{
    tell(c, "ERR %s", what);
    if (c->state != HERE && ++c->errs == MAX_ERR)
        end(c, "protocol");
}

static void flush(struct conn *c)
{
    if (c->out.len) {
        ssize_t n = send(c->fd, c->out.bytes, c->out.len, MSG_DONTWAIT);    /* it blocks: for the child */
        if (n > 0) {
            taken(&c->out, n);
            c->took_at = now;
            c->window_took += n;
        } else if (n < 0 && !try_again()) {
            c->gone = true;
        }
    }
    if (c->out.len == 0) {
        c->reads = true;                    /* it took all there was */
        if (c->state == OVER && !c->shut) {
            shutdown(c->fd, SHUT_WR);
            c->shut = true;
            c->close_at = now + LINGER;
        }
    }
    if (c->shut && !c->pid)
        c->gone = true;                     /* the child has seen the client's end, and has ended */
}

/* ---------- members and events ---------- */

static struct member *find(const char *name)
{
    struct member *m = members;
    while (m && strcasecmp(m->name, name) != 0)
        m = m->next;
    return m;
}

static struct member *new_member(const char *name, const char *hash)
{
    struct member *m = calloc(1, sizeof *m);
    if (m) {
        strcpy(m->name, name);
        strcpy(m->hash, hash);
        m->next = members;
        members = m;
    }
    return m;
}

static void forget(struct member *m)
{
    struct member **p = &members;
    while (*p != m)
        p = &(*p)->next;
    *p = m->next;
    free(m);
}

static struct conn *find_asker(const char *name)
{
    for (int i = 0; i < conn_count; i++)
        if (conns[i]->state == ASKING && strcasecmp(conns[i]->name, name) == 0)
            return conns[i];
    return NULL;
}

/* Does a JOIN hold this name? It does from the JOIN on if the name was new then, whether its password is still being hashed
 * or the owner is considering it. A JOIN that comes second with the name, or will be refused, holds nothing. */
static bool is_claimed(const char *name)
{
    for (int i = 0; i < conn_count; i++) {
        const struct conn *c = conns[i];
        bool checked = c->state == CHECKED && admission != NONE && !c->refused && !c->hash[0] && !c->hopeless;
        if ((checked || c->state == ASKING) && strcasecmp(c->name, name) == 0)
            return true;
    }
    return false;
}

static int count(enum state from, enum state to)
{
    int n = 0;
    for (int i = 0; i < conn_count; i++)
        n += conns[i]->state >= from && conns[i]->state <= to;
    return n;
}

/* The journal is one file of lines: the events as they are sent, and between them `+ name hash` (a new member)
 * and `- name` (a ban was lifted). It only grows. */
static bool append(const char *bytes, size_t n)
{
    ssize_t wrote = pwrite(journal, bytes, n, journal_size);
    if (wrote != (ssize_t)n) {              /* the disk is full: take the torn line away again */
        if (wrote > 0 && ftruncate(journal, journal_size) < 0)
            perror("processes: a torn line stays in the journal");
        return false;
    }
    journal_size += n;
    return true;
}

/* Writes the next event, after `record` if this is not empty; both in one write. */
static bool write_event(const char *record, const char *verb, const char *who, const char *rest)
{
    static char bytes[3 * LINE];
    struct timespec t;
    struct tm utc;
    char time[32];
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    size_t skip = strlen(record);
    int n = snprintf(bytes, sizeof bytes, "%s%s %llu %s.%03ldZ %s%s%s\n", record, verb, (unsigned long long)seq + 1,
                     time, t.tv_nsec / 1000000, who, rest ? " " : "", rest ? rest : "");
    if (!append(bytes, n))
        return false;
    seq++;
    event = bytes + skip;
    event_len = n - skip;
    return true;
}

/* Does c need time to read what waits for it? */
static bool is_behind(const struct conn *c)
{
    return c->state == HERE && !c->gone && c->reads && c->out.len > OUTBOX / 2;
}

/* Do the members wait? HOLD is for all clients that are behind. Then an outbox may overflow, and those that talk much talk less. */
static bool is_held(void)
{
    return crowded && held_for < HOLD;
}

/* Once a turn. Only after HOLD_AGAIN without a wait the members may wait again: so it is never more than HOLD in so long. */
static void count_hold(void)
{
    static double before;                   /* `now` of the turn before */
    if (is_held()) {
        held_for += now - before;
        held_until = now;
    } else if (now >= held_until + HOLD_AGAIN) {
        held_for = 0;
    }
    before = now;
}

/* An event for c, too, would be too much: it is too slow. What it asked for itself does not count. */
static bool is_full(const struct conn *c)
{
    return c->out.len + event_len > OUTBOX && c->newer + event_len > OUTBOX;
}

/* Sends the newest event to all members that are here. */
static void tell_all(void)
{
    for (int i = 0; i < conn_count; i++) {
        struct conn *c = conns[i];
        if (c->state == HERE && is_full(c)) {
            c->gone = true;                 /* a bare end */
        } else if (c->state == HERE && !c->gone) {
            send_bytes(c, event, event_len);
            crowded |= is_behind(c);
        }
    }
    show(EVENT_LIMIT, "# %.*s", (int)event_len - 1, event);
}

/* An OUT has nobody to be refused to: it waits until it can be written, and every other event waits behind it. */
static bool outs_told(void)
{
    for (struct member *m = members; m && outs_due; m = m->next) {
        if (!m->out_due)
            continue;
        if (!write_event("", "OUT", m->name, NULL))
            return false;
        m->out_due = false;
        outs_due--;
        tell_all();
    }
    return true;
}

/* Keeps an event. Only if this is true may it be sent (tell_all). */
static bool keep(const char *record, const char *verb, const char *who, const char *rest)
{
    return outs_told() && write_event(record, verb, who, rest);
}

/* ---------- down to the child, and the end of a connection ---------- */

/* One line into an empty pipe, or nearly so: this waits for nobody. */
static void hand_down(struct conn *c, const char *word, const char *setting)
{
    char line[LINE];
    int n = snprintf(line, sizeof line, "%s%s\n", word, setting);
    if (write(c->down, line, n) < 0 && errno != EPIPE)      /* EPIPE: the child was killed, and its pipe up will end */
        c->gone = true;
}

static void answer_child(struct conn *c)
{
    if (c->state == OVER && !c->told_over) {
        c->told_over = true;
        hand_down(c, "over", "");
    } else if (c->state != OVER && c->state != CHECKED && c->child_waits) {
        c->child_waits = false;
        hand_down(c, "done", "");
    }
}

/* Hashing takes a core: only so many do it at a time. First come, first served. */
static void give_turns(void)
{
    while (turns < max_turns) {
        struct conn *next = NULL;
        for (int i = 0; i < conn_count; i++)
            if (conns[i]->ticket && (!next || conns[i]->ticket < next->ticket))
                next = conns[i];
        if (!next)
            return;
        next->ticket = 0;
        next->has_turn = true;
        turns++;
        hand_down(next, "check ", next->hash);
    }
}

/* c is out of the group's life. There is an OUT if it was here; a caller that wants none takes c->member away before. */
static void go_away(struct conn *c)
{
    struct member *m = c->member;
    c->state = OVER;                        /* before the OUT, which is not for this client */
    c->member = NULL;
    c->history_to = 0;
    c->ticket = 0;                          /* (a turn it gives back when its child has hashed, or ended) */
    if (m) {
        m->here = NULL;
        m->out_due = true;
        outs_due++;
        outs_told();
    }
}

static void end(struct conn *c, const char *code)
{
    if (c->state == OVER)
        return;
    tell(c, "BYE %s", code);
    go_away(c);
}

static void end_without_out(struct conn *c, const char *code)
{
    if (c->member)
        c->member->here = NULL;
    c->member = NULL;
    end(c, code);
}

static void stop(const char *code)
{
    stopping = true;
    stop_by = now + STOP_WITHIN;
    for (int i = 0; i < conn_count; i++)
        end_without_out(conns[i], code);
}

/* ---------- joining the group ---------- */

/* c's JOIN is finished, one way or the other: the time it took is not the client's. */
static void stranger_again(struct conn *c)
{
    c->state = STRANGER;
    c->join_by += now - c->joined_at;
    c->name[0] = '\0';
}

/* The answer is no. It is sent REJECT_AFTER the JOIN, by look_at_clock. */
static void refuse(struct conn *c)
{
    c->state = CHECKED;
    c->refused = true;
    c->name[0] = '\0';
}

static void welcome(struct conn *c, struct member *m, uint64_t newest)
{
    c->state = HERE;
    c->member = m;
    m->here = c;
    tell(c, "WELCOME %llu %s", (unsigned long long)newest, m->name);
}

/* c comes in: as the member c->name, or as a new one with this name and hash. False: it could not be written. */
static bool admit(struct conn *c, const char *hash)
{
    struct member *m = find(c->name);
    char record[LINE] = "";
    if (!outs_told())
        return false;
    if (m && m->here) {                     /* takeover: no event */
        end_without_out(m->here, "replaced");
        welcome(c, m, seq);
        return true;
    }
    bool is_new = !m;
    if (is_new) {
        snprintf(record, sizeof record, "+ %s %s\n", c->name, hash);
        if (!(m = new_member(c->name, hash)))
            return false;
    }
    bool full = count(HERE, HERE) >= MAX_HERE;
    if (full ? !append(record, strlen(record)) : !keep(record, "IN", m->name, NULL)) {
        if (is_new)
            forget(m);
        return false;
    }
    if (full) {
        end(c, "full");
    } else {
        welcome(c, m, seq - 1);
        tell_all();
    }
    return true;
}

static void join(struct conn *c, const char *name)
{
    static unsigned long tickets;
    tell(c, "PENDING");
    struct member *m = find(name);
    strcpy(c->hash, m ? m->hash : "");    /* empty for a banned name: hashed all the same, so that it takes as long */
    c->hopeless = false;
    for (int i = 0; i < conn_count && !m; i++)
        if (strcasecmp(conns[i]->name, name) == 0 && (conns[i]->state == CHECKED || conns[i]->state == ASKING))
            c->hopeless = true;
    c->ticket = ++tickets;
    c->state = CHECKED;
    c->joined_at = now;
    strcpy(c->name, name);
}

/* The password of c is hashed. Meanwhile the name may have been banned, left, renamed: what counts is what is now. */
static void verdict(struct conn *c, const char *hash)
{
    struct member *m = find(c->name);
    bool right = m && !m->banned && c->hash[0] && strcmp(m->hash, c->hash) == 0 && strcmp(hash, c->hash) == 0;
    bool new_name = !m && !c->hash[0] && !c->hopeless;
    c->heard_at = now;                      /* we did not listen while it hashed: that was no silence */
    if (!hash[0]) {
        end(c, "full");                     /* no memory for the hash */
    } else if (right || (new_name && admission == ALL)) {
        if (!admit(c, hash)) {
            stranger_again(c);
            err(c, not_saved);
        }
    } else if (new_name && admission == ASK && count(ASKING, ASKING) < MAX_ASKING) {
        c->state = ASKING;
        strcpy(c->hash, hash);
        show(ASK_LIMIT, "%s asks to join from %s", c->name, c->address);
    } else {
        refuse(c);
    }
}

/* ---------- requests ---------- */

/* The member c causes an event. While members are rationed, that costs c time. False: it could not be written. */
static bool cause(struct conn *c, const char *verb, const char *rest)
{
    bool kept = keep("", verb, c->member->name, rest);
    if (kept)
        tell_all();
    else
        err(c, not_saved);
    if (kept && crowded && !is_held())
        c->rest_until = now + (double)event_len / RATION;
    return kept;
}

static void rename_member(struct conn *c, const char *name)
{
    struct member *holder = find(name);
    if (is_claimed(name) || (holder && holder != c->member))
        err(c, "name-taken somebody else has this name");
    else if (cause(c, "RENAMED", name))
        strcpy(c->member->name, name);
}

static void leave(struct conn *c)
{
    struct member *m = c->member;
    if (cause(c, "LEFT", NULL)) {
        end_without_out(c, "left");
        forget(m);
    }
}

static void who(struct conn *c)
{
    for (struct member *m = members; m; m = m->next)
        if (!m->banned)
            tell(c, "MEMBER %s %s", m->name, m->here ? "here" : "away");
    tell(c, "END WHO");
    c->newer = 0;
}

/* Sends a piece of the answer to HISTORY, if there is room for it. What is not asked for is read, too, but piece by piece. */
static void go_on_with_history(struct conn *c)
{
    static char piece[CHUNK];
    if (!c->history_to || c->out.len >= CHUNK)
        return;
    ssize_t n = pread(journal, piece, sizeof piece, c->history_at);
    char *line = piece, *lf;
    while (n > 0 && c->history_seen < c->history_to && (lf = memchr(line, '\n', piece + n - line))) {
        if (*line != '+' && *line != '-' && ++c->history_seen > c->history_since)
            send_bytes(c, line, lf + 1 - line);
        line = lf + 1;
    }
    c->history_at += line - piece;
    if (c->history_seen >= c->history_to) {
        tell(c, "END HISTORY %llu", (unsigned long long)c->history_to);
        c->history_to = 0;
    } else if (line == piece) {
        c->gone = true;                     /* the journal cannot be read */
    }
    c->newer = 0;
}

static void history(struct conn *c, uint64_t since)
{
    c->history_to = seq;
    c->history_since = since;
    c->history_seen = since >= seq ? seq : 0;
    c->history_at = 0;
    go_on_with_history(c);
}

/* One line of the child's. It is well-formed, or the child says what is wrong. */
static void request(struct conn *c, char *line)
{
    bool faulty = line[0] == '!';
    char *rest = strchr(line, ' ');
    if (line[0] == '=') {                   /* its turn is over */
        turns -= c->has_turn;
        c->has_turn = false;
        verdict(c, line + 1);
        return;
    }
    c->heard_at = now;
    c->pinged = false;
    if (rest)
        *rest++ = '\0';
    enum verb verb = verb_of(line + faulty);
    c->child_waits = verb == JOIN && !faulty;
    const char *fault = verb != JOIN && verb < QUIT && c->state != HERE ? "not-joined ask to enter first, with JOIN"
                        : verb == JOIN && c->state != STRANGER ? "already-joined you asked already" : faulty ? rest : NULL;
    if (fault) {
        err(c, fault);
        if (strncmp(fault, "too-long ", 9) == 0)
            end(c, "protocol");
        return;
    }
    switch (verb) {
    case JOIN: join(c, rest); break;
    case SAY: cause(c, "MSG", rest); break;
    case RENAME: rename_member(c, rest); break;
    case WHO: who(c); break;
    case HISTORY: history(c, strtoull(rest, NULL, 10)); break;
    case LEAVE: leave(c); break;
    case QUIT: end(c, "quit"); break;
    case PING: tell(c, "PONG %s", rest); break;
    default: break;                         /* PONG: that it came is all we wanted to know */
    }
}

/* May the next line of c's child be handled, if there is one? While it hashes, that is its hash: it sends nothing else. */
static bool is_heard(const struct conn *c)
{
    if (c->gone || c->state == CHECKED)
        return !c->gone && !c->refused;
    return !c->history_to && c->out.len <= OUTBOX / 2
           && (c->state == STRANGER || c->state == ASKING || (c->state == HERE && !is_held() && c->rest_until <= now));
}

static void work(struct conn *c)
{
    go_on_with_history(c);
    size_t start = 0;
    char *lf;
    while (is_heard(c) && (lf = memchr(c->in + start, '\n', c->in_len - start))) {
        char *line = c->in + start;
        *lf = '\0';
        start = lf + 1 - c->in;
        request(c, line);
    }
    c->in_len -= start;
    memmove(c->in, c->in + start, c->in_len);
    if (c->eof && is_heard(c))
        end(c, "quit");
}

/* ---------- the owner's orders ---------- */

/* Each returns why it was not done, or NULL. */
static const char *order_ban(const char *name)
{
    struct member *m = find(name);
    struct conn *asker = find_asker(name);
    if (m && m->banned)
        return "this name is banned already";
    struct member *banned = m ? m : new_member(asker ? asker->name : name, "");
    if (!banned || !keep("", "BANNED", banned->name, NULL)) {
        if (banned && !m)
            forget(banned);
        return unwritten;
    }
    tell_all();
    banned->banned = true;
    banned->hash[0] = '\0';
    if (banned->here)
        end_without_out(banned->here, "banned");
    if (asker)
        refuse(asker);
    return NULL;
}

static const char *order_unban(const char *name)
{
    struct member *m = find(name);
    char record[LINE];
    if (!m || !m->banned)
        return "this name is not banned";
    snprintf(record, sizeof record, "- %s\n", m->name);
    if (!outs_told() || !append(record, strlen(record)))
        return unwritten;
    forget(m);
    return NULL;
}

static const char *order_members(void)
{
    for (struct member *m = members; m; m = m->next)
        show(ANSWER_LIMIT, "member %s %s", m->name, m->banned ? "banned" : m->here ? "here" : "away");
    for (int i = 0; i < conn_count; i++)
        if (conns[i]->state == ASKING)
            show(ANSWER_LIMIT, "member %s asks from %s", conns[i]->name, conns[i]->address);
    return NULL;
}

static const char *order(char *line, size_t len)
{
    char *rest = strchr(line, ' ');
    if (text_fault(line, len))
        return "this is no text";
    if (rest)
        *rest++ = '\0';
    if (!rest && strcmp(line, "members") == 0)
        return order_members();
    if (!rest && strcmp(line, "help") == 0) {
        show(ANSWER_LIMIT, "# accept NAME, reject NAME: who asks to join\n# ban NAME, unban NAME\n# rename GROUP\n"
                           "# members: who is a member, who is banned, who asks\n# close: stop; the group is kept\n"
                           "# delete: stop, and remove the group");
        return NULL;
    }
    struct conn *asker = rest ? find_asker(rest) : NULL;
    if (rest && strcmp(line, "accept") == 0)
        return !asker ? "nobody asks with this name" : admit(asker, asker->hash) ? NULL : unwritten;
    if (rest && strcmp(line, "reject") == 0) {
        if (asker)
            refuse(asker);
        return asker ? NULL : "nobody asks with this name";
    }
    if (rest && strcmp(line, "ban") == 0 && is_name(rest))
        return order_ban(rest);
    if (rest && strcmp(line, "unban") == 0 && is_name(rest))
        return order_unban(rest);
    if (rest && strcmp(line, "rename") == 0 && is_group(rest)) {
        if (!keep("", "GROUP", rest, NULL))
            return unwritten;
        strcpy(group, rest);
        tell_all();
        return NULL;
    }
    return "no such order; try help";
}

/* A line of the owner's; NULL: one that was too long. */
static void take_order(char *line, size_t len)
{
    const char *why;
    if (line && len > 0 && line[len - 1] == '\r')
        line[--len] = '\0';
    if (want_consent) {
        bool given = line && len == strlen(group) && memcmp(line, group, len) == 0;
        why = !given ? "not deleted" : unlink("journal") < 0 ? strerror(errno) : NULL;
        want_consent = false;
        if (!why)
            stop("deleted");
    } else if (!line) {
        why = "an order has at most 512 bytes";
    } else if (len == 6 && memcmp(line, "delete", 6) == 0) {
        want_consent = true;
        show(ANSWER_LIMIT, "type the group's name to delete it");
        return;
    } else if (len == 0) {
        return;
    } else if (len == 5 && memcmp(line, "close", 5) == 0) {
        stop("closed");
        why = NULL;
    } else {
        why = order(line, len);
    }
    show(ANSWER_LIMIT, why ? "error: %s" : "ok", why);
}

static void take_orders(void)
{
    static char in[LINE];
    static size_t in_len;
    static bool skipping;                   /* the rest of a line that is too long */
    ssize_t n = read(STDIN_FILENO, in + in_len, LINE - in_len);
    orders_over = n == 0 || (n < 0 && !try_again());
    in_len += n > 0 ? n : 0;
    char *lf;
    while (!stopping && (lf = memchr(in, '\n', in_len))) {
        size_t used = lf + 1 - in;
        *lf = '\0';
        take_order(skipping ? NULL : in, used - 1);
        skipping = false;
        in_len -= used;
        memmove(in, in + used, in_len);
    }
    if (in_len == LINE) {
        skipping = true;
        in_len = 0;
    }
}

/* ---------- the clock ---------- */

static void look_at_clock(struct conn *c)
{
    if (!is_heard(c))
        c->heard_at = now;                  /* silence is what we could have heard */
    if (c->state == STRANGER && due(c->join_by)) {
        end(c, "timeout");
    } else if (c->refused && c->state == CHECKED && due(c->joined_at + REJECT_AFTER)) {
        c->refused = false;
        tell(c, "REJECTED refused");
        stranger_again(c);
        if (++c->noes == MAX_NO)
            end(c, "refused");
    } else if ((c->state == ASKING || c->state == HERE) && due(c->heard_at + IDLE_AFTER)) {
        end(c, "idle");
    } else if ((c->state == ASKING || c->state == HERE) && !c->pinged && due(c->heard_at + PING_AFTER)) {
        c->pinged = true;
        tell(c, "PING are-you-there");
    }
    if ((c->shut && due(c->close_at)) || (c->out.len && due(c->took_at + SLOW_AFTER)))
        c->gone = true;
    if (c->out.len && due(c->window_start + READER_WINDOW)) {
        c->reads = c->window_took >= READER_TAKES;
        c->window_start = now;
        c->window_took = 0;
    }
}

/* ---------- the hub's loop ---------- */

enum { SIGNALS, NEWCOMERS, ORDERS, OWNER, CONNS };     /* their places in `polled`; from CONNS on two for each connection */
static struct pollfd polled[CONNS + 2 * MAX_CONNS];

static void watch(int place, int fd, short events, bool wanted)
{
    polled[place] = (struct pollfd){ .fd = wanted ? fd : -1, .events = events };
}

/* Waits for whatever comes first: somebody, or a time at which something is due. */
static void wait_for_all(void)
{
    watch(SIGNALS, signals, POLLIN, !stopping);
    watch(NEWCOMERS, listener, POLLIN, !stopping && !accept_at);
    watch(ORDERS, STDIN_FILENO, POLLIN, !stopping && !orders_over && screen.len <= SCREEN);
    watch(OWNER, STDOUT_FILENO, POLLOUT, screen.len > 0);
    for (int i = 0; i < conn_count; i++) {
        struct conn *c = conns[i];
        bool heard = !c->eof && (c->state == OVER || is_heard(c));
        watch(CONNS + 2 * i, c->up, heard ? POLLIN : 0, heard || c->pid);   /* POLLHUP, that its child is gone, comes unasked */
        watch(CONNS + 2 * i + 1, c->fd, POLLOUT, c->out.len > 0);           /* wakes us, no more: we send each turn */
    }
    /* Rounded up, so that no deadline is early. */
    int ms = wake_at == INFINITY ? -1 : wake_at <= now ? 0 : (int)ceil((wake_at - now) * 1000);
    struct timespec t;
    poll(polled, CONNS + 2 * conn_count, ms);
    clock_gettime(CLOCK_MONOTONIC, &t);
    now = t.tv_sec + t.tv_nsec / 1e9;
    wake_at = INFINITY;
}

/* The child's pipe has no writer any more, so the child is ending: this does not wait long, and no zombie stays. */
static void reap(struct conn *c)
{
    int status = 0;
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
    turns -= c->has_turn;
    c->has_turn = false;
    if (status != 0)
        c->gone = true;                     /* killed: the client gets a bare end */
}

/* Takes what a child has sent up, and notices its end. What it sent before that is still in the pipe. */
static void hear_child(struct conn *c, const struct pollfd *pipe)
{
    char junk[GULP];
    bool discard = c->state == OVER;
    size_t room = discard ? sizeof junk : sizeof c->in - c->in_len;
    if (pipe->revents && pipe->events && room) {
        ssize_t n = read(c->up, discard ? junk : c->in + c->in_len, room);
        c->eof = n == 0;
        c->in_len += n > 0 && !discard ? n : 0;
    }
    if (pipe->revents & POLLHUP && c->pid)
        reap(c);
}

static void print_address(char *to, size_t room, const struct sockaddr_storage *from)
{
    char ip[INET6_ADDRSTRLEN + 20] = "?", port[8] = "?";
    getnameinfo((const struct sockaddr *)from, sizeof *from, ip, sizeof ip, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(to, room, strchr(ip, ':') ? "[%s]:%s" : "%s:%s", ip, port);
}

/* False: no descriptor, process or memory for a child. */
static bool start_child(struct conn *c, int fd)
{
    int up[2] = { -1, -1 }, down[2] = { -1, -1 };
    bool piped = pipe2(up, O_CLOEXEC) == 0 && pipe2(down, O_CLOEXEC) == 0;
    c->pid = piped ? fork() : -1;
    if (c->pid == 0)
        child_main(fd, up[1], down[0]);
    close(up[1]);                           /* important: or we would never see that the child is gone */
    close(down[0]);
    if (c->pid < 0) {
        close(up[0]);
        close(down[1]);
        return false;
    }
    c->fd = fd;
    c->up = up[0];
    c->down = down[1];
    fcntl(c->up, F_SETFL, O_NONBLOCK);      /* our end only: the child's write may wait */
    return true;
}

static void accept_client(int fd, const struct sockaddr_storage *from)
{
    int yes = 1, sndbuf = SNDBUF;
    struct conn *c = conn_count < MAX_CONNS ? calloc(1, sizeof *c) : NULL;
    if (!c || !start_child(c, fd)) {            /* this one is turned away, the rest chat on */
        free(c);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf);
    c->reads = true;
    c->join_by = now + JOIN_WITHIN;
    print_address(c->address, sizeof c->address, from);
    conns[conn_count++] = c;
    if (count(STRANGER, ASKING) > MAX_STRANGERS)
        end(c, "full");
    else
        tell(c, "HELLO grupo/1 %s", group);
    flush(c);
}

static void accept_all(void)
{
    for (int i = 0; i < 16; i++) {          /* not without end: the others wait */
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_client(fd, &from);
        } else if (errno == EMFILE && spare >= 0) { /* no descriptor left: lend it the spare one, to close it */
            close(spare);
            close(accept(listener, NULL, NULL));
            spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        } else {
            if (!try_again() && errno != ECONNABORTED)
                accept_at = now + 0.1;      /* nothing helps just now: look away, or poll would spin */
            return;
        }
    }
}

/* We have done with this client. Its child sees the end of the socket and of its pipe down, ends, and so its pipe up ends. */
static void hang_up(struct conn *c)
{
    go_away(c);
    taken(&c->out, c->out.len);
    shutdown(c->fd, SHUT_RDWR);             /* close would not be enough: the child has a copy */
    close(c->down);
    c->down = -1;
}

static void bury(int i)
{
    struct conn *c = conns[i];
    conns[i] = conns[--conn_count];
    close(c->up);
    close(c->fd);
    free(c);
}

/* None outlives the hub, not even one that is stopped. */
static void end_children(void)
{
    for (int i = 0; i < conn_count; i++)
        if (conns[i]->pid && kill(conns[i]->pid, SIGKILL) == 0)
            reap(conns[i]);
}

static void loop(void)
{
    unsigned turn = 0;
    while (!(stopping && (due(stop_by) || (conn_count == 0 && screen.len == 0)))) {
        wait_for_all();
        count_hold();
        for (int i = 0; i < conn_count; i++)
            hear_child(conns[i], &polled[CONNS + 2 * i]);
        if (polled[SIGNALS].revents)
            stop("closed");
        if (polled[ORDERS].revents)
            take_orders();
        turn++;                             /* another one is first each time, or the first would starve the last */
        for (int i = 0; i < conn_count; i++)
            work(conns[(i + turn) % conn_count]);

        crowded = false;
        for (int i = conn_count - 1; i >= 0; i--) {
            struct conn *c = conns[i];
            flush(c);
            if (c->gone && c->down >= 0)
                hang_up(c);
            if (c->gone && !c->pid)
                bury(i);
            else
                crowded |= is_behind(c);
        }
        if (is_held())
            due(now + HOLD - held_for);
        if (polled[NEWCOMERS].revents && !stopping)
            accept_all();                   /* now that closed connections have made room */
        for (int i = 0; i < conn_count; i++) {
            struct conn *c = conns[i];
            if (c->down >= 0) {             /* (else we only wait for the end of its child) */
                look_at_clock(c);
                answer_child(c);
            }
            bool unread = c->eof || memchr(c->in, '\n', c->in_len);
            if ((c->gone && c->down >= 0) || (is_heard(c) && unread) || (c->history_to && c->out.len < CHUNK))
                due(now);                   /* there is something to do: do not sleep */
            if (c->rest_until > now)
                due(c->rest_until);
        }
        give_turns();
        if (outs_due && due(retry_outs_at)) {
            outs_told();
            retry_outs_at = now + 0.5;
        }
        if (not_shown && screen.len <= SCREEN / 2) {
            show(ANSWER_LIMIT, "# %lu lines not shown", not_shown);
            not_shown = 0;
        }
        flush_screen();
        if (accept_at && due(accept_at))
            accept_at = 0;
    }
}

/* ---------- the start ---------- */

/* Does again what this line of the journal says. False: such a line cannot be. */
static bool replay(char *line)
{
    char *field[5] = { line, "", "", "", "" };
    for (int i = 1; i < 5 && (line = strchr(line, ' ')); i++) {
        *line++ = '\0';
        field[i] = line;
    }
    const char *verb = field[0], *who = field[3], *rest = field[4];
    bool is_event = strcmp(verb, "+") != 0 && strcmp(verb, "-") != 0;
    struct member *m = find(is_event ? who : field[1]);
    if (strcmp(verb, "+") == 0)
        return seq && !m && is_name(field[1]) && field[2][0] && !field[3][0] && strlen(field[2]) < CRYPT_OUTPUT_SIZE
               && new_member(field[1], field[2]);
    if (is_event && (strtoull(field[1], NULL, 10) != seq + 1 || strlen(field[2]) != 24))
        return false;
    seq += is_event;
    if (strcmp(verb, "GROUP") == 0) {
        if (rest[0])
            field[4][-1] = ' ';             /* a group may have spaces: undo the cut */
        if (is_group(who))
            strcpy(group, who);
        return is_group(who);
    }
    if (seq <= 1 || (is_event && !is_name(who)))
        return false;
    if (strcmp(verb, "BANNED") == 0) {
        m = m ? m : new_member(who, "");
        if (!m || m->banned)
            return false;
        m->banned = true;
        m->hash[0] = '\0';
        return true;
    }
    if (!m || m->banned == is_event)        /* a `-` is of a ban, an event of a member */
        return false;
    if (strcmp(verb, "RENAMED") == 0) {
        struct member *holder = find(rest);
        if (!is_name(rest) || (holder && holder != m))
            return false;
        strcpy(m->name, rest);
        return true;
    }
    if (!is_event || strcmp(verb, "LEFT") == 0) {
        forget(m);
        return true;
    }
    return strcmp(verb, "IN") == 0 || strcmp(verb, "OUT") == 0 || (strcmp(verb, "MSG") == 0 && rest[0]);
}

static void open_journal(const char *dir)
{
    if ((mkdir(dir, 0700) < 0 && errno != EEXIST) || chdir(dir) < 0)
        die(1, dir, strerror(errno));
    journal = open("journal", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    FILE *in = journal < 0 ? NULL : fdopen(dup(journal), "r");
    if (!in)
        die(1, "the journal", strerror(errno));
    struct stat st;
    /* Without a link: another server is just deleting it. */
    if (flock(journal, LOCK_EX | LOCK_NB) < 0 || fstat(journal, &st) < 0 || st.st_nlink == 0)
        die(1, dir, "another server holds this directory");

    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    while ((n = getline(&line, &room, in)) > 0) {
        if (line[n - 1] != '\n' && seq && n < LINE)
            break;                          /* the last line was torn by a kill: it was sent to nobody */
        line[n - 1] = '\0';
        if (n > LINE || text_fault(line, n - 1) || !replay(line))
            die(1, "the journal is damaged", "nothing was changed");
        journal_size += n;
    }
    if (ferror(in))
        die(1, "the journal", strerror(errno));
    free(line);
    fclose(in);
}

static void listen_on(const struct addrinfo *found)
{
    int yes = 1;
    listener = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0
        || bind(listener, found->ai_addr, found->ai_addrlen) < 0 || listen(listener, SOMAXCONN) < 0)
        die(1, "cannot listen", strerror(errno));
}

static void give_stdout_back(void)          /* a terminal is shared with the shell, which expects it to block */
{
    fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) & ~O_NONBLOCK);
}

int main(int argc, char **argv)
{
    static const struct option flags[] = { { "host", 1, NULL, 0 }, { "port", 1, NULL, 0 }, { "group", 1, NULL, 0 },
                                           { "dir", 1, NULL, 0 }, { "admit", 1, NULL, 0 }, { 0 } };
    const char *value[] = { "127.0.0.1", "7000", "grupo", "./grupo", "ask" };
    static const char *const admissions[] = { "ask", "all", "none" };
    int flag, wrong;
    while ((wrong = getopt_long(argc, argv, "", flags, &flag)) == 0)
        value[flag] = optarg;
    if (wrong != -1)
        return 2;                           /* getopt_long has said why */
    if (optind < argc)
        die(2, argv[optind], "no such flag");
    const char *port = value[1];
    if (!port[0] || strlen(port) > 5 || port[strspn(port, "0123456789")] || atoi(port) > 65535)
        die(2, "--port", "a number from 0 to 65535");
    if (!is_group(value[2]))
        die(2, "--group", "1 to 64 bytes of text, no space at either end");
    strcpy(group, value[2]);
    while (admission <= NONE && strcmp(value[4], admissions[admission]) != 0)
        admission++;
    if (admission > NONE)
        die(2, "--admit", "ask, all or none");
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found;
    int error = getaddrinfo(value[0], port, &hints, &found);
    if (error)
        die(2, "--host", gai_strerror(error));

    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
        ;                                   /* closed standard descriptors must not become sockets */
    close(fd);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGCHLD, SIG_DFL);               /* if it was ignored, children would vanish without a waitpid */
    signal(SIGPIPE, SIG_IGN);               /* these become errors of write and read */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    struct sigaction hup;
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    umask(077);

    open_journal(value[3]);
    listen_on(found);
    freeaddrinfo(found);
    if (ftruncate(journal, journal_size) < 0 || (seq == 0 && !keep("", "GROUP", group, NULL)))
        die(1, "the journal cannot be written", strerror(errno));
    if ((signals = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        die(1, "cannot start", strerror(errno));
    max_turns = sysconf(_SC_NPROCESSORS_ONLN) >= 3 ? 2 : 1;

    struct sockaddr_storage self;
    socklen_t len = sizeof self;
    char address[sizeof conns[0]->address];
    getsockname(listener, (struct sockaddr *)&self, &len);
    print_address(address, sizeof address, &self);
    show(ANSWER_LIMIT, "listening on %s", address);
    if (strncmp(address, "127.", 4) != 0 && strncmp(address, "[::1]:", 6) != 0)
        fprintf(stderr, "processes: warning: passwords travel in clear to this address\n");
    fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
    atexit(give_stdout_back);
    flush_screen();
    loop();
    end_children();
    return 0;
}
