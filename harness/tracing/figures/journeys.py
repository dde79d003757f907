"""One message, three journeys: from its sender through the server to all members that receive it.

Time runs down, to scale.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PINK, RED, SKY
from harness.tracing.traces import Interval, Key, Run, is_about

# kind: (colour, words)
BARS = {
    "recv": (GREY, "is in recv: waits for it, reads it"),
    "lock.wait": (ORANGE, "waits for the lock"),
    "lock.hold": (GREEN, "holds the lock (frame)"),
    "keep": (BLACK, "writes it to disk"),
    "send": (BLUE, "sends it to all"),
    "pipe.write": (SKY, "writes or reads a pipe"),
    "pipe.read": (SKY, ""),
}
# how a message goes from one lane to the next: the style of its arrow
HOPS = {
    "socket": {"color": BLACK, "linewidth": 1.8},
    "pipe": {"color": PINK, "linewidth": 2.4},
    "memory": {"color": GREEN, "linewidth": 1.8, "linestyle": "--"},
}
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
HEIGHT = 7.6  # inches
SLACK = 0.0002  # seconds before the message is ready in which a lock may have been taken for it


class Journey:
    """The way of message `seq` through one run. Times are seconds since its SAY.

    hops        (from lane, at, to lane, at, how); a lane is a Key, or "sender"
    bars        (lane, begin, end, kind)
    heard       {member: when it received the message}
    sent        when the server sent it to all
    why         what is not known of the way, or None

    Raises ValueError if nobody is known to have received the message.
    """

    def __init__(self, run: Run, seq: int):
        self.run, self.seq = run, seq
        copies = [
            one
            for one in run.deliveries
            if one.seq == seq and one.heard is not None and one.said is not None
        ]
        if not copies:
            raise ValueError(f"{run.title}: message {seq} has no known SAY, or no known receipt")
        self.sender, self.text, self.said = copies[0].sender, copies[0].text, copies[0].said
        self.heard = {one.listener: one.heard - self.said for one in copies}
        self.bars: list[tuple[Key, float, float, str]] = []
        self.hops: list[tuple[Key | str, float, Key, float, str]] = []
        self.lanes: list[Key] = []
        self.why: str | None = None
        self.sent = 0.0
        if run.headers:
            self.follow()
        else:
            self.why = "there is no trace: the inside of the server is not known"

    def follow(self):
        """Finds the hops and the bars in the trace."""
        run, address = self.run, self.run.members.get(self.sender)
        last = self.said + self.total
        readings = (one for one in run.of("recv") if one.about == address and one.end is not None)
        reading = next((one for one in readings if self.said <= one.end <= last), None)
        keeping = next((one for one in run.of("keep") if is_about(one, self.seq)), None)
        sending = next((one for one in run.of("send") if is_about(one, self.seq)), None)
        if not (reading and sending):
            verb = "sent" if reading else "read"
            self.why = f"the trace does not show where it was {verb}"
            return
        reader, self.speaker = reading.lane, sending.lane
        keeper = keeping.lane if keeping else self.speaker
        self.lanes = list(dict.fromkeys([reader, keeper, self.speaker]))
        self.hop("sender", self.said, reader, reading.end, "socket")
        self.bar(reader, max(reading.begin, self.said), reading.end, "recv")
        piped = self.through_pipe(reader, keeper, address, reading.end)
        ready = piped or reading.end
        for lock in run.of("lock.wait", "lock.hold"):
            in_time = lock.end and lock.end >= reading.end and lock.begin <= sending.begin
            for_it = lock.lane == reader or (lock.end and lock.end >= ready - SLACK)
            if in_time and for_it and lock.lane in self.lanes:
                self.bar(lock.lane, max(lock.begin, self.said), min(lock.end, last), lock.kind)
        if not piped and keeper != reader:
            taken_over = keeping or sending
            self.hop(
                reader, self.left(reader, taken_over, ready), keeper, taken_over.begin, "memory"
            )
        if keeping:
            self.bar(keeper, keeping.begin, keeping.end, "keep")
        self.bar(self.speaker, sending.begin, sending.end, "send")
        self.sent = sending.begin - self.said

    def through_pipe(
        self, reader: Key, keeper: Key, address: str | None, since: float
    ) -> float | None:
        """Adds the way through a pipe. Returns when it was read there; None if it was not."""
        run = self.run
        writes = (one for one in run.of("pipe.write") if one.lane == reader and one.end)
        write = next((one for one in writes if one.begin >= since), None)
        if write is None:
            return None
        reads = (one for one in run.of("pipe.read") if one.about == address and one.end)
        read = next((one for one in reads if one.lane == keeper and one.end >= write.begin), None)
        if read is None:
            return None
        self.bar(reader, write.begin, write.end, "pipe.write")
        self.hop(reader, write.begin, keeper, read.end, "pipe")
        return read.end

    def left(self, reader: Key, taken_over: Interval, ready: float) -> float:
        """Returns when the reader left the message in memory: when it released the lock."""
        for lane, _, end, kind in self.bars:
            if lane == reader and kind == "lock.hold" and end <= taken_over.end - self.said:
                return self.said + end
        return ready

    def hop(self, lane: Key | str, at: float, to_lane: Key, to_at: float, how: str):
        """Adds a hop. Times are those of the run."""
        self.hops.append((lane, at - self.said, to_lane, to_at - self.said, how))

    def bar(self, lane: Key, begin: float, end: float, kind: str):
        """Adds a bar. Times are those of the run."""
        self.bars.append((lane, begin - self.said, end - self.said, kind))

    @property
    def total(self) -> float:
        """When the last member received the message."""
        return max(self.heard.values())

    def words(self) -> str:
        """Returns what the journey took, in words."""
        text = f"last copy heard after {base.ms(self.total)}"
        if self.why:
            return text
        inside = base.plural(len(self.lanes), "thread")
        locks = sum(kind == "lock.wait" for *_, kind in self.bars)
        if self.run.design == "fork":
            inside = f"{len(self.lanes)} processes, 1 pipe"
        elif locks:
            inside += f", the lock taken {locks} times"
        return f"{text}\n{inside}; sent after {base.ms(self.sent)}"


def ordinary_message(run: Run) -> int:
    """Returns the seq of the message whose time to its last receipt is the median.

    Raises ValueError if no message is known.
    """
    last = {}
    for one in run.deliveries:
        if one.latency is not None and one.verdict != "twice" and one.sender not in run.groups:
            last[one.seq] = max(last.get(one.seq, 0), one.latency)
    if not last:
        raise ValueError(f"{run.title}: no message is known")
    return sorted(last, key=lambda seq: (last[seq], seq))[len(last) // 2]


def message(run: Run, text: str | None) -> int:
    """Returns the seq of the message with this text; without one, of an ordinary message."""
    if text is None:
        return ordinary_message(run)
    seq = next((one.seq for one in run.deliveries if one.text == text), None)
    if seq is None:
        raise ValueError(f"{run.title}: nobody heard {text!r}")
    return seq


@base.drawn
def journeys(
    runs: Run | Sequence[Run],
    text: str | None = None,
    question: str | None = None,
    guess: Any = None,
) -> base.Figure:
    """Draws a panel for each run: the way of one message.

    text    of the message, such as "message 7"; without it, in each run the message whose time to
            its last receipt is the median
    guess   microseconds until the last receipt, one number or {design: number}

    Raises ValueError if a run has no such message.
    """
    runs = base.several(runs)
    found = [Journey(run, message(run, text)) for run in runs]
    fastest_first = sorted(found, key=lambda journey: journey.total)
    totals = "; ".join(f"{one.run.title} {base.ms(one.total)}" for one in fastest_first)
    answer = f"Until the last member has heard it: {totals}."
    about = f" ({text})" if text else ""
    count = f"{NUMBERS.get(len(found), len(found))} journey{'s' * (len(found) != 1)}"
    title = question or f"Where do the microseconds go? One message{about}, {count}"
    figure, top = base.sheet(HEIGHT, title, answer)
    guesses = [base.guess_for(guess, run) for run in runs]
    guesses = [value if isinstance(value, (int, float)) else None for value in guesses]
    ends = [end for journey in found for _, _, end, _ in journey.bars]
    longest = max([journey.total for journey in found] + ends) * 1e6
    most = max([longest, *filter(None, guesses)])
    columns = [2 + max(len(journey.lanes), bool(journey.why)) for journey in found]
    left, share = 0.065, 0.92 / sum(columns)
    for journey, wide, value in zip(found, columns, guesses, strict=True):
        tall = 1 - (top + 0.62) / HEIGHT - 0.125
        panel = figure.add_axes([left, 0.125, share * wide - 0.035, tall])
        left += share * wide
        JourneyPanel(panel, journey, wide, most).draw()
        if journey is found[0]:
            panel.set_ylabel("microseconds since the client said it (time runs down)")
        else:
            panel.tick_params(labelleft=False)
        if value is not None:
            panel.axhline(value, color=RED, linestyle="--", linewidth=1.4)
            style = {"color": RED, "fontsize": 9, "ha": "right", "va": "bottom"}
            panel.text(wide - 0.55, value - most * 0.006, f"your guess: {value:g} µs", **style)
    legend(figure, {kind for journey in found for *_, kind in journey.bars})
    facts = {
        journey.run.title: {
            "total": journey.total,
            "sent": journey.sent,
            "lanes": len(journey.lanes),
            "hops": [how for *_, how in journey.hops],
        }
        for journey in found
    }
    return base.Figure(
        figure,
        caption_of(found),
        f"Space-time diagrams of one message. {answer}",
        base.Table(["server", "lane", "does", "from µs", "to µs"], rows_of(found)),
        facts,
    )


def caption_of(found: list[Journey]) -> str:
    """Returns the caption."""
    messages = "; ".join(f"{one.run.title}: {one.text[:40]}, by {one.sender}" for one in found)
    unknown = "".join(f" {one.run.title}: {one.why}." for one in found if one.why)
    return (
        "Each vertical line is a client, a thread or a process. An arrow is the message on its "
        "way, and a bar is what a lane does with it. All panels have the same scale and one clock. "
        f"The message: {messages}. Another run differs: trust the order, not the digits."
        f"{base.traced([one.run for one in found])}{unknown}"
    )


def rows_of(found: list[Journey]) -> list[list]:
    """Returns the table's rows, in microseconds."""
    rows = []
    for journey in found:
        title = journey.run.title
        for lane, begin, end, kind in journey.bars:
            name = journey.run.lane(lane).name
            rows.append([title, name, kind, round(begin * 1e6, 1), round(end * 1e6, 1)])
        for member, at in sorted(journey.heard.items(), key=lambda pair: pair[1]):
            time = round(at * 1e6, 1)
            rows.append([title, member, "hears", time, time])
    return rows


