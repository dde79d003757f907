"""Makes the pictures in README: python -m implementations.windows.screenshots [FOLDER].

Both windows run as always, only without a terminal. The owner's window starts a real server, and
real clients connect to it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from textual.pilot import Pilot

from ..common.output import complete_output
from .chat_screen import ChatScreen
from .log_lines import LineKind
from .member import MemberApp
from .owner import OwnerApp, parse_arguments
from .owner_screen import OwnerScreen
from .people_list import PeopleList
from .process_panel import ProcessPanel
from .widgets import LogScreen

MESSAGES = (
    ("ben", "has anyone started exercise 3?"),
    ("carla", "I have: select() says which client is ready, so recv does not wait"),
    ("ben", "and what if only half a line has arrived?"),
    ("carla", "buffer it, and wait for the rest. ana knows more"),
    ("ben", "ana, does the protocol say how long a line may be?"),
)
ANSWER = "512 bytes, with its line feed"
OWNER_SIZE = 118, 30  # columns, rows
MEMBER_SIZE = 86, 24
TIMEOUT = 30  # seconds


async def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition is true. Ends the program after 30 s."""
    for _ in range(TIMEOUT * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"this did not happen: {what}")


class ConsoleClient:
    """The console client in a process of its own, for one member."""

    def __init__(self, address: str, name: str, folder: str) -> None:
        """Start the client; its files are in `folder`."""
        password_file = os.path.join(folder, f"password-of-{name}")
        with open(password_file, "w") as file:
            file.write("a secret\n")
        command = [sys.executable, "-m", "implementations.client", "join", address, name]
        command += ["--password-file", password_file]
        command += ["--groups", os.path.join(folder, f"groups-of-{name}")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    def say(self, text: str) -> None:
        """Send a message."""
        assert self._process.stdin
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the client."""
        self._process.kill()
        self._process.communicate()


class Meeting:
    """The data that the two windows share."""

    def __init__(self, folder: str) -> None:
        """Prepare a meeting of windows whose files are in `folder`."""
        self.folder = folder
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pictures_left = 2
        self._done = asyncio.Event()

    async def picture_taken(self) -> None:
        """Wait until both pictures are taken, so that neither window sees the other one end."""
        self._pictures_left -= 1
        if not self._pictures_left:
            self._done.set()
        await self._done.wait()


def has_messages(screen: LogScreen, count: int) -> bool:
    """Return whether a screen has at least `count` messages."""
    lines = screen.message_log.lines
    return sum(line.kind is LineKind.MESSAGE for line in lines) >= count


async def admit_members(
    pilot: Pilot[None], screen: OwnerScreen, address: str, meeting: Meeting, stack: ExitStack
) -> dict[str, ConsoleClient]:
    """Accept ben, carla and ana, and let dario wait; return the clients by name."""
    console = screen.console
    clients = {}
    for name in ("ben", "carla", "dario"):
        clients[name] = ConsoleClient(address, name, meeting.folder)
        stack.callback(clients[name].close)
        await wait_until(lambda: console.askers, f"a request of {name}")
        if name != "dario":
            await pilot.press("a")
            await wait_until(lambda: not console.askers, f"{name} in the group")
    meeting.address.set_result(address)
    people = screen.query_one(PeopleList)
    await wait_until(lambda: len(console.askers) == 2, "a request of ana")
    await wait_until(lambda: len(people.people or ()) == 4, "ana in the list")
    await pilot.press("home", "a")
    await wait_until(lambda: len(console.askers) == 1, "ana in the group")
    return clients


async def take_owner_picture(meeting: Meeting) -> str:
    """Return the owner's window as SVG."""
    arguments = ["--port", "0", "--dir", os.path.join(meeting.folder, "group")]
    window = OwnerApp(parse_arguments([*arguments, "--group", "Operating systems"]))
    with ExitStack() as stack:
        async with window.run_test(size=OWNER_SIZE) as pilot:
            await pilot.press("enter")
            await wait_until(lambda: isinstance(window.screen, OwnerScreen), "a server")
            screen = window.screen
            assert isinstance(screen, OwnerScreen)
            await wait_until(lambda: screen.console.endpoint, "a server that listens")
            host, port = screen.console.endpoint or ("", 0)
            clients = await admit_members(pilot, screen, f"{host}:{port}", meeting, stack)
            for count, (name, text) in enumerate(MESSAGES, 1):
                clients[name].say(text)
                await wait_until(partial(has_messages, screen, count), text)
            await wait_until(partial(has_messages, screen, len(MESSAGES) + 1), "ana's answer")
            panel = screen.query_one(ProcessPanel)
            await wait_until(lambda: panel.snapshot.threads, "the processes")
            picture = window.export_screenshot(title="the owner's window")
            await meeting.picture_taken()
            return picture


async def take_member_picture(meeting: Meeting) -> str:
    """Return the member's window as SVG."""
    groups_file = os.path.join(meeting.folder, "groups-of-ana")
    window = MemberApp(await meeting.address, "ana", groups_file)
    async with window.run_test(size=MEMBER_SIZE) as pilot:
        await pilot.press(*"a secret", "enter")
        await wait_until(lambda: isinstance(window.screen, ChatScreen), "the chat")
        screen = window.screen
        assert isinstance(screen, ChatScreen)
        await wait_until(partial(has_messages, screen, len(MESSAGES)), "the messages")
        await pilot.press(*ANSWER, "enter")
        await wait_until(partial(has_messages, screen, len(MESSAGES) + 1), "ana's message")
        await pilot.press(*"be", "tab")
        picture = window.export_screenshot(title="the member's window")
        await meeting.picture_taken()
        return picture


async def take_pictures() -> dict[str, str]:
    """Return both pictures as SVG, by name."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = Meeting(folder)
        owner, member = await asyncio.gather(
            take_owner_picture(meeting), take_member_picture(meeting)
        )
    return {"owner": owner, "member": member}


@complete_output()
def main() -> int:
    """Write the pictures into a folder, by default that of this module; return 0."""
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else here
    for name, svg in asyncio.run(take_pictures()).items():
        path = os.path.join(folder, f"{name}.svg")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(line.rstrip() + "\n" for line in svg.splitlines())
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
