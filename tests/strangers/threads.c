/* Grupo (grupo/1) in C with POSIX threads.
 *
 *     cc -O2 -Wall -Wextra -pthread threads.c -o grupo-threads -lcrypt -lm
 *
 * The law: each client has a thread, which blocks in recv and serves the client's requests one by one. All that is shared (clients,
 * people, journal, what waits for the owner) is guarded by one lock, `room`; all that happens, happens under it, in one order. Nobody
 * waits for a person while holding it: passwords are hashed without it, and sockets are written with MSG_DONTWAIT. What a socket does not take
 * waits in its client's box; the postman, one thread for all, sends it when the socket takes more. It also watches the clocks.
 *
 * The group is one file, `journal`: a line for each change, written before anybody hears of it, read again at the next start.
 *     GROUP 1 TIME os-lab      events stand in it as they are sent
 *     + ana $y$j9T$...         Ana is a member, with the hash of Ana's password
 *     - eve                    Eve is banned no longer
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
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {                              /* sizes, in bytes, with no NUL */
    LINE = 512, NAME = 32, GROUP = 64, TEXT = 400, PASSWORD = 128, TOKEN = 64,
    OUTBOX = 1 << 20,               /* what may wait for one client, */
    READS = 128 << 10,              /* how much of it a client takes in PATIENCE if it keeps reading, */
    AHEAD = 64 << 10,               /* how much of it an answer to HISTORY may fill, */
    SNDBUF = 64 << 10,              /* and what may wait in the kernel */
    RATION = 64 << 10,              /* what a talker may cause in a second when the talkers have waited enough */
    CONSOLE = 64 << 10,             /* what may wait for the owner */
    STACK = 256 << 10,
};
enum { MAX_HERE = 1024, MAX_STRANGERS = 256, MAX_OVER = 256, MAX_ASKING = 32, MAX_REJECTED = 3, MAX_ERR = 10, MAX_HASHES = 2 };
static const double JOIN_WITHIN = 20, PING_AFTER = 60, IDLE_AFTER = 90, SLOW_AFTER = 10, REJECT_AFTER = 1, PATIENCE = 2,
                    DISCARD = 1, END_WITHIN = 1.5, LOOK = 0.1, HOLD = 2, HOLD_AGAIN = 60;  /* seconds */

typedef unsigned long long Seq;
typedef struct { char *data; size_t start, end, size; } Box;    /* data[start] to data[end] wait */
typedef enum { STRANGER, CHECKED, ASKING, REFUSED /* REJECTED is to follow */, HERE, OVER } State;

typedef struct Client {
    struct Client *next;
    int fd;
    char address[80];
    State state;
    struct Person *person;          /* if HERE */
    char asked[NAME + 1];           /* the new name that this client's JOIN is about, while that is CHECKED or ASKING */
    char hash[CRYPT_OUTPUT_SIZE];   /* and the hash of the password it brought */
    int errors, rejected;
    double join_by, joined_at, heard, over_at;
    bool pinged;                    /* in this silence */
    Box box;
    double took_at;                 /* when the socket last took a byte, or when the box was last empty */
    double behind_since;            /* half the box was full; 0: it has been empty since */
    size_t behind_took;             /* what the socket took since then */
    bool given_up;                  /* nobody waits for this client any more */
    size_t newer;                   /* what was put into the box after its last answer to WHO or HISTORY */
    bool lost;                      /* takes nothing more: the postman is to end this conversation */
    bool sent_all;                  /* OVER, and our side of the connection is shut */
} Client;

typedef struct Person {
    struct Person *next;
    char name[NAME + 1];
    char hash[CRYPT_OUTPUT_SIZE];
    bool banned;
    bool owes_out;                  /* went, but the OUT could not be written yet */
    Client *client;                 /* NULL: away */
} Person;

static pthread_mutex_t room = PTHREAD_MUTEX_INITIALIZER;       /* guards all variables from here ... */
static Client *clients;
static Person *people;
static struct { char name[GROUP + 1]; Seq seq; off_t length, *where; Seq where_size; int outs_owed; bool closing; } group;
static struct { int talkers; double spent, until; } held;      /* how many wait for others; how long some did, and up to when */
static struct { Box box; int not_shown; } console;             /* ... to here */
static pthread_cond_t changed, console_filled;                 /* changed: somebody took some bytes, got a verdict, went */

/* set before the threads start */
static int journal, dir_fd, listen_fd, postman_bell;
static enum { ASK, ALL, NONE } admission = ASK;
static char no_hash[CRYPT_OUTPUT_SIZE];                        /* of the empty password, which no JOIN can bring */
static sem_t hashing;                                          /* how many may hash at a time */

/* ---- small things ---- */

/* A mutex is not fair: a thread that gives it back and comes again at once has it before a waiting thread has woken up. So one
 * thread is next, and a thread that comes again waits behind it. */
static void enter_room(void)
{
    static pthread_mutex_t next = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&next);
    pthread_mutex_lock(&room);
    pthread_mutex_unlock(&next);
}

static void leave_room(void)
{
    pthread_mutex_unlock(&room);
}

