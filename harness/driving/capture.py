"""What goes over the wire, as the network's own tools see it: dumpcap writes it to a file, tshark reads that with our dissector.

To look at the wire one must be root, or of the group `wireshark`.
"""
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness.driving.server import ROOT
from harness.driving.deadlines import wait_until

DISSECTOR = ROOT / "lab_guide" / "wireshark" / "grupo.lua"
APART = "\x1f"


class CannotCapture(Exception):
    """The text says why, in a line."""


class Capture:
    """All that goes over the loopback device to and from a port, from here to the end of its `with`. Raises CannotCapture."""

    def __init__(self, port, path=None):
        self.port = port
        self.folder = None if path else tempfile.TemporaryDirectory(prefix="grupo-")
        self.path = Path(path or Path(self.folder.name, "wire.pcapng"))
        for tool in "dumpcap", "tshark":
            if not shutil.which(tool):
                raise CannotCapture(f"{tool} is not installed")
        self.process = subprocess.Popen(["dumpcap", "-q", "-i", "lo", "-f", f"tcp port {port}", "-w", str(self.path)],
                                        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
        said = []
        for line in self.process.stderr:        # "File:" comes when the device is open
            said.append(line.strip())
            if line.startswith("File:"):
                return
        self.process.communicate()
        raise CannotCapture(f"packets cannot be captured here: {next((line for line in reversed(said) if line), 'dumpcap says no more')}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def until(self, last):
        """Ends when the file holds these bytes, which are the last that matter. Raises Unmet."""
        try:
            wait_until(lambda: last in self.path.read_bytes(), what="the packets on the disk")
        finally:
            self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.process.stderr.close()

    def fields(self, *names, only="grupo"):
        """One list for each packet that the filter `only` lets through: of each field a list of its values."""
        return fields(self.path, *names, only=only, more=("-d", f"tcp.port=={self.port},grupo"))


def tshark(path, *arguments):
    """What tshark prints of a capture file. Raises CannotCapture."""
    done = subprocess.run(["tshark", "-X", f"lua_script:{DISSECTOR}", "-r", str(path), *arguments], capture_output=True, text=True, errors="replace")
    if done.returncode or "Lua" in done.stderr + done.stdout:
        raise CannotCapture(f"tshark cannot read {path}: {done.stderr.strip()}")
    return done.stdout


def fields(path, *names, only="grupo", more=()):
    chosen = [part for name in names for part in ("-e", name)]
    out = tshark(path, "-Y", only, "-T", "fields", *chosen, "-E", f"aggregator={APART}", *more)
    return [[value.split(APART) if value else [] for value in line.split("\t")] for line in out.splitlines()]
