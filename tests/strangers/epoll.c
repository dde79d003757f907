/* epoll.c: a server for grupo/1, in C, with epoll.
 *
 * Build:  cc -O2 -Wall -Wextra -o epoll epoll.c -pthread -lcrypt
 * Run:    ./epoll --port 7000 --group os-lab --dir ./grupo --admit ask
 *
 * The law: one thread, the loop at the end of this file, owns everything and waits nowhere but in epoll_wait().
 * One other thread hashes passwords. The two share only the struct jobs in `waiting` and `done`, and `jobs_lock` guards
 * those lists. No event is sent to anybody before it is in the journal.
 *
 * Each turn of the loop takes what the kernel has for us, works on each connection, sends what it can, and then
 * looks at the clock. A connection is freed in one place only (in the loop, if it is `gone`), so a pointer to
 * one is good for the whole turn. Read from the bottom up: main, the loop, then what it calls.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <crypt.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {                                      /* sizes on the wire, in bytes */
    LINE = 512, NAME = 32, TEXT = 400, GROUP = 64, PASSWORD = 128, TOKEN = 64, DIGITS = 16
};
enum {                                      /* what one server bears */
    OUTBOX = 1 << 20,                       /* bytes that may wait for one client */
    SNDBUF = 65536,                         /* bytes that may wait in the kernel for one client */
    CHUNK = 65536,                          /* HISTORY is read from the journal in pieces of this size */
    SCREEN = 65536,                         /* bytes that may wait for the owner */
    RATION = 65536,                         /* bytes of events that a member may cause in a second, if they are rationed */
    MAX_CONNS = 2048, MAX_HERE = 1024, MAX_STRANGERS = 256, MAX_ASKING = 32, MAX_NO = 3, MAX_ERR = 10
};
static const double JOIN_WITHIN = 20, PING_AFTER = 60, IDLE_AFTER = 90, SLOW_AFTER = 10, REJECT_AFTER = 1, LINGER = 1,
                    STOP_WITHIN = 1.2,      /* the page allows 2 */
                    READER_WINDOW = 2,      /* a client that took READER_TAKES bytes in this time keeps reading */
                    HOLD = 2, HOLD_AGAIN = 60;      /* the members wait for those that read no longer than this in that */
enum { READER_TAKES = 128 * 1024 };

struct outbox { char *bytes; size_t start, len, room; };

struct member {
    char name[NAME + 1];
    char hash[CRYPT_OUTPUT_SIZE];
    bool banned;                            /* then this is no member, but a name held by a ban */
    bool out_due;                           /* gone, but the OUT could not be written yet */
    struct conn *here;                      /* NULL: away */
    struct member *next;
};

struct job {                                /* one password to hash */
    char password[PASSWORD + 1];
    char stored[CRYPT_OUTPUT_SIZE];         /* the member's hash; empty: a new name, choose a salt */
    char result[CRYPT_OUTPUT_SIZE];         /* empty: it failed */
    bool hopeless;                          /* another JOIN with this new name is under way */
    bool cancelled;                         /* guarded by jobs_lock */
    struct conn *conn;                      /* for the loop only; NULL: the connection ended meanwhile */
    struct job *next;
};

enum state { STRANGER, CHECKED, ASKING, HERE, OVER };

