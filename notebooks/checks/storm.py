"""The storm, the prediction and the exercise of notebook 07."""

import contextlib
import socket
import statistics
import time

from harness.driving.messages import msg
from harness.teaching.notebook import Question, Wrong, code_of, exercise, meanwhile, serve

BAD = "password-hash-in-the-loop"
WHICH = ("nonblocking", "pthread", "fork", BAD)
WORST = Question(usual=20, most=60_000)  # milliseconds

STRANGERS = """
import sys, threading
from harness.driving.client import WireClient

def guess(number):
    while True:
        with WireClient(("127.0.0.1", int(sys.argv[1]))) as stranger:
            for _ in range(3):
                stranger.send(f"JOIN ana guess-{number}")
                stranger.expect("REJECTED refused")

print("here we come", flush=True)
for number in range(int(sys.argv[2])):
    threading.Thread(target=guess, args=(number,)).start()
"""


def storm(which, strangers=6):
    """Ana says line after line and waits for each echo, while strangers guess passwords.

    Return ([(second, seconds until the echo)], (begin, end) of the storm in seconds).
    """
    with serve(which, "--reject-after", "0.05") as server:
        ana = server.enter("ana")
        dots, began = [], time.monotonic()

        def talk(seconds):
            end = time.monotonic() + seconds
            while (said := time.monotonic()) < end:
                ana.send("SAY is anybody there?")
                ana.expect("MSG .*")
                dots.append((said - began, time.monotonic() - said))
                time.sleep(0.005)
            return time.monotonic() - began

        from_ = talk(0.5)
        with meanwhile(STRANGERS, server.port, strangers):
            to = talk(2)
        talk(0.5)
    return dots, (from_, to)


SECONDS = 8  # for each answer
ROUNDS = 5
MEANWHILE = 6  # echoes. A loop that waits for each hash has at most one turn for each answer
WORDS = ("let me in", "open sesame", "123456")  # the second one is right


@exercise
def check_server(path):
    """The server in this file checks passwords, and echoes other lines meanwhile."""
    code = code_of(path)
    with meanwhile(code) as server, contextlib.ExitStack() as connections:

        def connected():
            address = "127.0.0.1", int(server.first)
            client = connections.enter_context(socket.create_connection(address, SECONDS))
            lines = connections.enter_context(client.makefile("rb"))
            says_hello(client, lines)  # now it is accepted
            return client, lines

        try:
            rounds = [meets(connected(), [connected() for _ in WORDS]) for _ in range(ROUNDS)]
        except TimeoutError:
            raise Wrong(
                msg("A client waited for {seconds} s, and no answer came.", seconds=SECONDS)
            ) from None
        except (OSError, ValueError):
            raise Wrong(
                msg(
                    "The program ended, or no longer serves its clients. {last_line}",
                    last_line=server.last_line(),
                )
            ) from None
    echoes = statistics.median(rounds)
    if echoes < MEANWHILE:
        raise Wrong(
            msg(
                "While three passwords were checked, another client heard its echo only {count} "
                "times: the loop waits for the hash.",
                count=echoes,
            )
        )


def meets(talker, strangers):
    """Three clients send passwords. Return how often another one hears its echo meanwhile.

    Raise Wrong if an answer is wrong, OSError if there is none.
    """
    for (client, _), word in zip(strangers, WORDS, strict=True):
        client.sendall(f"PASSWORD {word}\n".encode())
    echoes, end = 0, time.monotonic() + SECONDS
    while not all(is_readable(client) for client, _ in strangers):
        if time.monotonic() > end:
            raise TimeoutError
        says_hello(*talker)
        echoes += 1
    for (_, lines), word in zip(strangers, WORDS, strict=True):
        expected = "right" if word == WORDS[1] else "wrong"
        heard = answer(lines)
        if heard != expected:
            raise Wrong(
                msg(
                    "The answer to the password {word} must be {expected}, but it was {heard}.",
                    word=repr(word),
                    expected=repr(expected),
                    heard=repr(heard),
                )
            )
    return echoes


def says_hello(client, lines):
    """Have a client say hello, and wait for the echo. Raise Wrong, OSError."""
    client.sendall(b"hello\n")
    heard = answer(lines)
    if heard != "hello":
        raise Wrong(msg("A client said hello, and the answer was {heard}.", heard=repr(heard)))


def is_readable(client):
    """Whether something has arrived for a client."""
    client.setblocking(False)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.settimeout(SECONDS)


def answer(lines):
    """Return the next line, without its end. Raise OSError if the connection has ended."""
    line = lines.readline()
    if not line:
        raise ConnectionError("the program closed it")
    return line.decode(errors="replace").strip()
