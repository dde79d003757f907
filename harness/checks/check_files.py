"""Files: what the server keeps outlives it, however it ends; and nobody else reads it."""

import base64
import contextlib
import ctypes
import glob
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import OPEN

from harness.checks.lines import answers, hears, history, same_lines
from harness.driving import deadlines
from harness.driving.client import Silence
from harness.driving.deadlines import wait_until
from harness.driving.history import normalized
from harness.driving.messages import joined, msg
from harness.driving.record import CheckFailed, same
from harness.driving.server import LISTENING, NotStarted, plain_environment, start_refused
from harness.verdicts.plugin import NotRun, check


@pytest.fixture
def refused_start(judge):
    """refused_start(*args, directory=...) starts one server more, which must end by itself:
    (status, stdout, stderr).
    """

    def refused_start(*args, directory, port=0):
        try:
            return start_refused(
                judge.settings["command"],
                directory=directory,
                args=args,
                port=port,
                cwd=judge.settings["cwd"],
                env=plain_environment(),
            )
        except CheckFailed as problem:
            problem.sentence = None  # the check's own says more
            raise

    return refused_start


def restart(running, sentence="no-restart", **changes):
    """SIGTERM, if it still runs, and then a new start on the same directory."""
    try:
        running.restart(**changes)
    except NotStarted as problem:
        problem.sentence = sentence
        raise


def killed(running, **changes):
    """kill -9 of the server, without a warning; then a new start."""
    running.kill()
    running.orphans_gone()
    restart(running, "no-restart-after-kill", **changes)


@check(points=3, lab=1, rules="5-6 6-26 13-2")
def check_a_restart_restores_members(server, enter, connect):
    """After a restart the same members exist, with their names and passwords. A member that left is
    not one of them, and nobody is here."""
    running = server(*OPEN)
    ana, ben, eva = (enter(running, name) for name in ("ana", "ben", "eva"))
    ben.send("LEAVE")
    ben.rest()
    enter(running, "leo")  # a change, and then a new member that has to be kept, too
    restart(running)
    ana = connect(running, "ana")
    ana.join("ana", "secret-of-ana")
    answers(ana, "NAME Anita")
    enter(running, "ida")
    for _ in range(
        2
    ):  # also the second time: what a start makes of the files must be as good as they were
        restart(running)
        *lines, ok = running.order("members")
        same(sorted(lines), [f"member {name} away" for name in ("Anita", "eva", "ida", "leo")])
    connect(running, "ana again").join("anita", "secret-of-ana")
    enter(running, "ana", "somebody else's secret"), enter(running, "ben", "somebody else's secret")
    connect(running, "eva again").join("eva", "secret-of-eva")


@check(points=1, lab=1, rules="5-6 5-11 9.1-7 9.5-9 13-2")
def check_an_old_name_opens_nothing(server, accepted, enter, connect):
    """After NAME, LEAVE, or a ban and its end, the old name with its old password admits nobody,
    neither at once nor after kill -9 or a restart. A new member with that name has their own
    password."""
    running = server()
    ana, ben, eva, leo = (accepted(running, name) for name in ("ana", "ben", "eva", "leo"))
    answers(ana, "NAME anna")
    answers(leo, "NAME theo", "NAME LEO")  # its own name again, but for the case
    ben.send("LEAVE")
    ben.rest()
    for order in ("ban eva", "unban eva"):
        same(running.order(order), ["ok"])
    olds = [
        ("ana", "secret-of-ana"),
        ("ben", "secret-of-ben"),
        ("eva", "secret-of-eva"),
        ("theo", "secret-of-leo"),
    ]
    for name, password in olds:  # each is a new name: the owner is asked, and no more
        client = connect(running, f"old {name}")
        client.greeted()
        client.send(f"JOIN {name} {password}", "PING asked")
        hears(client, "PENDING", "PONG asked")
    killed(running, args=("--admit", "none"))
    are_rejected(connect, running, olds)
    ana = opens(connect, running, "ANNA", "secret-of-ana", "anna")
    answers(ana, "NAME ana")
    leo = opens(connect, running, "leo", "secret-of-leo", "LEO")
    leo.send("LEAVE")
    leo.rest()
    restart(running, args=OPEN)
    same(sorted(running.order("members")), ["member ana away", "ok"])
    for name in ("anna", "leo"):
        enter(running, name, "another secret")
    opens(connect, running, "ana", "secret-of-ana", "ana")
    are_rejected(
        connect,
        running,
        [("anna", "secret-of-ana"), ("leo", "secret-of-leo"), ("ana", "another secret")],
    )


