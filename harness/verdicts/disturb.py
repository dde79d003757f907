"""Ways to disturb a server from outside so that a race shows: the program itself is not changed."""
import contextlib
from dataclasses import dataclass, field
from typing import Callable


@dataclass
class Disturbance:
    """`words` tell it, `env` and `preexec` start the server under it, during(server) goes on while it runs."""
    words: str
    env: dict = field(default_factory=dict)
    preexec: Callable = None

    @contextlib.contextmanager
    def during(self, server):
        yield


def disturbances(rng, count, command):
    """So many of them, chosen by `rng`; the first is none."""
    return [Disturbance("undisturbed")] * count