struct conn {
    int fd;
    enum state state;
    uint32_t watched;                       /* what epoll watches for */
    char address[INET6_ADDRSTRLEN + 10];
    char in[LINE];
    size_t in_len;
    struct outbox out;
    bool eof;                               /* the client has ended its sending */
    bool gone;                              /* to be closed and freed at the end of this turn */
    bool shut;                              /* BYE is sent, and so is our end of file */
    struct member *member;                  /* while HERE */
    char name[NAME + 1];                    /* while CHECKED or ASKING; empty once it is refused */
    char hash[CRYPT_OUTPUT_SIZE];           /* while ASKING */
    struct job *job;                        /* while a password is checked */
    bool refused;                           /* REJECTED will be sent when its time has come */
    int noes, errs;
    bool pinged;
    uint64_t history_to;                    /* an answer to HISTORY is under way up to this event; 0: none */
    uint64_t history_next;
    off_t history_at;
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
static struct conn *conns[MAX_CONNS];
static int conn_count;
static int outs_due;                        /* members with out_due */
static bool crowded;                        /* a client that keeps reading has much waiting: members are not read, */
static double held_for, held_until;         /* until they have waited so long, the last time then: from now on they are rationed */

static int journal;                         /* the group's file, locked while we live */
static off_t journal_size;
static uint64_t seq;                        /* of the newest event */
static off_t *event_at;                     /* event_at[n]: where event n is in the journal */
static size_t event_room;
static char *event;                         /* the newest event's line, with its LF */
static size_t event_len;

static int poller, listener, signals, hashed, spare;
static bool listening, reading_orders, writing_screen, orders_over, orders_always_ready, want_consent, stopping;
static struct outbox screen;                /* what waits for the owner */
static unsigned long not_shown;
static double now, wake_at, retry_outs_at, stop_by, accept_at; /* accept_at 0: at once */

static void end(struct conn *c, const char *code);     /* below: `err` and it need each other */

/* ---------- small things ---------- */

static void die(int status, const char *what, const char *why)
{
    fprintf(stderr, "epoll: %s: %s\n", what, why);
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
    if (o->start + o->len + n > o->room) {
        if (o->start)
            memmove(o->bytes, o->bytes + o->start, o->len);
        o->start = 0;
        if (o->len + n > o->room / 2) {     /* half of it stays free, or we would move all bytes again and again */
            size_t room = 2 * (o->len + n);
            char *more = realloc(o->bytes, room);
            if (!more)
                return false;
            o->bytes = more;
            o->room = room;
        }
    }
    memcpy(o->bytes + o->start + o->len, bytes, n);
    o->len += n;
    return true;
}

static void taken(struct outbox *o, size_t n)
{
    o->start += n;
    o->len -= n;
    if (o->len == 0) {                      /* most outboxes are empty most of the time: they keep no memory */
        free(o->bytes);
        *o = (struct outbox){ 0 };
    }
}

static bool try_again(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* What is wrong with these bytes as text: NULL, "bad-utf8", or "bad-text". A bad byte anywhere comes before a bad character. */
static const char *text_fault(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    const char *fault = NULL;
    for (size_t i = 0; i < len;) {
        int more = s[i] < 0x80 ? 0 : s[i] < 0xE0 ? 1 : s[i] < 0xF0 ? 2 : 3;     /* how many bytes follow this one */
        if ((s[i] >= 0x80 && s[i] < 0xC0) || s[i] >= 0xF8 || i + more >= len)
            return "bad-utf8";
        uint32_t ch = more == 0 ? s[i] : s[i] & (0x3F >> more);
        i++;
        for (int k = 0; k < more; k++, i++) {
            if ((s[i] & 0xC0) != 0x80)
                return "bad-utf8";
            ch = ch << 6 | (s[i] & 0x3F);
        }
        if (ch < least[more] || ch > 0x10FFFF || (ch >= 0xD800 && ch < 0xE000))
            return "bad-utf8";
        if (ch < 0x20 || (ch >= 0x7F && ch < 0xA0)                                          /* controls */
            || (ch >= 0x202A && ch <= 0x202E) || (ch >= 0x2066 && ch <= 0x2069)             /* turn the direction of writing */
            || (ch >= 0xFDD0 && ch <= 0xFDEF) || (ch & 0xFFFE) == 0xFFFE)                   /* no characters */
            fault = "bad-text";
    }
    return fault;
}

static bool is_name(const char *s)
{
    size_t len = strlen(s);
    if (len < 1 || len > NAME || !isalnum((unsigned char)s[0]))     /* the C locale: ASCII only */
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-", *s))
            return false;
    return true;
}

static bool is_group(const char *s)
{
    size_t len = strlen(s);
    return len >= 1 && len <= GROUP && s[0] != ' ' && s[len - 1] != ' ' && !text_fault(s, len);
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
    ssize_t n = write(STDOUT_FILENO, screen.bytes + screen.start, screen.len);
    if (n >= 0)
        taken(&screen, n);
    else if (!try_again())
        taken(&screen, screen.len);         /* the owner's side is closed: nobody reads this */
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
        ssize_t n = send(c->fd, c->out.bytes + c->out.start, c->out.len, 0);
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
    if (c->shut && c->eof)
        c->gone = true;
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
        bool checked = c->state == CHECKED && admission != NONE && c->job && !c->job->stored[0] && !c->job->hopeless;
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
            perror("epoll: a torn line stays in the journal");
        return false;
    }
    journal_size += n;
    return true;
}

static bool note_event(off_t where)
{
    if (seq + 1 >= event_room) {
        size_t room = event_room ? 2 * event_room : 1024;
        off_t *more = realloc(event_at, room * sizeof *more);
        if (!more)
            return false;
        event_at = more;
        event_room = room;
    }
    event_at[seq + 1] = where;
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
    if (!note_event(journal_size + skip) || !append(bytes, n))
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
        if (c->state != HERE || c->gone)
            continue;
        if (is_full(c)) {
            c->gone = true;                 /* a bare end */
            continue;
        }
        send_bytes(c, event, event_len);
        crowded |= is_behind(c);
    }
    show(EVENT_LIMIT, "# %.*s", (int)event_len - 1, event);
}

