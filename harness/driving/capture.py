"""Captures the packets of a server, as the network's own tools see them.

dumpcap writes the packets to a file, and tshark reads the file with the dissector of the lab guide.
Only root and the group `wireshark` may capture packets.
"""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness.driving.deadlines import wait_until
from harness.driving.server import ROOT

DISSECTOR = ROOT / "lab_guide" / "wireshark" / "grupo.lua"
SEPARATOR = "\x1f"  # between the values of one field; no line of the protocol can hold it


class CannotCapture(Exception):
    """Packets cannot be captured or read; the text says why, in one line."""


class Capture:
    """Captures what passes the loopback device from and to a port, up to the end of its `with`.

    The packets go to `path`, or to a temporary file. Raises CannotCapture.
    """

    def __init__(self, port: int, path: str | Path | None = None):
        self.port = port
        self.folder = None if path else tempfile.TemporaryDirectory(prefix="grupo-")
        self.path = Path(path or Path(self.folder.name, "wire.pcapng"))
        for tool in "dumpcap", "tshark":
            if not shutil.which(tool):
                raise CannotCapture(f"{tool} is not installed")
        self.process = subprocess.Popen(
            ["dumpcap", "-q", "-i", "lo", "-f", f"tcp port {port}", "-w", str(self.path)],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        last = "dumpcap says no more"
        for line in self.process.stderr:
            if line.startswith("File:"):  # dumpcap writes it once the device is open
                return
            last = line.strip() or last
        self.process.communicate()
        raise CannotCapture(f"packets cannot be captured here: {last}")

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def until(self, last: bytes) -> None:
        """Capture until the file holds these bytes, then end. Raises CheckFailed if they do not
        come.
        """
        try:
            wait_until(lambda: last in self.path.read_bytes(), what="the packets on the disk")
        finally:
            self.end()

    def end(self) -> None:
        """End the capture, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.process.stderr.close()

    def fields(self, *names: str, only: str = "grupo") -> list[list[list[str]]]:
        """Return what fields() returns for this capture."""
        dissect = ("-d", f"tcp.port=={self.port},grupo")
        return fields(self.path, *names, only=only, more=dissect)


def tshark(path: str | Path, *arguments: str) -> str:
    """Return what tshark prints about a capture file. Raises CannotCapture."""
    run = subprocess.run(
        ["tshark", "-X", f"lua_script:{DISSECTOR}", "-r", str(path), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
    )
    if run.returncode or "Lua" in run.stderr + run.stdout:
        raise CannotCapture(f"tshark cannot read {path}: {run.stderr.strip()}")
    return run.stdout


def fields(
    path: str | Path, *names: str, only: str = "grupo", more: tuple[str, ...] = ()
) -> list[list[list[str]]]:
    """Return the fields `names` of each packet of a capture file that matches the filter `only`.

    Each packet is a list with one list of values for each name. `more` are further arguments of
    tshark. Raises CannotCapture.
    """
    chosen = [part for name in names for part in ("-e", name)]
    aggregate = ("-E", f"aggregator={SEPARATOR}")
    printed = tshark(path, "-Y", only, "-T", "fields", *chosen, *aggregate, *more)
    return [
        [value.split(SEPARATOR) if value else [] for value in line.split("\t")]
        for line in printed.splitlines()
    ]
