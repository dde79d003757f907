"""The player: plays recorded runs like a film, on one clock, on a page that needs no network.

A film is what one run shows, in numbers and tables, times in microseconds since the first one:

    title, length
    lanes       names; the first `clients` of them are clients, the others are the server's
    bars        [lanes, begins, ends, kinds, what each is about]: lists of the same length, by their
                begin; an end of -1 means that the run has none
    kinds       the names of the kinds of bars; about: what bars are about
    lines       [lane, at, what was done, text]: what clients sent and heard, and the owner
    messages    [number, said, heard, sender's lane, listener's lane]
    samples     [at, lane, bytes in the client's receive buffer, in the server's send buffer]
    wrong       [at, lane, why] of the first wrong line, or None
    missing     sentences on what could not be read
"""

from pathlib import Path

from harness.driving.messages import template
from harness.verdicts.formats.page import rendered
from harness.verdicts.formats.scripted import in_language, in_script

HERE = Path(__file__).parent

# kind of a bar: its words
KINDS = {
    "wait": template("waits until something can be read or written"),
    "recv": template("waits for its client"),
    "accept": template("waits for a connection"),
    "pipe.read": template("waits for the pipe of {what}"),
    "pipe.write": template("writes to the pipe to {what}"),
    "lock.wait": template("waits for the lock {what}"),
    "lock.hold": template("holds the lock {what}"),
    "send": template("sends to {what}"),
    "keep": template("writes the transcript"),
    "save": template("saves the members"),
    "hash": template("checks a password"),
    "fork": template("makes a process"),
    "crowded": template("backpressure: reads nobody"),
}
DEEDS = {
    "sends": template("sends"),
    "hears": template("receives"),
    "types": template("types"),
    "shows": template("shows"),
    "warns": template("warns"),
    "ended": template("the connection has ended"),
}
TEXTS = {
    "name": template("The player: runs on one clock"),
    "play": template("Play"),
    "pause": template("Pause"),
    "step": template("Step"),
    "back": template("Back"),
    "closer": template("Zoom in"),
    "farther": template("Zoom out"),
    "whole": template("Whole run"),
    "speed": template("Speed"),
    "time": template("Time"),
    "slow_motion": template("1 ms in {count} ms"),
    "slowest": template("Slowest message"),
    "wrong": template("First wrong line"),
    "longest": template("Longest wait"),
    "at": template("{time} ms of {length} ms"),
    "who": template("who"),
    "does": template("does"),
    "since": template("since, ms"),
    "idle": template("runs its own code, or has nothing to do"),
    "last": template("last: {deed} {text}"),
    "nothing": template("has done nothing yet"),
    "unread": template("{received} bytes not read by the client, {unsent} not sent by the server"),
    "holder": template("{who} holds it"),
    "number": template("last event number: {number}"),
    "message": template(
        "{run}: message {number}, from {sender} to {listener}: {time} ms from SAY to receipt."
    ),
    "wait": template("{run}: {who} {does}: {time} ms."),
    "wrong_line": template("{run}: {why}"),
    "no_wrong": template("No line of these runs is wrong."),
    "none": template("There is none."),
    "open": template("{run}: {who} {does}, and the run has no end of it."),
    "picture": template(
        "Lanes of each run: time runs to the right; the table below says the same of the moment "
        "at the line."
    ),
    "legend": {
        "idle": template("waits for work"),
        "wait": template("is held up: by a lock, or by a client that does not read"),
        "hold": template("holds a lock (frame)"),
        "pipe": template("writes to a pipe"),
        "send": template("sends"),
        "disk": template("writes to disk"),
        "hash": template("checks a password"),
        "fork": template("makes a process"),
    },
    "arrows": template("▼ a client sends, ▲ it receives"),
    "keys": template(
        "Keys: space plays and pauses, the arrows step, + and − zoom. Click a lane to go there."
    ),
    "kind": KINDS,
    "deed": DEEDS,
}


def assets():
    """The style and the script that all players of a page share, as markup."""
    from markupsafe import Markup

    style, script = ((HERE / f"player.{end}").read_text(encoding="utf-8") for end in ("css", "js"))
    return Markup(f"<style>{style}</style>\n<script>{script}</script>\n")


def player(films):
    """A player of these films, as markup. The page must have assets() after it."""
    from markupsafe import Markup

    data = in_script({"films": films, "texts": in_language(TEXTS)})
    return Markup(f"<div class=player><script type=application/json>{data}</script></div>\n")


def page(title, films):
    """A page with a player of these films, and nothing else."""
    return rendered(HERE / "player.html", title=title, player=player(films), assets=assets())