/* The same for an event that the member c has caused. While members are rationed, that costs c time. */
static void tell_all_for(struct conn *c)
{
    tell_all();
    if (crowded && !is_held())
        c->rest_until = now + (double)event_len / RATION;
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

/* ---------- passwords ---------- */

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t job_came = PTHREAD_COND_INITIALIZER;
static struct job *waiting, **waiting_end = &waiting;      /* first come, first served */
static struct job *done;

__attribute__((noreturn))
static void *hash_passwords(void *unused)
{
    static struct crypt_data data;          /* 32 KiB: too much for some stacks */
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&jobs_lock);
        while (!waiting)
            pthread_cond_wait(&job_came, &jobs_lock);
        struct job *job = waiting;
        waiting = job->next;
        if (!waiting)
            waiting_end = &waiting;
        bool cancelled = job->cancelled;
        pthread_mutex_unlock(&jobs_lock);

        if (!cancelled) {                   /* the long part, without the lock */
            char salt[CRYPT_GENSALT_OUTPUT_SIZE];
            const char *setting = job->stored[0] ? job->stored : crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof salt);
            const char *hash = setting ? crypt_r(job->password, setting, &data) : NULL;
            if (hash && hash[0] != '*')     /* `*` is how libcrypt says that it failed */
                strcpy(job->result, hash);
            explicit_bzero(&data, sizeof data);
        }
        explicit_bzero(job->password, sizeof job->password);

        pthread_mutex_lock(&jobs_lock);
        job->next = done;
        done = job;
        pthread_mutex_unlock(&jobs_lock);
        eventfd_write(hashed, 1);
    }
}

static void give_job(struct job *job)
{
    pthread_mutex_lock(&jobs_lock);
    *waiting_end = job;
    waiting_end = &job->next;
    pthread_mutex_unlock(&jobs_lock);
    pthread_cond_signal(&job_came);
}

static void cancel_job(struct job *job)
{
    job->conn = NULL;
    pthread_mutex_lock(&jobs_lock);
    job->cancelled = true;
    pthread_mutex_unlock(&jobs_lock);
}

/* ---------- the end of a connection ---------- */

/* c is out of the group's life. There is an OUT if it was here; a caller that wants none takes c->member away before. */
static void go_away(struct conn *c)
{
    struct member *m = c->member;
    c->state = OVER;                        /* before the OUT, which is not for this client */
    c->member = NULL;
    c->history_to = 0;
    if (c->job)
        cancel_job(c->job);
    c->job = NULL;
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
        if (!(m = new_member(c->name, hash)))
            return false;
        snprintf(record, sizeof record, "+ %s %s\n", c->name, hash);
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

static void join(struct conn *c, const char *name, const char *password)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        end(c, "full");
        return;
    }
    tell(c, "PENDING");
    struct member *m = find(name);
    if (m)
        strcpy(job->stored, m->hash);       /* empty for a banned name: hashed all the same, so that it takes as long */
    for (int i = 0; i < conn_count && !m; i++)
        if (strcasecmp(conns[i]->name, name) == 0 && (conns[i]->state == CHECKED || conns[i]->state == ASKING))
            job->hopeless = true;
    strcpy(job->password, password);
    job->conn = c;
    c->job = job;
    c->state = CHECKED;
    c->joined_at = now;
    strcpy(c->name, name);
    give_job(job);
}

/* The password of c is hashed. Meanwhile the name may have been banned, left, renamed: what counts is what is now. */
static void verdict(struct conn *c, const struct job *job)
{
    struct member *m = find(c->name);
    bool right = m && !m->banned && job->stored[0] && strcmp(m->hash, job->stored) == 0 && strcmp(job->result, job->stored) == 0;
    bool new_name = !m && !job->stored[0] && !job->hopeless;
    c->heard_at = now;                      /* we did not listen while we hashed: that was no silence */
    if (!job->result[0]) {
        end(c, "full");                     /* no memory for the hash */
    } else if (right || (new_name && admission == ALL)) {
        if (!admit(c, job->result)) {
            stranger_again(c);
            err(c, "not-saved the server cannot write to its disk; try again later");
        }
    } else if (new_name && admission == ASK && count(ASKING, ASKING) < MAX_ASKING) {
        c->state = ASKING;
        strcpy(c->hash, job->result);
        show(ASK_LIMIT, "%s asks to join from %s", c->name, c->address);
    } else {
        refuse(c);
    }
}

static void take_hashed(void)
{
    eventfd_t ignored;
    eventfd_read(hashed, &ignored);
    pthread_mutex_lock(&jobs_lock);
    struct job *job = done;
    done = NULL;
    pthread_mutex_unlock(&jobs_lock);
    while (job) {
        struct job *next = job->next;
        if (job->conn) {
            job->conn->job = NULL;
            verdict(job->conn, job);
        }
        free(job);
        job = next;
    }
}

/* ---------- requests ---------- */

