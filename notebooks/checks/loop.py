"""The prediction and the exercise of notebook 02."""

import contextlib
import socket

from harness.driving import processes
from harness.driving.messages import msg
from harness.teaching.notebook import Question, Wrong, code_of, exercise, meanwhile

LONGEST_TURN = Question(usual=5)  # milliseconds

SECONDS = 4  # for each wait
IDLE = 0.1  # of a core: a program that waits uses less


@exercise
def check_chat(path):
    """The chat in this file forgets a client that leaves, and closes its socket."""
    code = code_of(path)
    with meanwhile(code) as chat, contextlib.ExitStack() as open_sockets:

        def connected():
            address = "127.0.0.1", int(chat.first)
            return open_sockets.enter_context(socket.create_connection(address, SECONDS))

        try:
            leaves(chat, *(connected() for _ in range(3)), connected)
        except (OSError, ValueError):
            raise Wrong(
                msg(
                    "The program ended, or no longer serves its clients. {last_line}",
                    last_line=chat.last_line(),
                )
            ) from None


def leaves(chat, ana, ben, carla, connected):
    """Carla leaves and Dario comes: everybody must hear everybody. Raise Wrong, OSError."""
    speaks(carla, b"I am here", ana, ben, carla)  # now all three are accepted
    carla.shutdown(socket.SHUT_WR)
    share = processes.busy(lambda: processes.family(chat.pid))
    if share > IDLE:
        raise Wrong(
            msg(
                "A client has left and nobody says anything, but the program uses {share:.0%} of "
                "a core.",
                share=share,
            )
        )
    try:
        carla.recv(100)  # the end of file that close() sends
    except ConnectionResetError:
        pass  # closed, too
    except TimeoutError:
        raise Wrong(msg("A client has left, and the program does not close its socket.")) from None
    dario = connected()
    for text in b"one", b"two", b"three":  # of which the first ones to a lost client may seem sent
        for one in dario, ana, ben:
            speaks(one, text, ana, ben, dario)


def speaks(one, text, *everybody):
    """One client says this, and all must receive it. Raise Wrong, OSError."""
    one.sendall(text)
    for client in everybody:
        heard = b""
        while len(heard) < len(text):
            data = client.recv(len(text) - len(heard))
            if not data:
                raise ConnectionError("the program closed it")
            heard += data
        if heard != text:
            raise Wrong(
                msg(
                    "A client said {text}, and another one received {heard}.",
                    text=repr(text),
                    heard=repr(heard),
                )
            )
