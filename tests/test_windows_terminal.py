"""End-to-end tests of the windows in real terminals, with each of the three servers."""

import contextlib
import os
import random
import re
import signal
import socket
import sys
import threading
import time

import pexpect
import psutil
import pyte
import pytest
from conftest import end_terminal, need, rest_in_soak

from harness.driving.client import WireClient
from harness.driving.deadlines import DEADLINE
from harness.driving.server import DESIGNS, ROOT, Server
from harness.teaching import soak

pytestmark = pytest.mark.long
F = {
    "enter": "\r",
    "tab": "\t",
    "1": "\x1bOP",
    "2": "\x1bOQ",
    "5": "\x1b[15~",
    "8": "\x1b[19~",
    "9": "\x1b[20~",
}


def ctrl(letter):
    return chr(ord(letter) - ord("a") + 1)


class Terminal:
    """A window in a terminal of its own. The text on its screen is what a person would see."""

    def __init__(self, *arguments, size=(24, 80), env=None):
        self.raw = b""
        self.screen = pyte.Screen(size[1], size[0])
        self.stream = pyte.ByteStream(self.screen)
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            **(env or {}),
        }
        for name in "TMUX", "COLUMNS", "LINES":  # they describe another terminal
            environment.pop(name, None)
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", *map(str, arguments)],
            cwd=str(ROOT),
            dimensions=size,
            env=environment,
        )
        self.child.delaybeforesend = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_terminal(self.child)

    def read(self, wait=0.05):
        try:
            data = self.child.read_nonblocking(1 << 16, wait)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        # pyte would print a part of CSI sequences with a private mark, which no terminal prints
        self.stream.feed(
            re.sub(rb"\x1b\[[<>=?][0-9;]*(?:u|\$p)|\x1bP.*?\x1b\\", b"", data, flags=re.DOTALL)
        )
        return True

    @property
    def text(self):
        return "\n".join(self.screen.display)

    def shows(self, *texts, absent=()):
        """Wait until the screen has all these texts, and none of `absent`."""
        end, going = time.monotonic() + DEADLINE, True
        while not (
            (screen := self.text)
            and all(text in screen for text in texts)
            and not any(text in screen for text in absent)
        ):
            assert going and time.monotonic() < end, (
                f"not on the screen: {texts} (absent: {absent}); it is\n{screen}"
            )
            before = len(self.raw)
            while going and len(self.raw) == before and time.monotonic() < end:
                going = self.read(0.2)

    def press(self, *keys):
        for key in keys:
            self.child.send(key)

    def resize(self, rows, columns):
        while (before := len(self.raw)) is not None and self.read(0.2) and len(self.raw) > before:
            pass  # this output is for the old size
        self.child.setwinsize(rows, columns)
        self.screen.resize(rows, columns)

    def ends(self):
        end = time.monotonic() + DEADLINE
        while self.read():
            assert time.monotonic() < end, f"it goes on\n{self.text}"
        self.child.wait()
        assert b"Traceback" not in self.raw
        return self.child.exitstatus


def owner(tmp_path, *arguments, **options):
    return Terminal(
        "implementations.windows.owner",
        "--port",
        0,
        "--dir",
        tmp_path / "grupo",
        "--group",
        "os-lab",
        *arguments,
        **options,
    )


def member(tmp_path, place, name, **options):
    return Terminal(
        "implementations.windows.member",
        place,
        name,
        "--groups",
        tmp_path / f"groups-of-{name}",
        **options,
    )


def client(tmp_path, place, name, **options):
    groups = "--groups", tmp_path / f"groups-of-{name}"
    return Terminal("implementations.client", "join", place, name, *groups, **options)


def started(window):
    window.shows("Start")
    window.press(F["enter"])
    window.shows("listening on 127.0.0.1:", "thread")
    return re.search(r"listening on (127\.0\.0\.1:\d+)", window.text)[1]


def enters(window, password="secret"):
    window.shows("Password")
    window.press(password, F["enter"])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def servers_of(window):
    return psutil.Process(window.child.pid).children(recursive=True)


