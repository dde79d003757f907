"""One message, three journeys: from its sender through the server to all members that receive it.

Time runs down, to scale.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.driving.messages import template
from harness.tracing.figures import base
from harness.tracing.figures.base import GREY, GROUND, HOLD_LOCK, INK, PALE
from harness.tracing.traces import Interval, Key, Run, is_about
from harness.verdicts.language import say

# kind: (colour, words)
BARS = {
    "recv": (base.RECV, template("is in recv: waits for it, reads it")),
    "lock.wait": (base.WAIT_LOCK, template("waits for the lock")),
    "lock.hold": (HOLD_LOCK, template("holds the lock (frame)")),
    "keep": (base.DISK, template("writes it to disk")),
    "send": (base.SEND, template("sends it to all")),
    "pipe.write": (base.PIPE, template("writes or reads a pipe")),
    "pipe.read": (base.PIPE, ""),
}
# how a message goes from one lane to the next: the style of its arrow
HOPS = {
    "socket": {"color": INK, "linewidth": 1.8},
    "pipe": {"color": base.PIPE, "linewidth": 2.4},
    "memory": {"color": GREY, "linewidth": 1.8, "linestyle": "--"},
}
RECEIPT = {"color": base.SEND, "linewidth": 1.0}
TALL = 4.6  # inches of a panel
SLACK = 0.0002  # seconds before the message is ready in which a lock may have been taken for it
UNKNOWN = template("there is no trace: the inside of the server is not known")
# what is not known of a way through a server, by what is seen of it
NOT_SHOWN = {
    True: template("the trace does not show where it was sent"),
    False: template("the trace does not show where it was read"),
}


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
            self.why = say(UNKNOWN)

    def follow(self):
        """Finds the hops and the bars in the trace."""
        run, address = self.run, self.run.members.get(self.sender)
        last = self.said + self.total
        readings = (one for one in run.of("recv") if one.about == address and one.end is not None)
        reading = next((one for one in readings if self.said <= one.end <= last), None)
        keeping = next((one for one in run.of("keep") if is_about(one, self.seq)), None)
        sending = next((one for one in run.of("send") if is_about(one, self.seq)), None)
        if not (reading and sending):
            self.why = say(NOT_SHOWN[reading is not None])
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
        text = say("last copy heard after {time}", time=base.ms(self.total))
        if self.why:
            return text
        inside = base.counted(len(self.lanes), base.THREADS)
        locks = sum(kind == "lock.wait" for *_, kind in self.bars)
        if self.run.design == "fork":
            processes = base.counted(len(self.lanes), base.PROCESSES)
            inside = say("{processes}, 1 pipe", processes=processes)
        elif locks:
            inside += ", " + say("the lock taken {count} times", count=locks)
        return f"{text}\n{inside}; " + say("sent after {time}", time=base.ms(self.sent))


def times_of(run: Run) -> dict[str, tuple[float, int]]:
    """Returns {text: (seconds to the last receipt, seq)} of the ordinary messages of a run."""
    found: dict[str, tuple[float, int]] = {}
    for one in run.deliveries:
        if one.latency is not None and one.verdict != "twice" and one.sender not in run.groups:
            longest, _ = found.get(one.text, (0.0, 0))
            found[one.text] = max(longest, one.latency), one.seq
    return found


def ordinary(runs: Sequence[Run]) -> list[int]:
    """Returns for each run the seq of one message, the same in all if they share any.

    Its time to its last receipt is near the median of each run. Raises ValueError if a run has no
    message.
    """
    times = [times_of(run) for run in runs]
    for run, mine in zip(runs, times, strict=True):
        if not mine:
            raise ValueError(f"{run.title}: no message is known")
    ranks = [
        {text: place for place, text in enumerate(sorted(mine, key=mine.get))} for mine in times
    ]
    common = set.intersection(*map(set, ranks))

    def off(text: str, rank: dict[str, int]) -> float:
        return abs(rank[text] / len(rank) - 0.5)

    if not common:
        middles = [min(rank, key=lambda text, rank=rank: off(text, rank)) for rank in ranks]
        return [mine[text][1] for mine, text in zip(times, middles, strict=True)]
    best = min(sorted(common), key=lambda text: max(off(text, rank) for rank in ranks))
    return [mine[best][1] for mine in times]


def message(run: Run, text: str) -> int:
    """Returns the seq of the message with this text. Raises ValueError if nobody heard it."""
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

    text    of the message, such as "message 7"; without it, one message that is ordinary in all
            runs: its time to its last receipt is near the median
    guess   microseconds until the last receipt, one number or {design: number}

    Raises ValueError if a run has no such message.
    """
    runs = base.several(runs)
    seqs = [message(run, text) for run in runs] if text else ordinary(runs)
    found = [Journey(run, seq) for run, seq in zip(runs, seqs, strict=True)]
    fastest_first = sorted(found, key=lambda journey: journey.total)
    totals = "; ".join(f"{one.run.title} {base.ms(one.total)}" for one in fastest_first)
    answer = say("Until the last member has heard it: {times}.", times=totals)
    asked = question or say("Where do the microseconds go? The way of one message")
    sheet = base.Sheet(asked, answer)
    guesses = [base.guess_for(guess, run) for run in runs]
    ends = [end for journey in found for _, _, end, _ in journey.bars]
    most = max([journey.total for journey in found] + ends) * 1e6
    columns = [2 + max(len(journey.lanes), bool(journey.why)) for journey in found]
    panels = []
    if base.is_narrow():
        for _ in found:
            sheet.space(0.95)
            panels.append(sheet.panel(TALL * 0.8, 0.75, 0.3))
            sheet.space(0.2)
    else:
        sheet.space(0.8)
        share, left, spans = (sheet.width - 0.9) / sum(columns), 0.85, []
        for wide in columns:
            spans.append((left, left + share * wide - 0.45))
            left += share * wide
        panels = sheet.panels(TALL, *spans)
    for panel, journey, wide, value in zip(panels, found, columns, guesses, strict=True):
        JourneyPanel(panel, journey, wide, most).draw()
        if base.is_narrow() or journey is found[0]:
            panel.set_ylabel(say("microseconds since the SAY (time runs down)"), fontsize=9)
        else:
            panel.tick_params(labelleft=False)
        if base.is_number(value):
            base.mark_guess(panel, value, say("your guess: {guess} µs", guess=base.plain(value)))
    sheet.space(0.24)
    sheet.legend(legend({kind for journey in found for *_, kind in journey.bars}), 5)
    facts = {
        journey.run.title: {
            "total": journey.total,
            "sent": journey.sent,
            "lanes": len(journey.lanes),
            "hops": [how for *_, how in journey.hops],
            "sender": journey.sender,
        }
        for journey in found
    }
    head = [say("server"), say("lane"), say("does"), say("from µs"), say("to µs")]
    alt = say("Space-time diagrams of one message.") + f" {answer}"
    table = base.Table(head, rows_of(found))
    return base.Figure(sheet.finish(), caption_of(found), alt, table, facts)