def are_rejected(connect, running, joins):
    """Each of these names with its password is REJECTED. All ask at once: each answer takes a
    second.
    """
    clients = [(connect(running, f"old {name}"), name, password) for name, password in joins]
    for client, name, password in clients:
        client.greeted()
        client.send(f"JOIN {name} {password}")
    for client, *_ in clients:
        hears(client, "PENDING", "REJECTED refused")


def opens(connect, running, name, password, written):
    """A client that has come in with this name and password, as the member whose name is written
    so.
    """
    client = connect(running, written)
    client.join(name, password)
    same(client.lines[-1].split(" ")[2], written)
    return client


@check(points=3, lab=1, rules="6-20 6-25 13-2")
def check_a_restart_restores_the_conversation(server, enter, connect, rng):
    """After a restart HISTORY returns the same events as before, byte for byte, and the next event
    has the next number."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    answers(
        ana,
        *(f"SAY {rng.random()} ñ☃ " + "x" * rng.randrange(370) for _ in range(30)),
        "NAME eva",
        "SAY last",
    )
    before, newest = history(ana)
    for _ in range(2):
        restart(running)
        ana = connect(running, "ana")
        same(
            f"WELCOME {ana.join('eva', 'secret-of-ana')}",
            f"WELCOME {newest}",
            "events-lost-or-added",
        )
        after, newest = history(ana)
        same_lines(after[:-1], before)
        same(normalized(after[-1:]), ["IN n TIME eva"])
        before = after


@check(points=2, lab=1, rules="9.5-12 12-4 13-2")
def check_a_restart_keeps_bans_and_names(server, enter, connect, rng):
    """After a restart banned names stay banned, and the group has the last name that its owner gave
    it, whatever --group says."""
    running = server(*OPEN, group="first name")
    enter(running, "eve")
    for order in ("ban eve", "ban nobody", "ban mal", "unban mal"):
        same(running.order(order), ["ok"])
    name = f"second name, {rng.randrange(10**6)}"
    same(running.order(f"rename {name}"), ["ok"])
    for group in "third name", "fourth name":
        restart(running, group=group)
        same(sorted(running.order("members")), ["member eve banned", "member nobody banned", "ok"])
        eve = connect(running, "eve")
        same(eve.greeted(), name)
        eve.send("JOIN eve secret-of-eve")
        hears(eve, "PENDING", "REJECTED refused")


@check(points=3, lab=1, rules="9.2-2 9.2-5 13-6")
def check_killed_and_nothing_is_lost(server, enter, connect, rng):
    """A message that came back to its sender, and a member that received WELCOME, still exist after
    kill -9."""
    running = server(*OPEN)
    for _ in range(2):
        name = f"ana{rng.randrange(10**6)}"
        ana = enter(running, name)
        texts = [f"{rng.random()} " + "x" * rng.randrange(300) for _ in range(20)]
        ana.send(*(f"SAY {text}" for text in texts))
        ana.expect(rf"MSG \d+ \S+ {name} {texts[-1]}".replace(".", r"\."))
        killed(running)
        again = connect(running, name)
        again.join(name, f"secret-of-{name}")
        mine = [
            line for line in normalized(history(again)[0]) if line.startswith(f"MSG n TIME {name} ")
        ]
        same_lines(mine, [f"MSG n TIME {name} {text}" for text in texts])
    enter(running, "ben")
    killed(running)
    connect(running, "ben").join("ben", "secret-of-ben")


@check(points=2, lab=1, rules="6-26 10-22 13-6")
def check_joins_at_once_are_all_kept(server, connect):
    """Many new members that join at once are all members after kill -9 and a restart, each with
    their own password."""
    running = server(*OPEN)
    names = [f"m{number}" for number in range(10)]
    many = {name: connect(running, name) for name in names}
    for client in many.values():
        client.greeted()
    for name, client in many.items():
        client.send(f"JOIN {name} secret-of-{name}")
    for client in many.values():
        client.welcomed()
    killed(running)
    *lines, ok = running.order("members")
    same(sorted(lines), [f"member {name} away" for name in names])
    for name in names[::3]:
        connect(running, name).join(name, f"secret-of-{name}")


@check(points=2, lab=1, rules="13-3")
def check_no_password_in_clear(server, connect, enter, rng):
    """No password appears in clear text in a file, in the server's output, or on a command line."""
    running = server(*OPEN)
    secret = "".join(rng.choices("abcdefghijkmnop0123456789", k=16))
    ana, eve = connect(running, "ana"), connect(running, "eve")
    eve.greeted()
    ana.send(f"JOIN ana {secret}")

    def welcomed():
        if line := command_line_with(
            secret
        ):  # the password is being hashed now, perhaps by another program
            raise CheckFailed(
                msg("no password on a command line"), line, "password-on-a-command-line"
            )
        with contextlib.suppress(Silence):
            ana.line(0.001)
        return ana.ended or ana.lines[-1].startswith("WELCOME")

    end = time.monotonic() + deadlines.DEADLINE
    while not welcomed() and time.monotonic() < end:
        pass
    eve.send(f"JOIN ana {secret}x", f"join ana {secret}", secret)
    hears(eve, "PENDING", "REJECTED refused")
    ana.send("NAME eva")
    ana.fence(), eve.fence()
    running.stop()
    forms = {
        msg("in clear text"): secret,
        msg("as hexadecimal digits"): secret.encode().hex(),
        msg("in base64"): base64.b64encode(secret.encode()).decode()[:20],
    }
    for path in sorted(running.directory.rglob("*")):
        if path.is_symlink() or not path.is_file():  # behind a link there may be anything
            continue
        for how, form in forms.items():
            if form.encode() in path.read_bytes():
                raise CheckFailed(
                    msg("no password in any file of the group"),
                    msg(
                        "ana's password appears {how} in {relative_to}",
                        how=how,
                        relative_to=path.relative_to(running.directory),
                    ),
                )
    if secret in "\n".join(running.stdout + running.stderr):
        raise CheckFailed(
            msg("no password in the server's output"), msg("ana's password appears there")
        )


