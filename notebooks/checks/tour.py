"""The prediction and the exercise of notebook 00."""

import contextlib

from harness.driving.messages import msg
from harness.driving.record import CheckFailed
from harness.teaching.notebook import Question, Wrong, exercise, serve

PROCESSES = Question(usual=10, most=1000)  # of `fork`, with ten members


@exercise
def check_first_member(play):
    """`play(server)` lets Carla join and say something. `server` has one member: Ana."""
    with serve("fork") as server:
        ana = server.enter("ana")
        play(server)
        others = [client for client in server.clients if client is not ana]
        for client in others:
            # Its lines are handled when its fence returns. It may have left already.
            with contextlib.suppress(CheckFailed, OSError):
                client.fence()
        ana.fence()
        said = [line.split(" ")[3] for line in ana.lines if line.startswith("MSG ")]
        if "carla" in said:
            return
        if not others:
            raise Wrong(msg("Nobody but Ana has joined: call `server.enter(...)`."))
        errors = [line for client in others for line in client.lines if line.startswith("ERR ")]
        if errors:
            raise Wrong(
                msg("The server answered with `{line}`, and Ana heard nothing.", line=errors[0])
            )
        if said:
            raise Wrong(msg("Ana heard {name}, but the exercise is about carla.", name=said[0]))
        raise Wrong(msg("Carla has said nothing that Ana received."))
