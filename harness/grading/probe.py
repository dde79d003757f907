"""Finds the best tier of this machine that stops attacks: by attacks, not by versions.

For each tier the probe starts a judge, as for a submission, and that starts attack.py in a cell.
The tier is used only if no try succeeds, the judge sees the program's processes and descriptors,
can talk to it, and can end all of it. Whatever else happens, the tier is not used, and a reason
says what to install or to switch on.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.driving import cells
from harness.driving.messages import Message, joined, listed, msg, packed, unpacked
from harness.driving.processes import sockets
from harness.driving.server import ROOT
from harness.grading import cell, judge, landlock, supervisor, uid
from harness.verdicts import pool
from harness.verdicts.model import UsageError

TIERS = "A", "B"  # the best first
OF_SANDBOX = {"auto": TIERS, "bubblewrap": ("A",), "uid": ("B",), "none": ()}
NONE = "none"  # practice: no grade
TOTAL = 60.0  # seconds for a trial, on the busiest machine
ATTACK = Path(__file__).with_name("attack.py")

NAMES = {
    "read_the_harness": msg("reading the harness"),
    "read_another_s_file": msg("reading another submission"),
    "read_the_passwords": msg("reading the machine's passwords"),
    "read_an_environment": msg("reading the environment of the judge"),
    "write_a_result": msg("writing a result"),
    "kill_a_process": msg("killing a process of another user"),
    "connect_to_the_machine": msg("connecting to a service of the machine"),
    "send_a_datagram": msg("sending a datagram"),
    "connect_to_an_abstract_socket": msg("connecting to an abstract socket"),
    "make_a_namespace": msg("making a namespace"),
}


@dataclass
class Found:
    """The tier to use, and for each better one why it cannot be used here."""

    tier: str
    reasons: dict[str, Message] = field(default_factory=dict)

    def text(self) -> Message:
        """Return the reasons in words, a line for each tier."""
        lines = [
            msg("tier {tier}: {why}", tier=tier, why=why) for tier, why in self.reasons.items()
        ]
        return joined(msg("the sandboxes that cannot be used on this machine:"), lines)


def choose(sandbox: str = "auto", required: str | None = None) -> Found:
    """Return the best tier that works here, of those that `sandbox` names (see OF_SANDBOX).

    With "auto" that may be NONE. Raises UsageError if the sandbox that was named does not work, or
    if the tier is worse than `required`.
    """
    found = Found(NONE)
    for tier in OF_SANDBOX[sandbox]:
        if why := why_not(tier):
            found.reasons[tier] = why
        else:
            found.tier = tier
            break
    is_enough = required is None or (*TIERS, NONE).index(found.tier) <= TIERS.index(required)
    if not is_enough or (found.tier == NONE and sandbox not in ("auto", NONE)):
        raise UsageError(
            found.text()
            if found.reasons
            else msg("--sandbox none is below tier {tier}", tier=required)
        )
    return found


def why_not(tier: str) -> Message | None:
    """Return why this tier cannot be used here; None if it can."""
    try:
        if why := lacking(tier):
            return why
        with Bait() as bait:
            return bait.why_not(tier)
    except (cells.CellError, OSError) as problem:
        why = problem.args[0] if isinstance(problem, cells.CellError) else str(problem)
        return joined(why, hints(tier))


def lacking(tier: str) -> Message | None:
    """Return what this machine lacks, if that can be said without a trial."""
    python = Path(os.path.realpath(sys.executable))
    if tier == "B" and os.getuid() == 0 and not uid.is_open(python):
        return msg("only root can run {python}: use a Python that all users can run", python=python)
    return None


def hints(tier: str) -> list[Message]:
    """Return what may have to be switched on for this tier."""
    if tier == "B":
        return [] if landlock.abi() else [msg("this kernel has no Landlock, or it is switched off")]
    switches = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
            "1",
            msg(
                "AppArmor denies namespaces to programs; to allow them, run as root: "
                "sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            ),
        ),
        "/proc/sys/kernel/unprivileged_userns_clone": (
            "0",
            msg(
                "namespaces are switched off for users; to allow them, run as root: "
                "sysctl kernel.unprivileged_userns_clone=1"
            ),
        ),
        "/proc/sys/user/max_user_namespaces": (
            "0",
            msg(
                "user namespaces are switched off; to allow them, run as root: "
                "sysctl user.max_user_namespaces=10000"
            ),
        ),
    }
    found = [hint for path, (value, hint) in switches.items() if content(path) == value]
    if any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))):
        found.append(
            msg(
                "this container may not make namespaces; docker run allows them with "
                "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"
            )
        )
    return found


def content(path: str) -> str:
    """Return what a file of the kernel's says; '' if there is none."""
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


