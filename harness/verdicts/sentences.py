"""The catalogue: every explanation of a failure that a student reads, by its id. Checks name only
the id.

An entry is (cause, page): the likely cause, in a sentence or two, and where in the lab guide it is
explained. A check that names no sentence is explained by the one that bears its own id.
"""

import itertools
import re

from harness.driving.messages import Message, joined, msg, shortened, template

CAUSES = {
    # -- The server itself
    "no-such-command": (
        "The command cannot be started: there is no such file, or it is not executable. Is it "
        "compiled? Is the path right?",
        "protocol.md#12-the-command-line",
    ),
    "ends-at-once": (
        "The server ended before it listened. Its stderr says why. Run the same command by hand.",
        "protocol.md#12-the-command-line",
    ),
    "never-listens": (
        "The server did not print that it listens, and no listening socket was seen. It does "
        "not get as far as listen().",
        "protocol.md#12-the-command-line",
    ),
    "unflushed": (
        "The server listens, but its first line did not arrive: output to a pipe stays in a "
        "buffer. Flush stdout after each line (fflush or setvbuf in C, flush=True in Python).",
        "protocol.md#12-the-command-line",
    ),
    "forks-without-end": (
        "The server created more and more processes. Most likely a child returns to the loop "
        "that accepts and forks. A child must exit when its client's conversation ends.",
        "protocol.md#12-the-command-line",
    ),
    "endless-line": (
        "The server sends bytes and never ends the line. A line has at most 512 bytes with its LF.",
        "protocol.md#3-framing-and-grammar",
    ),
    "first-line": (
        "The first line on stdout is not `listening on ADDRESS:PORT`. Print notes to yourself "
        "on stderr.",
        "protocol.md#12-the-command-line",
    ),
    "listens-elsewhere": (
        "The server says that it listens at this address, but no connection is accepted there. "
        "Print the address and port of the listening socket itself (getsockname).",
        "protocol.md#12-the-command-line",
    ),
    "floods": (
        "The server writes to stdout or stderr without end. Most likely a loop prints the same "
        "error again and again.",
        "protocol.md#12-the-command-line",
    ),
    "died": (
        "The server ended in the middle of the conversation. Its last lines on stderr are "
        "above. A server must survive anything that clients do.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "died-of-an-exception": (
        "An exception that nothing caught ended the server. Catch what a client can cause where"
        " it arises, and end that client's connection only.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "died-of-sigpipe": (
        "The signal SIGPIPE ended the server: it wrote to a connection or pipe that was closed."
        " Ignore SIGPIPE, and treat EPIPE as the end of that client only.",
        "protocol.md#8-bye-the-end",
    ),
    "died-of-memory": (
        "A memory error or a failed assertion ended the server (see the signal above). Compile "
        "with -g -fsanitize=address,undefined and repeat the steps: the report names the line. In "
        "a starting folder, `make check SANITIZE=address` does that.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "address-sanitizer": (
        "The server used memory that is not its own: an array's neighbour, or a struct that it had "
        "freed. The address sanitizer saw it, at these lines:",
        "index.md#how-a-lab-works",
    ),
    "thread-sanitizer": (
        "Two threads used the same memory without a lock that both take, and at least one of them "
        "wrote. The thread sanitizer saw it, at these lines:",
        "index.md#how-a-lab-works",
    ),
    "died-of-a-signal": (
        "A signal that the server does not handle ended it (see the signal above). Install a "
        "handler for it, or ignore it.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "died-by-itself": (
        "The server ended with status 0 although nobody asked it to: main returned, or "
        "something called exit. Look for a loop that ends when one client does.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "does-not-end": (
        "SIGTERM, SIGINT and `close` must end the server, even while it waits for something.",
        "protocol.md#12-the-command-line",
    ),
    "leftovers": (
        "Processes of the server are still running after it ended. A server that forks must end "
        "its children, or each child must notice that its parent has ended.",
        "protocol.md#12-the-command-line",
    ),
    "endless": (
        "The server sent again and again something that it should send once.",
        "protocol.md#5-what-a-client-sends",
    ),
    "goes-on": (
        "The server should have refused to start, and it started.",
        "protocol.md#12-the-command-line",
    ),
    "orphans": (
        "Processes of the server are still running although its main process was killed. A "
        "child must notice that its parent has ended: its pipe from the parent ends.",
        "protocol.md#12-the-command-line",
    ),
    "unknown-cause": (
        "No cause known. Compare what came with what was expected, and read the record of this "
        "check: it holds every line that was sent and received, in order.",
        "protocol.md#1-on-one-page",
    ),
    # -- One connection
    "silent": (
        "No cause known. Look at what the server does between reading this request and "
        "answering it: does it wait for something else, or does it drop the request?",
        "protocol.md#5-what-a-client-sends",
    ),
    "cut-off": (
        "The server closed the connection without a BYE, or its thread or process for this "
        "client ended. No cause known: nothing on stderr says why. Look for an unhandled error "
        "on the way from recv to the answer.",
        "protocol.md#6-what-a-server-sends",
    ),
    "does-not-read": (
        "The server no longer reads from this client. It waits for something else, perhaps in a"
        " send to another client.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "order-unanswered": (
        "Answer each order of the owner by exactly one line `ok` or `error: why`, and flush it.",
        "protocol.md#11-the-owners-console",
    ),
    "console-silent": (
        "The owner did not see this line. Flush stdout after each line, and print the line in "
        "exactly the form of the protocol.",
        "protocol.md#11-the-owners-console",
    ),
    "exception": (
        "The server's stderr shows an exception. If nothing catches it, the thread or process "
        "that raised it ends, and its client gets no more answers.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "exception-in-a-thread": (
        "An exception ended a thread of the server, and the client that it served gets no more "
        "answers. Catch what a client can cause, and let the thread end its connection in "
        "order.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "exception-in-a-child": (
        "The server's stderr shows an exception. It has several processes: the child that "
        "raised it ends, and its client gets no more answers. Catch what a client can cause in "
        "the child.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "a-child-died": (
        "A signal ended a child of the server, and its client gets no more answers.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "no-descriptors-left": (
        "A process of the server has as many open descriptors as it may have, so it cannot "
        "accept a connection. Close each socket and pipe when its client disconnects, in every "
        "process that holds it.",
        "protocol.md#97-full",
    ),
    "blocked-in-send": (
        "A thread of the server is blocked in a send, and newcomers are not served either. A "
        "send to a client that does not read blocks everything that waits for it. Buffer what "
        "does not fit.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "waits-for-a-lock": (
        "Every thread that could serve waits for a lock, and none of them releases it. Does a "
        "thread acquire a lock that it holds already, or return or raise without releasing it? "
        "Do two threads each hold a lock that the other one wants?",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "nobody-reads": (
        "The bytes of this client are unread in its socket, while newcomers are served: nothing "
        "in the server reads from this connection. Was its thread or child given the connection "
        "of another client, for example by a variable that the next accept overwrites?",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "descriptor-reused": (
        "The kernel gives the number of a closed descriptor to the next connection. Something "
        "still used that number after close, or closed it a second time, and so reached the "
        "newcomer. Remove the number from every table and selector before close, and close each"
        " descriptor once.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "would-block": (
        "A call on a non-blocking socket found nothing to read, or no room to write (EAGAIN). "
        "This is not an error: try again when the socket is ready.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "decode-error": (
        "The server decoded bytes that are not valid UTF-8. Cut lines first, in bytes, and "
        "decode whole lines: a character may be cut in the middle. Answer a line that is not "
        "UTF-8 by ERR bad-utf8.",
        "protocol.md#3-framing-and-grammar",
    ),
    "said-bye": (
        "The server ended this conversation with a BYE for which the client gave no reason. "
        "Read in the protocol when the server may send this code, and find where your server "
        "decides to send it.",
        "protocol.md#8-bye-the-end",
    ),
    # -- A step on the way to what is checked
    "no-hello": (
        "The kernel accepted the connection, but HELLO did not come. The server must accept and "
        "greet each client before it waits for anything from it.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "nothing-is-sent": (
        "The server accepts connections and reads what comes. It sends nothing, and all its "
        "threads "
        "or processes wait. Is HELLO put where the part that sends finds it, and is that part "
        "woken? A "
        "wake-up that comes before the wait is lost: look at the queue before each wait.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "one-after-the-other": (
        "A client that connected earlier received HELLO and is still connected; this one "
        "received no HELLO. The server serves one client after the other: it returns to accept "
        "only when the previous client has disconnected.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "takes-no-requests": (
        "The server sends HELLO, but finds no request in what it receives: this client sent "
        "only PING, and no answer came. Does the server cut the line at its LF, compare it "
        "without its line end, and send the answer?",
        "protocol.md#3-framing-and-grammar",
    ),
    "join-unanswered": (
        "JOIN was not answered by PENDING. Nothing came after HELLO: does the server read this "
        "line, and find the verb in it?",
        "protocol.md#95-names",
    ),
    "no-welcome": (
        "PENDING came, and then neither WELCOME nor REJECTED. The server was not computing at "
        "the end. Look at what it does between the two: the hash of the password, the file of "
        "members, the lock or pipe to the part that decides.",
        "protocol.md#95-names",
    ),
    "welcome-slow": (
        "PENDING came, and then neither WELCOME nor REJECTED, and the server was still "
        "computing. Most likely the hash of the password takes too long: choose its cost so "
        "that one JOIN takes a fraction of a second.",
        "protocol.md#10-limits",
    ),
    "no-own-in": (
        "WELCOME came, but the member's own IN did not. Add a new member to the recipients of "
        "events before you send its IN to all.",
        "protocol.md#92-delivery",
    ),
    "join-refused": (
        "A JOIN with a name that nobody had used before was refused. Under --admit all, and "
        "after the owner's `accept`, a new name is admitted with any valid password.",
        "protocol.md#95-names",
    ),
    "accept-refused": (
        "The owner's `accept NAME` was answered by an error, although this client asked to join"
        " with that name and waits.",
        "protocol.md#11-the-owners-console",
    ),
    "accepted-not-welcomed": (
        "The owner accepted this client, and WELCOME did not come. Does the thread or process "
        "that serves it receive the decision, and does it wake up to read it?",
        "protocol.md#95-names",
    ),
    "in-before-welcome": (
        "The member's own IN came before its WELCOME. First send WELCOME with the number of the "
        "newest event, then add the member to the recipients of events, then send IN to all, as "
        "one step.",
        "protocol.md#92-delivery",
    ),
    # -- start
    "starts": (
        "The server must start with only its command line, and print the address where it listens.",
        "protocol.md#12-the-command-line",
    ),
    # -- framing
    "greets": (
        "Send HELLO right after accept, to each client, before you read anything from it. It is"
        " `HELLO grupo/1 ` and the group's name, in one line.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "takes-requests": (
        "The answer to a first PING is one line PONG, and nothing comes between HELLO and it. "
        "Is the line cut at its LF, and the verb compared without the line end?",
        "protocol.md#3-framing-and-grammar",
    ),
    "more-than-hello": (
        "Before JOIN, a client receives nothing but HELLO and the answers to its own lines. "
        "Something was sent twice, or to the wrong socket.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "answers-ping": (
        "Answer PING to every client, also before JOIN, by one line PONG with exactly the same "
        "token.",
        "protocol.md#94-the-fence",
    ),
    "a-line-in-pieces": (
        "The server treated each recv as one line. TCP has no lines: collect the bytes in a "
        "buffer for each client, and take a line out of it when its LF has come.",
        "protocol.md#3-framing-and-grammar",
    ),
    "lines-in-one-segment": (
        "One recv may return several lines and the beginning of the next. Take out all whole "
        "lines, and keep the rest in the buffer until more comes.",
        "protocol.md#3-framing-and-grammar",
    ),
    "a-character-in-pieces": (
        "The server decodes bytes as they come. A character of several bytes may be cut in the "
        "middle: cut lines first, in bytes, and decode whole lines.",
        "protocol.md#3-framing-and-grammar",
    ),
    "a-carriage-return-is-dropped": (
        "A line may end in CR LF, as telnet sends it. Remove the CR after the line has been cut"
        " at its LF, because the two may come in two segments.",
        "protocol.md#3-framing-and-grammar",
    ),
    "empty-lines-are-ignored": (
        "An empty line (also CR LF alone) is not a request: it has no answer, and it does not "
        "end the connection.",
        "protocol.md#3-framing-and-grammar",
    ),
    "long-lines": (
        "A line was lost, cut or joined to the next one. This happens where the server's buffer"
        " ends: keep what is left after the last LF, and append what comes next to it.",
        "protocol.md#3-framing-and-grammar",
    ),
    "too-long": (
        "After 512 bytes without an LF a line is too long, whatever follows: send ERR too-long "
        "and BYE protocol, and end the connection. If a server continues to collect bytes, any "
        "client can fill its memory.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "512-bytes-are-not-too-long": (
        "A line of 512 bytes with its LF is still a line. Is the limit off by one, or the "
        "buffer too small?",
        "protocol.md#10-limits",
    ),
    "not-utf8": (
        "Check that a line is strict UTF-8 before you pass it on: no overlong forms, no "
        "surrogates, nothing beyond U+10FFFF. Decoding does it in many languages, if errors are"
        " neither ignored nor replaced.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "control-characters": (
        "What members send is shown on other people's terminals, where control characters can "
        "do harm. Refuse all characters that `text-char` leaves out, in every field.",
        "protocol.md#3-framing-and-grammar",
    ),
    "line-ends-at-nul": (
        "The line has a byte 0. In C, string functions treat it as the end. Keep the length "
        "beside the bytes, and search with memchr.",
        "protocol.md#3-framing-and-grammar",
    ),
    "unknown-verbs": (
        "A verb is the whole first word of the line, in upper case. Compare all of it, with case.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "longest-lines": (
        "An event may hold a name of 32 characters and a text of 400 bytes, in at most 512 "
        "bytes with its LF. Every buffer that builds, stores or reads a line must have room for "
        "that.",
        "protocol.md#3-framing-and-grammar",
    ),
    "killed-while-it-checked": (
        "The child was killed while it checked a password. The parent must then forget that "
        "JOIN: release the name that it holds, and let the next password be checked.",
        "protocol.md#95-names",
    ),
    "errors-repeat-nothing": (
        "Most likely the words of ERR are made from the line that was refused. That line can hold "
        "control characters, a password, or 500 bytes. Use fixed words for each code.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "form-of-err": (
        "An ERR is `ERR`, the code, and then words for people: at least one character, at most 400 "
        "bytes, and no character that `text-char` leaves out.",
        "protocol.md#3-framing-and-grammar",
    ),
    "wrong-arguments": (
        "Check each field of each verb: it exists, it is not empty, it is not too long (in "
        "bytes, not characters), and nothing follows it. A number consists of digits only.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "ten-errors": (
        "Count the errors of each connection before WELCOME. Answer the tenth, then send BYE "
        "protocol.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "half-close-is-answered": (
        "When recv returns 0, the client sends no more but still reads (`printf ... | nc` does "
        "this). Handle all lines that came, answer them, send BYE quit, then close.",
        "protocol.md#5-what-a-client-sends",
    ),
    "quit-says-bye": (
        "QUIT is the last request of a connection. Discard what follows it in the buffer; BYE "
        "quit is the last line.",
        "protocol.md#5-what-a-client-sends",
    ),
    "reset-after-bye": (
        "If you close a socket with unread bytes of the client, the kernel sends a reset, and "
        "the client may lose the BYE. Shut down sending first, read and discard what still "
        "comes, then close.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "no-end-of-file": (
        "BYE came, and the connection stays open. Close the socket. In a server that forks, the"
        " parent and every other child must close their copies too: the connection ends with "
        "its last descriptor.",
        "protocol.md#8-bye-the-end",
    ),
    "an-unfinished-line-is-dropped": (
        "Bytes without an LF that are in the buffer when the connection ends are not a line. "
        "They may be a SAY that was cut in the middle.",
        "protocol.md#3-framing-and-grammar",
    ),
    "much-at-once": (
        "The server read only part of what had come, and then waited for more to come. With "
        "edge-triggered events, read until recv would block. Before you wait for the socket, "
        "handle the whole lines that are in the buffer.",
        "protocol.md#3-framing-and-grammar",
    ),
    # -- membership
    "a-new-member-comes-in": (
        "Answer JOIN by PENDING at once, then by WELCOME with the number of the newest event (1"
        " is the group's own). After that the member receives all events, its own IN first.",
        "protocol.md#95-names",
    ),
    "a-wrong-password-is-rejected": (
        "Compare the password with the member's. A wrong one must change nothing: not the "
        "member's password, and not which connection the member has.",
        "protocol.md#95-names",
    ),
    "rejected-too-soon": (
        "The delay of a rejection makes guessing slow. Delay the answer to this client, and "
        "only to this one.",
        "protocol.md#95-names",
    ),
    "three-rejections": (
        "Count the rejections of each connection; the third one ends it. Until a JOIN is "
        "answered, do not read the next one.",
        "protocol.md#95-names",
    ),
    "near-misses-of-a-password": (
        "Compare passwords as a whole, byte for byte: not only their beginning (strncmp, "
        "startswith), with case, and without stripping spaces. The password is all that follows"
        " the space after the name.",
        "protocol.md#3-framing-and-grammar",
    ),
    "only-the-beginning-is-compared": (
        "The server treated two passwords of 128 bytes that differ in the last byte as the "
        "same. Some hash functions look only at the first 72 bytes, and a buffer may be too "
        "small.",
        "protocol.md#10-limits",
    ),
    "nothing-before-welcome": (
        "For every verb except JOIN, PING, PONG and QUIT, first check that this connection is a "
        "member's. Being connected, or having asked to join, is not enough.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "heard-of-a-stranger": (
        "The members received an event that was caused by a client that is not in the group.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "stranger-hears": (
        "Send events to connections that received WELCOME, not to all that are open.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "bad-names": (
        "Check a name before you use it as a field of a line, in a file, or in a path. There is"
        " a rule for its first character, one for the others, and one for its length.",
        "protocol.md#3-framing-and-grammar",
    ),
    "good-names": (
        "These names are allowed: 1 to 32 ASCII letters, digits, dots, underscores and hyphens;"
        " the first is a letter or digit.",
        "protocol.md#95-names",
    ),
    "names-without-case": (
        "Keep a member under a folded form of the name (lower case), and beside it the name as "
        "it was first written, to be shown.",
        "protocol.md#95-names",
    ),
    "takeover": (
        "The right password takes over: first send BYE replaced to the old connection and stop "
        "reading from it, then give the new connection to the member.",
        "protocol.md#96-takeover",
    ),
    "takeover-is-no-event": (
        "The member is here before and after a takeover. The end of the old connection is not "
        "an OUT, and the new one is not an IN.",
        "protocol.md#96-takeover",
    ),
    "a-name-is-free-again": (
        "The end of a connection must release everything that it held, after QUIT, end of file "
        "and a reset (recv fails with ECONNRESET). If the server has not seen the end yet, the "
        "right password takes over.",
        "protocol.md#96-takeover",
    ),
    "a-newcomer-hears-nothing-of-the-old": (
        "The kernel gives the lowest free descriptor to the next connection. Remove what is "
        "stored under that number (a name, a place in the list of members, a buffer) before you "
        "close the socket.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "the-owner-accepts": (
        "A client that waits for the owner is still a stranger. `accept` makes it a member, "
        "even if the owner writes the name in another case.",
        "protocol.md#95-names",
    ),
    "while-the-owner-considers": (
        "A client that waits for the owner receives nothing about the group. Answer its PING "
        "and QUIT as always, a second JOIN by already-joined, everything else by not-joined.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "the-owner-rejects": (
        "`reject` ends the request, not the connection. The name is free, and the client may "
        "ask again.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "one-request-per-name": (
        "A request holds its name. The next client that asks for the name must not replace the "
        "first, nor change the password that came with the first request.",
        "protocol.md#95-names",
    ),
    "a-request-ends-with-its-connection": (
        "When a connection ends, remove its request from the list of those that wait for the "
        "owner.",
        "protocol.md#95-names",
    ),
    "logins-at-once": (
        "Checking whether the member is here and replacing the old connection must be one step. "
        "Another JOIN came between the two: guard both with one lock, or let one thread decide.",
        "protocol.md#96-takeover",
    ),
    "a-new-name-at-once": (
        "Another JOIN came between the check that the name is free and the entry of the new "
        "member, while a password was being hashed. Reserve the name in the same step that "
        "finds it free.",
        "protocol.md#95-names",
    ),
    "only-members-under-none": (
        "--admit none admits the existing members, and nobody else. The flag is about new names "
        "only.",
        "protocol.md#95-names",
    ),
    "two-joins": (
        "A connection belongs to one member from its WELCOME to its end.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    # -- dialogues
    "any-dialogue": (
        "The dialogue above is the shortest that was found. It went wrong on two new servers, too. "
        "Play it by hand, line by line: section 2 explains its marks. The section named above says "
        "what must come, and why.",
        "protocol.md#2-words-and-notation",
    ),
    "no-order": (
        "Somewhere two things happened at once, and what clients received fits neither order. "
        "Decide, store and send each event in one step that nothing can interrupt.",
        "protocol.md#92-delivery",
    ),
    # -- schedules
    "every-order-of-threads": (
        "The column of each thread shows its steps, and > where it had to stop while another one "
        "went on. What it had checked by then may no longer hold when it goes on. Check and act in "
        "one section under the lock.",
        "explore.md#read-a-schedule",
    ),
    "every-order-of-processes": (
        "The column of each process shows its steps, and > where it had to stop while another one "
        "went on. What it had checked by then may no longer hold when it goes on. One process "
        "decides, and it checks and acts in one step.",
        "explore.md#read-a-schedule",
    ),
    "every-order-deadlock": (
        "Each holds a lock that the next one needs. Take several locks in the same order "
        "everywhere, or have only one.",
        "explore.md#read-a-schedule",
    ),
    # -- conversation
    "everyone-hears-everything": (
        "Each event goes once to every member who is here. In a server with several processes, "
        "one process must pass it on: a change to a child's own copy of the member list is seen"
        " by no other process.",
        "protocol.md#92-delivery",
    ),
    "no-echo": (
        "The speaker receives its own message too: it confirms the message, and shows its place"
        " in the order.",
        "protocol.md#92-delivery",
    ),
    "heard-twice": (
        "A member is twice in the list of recipients, or the sender receives the message once "
        "as a member and once more as the sender.",
        "protocol.md#92-delivery",
    ),
    "not-the-same-line": (
        "Make an event once, with its number and time, and send the same line to everyone.",
        "protocol.md#92-delivery",
    ),
    "text-as-it-was-said": (
        "The text is all that follows `SAY ` and one space. Do not strip, split or unescape it,"
        " or use it as a format. Its limit is 400 bytes, not characters.",
        "protocol.md#3-framing-and-grammar",
    ),
    "events-are-numbered": (
        "Each event of the group has the next number, whichever members receive it. WELCOME has "
        "the number of the newest event before the member's own IN. Count under the same lock "
        "under which you send the event.",
        "protocol.md#6-what-a-server-sends",
    ),
    "form-of-time": (
        "A time has this one form: a T in the middle, three digits after the point, and Z at "
        "the end.",
        "protocol.md#3-framing-and-grammar",
    ),
    "time-is-not-utc": (
        "The time is in the machine's time zone, or wrong. Use UTC (gmtime, not localtime).",
        "protocol.md#6-what-a-server-sends",
    ),
    "ping-comes-after-events": (
        "PONG overtook an event that had been handled before its PING. Send answers and events "
        "for one client through the same queue.",
        "protocol.md#94-the-fence",
    ),
    "a-new-name": (
        "The new name must replace the old one everywhere: in the member's next messages, in "
        "the list, in the member file, and for the next JOIN.",
        "protocol.md#95-names",
    ),
    "old-name-is-free": (
        "The old name still belongs to a member that has another name now.",
        "protocol.md#95-names",
    ),
    "a-taken-name": (
        "A name is taken if a member has it (here or away), if it is banned, or if a client "
        "asks for it. Compare without case. A member's own name is not taken.",
        "protocol.md#95-names",
    ),
    "who": (
        "The list holds members, not connections: a member who is away is in it; one that left "
        "or is banned is not.",
        "protocol.md#6-what-a-server-sends",
    ),
    "history-is-what-was-heard": (
        "Store each event as the very line that was sent, in the same step that gives it its "
        "number, and answer HISTORY from there. IN, OUT, RENAMED and the others are events too.",
        "protocol.md#93-history",
    ),
    "end-of-history": (
        "END HISTORY has the number of the newest event at that moment: not the next number, "
        "and not the number of lines.",
        "protocol.md#93-history",
    ),
    "history-from-any-event": (
        "HISTORY s begins with event s+1. It is an answer to one client, and changes nothing in"
        " what this client or others receive live.",
        "protocol.md#93-history",
    ),
    "leave-is-for-good": (
        "LEAVE does more than QUIT: it removes the member and frees the name. The member that "
        "leaves receives LEFT like all others, before BYE left.",
        "protocol.md#5-what-a-client-sends",
    ),
    "no-out-after-left": (
        "The end of the connection made one more event. A client that left is not a member, so "
        "the end of its connection is not an OUT.",
        "protocol.md#6-what-a-server-sends",
    ),
    "the-others-hear-who-goes": (
        "QUIT, an end of file (recv returns 0) and a reset (recv fails) are three ways to "
        "disconnect, and each must lead to one OUT. A server that forks sees the end only if no "
        "other process holds the socket.",
        "protocol.md#6-what-a-server-sends",
    ),
    "one-line-at-a-time": (
        "A line was delivered only when another one followed, or not at all. Before a thread "
        "sleeps, it must look for work under the lock that guards the work, or be woken for "
        "each piece. Flush what you write.",
        "protocol.md#92-delivery",
    ),
    "others-are-served-meanwhile": (
        "The server waits for one client while others send: it blocks reading one socket or the "
        "rest of one line, or serves one client after the other.",
        "protocol.md#92-delivery",
    ),
    # -- owner
    "the-owner-is-told": (
        "Show each request to the owner once, in one line of exactly this form, flushed. "
        "`members` shows the request as long as it waits.",
        "protocol.md#11-the-owners-console",
    ),
    "members": (
        "`members` consists of three lists: the members (here or away), the banned names, and "
        "the requests that wait for the owner.",
        "protocol.md#11-the-owners-console",
    ),
    "ban": (
        "A ban is an event for everyone, the banned member too. Then that connection ends, "
        "without an OUT. The name stays banned, in upper or lower case.",
        "protocol.md#11-the-owners-console",
    ),
    "ban-of-anyone": (
        "`ban` works on a name, not on a connection: the name may belong to a member who is "
        "away, to a client that asks to join, or to nobody.",
        "protocol.md#11-the-owners-console",
    ),
    "unban": (
        "A ban removes the member. `unban` frees the name and does not restore the member, so "
        "the old password is no longer valid.",
        "protocol.md#11-the-owners-console",
    ),
    "rename-the-group": (
        "The rest of the line is the group's name, spaces included. The change is an event, and"
        " HELLO has the new name from then on.",
        "protocol.md#11-the-owners-console",
    ),
    "wrong-orders": (
        "Answer everything that the owner types by exactly one line `ok` or `error: why`. Check "
        "an order and its argument before you do anything.",
        "protocol.md#11-the-owners-console",
    ),
    "wrong-orders-do-nothing": (
        "An order that is answered `error:` must change nothing, and no client may receive "
        "anything because of it.",
        "protocol.md#11-the-owners-console",
    ),
    "help": (
        "The lines of `help` begin with `# `, so that no program reads them as an answer. Then "
        "comes `ok`.",
        "protocol.md#11-the-owners-console",
    ),
    "orders-in-one-segment": (
        "Standard input is a stream of bytes too: one read may return several orders, or half "
        "of one. With select or poll, note that stdio (fgets, readline) may hold lines in its "
        "own buffer.",
        "protocol.md#11-the-owners-console",
    ),
    "no-start-after-delete": (
        "`delete` left files with which the server does not start. Remove all files of the "
        "group, so that the next start begins a new group.",
        "protocol.md#11-the-owners-console",
    ),
    "delete-needs-consent": (
        "The line after `delete` confirms it or not, and is not an order. Only the exact name "
        "of the group confirms: then remove all files, and the next start begins a new group.",
        "protocol.md#11-the-owners-console",
    ),
    "close": (
        "`close` does what SIGTERM does: it sends BYE closed to every connection, closes all, "
        "and exits with 0.",
        "protocol.md#11-the-owners-console",
    ),
    "all-hear-the-end": (
        "Every connection receives BYE, with its reason, before the server ends: also "
        "strangers, and clients that wait for the owner. A process that exits with unsent bytes"
        " loses them.",
        "protocol.md#8-bye-the-end",
    ),
    "status-of-the-end": (
        "An orderly end is exit(0), not an exception, a signal's default action, or the return "
        "value of something else.",
        "protocol.md#12-the-command-line",
    ),
    "the-end-of-input-is-no-order": (
        "When the owner's input ends (read returns 0), stop reading it and continue to serve. "
        "Do not exit, and do not read it again and again.",
        "protocol.md#11-the-owners-console",
    ),
    "at-a-terminal": (
        "At a terminal the server behaves as at a pipe: it prints no prompt and does not echo "
        "what the owner types (the terminal does that). Do not use a line-reading library that "
        "does either.",
        "protocol.md#11-the-owners-console",
    ),
    "ctrl-d-is-no-order": (
        "At a terminal, Ctrl-D makes read return 0. This is the end of input, not an order: "
        "stop reading it, and continue to serve.",
        "protocol.md#11-the-owners-console",
    ),
    # -- files
    "no-restart": (
        "The server did not start again with files that it had written itself. Its stderr says "
        "why.",
        "protocol.md#13-files",
    ),
    "no-restart-after-kill": (
        "After kill -9 the server did not start again in its own directory. A file is half "
        "written or lacks what another file has, or a lock file remained. Use flock: the lock "
        "ends with the process.",
        "protocol.md#13-files",
    ),
    "a-restart-restores-members": (
        "Members, their names and the hashes of their passwords must be on disk before WELCOME,"
        " RENAMED or LEFT is sent. Read them at the start.",
        "protocol.md#13-files",
    ),
    "a-restart-restores-the-conversation": (
        "Events must be on disk exactly as they were sent. Read them at the start, and count on"
        " from the last one.",
        "protocol.md#13-files",
    ),
    "events-lost-or-added": (
        "After a restart WELCOME must have the number of the last event before it. The end of "
        "the server makes no OUT: when a server starts, nobody is here, and that is not an "
        "event.",
        "protocol.md#6-what-a-server-sends",
    ),
    "a-restart-keeps-bans-and-names": (
        "Keep bans and the group's name on disk too. --group names a new group only.",
        "protocol.md#12-the-command-line",
    ),
    "killed-and-nothing-is-lost": (
        "The event was sent before it was written, or it is still in a buffer of the program. "
        "Write it to the file (flush) before you send it. After kill -9 none of your code runs.",
        "protocol.md#92-delivery",
    ),
    "joins-at-once-are-all-kept": (
        "Two JOINs at once wrote the file of members, and one overwrote the other or cut it "
        "short. Write the file in one place, under a lock, as a whole: to a new file, then "
        "rename.",
        "protocol.md#13-files",
    ),
    "no-password-in-clear": (
        "Keep only a salted hash made for passwords (argon2, scrypt, bcrypt), and write "
        "passwords into no log.",
        "protocol.md#13-files",
    ),
    "password-on-a-command-line": (
        "Every user of the machine can read the command line of every process. Pass a password "
        "to another program through a pipe.",
        "protocol.md#13-files",
    ),
    "files-are-private": (
        "Create the directory with mode 0700 and the files with 0600, and do not rely on the "
        "umask.",
        "protocol.md#13-files",
    ),
    "a-second-server-is-refused": (
        "Two servers in one directory write into each other's files. Hold a lock on a file "
        "(flock), which ends with the process. A file that is itself the lock remains after "
        "kill -9.",
        "protocol.md#13-files",
    ),
    "a-port-in-use": (
        "Check what bind and listen return. If the port is in use, say so in one line on stderr "
        "and exit with 1.",
        "protocol.md#12-the-command-line",
    ),
    "the-same-port-again": (
        "A port cannot be bound while old connections are in TIME_WAIT, unless the listening "
        "socket has SO_REUSEADDR, set before bind.",
        "protocol.md#12-the-command-line",
    ),
    "wrong-arguments-end-with-2": (
        "Check the command line before anything else. Status 2 means that the command was "
        "wrong; 1 means that it could not be done.",
        "protocol.md#12-the-command-line",
    ),
    # -- crowd
    "one-order": (
        "Two threads or processes work on the same members or events at the same time. The step"
        " that gives an event its number must also hand it to everyone before the next event "
        "gets one: use one lock around both, or one place that does both.",
        "protocol.md#92-delivery",
    ),
    "order-differs": (
        "The events got their numbers in one order and were sent in another. If the lock is "
        "released between the two, another thread runs in between. Number an event and put it "
        "into every queue under the same lock.",
        "protocol.md#92-delivery",
    ),
    "one-number-twice": (
        "Two events have the same number: two threads or processes read the counter before "
        "either had written it back. Guard the counter, and all data that belongs to it, with "
        "one lock.",
        "protocol.md#92-delivery",
    ),
    "event-lost": (
        "A member who was here was skipped, or lost what was buffered for it. Look for a list "
        "that one thread changes while another goes through it, a queue that is emptied while "
        "another thread adds to it, and a send that took only part and was not finished.",
        "protocol.md#92-delivery",
    ),
    "history-out-of-turn": (
        "Within an answer to HISTORY an event came again or out of order. Look for a buffer or "
        "a position in the file that several clients' answers share, and for one that is used "
        "after the lock was released.",
        "protocol.md#93-history",
    ),
    "event-twice": (
        "The same event was sent twice to one client. Look for a queue that two threads send at"
        " once, and for one that is emptied after another thread added to it.",
        "protocol.md#92-delivery",
    ),
    "said-lost": (
        "A request was sent and had no effect. Look at what happens to the rest of a piece when "
        "several lines come at once, and at what one thread decides while another one does the "
        "same.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "said-twice": (
        "One request was handled twice. Is a line taken out of the buffer before it is handled?",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "two-numbers": (
        "One event reached members under different numbers: another thread or process changed the "
        "counter while the event went to all. Number an event, and put it into every queue, under "
        "one lock.",
        "protocol.md#92-delivery",
    ),
    "invented": (
        "A message came that no client had sent. Look for a buffer that two threads share, or "
        "one that is used again before it is sent.",
        "protocol.md#92-delivery",
    ),
    "late": (
        "PONG overtook an event that had been handled before its PING. It took another path "
        "than the events, past what was buffered for this client. Send answers and events for "
        "one client through the same queue.",
        "protocol.md#94-the-fence",
    ),
    "torn": (
        "A line was cut, or another one was written into it. Look for two threads or processes "
        "that write to the same socket at once, a line that is sent in several pieces, and a "
        "send that took only part and was not finished.",
        "protocol.md#92-delivery",
    ),
    "before-welcome": (
        "A client received an event of the group before its WELCOME, or one that is not newer "
        "than the number in its WELCOME. WELCOME and becoming a recipient of events must be one "
        "step: no event before it, none lost after it. With threads, take one lock around both, "
        "the same for all clients.",
        "protocol.md#92-delivery",
    ),
    "not-ones-own-in": (
        "The number in WELCOME, becoming a recipient of events, and the IN must be one step, "
        "under one lock.",
        "protocol.md#92-delivery",
    ),
    "after-bye": (
        "A client that was sent BYE still receives events. Remove it from the recipients first.",
        "protocol.md#8-bye-the-end",
    ),
    "after-the-end": (
        "A member that left or was banned still receives events. Remove it from the recipients "
        "first.",
        "protocol.md#8-bye-the-end",
    ),
    "ones-own-out": (
        "The server treats a member who is here as disconnected. Was its state stored under a "
        "descriptor number that another client had, or under a name that differs only in case?",
        "protocol.md#6-what-a-server-sends",
    ),
    "acts-while-away": (
        "Requests of a connection were handled after its OUT. When a connection is over, "
        "discard what is still in its buffer. OUT, like any event, gets its number under the "
        "lock.",
        "protocol.md#6-what-a-server-sends",
    ),
    "two-with-one-name": (
        "Two connections had the same name at the same time. Checking that a name is free and "
        "reserving it must be one step, under one lock, for JOIN and NAME alike. A JOIN of a "
        "member who is here takes over: end the old connection in the same step.",
        "protocol.md#95-names",
    ),
    "came-twice": (
        "The same member joined twice. Checking whether the member is here and adding it must "
        "be one step.",
        "protocol.md#96-takeover",
    ),
    "greeted-twice": (
        "One connection received HELLO twice, and perhaps another one not at all. Look for a "
        "variable that names the connection for a thread and that the next accept overwrites: "
        "give each thread its own copy.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "not-greeted": (
        "HELLO was lost, or something overtook it. Look for two threads that change the same "
        "queue or list without one common lock: a lock for each client, or a new lock at each "
        "call, guards nothing.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "answer-of-another": (
        "An answer went to the wrong client, or came twice. Look for a buffer or variable with "
        "the answer, or with its receiver, that two threads share.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "history-differs": (
        "The answer to HISTORY has a gap, or ends at another event than END HISTORY says. Look "
        "for events that are added while the answer is being built, and at the number in END "
        "HISTORY.",
        "protocol.md#93-history",
    ),
    "history-stale": (
        "The answer to HISTORY lacks events that others had already received. An event is sent "
        "before it is stored, or the newest number was read too early.",
        "protocol.md#93-history",
    ),
    "put-out": (
        "A client that made no error and kept reading lost its connection. EAGAIN and a send "
        "that takes only part are not errors: buffer what does not fit. Look also for an error "
        "of the server's own that ended this connection.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "stuck": (
        "The server makes no progress, and its threads wait for locks. Look for two threads "
        "that each hold a lock and wait for the other's (acquire them in the same order "
        "everywhere), a lock that its holder acquires again, and a lock that is not released on "
        "some path.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "stuck-unknown": (
        "The server makes no progress. No cause known: its threads were not seen waiting for "
        "locks. Look for two sides that each write and do not read, a wait for something that "
        "does not come, and a request that is dropped.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "lost-wake-up": (
        "These clients wait, but newcomers are served, so nothing blocks the whole server. Look"
        " for a wait that nothing ends: a notify that is missing or came before the wait, or a "
        "queue that nothing empties.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "all-wait-for-a-wake-up": (
        "As many threads as there are clients wait for a condition or a lock, no thread holds the "
        "others up, and none works. Look for a notify that is missing, came before the wait, or "
        "wakes another thread than the one that could go on; and for a lock that stays locked.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "ghost": (
        "A connection has ended, and the others received no OUT. The server did not see its "
        "end, or the thread that saw it ended without an OUT.",
        "protocol.md#6-what-a-server-sends",
    ),
    "ghost-of-a-process": (
        "A connection has ended, and the others received no OUT. If its process has ended, too: a "
        "pipe ends only when every process has closed its writing end. Close that end in the "
        "parent right after fork, and in all other children.",
        "protocol.md#6-what-a-server-sends",
    ),
    "backlog": (
        "The queue of connections that wait for accept is too short, and some that found no "
        "room had to retry. Give listen() a larger number, such as SOMAXCONN.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "nothing-lost": (
        "Handle what came before QUIT or the end of file before you handle the end, and deliver"
        " it like everything else.",
        "protocol.md#92-delivery",
    ),
    "whole-lines": (
        "Only one thread may write to a socket at a time. Finish a line that was begun before "
        "anything else goes there.",
        "protocol.md#92-delivery",
    ),
    "coming-and-going": (
        "The list of members changes while an event is being sent to all of them.",
        "protocol.md#92-delivery",
    ),
    "connects-at-once": (
        "Accept and serve each of several connections that come together. One wake-up may mean "
        "many connections.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "cross-traffic": (
        "Requests of different kinds interfere with each other. Each may be right alone, and "
        "acquire its locks in another order than the others.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "history-meanwhile": (
        "HISTORY is read from data that other threads or processes write at that moment.",
        "protocol.md#93-history",
    ),
    "a-burst": (
        "More came than fits into the buffers between you and the clients. Never block writing "
        "to a client that is itself blocked writing to you.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    # -- peers
    "a-reset-in-a-broadcast": (
        "A send to a connection that was reset fails (EPIPE, ECONNRESET, or the signal SIGPIPE, "
        "which ends a C program that does not ignore it). End that client only, and continue "
        "the loop over the others.",
        "protocol.md#8-bye-the-end",
    ),
    "half-a-line-holds-up-nobody": (
        "The server waits for the rest of one client's line and serves no other client "
        "meanwhile. Keep the half line in that client's buffer, and serve the others.",
        "protocol.md#3-framing-and-grammar",
    ),
    "a-reader-who-stops-holds-up-nobody": (
        "A send to a client with full buffers blocks until that client reads, and here everyone "
        "waits for it: in the loop, or under the lock. Buffer what does not fit, separately for "
        "each client.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "a-reader-who-stops-costs-little": (
        "The buffer for a client that does not read has no limit, so it can fill the server's "
        "memory. Disconnect the client at about 1 MB.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "a-slow-reader-gets-all": (
        "A send may take only the first part of what it is given, and returns how much it took."
        " Send the rest later, before anything else to that client.",
        "protocol.md#92-delivery",
    ),
    "a-flooder": (
        "The server reads from one client until nothing is left, and there is always more. Read "
        "a limited piece from each client in turn.",
        "protocol.md#91-requests-one-at-a-time",
    ),
    "a-slow-reader-holds-up-nobody-for-long": (
        "As long as one member reads slowly, the server reads no other member. Limit the time for "
        "which all slow readers together hold up the others. After that, read the others again, "
        "and disconnect a client for which more than --outbox bytes are buffered.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "guessing-passwords": (
        "Checking a password is slow on purpose, and the answer to a wrong one is delayed by a "
        "second. Do neither in the loop, nor while you hold a lock that others need.",
        "protocol.md#95-names",
    ),
    "noise": (
        "The bytes were random. Answer anything that comes by ERR or BYE, and never show "
        "internals of the server.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "a-wrong-line-releases-all": (
        "After a request that failed, others are no longer served. Release the lock and answer "
        "on every path, also after a return and an exception.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "traceback": (
        "An exception was not caught. Catch what a client can cause where it arises, and end "
        "that client's connection only.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "the-silent-are-dropped": (
        "A client on a machine that has crashed sends nothing, not even an end of file. Send it "
        "PING after --ping-after of silence, and disconnect it after --idle-after.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "strangers-have-no-long-stay": (
        "--join-within counts from accept to WELCOME, and a PING does not extend it. Compare "
        "the time with the limit also while requests keep coming: a timeout of poll or select "
        "never expires then.",
        "protocol.md#8-bye-the-end",
    ),
    "clock-only-when-idle": (
        "The limit took effect only when the clients were quiet: the server looks at its clock "
        "only when nothing comes. A timeout of poll or select never expires while requests "
        "come. Look at the clock in every turn of the loop.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    # -- processes
    "all-is-given-back": (
        "Something that each client uses is not released when the client disconnects, in every "
        "way in which it can.",
        "protocol.md#12-the-command-line",
    ),
    "descriptors-stay": (
        "Sockets or pipes are not closed when clients disconnect. Close each on every path, "
        "also after an error. Where processes share one, each must close its copy.",
        "protocol.md#8-bye-the-end",
    ),
    "threads-stay": (
        "Threads still run after their clients have disconnected. Each must notice the end "
        "(recv returns 0 bytes, or fails) and return.",
        "protocol.md#8-bye-the-end",
    ),
    "processes-stay": (
        "Processes still run after their clients have disconnected, or the parent does not wait "
        "for those that ended. Each must notice the end of its client, and exit.",
        "protocol.md#8-bye-the-end",
    ),
    "stacks-stay": (
        "A thread that has ended keeps its stack until another one joins it. Detach threads "
        "that nobody joins.",
        "protocol.md#8-bye-the-end",
    ),
    "no-zombies": (
        "A child that has ended stays a zombie until its parent waits for it. Call waitpid when"
        " SIGCHLD comes, or when the child's pipe ends.",
        "protocol.md#8-bye-the-end",
    ),
    "no-zombies-after-a-burst": (
        "One SIGCHLD may mean many children: signals are not counted. Call waitpid with WNOHANG "
        "until it finds no more.",
        "protocol.md#8-bye-the-end",
    ),
    "idle-costs-nothing": (
        "The server asks again and again whether there is anything to do. Wait in one call "
        "instead. Does it watch for writing with nothing to write, poll with no timeout, or "
        "loop on a variable?",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "nothing-spins-after-the-end": (
        "At the end of file a socket stays readable, and recv returns 0 bytes at once. This is "
        "the end: close the socket and stop watching it.",
        "protocol.md#8-bye-the-end",
    ),
    "quit-ends-the-connection": (
        "A connection ends when its last copy is closed. Another process, the parent or a child "
        "that was created later, still holds one. In each process, close the copies that it "
        "does not use, or use shutdown.",
        "protocol.md#8-bye-the-end",
    ),
    "forks-on": (
        "A child returns to the loop that accepts, and creates children of its own. It must "
        "exit when its client's conversation ends.",
        "protocol.md#8-bye-the-end",
    ),
    "no-more-processes-than-clients": (
        "Exactly one process must send HELLO to a client, once. Which other process still runs "
        "the code after fork?",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "printed-once": (
        "Both processes write what is in the buffer of stdout at the moment of fork. Flush "
        "before fork, and end a child with _exit.",
        "protocol.md#11-the-owners-console",
    ),
    "one-thread-for-all": (
        "The server creates a thread or a process for clients, and --design nonblocking "
        "promises one thread that serves all.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "a-thread-each": (
        "--design pthread promises one thread for each client.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "a-process-each": (
        "--design fork promises one process for each client.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "children-hold-only-their-own": (
        "A child inherits all descriptors that are open when it is created. It must close those "
        "that it does not use.",
        "protocol.md#8-bye-the-end",
    ),
    "children-hold-connections": (
        "A child inherits the connections of all clients that came before its own, and keeps "
        "them open: while it runs, no client sees their end. Close them right after fork.",
        "protocol.md#8-bye-the-end",
    ),
    "children-hold-the-listener": (
        "A child inherits the socket that listens, and keeps it open: after the end of the parent, "
        "the port stays taken, and clients connect to a server that no process accepts for. Close "
        "it right after fork.",
        "protocol.md#8-bye-the-end",
    ),
    "children-hold-pipes": (
        "A child inherits the pipes of all children before it, and keeps them open: the reader "
        "of such a pipe never sees its end. Close them right after fork.",
        "protocol.md#8-bye-the-end",
    ),
    "a-stopped-child-holds-up-nobody": (
        "The parent waits for a child that makes no progress: it writes to the child's pipe "
        "until the pipe is full, or it waits for the child to end by itself. Write without "
        "blocking, and end remaining children with SIGKILL before you wait for them.",
        "protocol.md#12-the-command-line",
    ),
    # -- faults
    "sigterm-ends-in-order": (
        "Handle SIGTERM: send BYE closed to all, end the other processes, exit with 0.",
        "protocol.md#12-the-command-line",
    ),
    "sigint-ends-in-order": (
        "The server must handle Ctrl-C, which reaches the children too. The children must leave "
        "the orderly end to the main process.",
        "protocol.md#12-the-command-line",
    ),
    "ctrl-c-at-the-terminal": (
        "A terminal sends SIGINT to all processes that were started at it. The main process "
        "must end in order, and the others must leave the end to it.",
        "protocol.md#12-the-command-line",
    ),
    "ctrl-c-reached-the-children": (
        "Ctrl-C sends SIGINT to every process of the terminal, the children included. It ended "
        "them before the main process could send BYE closed through them. Ignore or block "
        "SIGINT in the children.",
        "protocol.md#12-the-command-line",
    ),
    "no-handler": (
        "The server does not handle this signal, so the signal ends it at once. Install a "
        "handler (sigaction; in Python signal.signal) that makes the main loop end in order.",
        "protocol.md#12-the-command-line",
    ),
    "exit-status": (
        "An end that was requested is not an error: exit with status 0. Did an exception or a "
        "failed call end the server on its way out?",
        "protocol.md#12-the-command-line",
    ),
    "no-farewell": (
        "Every connection, a member's or not, receives BYE closed before the server ends. Is "
        "the line sent? A close with unread input, or the end of the process, can lose it.",
        "protocol.md#8-bye-the-end",
    ),
    "killed-leaves-no-orphans": (
        "Processes of the server are still running although its main process was killed, and "
        "may hold its port and its files. A child must notice that its parent has ended: its "
        "pipe from the parent ends.",
        "protocol.md#12-the-command-line",
    ),
    "signals-are-survived": (
        "A system call that a signal interrupts fails with EINTR. This is not an error: call it"
        " again. The end of a child or a resized window must not end the server.",
        "protocol.md#14-what-a-students-server-is-free-to-do",
    ),
    "without-a-terminal": (
        "The end of standard input is not an order, and standard input may be closed from the "
        "beginning. Stop reading it, and continue to serve.",
        "protocol.md#11-the-owners-console",
    ),
    "the-owner-does-not-read": (
        "A write to a pipe or terminal that nobody reads blocks, and here the server waits for "
        "it. Print without blocking, or from a separate thread, and drop lines when too many "
        "are buffered.",
        "protocol.md#11-the-owners-console",
    ),
    "out-of-descriptors": (
        "accept fails with EMFILE when no descriptor is left. This must not end the server or "
        "affect the other clients. When a client disconnects, the server accepts newcomers "
        "again.",
        "protocol.md#97-full",
    ),
    "beyond-descriptor-1024": (
        "select() and FD_SET know only descriptors below 1024 (FD_SETSIZE): a larger one writes"
        " beyond the set in C, and raises an exception in Python. Use poll or epoll, or turn "
        "away a client that gets such a descriptor.",
        "protocol.md#97-full",
    ),
    "spins-when-full": (
        "accept fails, the newcomer stays in the queue, and the loop is woken again at once. "
        "Turn the newcomer away (keep a spare descriptor to accept and close with), or stop "
        "watching the listening socket until a client has disconnected.",
        "protocol.md#97-full",
    ),
    # -- what further rules ask
    "name-for-nobody": (
        "A name was free, several members asked for it at the same time, and none of them got "
        "it: each was refused because of another one that was refused, too.",
        "protocol.md#95-names",
    ),
    "a-name-for-one": (
        "Checking whether a name is free and reserving it must be one step, under one lock that "
        "is not released in between.",
        "protocol.md#95-names",
    ),
    "who-is-of-one-moment": (
        "The answer to WHO mixes several moments, or is older than an event that this member had "
        "received. Build the whole list in one step, when the request is handled, under the same "
        "lock as events.",
        "protocol.md#6-what-a-server-sends",
    ),
    "out-does-not-wait": (
        "OUT belongs to the moment when the conversation ends, not to the close of the socket: "
        "the member may still need time to read what is buffered for it.",
        "protocol.md#6-what-a-server-sends",
    ),
    "renamed-meanwhile": (
        "While a password is being hashed, its member may change the name. Look the member up "
        "again when the check ends, by the name in the JOIN in lower case: admit it if the name "
        "is the same, and reject it if not.",
        "protocol.md#95-names",
    ),
    "a-no-is-held-back": (
        "REJECTED must come --reject-after seconds after its JOIN, also if the owner rejects at "
        "once. For the owner the request ends at that moment. Only the answer to this client is "
        "delayed.",
        "protocol.md#95-names",
    ),
    "orders-with-all-arguments": (
        "An order is a line like any other: check the whole line, the word and its argument, "
        "before you do anything, and answer it once.",
        "protocol.md#11-the-owners-console",
    ),
    "nothing-else-on-standard-output": (
        "Standard output is the owner's console. Notes to yourself belong on stderr, or begin "
        "with `# `; in a server that forks, children print nothing there.",
        "protocol.md#11-the-owners-console",
    ),
    "an-old-name-opens-nothing": (
        "An old name, or the hash of its password, is still stored somewhere: in a second list, "
        "beside the new name, or in a file that is read at the next start. Remove it in the "
        "same step in which the member is renamed, leaves or is banned.",
        "protocol.md#95-names",
    ),
    "an-ended-connection-does-nothing": (
        "The server still handles requests from a connection to which it has sent BYE, or the "
        "end of that connection removes the member that has the name now. Mark the connection "
        "as over in the step that decides its end. Discard what it sends, its half line too, "
        "and compare connections, not names, when it ends.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "an-ended-connection-hears-nothing": (
        "BYE is the last line of a connection. Before you send BYE, remove the connection from "
        "the recipients of events, and stop answering it.",
        "protocol.md#8-bye-the-end",
    ),
    "left-behind": (
        "A new connection has got something that an earlier one left: half a line, or a count "
        "of errors. Both are stored under a number (a descriptor) that the kernel uses again. "
        "Remove all that is stored for a connection when it ends, or begin with empty values at "
        "accept.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "changes-while-a-password-is-checked": (
        "The server looked up the member before the password was hashed, and did not look again "
        "after it. Meanwhile the member was banned or renamed, or left. Decide in one step, "
        "after the hash: is this still the same member, and is the name not banned?",
        "protocol.md#95-names",
    ),
    "who-and-members-differ": (
        "WHO and `members` answer from two lists, and only one of them was changed. Keep one list.",
        "protocol.md#95-names",
    ),
    "a-join-holds-its-name": (
        "NAME checks only whether a member, a ban or a request to the owner has the name. A "
        "JOIN reserves its new name too, from the start of the check of its password to the "
        "verdict.",
        "protocol.md#95-names",
    ),
    "a-long-history-meanwhile": (
        "A long answer does not fit into the kernel's buffer and goes out in pieces. Until a "
        "piece has ended at the end of a line, nothing else may be sent to this client.",
        "protocol.md#93-history",
    ),
    "a-late-end-is-waited-for": (
        "The parent checked once whether the child had ended. The child had not ended yet, so "
        "waitpid with WNOHANG returned 0, and the parent never checked again. A child's pipe "
        "ends a moment before the child does. Wait without WNOHANG, or check again at each "
        "SIGCHLD.",
        "protocol.md#12-the-command-line",
    ),
    "a-killed-child-says-no-goodbye": (
        "The server treated the end of the child as the end of its client. Look at the status "
        "that waitpid returns: if it is not 0, the child crashed or was killed, so close the "
        "connection without a BYE.",
        "protocol.md#8-bye-the-end",
    ),
    "values-of-limits": (
        "The server accepted this value as a limit. A comparison with NaN is always false, so "
        "test that the value lies in its range, not that it lies outside; atoi() and atof() do "
        "not report a text that is not a number.",
        "protocol.md#10-limits",
    ),
    "what-counts-as-life": (
        "Any complete line ends a silence, PONG and a wrong line too, from members and from "
        "clients that ask to join. Record the time of the last complete line of each client, "
        "before you look at its content.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "no-life": (
        "Something that is not a complete line of this client has reset the timer: empty lines, "
        "single bytes, or lines that were sent to it. Or the server looks at its timers only "
        "while nothing else happens.",
        "protocol.md#2-words-and-notation",
    ),
    "one-ping": (
        "A silent client gets one PING per silence. Record that it was sent, until the next "
        "complete line comes.",
        "protocol.md#6-what-a-server-sends",
    ),
    "too-early": (
        "A deadline may be a tenth of a second late, and never early. Is the time counted from "
        "the right moment, and in the right unit?",
        "protocol.md#10-limits",
    ),
    "asker-timed-out": (
        "The clock of --join-within stops while the server handles a JOIN, and while the owner "
        "considers it. A member has no such clock.",
        "protocol.md#8-bye-the-end",
    ),
    "a-join-stops-the-clock": (
        "The clock of --join-within stops from a JOIN to its verdict. After REJECTED it "
        "continues from where it stopped: it neither restarts nor stays stopped.",
        "protocol.md#8-bye-the-end",
    ),
    "who-takes-nothing-is-disconnected": (
        "Record for each client when the kernel last accepted a byte. Disconnect a client that "
        "has bytes buffered and reads nothing for --slow-after. Disconnect a client with more "
        "than --outbox bytes buffered, unless it keeps reading.",
        "protocol.md#98-slow-and-silent-clients",
    ),
    "sighup-ends-in-order": (
        "A closing terminal sends SIGHUP to all its processes. Handle it like SIGTERM: send BYE "
        "closed to all, and exit with 0.",
        "protocol.md#12-the-command-line",
    ),
    "sighup-that-was-ignored": (
        "nohup starts a program with SIGHUP ignored. Read how the signal is handled before you "
        "install a handler, and install none if it is ignored.",
        "protocol.md#12-the-command-line",
    ),
    "the-end-waits-for-no-reader": (
        "While the server ends, it waits for a client that does not read: in a send that "
        "blocks, or until all buffers are empty. Limit the time that the end may take, and send "
        "BYE to the others without waiting for that client.",
        "protocol.md#12-the-command-line",
    ),
    "an-answer-is-torn": (
        "The pipe to the owner was nearly full, and a write took only a part. What is left has "
        "to be written later, before anything else; only whole lines may be dropped.",
        "protocol.md#11-the-owners-console",
    ),
    "waits-for-a-reader": (
        "The server waits until a client has read what is sent to it, and that client does not "
        "read. Limit the time that the end may take.",
        "protocol.md#12-the-command-line",
    ),
    "the-owner-is-gone": (
        "A write to a pipe whose reader has closed it fails with EPIPE, or SIGPIPE ends the "
        "program if that signal is not ignored. Without an owner the server continues to serve.",
        "protocol.md#11-the-owners-console",
    ),
    "in-the-background": (
        "SIGTTIN stops a program that reads its terminal in the background; if the signal is "
        "ignored, read fails with EIO. Ignore the signal, and treat that error as no input yet.",
        "protocol.md#11-the-owners-console",
    ),
    "a-full-disk": (
        "Every write can fail. An event that cannot be written has not happened: answer ERR "
        "not-saved (or `error:` to the owner), change nothing, send the event to no member, and "
        "continue to serve.",
        "protocol.md#92-delivery",
    ),
    "a-full-disk-for-a-newcomer": (
        "A new member exists only when it is written. If that fails, answer ERR not-saved: the "
        "name is free, and the client may ask again.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "told-and-not-saved": (
        "A request was refused because it could not be written, and it happened all the same. "
        "First write, then apply, then send. A buffered file object may keep what it could not "
        "write, and write it later.",
        "protocol.md#92-delivery",
    ),
    "not-saved-for-good": (
        "There is space again, and the server does not write as before. First write the OUT that "
        "could not be written, then the next events.",
        "protocol.md#92-delivery",
    ),
    "out-of-descriptors-again": (
        "A recovery must restore everything: if the server used its spare descriptor to turn a "
        "newcomer away, open it again.",
        "protocol.md#97-full",
    ),
    "halves-of-several-clients": (
        "Bytes of one client were joined to bytes of another: do all clients share one buffer? "
        "Each connection needs its own buffer, empty at the beginning.",
        "protocol.md#3-framing-and-grammar",
    ),
    "only-a-line-feed-ends-a-line": (
        "The server treated something other than an LF as the end of a line. Cut lines only at "
        "byte 10: functions such as splitlines() also cut at a CR and at other characters.",
        "protocol.md#3-framing-and-grammar",
    ),
    "the-longest-line-in-pieces": (
        "A line of 512 bytes is allowed, and it may come in any pieces: keep the beginning of a "
        "line until its LF comes.",
        "protocol.md#10-limits",
    ),
    "too-long-in-pieces": (
        "Measure how much of one line has come: not how much one recv returned, and not the "
        "whole buffer. After ERR too-long and BYE protocol handle nothing more of this client. "
        "Other clients' lines must not be affected.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "halves-of-members-and-strangers": (
        "The beginning of a line must stay in its client's buffer until the LF comes: also "
        "while a password is checked, when the client becomes a member, and while others send.",
        "protocol.md#3-framing-and-grammar",
    ),
    "text-in-every-field": (
        "Check the characters of a line before its verb and its fields: a name, a password or a "
        "token with an invalid character is ERR bad-text, like a message.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "the-first-error-that-applies": (
        "The checks of a line have an order: length, UTF-8, characters, verb, state, fields, "
        "name. Do them in the order of the table in section 7.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "errors-are-counted-until-welcome": (
        "Count every ERR of a connection until its WELCOME, whatever its code, also while the "
        "owner considers the request. After WELCOME count none.",
        "protocol.md#7-err-a-request-that-was-not-done",
    ),
    "names-beyond-ascii": (
        "A server that accepts letters beyond ASCII must compare them without case, too. Fold "
        "names with a function that knows Unicode, or answer ERR bad-name to all such names.",
        "protocol.md#95-names",
    ),
    "no-such-names": (
        "Beyond ASCII a name may contain only letters, their marks and digits. It has at most "
        "32 characters and at most 64 bytes.",
        "protocol.md#10-limits",
    ),
    "passwords-are-text": (
        "A password is everything after the space that follows the name, up to 128 bytes: "
        "measure bytes, not characters, and do not strip spaces.",
        "protocol.md#10-limits",
    ),
    "most-requests": (
        "Count the names that wait for the owner before you add one: 32 may wait. A request "
        "that was accepted, or that lost its connection, no longer counts, and members can join "
        "as always.",
        "protocol.md#95-names",
    ),
    "room-for-strangers": (
        "Count the connections before WELCOME when you accept a new one. A connection that "
        "received WELCOME or BYE, or that ended, no longer counts. One that waits for the owner "
        "counts.",
        "protocol.md#97-full",
    ),
    "room-for-members": (
        "Count the members who are here before you send WELCOME to one more, also after "
        "`accept`. A takeover replaces a connection and needs no room. QUIT and LEAVE make room.",
        "protocol.md#97-full",
    ),
    "names-of-groups": (
        "A group's name has 1 to 64 bytes (not characters), only characters of `text-char`, and "
        "no space at either end. Other blanks, such as U+00A0, are ordinary characters: do not "
        "strip them.",
        "protocol.md#10-limits",
    ),
    "flags-in-any-order": (
        "The server takes flags only in one order, or only with a space before the value. Parse "
        "the command line with a library: argparse, getopt_long, util.parseArgs.",
        "protocol.md#12-the-command-line",
    ),
    "an-ipv6-address": (
        "An IPv6 address before a port needs brackets, because it contains colons itself. Without "
        "them nobody can tell where the port begins.",
        "protocol.md#11-the-owners-console",
    ),
    "an-address-of-the-network": (
        "Look at the address that the server listens on. If it is neither 127.0.0.0/8 nor ::1, "
        "write a line on stderr: passwords travel in clear.",
        "protocol.md#12-the-command-line",
    ),
    "closes-after-bye": (
        "The server sent BYE and then waits for the client to close. A client that never does "
        "costs a descriptor for good. Discard its input for at most 1 s, and then close.",
        "protocol.md#4-the-life-of-a-connection",
    ),
    "the-same-work-under-none": (
        "The server hashes a password only if there is such a member, so the time until REJECTED "
        "may show which names are members'. Check the password of an unknown name, too, against a "
        "hash that matches no password.",
        "protocol.md#95-names",
    ),
    "silence-after-an-answer": (
        "A silence begins when the client has read the whole answer to its last line, and not when "
        "that line came. Note the time when `send` has accepted the end of the answer.",
        "protocol.md#2-words-and-notation",
    ),
    "backlog-of-the-owner": (
        "Buffer 64 KiB of events for an owner that does not read. Drop the events after that, "
        "count them, and write the number when there is room again: `# N lines not shown`.",
        "protocol.md#11-the-owners-console",
    ),
    "accepted-as-it-goes": (
        "The client disconnected while its membership was being saved. When the saving has ended, "
        "look whether the client is still connected, before you send WELCOME and IN.",
        "protocol.md#95-names",
    ),
    "accepted-before-shown": (
        "The owner could accept a request that the console had not shown yet. A client is asking "
        "only after that line. Before it, answer `accept` by `error: why`.",
        "protocol.md#95-names",
    ),
    "zero-is-a-limit": (
        "With 0 the time is over at once. Does the server take 0 for no limit?",
        "protocol.md#10-limits",
    ),
    "orders-at-the-limit": (
        "Orders are lines: at most 512 bytes with the LF, in any pieces. Skip a longer one up "
        "to its own LF and answer it once. Then reset the mark that the line is too long.",
        "protocol.md#11-the-owners-console",
    ),
}

DEEDS = {
    "connects": template("{who} connects."),
    "sends": template("{who} sends {text}"),
    "sends-in-pieces": template("{who} sends, in {pieces} pieces, {text}"),
    "shuts": template("{who} ends its sending direction (half-close), and still reads."),
    "resets": template("{who} resets the connection."),
    "closes": template("{who} closes the connection."),
    "types": template("The owner types {text}"),
    "starts": template("The server starts: {text}"),
    "signal": template("The server receives {text}."),
}


LONG_STEP, LONG_LINE = 12, 160  # lines of a step, characters of a line


def explain(sentence, check):
    """(cause, page) of a sentence; of the check if there is no such sentence."""
    return CAUSES.get(sentence) or CAUSES.get(check) or ("", "protocol.md")


def steps(entries):
    """What was done, as texts: what one client sends in a row is one step, and steps that repeat
    are folded.
    """
    done = []  # [who, what, text, pieces]
    for _, who, what, text in entries:
        if what == "sends" and done and done[-1][:2] == [who, what]:
            done[-1][2].append(text)
            done[-1][3] += 1
        elif what in DEEDS and what != "closes":
            done.append([who, what, [text], 1])
    for deed in done:
        deed[2] = deed[2][0] if len(deed[2]) == 1 else whole("".join(deed[2]))
    shaped = []  # (its shape, text)
    for what, group in itertools.groupby(done, lambda deed: deed[1]):
        group = list(group)
        if what in AT_ONCE and len(group) >= MANY:
            shaped.append((what, AT_ONCE[what](group)))
        else:
            shaped += [
                (shape(who, what, text), done_by(who, what, text, pieces))
                for who, what, text, pieces in group
            ]
    return middle_left_out(folded(shaped))


def done_by(who, what, text, pieces):
    """One deed as a step."""
    kind = DEEDS["sends-in-pieces" if pieces > 1 else what]
    shown = text if what == "starts" else short(text)  # a command's last flags matter most
    return Message(kind, {"who": who, "text": shown, "pieces": pieces})


def whole(text):
    """What was sent in pieces: a character whose bytes came in several is one again."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeError:  # a surrogate that is no byte
        return text


def shape(who, what, text):
    """What two deeds that differ only in the client's name and in numbers have in common."""
    return what, re.sub(r"\d+", "0", text.replace(who, "*"))


def folded(shaped):
    """The texts of steps [(shape, text)]: of a step, or a round of some, that comes again and
    again, the first and the last, and how many between them.
    """
    texts, place = [], 0
    while place < len(shaped):
        length, times = round_at(shaped, place)
        if times < FOLDED:
            texts.append(shaped[place][1])
            place += 1
            continue
        last = place + length * (times - 1)
        count = times - 2
        texts += [text for _, text in shaped[place : place + length]]
        texts.append(
            msg("... {count} more like this", count=count)
            if length == 1
            else msg("... {count} more rounds of these {length} steps", count=count, length=length)
        )
        texts += [text for _, text in shaped[last : last + length]]
        place = last + length
    return texts


def round_at(shaped, place):
    """(how many steps the round has that begins here, how often it comes in a row), of the round
    that covers the most.
    """
    best = 0, -1, 1
    for length in range(1, min(LONGEST_ROUND, (len(shaped) - place) // FOLDED) + 1):
        end = place + length
        while end < len(shaped) and shaped[end][0] == shaped[end - length][0]:
            end += 1
        times = (end - place) // length
        if times >= FOLDED:
            best = max(best, (length * times, -length, times))
    return -best[1], best[2]


def middle_left_out(texts):
    """Of too many steps the first and, as what went wrong is near, more of the last; the record has
    them all.
    """
    if len(texts) <= MOST_STEPS:
        return texts
    first = MOST_STEPS // 4
    count = len(texts) - MOST_STEPS + 1
    return [*texts[:first], msg("... {count} more steps", count=count), *texts[first + count :]]


FOLDED = 4  # times that a step, or a round of steps, comes before it is folded
LONGEST_ROUND = 12  # steps
MOST_STEPS = 30


def all_connect(group):
    names = [who for who, *_ in group]
    if len(names) <= LONG_STEP:
        return msg("{names} and {last} connect.", names=", ".join(names[:-1]), last=names[-1])
    return msg(
        "{first} to {last}, {count} clients, connect.",
        first=names[0],
        last=names[-1],
        count=len(names),
    )


def all_send(group):
    """What a crowd sends, partly at the same time, by client: how many lines, the first and the
    last.
    """
    sent = {}
    for who, _, text, _ in group:
        sent[who] = sent.get(who, "") + text
    parts = []
    for who, text in list(sent.items())[:LONG_STEP]:
        lines = [short(line) for line in text.rstrip("\n").split("\n")]
        parts.append(
            msg("{who}: {lines}", who=who, lines=" / ".join(lines))
            if len(lines) < 4
            else msg(
                "{who}: {count} lines, {first} / {second} / ... / {last}",
                who=who,
                count=len(lines),
                first=lines[0],
                second=lines[1],
                last=lines[-1],
            )
        )
    more = (
        [msg("... ({count} more clients)", count=len(sent) - LONG_STEP)]
        if len(sent) > LONG_STEP
        else []
    )
    return joined(
        msg("These send at the same time, some lines at once and more as they receive answers:"),
        parts,
        more,
    )


MANY = 5  # deeds of one kind in a row that become one step
AT_ONCE = {"connects": all_connect, "sends": all_send}


def short(text):
    """A step that is too long to be read tells its beginning and its end; the record holds all of
    it.
    """
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= LONG_STEP and max(map(len, lines)) <= LONG_LINE:
        return text if isinstance(text, Message) else "\n".join(lines)
    lines = [shortened(line, LONG_LINE) for line in lines]
    if len(lines) > LONG_STEP:
        lines[LONG_STEP - 3 : -1] = [
            msg("... ({count} more lines)", count=len(lines) - LONG_STEP + 2)
        ]
    return joined(lines)
