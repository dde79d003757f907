"""The prediction and the exercise of notebook 04b."""

import contextlib
import os
import select
import time

import psutil

from harness.driving import processes
from harness.driving.messages import msg
from harness.teaching.notebook import Question, Wrong, code_of, exercise, meanwhile, serve

DESCRIPTORS = Question(usual=10, most=10_000)  # of the exhibit's newest child

SECONDS = 4  # for what takes milliseconds
LONG = b"600\n"  # a job of so many seconds


def descriptors_of_the_newest_child(which):
    """Let eight members join, and count the descriptors of the process that was forked last."""
    with serve(which) as server:
        server.enter(*"abcdefgh")
        children = sorted(server.family()[1:], key=lambda process: process.create_time())
        return children[-1].num_fds()


def zombies_as_members_leave(which):
    """Return the zombies of a server with six members, and after five of them have left."""
    with serve(which) as server:
        ana, *others = server.enter("ana", "ben", "carla", "dario", "eva", "fritz")
        before = lasting_zombies(server)
        for other in others:
            other.send("QUIT")
            other.rest()
            other.close()  # until then its process waits for the end of the connection
            ana.expect("OUT .*")
        ana.fence()
        return before, lasting_zombies(server)


def lasting_zombies(server):
    """Wait until the number of zombies has been the same for half a second, and return it: a
    process that is just ending does not count.
    """
    since, count = time.monotonic(), -1
    while time.monotonic() < since + 0.5:
        now = len(processes.zombies(server.family()))
        if now != count:
            since, count = time.monotonic(), now
        time.sleep(0.02)
    return count


@exercise
def check_jobs(path):
    """The program in this file forks for each job, and reaps each child that has ended."""
    code = code_of(path)
    with meanwhile(code) as program:
        for _ in range(6):
            start(program, LONG)
        jobs = forked(program)
        for job in jobs[1:]:  # five end at once; the first one still works
            with contextlib.suppress(psutil.NoSuchProcess):
                job.kill()
        while any(map(works, jobs[1:])):
            time.sleep(0.01)
        start(program, b"0\n")
        left = reaped(jobs[1:])
        if left:
            raise Wrong(
                msg(
                    "Five jobs have ended, and a new one has come. But {count} of the five are "
                    "zombies.",
                    count=left,
                )
            )
        start(program, LONG)
        if not works(jobs[0]):
            raise Wrong(msg("The job that still worked was ended."))


def start(program, job):
    """Give the program a job. It must say "started" at once. Raise Wrong."""
    said = b""
    try:
        program.stdin.write(job)
        program.stdin.flush()
        while not said.endswith(b"\n"):
            if not select.select([program.stdout], [], [], SECONDS)[0]:
                raise Wrong(msg("The program does not start a new job while another one works."))
            more = os.read(program.stdout.fileno(), 100)
            if not more:
                raise BrokenPipeError
            said += more
    except BrokenPipeError:
        raise Wrong(msg("The program ended. {line}", line=program.last_line())) from None
    if said != b"started\n":
        raise Wrong(
            msg("The program must print `started`, and not {said}.", said=repr(said.decode()))
        )


def forked(program):
    """Return the program's six children. Raise Wrong."""
    end = time.monotonic() + SECONDS
    while len(jobs := psutil.Process(program.pid).children()) != 6:
        if time.monotonic() > end:
            raise Wrong(
                msg("Six jobs have started, but the program has {count} children.", count=len(jobs))
            )
        time.sleep(0.01)
    return jobs


def works(job):
    """Return whether a process has not ended."""
    try:
        return job.is_running() and not processes.is_zombie(job)
    except psutil.NoSuchProcess:
        return False


def reaped(jobs):
    """Wait until these killed processes are gone. Return how many are still zombies."""
    end = time.monotonic() + SECONDS
    while (left := sum(job.is_running() for job in jobs)) and time.monotonic() < end:
        time.sleep(0.01)
    return left
