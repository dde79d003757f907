"""The workloads: who does what, and when. Each is a function of a stage (harness/tracing/runs.py), and runs alike on any server that speaks grupo/1."""

from harness.driving.crowd import Script

MEMBERS = ("ana", "ben", "carla", "dario", "eva")
PACE = 0.006  # seconds between two messages where one talks after the other


def calm(stage):
    """One talks after the other, nobody is in a hurry."""
    stage.keep_time(stage.talk(20))


def everyone_at_once(stage):
    """All of them say 20 messages, at one stroke."""
    stage.crowd.play(
        {
            name: Script([f"SAY {name} {number}" for number in range(1, 21)], turn=20)
            for name in stage.members
        }
    )


def one_expensive_request(stage):
    """In the middle of a calm talk, zoe joins: to hash her new password takes a processor some 30 ms."""

    def join():
        stage.connect(["zoe"], "joins: a password is hashed")
        stage.crowd["zoe"].prepare(Script(["JOIN zoe secret-of-zoe"]))
        stage.crowd["zoe"].send()

    stage.keep_time(stage.talk(24, also=[(0.03, join)]))
    stage.crowd.until(lambda: stage.crowd["zoe"].is_done)


def a_member_who_stops_reading(stage):
    """Eva reads no more, and the others talk on, with long lines."""
    eva, others = stage.crowd["eva"], [name for name in stage.members if name != "eva"]
    stage.groups["eva"] = "reads no more"
    stage.watch("eva")
    stage.crowd.unwatch(eva)
    stage.keep_time(
        [
            (
                number * 0.003,
                lambda number=number: stage.says(
                    others[number % len(others)], f"message {number} " + "x" * 380
                ),
            )
            for number in range(300)
        ]
    )
    stage.crowd.play({name: Script([]) for name in others})
    stage.crowd.play({"eva": Script([])})  # at the end she reads what there is: all, or her own end


def password_storm(stage):
    """Six strangers guess passwords without pause, and the members talk calmly."""
    strangers = [f"stranger-{number}" for number in range(1, 7)]
    stage.connect(strangers, "guesses passwords")

    def guess():
        for name in strangers:
            stage.crowd[name].prepare(
                Script([f"JOIN ana wrong-{number}" for number in range(2)], turn=2, then="shuts")
            )
            stage.crowd[name].send()

    stage.keep_time(stage.talk(50, pace=0.01, also=[(0.03, guess)]))
    stage.crowd.until(lambda: all(stage.crowd[name].is_done for name in strangers))


def half_a_line(stage):
    """Ben sends half a line, and the rest of it much later."""
    stage.groups["ben"] = "sends half a line"
    others = [name for name in stage.members if name != "ben"]
    stage.keep_time(
        stage.talk(
            24,
            members=others,
            also=[
                (0.02, lambda: stage.sends("ben", b"SAY half a li")),
                (0.12, lambda: stage.sends("ben", b"ne\n")),
            ],
        )
    )


def mass_arrival_and_departure(stage):
    """While the members talk, 16 newcomers arrive at one stroke, and go as soon as they are in."""
    crowd = [f"guest-{number}" for number in range(1, 17)]

    def arrive():
        stage.connect(crowd, "comes and goes")
        for name in crowd:
            stage.crowd[name].prepare(Script([f"JOIN {name} secret-of-{name}"], then="quits"))
            stage.crowd[name].send()

    stage.keep_time(stage.talk(60, pace=0.01, also=[(0.03, arrive)]))
    stage.crowd.until(lambda: all(stage.crowd[name].is_done for name in crowd))


WORKLOADS = {
    "calm": calm,
    "everyone-at-once": everyone_at_once,
    "one-expensive-request": one_expensive_request,
    "a-member-who-stops-reading": a_member_who_stops_reading,
    "password-storm": password_storm,
    "half-a-line": half_a_line,
    "mass-arrival-and-departure": mass_arrival_and_departure,
}
NAMES = list(WORKLOADS)
# What a workload asks of the server beside the usual; a server that knows no such flag does without.
FLAGS = {
    "a-member-who-stops-reading": ("--outbox", "32768", "--sndbuf", "8192", "--slow-after", "0.5"),
    "password-storm": ("--reject-after", "0.05"),
}
ENTERS = {"a-member-who-stops-reading": {"eva": {"rcvbuf": 4096, "mss": 536}}}
MAY_BE_PUT_OUT = {"a-member-who-stops-reading": {"eva"}}  # of whom nothing is promised