static void rename_member(struct conn *c, const char *name)
{
    struct member *holder = find(name);
    if (is_claimed(name) || (holder && holder != c->member)) {
        err(c, "name-taken somebody else has this name");
    } else if (!keep("", "RENAMED", c->member->name, name)) {
        err(c, "not-saved the server cannot write to its disk; try again later");
    } else {
        strcpy(c->member->name, name);
        tell_all_for(c);
    }
}

static void leave(struct conn *c)
{
    struct member *m = c->member;
    if (!keep("", "LEFT", m->name, NULL)) {
        err(c, "not-saved the server cannot write to its disk; try again later");
        return;
    }
    tell_all();
    end_without_out(c, "left");
    forget(m);
}

/* Sends a piece of the answer to HISTORY, if there is room for it. */
static void go_on_with_history(struct conn *c)
{
    static char piece[CHUNK];
    if (!c->history_to || c->out.len >= CHUNK)
        return;
    ssize_t n = pread(journal, piece, sizeof piece, c->history_at);
    char *line = piece, *lf;
    while (n > 0 && c->history_next <= c->history_to && (lf = memchr(line, '\n', piece + n - line))) {
        size_t len = lf + 1 - line;
        if (*line != '+' && *line != '-') {
            send_bytes(c, line, len);
            c->history_next++;
        }
        line = lf + 1;
        c->history_at += len;
    }
    if (line == piece && c->history_next <= c->history_to) {
        c->gone = true;                     /* the journal cannot be read */
    } else if (c->history_next > c->history_to) {
        tell(c, "END HISTORY %llu", (unsigned long long)c->history_to);
        c->history_to = 0;
    }
    c->newer = 0;
}

static void history(struct conn *c, uint64_t since)
{
    if (since >= seq) {
        tell(c, "END HISTORY %llu", (unsigned long long)seq);
        return;
    }
    c->history_next = since + 1;
    c->history_to = seq;
    c->history_at = event_at[since + 1];
    go_on_with_history(c);
}

static void request(struct conn *c, char *line, size_t len)
{
    static const char *const verbs[] = { "JOIN", "SAY", "NAME", "WHO", "HISTORY", "LEAVE", "QUIT", "PING", "PONG" };
    enum { JOIN, SAY, RENAME, WHO, HISTORY, LEAVE, QUIT, PING, PONG, UNKNOWN } verb = JOIN;

    const char *fault = text_fault(line, len);
    if (fault) {
        err(c, strcmp(fault, "bad-utf8") == 0 ? "bad-utf8 this is not UTF-8" : "bad-text a character that may not be sent");
        return;
    }
    char *rest = strchr(line, ' ');
    if (rest)
        *rest++ = '\0';
    while (verb < UNKNOWN && strcmp(line, verbs[verb]) != 0)
        verb++;
    if (verb == UNKNOWN) {
        err(c, "unknown there is no such verb");
        return;
    }
    if (verb != JOIN && verb < QUIT && c->state != HERE) {
        err(c, "not-joined ask to enter first, with JOIN");
        return;
    }
    if (verb == JOIN && c->state != STRANGER) {
        err(c, "already-joined you asked already");
        return;
    }

    char *password = NULL;
    bool good;
    switch (verb) {
    case JOIN:
        password = rest ? strchr(rest, ' ') : NULL;
        if (password)
            *password++ = '\0';
        good = password && rest[0] && password[0] && strlen(password) <= PASSWORD;
        break;
    case SAY:
        good = rest && rest[0] && strlen(rest) <= TEXT;
        break;
    case RENAME:
        good = rest && rest[0] && !strchr(rest, ' ');
        break;
    case HISTORY:
        good = rest && rest[0] && strlen(rest) <= DIGITS && rest[strspn(rest, "0123456789")] == '\0';
        break;
    case PING: case PONG:
        good = rest && rest[0] && strlen(rest) <= TOKEN;
        for (char *p = rest; good && *p; p++)
            good = *p > ' ' && *p <= '~';   /* a byte beyond ASCII is below ' ', or above '~' where char is unsigned */
        break;
    default:
        good = !rest;
    }
    if (!good) {
        err(c, "bad-arguments something is missing, too long, or too much");
        return;
    }
    if ((verb == JOIN || verb == RENAME) && !is_name(rest)) {
        err(c, "bad-name a name is 1 to 32 ASCII letters, digits, '.', '_' or '-'; first a letter or a digit");
        return;
    }

    switch (verb) {
    case JOIN:
        join(c, rest, password);
        break;
    case SAY:
        if (keep("", "MSG", c->member->name, rest))
            tell_all_for(c);
        else
            err(c, "not-saved the server cannot write to its disk; try again later");
        break;
    case RENAME:
        rename_member(c, rest);
        break;
    case WHO:
        for (struct member *m = members; m; m = m->next)
            if (!m->banned)
                tell(c, "MEMBER %s %s", m->name, m->here ? "here" : "away");
        tell(c, "END WHO");
        c->newer = 0;
        break;
    case HISTORY:
        history(c, strtoull(rest, NULL, 10));
        break;
    case LEAVE:
        leave(c);
        break;
    case QUIT:
        end(c, "quit");
        break;
    case PING:
        tell(c, "PONG %s", rest);
        break;
    default:                                /* PONG: that it came is all we wanted to know */
        break;
    }
}