def caption_of(found: list[Journey]) -> str:
    """Returns the caption."""
    said = {f"{one.text[:40]}, {one.sender}" for one in found}
    messages = "; ".join(f"{one.run.title}: {one.text[:40]}, {one.sender}" for one in found)
    unknown = "".join(f" {one.run.title}: {one.why}." for one in found if one.why)
    text = say(
        "Each vertical line is a client, a thread or a process. An arrow is the message on its "
        "way, and a bar is what a lane does with it. All panels have the same scale and one clock. "
        "The message and its sender: {messages}. Another run differs: trust the order, not the "
        "digits.",
        messages=said.pop() if len(said) == 1 else messages,
    )
    return f"{text}{base.traced([one.run for one in found])}{unknown}"


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


def legend(used: set[str]) -> list[Any]:
    """Returns the handles of the legend: of the bars, only the kinds that are used."""
    handles: list[Any] = [
        Line2D([], [], label=say("client to server: a socket"), **HOPS["socket"]),
        Line2D([], [], label=say("process to process: a pipe"), **HOPS["pipe"]),
        Line2D([], [], label=say("thread to thread: shared memory"), **HOPS["memory"]),
        Line2D([], [], label=say("server to client: a socket"), **RECEIPT),
    ]
    for kind, (shade, words) in BARS.items():
        if words and kind in used:
            is_frame = kind == "lock.hold"
            face, edge = ("none", HOLD_LOCK) if is_frame else (shade, shade)
            handles.append(Patch(facecolor=face, edgecolor=edge, label=say(words)))
    return handles


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
        panel.set_ylim(bottom * 1.14, 0)
        panel.set_xticks([])
        panel.spines["bottom"].set_visible(False)
        title = base.heading(journey.run)
        panel.set_title(title, fontsize=min(11, 11 * 36 / len(title)), fontweight="bold", pad=38)
        box = {"facecolor": GROUND, "edgecolor": "none", "pad": 1.5}
        style = {"fontsize": 8 if base.is_narrow() else 9, "fontweight": "bold", "va": "bottom"}
        style |= {"bbox": box, "zorder": 10}
        panel.text(-0.4, bottom * 1.135, journey.words(), **style)

    def lines(self):
        """Draws a vertical line for each lane, and the background of each process."""
        panel, journey = self.panel, self.journey
        lanes = [base.lane_name(journey.run.lane(key).name) for key in journey.lanes]
        inside = (
            [say("the server")] if journey.why else ["\n".join(base.wrapped(n, 10)) for n in lanes]
        )
        says = say("{who}\nsays it", who=journey.sender)
        names = [says, *inside, say("all members\nhear it")]
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
            panel.axvspan(*span, zorder=0, **base.SHADE)

    def bars(self):
        """Draws what each lane does with the message."""
        least = self.most * 0.006
        for lane, begin, end, kind in self.journey.bars:
            column, tall = self.columns[lane], max((end - begin) * 1e6, least)
            if kind == "lock.hold":
                style = {"facecolor": "none", "edgecolor": HOLD_LOCK, "linewidth": 2, "zorder": 6}
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
                box = {"facecolor": GROUND, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
                style = {"fontsize": 8.5, "ha": "center", "va": "bottom", "bbox": box, "zorder": 9}
                y = (at + to_at) / 2 * 1e6 - self.most * 0.012
                y = max(y, self.most * 0.045)  # below the names of the lanes
                self.panel.text((x + to_x) / 2, y, base.ms(to_at - at), **style)

    def receipts(self):
        """Draws an arrow and a name for each member that receives the message."""
        journey = self.journey
        origin = 0 if journey.why else self.columns[journey.speaker]
        apart = self.most * (0.045 if base.is_narrow() else 0.032)  # names must not overlap
        order = sorted(journey.heard.items(), key=lambda pair: pair[1])
        names, lowest = [], -1e9
        for member, at in order:
            self.arrow(origin, journey.sent * 1e6, self.receivers, at * 1e6, **RECEIPT)
            lowest = max(lowest + apart, at * 1e6)
            names.append((member, lowest))
        highest = self.most * 1.02 + apart
        for member, y in reversed(names):  # nor leave the panel
            highest = min(highest - apart, y)
            style = {"fontsize": 8.5, "va": "center"}
            self.panel.text(self.receivers + 0.07, highest, member, **style)

    def arrow(self, x: float, y: float, to_x: float, to_y: float, **style):
        """Draws an arrow."""
        ends = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
        self.panel.annotate("", (to_x, to_y), (x, y), arrowprops={**ends, **style}, zorder=7)