def legend(figure: base.Drawing, used: set[str]):
    """Draws the legend: of the bars, only the kinds that are used."""
    handles = [
        Line2D([], [], label="client to server: a socket", **HOPS["socket"]),
        Line2D([], [], label="process to process: a pipe", **HOPS["pipe"]),
        Line2D([], [], label="thread to thread: shared memory", **HOPS["memory"]),
        Line2D([], [], color=SKY, linewidth=1.2, label="server to client: a socket"),
    ]
    for kind, (shade, words) in BARS.items():
        if words and kind in used:
            is_frame = kind == "lock.hold"
            face, edge = ("none", GREEN) if is_frame else (shade, shade)
            handles.append(Patch(facecolor=face, edgecolor=edge, label=words))
    style = {"loc": "lower left", "bbox_to_anchor": (0.01, 0.005), "ncols": 5}
    figure.legend(handles=handles, frameon=False, fontsize=9, columnspacing=1.5, **style)


class JourneyPanel:
    """The panel of one journey, `wide` columns wide, for times up to `most` microseconds."""

    def __init__(self, panel: Axes, journey: Journey, wide: int, most: float):
        self.panel, self.journey, self.wide, self.most = panel, journey, wide, most
        lanes = {key: number + 1 for number, key in enumerate(journey.lanes)}
        self.columns = {"sender": 0, **lanes}
        self.receivers = wide - 1

    def draw(self):
        """Draws it all."""
        panel, journey, most = self.panel, self.journey, self.most
        self.lines()
        self.bars()
        self.hops()
        self.receipts()
        bottom = most * 1.02
        panel.set_xlim(-0.45, self.wide - 0.45)
        panel.set_ylim(bottom * 1.12, 0)
        panel.set_xticks([])
        panel.spines["bottom"].set_visible(False)
        panel.set_title(base.heading(journey.run), fontsize=11, fontweight="bold", pad=38)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        style = {"fontsize": 9.5, "fontweight": "bold", "va": "bottom", "bbox": box, "zorder": 10}
        panel.text(-0.4, bottom * 1.115, journey.words(), **style)

    def lines(self):
        """Draws a vertical line for each lane, and the background of each process."""
        panel, journey = self.panel, self.journey
        lanes = [journey.run.lane(key).name.replace(" of ", "\nof ") for key in journey.lanes]
        inside = ["the server"] if journey.why else lanes
        names = [f"{journey.sender}\nsays it", *inside, "all members\nhear it"]
        for column in range(self.wide):
            ends = [0, self.most * 1.02]
            panel.plot([column, column], ends, color=PALE, linewidth=1.6, zorder=1)
        for column, name in enumerate(names):
            panel.text(column, -self.most * 0.02, name, ha="center", va="bottom", fontsize=9)
        right = self.receivers - 0.6
        processes = [(0.6, right)]
        if journey.run.design == "fork":
            processes = [(0.6, 1.4), (1.6, right)]
        for span in () if journey.why else processes:
            panel.axvspan(*span, color="#f4f4f4", zorder=0)

    def bars(self):
        """Draws what each lane does with the message."""
        least = self.most * 0.006
        for lane, begin, end, kind in self.journey.bars:
            column, tall = self.columns[lane], max((end - begin) * 1e6, least)
            if kind == "lock.hold":
                style = {"facecolor": "none", "edgecolor": GREEN, "linewidth": 2, "zorder": 6}
                self.panel.bar(column, tall, 0.26, bottom=begin * 1e6, **style)
            else:
                width = {"recv": 0.10, "keep": 0.20}.get(kind, 0.16)
                style = {"color": BARS[kind][0], "zorder": 5 if kind == "keep" else 4}
                self.panel.bar(column, tall, width, bottom=begin * 1e6, **style)

    def hops(self):
        """Draws the message's way from lane to lane, with its duration where there is room."""
        for lane, at, to_lane, to_at, how in self.journey.hops:
            x, to_x = self.columns[lane], self.columns[to_lane]
            if x == to_x:
                continue
            self.arrow(x, at * 1e6, to_x, to_at * 1e6, **HOPS[how])
            if (to_at - at) * 1e6 > 0.02 * self.most:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
                style = {"fontsize": 8.5, "ha": "center", "va": "bottom", "bbox": box, "zorder": 9}
                y = (at + to_at) / 2 * 1e6 - self.most * 0.012
                self.panel.text((x + to_x) / 2, y, base.ms(to_at - at), **style)

    def receipts(self):
        """Draws an arrow and a name for each member that receives the message."""
        journey = self.journey
        origin = 0 if journey.why else self.columns[journey.speaker]
        lowest = -1e9
        for member, at in sorted(journey.heard.items(), key=lambda pair: pair[1]):
            y = at * 1e6
            self.arrow(origin, journey.sent * 1e6, self.receivers, y, color=SKY, linewidth=1.2)
            lowest = max(lowest + self.most * 0.026, y)  # names must not overlap
            style = {"fontsize": 8.5, "va": "center", "color": BLUE}
            self.panel.text(self.receivers + 0.07, lowest, member, **style)

    def arrow(self, x: float, y: float, to_x: float, to_y: float, **style):
        """Draws an arrow."""
        ends = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
        self.panel.annotate("", (to_x, to_y), (x, y), arrowprops={**ends, **style}, zorder=7)