/* May the next request of c be handled, if there is one? */
static bool is_heard(const struct conn *c)
{
    return !c->gone && !c->history_to && c->out.len <= OUTBOX / 2
           && (c->state == STRANGER || c->state == ASKING || (c->state == HERE && !is_held() && c->rest_until <= now));
}

/* Is there something in c's buffer to be handled: a line, a line too long, or the end? */
static bool has_request(const struct conn *c)
{
    return c->eof || c->in_len == LINE || memchr(c->in, '\n', c->in_len);
}

static void work(struct conn *c)
{
    go_on_with_history(c);
    while (is_heard(c) && has_request(c)) {
        char *lf = memchr(c->in, '\n', c->in_len), line[LINE];
        if (!lf) {
            if (c->in_len == LINE) {
                err(c, "too-long a line has at most 512 bytes");
                end(c, "protocol");
            } else {
                end(c, "quit");             /* an unfinished last line is dropped */
            }
            return;
        }
        size_t used = lf + 1 - c->in, len = used - 1;
        memcpy(line, c->in, len);
        c->in_len -= used;
        memmove(c->in, c->in + used, c->in_len);
        if (len && line[len - 1] == '\r')
            len--;
        if (len == 0)
            continue;
        line[len] = '\0';
        c->heard_at = now;
        c->pinged = false;
        request(c, line, len);
    }
}

/* ---------- the owner's orders ---------- */

static void answer(bool ok, const char *why)
{
    if (ok)
        show(ANSWER_LIMIT, "ok");
    else
        show(ANSWER_LIMIT, "error: %s", why);
}

static void order_ban(const char *name)
{
    struct member *m = find(name);
    struct conn *asker = find_asker(name);
    if (m && m->banned) {
        answer(false, "this name is banned already");
        return;
    }
    struct member *banned = m ? m : new_member(asker ? asker->name : name, "");
    if (!banned || !keep("", "BANNED", banned->name, NULL)) {
        if (banned && !m)
            forget(banned);
        answer(false, "the server cannot write to its disk");
        return;
    }
    tell_all();
    banned->banned = true;
    banned->hash[0] = '\0';
    if (banned->here)
        end_without_out(banned->here, "banned");
    if (asker)
        refuse(asker);
    answer(true, NULL);
}

static void order_unban(const char *name)
{
    struct member *m = find(name);
    char record[LINE];
    if (!m || !m->banned) {
        answer(false, "this name is not banned");
        return;
    }
    snprintf(record, sizeof record, "- %s\n", m->name);
    if (!outs_told() || !append(record, strlen(record))) {
        answer(false, "the server cannot write to its disk");
        return;
    }
    forget(m);
    answer(true, NULL);
}

static void order_members(void)
{
    for (struct member *m = members; m; m = m->next)
        show(ANSWER_LIMIT, "member %s %s", m->name, m->banned ? "banned" : m->here ? "here" : "away");
    for (int i = 0; i < conn_count; i++)
        if (conns[i]->state == ASKING)
            show(ANSWER_LIMIT, "member %s asks from %s", conns[i]->name, conns[i]->address);
    answer(true, NULL);
}

static void consent(bool given)
{
    want_consent = false;
    if (!given) {
        answer(false, "not deleted");
    } else if (unlink("journal") < 0) {
        answer(false, strerror(errno));
    } else {
        answer(true, NULL);
        stop("deleted");
    }
}

static void order(char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r')
        line[--len] = 0;
    if (want_consent) {
        consent(len == strlen(group) && memcmp(line, group, len) == 0);
        return;
    }
    if (len == 0)
        return;
    char *rest = strchr(line, ' ');
    if (text_fault(line, len)) {
        answer(false, "this is no text");
        return;
    }
    if (rest)
        *rest++ = '\0';
    struct conn *asker = rest ? find_asker(rest) : NULL;
    if (!rest && strcmp(line, "members") == 0) {
        order_members();
    } else if (!rest && strcmp(line, "close") == 0) {
        answer(true, NULL);
        stop("closed");
    } else if (!rest && strcmp(line, "delete") == 0) {
        want_consent = true;
        show(ANSWER_LIMIT, "type the group's name to delete it");
    } else if (!rest && strcmp(line, "help") == 0) {
        show(ANSWER_LIMIT, "# accept NAME, reject NAME: who asks to join\n# ban NAME, unban NAME\n# rename GROUP\n"
                           "# members: who is a member, who is banned, who asks\n# close: stop; the group is kept\n"
                           "# delete: stop, and remove the group");
        answer(true, NULL);
    } else if (rest && strcmp(line, "accept") == 0) {
        if (!asker)
            answer(false, "nobody asks with this name");
        else
            answer(admit(asker, asker->hash), "the server cannot write to its disk");
    } else if (rest && strcmp(line, "reject") == 0) {
        answer(asker, "nobody asks with this name");
        if (asker)
            refuse(asker);
    } else if (rest && strcmp(line, "ban") == 0 && is_name(rest)) {
        order_ban(rest);
    } else if (rest && strcmp(line, "unban") == 0 && is_name(rest)) {
        order_unban(rest);
    } else if (rest && strcmp(line, "rename") == 0 && is_group(rest)) {
        bool kept = keep("", "GROUP", rest, NULL);
        if (kept) {
            strcpy(group, rest);
            tell_all();
        }
        answer(kept, "the server cannot write to its disk");
    } else {
        answer(false, "no such order; try help");
    }
}

