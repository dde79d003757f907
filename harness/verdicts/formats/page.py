"""The Report as one HTML page that needs nothing else, and sends nothing: first what failed, each
failure with its picture, then the rest.

It is read on a phone, on a projector, in the dark and on paper: page.html has rules for every
width, both colour schemes, and print.
"""

import functools
import shlex
from pathlib import Path

from harness.driving.record import DEEDS
from harness.verdicts import language
from harness.verdicts.formats.render import (
    advice,
    brief,
    cleaned,
    deed,
    first_to_fix,
    headline,
    in_a_line,
    lock_line,
    named,
    numbered,
    place_of,
    timeline,
)
from harness.verdicts.language import say
from harness.verdicts.locks import Span
from harness.verdicts.model import PASSED
from harness.verdicts.plugin import STAGES

HERE = Path(__file__).parent
SIGNS = {
    "passed": "\u2713",
    "failed": "\u2717",
    "inconclusive": "?",
    "not run": "\u2013",
    "harness fault": "!",
}
# failures that the page opens with; the rest is folded, so that the first failure is no screen
# away
AT_TOP = 6
LONG_TEXT = 100  # characters on an arrow; the table has them all
MARGIN = 10  # percent of the width on each side of the lanes
NARROW = 4  # lanes that a narrow page has room for
MOST_STEPS = 300  # of an order of steps that are drawn
MOST_WORDS = 48  # characters of a step
STEP, COLUMN = 20, 250  # pixels: the height of a step, and the width of a lane
ROOM = 250  # pixels: for what does not fit into the last lane
LANE = 6  # rem: the least width of a lane on a page with more


def page(report):
    """The Report as an HTML page, for students."""
    report = cleaned(report)
    stages = list(STAGES)
    for verdict in report.verdicts:
        verdict.place = stages.index(verdict.stage)
    first = first_to_fix(report)
    failures = sorted(
        (verdict for verdict in report.verdicts if verdict.failure),
        key=lambda verdict: verdict is not first,
    )
    return rendered(
        HERE / "page.html",
        report=report,
        command=" ".join(report.command),
        headline=headline(report),
        place=say(place_of(report)),
        advice=advice(report),
        failures=failures,
        anchors={verdict.check: number for number, verdict in enumerate(failures, 1)},
        at_top=AT_TOP,
        passed=report.of(PASSED),
        others=[
            verdict
            for verdict in report.verdicts
            if verdict.verdict != PASSED and not verdict.failure
        ],
        numbered=numbered,
        plays=functools.partial(plays, report),
        picture=picture,
        swimlanes=swimlanes,
    )


def plays(report, verdict):
    """The command that plays the run of a failure, or "": a student's kit has no player."""
    if not (verdict.record and (HERE.parents[1] / "tracing").is_dir()):
        return ""
    record = Path(report.folder, verdict.record)
    return shlex.join(["python", "-m", "harness", "trace", "player", str(record)])


def rendered(template, **values):
    """The page that a template (a path) makes of these values, with what all our pages have."""
    from markupsafe import Markup

    base = Markup(base_style())
    return loaded(template).render(lang=language.in_use, signs=SIGNS, say=say, base=base, **values)


@functools.cache
def base_style():
    return (HERE / "base.css").read_text(encoding="utf-8")


@functools.cache
def loaded(path):
    from jinja2 import Environment  # not needed without a page

    return Environment(autoescape=True, keep_trailing_newline=True).from_string(
        path.read_text(encoding="utf-8")
    )


# -- The space-time diagram: time runs down, each participant is a line, each arrow bears what was
# sent; the table below says the same ----


def picture(failure):
    """The drawing of a failure, and the same as a table, as markup."""
    from markupsafe import Markup

    return Markup(rendered(HERE / "picture.html", drawing=drawing_of(failure)))


def swimlanes(order):
    """The drawing of an order of steps, as markup: a lane for each thread or process."""
    from markupsafe import Markup

    lanes = lanes_of(order[:MOST_STEPS])
    lanes["more"] = max(0, len(order) - MOST_STEPS)
    return Markup(loaded(HERE / "order.html").render(lanes=lanes, say=say))


def lanes_of(order):
    """Where things are on the drawing of an order of steps, in pixels."""
    names = list(dict.fromkeys(who for who, *_ in order))
    across = {name: 16 + place * COLUMN for place, name in enumerate(names)}
    steps, runs, switches, stops = [], [], [], []
    last, top = "", 30
    for who, words, place, stopped in order:
        x = across[who]
        if stopped:  # a row of its own
            stops.append((across[last], top + 6))
            top += STEP
        if who == last:
            runs[-1] = (x, runs[-1][1], runs[-1][2] + STEP)
        else:
            if runs:
                switches.append(f"{across[last]},{top} {x},{top}")
            runs.append((x, top, STEP))
        steps.append((x, top + 14, brief(in_a_line(words, " "), MOST_WORDS), place))
        last, top = who, top + STEP
    return {
        "names": list(across.items()),
        "steps": steps,
        "runs": runs,
        "switches": switches,
        "stops": stops,
        "width": len(names) * COLUMN + ROOM,
        "height": top + 6,
    }


def drawing_of(failure):
    """What page.html draws of a failure: its lanes [(name, percent from the left)] and its events
    in order, as dicts.
    """
    people = list(dict.fromkeys(entry.who for entry in failure.slice if entry.who != "server"))
    server = (len(people) + 1) // 2
    lanes = [*people[:server], "server", *people[server:]]
    at = (
        {
            who: MARGIN + number * (100 - 2 * MARGIN) / (len(lanes) - 1)
            for number, who in enumerate(lanes)
        }
        if people
        else {"server": 50}
    )
    place = at["server"]
    return {
        "lanes": [(named(who), left) for who, left in at.items()],
        "server": server,
        "locks": failure.locks,
        "side": "center" if 35 < place < 65 else "right" if place > 50 else "left",
        "room": LANE * len(lanes) if len(lanes) > NARROW else 0,
        "events": [drawn(place, one, at, failure) for place, one in timeline(failure)],
    }


def drawn(place, one, at, failure):
    """One event of the drawing, which is also a row of the table. `number` and `at` are texts,
    empty where there are none.
    """
    if isinstance(one, Span):
        return {
            "lock": True,
            "number": "",
            "text": lock_line(one),
            "at": f"{one.at:.6f}",
            "who": say("server"),
            "whole": lock_line(one),
        }
    if one is None:
        return {
            "wrong": True,
            "number": "",
            "text": say("nothing more came"),
            "whole": say("nothing more came"),
        }
    text = one_line(brief(in_a_line(one.text, "\n"), LONG_TEXT))
    event = {
        "number": str(place + 1),
        "at": f"{one.at:.6f}",
        "who": named(one.who),
        "verb": deed(one.what),
        "text": text,
        "whole": one_line(one.text),
        "wrong": place == failure.wrong,
        "did": "" if one.what in ("sends", "hears", "types") and text else deed(one.what),
    }
    if one.who != "server":
        left, right = sorted((at[one.who], at["server"]))
        towards = "right" if (at[one.who] < at["server"]) == (one.what in DEEDS) else "left"
        event |= {
            "arrow": f"{'to' if one.what in DEEDS else 'from'} {towards}",
            "left": left,
            "width": right - left,
        }
    return event


def one_line(text):
    """Line ends become a sign."""
    return text.replace("\n", "\u23ce ")
