"""A class of sixty made-up students: solutions, exhibits, starting folders, crashes, hangs, hostile
programs, empty and odd archives, names with accents and quotes. Lab 0, in Python and in C.

`python tests/sixty.py grade ARGUMENTS` is `python -m harness grade ARGUMENTS` with CHECKS alone, so
that a submission takes seconds. `python tests/sixty.py cluster` is a Dask cluster of two workers
here, until its stdin ends; it prints the scheduler's address. `python tests/sixty.py time LAB COUNT
JOBS...` measures how long `grade` takes for so many right solutions, for each number of --jobs.
"""

import io
import json
import os
import select
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from harness.teaching import starter  # noqa: E402

CHECKS = {  # by lab
    0: ["starts", "lines-in-one-segment", "a-carriage-return-is-dropped"],
    3: ["starts", "one-order", "every-order-of-threads"],
}
WIRE, NONBLOCKING = "implementations/common/wire.py", "implementations/nonblocking.py"
EXHIBITS = ("rest-of-the-buffer-dropped",)


def ours(place: str) -> str:
    """The text of one of our files."""
    return (starter.ROOT / place).read_text(encoding="utf-8")


def exhibit(name: str) -> str:
    """wire.py with a bug."""
    found = tomllib.loads((starter.ROOT / f"lab_guide/exhibits/{name}.toml").read_text())
    assert found["file"] == WIRE
    return ours(WIRE).replace(found["old"], found["new"])


def first(line: str) -> dict[str, str]:
    """A solution that does this before all else."""
    return {WIRE: ours(WIRE), NONBLOCKING: f"{line}\n"}


def works() -> dict[str, dict[str, str]]:
    """What students write: {kind: {file: text}}."""
    in_c = ours("tests/strangers/epoll.c")
    found = {
        "solution": {WIRE: ours(WIRE)},
        "solution in C": {"server.c": in_c},
        "starter": starter.contents(starter.read(0)),
        **{name: {WIRE: exhibit(name)} for name in EXHIBITS},
        "syntax error": {WIRE: "def feed(:\n"},
        "compile error": {"server.c": in_c.replace("int main(", "int main[", 1)},
        "crash in C": {"server.c": "int main(void) { *(volatile int *)0 = 1; }\n"},
        "hang": first("import time; time.sleep(1e6)"),
        "kills its parent": first("import os, signal; os.kill(os.getppid(), signal.SIGKILL)"),
    }
    found["leaves a daemon"] = {
        NONBLOCKING: "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time;"
        " time.sleep(1000)'], start_new_session=True)\n" + ours(NONBLOCKING),
        WIRE: ours(WIRE),
    }
    return found