class Bait:
    """What a program in a cell must not reach: files, a process, sockets. Use it with `with`."""

    def __init__(self) -> None:
        self.secret = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="grupo-probe-"))
        self.folder.chmod(0o777)
        (self.folder / "file").write_text("another's")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind("\0" + self.secret)
        self.abstract.listen()
        self.process = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def __enter__(self) -> "Bait":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for sock in self.tcp, self.udp, self.abstract:
            sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def why_not(self, tier: str) -> Message | None:
        """Try this tier; return why it cannot be used, or None. Raises CellError, OSError."""
        argv = [sys.executable, "-P", "-m", "harness.grading.probe"]
        env = {**judge.environment(), "GRUPO_PROBE": self.secret}
        with judge.CELLS[tier](argv, env) as start:
            trial = supervisor.supervise(start, json.dumps(self.facts()).encode(), total=TOTAL)
        try:
            told = unpacked(json.loads(trial.result))
        except ValueError:
            last = trial.log.text().splitlines()[-3:]
            return joined(msg("a trial of it failed"), [*last, *hints(tier)])
        if got := sorted({*told["got"], *self.reached()}):
            attacks = listed([NAMES[one] for one in got], ", ")
            return msg("it does not stop {attacks}", attacks=attacks)
        return joined(msg("a trial of it failed"), [told["why"]]) if told["why"] else None

    def facts(self) -> dict[str, Any]:
        """Return where all this is."""
        return {
            "harness": str(ROOT / "harness" / "__main__.py"),
            "file": str(self.folder / "file"),
            "folder": str(self.folder),
            "secret": self.secret,
            "process": self.process.pid,
            "port": self.tcp.getsockname()[1],
            "datagrams": self.udp.getsockname()[1],
        }

    def reached(self) -> list[str]:
        """Return what was reached, seen from outside."""
        found = []
        if self.process.poll() is not None:
            found.append("kill_a_process")
        if (self.folder / "result").exists():
            found.append("write_a_result")
        sockets = {
            self.tcp: "connect_to_the_machine",
            self.udp: "send_a_datagram",
            self.abstract: "connect_to_an_abstract_socket",
        }
        return found + [sockets[sock] for sock in select.select([*sockets], [], [], 0)[0]]


# -- In the judge of a trial -----------------------------------------------------------------------


@contextlib.contextmanager
def attacking(one: cells.Cell, facts: dict[str, Any]) -> Iterator[cells.Process]:
    """Run the attack in this cell."""
    copy = Path(tempfile.mkdtemp())
    shutil.copy(ATTACK, copy)
    launch = one.started(
        [sys.executable, ATTACK.name, json.dumps(facts)],
        cwd=copy,
        env={"PATH": cell.PATH},
        writable=[copy],
    )
    process = cells.Process(launch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.program.end()
        process.wait()


def tried(one: cells.Cell, facts: dict[str, Any]) -> dict[str, Any]:
    """Run the attack; return what it got, and why the cell is of no use, '' if it is."""
    with attacking(one, facts) as process:
        told = json.loads(process.stdout.readline())
        place = ("127.0.0.1", told["port"])
        holders = sockets(process.program.processes(), psutil.CONN_LISTEN)
        if sum(holders.values()) < 2:
            return {**told, "why": msg("the judge does not see what a program has open")}
        with socket.create_connection(place, 10) as client:
            client.settimeout(10)
            client.sendall(b"hello")
            if client.recv(100) != b"hello":
                return {**told, "why": msg("the judge cannot talk to a program")}
    # The child that left its session had the socket, too.
    with socket.socket() as client:
        is_left = client.connect_ex(place) == 0
    return {**told, "why": msg("processes of a program are left") if is_left else ""}


def main() -> None:
    """The judge of a trial; its arguments are those of judge.main()."""
    *slot, last = sys.argv[1:]
    os.set_inheritable(int(last), False)
    pool.adopt()
    facts = json.load(sys.stdin)
    one = uid.UidCell(slot[0], int(slot[1])) if slot else cell.Bubblewrap()
    with open(int(last), "w") as result:
        json.dump(packed(tried(one, facts)), result)


if __name__ == "__main__":
    main()