def gone(processes):
    return not psutil.wait_procs(processes, DEADLINE)[1]


@pytest.mark.parametrize("words", [[], ["127.0.0.1:7000"]])
def test_the_members_window_starts_without_a_name_and_an_address(tmp_path, words):
    groups = tmp_path / "groups"
    with Terminal("implementations.windows.member", *words, "--groups", groups) as window:
        window.shows("join a group", "127.0.0.1:7000")
        window.press(ctrl("q"))
        assert window.ends() == 0


@pytest.mark.parametrize("program", ["owner", "member"])
def test_without_a_home_folder_the_windows_explain_themselves(homeless, program):
    done = homeless(sys.executable, "-m", f"implementations.windows.{program}", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_groups_file_is_asked_for_where_the_home_folder_is_not_known(homeless):
    done = homeless(sys.executable, "-m", "implementations.windows.member")
    assert (done.returncode, done.stderr) == (
        1,
        "-- your home folder is not known: name a groups file with --groups FILE, or set HOME\n",
    )


SAID = re.compile(r"^MSG \d+ \S+ ana (.*)$", re.MULTILINE)
CONTROLS = "".join(map(ctrl, "aekuwd")) + "\x7f\x7f\x7f"
ARROWS = "\x1b[D", "\x1b[C", "\x1b[H", "\x1b[F"


def keys(chance, count, controls):
    """Letters, and keys that edit a line, as a terminal sends them."""
    others = [*controls, *ARROWS, *ARROWS]
    return [
        chance.choice("abcdef ghij klm") if chance.random() < 0.75 else chance.choice(others)
        for _ in range(count)
    ]


def edited(typed):
    """The line that an editor like readline makes of these keys."""
    text, at = "", 0
    for key in typed:
        word = max(text[:at].rstrip().rfind(" ") + 1, 0)
        match key:
            case "\x7f":
                text, at = text[: max(0, at - 1)] + text[at:], max(0, at - 1)
            case "\x01" | "\x1b[H":
                at = 0
            case "\x05" | "\x1b[F":
                at = len(text)
            case "\x1b[D":
                at = max(0, at - 1)
            case "\x1b[C":
                at = min(len(text), at + 1)
            case "\x04":
                text = text[:at] + text[at + 1 :]
            case "\x0b":
                text = text[:at]
            case "\x15":
                text, at = text[at:], 0
            case "\x17":
                text, at = text[:word] + text[at:], word
            case _:
                text, at = text[:at] + key + text[at:], at + 1
    return text


def flood(sender, ended):
    """Say 60,000 things as fast as the server takes them."""
    for number in range(0, 60_000, 100):
        if ended.is_set():
            break
        sender.send(*(f"SAY line {n}" for n in range(number, number + 100)))
        sender.fence()


@pytest.mark.parametrize("program", [member, client])
@pytest.mark.parametrize("flooded", [False, True])
def test_no_key_is_lost_or_reordered(tmp_path, flooded, program):
    """All keys come in a few bursts, as through a slow ssh; the window's password is edited, too."""
    chance = random.Random(20)
    controls = CONTROLS if program is member else CONTROLS.replace(ctrl("d"), "")  # it quits
    said = [typed for _ in range(40) if edited(typed := keys(chance, 40, controls)).strip()]
    password = [*"xecret", ctrl("a"), ctrl("d"), "s", ctrl("e"), "!", "\x7f"]
    server = Server("nonblocking", directory=tmp_path / "grupo", args=("--admit", "all"))
    with server, WireClient(server.address) as eve:
        eve.join("eve", "secret")
        with program(tmp_path, "{}:{}".format(*server.address), "ana") as ana:
            ended = threading.Event()
            noise = threading.Thread(target=flood, args=(eve, ended))
            if flooded:
                noise.start()
            try:
                ana.shows("assword")
                if program is client:  # Python's getpass drops what is typed with the password
                    ana.press("secret", F["enter"])
                    ana.shows("\n> ")
                else:
                    ana.press("".join([*password, F["enter"]]))
                for first in range(0, len(said), 13):
                    lines = said[first : first + 13]
                    ana.press("".join("".join([*line, F["enter"]]) for line in lines))
                heard = []
                while len(heard) < len(said):
                    ana.read()
                    heard = SAID.findall((tmp_path / "grupo" / "transcript").read_text())
            finally:
                ended.set()
                if flooded:
                    noise.join()
            assert heard == [edited(typed) for typed in said]


def test_arrivals_do_not_mix_with_the_line_that_the_user_of_the_client_types(tmp_path):
    server = Server("nonblocking", directory=tmp_path / "grupo", args=("--admit", "all"))
    with server, WireClient(server.address) as ben:
        ben.join("ben", "secret")
        with client(tmp_path, "{}:{}".format(*server.address), "ana") as ana:
            ana.shows("password:")
            ana.press("secret", F["enter"])
            ana.shows("* ana came", "\n> ")
            ana.press("half")
            ana.shows("\n> half ")
            ben.send("SAY one", "SAY two")
            ana.shows("<ben> one", "<ben> two", "\n> half ")
            ana.press(" a line", F["enter"])
            ana.shows("<ana> half a line", "\n>  ")
            assert ana.text.count("half") == 1, "one's own line is there once"
            ana.press("/wat", F["enter"])
            ana.shows("unknown command: /wat", "\n> /wat ")
            ana.press(ctrl("u"), "\x1b[A\x1b[A")
            ana.shows("\n> half a line ")
            ana.press(ctrl("u"), "kept")
            ana.shows("\n> kept ")
            server.order("ban ana")
            ana.shows("-- not sent: kept", "-- the owner banned you")
            assert ana.ends() == 1


def life_of_a_group(tmp_path, *arguments, reports_messages=True):
    """Use every function of both windows with keys alone, and read the results on the screens."""
    with owner(tmp_path, *arguments) as head, contextlib.ExitStack() as stack:
        place = started(head)
        ana = stack.enter_context(member(tmp_path, place, "ana"))
        ben = stack.enter_context(member(tmp_path, place, "ben"))
        enters(ana)
        ana.shows("You asked to join os-lab as ana", "Waiting for the owner")
        head.shows("ana asks to join from 127.0.0.1:", "Accept (a)", "? ana asks")
        head.press("a")
        head.shows("● ana here", absent=["Accept (a)"])
        ana.shows("os-lab  ana  in, 1 here", "● ana")
        enters(ben)
        head.shows("ben asks to join")
        head.press("r")
        ben.shows("rejected: the password is wrong, or the owner declined")
        head.shows("ben was rejected", absent=["Accept (a)"])
        enters(ben)
        head.shows("Accept (a)")
        head.press("a")
        ben.shows("ben  in, 2 here", "● ana", "● ben")
        ana.press("good morning", F["enter"])
        for window in (ana, ben, head) if reports_messages else (ana, ben):
            window.shows("ana: good morning")
        ben.press("hello an", F["tab"])
        ben.shows("hello ana")
        ben.press("and good day", F["enter"])
        ana.shows("ben: hello ana and good day")
        ana.press(F["2"])
        ana.shows("Your new name")
        ana.press("BEN", F["enter"])
        ana.shows("Your new name", "BEN", "Rename")  # the name is taken: the question comes back
        ana.shows("that name")
        ana.press("anna", F["enter"])
        ben.shows("ana is now anna", "● anna")
        head.press("n")
        head.shows("New name for the group")
        head.press("Tuesday", F["enter"])
        for window in ana, ben, head:
            window.shows("Tuesday  ")
        ana.press(F["8"])
        ana.shows("Disconnected: you quit. F5 reconnects")
        ben.shows("○ anna (away)")
        ana.press(F["5"])
        ana.shows("reconnected to Tuesday", "in, 2 here")
        head.press("b")
        head.shows("Ban a person")
        head.press("ben", F["enter"])
        head.shows("Ban ben?")
        head.press("y")
        ben.shows("Disconnected: the owner banned you. Only the owner can let you join again")
        head.shows("\N{MULTIPLICATION SIGN} ben banned")
        ben.press(F["5"])
        ben.shows("rejected: ")
        head.press("u")
        head.shows("Unban a person")
        head.press("ben", F["enter"])
        head.shows("done: unban ben", absent=["\N{MULTIPLICATION SIGN} ben"])
        ana.press(F["9"])
        ana.shows("Leave Tuesday? You will no longer")
        ana.press("n")
        ana.shows("Type a message", absent=["Leave Tuesday?"])
        ana.press(F["9"])
        ana.shows("Leave Tuesday?")
        ana.press("y")
        ana.shows("You left Tuesday.", "Password")
        processes = servers_of(head)
        assert processes
        head.press("d")
        head.shows("Type the group's name to confirm")
        head.press("wrong", F["enter"])
        head.shows("failed (not deleted): delete")
        head.press("d")
        head.shows("Type the group's name to confirm")
        head.press("Tuesday", F["enter"])
        head.shows("Tuesday was deleted.", "Start")
        assert gone(processes)
        for window in head, ana, ben:
            window.press(ctrl("q"))
            assert window.ends() == 0
            for each in window.raw.split(b"\n"):
                assert b"secret" not in each


@pytest.mark.parametrize("design", rest_in_soak(DESIGNS, ("nonblocking",)))
def test_the_life_of_a_group(tmp_path, design):
    life_of_a_group(tmp_path, "--design", design)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["threads"])