def zipped(files: dict[str, str]) -> bytes:
    """A zip archive of these."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def tarred(files: dict[str, str], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar.gz archive of these."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = len(text.encode()) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(text.encode()) if info.size else None)
    return data.getvalue()


def odd() -> dict[str, bytes]:
    """Archives that hold nothing to judge: {its name: bytes}."""
    return {
        "empty.zip": zipped({}),
        "cut.zip": zipped({WIRE: "x"})[:-7],
        "dotted.zip": zipped({f"../{WIRE}": "x"}),
        "bomb.zip": zipped({"zeros": "\0" * (70 << 20)}),
        "absolute.tar.gz": tarred({f"/{WIRE}": "x"}),
        "link.tar.gz": tarred({WIRE: ""}, tarfile.SYMTYPE),
        "fifo.tar.gz": tarred({WIRE: ""}, tarfile.FIFOTYPE),
        "words.tar": b"I could not do it",
        "wrong.rar": b"Rar!",
        "nothing of the lab.zip": zipped({"report.txt": "it works"}),
    }


NAMES = [
    *(
        "josé",
        "o'neil",
        "åsa",
        "zoë",
        "müller-lüdenscheidt",
        "“quoted”",
        "学生",
        "ана",
        "d'artagnan",
    ),
    *("semi;colon", "com,ma", "dot.dot", "at@x.edu", "plus+", "=1+1", '"double"', "$(id)", "`id`"),
    *("%s", "{0}", "<b>", "&", "#", "~", "-rf"),
]


def make(folder: Path) -> int:
    """Write the submissions into a new folder, and roster.csv beside it; return how many students
    there are. One of them hands in nothing.
    """
    folder.mkdir()
    logins = []
    kinds = list(works().items())
    for number, name in enumerate([*NAMES, *(f"student{number}" for number in range(26))]):
        kind, files = kinds[number % len(kinds)]
        login = name if number < len(NAMES) else f"{name}-{kind.replace(' ', '-')}"
        logins.append(login)
        place = folder / login
        if number % 3 == 0:
            place.with_name(f"{login}.zip").write_bytes(
                zipped({f"lab 0/{a}": b for a, b in files.items()})
            )
        elif number % 3 == 1:
            place.with_name(f"{login}.tar.gz").write_bytes(tarred(files))
        else:
            for path, text in files.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_text(text)
    for name, data in odd().items():
        login, _, suffix = name.partition(".")
        logins.append(f"odd {login}")
        (folder / f"odd {login}.{suffix}").write_bytes(data)
    (folder / "empty").mkdir()
    os.mkfifo(folder / "fifo")
    logins += ["empty", "fifo", "nobody"]
    quoted = ['"{}"'.format(login.replace('"', '""')) for login in logins]
    lines = [f"{login},Student {number}" for number, login in enumerate(quoted)]
    folder.with_name("roster.csv").write_text("\n".join(["login,name", *lines]) + "\n")
    return len(logins)


def grade() -> None:
    """`harness grade` with few checks."""
    from harness import __main__, output
    from harness.grading import command

    made = command.terms_of
    command.terms_of = lambda options: replace(made(options), only=CHECKS[options.lab])
    output.run(__main__.main)


def measure(lab: int, count: int, jobs: list[int]) -> None:
    """Time `grade` over `count` right solutions in Python that differ in a comment."""
    begun = starter.read(lab)
    print(f"lab {lab}, {count} right solutions, {len(os.sched_getaffinity(0))} cores")
    for at_once in jobs:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "submissions")
            for number in range(count):
                for one in begun.empty:
                    path = folder / f"s{number}" / one.file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(f"{ours(one.file)}# {number}\n", encoding="utf-8")
            began, most = time.monotonic(), 0
            command = [sys.executable, "-m", "harness", "grade", folder, "--lab", str(lab)]
            command += ["--out", f"{place}/results", "--jobs", str(at_once)]
            process = subprocess.Popen(command, cwd=starter.ROOT, stdout=subprocess.DEVNULL)
            while process.poll() is None:
                with suppress(OSError, IndexError):
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    most = max(most, int(status.partition("VmRSS:")[2].split()[0]))
                time.sleep(0.2)
            took = time.monotonic() - began
            grades = sorted(Path(place, "results").glob("*/grade.json"))
            ends = Counter(json.loads(path.read_text())["end"] for path in grades)
        print(
            f"--jobs {at_once}: {took:.0f} s, {took / count:.1f} s a submission; the driver's memory "
            f"at most {most >> 10} MB; {dict(ends)}",
            flush=True,
        )


def cluster() -> None:
    """A scheduler and two workers, until nobody holds our stdin. A worker that ends is replaced, as
    Slurm or Kubernetes would.
    """
    from distributed import LocalCluster

    local = LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1")
    command = [sys.executable, "-m", "distributed.cli.dask_worker", local.scheduler_address]
    command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
    start = lambda: subprocess.Popen(command, cwd=starter.ROOT, stdin=subprocess.DEVNULL)
    workers = [start(), start()]
    print(local.scheduler_address, flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        workers = [one if one.poll() is None else start() for one in workers]
    for one in workers:
        one.kill()
        one.wait()
    local.close()


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    if what == "grade":
        grade()
    elif what == "time":
        measure(int(numbers[0]), int(numbers[1]), list(map(int, numbers[2:])))
    else:
        cluster()
