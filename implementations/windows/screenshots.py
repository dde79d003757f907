"""The pictures in README, made anew: python -m implementations.windows.screenshots [FOLDER].

Both windows do what they always do, only without a terminal: the owner's opens a real server, to which real clients come.
"""
import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack

from .member import Chat, Member
from .owner import Lead, Owner, parse
from .talk import Talk

TALK = ("ben", "has anyone begun with exercise 3?"), ("carla", "I have: select() tells who is ready, and then recv does not wait"), \
       ("ben", "and what if only half a line has come?"), ("carla", "keep it, and wait for the rest. ana knows, ask her"), \
       ("ben", "ana, does the protocol say how long a line may be?")
SIZE = {"owner": (118, 30), "member": (86, 24)}
PATIENCE = 30       # seconds


async def until(condition, what):
    for _ in range(PATIENCE * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"this did not come: {what}")


class Client:
    """The console client, in a process of its own, told what to say through a pipe."""

    def __init__(self, place, name, folder):
        password = os.path.join(folder, f"password-of-{name}")
        with open(password, "w") as file:
            file.write("a secret\n")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "implementations.client", "join", place, name, "--password-file", password,
             "--groups", os.path.join(folder, f"groups-of-{name}")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()


def said(window):
    return [(line.who, line.text) for line in window.screen.query_one("#talk", Talk).lines if line.kind == "said"]


async def owner(folder, place_is, taken, others):
    window = Owner(parse(["--port", "0", "--dir", os.path.join(folder, "group"), "--group", "Operating systems"]))
    async with window.run_test(size=SIZE["owner"]) as pilot, Clients() as clients:
        await pilot.press("enter")
        await until(lambda: isinstance(window.screen, Lead) and window.screen.desk.address, "a server that listens")
        place = "%s:%d" % window.screen.desk.address
        people = {}
        for name in "ben", "carla", "dario":
            people[name] = clients.add(Client(place, name, folder))
            await until(lambda: window.screen.desk.askers, f"{name}, who asks")
            if name != "dario":
                await pilot.press("a")
                await until(lambda: not window.screen.desk.askers, f"{name} in")
        place_is.set_result(place)
        await until(lambda: any(person.name == "ana" for person in window.screen.desk.askers), "ana, who asks")
        await until(lambda: len(window.screen.people) == 4, "ana in the list")
        await pilot.press("home")
        await pilot.press("a")
        await until(lambda: len(window.screen.desk.askers) == 1, "ana in")
        for count, (name, text) in enumerate(TALK, 1):
            people[name].say(text)
            await until(lambda: len(said(window)) >= count, text)
        await until(lambda: window.screen.seen.threads and len(said(window)) > len(TALK), "ana's answer")
        picture = window.export_screenshot(title="the owner's window")
        taken.set_result(None)
        await others                    # else the member would see the server go
        return picture


class Clients(ExitStack):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.close()

    def add(self, client):
        return self.enter_context(client)


async def member(folder, place_is, taken, others):
    place = await place_is
    window = Member(place, "ana", os.path.join(folder, "groups-of-ana"))
    async with window.run_test(size=SIZE["member"]) as pilot:
        await pilot.press(*"a secret", "enter")
        await until(lambda: isinstance(window.screen, Chat) and len(said(window)) >= len(TALK), "the talk")
        await pilot.press(*"512 bytes, with its line feed", "enter")
        await until(lambda: len(said(window)) > len(TALK), "what was said")
        await pilot.press(*"be", "tab")
        picture = window.export_screenshot(title="the member's window")
        taken.set_result(None)
        await others
        return picture


async def main(target):
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        place_is, *taken = [loop.create_future() for _ in range(3)]
        tasks = [asyncio.create_task(owner(folder, place_is, *taken)), asyncio.create_task(member(folder, place_is, *reversed(taken)))]
        for which, svg in zip(SIZE, await asyncio.gather(*tasks)):
            path = os.path.join(target, f"{which}.svg")
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
            print(path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))))