__attribute__((noreturn, format(printf, 2, 3))) static void die(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("grupo: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(status);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_changed(double until)
{
    struct timespec t = { .tv_sec = until, .tv_nsec = (until - floor(until)) * 1e9 };
    pthread_cond_timedwait(&changed, &room, &t);
}

static void wake_postman(void)
{
    eventfd_write(postman_bell, 1);
}

/* The code point at s, of which n > 0 bytes are left; -1 if it is not UTF-8. */
static long decode(const unsigned char *s, size_t n, size_t *length)
{
    static const long least[] = { 0, 0x80, 0x800, 0x10000 };
    size_t more = s[0] < 0x80 ? 0 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : 3;
    *length = 1 + more;
    if (more == 0)
        return s[0];
    if (s[0] < 0xC2 || s[0] > 0xF4 || n <= more)
        return -1;
    long point = s[0] & (0x3F >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return -1;
        point = point << 6 | (s[i] & 0x3F);
    }
    return point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF) ? -1 : point;
}

static bool text_char(long p)
{
    if (p < 0xA0)
        return p >= ' ' && p <= '~';
    return !(p >= 0x202A && p <= 0x202E) && !(p >= 0x2066 && p <= 0x2069) && !(p >= 0xFDD0 && p <= 0xFDEF) && (p & 0xFFFE) != 0xFFFE;
}

/* What is wrong with these bytes as text, as an ERR; NULL if nothing is. */
static const char *text_error(const char *text, size_t n)
{
    const char *error = NULL;
    size_t length;
    for (size_t i = 0; i < n; i += length) {
        long point = decode((const unsigned char *)text + i, n - i, &length);
        if (point < 0)
            return "bad-utf8 this is not UTF-8";
        if (!text_char(point))
            error = "bad-text a control character, or one that has no place in text";
    }
    return error;
}

static bool valid_name(const char *s)
{
    size_t n = strlen(s);
    return n <= NAME && isalnum((unsigned char)s[0]) &&
        strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool valid_group(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= GROUP && s[0] != ' ' && s[n - 1] != ' ' && !text_error(s, n);
}

/* Hashes as `setting` says: a salt, or a hash, which begins with its salt. False if there is no memory. Slow: not under the lock. */
static bool hash_password(const char *password, const char *setting, char hash[CRYPT_OUTPUT_SIZE])
{
    struct crypt_data *work = calloc(1, sizeof *work);
    if (!work)
        return false;
    while (sem_wait(&hashing) < 0)
        ;
    const char *made = crypt_r(password, setting, work);
    sem_post(&hashing);
    bool good = made && made[0] != '*';
    if (good)
        snprintf(hash, CRYPT_OUTPUT_SIZE, "%s", made);
    explicit_bzero(work, sizeof *work);
    free(work);
    return good;
}

/* ---- boxes: what waits to be sent ---- */

static size_t waiting(const Box *box)
{
    return box->end - box->start;
}

static bool put(Box *box, const char *text, size_t n)
{
    if (box->start > box->size / 2) {
        memmove(box->data, box->data + box->start, waiting(box));
        box->end -= box->start;
        box->start = 0;
    }
    if (box->size < box->end + n) {
        char *bigger = realloc(box->data, 2 * (box->end + n));
        if (!bigger)
            return false;
        box->data = bigger;
        box->size = 2 * (box->end + n);
    }
    memcpy(box->data + box->end, text, n);
    box->end += n;
    return true;
}

static void drop(Box *box, size_t n)
{
    box->start += n;
    if (waiting(box) == 0) {
        free(box->data);
        *box = (Box){ 0 };
    }
}

static void lose(Client *c)
{
    c->lost = true;
    drop(&c->box, waiting(&c->box));
    wake_postman();
}

/* Sends what the socket takes now. */
static void flush(Client *c)
{
    while (waiting(&c->box) > 0) {
        ssize_t n = send(c->fd, c->box.data + c->box.start, waiting(&c->box), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            lose(c);
            return;
        }
        drop(&c->box, n);
        c->took_at = now();
        c->behind_took += n;
        pthread_cond_broadcast(&changed);
    }
    c->behind_since = 0;
    c->given_up = false;
    if (c->state == OVER && !c->sent_all) {
        shutdown(c->fd, SHUT_WR);
        c->sent_all = true;
        c->over_at = now();
        pthread_cond_broadcast(&changed);
    }
}

static void send_bytes(Client *c, const char *text, size_t n)
{
    size_t before = waiting(&c->box);
    if (c->lost || c->state == OVER)
        return;
    if (before == 0)
        c->took_at = now();
    if ((before > OUTBOX && c->newer > OUTBOX) || !put(&c->box, text, n)) {
        lose(c);
        return;
    }
    c->newer += n;
    if (before == 0) {              /* else the socket is full, and the postman waits for it */
        flush(c);
        if (waiting(&c->box) > 0)
            wake_postman();
    }
    if (waiting(&c->box) > OUTBOX / 2 && c->behind_since == 0) {
        c->behind_since = now();
        c->behind_took = 0;
    }
}

__attribute__((format(printf, 2, 3))) static void send_line(Client *c, const char *format, ...)
{
    char line[LINE + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[n++] = '\n';
    send_bytes(c, line, n);
}

/* Must the others wait for this client? Only as long as it keeps reading, or might. */
static bool holds_up(Client *c)
{
    if (waiting(&c->box) <= OUTBOX / 2 || c->given_up || c->state == OVER)
        return false;
    if (now() >= c->behind_since + PATIENCE) {
        c->given_up = c->behind_took < READS;
        c->behind_since = now();
        c->behind_took = 0;
    }
    return !c->given_up;
}

static Client *who_holds_up(const Client *c)
{
    Client *other = clients;
    while (other && (other == c || !holds_up(other)))
        other = other->next;
    return other;
}

/* How long may the talkers still wait for others? HOLD, all their waits together; and again when HOLD_AGAIN has passed without any. */
static double patience(void)
{
    double t = now();
    if (held.talkers > 0) {
        held.spent += t - held.until;
        held.until = t;
    } else if (t >= held.until + HOLD_AGAIN)
        held.spent = 0;
    return HOLD - held.spent;
}

/* Before a request is served: waits until there is room for the answer in the client's own box; `talking`: in everybody's. */
static void wait_for_readers(Client *c, bool talking)
{
    while (c->state != OVER) {
        double left = talking ? patience() : 0, t = now();
        Client *slow = left > 0 ? who_holds_up(c) : NULL;
        if (slow) {
            if (held.talkers++ == 0)
                held.until = t;
            wait_changed(fmin(slow->behind_since + PATIENCE, t + left));
            patience();
            held.talkers--;
        } else if (holds_up(c))
            wait_changed(c->behind_since + PATIENCE);
        else
            return;
        c->heard = now();           /* it is not the client's silence */
    }
}

/* After n bytes were sent to all. If the talkers may not wait for a slow reader any more, those that talk much pause instead. */
static void ration(const Client *c, size_t n)
{
    if (!who_holds_up(c) || patience() > 0)
        return;
    leave_room();
    usleep(n * 1000000 / RATION);
    enter_room();
}

/* ---- the owner's console ---- */

static void show(const char *text, size_t n)
{
    if (put(&console.box, text, n))
        pthread_cond_signal(&console_filled);
}

__attribute__((format(printf, 1, 2))) static void show_line(const char *format, ...)
{
    char line[LINE + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[n++] = '\n';
    show(line, n);
}

/* The thread that writes to the owner. It alone waits if the owner does not read. */
static void *console_writer(void *unused)
{
    char piece[4096];
    enter_room();
    for (;;) {
        while (waiting(&console.box) == 0)
            pthread_cond_wait(&console_filled, &room);
        size_t n = waiting(&console.box) < sizeof piece ? waiting(&console.box) : sizeof piece;
        memcpy(piece, console.box.data + console.box.start, n);
        leave_room();
        ssize_t written = write(STDOUT_FILENO, piece, n);
        if (written < 0 && errno == EAGAIN)
            poll(&(struct pollfd){ STDOUT_FILENO, POLLOUT, 0 }, 1, -1);
        bool again = written < 0 && (errno == EAGAIN || errno == EINTR);
        enter_room();
        drop(&console.box, written >= 0 ? (size_t)written : again ? 0 : waiting(&console.box));
        if (console.not_shown && waiting(&console.box) == 0) {
            show_line("# %d lines not shown", console.not_shown);
            console.not_shown = 0;
        }
        pthread_cond_broadcast(&changed);
    }
    return unused;
}

/* ---- the journal and the events ---- */

static bool append(const char *text)
{
    size_t n = strlen(text);
    for (size_t done = 0; done < n; ) {
        ssize_t wrote = pwrite(journal, text + done, n - done, group.length + done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0) {
            if (ftruncate(journal, group.length) < 0)
                perror("grupo: journal");
            return false;
        }
        done += wrote;
    }
    group.length += n;
    return true;
}

static bool make_room_for_event(void)
{
    if (group.seq + 1 < group.where_size)
        return true;
    Seq more = 2 * group.where_size + 1024;
    off_t *bigger = realloc(group.where, more * sizeof *bigger);
    if (!bigger)
        return false;
    group.where = bigger;
    group.where_size = more;
    return true;
}

/* Makes the line of the next event and writes it, with a `note` of our own before it in the same write. */
static bool write_event(char line[LINE + 1], const char *note, const char *verb, const char *fields)
{
    struct timespec t;
    struct tm utc;
    char date[32], record[2 * LINE + CRYPT_OUTPUT_SIZE];
    clock_gettime(CLOCK_REALTIME, &t);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t.tv_sec, &utc));
    snprintf(line, LINE + 1, "%s %llu %s.%03dZ %s\n", verb, group.seq + 1, date, (int)(t.tv_nsec / 1000000), fields);
    snprintf(record, sizeof record, "%s%s", note, line);
    off_t at = group.length + strlen(note);
    if (!make_room_for_event() || !append(record))
        return false;
    group.where[++group.seq] = at;
    return true;
}

static void tell(const char *line)
{
    for (Client *c = clients; c; c = c->next)
        if (c->state == HERE)
            send_bytes(c, line, strlen(line));
}

/* An OUT cannot be refused to anybody. If the disk is full it is owed, and comes before anything else. */
static bool pay_outs(void)
{
    char line[LINE + 1];
    for (Person *p = people; p && group.outs_owed; p = p->next)
        if (p->owes_out) {
            if (!write_event(line, "", "OUT", p->name))
                return false;
            p->owes_out = false;
            group.outs_owed--;
            tell(line);
        }
    return true;
}

/* Keeps an event: true if it is written, and may be sent. */
__attribute__((format(printf, 4, 5)))
static bool keep(char line[LINE + 1], const char *note, const char *verb, const char *format, ...)
{
    char fields[LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(fields, sizeof fields, format, args);
    va_end(args);
    return pay_outs() && write_event(line, note, verb, fields);
}

/* ---- people and conversations ---- */

static Person *find(const char *name)
{
    Person *p = people;
    while (p && strcasecmp(p->name, name) != 0)
        p = p->next;
    return p;
}

static Person *new_person(const char *name, const char *hash)
{
    Person *p = calloc(1, sizeof *p);
    if (p) {
        strcpy(p->name, name);
        strcpy(p->hash, hash);
    }
    return p;
}

static void add_person(Person *p)
{
    p->next = people;
    people = p;
}

static void remove_person(Person *p)
{
    Person **at = &people;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
}

/* The client whose JOIN with this new name is under way. */
static Client *claimant(const char *name)
{
    Client *c = clients;
    while (c && strcasecmp(c->asked, name) != 0)
        c = c->next;
    return c;
}

static Client *asker(const char *name)
{
    Client *c = claimant(name);
    return c && c->state == ASKING ? c : NULL;
}

static int count(State state)
{
    int n = 0;
    for (Client *c = clients; c; c = c->next)
        n += c->state == state;
    return n;
}

/* The end of a conversation. A member who was here is away from now on. */
static void end(Client *c, const char *code)
{
    if (c->state == OVER)
        return;
    send_line(c, "BYE %s", code);
    c->state = OVER;
    c->asked[0] = '\0';
    Person *p = c->person;
    c->person = NULL;
    if (p)
        p->client = NULL;
    if (p && !group.closing) {
        p->owes_out = true;
        group.outs_owed++;
        pay_outs();
    }
    flush(c);
    wake_postman();
}

/* The same for a member that leaves with another event, or with none. */
static void end_without_out(Client *c, const char *code)
{
    c->person = NULL;
    end(c, code);
}

static void err(Client *c, const char *code_and_words)
{
    send_line(c, "ERR %s", code_and_words);
    if (c->state != HERE && ++c->errors == MAX_ERR)
        end(c, "protocol");
}

static void stranger_again(Client *c)
{
    c->state = STRANGER;
    c->asked[0] = '\0';
    c->join_by += now() - c->joined_at;
    wake_postman();
}

/* The answer is no. REJECTED must not come too soon: the postman sends it in time. */
static void refuse(Client *c)
{
    c->state = REFUSED;
    c->asked[0] = '\0';
    wake_postman();
}

/* Lets in a member, or, if `p` is NULL, the one who asked to be one. False if that could not be saved, and nothing happened. */
static bool admit(Client *c, Person *p)
{
    char note[NAME + CRYPT_OUTPUT_SIZE + 8] = "", line[LINE + 1];
    bool is_new = !p;
    if (is_new) {
        if (!(p = new_person(c->asked, c->hash)))
            return false;
        snprintf(note, sizeof note, "+ %s %s\n", p->name, p->hash);
    }
    bool takeover = p->client, full = !takeover && count(HERE) >= MAX_HERE;
    if (!takeover && !(full ? append(note) : keep(line, note, "IN", "%s", p->name))) {
        if (is_new)
            free(p);
        return false;
    }
    if (is_new)
        add_person(p);
    c->asked[0] = '\0';
    if (full) {
        end(c, "full");
        return true;
    }
    if (takeover)
        end_without_out(p->client, "replaced");
    p->client = c;
    c->person = p;
    send_line(c, "WELCOME %llu %s", takeover ? group.seq : group.seq - 1, p->name);
    c->state = HERE;
    c->heard = now();
    if (!takeover)
        tell(line);
    wake_postman();
    return true;
}

/* ---- requests: each is called with the lock held, with what follows the verb and its space, NULL if there is no space ---- */

static const char NOT_SAVED[] = "not-saved the server could not write this down; try later";

static void join(Client *c, char *name)
{
    if (c->state != STRANGER) {
        err(c, "already-joined one JOIN for one connection");
        return;
    }
    char *password = name ? strchr(name, ' ') : NULL;
    if (!password || password == name || !password[1] || strlen(password + 1) > PASSWORD) {
        err(c, "bad-arguments JOIN name password");
        return;
    }
    *password++ = '\0';
    if (!valid_name(name)) {
        err(c, "bad-name 1 to 32 letters, digits, dots, underscores and hyphens of ASCII, a letter or a digit first");
        return;
    }
    c->state = CHECKED;
    c->joined_at = now();
    send_line(c, "PENDING");

    Person *p = find(name);
    bool is_new = !p && admission != NONE, done;
    char setting[CRYPT_OUTPUT_SIZE], hash[CRYPT_OUTPUT_SIZE];
    if (is_new && claimant(name)) {
        refuse(c);
        return;
    }
    if (is_new)
        strcpy(c->asked, name);
    strcpy(setting, p && !p->banned ? p->hash : no_hash);

    leave_room();
    done = (!is_new || crypt_gensalt_rn(NULL, 0, NULL, 0, setting, sizeof setting)) && hash_password(password, setting, hash);
    explicit_bzero(password, strlen(password));
    enter_room();

    if (c->state == OVER)
        return;
    p = find(name);                 /* again: much may have happened meanwhile */
    bool saved = true;
    if (!done)
        end(c, "full");
    else if (is_new && !p && admission == ALL) {
        strcpy(c->hash, hash);
        saved = admit(c, NULL);
    } else if (is_new && !p && count(ASKING) < MAX_ASKING) {
        strcpy(c->hash, hash);
        c->state = ASKING;
        c->heard = now();
        if (waiting(&console.box) < CONSOLE)
            show_line("%s asks to join from %s", c->asked, c->address);
        else
            console.not_shown++;
        wake_postman();
    } else if (!is_new && p && !p->banned && strcmp(p->hash, hash) == 0)
        saved = admit(c, p);
    else
        refuse(c);
    if (!saved) {
        stranger_again(c);
        err(c, NOT_SAVED);
    }
}

static void say(Client *c, char *text)
{
    char line[LINE + 1];
    if (!text || !*text || strlen(text) > TEXT) {
        err(c, "bad-arguments SAY text, of at most 400 bytes");
        return;
    }
    wait_for_readers(c, true);
    if (c->state == OVER)
        return;
    if (keep(line, "", "MSG", "%s %s", c->person->name, text)) {
        tell(line);
        ration(c, strlen(line));
    } else
        err(c, NOT_SAVED);
}

static void rename_self(Client *c, char *name)
{
    char line[LINE + 1];
    if (!name || !*name || strchr(name, ' ')) {
        err(c, "bad-arguments NAME new-name");
        return;
    }
    if (!valid_name(name)) {
        err(c, "bad-name 1 to 32 letters, digits, dots, underscores and hyphens of ASCII, a letter or a digit first");
        return;
    }
    wait_for_readers(c, true);
    if (c->state == OVER)
        return;
    Person *holder = find(name);
    if ((holder && holder != c->person) || claimant(name)) {
        err(c, "name-taken somebody has this name, or it is not to be had");
        return;
    }
    if (keep(line, "", "RENAMED", "%s %s", c->person->name, name)) {
        strcpy(c->person->name, name);
        tell(line);
        ration(c, strlen(line));
    } else
        err(c, NOT_SAVED);
}

static void who(Client *c, char *rest)
{
    char *text = NULL;
    size_t n = 0;
    if (rest) {
        err(c, "bad-arguments WHO stands alone");
        return;
    }
    FILE *answer = open_memstream(&text, &n);
    if (!answer) {
        lose(c);
        return;
    }
    for (Person *p = people; p; p = p->next)
        if (!p->banned)
            fprintf(answer, "MEMBER %s %s\n", p->name, p->client ? "here" : "away");
    fputs("END WHO\n", answer);
    if (fclose(answer) == 0)
        send_bytes(c, text, n);     /* all at once, for even a long list may not be called slowness */
    else
        lose(c);
    c->newer = 0;
    free(text);
}

/* Takes out the lines that are for us alone; returns how many bytes are left. */
static size_t only_events(char *text, size_t n)
{
    size_t kept = 0, length;
    for (size_t i = 0; i < n; i += length) {
        length = (char *)memchr(text + i, '\n', n - i) - (text + i) + 1;
        if (isupper((unsigned char)text[i])) {
            memmove(text + kept, text + i, length);
            kept += length;
        }
    }
    return kept;
}

static void history(Client *c, char *rest)
{
    size_t digits = rest ? strlen(rest) : 0;
    if (digits < 1 || digits > 16 || strspn(rest, "0123456789") != digits) {
        err(c, "bad-arguments HISTORY number");
        return;
    }
    char block[16384];
    Seq since = strtoull(rest, NULL, 10), newest = group.seq;
    off_t end_at = group.length, at = since < newest ? group.where[since + 1] : end_at;
    while (at < end_at && c->state == HERE) {
        if (waiting(&c->box) > AHEAD) {
            wait_changed(now() + SLOW_AFTER);
            c->heard = now();
            continue;
        }
        size_t n = end_at - at < (off_t)sizeof block ? (size_t)(end_at - at) : sizeof block;
        leave_room();    /* what is in the journal stays as it is */
        ssize_t got = pread(journal, block, n, at);
        enter_room();
        char *last = got > 0 ? memrchr(block, '\n', got) : NULL;
        if (!last) {
            lose(c);                /* the disk fails: a bare end tells the client to come again */
            return;
        }
        at += last + 1 - block;
        send_bytes(c, block, only_events(block, last + 1 - block));
        c->newer = 0;
    }
    send_line(c, "END HISTORY %llu", newest);
}

static void leave(Client *c, char *rest)
{
    char line[LINE + 1];
    if (rest)
        err(c, "bad-arguments LEAVE stands alone");
    else if (!keep(line, "", "LEFT", "%s", c->person->name))
        err(c, NOT_SAVED);
    else {
        tell(line);
        remove_person(c->person);
        end_without_out(c, "left");
    }
}

static void quit(Client *c, char *rest)
{
    if (rest)
        err(c, "bad-arguments QUIT stands alone");
    else
        end(c, "quit");
}

static bool token(Client *c, const char *s)
{
    size_t n = s ? strlen(s) : 0;
    bool good = n >= 1 && n <= TOKEN;
    for (size_t i = 0; i < n; i++)
        good = good && s[i] >= '!' && s[i] <= '~';
    if (!good)
        err(c, "bad-arguments a token has 1 to 64 printable ASCII characters");
    return good;
}

static void ping(Client *c, char *rest)
{
    if (token(c, rest))
        send_line(c, "PONG %s", rest);
}

static void pong(Client *c, char *rest)
{
    token(c, rest);
}

static const struct { const char *name; void (*serve)(Client *, char *); bool for_members; } verbs[] = {
    { "JOIN", join, false }, { "SAY", say, true }, { "NAME", rename_self, true }, { "WHO", who, true }, { "HISTORY", history, true },
    { "LEAVE", leave, true }, { "QUIT", quit, false }, { "PING", ping, false }, { "PONG", pong, false },
};

static void serve_line(Client *c, char *line, size_t n)
{
    const char *error = text_error(line, n);
    if (error) {
        err(c, error);
        return;
    }
    line[n] = '\0';
    char *rest = strchr(line, ' ');
    if (rest)
        *rest++ = '\0';
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(line, verbs[i].name) == 0) {
            if (verbs[i].for_members && c->state != HERE)
                err(c, "not-joined ask to enter first, with JOIN");
            else
                verbs[i].serve(c, rest);
            return;
        }
    err(c, "unknown no such verb");
}

/* ---- a client's thread ---- */

/* Before anything else is served: a REJECTED that is due comes first, and there must be room for the answer. */
static bool ready(Client *c)
{
    while (c->state == REFUSED)
        wait_changed(now() + REJECT_AFTER);
    wait_for_readers(c, false);
    return c->state != OVER;
}

static void remove_client(Client *c)
{
    Client **at = &clients;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    drop(&c->box, waiting(&c->box));
    close(c->fd);
    free(c);
    pthread_cond_broadcast(&changed);
}

static void *client_thread(void *argument)
{
    Client *c = argument;
    char buffer[LINE];              /* full, and no line in it: the line is too long */
    size_t filled = 0;
    ssize_t got;
    while ((got = recv(c->fd, buffer + filled, sizeof buffer - filled, 0)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        enter_room();
        filled += got;
        char *line = buffer, *lf;
        while ((lf = memchr(line, '\n', buffer + filled - line)) != NULL) {
            size_t n = lf - line;
            if (n > 0 && line[n - 1] == '\r')
                n--;
            if (n > 0 && ready(c)) {
                c->heard = now();
                c->pinged = false;
                serve_line(c, line, n);
            }
            line = lf + 1;
        }
        filled -= line - buffer;
        memmove(buffer, line, filled);
        if (filled == sizeof buffer && ready(c)) {
            send_line(c, "ERR too-long a line has at most 512 bytes");
            end(c, "protocol");
        }
        if (c->state == OVER)
            filled = 0;             /* what comes now is discarded, until the other side ends or the postman does */
        leave_room();
    }
    enter_room();
    if (got < 0)
        lose(c);
    if (ready(c))
        end(c, "quit");
    while (!c->sent_all && !c->lost)
        wait_changed(now() + SLOW_AFTER);
    remove_client(c);
    leave_room();
    return NULL;
}

/* ---- the postman ---- */

/* Does what is due for this client, and returns when to look again if nothing happens before. */
static double look_after(Client *c, double t)
{
    static unsigned pings;
    flush(c);
    if (waiting(&c->box) > 0 && t >= c->took_at + SLOW_AFTER)
        lose(c);
    if (c->lost) {
        end(c, "slow");
        shutdown(c->fd, SHUT_RDWR);     /* its thread comes back from recv */
        pthread_cond_broadcast(&changed);
        return INFINITY;
    }
    double due = INFINITY;
    if (c->state == STRANGER && t >= (due = c->join_by))
        end(c, "timeout");
    else if (c->state == REFUSED && t >= (due = c->joined_at + REJECT_AFTER)) {
        send_line(c, "REJECTED refused");
        stranger_again(c);
        if (++c->rejected == MAX_REJECTED)
            end(c, "refused");
        pthread_cond_broadcast(&changed);
    } else if (c->state == ASKING || c->state == HERE) {
        if (t >= c->heard + IDLE_AFTER)
            end(c, "idle");
        else if (t >= c->heard + PING_AFTER && !c->pinged) {
            send_line(c, "PING k%u", ++pings);
            c->pinged = true;
        }
        due = c->heard + (c->pinged ? IDLE_AFTER : PING_AFTER);
    } else if (c->state == OVER && c->sent_all && t >= (due = c->over_at + DISCARD)) {
        shutdown(c->fd, SHUT_RDWR);
        c->over_at = due = INFINITY;
    }
    /* poll tells of room in a socket only when a third of it is free. A client that takes less is not slow: we look ourselves. */
    return waiting(&c->box) > 0 ? fmin(due, t + LOOK) : due;
}

static void *postman(void *unused)
{
    static struct pollfd wanted[1 + MAX_HERE + MAX_STRANGERS + MAX_OVER];
    wanted[0] = (struct pollfd){ .fd = postman_bell, .events = POLLIN };
    for (;;) {
        int n = 1;
        enter_room();
        double t = now(), next = INFINITY;
        for (Client *c = clients; c; c = c->next) {
            next = fmin(next, look_after(c, t));
            if (waiting(&c->box) > 0)
                wanted[n++] = (struct pollfd){ .fd = c->fd, .events = POLLOUT };
        }
        if (group.outs_owed && !pay_outs())
            next = fmin(next, t + 1);
        leave_room();
        /* A client may go, and its descriptor with it, while we are in poll: then we only wake up for nothing. */
        poll(wanted, n, next == INFINITY ? -1 : (int)fmax(0, ceil((next - t) * 1000)));
        if (wanted[0].revents)
            eventfd_read(postman_bell, &(eventfd_t){ 0 });
    }
    return unused;
}

/* ---- the door ---- */

static void write_address(char *text, size_t size, const struct sockaddr *address, socklen_t length)
{
    char host[64] = "?", port[8] = "?";
    getnameinfo(address, length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, size, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static void turn_away(int fd)
{
    send(fd, "BYE full\n", 9, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

/* Takes the connection in, or on failure leaves it to the caller. Called with the lock held. */
static bool take_in(int fd, const struct sockaddr *address, socklen_t length)
{
    int strangers = count(STRANGER) + count(CHECKED) + count(ASKING) + count(REFUSED);
    Client *c = count(OVER) < MAX_OVER && !group.closing ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return false;
    c->fd = fd;
    write_address(c->address, sizeof c->address, address, length);
    c->join_by = now() + JOIN_WITHIN;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SNDBUF }, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, client_thread, c);
    pthread_attr_destroy(&attributes);
    if (failed) {
        free(c);
        return false;
    }
    c->next = clients;
    clients = c;
    if (strangers >= MAX_STRANGERS)
        end(c, "full");
    else
        send_line(c, "HELLO grupo/1 %s", group.name);
    wake_postman();
    return true;
}

static void *door(void *unused)
{
    int spare = open("/dev/null", O_RDONLY);    /* given up for a moment when there are no descriptors left, to turn one away */
    for (;;) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        /* accept wants a descriptor before it looks for a client, and would say EMFILE with nobody at the door. */
        poll(&(struct pollfd){ listen_fd, POLLIN, 0 }, 1, -1);
        int fd = accept(listen_fd, (struct sockaddr *)&address, &length);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
            close(spare);
            if ((fd = accept(listen_fd, NULL, NULL)) >= 0)
                turn_away(fd);
            spare = open("/dev/null", O_RDONLY);
        } else if (fd >= 0) {
            enter_room();
            bool taken = take_in(fd, (struct sockaddr *)&address, length);
            leave_room();
            if (!taken)
                turn_away(fd);
        }
        if (fd < 0)
            usleep(100000);         /* whatever it is, it will not be better at once */
    }
    return unused;
}

/* ---- the owner's orders ---- */

/* Called with the lock held, which is never given back. */
__attribute__((noreturn)) static void end_server(const char *code)
{
    double until = now() + END_WITHIN;
    group.closing = true;
    shutdown(listen_fd, SHUT_RDWR);
    for (Client *c = clients; c; c = c->next)
        end(c, code);
    while ((clients || waiting(&console.box)) && now() < until)
        wait_changed(until);
    _exit(0);                       /* not exit: some threads are still at work */
}

static const char *order_accept(char *name)
{
    Client *c = asker(name);
    if (!c)
        return "nobody asks with this name";
    return admit(c, NULL) ? NULL : "could not be saved";
}

static const char *order_reject(char *name)
{
    Client *c = asker(name);
    if (!c)
        return "nobody asks with this name";
    refuse(c);
    return NULL;
}

static const char *order_ban(char *name)
{
    char line[LINE + 1];
    if (!valid_name(name))
        return "this is no name";
    Person *known = find(name), *p = known ? known : new_person(name, "");
    if (p && p->banned)
        return "banned already";
    if (!p || !keep(line, "", "BANNED", "%s", p->name)) {
        if (!known)
            free(p);
        return "could not be saved";
    }
    if (!known)
        add_person(p);
    tell(line);
    p->banned = true;
    p->hash[0] = '\0';
    if (p->client)
        end_without_out(p->client, "banned");
    p->client = NULL;
    if (asker(name))
        refuse(asker(name));
    return NULL;
}

static const char *order_unban(char *name)
{
    char note[NAME + 4];
    Person *p = find(name);
    if (!p || !p->banned)
        return "not banned";
    snprintf(note, sizeof note, "- %s\n", p->name);
    if (!append(note))
        return "could not be saved";
    remove_person(p);
    return NULL;
}

static const char *order_rename(char *name)
{
    char line[LINE + 1];
    if (!valid_group(name))
        return "a group's name has 1 to 64 bytes of text, no space at either end";
    if (!keep(line, "", "GROUP", "%s", name))
        return "could not be saved";
    strcpy(group.name, name);
    tell(line);
    return NULL;
}

static const char *order_members(char *unused)
{
    (void)unused;
    for (Person *p = people; p; p = p->next)
        show_line("member %s %s", p->name, p->banned ? "banned" : p->client ? "here" : "away");
    for (Client *c = clients; c; c = c->next)
        if (c->state == ASKING)
            show_line("member %s asks from %s", c->asked, c->address);
    return NULL;
}

static const char *order_close(char *unused)
{
    (void)unused;
    show_line("ok");
    end_server("closed");
}

static const char *order_help(char *unused)
{
    (void)unused;
    show_line("# accept NAME, reject NAME: let in or refuse the one who asks");
    show_line("# ban NAME, unban NAME: bar a name, or free it");
    show_line("# rename GROUP: another name for the group");
    show_line("# members: who is a member, who is banned, who asks");
    show_line("# close: end, and keep the group");
    show_line("# delete: end, and delete the group");
    return NULL;
}

static const struct { const char *name; const char *(*obey)(char *); bool has_argument; } orders[] = {
    { "accept", order_accept, true }, { "reject", order_reject, true }, { "ban", order_ban, true }, { "unban", order_unban, true },
    { "rename", order_rename, true }, { "members", order_members, false }, { "close", order_close, false }, { "help", order_help, false },
};

static const char *obey(char *order)
{
    char *argument = strchr(order, ' ');
    if (argument)
        *argument++ = '\0';
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (strcmp(order, orders[i].name) == 0) {
            if (orders[i].has_argument != (argument != NULL))
                return "malformed; see help";
            return orders[i].obey(argument);
        }
    return "no such order; see help";
}

/* An order of n bytes and a NUL, or the consent that `delete` asked for. NULL: the line was too long. */
static void serve_owner(char *line, size_t n)
{
    static bool consent_asked;
    const char *error = "longer than 512 bytes";
    if (consent_asked) {
        consent_asked = false;
        error = "not deleted";
        if (line && strlen(line) == n && strcmp(line, group.name) == 0 && unlinkat(dir_fd, "journal", 0) == 0) {
            show_line("ok");
            end_server("deleted");
        }
    } else if (line && n == 0)
        return;
    else if (line && text_error(line, n))
        error = "this is no text";
    else if (line && strcmp(line, "delete") == 0) {
        consent_asked = true;
        show_line("type the group's name to delete it");
        return;
    } else if (line)
        error = obey(line);
    if (error)
        show_line("error: %s", error);
    else
        show_line("ok");
}

static void *console_reader(void *unused)
{
    char buffer[LINE];
    size_t filled = 0;
    bool too_long = false;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, buffer + filled, sizeof buffer - filled);
        if (got < 0 && errno == EAGAIN)
            poll(&(struct pollfd){ STDIN_FILENO, POLLIN, 0 }, 1, -1);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return unused;          /* no more orders; the server serves on */
        filled += got;
        char *line = buffer, *lf;
        while ((lf = memchr(line, '\n', buffer + filled - line)) != NULL) {
            size_t n = lf - line;
            if (n > 0 && line[n - 1] == '\r')
                n--;
            line[n] = '\0';
            enter_room();
            while (waiting(&console.box) > CONSOLE)
                wait_changed(now() + 60);       /* an owner who does not read the answers gets no more of them */
            serve_owner(too_long ? NULL : line, n);
            leave_room();
            too_long = false;
            line = lf + 1;
        }
        filled -= line - buffer;
        memmove(buffer, line, filled);
        if (filled == sizeof buffer) {
            too_long = true;
            filled = 0;
        }
    }
}

/* ---- the start ---- */

static bool apply(char *line)
{
    char verb[9], name[NAME + 2], other[NAME + 2] = "", hash[CRYPT_OUTPUT_SIZE];
    Seq seq;
    int at = 0;
    Person *p;
    if (sscanf(line, "+ %33s %383s", name, hash) == 2) {
        if (!valid_name(name) || !(p = new_person(name, hash)))
            return false;
        add_person(p);
        return true;
    }
    if (sscanf(line, "- %33s", name) == 1) {
        if ((p = find(name)) == NULL || !p->banned)
            return false;
        remove_person(p);
        return true;
    }
    if (sscanf(line, "%8s %llu %*24s %n", verb, &seq, &at) != 2 || at == 0 || seq != group.seq + 1 || !make_room_for_event())
        return false;
    group.where[++group.seq] = group.length;
    const char *fields = line + at;
    if (strcmp(verb, "GROUP") == 0) {
        snprintf(group.name, sizeof group.name, "%s", fields);
        return valid_group(fields);
    }
    if (seq == 1 || sscanf(fields, "%33s %33s", name, other) < 1)
        return false;
    p = find(name);
    if (strcmp(verb, "BANNED") == 0) {
        if (!p && valid_name(name) && (p = new_person(name, "")))
            add_person(p);
        if (!p)
            return false;
        p->banned = true;
        p->hash[0] = '\0';
        return true;
    }
    if (strcmp(verb, "RENAMED") == 0 && p && valid_name(other))
        strcpy(p->name, other);
    else if (strcmp(verb, "LEFT") == 0 && p)
        remove_person(p);
    else
        return p && (strcmp(verb, "MSG") == 0 || strcmp(verb, "IN") == 0 || strcmp(verb, "OUT") == 0);
    return true;
}

static void load(const char *dir, const char *new_group)
{
    char *line = NULL, first[LINE + 1];
    size_t size = 0;
    ssize_t n;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        die(1, "%s: %s", dir, strerror(errno));
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    if (dir_fd < 0)
        die(1, "%s: %s", dir, strerror(errno));
    if (flock(dir_fd, LOCK_EX | LOCK_NB) < 0)   /* the kernel lets go of it when we end, however we end */
        die(1, "%s: another server holds this directory", dir);
    journal = openat(dir_fd, "journal", O_RDWR | O_CREAT, 0600);
    FILE *file = journal < 0 ? NULL : fdopen(dup(journal), "r");
    if (!file)
        die(1, "%s/journal: %s", dir, strerror(errno));
    while ((n = getline(&line, &size, file)) > 0 && line[n - 1] == '\n') {
        line[n - 1] = '\0';
        if (text_error(line, n - 1) || !apply(line))
            die(1, "%s/journal is damaged at byte %lld", dir, (long long)group.length);
        group.length += n;
    }
    if (n > 0 && group.length == 0)
        die(1, "%s/journal is not a journal", dir);
    if (ferror(file) || ftruncate(journal, group.length) < 0)   /* a last line without its end was never sent to anybody */
        die(1, "%s/journal: %s", dir, strerror(errno));
    fclose(file);
    free(line);
    if (group.seq == 0) {
        snprintf(group.name, sizeof group.name, "%s", new_group);
        if (!write_event(first, "", "GROUP", group.name))
            die(1, "%s/journal: %s", dir, strerror(errno));
    }
}

static void listen_at(const char *host, const char *port, char *address_text, size_t size)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error)
        die(2, "--host %s: %s", host, gai_strerror(error));
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    listen_fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (listen_fd < 0 || setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0 ||
        bind(listen_fd, found->ai_addr, found->ai_addrlen) < 0 || listen(listen_fd, 128) < 0 ||
        getsockname(listen_fd, (struct sockaddr *)&address, &length) < 0)
        die(1, "cannot listen on %s, port %s: %s", host, port, strerror(errno));
    freeaddrinfo(found);
    write_address(address_text, size, (struct sockaddr *)&address, length);
    bool loopback = address.ss_family == AF_INET
        ? (ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24) == 127
        : IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&address)->sin6_addr);
    if (!loopback)
        fputs("grupo: warning: not a loopback address, and passwords travel in clear\n", stderr);
}