def command_line_with(secret):
    """The command line of a process of this machine that holds it, as everybody can read it; None
    if there is none now.
    """
    for path in glob.iglob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            line = Path(path).read_bytes()
            if secret.encode() in line:
                return line.replace(b"\0", b" ").decode("utf-8", "replace")
    return None


@check(points=1, lab=1, rules="12-5 13-4")
def check_files_are_private(server, enter, tmp_path):
    """No other user can read the group's files, with any umask, also in an existing directory that
    is open to others."""
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    for directory in tmp_path / "group", there:
        running = server(*OPEN, directory=directory, preexec=lambda: os.umask(0))
        ana = enter(running, "ana")
        answers(ana, "SAY private", "NAME eva")
        same(running.order("ban eve"), ["ok"])
        running.stop()
        are_private(running)


def are_private(running):
    """Raises CheckFailed if other users can read a file of this server."""
    if stat.S_IMODE(running.directory.stat().st_mode) & 0o077:  # else nobody gets at what is within
        open_to_others = [
            msg(
                "{path}: mode {mode}",
                path=path.relative_to(running.directory),
                mode=f"{stat.S_IMODE(path.stat().st_mode):04o}",
            )
            for path in sorted(running.directory.rglob("*"))
            if path.stat().st_mode & 0o077
        ]
        same(open_to_others, [])


@check(points=2, lab=1, rules="6-25 12-11 12-15 13-5")
def check_a_second_server_is_refused(server, enter, refused_start):
    """A second server in the same directory ends with status 1 and says why. The first one
    continues unaffected."""
    running = server(*OPEN)
    ana = enter(running, "ana")
    status, out, err = refused_start(*OPEN, directory=running.directory)
    if status != 1 or LISTENING.search(out) or not err.strip():
        raise CheckFailed(
            msg("status 1, a line on stderr that says why, and no `listening on ...`"),
            told_end(status, out, err),
        )
    same(normalized(answers(ana, "SAY unharmed")), ["MSG n TIME ana unharmed"])
    killed(running)  # and kill -9 leaves no lock behind
    connect_again = enter(running, "ana")
    same(normalized(history(connect_again)[0])[-2:], ["MSG n TIME ana unharmed", "IN n TIME ana"])


def told_end(status, out, err):
    return joined(
        msg("status {status}", status=status),
        [
            *(f"stdout: {line}" for line in out.splitlines()),
            *(f"stderr: {line}" for line in err.splitlines()[-20:]),
        ],
    )


@check(points=1, lab=1, rules="12-11")
def check_a_port_in_use(server, connect, refused_start, tmp_path):
    """A server whose port is in use ends with status 1 and says why on stderr."""
    running = server()
    status, out, err = refused_start(directory=tmp_path / "other", port=running.port)
    if status != 1 or LISTENING.search(out) or not err.strip():
        raise CheckFailed(
            msg("status 1, a line on stderr that says why, and no `listening on ...`"),
            told_end(status, out, err),
        )
    connect(running, "ana").fence()


@check(points=2, lab=1, rules="12-3 12-15")
def check_the_same_port_again(server, enter):
    """A new server can use the port at once, even while old connections are in TIME_WAIT."""
    running = server(*OPEN)
    ana, _ = enter(running, "ana"), enter(running, "ben")
    restart(
        running, "the-same-port-again", port=running.port
    )  # the server closes first: its side of the connections lingers
    same(ana.rest()[-1:], ["BYE closed"])
    enter(running, "ana").fence()


