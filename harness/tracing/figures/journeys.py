"""One message, three journeys: from the client who says it through the server to all who hear it, true time running down."""

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.tracing.figures import base
from harness.tracing.figures.base import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PINK, RED, SKY
from harness.tracing.traces import is_about

BARS = {
    "recv": (GREY, "is in recv: waits for it, reads it"),
    "lock.wait": (ORANGE, "waits for the lock"),
    "lock.hold": (GREEN, "holds the lock (frame)"),
    "keep": (BLACK, "writes it to disk"),
    "send": (BLUE, "sends it to all"),
    "pipe.write": (SKY, "writes or reads a pipe"),
    "pipe.read": (SKY, ""),
}


NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


class Journey:
    """The way of one message through one run. `hops`: [(from lane, at, to lane, at, how)]; `bars`: [(lane, begin, end, kind)]; lanes are keys,
    or "sender". `heard`: {member: at}. Seconds since the SAY. `why`: what of the way is not known, or None."""

    def __init__(self, run, seq):
        self.run, self.seq = run, seq
        copies = [
            one
            for one in run.deliveries
            if one.seq == seq and one.heard is not None and one.said is not None
        ]
        if not copies:
            raise ValueError(
                f"nobody is known to have heard message {seq} of {run.title}, and who said it when"
            )
        self.sender, self.text, self.said = copies[0].sender, copies[0].text, copies[0].said
        self.heard = {one.listener: one.heard - self.said for one in copies}
        self.bars, self.hops, self.why, self.lanes = [], [], None, []
        self.sent = 0.0
        if not run.headers:
            self.why = "there is no trace: the inside of the server is not known"
            return
        self.follow()

    def follow(self):
        run, address = self.run, self.run.members.get(self.sender)
        last = self.said + max(self.heard.values())
        reading = next(
            (
                one
                for one in run.of("recv")
                if one.about == address and one.end is not None and self.said <= one.end <= last
            ),
            None,
        )
        keeping = next((one for one in run.of("keep") if is_about(one, self.seq)), None)
        sending = next((one for one in run.of("send") if is_about(one, self.seq)), None)
        if not (reading and sending):
            self.why = f"the trace does not show where it was {'read' if not reading else 'sent'}"
            return
        reader, speaker = reading.lane, sending.lane
        keeper = keeping.lane if keeping else speaker
        self.lanes = list(dict.fromkeys([reader, keeper, speaker]))
        self.hops.append(("sender", 0.0, reader, reading.end - self.said, "socket"))
        self.bar(reader, max(reading.begin, self.said), reading.end, "recv")
        ready = reading.end
        writing = next(
            (
                one
                for one in run.of("pipe.write")
                if one.lane == reader and one.begin >= reading.end and one.end
            ),
            None,
        )
        taken = writing and next(
            (
                one
                for one in run.of("pipe.read")
                if one.about == address
                and one.lane == keeper
                and one.end
                and one.end >= writing.begin
            ),
            None,
        )
        if taken:
            self.bar(reader, writing.begin, writing.end, "pipe.write")
            self.hops.append(
                (reader, writing.begin - self.said, keeper, taken.end - self.said, "pipe")
            )
            ready = taken.end
        for lock in run.of("lock.wait", "lock.hold"):
            if (
                lock.end
                and lock.lane in self.lanes
                and lock.end >= reading.end
                and lock.begin <= sending.begin
                and (lock.lane == reader or lock.end >= ready - 0.0002)
            ):
                self.bar(lock.lane, max(lock.begin, self.said), min(lock.end, last), lock.kind)
        if not taken and keeper != reader:
            left = [
                end
                for lane, _, end, kind in self.bars
                if lane == reader
                and kind == "lock.hold"
                and end <= (keeping or sending).end - self.said
            ]
            self.hops.append(
                (
                    reader,
                    left[0] if left else ready - self.said,
                    keeper,
                    (keeping or sending).begin - self.said,
                    "memory",
                )
            )
        if keeping:
            self.bar(keeper, keeping.begin, keeping.end, "keep")
        self.bar(speaker, sending.begin, sending.end, "send")
        self.sent = sending.begin - self.said
        self.speaker = speaker

    def bar(self, lane, begin, end, kind):
        self.bars.append((lane, begin - self.said, end - self.said, kind))

    @property
    def total(self):
        return max(self.heard.values())

    def words(self):
        """What it took, in words."""
        if self.why:
            return f"last copy heard after {base.ms(self.total)}"
        through = len(self.lanes)
        locks = sum(kind == "lock.wait" for _, _, _, kind in self.bars)
        inside = (
            f"{through} processes, 1 pipe"
            if self.run.design == "fork"
            else f"{base.plural(through, 'thread')}, the lock taken {locks} times"
            if locks
            else base.plural(through, "thread")
        )
        return f"last copy heard after {base.ms(self.total)}\n{inside}; told after {base.ms(self.sent)}"


