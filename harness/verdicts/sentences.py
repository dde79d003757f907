"""The catalogue: every sentence that a student reads of a failure, by its id. Checks and servers name only the id.

An entry is (cause, page): the likely cause, in a sentence or two, and where in the lab guide it is explained. A check that
names no sentence is explained by the one that bears its own id.
"""

CAUSES = {
    # -- The server itself
    "no-such-command": ("The command could not be started: no such file, or it may not be executed. Is it compiled? Is the path right?",
                        "protocol.md#10-the-command-line"),
    "ends-at-once": ("The server ended before it listened. What it wrote to stderr says why; try the same command by hand.",
                     "protocol.md#10-the-command-line"),
    "never-listens": ("The server never said that it listens. Either it does not get that far, or its output stays in a buffer: "
                      "flush stdout after the first line.", "protocol.md#10-the-command-line"),
    "first-line": ("The first line on stdout is not `listening on ADDRESS:PORT`. Notes to yourself belong on stderr.",
                   "protocol.md#10-the-command-line"),
    "listens-elsewhere": ("The server says that it listens there, but nobody answers: is it the address and port of the listening socket itself?",
                          "protocol.md#10-the-command-line"),
    "floods": ("The server writes without end to stdout or stderr: a loop that prints, most likely on an error that it meets again and again.",
               "protocol.md#10-the-command-line"),
    "died": ("The server ended in the middle of the conversation. A server must survive whatever clients do.", "protocol.md#14-security-considerations"),
    "does-not-end": ("SIGTERM, SIGINT and `close` must end the server, whatever it is waiting for at that moment.", "protocol.md#10-the-command-line"),
    "leftovers": ("Processes of the server lived on after it. Who forks must see to it that children end with their parent.", "protocol.md#10-the-command-line"),
    "endless": ("The check found no end: something comes again and again that should come once.", "protocol.md#5-what-a-client-sends"),
    "goes-on": ("The server should have refused to start, and did not.", "protocol.md#10-the-command-line"),
    "orphans": ("Processes of the server live on although its main process was killed. A child must notice that its parent is gone: "
                "its pipe ends.", "protocol.md#10-the-command-line"),
    # -- One connection
    "silent": ("The server did not answer. It may wait for something else first (another client, the rest of a line), or it lost the request.",
               "protocol.md#5-what-a-client-sends"),
    "cut-off": ("The server closed the connection, or its thread or process for this client ended.", "protocol.md#6-what-a-server-sends"),
    "does-not-read": ("The server no longer reads from this client: it is stuck in something else, perhaps in a send to another.",
                      "protocol.md#13-many-at-once"),
    "order-unanswered": ("Each order of the owner is answered by exactly one line `ok` or `error: why`, flushed.", "protocol.md#11-the-owners-console"),
    "console-silent": ("The owner was not told. Is stdout flushed after each line?", "protocol.md#11-the-owners-console"),
}

DEEDS = {"connects": "{who} connects.", "sends": "{who} sends {text}", "shuts": "{who} ends sending (half-close), and still reads.",
         "resets": "{who} breaks the connection with a reset.", "closes": "{who} closes the connection.",
         "types": "The owner types {text}", "starts": "The server is started: {text}", "signal": "The server gets {text}."}


def explain(sentence, check):
    """(cause, page) of a sentence; of the check if there is no such sentence."""
    return CAUSES.get(sentence) or CAUSES.get(check) or ("", "protocol.md")


def steps(entries):
    """What was done, as texts: what one client sends in a row is one step."""
    texts, last = [], None
    for _, who, what, text in entries:
        if what == "sends" and last == (who, what):
            texts[-1] += text
        elif what in DEEDS and what != "closes":
            texts.append(DEEDS[what].format(who=who, text=text))
        if what in DEEDS:
            last = who, what
    return [text.rstrip("\n").replace("\n", "\n    ") for text in texts]
