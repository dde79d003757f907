"""The page on which a player is the scheduler: one file with all in it, live or of recorded orders.

play.js draws it. What it shows of a server goes in as text, never as markup.
"""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.driving.messages import template
from harness.explore.workloads import Workload
from harness.verdicts.formats.page import rendered
from harness.verdicts.formats.render import cleaned
from harness.verdicts.formats.scripted import in_language, in_script
from harness.verdicts.language import say

HERE = Path(__file__).parent

# What a step is, by its event: {who} names its actor, and {what} the thing that it is about.
EVENTS = {
    "E.recv": template("has received something"),
    "B.recv": template("is about to receive"),
    "E.wait": template("has waited until something can be read or written"),
    "B.wait": template("is about to wait until something can be read or written"),
    "E.accept": template("has accepted a connection"),
    "B.send": template("is about to send to {what}"),
    "B.lock.wait": template("asks for the lock {what}"),
    "E.lock.hold": template("has given the lock {what} back"),
    "B.pipe.write": template("is about to write to the pipe to {what}"),
    "E.pipe.read": template("has read from the pipe of {what}"),
    "B.keep": template("is about to write to the transcript"),
    "B.save": template("is about to save the members"),
    "B.hash": template("is about to check a password"),
    "B.fork": template("is about to make a process"),
    "E.cond.wait": template("has been woken at {what}"),
    "E.queue.get": template("has taken something from the queue"),
    "E.sem.wait": template("has passed the semaphore {what}"),
    "E.join": template("has waited for the end of a thread"),
    "B.read": template("is about to read {what}"),
    "B.write": template("is about to write {what}"),
}
DEEDS = {
    "sends": template("sends"),
    "hears": template("receives"),
    "types": template("types"),
    "shows": template("shows"),
    "warns": template("warns"),
}
TEXTS = {
    "starts": template("The server starts."),
    "failed": template("The server cannot be played:"),
    "gone": template("The command has ended. Start it again, and open its new address."),
    "number": template("no."),
    "busy": template("The server takes its steps."),
    "elsewhere": template("Another tab went on. This is where the server is now."),
    "other": template("The program took another way here: {who} could not go on."),
    "choose": template("Step {number}. Who goes on?"),
    "broke": template("It broke."),
    "held_up": template("All is done, and no rule is broken."),
    "unclear": template("All is done. The model could not judge it."),
    "waits": template("{who} waits for the lock {what}, which {other} holds."),
    "holds": template("holds {what}"),
    "sleeps": template("sleeps in the system: {what}"),
    "new": template("not known yet"),
    "orders": template("{count} orders known, {bad} break it"),
    "order": template("1 order known, {bad} break it"),
    "preempts": template("{who} has to stop for it"),
    "planned": template("on the way"),
    "guess_was": template("guess: {text}"),
    "bad_count": template("{count} of these orders break it."),
    "bad_one": template("1 of these orders breaks it."),
    "no_bad": template("None of the orders known so far breaks it."),
    "tree_label": template(
        "All orders that are known, as a tree: {runs} orders, {states} states, {bad} break it. The "
        "buttons above say the same of each choice."
    ),
}


def live_page(workload: Workload, command: str) -> str:
    """Return the page of a game that is served."""
    return made(say(workload.title), cleaned(command), workload.name)


def recorded_page(races: list[dict[str, Any]]) -> str:
    """Return a page of recorded orders: of races as recorded.record() returns them."""
    about = say(
        "All orders of the steps of two clients, each of them executed. Nothing runs in this page."
    )
    return made(say("Six classic races"), about, "", [in_words(race) for race in races])


def in_words(race: dict[str, Any]) -> dict[str, Any]:
    """Return a race with its texts in the language in use."""
    rows = [
        {"run": {**row["run"], "end": list(map(say, row["run"]["end"]))}}
        if "end" in row.get("run", ())
        else row
        for row in race["rows"]
    ]
    impossible = say("Impossible in all {count} orders.", count=race["orders"])
    progress = {
        "text": say("{count} orders, each of them executed", count=race["orders"]),
        "whole": True,
        "impossible": impossible,
    }
    texts = {name: say(race[name]) for name in ("title", "about")}
    return {**race, **texts, "rows": rows, "progress": progress}


def made(title: str, about: str, name: str, races: list[dict[str, Any]] | None = None) -> str:
    """Return a page: of recorded races, or live."""
    texts = {**TEXTS, "event": EVENTS, "deed": DEEDS}
    page: str = rendered(
        HERE / "page.html",
        title=title,
        about=about,
        name=name,
        live=races is None,
        style=Markup((HERE / "play.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "play.js").read_text(encoding="utf-8")),
        races=races,
        data=in_script({"texts": in_language(texts), "races": races}),
    )
    return page
