"""For the time being: a judge without a cell, by `harness lab` in a process of its own."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.driving.messages import msg


@dataclass
class Job:
    lab: int
    language: str
    design: str
    folder: bytes
    points: dict | None
    hidden: list
    seed: str
    deadline: float | None
    workers: int
    tier: str
    total: float
    lang: str
    student: str


@dataclass
class Outcome:
    end: str
    report: dict | None = None
    why: object = ""
    html: str = ""
    log: str = ""
    tier: str = ""
    seconds: float = 0.0


def run(job):
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="grupo-standin-") as scratch:
        folder = Path(scratch, "work")
        with tarfile.open(fileobj=io.BytesIO(job.folder)) as archive:
            archive.extractall(folder, filter="data")
        out, page, rubric = (Path(scratch, name) for name in ("j", "h", "r.toml"))
        rubric.write_text(
            f"hidden = {json.dumps(list(job.hidden))}\n[points]\n"
            + "\n".join(f"{name} = {value}" for name, value in (job.points or {}).items())
        )
        command = [sys.executable, "-m", "harness", "lab", str(folder), "--lab", str(job.lab)]
        command += ["--json", str(out), "--html", str(page), "--rubric", str(rubric)]
        command += ["--seed", job.seed, "--lang", job.lang, "--workers", str(job.workers)]
        command += ["--deadline", str(job.deadline)] if job.deadline else []
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            log, _ = process.communicate(timeout=job.total)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return Outcome("fault", why=msg("the time limit"), seconds=time.monotonic() - began)
        took = time.monotonic() - began
        log = log.decode(errors="backslashreplace")
        if not out.exists():
            return Outcome("fault", why=msg("no result"), log=log, tier="none", seconds=took)
        report = json.loads(out.read_text())
        end = "refused" if report["refused"] else "judged"
        why = report["refused"]
        return Outcome(end, report, why, page.read_text(), log, "none", took)
