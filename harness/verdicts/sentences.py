"""The catalogue: every sentence that a student reads of a failure, by its id. Checks and servers name only the id.

An entry is (cause, page): the likely cause, in a sentence or two, and where in the lab guide it is explained. A check that
names no sentence is explained by the one that bears its own id.
"""
import itertools

CAUSES = {
    # -- The server itself
    "no-such-command": ("The command could not be started: no such file, or it may not be executed. Is it compiled? Is the path right?",
                        "protocol.md#12-the-command-line"),
    "ends-at-once": ("The server ended before it listened. What it wrote to stderr says why; try the same command by hand.",
                     "protocol.md#12-the-command-line"),
    "never-listens": ("The server never said that it listens. Either it does not get that far, or its output stays in a buffer: "
                      "flush stdout after the first line.", "protocol.md#12-the-command-line"),
    "unflushed": ("The server listens, but its first line has not come: what is printed to a pipe waits in a buffer. Flush stdout after each line "
                  "(fflush or setvbuf in C, flush=True in Python).", "protocol.md#12-the-command-line"),
    "forks-without-end": ("The server made more and more processes. Most likely a child goes on into the loop that accepts and forks: it must end "
                          "when its client's conversation does.", "protocol.md#12-the-command-line"),
    "endless-line": ("The server sends bytes and never ends the line: a line has at most 512 bytes with its LF.", "protocol.md#3-framing-and-grammar"),
    "first-line": ("The first line on stdout is not `listening on ADDRESS:PORT`. Notes to yourself belong on stderr.",
                   "protocol.md#12-the-command-line"),
    "listens-elsewhere": ("The server says that it listens there, but nobody answers: is it the address and port of the listening socket itself?",
                          "protocol.md#12-the-command-line"),
    "floods": ("The server writes without end to stdout or stderr: a loop that prints, most likely on an error that it meets again and again.",
               "protocol.md#12-the-command-line"),
    "died": ("The server ended in the middle of the conversation. A server must survive whatever clients do.", "protocol.md#14-what-a-students-server-is-free-to-do"),
    "does-not-end": ("SIGTERM, SIGINT and `close` must end the server, whatever it is waiting for at that moment.", "protocol.md#12-the-command-line"),
    "leftovers": ("Processes of the server lived on after it. Who forks must see to it that children end with their parent.", "protocol.md#12-the-command-line"),
    "endless": ("The check found no end: something comes again and again that should come once.", "protocol.md#5-what-a-client-sends"),
    "goes-on": ("The server should have refused to start, and did not.", "protocol.md#12-the-command-line"),
    "orphans": ("Processes of the server live on although its main process was killed. A child must notice that its parent is gone: "
                "its pipe ends.", "protocol.md#12-the-command-line"),
    # -- One connection
    "silent": ("The server did not answer. It may wait for something else first (another client, the rest of a line), or it lost the request.",
               "protocol.md#5-what-a-client-sends"),
    "cut-off": ("The server closed the connection, or its thread or process for this client ended.", "protocol.md#6-what-a-server-sends"),
    "does-not-read": ("The server no longer reads from this client: it is stuck in something else, perhaps in a send to another.",
                      "protocol.md#98-slow-and-silent-clients"),
    "order-unanswered": ("Each order of the owner is answered by exactly one line `ok` or `error: why`, flushed.", "protocol.md#11-the-owners-console"),
    "console-silent": ("The owner was not told. Is stdout flushed after each line?", "protocol.md#11-the-owners-console"),
    # -- start
    "starts": ("The server must come up by itself, with nothing but its command line, and say where it listens.",
               "protocol.md#12-the-command-line"),
    # -- framing
    "greets": ("HELLO is sent right after accept, to everyone, before anything is read from the client.",
               "protocol.md#4-the-life-of-a-connection"),
    "more-than-hello": ("Before it joins, a client hears nothing but HELLO and the answers to its own lines: has something been sent "
                        "twice, or to the wrong socket?", "protocol.md#4-the-life-of-a-connection"),
    "answers-ping": ("PING is answered to everyone, also before JOIN, by one line PONG with the token exactly as it came.",
                     "protocol.md#94-the-fence"),
    "a-line-in-pieces": ("One recv was taken for one line. TCP knows no lines: collect the bytes in a buffer of each client, and "
                         "take a line out of it when its LF has come.", "protocol.md#3-framing-and-grammar"),
    "lines-in-one-segment": ("One recv may bring several lines and the beginning of the next: take out all that are whole, and keep "
                             "the rest in the buffer until more comes.", "protocol.md#3-framing-and-grammar"),
    "a-character-in-pieces": ("Bytes were decoded as they came. A character of several bytes may be cut in its middle: cut lines "
                              "first, in bytes, and decode a whole line.", "protocol.md#3-framing-and-grammar"),
    "a-carriage-return-is-dropped": ("A line may end in CR LF, as telnet sends it. Take the CR off after the line has been cut at "
                                     "its LF, for the two may come in two segments.", "protocol.md#3-framing-and-grammar"),
    "empty-lines-are-ignored": ("An empty line (also CR LF alone) is not a request: it needs no answer, and it is not the end of the "
                                "connection.", "protocol.md#3-framing-and-grammar"),
    "long-lines": ("A line was lost, cut or joined to the next where the server's buffer ended. Lines of up to 512 bytes come in any "
                   "number: what is left after the last LF must be kept and added to.", "protocol.md#3-framing-and-grammar"),
    "too-long": ("The server goes on collecting a line that has no end. After 512 bytes without an LF the line is too long, whatever "
                 "follows: ERR too-long, BYE protocol, and the end. Else anyone can fill the server's memory.",
                 "protocol.md#7-err-a-request-that-was-not-done"),
    "512-bytes-are-not-too-long": ("512 bytes, the LF among them, are still a line, wrong as it may be otherwise: is the limit off "
                                   "by one, or the buffer too small?", "protocol.md#10-limits"),
    "not-utf8": ("A line must be checked to be UTF-8 before it is passed on, and strictly: no overlong forms, no surrogates, nothing "
                 "beyond U+10FFFF. In many languages decoding does it, if errors are neither ignored nor replaced.",
                 "protocol.md#7-err-a-request-that-was-not-done"),
    "control-characters": ("What members send is shown on others' terminals, where control characters can do harm. All characters "
                           "that `text-char` leaves out are to be refused, in every field.", "protocol.md#3-framing-and-grammar"),
    "line-ends-at-nul": ("A byte 0 in a line: in C, string functions take it for the end. Keep the length beside the bytes, and look "
                         "for it with memchr.", "protocol.md#3-framing-and-grammar"),
    "unknown-verbs": ("A verb is the whole first word of the line, upper case exactly: compare all of it, not its beginning, and not "
                      "without case.", "protocol.md#7-err-a-request-that-was-not-done"),
    "wrong-arguments": ("Each verb's fields have to be checked: that they are there, are not empty, are not too long (in bytes, not "
                        "characters), and that nothing follows. Only digits make a number.",
                        "protocol.md#7-err-a-request-that-was-not-done"),
    "ten-errors": ("Errors before WELCOME are counted for each connection, and the tenth is answered before the end.",
                   "protocol.md#7-err-a-request-that-was-not-done"),
    "half-close-is-answered": ("When recv returns 0 the client will send no more, but it still reads (`printf ... | nc` does this). "
                               "Handle all lines that have come, answer them, say BYE quit, then close.",
                               "protocol.md#5-what-a-client-sends"),
    "quit-says-bye": ("QUIT is the last request of a connection: what stands behind it in the same buffer must be thrown away, and "
                      "BYE quit is the last line.", "protocol.md#8-bye-the-end"),
    "reset-after-bye": ("Closing a socket while bytes of the client lie unread makes the kernel send a reset, and the client may "
                        "lose the BYE. First shut down sending, read and throw away what still comes, then close.",
                        "protocol.md#4-the-life-of-a-connection"),
    "no-end-of-file": ("The connection stays open after BYE. Close the socket; in a server that forks, the parent and every other "
                       "child must have closed theirs, for the last descriptor counts.", "protocol.md#8-bye-the-end"),
    "an-unfinished-line-is-dropped": ("What stands in the buffer without an LF when the connection ends is no line: somebody's SAY "
                                      "may have been cut in its middle.", "protocol.md#3-framing-and-grammar"),
    "much-at-once": ("The server read only a part of what had come, and then waited for more to come. Whoever is told by the kernel "
                     "but once (edge-triggered) must read until it would block; whoever has whole lines in his buffer must not wait "
                     "for the socket.", "protocol.md#3-framing-and-grammar"),
    # -- membership
    "a-new-member-comes-in": ("JOIN is answered by PENDING at once, then by WELCOME with the number of the newest event (1 is the "
                              "group's own), and then the member hears the events that follow, his own IN first.",
                              "protocol.md#95-names"),
    "a-wrong-password-is-rejected": ("The password has to be compared with the member's. A wrong one must change nothing: neither "
                                     "the member's password nor who is here.", "protocol.md#95-names"),
    "rejected-too-soon": ("The time that a rejection takes is what makes guessing slow. Let this client wait, and only this one.",
                          "protocol.md#95-names"),
    "three-rejections": ("Rejections are counted for each connection, and the third ends it. Until a JOIN has been answered, the "
                         "next is not read.", "protocol.md#95-names"),
    "near-misses-of-a-password": ("Passwords are compared as a whole, byte for byte: not their beginning (strncmp, startswith), not "
                                  "without case, and no space is stripped: all after the space behind the name is the password.",
                                  "protocol.md#3-framing-and-grammar"),
    "only-the-beginning-is-compared": ("Two passwords of 128 bytes that differ in the last one were taken for the same. Some hash "
                                       "functions look only at the first 72 bytes, and a buffer may be too small.",
                                       "protocol.md#10-limits"),
    "nothing-before-welcome": ("Every verb but JOIN, PING, PONG and QUIT has to ask first whether this connection is a member's. "
                               "Being connected, or having asked to join, is not enough.", "protocol.md#4-the-life-of-a-connection"),
    "heard-of-a-stranger": ("Somebody who is not in the group made the members hear something.",
                            "protocol.md#4-the-life-of-a-connection"),
    "stranger-hears": ("Events go to connections that have been welcomed, not to all that are open.",
                       "protocol.md#4-the-life-of-a-connection"),
    "bad-names": ("A name is checked before it is used: as a field of a line, in a file, perhaps in a path. Its first character, the "
                  "others, and the length each have a rule.", "protocol.md#3-framing-and-grammar"),
    "good-names": ("These names are allowed: ASCII letters, digits, dot, underscore and hyphen, 1 to 32 of them, beginning with a "
                   "letter or digit.", "protocol.md#95-names"),
    "names-without-case": ("Keep a member under a folded form of the name (lower case), and beside it the name as it was first "
                           "written, to be shown.", "protocol.md#95-names"),
    "takeover": ("The right password takes over: first the old connection is told BYE replaced and is no longer read, then the new "
                 "one is the member's.", "protocol.md#96-takeover"),
    "takeover-is-no-event": ("The member was here before and is here after: the end of the old connection must not be taken for his "
                             "going, nor the new one for his coming.", "protocol.md#96-takeover"),
    "a-name-is-free-again": ("The end of a connection must free what it held, be it QUIT, an end of file or a reset (recv fails with "
                             "ECONNRESET). And if the server has not seen the end yet, the right password takes over.",
                             "protocol.md#96-takeover"),
    "a-newcomer-hears-nothing-of-the-old": (
        "The kernel gives the lowest free descriptor to the next connection. What was kept under that number (a name, a place in the "
        "list of members, a buffer) must be gone before the socket is closed.", "protocol.md#4-the-life-of-a-connection"),
    "the-owner-accepts": ("Whoever waits for the owner is still a stranger; `accept` makes him a member, in whatever case the owner "
                          "writes the name.", "protocol.md#95-names"),
    "while-the-owner-considers": ("Whoever waits for the owner hears nothing of the group, and is answered: PING and QUIT as always, "
                                  "a second JOIN by already-joined, the rest by not-joined.",
                                  "protocol.md#4-the-life-of-a-connection"),
    "the-owner-rejects": ("`reject` ends the request, not the connection: the name is free, and the client may ask again.",
                          "protocol.md#4-the-life-of-a-connection"),
    "one-request-per-name": ("A request holds its name. Whoever asks for it next must not take its place, nor change the password "
                             "that came with it.", "protocol.md#95-names"),
    "a-request-ends-with-its-connection": ("When a connection ends, its request has to be struck off the list of those who wait for "
                                           "the owner.", "protocol.md#95-names"),
    "logins-at-once": ("Looking up whether the member is here and putting the new connection in its place must be one step. Between "
                       "the two another JOIN came in: guard them by one lock, or let one thread decide.", "protocol.md#96-takeover"),
    "a-new-name-at-once": ("Between the look whether the name is free and the entry of the new member another JOIN came in, while a "
                           "password was being hashed. The name must be held in the same step in which it was found free.",
                           "protocol.md#95-names"),
    "only-members-under-none": ("--admit none lets in who is a member already, and nobody else; it is about new names only.",
                                "protocol.md#95-names"),
    "two-joins": ("A connection belongs to one member from its WELCOME to its end.", "protocol.md#7-err-a-request-that-was-not-done"),
    # -- conversation
    "everyone-hears-everything": ("An event goes once to every member who is here. A server of several processes has to pass it on: "
                                  "what a child changes in its own copy of the list of members, nobody else sees.",
                                  "protocol.md#92-delivery"),
    "no-echo": ("The one who speaks hears his own message too: it is his confirmation, and tells him its place in the order.",
                "protocol.md#92-delivery"),
    "heard-twice": ("Somebody stands twice in the list of those who are told, or the sender is told once as a member and once more "
                    "as the sender.", "protocol.md#92-delivery"),
    "not-the-same-line": ("An event is made once, with its number and time, and the same line goes to everybody.",
                          "protocol.md#92-delivery"),
    "text-as-it-was-said": ("All that stands behind `SAY ` and one space is the text. It is not stripped, split, unescaped or used "
                            "as a format; its length is limited in bytes, to 400.", "protocol.md#3-framing-and-grammar"),
    "events-are-numbered": ("Each event of the group has the next number, whoever hears it; WELCOME says the newest before one's own "
                            "IN. Count under the same lock under which the event is sent.", "protocol.md#6-what-a-server-sends"),
    "form-of-time": ("A time has this one form: a T in the middle, three digits after the point, and Z at the end.",
                     "protocol.md#3-framing-and-grammar"),
    "time-is-not-utc": ("The time was taken in the time zone of the machine, or is wrong: use UTC (gmtime, not localtime).",
                        "protocol.md#6-what-a-server-sends"),
    "ping-comes-after-events": ("PONG overtook an event that had been handled before it. Answers and events for one client have to "
                                "go the same way, in one order.", "protocol.md#94-the-fence"),
    "a-new-name": ("The new name has to replace the old one wherever it is kept: for what he says next, in the list, on the member "
                   "file, and for the next JOIN.", "protocol.md#95-names"),
    "old-name-is-free": ("The old name is still held by somebody who does not bear it any more.", "protocol.md#95-names"),
    "a-taken-name": ("A name is taken if a member has it, here or away, if it is banned, or if somebody asks for it; compare without "
                     "case. One's own name is not taken.", "protocol.md#95-names"),
    "who": ("The list is of members, not of connections: who is away is on it, who left or is banned is not.",
            "protocol.md#6-what-a-server-sends"),
    "history-is-what-was-heard": ("Keep each event as the very line that was sent, in the same step that gives it its number, and "
                                  "answer HISTORY from there. Comings, goings and new names are events too.",
                                  "protocol.md#93-history"),
    "end-of-history": ("END HISTORY says the number of the newest event.", "protocol.md#93-history"),
    "history-from-any-event": ("HISTORY s begins with event s+1. It is an answer to one client, and moves nothing on that others, or "
                               "this one, hear live.", "protocol.md#93-history"),
    "leave-is-for-good": ("LEAVE is more than going: it strikes the member off, makes the name free, and the one who leaves hears "
                          "LEFT like all others, before BYE left.", "protocol.md#5-what-a-client-sends"),
    "no-out-after-left": ("The end of the connection made one event more. Whoever has left is no member, so his going is none either.",
                          "protocol.md#6-what-a-server-sends"),
    "the-others-hear-who-goes": ("QUIT, an end of file (recv returns 0) and a reset (recv fails) are three ways to go, and must lead "
                                 "to the same place, once. A server that forks sees the end only if no other process holds the "
                                 "socket.", "protocol.md#6-what-a-server-sends"),
    "one-line-at-a-time": ("A line was heard only when another one came after it, or not at all. Whoever waits for work must look "
                           "whether there is some before sleeping, under the same lock, or be woken for each; and what is written "
                           "must be flushed.", "protocol.md#92-delivery"),
    "others-are-served-meanwhile": ("The server waits for one client while others have something to say: a blocking read of one "
                                    "socket, or of the rest of one line, or clients are served one after the other.",
                                    "protocol.md#92-delivery"),
    # -- owner
    "the-owner-is-told": ("Each request is shown to the owner once, in one line of exactly this form, flushed, and stands on "
                          "`members` as long as it waits.", "protocol.md#11-the-owners-console"),
    "members": ("`members` is made of three lists: the members, here or away, the banned, and those who wait for the owner.",
                "protocol.md#11-the-owners-console"),
    "ban": ("A ban is an event for all, the banned one too; then his connection ends, which makes no OUT. The name stays held, in "
            "any case of its letters.", "protocol.md#11-the-owners-console"),
    "ban-of-anyone": ("`ban` works on a name, not on a connection: it may be a member's who is away, an asker's, or nobody's.",
                      "protocol.md#11-the-owners-console"),
    "unban": ("A ban has struck the member off. `unban` frees the name and does not bring him back, so the old password is worth "
              "nothing.", "protocol.md#11-the-owners-console"),
    "rename-the-group": ("The rest of the line is the group's name, spaces included. It is an event, and HELLO says the new name "
                         "from then on.", "protocol.md#11-the-owners-console"),
    "wrong-orders": ("Whatever the owner types is answered by exactly one line `ok` or `error: why`. Check an order and its argument "
                     "before doing anything.", "protocol.md#11-the-owners-console"),
    "wrong-orders-do-nothing": ("An order that was answered `error:` must have changed nothing, and nobody hears of it.",
                                "protocol.md#11-the-owners-console"),
    "help": ("The lines of `help` begin with `# `, so that no program takes them for an answer; then comes `ok`.",
             "protocol.md#11-the-owners-console"),
    "orders-in-one-segment": ("Standard input is a stream of bytes too: one read may bring several orders, or half of one. If you "
                              "wait for it with select or poll, mind that stdio (fgets, readline) may hold lines in its buffer "
                              "already.", "protocol.md#11-the-owners-console"),
    "delete-needs-consent": ("The line after `delete` is the consent and nothing else, whatever it says. Only the exact name of the "
                             "group deletes; then all files go, and the next start begins a new group.",
                             "protocol.md#11-the-owners-console"),
    "close": ("`close` does what SIGTERM does: it tells everybody who is connected, closes all, and exits with 0.",
              "protocol.md#11-the-owners-console"),
    "all-hear-the-end": ("Everybody who is connected hears BYE, with its reason, before the server ends: also strangers, and those "
                         "who wait for the owner. A process that exits with unsent bytes loses them.", "protocol.md#8-bye-the-end"),
    "status-of-the-end": ("An orderly end is exit(0), not an exception, a signal's default action, or the return value of something "
                          "else.", "protocol.md#12-the-command-line"),
    "the-end-of-input-is-no-order": ("When the owner's input ends (read returns 0), stop reading it, and serve on. Do not exit, and "
                                     "do not read it again and again.", "protocol.md#11-the-owners-console"),
    "at-a-terminal": ("At a terminal the server behaves as at a pipe: it prints no prompt, and not again what was typed (the terminal itself shows that), and "
                      "a library for reading lines that does either is of no use here.", "protocol.md#11-the-owners-console"),
    "ctrl-d-is-no-order": ("At a terminal, Ctrl-D makes read return 0: that is the end of input, not an order. Stop reading it, and serve on.",
                           "protocol.md#11-the-owners-console"),
    # -- files
    "no-restart": ("The server did not start again on files that it had written itself; what it wrote to stderr says why.",
                   "protocol.md#13-files"),
    "no-restart-after-kill": ("After kill -9 the server did not start again on its own directory: a file is half written or lacks what another "
                              "has, or a lock is held by its existence and stayed behind. An flock ends with the process.", "protocol.md#13-files"),
    "a-restart-restores-members": ("Members, their names and the hashes of their passwords have to be on disk before WELCOME, "
                                   "RENAMED or LEFT is sent, and read at the start.", "protocol.md#13-files"),
    "a-restart-restores-the-conversation": (
        "Events have to be on disk exactly as they were sent. Read them at the start, and count on from the last one.",
        "protocol.md#13-files"),
    "events-lost-or-added": ("After a restart WELCOME must say the number of the last event before it. A close makes no OUT: nobody "
                             "is here when a server starts, and that is no event.", "protocol.md#6-what-a-server-sends"),
    "a-restart-keeps-bans-and-names": ("Bans and the group's name are part of what is kept. --group names a new group only.",
                                       "protocol.md#12-the-command-line"),
    "killed-and-nothing-is-lost": ("The event was sent before it was written, or is still in a buffer of the program: write it out "
                                   "(flush) before anybody hears of it. After kill -9 no code of yours runs.",
                                   "protocol.md#92-delivery"),
    "joins-at-once-are-all-kept": ("Two JOINs at once wrote the file of members, and one overwrote the other, or it was cut short. "
                                   "Write it from one place, under a lock, whole: to a new file, then rename.",
                                   "protocol.md#13-files"),
    "no-password-in-clear": ("Keep only a salted hash made for passwords (argon2, scrypt, bcrypt), and write passwords into no log.",
                             "protocol.md#13-files"),
    "password-on-a-command-line": ("Every user of the machine can read the command line of every process. Hand a password to another "
                                   "program through a pipe.", "protocol.md#13-files"),
    "files-are-private": ("Make the directory with mode 0700 and the files with 0600, and do not count on the umask.",
                          "protocol.md#13-files"),
    "a-second-server-is-refused": ("Two servers on one directory write into each other's files. Hold a lock on a file (flock) that "
                                   "ends with the process, not a file whose existence is the lock: that one stays behind after kill "
                                   "-9.", "protocol.md#13-files"),
    "a-port-in-use": ("Look at what bind and listen return: if the port is taken, say so in a line on stderr and exit with 1.",
                      "protocol.md#12-the-command-line"),
    "the-same-port-again": ("The port cannot be bound while old connections linger in TIME_WAIT, unless the listening socket has "
                            "SO_REUSEADDR, set before bind.", "protocol.md#12-the-command-line"),
    "wrong-arguments-end-with-2": ("Check the command line before anything else. Status 2 tells a caller that the command was wrong; "
                                   "1 tells that it could not be done.", "protocol.md#12-the-command-line"),
    # -- crowd
    "one-order": ("Two threads or processes are at work on the same members or the same events at the same time. What decides an event's number must "
                  "also hand it to everyone, before the next one may: one lock around both, or one place that does both.",
                  "protocol.md#92-delivery"),
    "order-differs": ("The events got their numbers in one order and went out in another: the lock is given back between the two. Number an event "
                      "and put it into everyone's queue under the same lock.", "protocol.md#92-delivery"),
    "one-number-twice": ("Two events have the same number: two threads read the counter before either had written it back. Counting up, and "
                         "all that belongs to it, needs a lock.", "protocol.md#92-delivery"),
    "event-lost": ("Somebody who was here was passed over, or what waited for him was lost: a list that one changes while another goes through it, a queue "
                   "that is emptied while another adds to it, or a send that took only part and was not finished.", "protocol.md#92-delivery"),
    "event-twice": ("The same event was sent to him twice: a queue was sent by two threads at once, or was emptied only after another had added to it.",
                    "protocol.md#92-delivery"),
    "said-lost": ("A request was read and nothing came of it. Look at what happens to the rest of a piece when several lines come at once, "
                  "and to what was decided while another thread did the same.", "protocol.md#91-requests-one-at-a-time"),
    "said-twice": ("One request was handled twice. Is a line taken out of the buffer before it is handled?", "protocol.md#91-requests-one-at-a-time"),
    "invented": ("A message came that nobody had said so: two threads share one buffer, or a buffer was used again before it was sent.",
                 "protocol.md#92-delivery"),
    "late": ("PONG overtook an event that had happened before: it was sent on another way than the events, past what waits for this client.",
             "protocol.md#94-the-fence"),
    "torn": ("A line was cut, or another was written into it: two threads or processes write to the same socket at once, or a line goes out by more than "
             "one send, or a send that took only part of it was not finished.", "protocol.md#92-delivery"),
    "before-welcome": ("WELCOME and being among those who hear the events must be one step: no event may fall between them, and none before.",
                       "protocol.md#92-delivery"),
    "not-ones-own-in": ("The number in WELCOME, being among those who hear, and the IN must be one step, under one lock.", "protocol.md#92-delivery"),
    "after-bye": ("Who was told BYE is still among those who hear: take him out first.", "protocol.md#8-bye-the-end"),
    "after-the-end": ("Who has left or was banned is still among those who hear.", "protocol.md#8-bye-the-end"),
    "ones-own-out": ("The server takes somebody for gone who is here: most likely a client that came later on the same descriptor, or under a name alike.",
                     "protocol.md#6-what-a-server-sends"),
    "acts-while-away": ("Requests of a connection were handled after its OUT. When it is over, what is still in its buffer is over, too; and OUT, "
                        "like any event, gets its number under the lock.", "protocol.md#6-what-a-server-sends"),
    "two-with-one-name": ("Two members have the same name. Looking whether a name is free and taking it must be one step, under one lock that is not "
                          "released in between.", "protocol.md#95-names"),
    "name-for-nobody": ("A name was free, several members asked for it at once, and nobody got it: each was refused because of another one that was "
                        "refused, too.", "protocol.md#95-names"),
    "came-twice": ("The same member came in twice. Looking whether he is here and letting him in must be one step.", "protocol.md#96-takeover"),
    "greeted-twice": ("One connection was greeted twice, most likely another one not at all: what the thread is to serve is in a variable that the next accept "
                      "has overwritten. Hand each thread a copy of its own.", "protocol.md#4-the-life-of-a-connection"),
    "not-greeted": ("HELLO is the first thing that anyone hears. Something else was sent before it, by another thread perhaps.",
                    "protocol.md#4-the-life-of-a-connection"),
    "answer-of-another": ("An answer went to the wrong client, or came twice: two threads share a buffer or a variable that holds the answer or its receiver.",
                          "protocol.md#91-requests-one-at-a-time"),
    "history-differs": ("The answer to HISTORY has a hole or another end than it says: the events were gone through while others were added.",
                        "protocol.md#93-history"),
    "history-stale": ("The answer to HISTORY lacks events that others had already heard: an event is told before it is kept, or H was read too early.",
                      "protocol.md#93-history"),
    "put-out": ("A client that did nothing wrong and read what came lost its connection. EAGAIN and a send that takes only part are no errors; "
                "what does not fit now waits until it does.", "protocol.md#98-slow-and-silent-clients"),
    "stuck": ("Nothing moves any more: two threads each hold a lock and wait for the other's (take them in the same order everywhere), a lock was not "
              "given back, or two sides each write and neither reads.", "protocol.md#91-requests-one-at-a-time"),
    "ghost": ("A connection is over and nobody is told: its end was not seen, or the thread that saw it ended without OUT.", "protocol.md#6-what-a-server-sends"),
    "backlog": ("The queue of connections that wait for accept is too short for so many at once, and those who found no room had to try again: give listen() "
                "a larger number, such as SOMAXCONN.", "protocol.md#4-the-life-of-a-connection"),
    "nothing-lost": ("What came before QUIT or the end of file must be handled before it, and told like all else.", "protocol.md#92-delivery"),
    "whole-lines": ("Only one may write to a socket at a time, and a line that was begun must be finished before anything else goes there.",
                    "protocol.md#92-delivery"),
    "coming-and-going": ("The list of members changes while an event is being sent to all of them.", "protocol.md#92-delivery"),
    "connects-at-once": ("Connections that come together must each be accepted and served: accept may have more than one for you.",
                         "protocol.md#4-the-life-of-a-connection"),
    "cross-traffic": ("Requests of different kinds get into each other's way: each may be right alone, and take its locks in another order.",
                      "protocol.md#91-requests-one-at-a-time"),
    "a-name-for-one": ("Looking whether a name is free and taking it must be one step, under one lock that is not released in between.",
                       "protocol.md#95-names"),
    "history-meanwhile": ("HISTORY is read off what others are writing at that moment.", "protocol.md#93-history"),
    "a-burst": ("More came than fits into the buffers between you and the clients. Who writes must not wait for somebody who waits for him.",
                "protocol.md#98-slow-and-silent-clients"),
    # -- peers
    "a-reset-in-a-broadcast": ("A send to a connection that has been reset fails (EPIPE, ECONNRESET, or the signal SIGPIPE, which ends a C program that "
                               "does not ignore it): that client is gone, and the loop over the others must go on.", "protocol.md#8-bye-the-end"),
    "half-a-line-holds-up-nobody": ("The server waits for the rest of one client's line and serves nobody meanwhile. Keep what has come in that client's "
                                    "buffer, and go on.", "protocol.md#3-framing-and-grammar"),
    "a-reader-who-stops-holds-up-nobody": ("A send to a client whose buffers are full waits until he reads, and everybody waits with it: it blocks in the "
                                           "loop, or under the lock. What does not fit must wait in a queue of that client's own.",
                                           "protocol.md#98-slow-and-silent-clients"),
    "a-reader-who-stops-costs-little": ("What waits for a client who does not read has no bound, so he can fill the memory. At some 1 MB he is put out.",
                                        "protocol.md#98-slow-and-silent-clients"),
    "a-slow-reader-gets-all": ("A send may take only the first part of what it is given, and returns how much: the rest must be sent later, and before "
                               "anything else to that client.", "protocol.md#92-delivery"),
    "a-flooder": ("The server reads from one client until nothing more is there, and there is always more. Read a bounded piece from each in turn.",
                  "protocol.md#91-requests-one-at-a-time"),
    "guessing-passwords": ("Checking a password is slow on purpose, and the answer to a wrong one waits for a second. Neither may be spent in the loop, nor "
                           "while a lock is held that others need.", "protocol.md#95-names"),
    "noise": ("The bytes were random. Whatever comes is answered by ERR or BYE, and never by what belongs to the server's insides.",
              "protocol.md#7-err-a-request-that-was-not-done"),
    "a-wrong-line-releases-all": ("After a request that failed, others are no longer served: is a lock released, and an answer given, on every path, also by "
                                  "return and by an exception?", "protocol.md#7-err-a-request-that-was-not-done"),
    "traceback": ("An exception was caught by nobody. What a client can cause is to be expected: catch it where it arises, and say goodbye to that client alone.",
                  "protocol.md#14-what-a-students-server-is-free-to-do"),
    "the-silent-are-dropped": ("A client whose machine has gone sends nothing, not even the end: ask it (PING) after --ping-after of silence, and drop it "
                               "after --idle-after.", "protocol.md#98-slow-and-silent-clients"),
    "strangers-have-no-long-stay": ("--join-within counts from accept to WELCOME; no PING puts it off.", "protocol.md#8-bye-the-end"),
    # -- processes
    "all-is-given-back": ("Something that each client costs is not given back when he goes, however he goes.", "protocol.md#12-the-command-line"),
    "descriptors-stay": ("Sockets or pipes are not closed when clients go: close each on every path, also after an error. Where processes share one, each must "
                         "close its copy.", "protocol.md#8-bye-the-end"),
    "threads-stay": ("Threads live on when their clients have gone: does every one of them notice the end (recv gives 0 bytes, or an error) and return?",
                     "protocol.md#8-bye-the-end"),
    "processes-stay": ("Processes live on when their clients have gone, or nobody waits for those that ended: does each notice the end of its client, and "
                       "exit?", "protocol.md#8-bye-the-end"),
    "stacks-stay": ("A thread that has ended keeps its stack until another one joins it. Detach threads that nobody will join.",
                    "protocol.md#8-bye-the-end"),
    "no-zombies": ("A child that has ended stays a zombie until its parent waits for it: call waitpid when SIGCHLD comes, or when its pipe ends.",
                   "protocol.md#8-bye-the-end"),
    "no-zombies-after-a-burst": ("One SIGCHLD may stand for many children: signals are not counted. Call waitpid with WNOHANG until it finds no more.",
                                 "protocol.md#8-bye-the-end"),
    "idle-costs-nothing": ("The server asks again and again whether there is anything to do, where it should wait in one call: does it watch for writing with "
                           "nothing to write, poll with no timeout, or loop on a variable?", "protocol.md#98-slow-and-silent-clients"),
    "nothing-spins-after-the-end": ("At the end of file a socket is readable for ever, and recv gives 0 bytes at once: that is the end, and the socket must be closed "
                                    "and no longer be watched.", "protocol.md#8-bye-the-end"),
    "quit-ends-the-connection": ("The connection ends when its last copy is closed. Another process still holds one, the parent or a child that was made later: "
                                 "let each close what is not its own, or use shutdown.", "protocol.md#8-bye-the-end"),
    "forks-on": ("A child goes on into the loop that accepts, and makes children of its own. It must end when its client's conversation does.",
                 "protocol.md#8-bye-the-end"),
    "no-more-processes-than-clients": ("A client is greeted by exactly one process, once. Who else still runs the code behind fork?",
                                       "protocol.md#4-the-life-of-a-connection"),
    "printed-once": ("What was in the buffer of stdout when the process was forked is written by both. Flush before fork, and end a child by _exit.",
                     "protocol.md#11-the-owners-console"),
    "one-thread-for-all": ("The server makes a thread or a process for clients, and --design nonblocking promises one thread that serves all.",
                           "protocol.md#14-what-a-students-server-is-free-to-do"),
    "a-thread-each": ("--design pthread promises a thread that reads from each client.", "protocol.md#14-what-a-students-server-is-free-to-do"),
    "a-process-each": ("--design fork promises a process that reads from each client.", "protocol.md#14-what-a-students-server-is-free-to-do"),
    "children-hold-only-their-own": ("A child inherits all that is open when it is made: it must close what is not its own.", "protocol.md#8-bye-the-end"),
    "children-hold-connections": ("A child inherits the connections of all clients that came before its own, and keeps them open: nobody sees their end while "
                                  "it lives. Close them right behind fork.", "protocol.md#8-bye-the-end"),
    "children-hold-pipes": ("A child inherits the pipes of all children before it, and keeps them open: who reads such a pipe never sees its end. Close them "
                            "right behind fork.", "protocol.md#8-bye-the-end"),
    # -- faults
    "sigterm-ends-in-order": ("SIGTERM must be caught: say BYE closed to all, end the other processes, exit with 0.", "protocol.md#12-the-command-line"),
    "sigint-ends-in-order": ("Ctrl-C must be caught, and reaches the children too: they must leave it to the main process to end in order.",
                             "protocol.md#12-the-command-line"),
    "ctrl-c-at-the-terminal": ("A terminal sends SIGINT to all processes that were started at it: the main one must end in order, and the others must leave "
                               "it to that one.", "protocol.md#12-the-command-line"),
    "no-handler": ("Nobody handles this signal, so it ends the process where it stands. Install a handler (sigaction; in Python signal.signal) that makes the "
                   "main loop end in order.", "protocol.md#12-the-command-line"),
    "exit-status": ("An end that was asked for is no error: status 0. Did an exception or a failed call on the way out end it first?",
                    "protocol.md#12-the-command-line"),
    "no-farewell": ("Whoever is connected, member or not, is told BYE closed before the server goes. Is it sent, and not cut off by a close with unread input "
                    "or by the end of the process?", "protocol.md#8-bye-the-end"),
    "killed-leaves-no-orphans": ("Processes of the server live on although its main process was killed, and may hold its port and its files. A child must "
                                 "notice that its parent is gone: its pipe ends.", "protocol.md#12-the-command-line"),
    "signals-are-survived": ("A system call that a signal interrupts fails with EINTR, and that is no error: call it again. A child's end or a resized window "
                             "must not end the server.", "protocol.md#14-what-a-students-server-is-free-to-do"),
    "without-a-terminal": ("The end of standard input is no order, and it may be closed from the beginning: then read it no more, and serve on.",
                           "protocol.md#11-the-owners-console"),
    "the-owner-does-not-read": ("Printing to a pipe or terminal that nobody reads waits until somebody does, and here the server waits with it. Print without "
                                "blocking, or from a thread of its own, and drop lines when too many wait.", "protocol.md#11-the-owners-console"),
    "out-of-descriptors": ("accept fails with EMFILE when no descriptor is left. That must neither end the server nor disturb the others, and when somebody goes, "
                           "newcomers come in again.", "protocol.md#97-full"),
    "beyond-descriptor-1024": ("select() and FD_SET know descriptors below 1024 (FD_SETSIZE) only: in C a larger one writes beyond the set, in Python it raises "
                               "an exception. Use poll or epoll, or turn away whoever gets such a descriptor.", "protocol.md#97-full"),
    "spins-when-full": ("accept fails, the newcomer stays in the queue, the loop is woken at once again, for ever. Turn him away (keep a spare descriptor to "
                        "accept and close with), or watch the listening socket again only when somebody has gone.", "protocol.md#97-full"),
}