static void start(void *(*run)(void *))
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, NULL);
    if (error)
        die(1, "no thread: %s", strerror(error));
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *port = "7000", *new_group = "grupo", *dir = "./grupo", *admit_whom = "ask";
    const struct { const char *name, **value; } flags[] = {
        { "--host", &host }, { "--port", &port }, { "--group", &new_group }, { "--dir", &dir }, { "--admit", &admit_whom },
    };
    for (int i = 1; i < argc; i++) {
        size_t f = 0, length = strcspn(argv[i], "=");
        while (f < 5 && (strlen(flags[f].name) != length || strncmp(argv[i], flags[f].name, length) != 0))
            f++;
        const char *value = argv[i][length] ? argv[i] + length + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (f == 5 || !value)
            die(2, "usage: [--host HOST] [--port PORT] [--group GROUP] [--dir DIR] [--admit ask|all|none]");
        *flags[f].value = value;
    }
    size_t digits = strspn(port, "0123456789");
    if (digits < 1 || digits > 5 || port[digits] || atoi(port) > 65535)
        die(2, "--port takes a number from 0 to 65535");
    if (!*host || !*dir)
        die(2, "--host and --dir must not be empty");
    if (!valid_group(new_group))
        die(2, "--group takes 1 to 64 bytes of text, no space at either end");
    if (strcmp(admit_whom, "all") == 0)
        admission = ALL;
    else if (strcmp(admit_whom, "none") == 0)
        admission = NONE;
    else if (strcmp(admit_whom, "ask") != 0)
        die(2, "--admit takes ask, all or none");

    /* Standard input and output may be closed. No socket and no file of ours must get their numbers. */
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    close(fd);
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);       /* a journal that may not grow is an error of write */
    signal(SIGTTIN, SIG_IGN);       /* in the background there are no orders, but the server serves */
    struct sigaction hangup;
    sigset_t to_end;
    sigemptyset(&to_end);
    sigaddset(&to_end, SIGTERM);
    sigaddset(&to_end, SIGINT);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&to_end, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &to_end, NULL);  /* in all threads: main waits for them below */

    pthread_condattr_t by_our_clock;
    pthread_condattr_init(&by_our_clock);
    pthread_condattr_setclock(&by_our_clock, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &by_our_clock);
    pthread_cond_init(&console_filled, &by_our_clock);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    sem_init(&hashing, 0, cores - 1 < 1 ? 1 : cores - 1 > MAX_HASHES ? MAX_HASHES : cores - 1);
    char salt[CRYPT_GENSALT_OUTPUT_SIZE], address[80];
    postman_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (postman_bell < 0 || !crypt_gensalt_rn(NULL, 0, NULL, 0, salt, sizeof salt) || !hash_password("", salt, no_hash))
        die(1, "cannot hash passwords: %s", strerror(errno));
    listen_at(host, port, address, sizeof address);
    load(dir, new_group);

    show_line("listening on %s", address);
    start(console_writer);
    start(postman);
    start(door);
    start(console_reader);
    int received;
    while (sigwait(&to_end, &received) != 0)
        ;
    enter_room();
    end_server("closed");
}
