"""How fast the server under check is on this machine: measured once, before the checks, so that no check assumes it."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Seconds that each step took on an otherwise idle server: to start, to JOIN (to WELCOME), to say (SAY to one's own MSG)."""
    start: float = 0.1
    join: float = 0.05
    say: float = 0.001

    def after(self, seconds: float) -> float:
        """A value for a limit flag (`--ping-after`, `--join-within`, ...) that leaves room for a few JOINs beside `seconds`."""
        return round(seconds + 3 * self.join, 1)