DEEDS = {"connects": "{who} connects.", "sends": "{who} sends {text}", "sends-in-pieces": "{who} sends, in {pieces} pieces, {text}", "shuts": "{who} ends sending (half-close), and still reads.",
         "resets": "{who} breaks the connection with a reset.", "closes": "{who} closes the connection.",
         "types": "The owner types {text}", "starts": "The server is started: {text}", "signal": "The server gets {text}."}


LONG_STEP, LONG_LINE = 12, 600      # lines of a step, characters of a line


GENERAL = {"silent", "cut-off"}         # what is to be seen; a check knows more of the cause


def told_by(sentence, check):
    """Which sentence tells a failure of this check: the one that was named, if it says more than the check's own."""
    return check if sentence is None or sentence in GENERAL and check in CAUSES else sentence


def explain(sentence, check):
    """(cause, page) of a sentence; of the check if there is no such sentence."""
    return CAUSES.get(sentence) or CAUSES.get(check) or ("", "protocol.md")


def steps(entries):
    """What was done, as texts: what one client sends in a row is one step."""
    done = []                           # [who, what, text, pieces]
    for _, who, what, text in entries:
        if what == "sends" and done and done[-1][:2] == [who, what]:
            done[-1][2] += text
            done[-1][3] += 1
        elif what in DEEDS and what != "closes":
            done.append([who, what, text, 1])
    texts = []
    for what, group in itertools.groupby(done, lambda deed: deed[1]):
        group = list(group)
        if what in AT_ONCE and len(group) >= MANY:
            texts.append(AT_ONCE[what](group))
        else:
            texts += [DEEDS["sends-in-pieces" if pieces > 1 else what].format(who=who, text=short(text.rstrip("\n")), pieces=pieces)
                      for who, what, text, pieces in group]
    return [text.replace("\n", "\n    ") for text in texts]