static void take_orders(void)
{
    static char in[LINE];
    static size_t in_len;
    static bool skipping;                   /* the rest of a line that is too long */
    ssize_t n = read(STDIN_FILENO, in + in_len, LINE - in_len);
    if (n == 0 || (n < 0 && !try_again()))
        orders_over = true;
    if (n <= 0)
        return;
    in_len += n;
    char *lf;
    while (!stopping && (lf = memchr(in, '\n', in_len))) {
        size_t used = lf + 1 - in;
        *lf = '\0';
        if (!skipping)
            order(in, used - 1);
        else if (want_consent)
            consent(false);
        else
            answer(false, "an order has at most 512 bytes");
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
    } else if (c->state == ASKING || c->state == HERE) {
        if (due(c->heard_at + IDLE_AFTER)) {
            end(c, "idle");
        } else if (!c->pinged && due(c->heard_at + PING_AFTER)) {
            c->pinged = true;
            tell(c, "PING are-you-there");
        }
    }
    if (c->shut && due(c->close_at))
        c->gone = true;
    if (c->out.len && due(c->took_at + SLOW_AFTER))
        c->gone = true;
    if (c->out.len && due(c->window_start + READER_WINDOW)) {
        c->reads = c->window_took >= READER_TAKES;
        c->window_start = now;
        c->window_took = 0;
    }
}

/* ---------- epoll ---------- */

/* Switches epoll's watch on a descriptor on or off. The address of its variable is its mark in the events. */
static void watch(int fd, void *mark, bool *on, bool wanted, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = mark };
    if (*on != wanted && epoll_ctl(poller, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &e) == 0)
        *on = wanted;
}

static void watch_conn(struct conn *c)
{
    uint32_t wanted = (c->out.len ? EPOLLOUT : 0) | (!c->eof && (c->shut || is_heard(c)) ? EPOLLIN : 0);
    struct epoll_event e = { .events = wanted, .data.ptr = c };
    if (wanted != c->watched && epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e) < 0)
        c->gone = true;
    c->watched = wanted;
}

static void watch_console(void)
{
    bool wanted = !orders_over && !stopping && screen.len <= SCREEN;
    watch(STDIN_FILENO, &reading_orders, &reading_orders, wanted, EPOLLIN);
    orders_always_ready = wanted && !reading_orders;        /* epoll takes no plain files */
    if (orders_always_ready)
        due(now);
    watch(STDOUT_FILENO, &writing_screen, &writing_screen, screen.len > 0, EPOLLOUT);
}

static void receive(struct conn *c, uint32_t events)
{
    char junk[4096];
    bool discard = c->state == OVER;
    size_t room = discard ? sizeof junk : LINE - c->in_len;
    if (!(events & EPOLLIN)) {
        if (events & (EPOLLERR | EPOLLHUP)) /* reset: it hears nothing any more, and what it sent is lost */
            c->gone = true;
    } else if (room) {
        ssize_t n = recv(c->fd, discard ? junk : c->in + c->in_len, room, 0);
        if (n == 0)
            c->eof = true;
        else if (n < 0 && !try_again())
            c->gone = true;
        else if (n > 0 && !discard)
            c->in_len += n;
    }
}

static void print_address(char *to, size_t room, const struct sockaddr_storage *from)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *)from;
        inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof ip);
        snprintf(to, room, "[%s]:%u", ip, ntohs(a->sin6_port));
    } else {
        const struct sockaddr_in *a = (const void *)from;
        inet_ntop(AF_INET, &a->sin_addr, ip, sizeof ip);
        snprintf(to, room, "%s:%u", ip, ntohs(a->sin_port));
    }
}