@check(points=1, lab=1, rules="12-3 12-6 12-12")
def check_wrong_arguments_end_with_2(refused_start, tmp_path):
    """An invalid command line ends the server with status 2 and a message on stderr."""
    groups = [
        (f"--group {group!r}", ["--group", group], 0)
        for group in ("os lab ", "", "g" * 65, "os\nlab")
    ]
    others = [
        ("--no-such-flag", ["--no-such-flag"], 0),
        ("--admit some", ["--admit", "some"], 0),
        ("--port x", [], "x"),
        ("--port 65536", [], 65536),
    ]
    for wrong, args, port in others + groups:
        status, out, err = refused_start(*args, directory=tmp_path / "group", port=port)
        if status != 2 or not err.strip():
            raise CheckFailed(
                msg(
                    "status 2, and a line on stderr that says why, for {wrong} on the command line",
                    wrong=wrong,
                ),
                told_end(status, out, err),
            )


@check(points=1, lab=2, rules="12-7")
def check_flags_in_any_order(judge, server, connect):
    """Flags may come in any order, and `--flag=value` means the same as `--flag value`."""
    command = [*judge.settings["command"], "--admit=all", "--group=os lab"]
    try:
        running = server(command=command)  # --host, --port and --dir come after them
    except NotStarted as problem:
        problem.sentence = "flags-in-any-order"
        raise
    ana = connect(running, "ana")
    same(ana.greeted(), "os lab")
    ana.join("ana", "secret-of-ana")


@check(points=1, lab=2, rules="11-28 12-1 12-8")
def check_an_ipv6_address(server, ask):
    """With `--host ::1` the server writes addresses as `[::1]:PORT`: its own in the first line, and
    a client's in a request to join."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        raise NotRun(msg("this machine has no IPv6 address ::1"), binds=False) from None
    try:
        running = server(host="::1")
    except NotStarted as problem:
        problem.sentence = "an-ipv6-address"
        raise
    same(running.stdout[0], f"listening on [::1]:{running.port}")
    port = ask(running, "ana").socket.getsockname()[1]
    same(
        [line for line in running.stdout if "asks" in line], [f"ana asks to join from [::1]:{port}"]
    )
    same(running.order("members"), [f"member ana asks from [::1]:{port}", "ok"])


CLONE_NEWUSER, CLONE_NEWNET, PR_SET_DUMPABLE = 0x10000000, 0x40000000, 4


def without_network():
    """Put this process into a network of its own that leads nowhere. Raises OSError."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if not libc.unshare(CLONE_NEWNET):
        return
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    libc.prctl(PR_SET_DUMPABLE, 1)  # of one that is hidden, these files are root's
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


@check(points=1, lab=2, rules="12-1 12-2")
def check_an_address_of_the_network(server, tmp_path):
    """At an address that other machines can reach, the server warns on stderr that passwords travel
    in clear."""
    try:
        subprocess.run([sys.executable, "-c", ""], preexec_fn=without_network, check=True)
    except (OSError, subprocess.SubprocessError):
        raise NotRun(
            msg("this machine permits no network of its own to a process"), binds=False
        ) from None
    near = server(directory=tmp_path / "near")
    # Nobody can reach this one: it is in a network of its own.
    far = server(host="0.0.0.0", directory=tmp_path / "far", preexec=without_network)
    same(far.stdout[0], f"listening on 0.0.0.0:{far.port}")
    wait_until(
        lambda: set(far.stderr) - set(near.stderr),
        what=msg("a warning on stderr, since other machines may reach 0.0.0.0"),
    )


# The flags that set a limit (section 10), and values that none of them may take.
SECONDS = "--join-within", "--ping-after", "--idle-after", "--slow-after", "--reject-after"
COUNTS = "--hashes", "--max-here", "--max-strangers", "--outbox", "--sndbuf"
NO_LIMITS = (
    (SECONDS, "nan"),
    (SECONDS, "inf"),
    (SECONDS, "-1"),
    (COUNTS, "0"),
    (COUNTS, "65536.5"),
    (COUNTS, "-1"),
)


@check(points=1, lab=1, rules="10-27 12-12")
def check_values_of_limits(refused_start, tmp_path, rng):
    """A limit flag refuses a value that is not a number of its kind: negative, NaN, infinite, a
    count of 0 or a fraction."""
    for flags, value in NO_LIMITS:
        wrong = f"{rng.choice(flags)}={value}"
        status, out, err = refused_start(wrong, directory=tmp_path / "group")
        if status != 2 or LISTENING.search(out) or not err.strip():
            raise CheckFailed(
                msg(
                    "status 2, and a line on stderr that says why, for {wrong} on the command line",
                    wrong=wrong,
                ),
                told_end(status, out, err),
            )