def ordinary_message(run):
    """The seq of the message whose last copy took neither long nor short. Raises ValueError if none is known."""
    last = {}
    for one in run.deliveries:
        if one.latency is not None and one.verdict != "twice" and one.sender not in run.groups:
            last[one.seq] = max(last.get(one.seq, 0), one.latency)
    if not last:
        raise ValueError(f"{run.title}: no message is known")
    return sorted(last, key=lambda seq: (last[seq], seq))[len(last) // 2]


@base.drawn
def journeys(runs, text=None, question=None, guess=None):
    """A panel for each run: the way of one message.

    text    which: what was said, such as "message 7"; without it, in each run the one whose last copy took neither long nor short
    guess   microseconds until the last copy is heard, one number or {design: number}
    """
    runs = base.several(runs)
    found = []
    for run in runs:
        seq = (
            ordinary_message(run)
            if text is None
            else next((one.seq for one in run.deliveries if one.text == text), None)
        )
        if seq is None:
            raise ValueError(f"{run.title}: nobody heard {text!r}")
        found.append(Journey(run, seq))
    order = sorted(found, key=lambda journey: journey.total)
    answer = (
        "Until the last member has heard it: "
        + "; ".join(f"{journey.run.title} {base.ms(journey.total)}" for journey in order)
        + "."
    )
    columns = [2 + max(len(journey.lanes), 1 if journey.why else 0) for journey in found]
    figure, top = base.sheet(
        7.6,
        question
        or f"Where do the microseconds go? One message{f' ({text})' if text else ''}, {NUMBERS.get(len(found), len(found))} journey{'s' * (len(found) != 1)}",
        answer,
    )
    most = (
        max(
            [journey.total for journey in found]
            + [end for journey in found for _, _, end, _ in journey.bars]
            + [
                value / 1e6
                for journey in found
                if isinstance(value := base.told(guess, journey.run), (int, float))
            ]
        )
        * 1e6
    )
    left, rows = 0.065, []
    share = 0.92 / sum(columns)
    for number, (journey, wide) in enumerate(zip(found, columns)):
        panel = figure.add_axes([left, 0.125, share * wide - 0.035, 1 - (top + 0.62) / 7.6 - 0.125])
        left += share * wide
        draw(panel, journey, wide, most)
        if number == 0:
            panel.set_ylabel("microseconds since the client said it (time runs down)")
        else:
            panel.tick_params(labelleft=False)
        value = base.told(guess, journey.run)
        if isinstance(value, (int, float)):
            panel.axhline(value, color=RED, linestyle="--", linewidth=1.4)
            panel.text(
                wide - 0.55,
                value - most * 0.006,
                f"your guess: {value:g} µs",
                color=RED,
                fontsize=9,
                ha="right",
                va="bottom",
            )
        for lane, begin, end, kind in journey.bars:
            rows.append(
                [
                    journey.run.title,
                    journey.run.lane(lane).name,
                    kind,
                    round(begin * 1e6, 1),
                    round(end * 1e6, 1),
                ]
            )
        for member, at in sorted(journey.heard.items(), key=lambda pair: pair[1]):
            rows.append(
                [journey.run.title, member, "hears", round(at * 1e6, 1), round(at * 1e6, 1)]
            )
    handles = [
        Line2D([], [], color=BLACK, linewidth=1.8, label="client to server: a socket"),
        Line2D([], [], color=PINK, linewidth=2.4, label="process to process: a pipe"),
        Line2D(
            [],
            [],
            color=GREEN,
            linewidth=1.8,
            linestyle="--",
            label="thread to thread: shared memory",
        ),
        Line2D([], [], color=SKY, linewidth=1.2, label="server to client: a socket"),
    ]
    used = {kind for journey in found for *_, kind in journey.bars}
    handles += [
        Patch(
            facecolor="none" if kind == "lock.hold" else shade,
            edgecolor=GREEN if kind == "lock.hold" else shade,
            label=words,
        )
        for kind, (shade, words) in BARS.items()
        if words and kind in used
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.01, 0.005),
        ncols=5,
        frameon=False,
        fontsize=9,
        columnspacing=1.5,
    )
    caption = (
        "Each line down is a client, a thread or a process; an arrow is the message on its way, a bar is what somebody does with it meanwhile. The same scale in all panels, one clock. "
        f"The message: {'; '.join(f'{journey.run.title}: {journey.text[:40]}, by {journey.sender}' for journey in found)}. "
        f"Repeat a run and it differs: believe the order, not the digits.{base.traced(runs)}"
        + "".join(f" {journey.run.title}: {journey.why}." for journey in found if journey.why)
    )
    return base.Figure(
        figure,
        caption,
        f"Space-time diagrams of one message. {answer}",
        base.Table(["server", "who", "does", "from µs", "to µs"], rows),
        {
            journey.run.title: {
                "total": journey.total,
                "told": journey.sent,
                "lanes": len(journey.lanes),
                "hops": [how for *_, how in journey.hops],
            }
            for journey in found
        },
    )