static void let_in(int fd, const struct sockaddr_storage *from)
{
    int yes = 1, sndbuf = SNDBUF;
    struct conn *c = conn_count < MAX_CONNS ? calloc(1, sizeof *c) : NULL;
    struct epoll_event e = { .events = 0, .data.ptr = c };
    if (!c || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0) {
        free(c);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf);
    c->fd = fd;
    c->reads = true;
    c->join_by = now + JOIN_WITHIN;
    print_address(c->address, sizeof c->address, from);
    bool full = count(STRANGER, ASKING) >= MAX_STRANGERS;
    conns[conn_count++] = c;
    if (full)
        end(c, "full");
    else
        tell(c, "HELLO grupo/1 %s", group);
}

static void accept_all(void)
{
    for (int i = 0; i < 64; i++) {          /* not without end: the others wait */
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            let_in(fd, &from);
            continue;
        }
        if (try_again())
            return;
        if (errno == ECONNABORTED)
            continue;
        if (errno == EMFILE && spare >= 0) {        /* no descriptor left: lend it the spare one, to close it */
            close(spare);
            close(accept(listener, NULL, NULL));
            spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
            continue;
        }
        accept_at = now + 0.1;              /* nothing helps just now: look away, or epoll would spin */
        return;
    }
}

static void bury(int i)
{
    struct conn *c = conns[i];
    conns[i] = conns[--conn_count];
    go_away(c);
    close(c->fd);
    free(c->out.bytes);
    free(c);
}

static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void loop(void)
{
    struct epoll_event events[64];
    unsigned turn = 0;
    while (!(stopping && (due(stop_by) || (conn_count == 0 && screen.len == 0)))) {
        /* Rounded up, so that no deadline is early. */
        int ms = wake_at == INFINITY ? -1 : wake_at <= now ? 0 : (int)ceil((wake_at - now) * 1000);
        int n = epoll_wait(poller, events, 64, ms);
        now = clock_now();
        wake_at = INFINITY;
        count_hold();

        for (int i = 0; i < n; i++) {
            void *mark = events[i].data.ptr;
            if (mark == &listener && !stopping)
                accept_all();
            else if (mark == &reading_orders)
                take_orders();
            else if (mark == &hashed)
                take_hashed();
            else if (mark == &signals && !stopping)
                stop("closed");
            else if (mark != &listener && mark != &signals && mark != &writing_screen)
                receive(mark, events[i].events);
        }
        if (orders_always_ready)
            take_orders();

        turn++;                             /* another one is first each time, or the first would starve the last */
        for (int i = 0; i < conn_count; i++)
            work(conns[(i + turn) % conn_count]);

        crowded = false;
        for (int i = conn_count - 1; i >= 0; i--) {
            struct conn *c = conns[i];
            flush(c);
            if (c->gone)
                bury(i);
            else
                crowded |= is_behind(c);
        }
        if (is_held())
            due(now + HOLD - held_for);
        for (int i = 0; i < conn_count; i++) {
            struct conn *c = conns[i];
            look_at_clock(c);
            watch_conn(c);
            if (c->gone || (is_heard(c) && has_request(c)) || (c->history_to && c->out.len < CHUNK))
                due(now);                   /* there is something to do: do not sleep */
            if (c->rest_until > now)
                due(c->rest_until);
        }
        if (outs_due && due(retry_outs_at)) {
            outs_told();
            retry_outs_at = now + 0.5;
        }
        if (not_shown && screen.len <= SCREEN / 2) {
            unsigned long lines = not_shown;
            not_shown = 0;
            show(ANSWER_LIMIT, "# %lu lines not shown", lines);
        }
        flush_screen();
        watch_console();
        if (accept_at && due(accept_at))
            accept_at = 0;
        watch(listener, &listener, &listening, !stopping && !accept_at, EPOLLIN);
    }
}

/* ---------- the start ---------- */

