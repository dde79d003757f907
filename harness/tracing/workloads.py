"""The workloads: what each client does, and when.

A workload is a function of a Stage (harness/tracing/runs.py). It runs alike on any server that
speaks grupo/1. ABOUT says the same for readers, in their language.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.driving.crowd import Script
from harness.driving.messages import template

if TYPE_CHECKING:
    from harness.tracing.runs import Stage

MEMBERS = ("ana", "ben", "carla", "dario", "eva")
PACE = 0.006  # seconds between two messages where members talk one after the other


def calm(stage: "Stage"):
    """The members talk one after the other, without hurry."""
    stage.keep_time(stage.talk(20))


def everyone_at_once(stage: "Stage"):
    """All members send 20 messages each, at the same moment."""
    scripts = {
        name: Script([f"SAY {name} {number}" for number in range(1, 21)], turn=20)
        for name in stage.members
    }
    stage.crowd.play(scripts)


def one_expensive_request(stage: "Stage"):
    """In the middle of a calm talk, zoe joins: to hash a new password takes about 30 ms."""

    def join():
        stage.connect(["zoe"], "joins: a password is hashed")
        stage.crowd["zoe"].prepare(Script(["JOIN zoe secret-of-zoe"]))
        stage.crowd["zoe"].send()

    stage.keep_time(stage.talk(24, also=[(0.03, join)]))
    stage.crowd.until(lambda: stage.crowd["zoe"].is_done)


def a_member_who_stops_reading(stage: "Stage"):
    """Eva stops reading, and the others go on talking, with long lines."""
    eva, others = stage.crowd["eva"], [name for name in stage.members if name != "eva"]
    stage.groups["eva"] = "stops reading"
    stage.watch("eva")
    stage.crowd.unwatch(eva)

    def talk(number: int):
        stage.says(others[number % len(others)], f"message {number} " + "x" * 380)

    stage.keep_time([(number * 0.003, lambda number=number: talk(number)) for number in range(300)])
    stage.crowd.play({name: Script([]) for name in others})
    # At the end eva reads what there is: all messages, or the end of the connection.
    stage.crowd.play({"eva": Script([])})


def password_storm(stage: "Stage"):
    """Six strangers guess passwords without pause, while the members talk calmly."""
    strangers = [f"stranger-{number}" for number in range(1, 7)]
    stage.connect(strangers, "guesses passwords")

    def guess():
        for name in strangers:
            lines = [f"JOIN ana wrong-{number}" for number in range(2)]
            stage.crowd[name].prepare(Script(lines, turn=2, then="shuts"))
            stage.crowd[name].send()

    stage.keep_time(stage.talk(50, pace=0.01, also=[(0.03, guess)]))
    stage.crowd.until(lambda: all(stage.crowd[name].is_done for name in strangers))


def half_a_line(stage: "Stage"):
    """Ben sends half a line, and the rest of it much later."""
    stage.groups["ben"] = "sends half a line"
    others = [name for name in stage.members if name != "ben"]
    halves = [
        (0.02, lambda: stage.sends("ben", b"SAY half a li")),
        (0.12, lambda: stage.sends("ben", b"ne\n")),
    ]
    stage.keep_time(stage.talk(24, members=others, also=halves))


def mass_arrival_and_departure(stage: "Stage"):
    """While the members talk, 16 newcomers arrive at once, and leave as soon as they are in."""
    crowd = [f"guest-{number}" for number in range(1, 17)]

    def arrive():
        stage.connect(crowd, "comes and goes")
        for name in crowd:
            stage.crowd[name].prepare(Script([f"JOIN {name} secret-of-{name}"], then="quits"))
            stage.crowd[name].send()

    stage.keep_time(stage.talk(60, pace=0.01, also=[(0.03, arrive)]))
    stage.crowd.until(lambda: all(stage.crowd[name].is_done for name in crowd))


WORKLOADS: dict[str, Callable[["Stage"], None]] = {
    "calm": calm,
    "everyone-at-once": everyone_at_once,
    "one-expensive-request": one_expensive_request,
    "a-member-who-stops-reading": a_member_who_stops_reading,
    "password-storm": password_storm,
    "half-a-line": half_a_line,
    "mass-arrival-and-departure": mass_arrival_and_departure,
}
NAMES = list(WORKLOADS)
# What the clients do, for readers.
ABOUT = {
    "calm": template("The members talk one after the other, without hurry."),
    "everyone-at-once": template("All members send 20 messages each, at the same moment."),
    "one-expensive-request": template(
        "In the middle of a calm talk, zoe joins: the server hashes a new password, which takes a "
        "processor about 30 ms."
    ),
    "a-member-who-stops-reading": template(
        "Eva stops reading, and the others go on talking, with long lines."
    ),
    "password-storm": template(
        "Six strangers guess passwords without pause, while the members talk calmly."
    ),
    "half-a-line": template("Ben sends half a line, and the rest of it much later."),
    "mass-arrival-and-departure": template(
        "While the members talk, 16 newcomers arrive at once, and leave as soon as they are in."
    ),
}
# Flags that a workload needs. A server of another command line runs without them.
FLAGS = {
    "a-member-who-stops-reading": ("--outbox", "32768", "--sndbuf", "8192", "--slow-after", "0.5"),
    "password-storm": ("--reject-after", "0.05"),
}
# Members that connect with other options than the rest: {workload: {name: options}}.
ENTERS = {"a-member-who-stops-reading": {"eva": {"rcvbuf": 4096, "mss": 536}}}
# Members that the server may disconnect: what they receive after that is not judged.
MAY_BE_DISCONNECTED = {"a-member-who-stops-reading": {"eva"}}