def draw(panel, journey, wide, most):
    run = journey.run
    places = {"sender": 0, **{key: number + 1 for number, key in enumerate(journey.lanes)}}
    receivers = wide - 1
    names = [
        f"{journey.sender}\nsays it",
        *(run.lane(key).name.replace(" of ", "\nof ") for key in journey.lanes),
        *(["the server"] if journey.why else []),
        "all members\nhear it",
    ]
    bottom = most * 1.02
    for place in range(wide):
        panel.plot([place, place], [0, bottom], color=PALE, linewidth=1.6, zorder=1)
    for place, name in enumerate(names):
        panel.text(place, -most * 0.02, name, ha="center", va="bottom", fontsize=9)
    if run.design == "fork" and not journey.why:
        panel.axvspan(0.6, 1.4, color="#f4f4f4", zorder=0)
        panel.axvspan(1.6, receivers - 0.6, color="#f4f4f4", zorder=0)
    elif not journey.why:
        panel.axvspan(0.6, receivers - 0.6, color="#f4f4f4", zorder=0)
    least = most * 0.006
    for lane, begin, end, kind in journey.bars:
        tall = max((end - begin) * 1e6, least)
        if kind == "lock.hold":
            panel.bar(
                places[lane],
                tall,
                0.26,
                bottom=begin * 1e6,
                facecolor="none",
                edgecolor=GREEN,
                linewidth=2,
                zorder=6,
            )
        else:
            panel.bar(
                places[lane],
                tall,
                {"recv": 0.10, "keep": 0.20}.get(kind, 0.16),
                bottom=begin * 1e6,
                color=BARS[kind][0],
                zorder=5 if kind == "keep" else 4,
            )
    style = {
        "socket": {"color": BLACK, "linewidth": 1.8},
        "pipe": {"color": PINK, "linewidth": 2.4},
        "memory": {"color": GREEN, "linewidth": 1.8, "linestyle": "--"},
    }
    for one, at, other, then, how in journey.hops:
        if places[one] != places[other]:
            arrow(panel, places[one], at * 1e6, places[other], then * 1e6, **style[how])
            if (then - at) * 1e6 > 0.02 * most:
                panel.text(
                    (places[one] + places[other]) / 2,
                    (at + then) / 2 * 1e6 - most * 0.012,
                    base.ms(then - at),
                    fontsize=8.5,
                    ha="center",
                    va="bottom",
                    zorder=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
                )
    origin = places[journey.speaker] if not journey.why else 0
    lowest = -1e9
    for member, at in sorted(journey.heard.items(), key=lambda pair: pair[1]):
        arrow(panel, origin, journey.sent * 1e6, receivers, at * 1e6, color=SKY, linewidth=1.2)
        lowest = max(lowest + most * 0.026, at * 1e6)
        panel.text(receivers + 0.07, lowest, member, fontsize=8.5, va="center", color=BLUE)
    panel.set_xlim(-0.45, wide - 0.45)
    panel.set_ylim(bottom * 1.12, 0)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.set_title(base.heading(run), fontsize=11, fontweight="bold", pad=38)
    panel.text(
        -0.4,
        bottom * 1.115,
        journey.words(),
        fontsize=9.5,
        va="bottom",
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        zorder=10,
    )


def arrow(panel, x, y, to_x, to_y, **style):
    panel.annotate(
        "",
        (to_x, to_y),
        (x, y),
        arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10, **style},
        zorder=7,
    )