def all_connect(group):
    names = [who for who, *_ in group]
    return f"{', '.join(names[:-1])} and {names[-1]} connect." if len(names) <= LONG_STEP else f"{names[0]} to {names[-1]}, {len(names)} clients, connect."


def all_send(group):
    """What a crowd sends, partly at the same time, told by client: how many lines, the first and the last."""
    sent = {}
    for who, _, text, _ in group:
        sent[who] = sent.get(who, "") + text
    told = []
    for who, text in list(sent.items())[:LONG_STEP]:
        lines = [short(line) for line in text.rstrip("\n").split("\n")]
        told.append(f"{who}: {' / '.join(lines)}" if len(lines) < 4 else f"{who}: {len(lines)} lines, {lines[0]} / {lines[1]} / ... / {lines[-1]}")
    more = [f"... ({len(sent) - LONG_STEP} clients more)"] if len(sent) > LONG_STEP else []
    return "\n".join(["These send, all at the same time, some lines at once and more as they are answered:", *told, *more])


MANY = 5                                # deeds of one kind in a row that are told as one
AT_ONCE = {"connects": all_connect, "sends": all_send}


def short(text):
    """A step that is too long to be read tells its beginning and its end; the record holds all of it."""
    lines = [line if len(line) <= LONG_LINE else f"{line[:LONG_LINE // 2]} ... ({len(line)} characters in all)" for line in text.split("\n")]
    if len(lines) > LONG_STEP:
        lines[LONG_STEP - 3:-1] = [f"... ({len(lines) - LONG_STEP + 2} lines more)"]
    return "\n".join(lines)
