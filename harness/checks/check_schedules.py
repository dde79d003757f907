"""Every order of steps: the threads or processes of a server go on one at a time, in each order
that a bound allows, and what clients receive must be right in all of them.
"""

import os
import time

from harness.driving.messages import Message, listed, msg
from harness.driving.processes import dies_with_us
from harness.driving.record import CheckFailed
from harness.driving.server import NotStarted
from harness.explore.exploration import CONFIRMATIONS, Alone, Exploration, Explored
from harness.explore.program import program
from harness.explore.report import rows, schedule_text
from harness.explore.runs import NotExplored
from harness.explore.workloads import TABLE
from harness.model import notation
from harness.verdicts.plugin import Inconclusive, NotRun, check

SECONDS = 14.0  # in which new schedules begin
# On a busy machine it takes longer to try so many of each workload. What then has been tried less
# often is no reason to pass.
FEW, MOST_SECONDS = 8, 60.0
# Each schedule of these takes long: a new server, or passwords that are hashed.
LONG = "close", "ban-while-joining", "join-and-name", "leave-and-takeover"
SLICE = 1.0  # seconds for one workload, then it is the next one's turn
CLIENTS, PREEMPTIONS = 2, 2


@check(points=3, lab=3, design="pthread", rules="9.2-1 9.5-9 14-2")
def check_every_order_of_threads(judge, start, tmp_path):
    """In whatever order the threads take their steps, clients receive only what the protocol
    allows, and no two wait for each other."""
    explore(judge, start, tmp_path, "threads")


@check(points=3, lab=4, design="fork", rules="9.2-1 9.5-9 14-2")
def check_every_order_of_processes(judge, start, tmp_path):
    """In whatever order the processes take their steps, clients receive only what the protocol
    allows."""
    explore(judge, start, tmp_path, "processes")


def explore(judge, start, tmp_path, kind):
    """Explore each workload in turn; note what was tried."""
    target = program(judge.settings["command"], judge.settings["cwd"] or os.getcwd())
    if isinstance(target, Message):
        raise NotRun(msg("cannot be explored: {why}", why=target), binds=False)

    def begin(gates, folder, flags, record):
        try:
            return start(
                *flags,
                *target.flags(gates),
                directory=folder,
                record=record,
                env=target.environment(gates),
                preexec=dies_with_us(),
                traced=False,
                writable=[gates],
            )
        except NotRun as why:  # it does not take a limit
            problem = NotStarted(str(why), "")
            problem.status = 2
            raise problem from None

    begun, asked = time.monotonic(), judge.settings["asked"]
    wanted = asked.workloads if asked else []
    todo = [
        Exploration(Explored.nothing(one, CLIENTS, PREEMPTIONS))
        for one in TABLE
        if (one.name in wanted if wanted else one.name not in LONG)
    ]
    everything = [one.explored for one in todo]
    with Alone(begin, tmp_path, has_owner=not (asked and asked.requests)) as alone:
        while todo and time.monotonic() < begun + MOST_SECONDS:
            one = todo.pop(0)
            if time.monotonic() > begun + SECONDS and one.explored.tree.tried >= FEW:
                continue
            try:
                explored = one.explore(alone, time.monotonic() + SLICE)
            except NotExplored as why:
                raise NotRun(
                    msg("cannot be explored: {why}", why=why.args[0]), binds=False
                ) from None
            if explored.violation and explored.replays == CONFIRMATIONS:
                judge.record.entries[:] = explored.violation.entries
                raise failed(explored, kind, target.source)
            if not explored.complete and not explored.violation:
                todo.append(one)
    tried = sum(one.tree.tried for one in everything)
    lost = sum(one.unclear + one.diverged + bool(one.violation) for one in everything)
    whole = [one.workload.name for one in everything if one.complete]
    if least := [one.explored.workload.name for one in todo if one.explored.tree.tried < FEW]:
        raise Inconclusive(
            msg(
                "{count} schedules could be tried within {seconds:.0f} s: fewer than {few} for "
                "{workloads}",
                count=tried,
                seconds=time.monotonic() - begun,
                few=FEW,
                workloads=listed(least),
            )
        )
    judge.notes.append(
        msg(
            "{count} schedules of {clients} clients with at most {bound} preemptions; {extent}",
            count=tried,
            clients=CLIENTS,
            bound=PREEMPTIONS,
            extent=msg("all that exist for: {whole}", whole=listed(whole))
            if whole
            else msg("more exist for each workload"),
        )
    )
    if lost:
        judge.notes.append(msg("{count} further ones could not be judged", count=lost))


def failed(explored, kind, source):
    """The failure of a schedule that broke the server."""
    wrong = explored.violation.difference
    return CheckFailed(
        notation.expected(wrong) if wrong else msg("each request to be answered"),
        msg(
            "{actual}\nThis order of steps shows it, each time:\n{schedule}",
            actual=notation.actual(wrong)
            if wrong
            else msg("a deadlock: {circle}", circle=listed(explored.violation.circle, "; ")),
            schedule=schedule_text(explored.run, source),
        ),
        f"every-order-of-{kind}" if wrong else "every-order-deadlock",
        proven=True,
        who=wrong.who if wrong else "",
        order=rows(explored.run.points, source),
    )