def test_a_server_by_others(tmp_path, name):
    try:
        command = soak.stranger(name, tmp_path)
    except soak.Missing as missing:
        need(str(missing))
    life_of_a_group(tmp_path, "--", *command, reports_messages=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_server_ends_with_the_window(tmp_path, number):
    with owner(tmp_path, "--design", "fork") as head, contextlib.ExitStack() as stack:
        ana = stack.enter_context(member(tmp_path, started(head), "ana"))
        enters(ana)
        head.shows("Accept (a)")
        head.press("a")
        ana.shows("in, 1 here")
        processes = servers_of(head)
        assert len(processes) == 2
        os.kill(head.child.pid, number)
        assert gone(processes)
        ana.shows("the server was closed; reconnecting")
        if number != signal.SIGKILL:
            head.ends()


def test_the_window_and_the_server_end_with_the_terminal(tmp_path):
    with owner(tmp_path) as head:
        place = started(head)
        with member(tmp_path, place, "ana") as ana:
            enters(ana)
            head.shows("Accept (a)")
            processes = servers_of(head)
            for window in ana, head:
                window.child.ptyproc.fileobj.close()
                window.child.ptyproc.closed = window.child.closed = True
            assert gone(processes)
            for window in ana, head:
                window.child.wait()


def test_quitting_asks_first_and_ends_the_server(tmp_path):
    with owner(tmp_path) as head:
        started(head)
        processes = servers_of(head)
        head.press("q")
        head.shows("The server ends with this window")
        head.press("n")
        head.shows("Rename", absent=["The server ends"])
        assert all(process.is_running() for process in processes)
        head.press("c")
        head.shows("Close os-lab?")
        head.press("y")
        head.shows("os-lab was closed. Its files are kept")
        assert gone(processes)
        started(head)
        head.press(ctrl("q"))
        head.shows("The server ends with this window")
        processes = servers_of(head)
        head.press("y")
        assert head.ends() == 0 and gone(processes)


def test_the_window_as_small_as_20_by_5_and_large_again(tmp_path):
    with owner(tmp_path) as head:
        place = started(head)
        with member(tmp_path, place, "ana", size=(24, 80)) as ana:
            enters(ana)
            head.shows("Accept (a)")
            for window in head, ana:
                window.resize(5, 20)
            head.press("a")
            head.shows("ana came")
            ana.shows("Type a message")
            ana.press("still here", F["enter"])
            ana.shows("ana: still here")
            for window in head, ana:
                window.resize(40, 140)
            head.shows("● ana here", "ana: still here", "^q Quit")
            ana.shows("● ana", "ana: still here", "^q Quit")


COLOURS = re.compile(rb"\x1b\[[0-9;]*?(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|[34]8;[25])[;m]")


def test_no_color_removes_all_colors(tmp_path):
    for wanted in ({"NO_COLOR": "1"}, {}):
        folder = tmp_path / f"with-{len(wanted)}"
        with (
            owner(folder, env=wanted) as head,
            member(folder, started(head), "ana", env=wanted) as ana,
        ):
            enters(ana)
            head.shows("Accept (a)")
            head.press("a")
            ana.shows("in, 1 here")
            head.shows("● ana here")
            for window in head, ana:
                assert bool(COLOURS.search(window.raw)) != bool(wanted)


def test_hostile_text_reaches_no_terminal(tmp_path):
    with owner(tmp_path, "--admit", "all") as head:
        place = started(head)
        with member(tmp_path, place, "ana") as ana:
            enters(ana)
            ana.shows("in, 1 here")
            ana.press("[/b] [@click=app.quit]x[/] [red]", F["enter"])
            for window in ana, head:
                window.shows("[/b] [@click=app.quit]x[/] [red]")
    hostile = (
        r"print('listening on 127.0.0.1:9\n\x1b]0;pwn\x07 \x9b31m [/b]', flush=True); "
        "import sys; sys.stdin.read()"
    )
    with owner(tmp_path, "--", sys.executable, "-c", hostile) as head:
        head.shows("Start")
        head.press(F["enter"])
        head.shows(r"\x1b]0;pwn\x07", "[/b]")
        assert b"\x1b]0;pwn" not in head.raw and "\x9b".encode() not in head.raw


@contextlib.contextmanager
def lesson_in_one_terminal(tmp_path):
    """A lesson whose server runs, and the processes of its tmux, its windows and its server."""
    need("tmux")
    with Terminal(
        "implementations.windows",
        "--port",
        free_port(),
        "--dir",
        tmp_path / "grupo",
        "--group",
        "os-lab",
        size=(40, 160),
        env={"TMPDIR": str(tmp_path), "TMUX_TMPDIR": str(tmp_path / ("long" * 25))},
    ) as lesson:
        lesson.shows("Grupo: start a group", "Your name     ana", "Your name     ben")
        lesson.press(F["enter"])
        lesson.shows("listening on 127.0.0.1:")
        processes = [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(str(tmp_path) in word for word in process.info["cmdline"] or ())
        ]
        names = "tmux", "owner", "member", "member", "pthread"
        lines = [" ".join(process.info["cmdline"]) for process in processes]
        assert all(sum(name in line for line in lines) >= names.count(name) for name in names)
        try:
            yield lesson, processes
        finally:
            for process in psutil.wait_procs(processes, 0)[1]:
                process.kill()


def test_a_lesson_in_one_terminal(tmp_path):
    with lesson_in_one_terminal(tmp_path) as (lesson, processes):
        lesson.press("q")
        lesson.shows("The server ends with this window")
        lesson.press("y")
        assert lesson.ends() == 0 and gone(processes)


@pytest.mark.parametrize("ending", ["closed", "killed"])
def test_a_lesson_ends_with_its_terminal(tmp_path, ending):
    """Whether the terminal was closed, or what runs in it was killed."""
    with lesson_in_one_terminal(tmp_path) as (lesson, processes):
        us = lesson.child.pid  # tmux, in the place of the program that started it
        if ending == "closed":
            lesson.child.ptyproc.fileobj.close()
            lesson.child.ptyproc.closed = lesson.child.closed = True
        else:
            os.kill(us, signal.SIGKILL)
        assert gone([process for process in processes if process.pid != us])
        lesson.child.wait()


def test_the_pictures_in_readme_can_be_made_again(tmp_path):
    made = pexpect.run(
        f"{sys.executable} -m implementations.windows.screenshots {tmp_path}",
        cwd=str(ROOT),
        timeout=90,
        encoding="utf-8",
    )
    for which, word in (
        ("owner", "Reject"),
        ("member", "Leave"),
    ):  # a member that is disconnected cannot leave
        svg = (tmp_path / f"{which}.svg").read_text()
        assert svg.startswith("<svg") and word in svg and f"{which}.svg" in made
        assert (ROOT / "implementations" / "windows" / f"{which}.svg").is_file()