/* Does again what this line of the journal says. False: such a line cannot be. */
static bool replay(char *line, off_t where)
{
    char *field[5] = { line, "", "", "", "" };
    for (int i = 1; i < 5 && (line = strchr(line, ' ')); i++) {
        *line++ = '\0';
        field[i] = line;
    }
    const char *verb = field[0], *who = field[3], *rest = field[4];

    if (strcmp(verb, "+") == 0 || strcmp(verb, "-") == 0) {
        struct member *m = find(field[1]);
        if (verb[0] == '-') {
            if (!m || !m->banned)
                return false;
            forget(m);
            return true;
        }
        return seq && !m && is_name(field[1]) && field[2][0] && !field[3][0] && strlen(field[2]) < CRYPT_OUTPUT_SIZE
               && new_member(field[1], field[2]);
    }

    if (strtoull(field[1], NULL, 10) != seq + 1 || strlen(field[2]) != 24 || !note_event(where))
        return false;
    seq++;
    if (strcmp(verb, "GROUP") == 0) {
        if (rest[0])
            field[4][-1] = ' ';             /* a group may have spaces: undo the cut */
        if (is_group(who))
            strcpy(group, who);
        return is_group(who);
    }
    struct member *m = find(who);
    if (seq == 1 || !is_name(who))
        return false;
    if (strcmp(verb, "BANNED") == 0) {
        if (!m)
            m = new_member(who, "");
        if (!m || m->banned)
            return false;
        m->banned = true;
        m->hash[0] = '\0';
        return true;
    }
    if (!m || m->banned)
        return false;
    if (strcmp(verb, "RENAMED") == 0) {
        struct member *holder = find(rest);
        if (!is_name(rest) || (holder && holder != m))
            return false;
        strcpy(m->name, rest);
        return true;
    }
    if (strcmp(verb, "LEFT") == 0) {
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
    if (journal < 0)
        die(1, "the journal", strerror(errno));
    struct stat st;
    /* Without a link: another server is just deleting it. */
    if (flock(journal, LOCK_EX | LOCK_NB) < 0 || fstat(journal, &st) < 0 || st.st_nlink == 0)
        die(1, dir, "another server holds this directory");

    FILE *in = fdopen(dup(journal), "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (!in)
        die(1, "the journal", strerror(errno));
    while ((n = getline(&line, &room, in)) > 0) {
        if (line[n - 1] != '\n' && seq && n < LINE)
            break;                          /* the last line was torn by a kill: it was sent to nobody */
        line[n - 1] = '\0';
        if (n > LINE || text_fault(line, n - 1) || !replay(line, journal_size))
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

    const struct sockaddr_in *v4 = (const void *)found->ai_addr;
    const struct sockaddr_in6 *v6 = (const void *)found->ai_addr;
    if (found->ai_family == AF_INET6 ? !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) : ntohl(v4->sin_addr.s_addr) >> 24 != 127)
        fprintf(stderr, "epoll: warning: passwords travel in clear to this address\n");
}

static int stdout_flags;

static void give_stdout_back(void)          /* a terminal is shared with the shell, which expects it to block */
{
    fcntl(STDOUT_FILENO, F_SETFL, stdout_flags);
}

int main(int argc, char **argv)
{
    static const char *const flags[] = { "host", "port", "group", "dir", "admit" };
    const char *value[] = { "127.0.0.1", "7000", "grupo", "./grupo", "ask" };
    for (int i = 1; i < argc; i++) {
        int f = 0;
        size_t len = strcspn(argv[i], "=");
        while (f < 5 && (strncmp(argv[i], "--", 2) != 0 || len - 2 != strlen(flags[f]) || strncmp(argv[i] + 2, flags[f], len - 2) != 0))
            f++;
        if (f == 5)
            die(2, argv[i], "no such flag");
        if (argv[i][len] == '=')
            value[f] = argv[i] + len + 1;
        else if (i + 1 < argc)
            value[f] = argv[++i];
        else
            die(2, argv[i], "needs a value");
    }
    const char *port = value[1], *admit_word = value[4];
    if (!port[0] || strlen(port) > 5 || port[strspn(port, "0123456789")] || atoi(port) > 65535)
        die(2, "--port", "a number from 0 to 65535");
    if (!is_group(value[2]))
        die(2, "--group", "1 to 64 bytes of text, no space at either end");
    strcpy(group, value[2]);
    if (strcmp(admit_word, "all") == 0)
        admission = ALL;
    else if (strcmp(admit_word, "none") == 0)
        admission = NONE;
    else if (strcmp(admit_word, "ask") != 0)
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
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
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
    sigprocmask(SIG_BLOCK, &ends, NULL);    /* before the thread starts: it inherits this */
    umask(077);

    open_journal(value[3]);
    listen_on(found);
    freeaddrinfo(found);
    if (ftruncate(journal, journal_size) < 0 || (seq == 0 && !keep("", "GROUP", group, NULL)))
        die(1, "the journal cannot be written", strerror(errno));

    poller = epoll_create1(EPOLL_CLOEXEC);
    signals = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    hashed = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (poller < 0 || signals < 0 || hashed < 0)
        die(1, "cannot start", strerror(errno));
    watch(signals, &signals, &(bool){ false }, true, EPOLLIN);
    watch(hashed, &hashed, &(bool){ false }, true, EPOLLIN);
    pthread_t hasher;
    if ((errno = pthread_create(&hasher, NULL, hash_passwords, NULL)) != 0)
        die(1, "cannot start a thread", strerror(errno));

    struct sockaddr_storage self;
    socklen_t len = sizeof self;
    char address[sizeof conns[0]->address];
    getsockname(listener, (struct sockaddr *)&self, &len);
    print_address(address, sizeof address, &self);
    show(ANSWER_LIMIT, "listening on %s", address);
    stdout_flags = fcntl(STDOUT_FILENO, F_GETFL);
    fcntl(STDOUT_FILENO, F_SETFL, stdout_flags | O_NONBLOCK);
    atexit(give_stdout_back);
    flush_screen();

    loop();
    return 0;
}
