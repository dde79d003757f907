"""The Report as one HTML page that needs nothing else, and sends nothing: first what failed, each failure with its picture, then the rest.

It is read on a phone, on a projector, in the dark and on paper: every width, both colour schemes, and print have their rules below.
"""
from html import escape

from harness.driving.record import DEEDS
from harness.verdicts import language
from harness.verdicts.formats.told import advice, brief, cleaned, first_to_fix, headline, in_a_line, named, numbered
from harness.verdicts.language import say
from harness.verdicts.model import FAILED, PASSED
from harness.verdicts.plugin import STAGES

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; color: var(--text); background: var(--page); overflow-wrap: anywhere }
:root { color-scheme: light dark; --text: #111; --page: #fff; --soft: #555; --line: #bbb; --bad: #a11; --good: #00603b; --panel: #f4f4f4 }
@media (prefers-color-scheme: dark) { :root { --text: #eee; --page: #16181b; --soft: #aaa; --line: #555; --bad: #ff8a80; --good: #6fd3a4; --panel: #22252a } }
@media print { :root { --text: #000; --page: #fff; --soft: #333; --line: #999; --bad: #900; --good: #000; --panel: #fff } }
* { box-sizing: border-box }
h1 { font-size: 1.4rem; line-height: 1.3; margin: .2rem 0 .6rem } h2 { font-size: 1.15rem; margin: 0 0 .2rem } h3 { font-size: 1rem; margin: 1rem 0 .2rem }
p { margin: .3rem 0 } a { color: inherit } .soft { color: var(--soft); font-size: .9rem }
pre, code { font: .85rem/1.4 ui-monospace, monospace; white-space: pre-wrap } pre { margin: 0 } pre.panel { background: var(--panel); padding: .4rem .6rem }
ul.failed { list-style: none; margin: .5rem 0; padding: 0 } ul.failed li { padding: .1rem 0 } ul.failed code { font-weight: bold; margin-right: .5rem }
section.failure { border-left: 4px solid var(--bad); padding-left: .8rem; margin: 2rem 0 } .bad, .failed > td:first-child { color: var(--bad) } .passed > td:first-child { color: var(--good) }
ol.steps { margin: .2rem 0; padding-left: 2rem; font-size: .9rem } ol.steps li.fold { list-style: none; counter-increment: list-item 0 }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .4rem .8rem; margin: .8rem 0 } dt { font-weight: bold } dd { margin: 0; min-width: 0 }
table { border-collapse: collapse; width: 100% } th, td { padding: .2rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
details { margin: .6rem 0 } summary { cursor: pointer } .wide { overflow-x: auto }
.diagram { position: relative; margin: .4rem 0; padding: 0 0 .6rem; font-size: .8rem; line-height: 1.25 } .names { position: relative; height: 1.4rem }
.names b { position: absolute; transform: translateX(-50%); white-space: nowrap } .lane { position: absolute; top: 1.4rem; bottom: 0; border-left: 1px solid var(--line) } .lane.server { border-left-width: 3px; margin-left: -1px }
.diagram ol { list-style: none; margin: 0; padding: 0; position: relative } .diagram li { margin-top: .45rem; break-inside: avoid }
.arrow { position: relative; padding: 0 .6rem .15rem; border-bottom: 2px solid var(--text) } .arrow.from { border-bottom-style: dashed }
.arrow::after { content: ''; position: absolute; bottom: -6px; border: 5px solid transparent } .arrow.right::after { right: 0; border-left-color: var(--text); border-right: 0 }
.arrow.left::after { left: 0; border-right-color: var(--text); border-left: 0 } .arrow code, .own code { font-size: .75rem; background: var(--page) }
.own code { border: 1px solid var(--text); padding: 0 .3rem } .wrong code { font-weight: bold } .wrong .mark { display: block; color: var(--bad); font-weight: bold }
.wrong .arrow { border-color: var(--bad); border-bottom-width: 3px } .wrong .arrow.right::after { border-left-color: var(--bad) } .wrong .arrow.left::after { border-right-color: var(--bad) }
.wrong .own code { border: 2px solid var(--bad) } tr.wrong td { font-weight: bold; color: var(--bad) }
@media (max-width: 40rem) { dl { display: block } dt { margin-top: .6rem } .title { display: none } body { padding: .6rem } h2 { font-size: 1.05rem } th, td { padding: .2rem } }
@media print { body { max-width: none; padding: 0; font-size: 11pt } h2, h3, dt, summary { break-after: avoid } pre, tr { break-inside: avoid } .wide { overflow: visible } }"""

SIGNS = {"passed": "\u2713", "failed": "\u2717", "inconclusive": "?", "not run": "\u2013", "harness fault": "!"}
AT_TOP = 6                  # failures that the page opens with; the rest is folded, so that the first failure is no screen away


def page(report):
    """The Report as an HTML page, for students."""
    report = cleaned(report)
    command = " ".join(report.command)
    failures = sorted((verdict for verdict in report.verdicts if verdict.failure), key=lambda verdict: verdict is not first_to_fix(report))
    parts = [f"<!DOCTYPE html>\n<html lang={language.in_use}><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
             "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
             f"<title>Grupo: {escape(report.student or command)}</title><style>{STYLE}</style>",
             *opening(report, failures), *(failure_section(verdict, f"f{number}") for number, verdict in enumerate(failures, 1)),
             *rest(report), about(report, command)]
    return "\n".join(parts) + "\n</html>\n"


def opening(report, failures):
    """Whose server it is, the result, and links to what failed."""
    student = f" \u00b7 <b>{escape(report.student)}</b>" if report.student else ""
    parts = [f"<header>\n<p class=soft>Grupo \u00b7 {say(f'Lab {report.lab}')}{student}", f"<h1>{escape(headline(report))}</h1>"]
    if report.refused:
        parts.append(f"<section class=failure><pre>{escape(report.refused)}</pre></section>")
    parts += [f"<p>{escape(note)}" for note in report.notes]
    links = [f"<li><a href='#f{number}'><code>{escape(verdict.check)}</code></a><span class=title>{escape(verdict.title)}</span>"
             for number, verdict in enumerate(failures, 1)]
    if links:
        parts.append(f"<nav aria-label='{say('failed')}'><ul class=failed>" + "\n".join(links[:AT_TOP]) + "</ul>")
        if more := links[AT_TOP:]:
            parts.append(f"<details><summary>{say(f'{len(more)} more failed')}</summary><ul class=failed>" + "\n".join(more) + "</ul></details>")
        parts.append("</nav>")
    if words := advice(report):
        parts.append(f"<pre class=panel>{escape(words)}</pre>")
    return [*parts, "</header>"]


def failure_section(verdict, anchor):
    """A failure: what was done, what should have come, what came, the events around the first wrong one, what to do."""
    failure = verdict.failure
    steps = "".join(f"<li><pre>{escape(step)}</pre>" if number else f"<li class=fold><pre>{escape(step)}</pre>" for number, step in numbered(failure.steps))
    said = [(say("expected"), failure.expected), (say("but"), failure.came), (say("when"), failure.run), (say("likely cause"), failure.cause),
            (say("read"), f"lab_guide/{failure.page}"), (say("do it again"), failure.replay)]
    return (f"<section class=failure id={anchor}><h2><span class=bad>{SIGNS[FAILED]}</span> {escape(verdict.title)}</h2>\n"
            f"<p class=soft>{say(verdict.stage)}: <code>{escape(verdict.check)}</code>, {points_of(verdict)}\n"
            f"<h3>{say('What was done')}</h3><ol class=steps>{steps}</ol>\n<dl>"
            + "".join(f"<dt>{name}<dd><pre>{escape(text)}</pre>" for name, text in said if text) + f"</dl>\n{picture(failure)}</section>")


def points_of(verdict):
    """`0 of 2 points`; `-` if they are not asked for."""
    score, most = f"{verdict.score:g}", f"{verdict.points:g}"
    return say(f"{score} of {most} points") if verdict.binds else "-"


def rest(report):
    """The checks that neither passed nor have a section of their own, and, folded, those that passed."""
    others = [verdict for verdict in report.verdicts if verdict.verdict != PASSED and not verdict.failure]
    passed = report.of(PASSED)
    parts = []
    if others:
        parts.append(f"<h2>{say('Other checks that did not pass')}</h2>\n{table_of(others)}")
    if passed:
        count = len(passed)
        parts.append(f"<details><summary>{say(f'{count} passed')}</summary>\n{table_of(passed)}</details>")
    return parts


def table_of(verdicts):
    """A row for each check, by stage."""
    rows = []
    for verdict in sorted(verdicts, key=lambda verdict: list(STAGES).index(verdict.stage)):
        word = verdict.verdict
        name = "" if verdict.hidden else f"<code>{escape(verdict.check)}</code> "
        why = f" <i>({escape(verdict.why)})</i>" if verdict.why else ""
        rows.append(f"<tr class='{word.replace(' ', '-')}'><td>{SIGNS[word]} {say(word)}<td>{say(verdict.stage)}: {name}{escape(verdict.title)}{why}"
                    f"<td>{points_of(verdict)}")
    return f"<table><thead><tr>{heads(say('verdict'), say('check'), say('points'))}</thead><tbody>" + "\n".join(rows) + "</table>"


def about(report, command):
    """What was run, when and where."""
    return (f"<footer class=soft><p><code>{escape(command)}</code><br>{escape(report.started)}, {report.seconds:g} s; {escape(report.machine)}"
            "</footer>")


# -- The space-time diagram: time runs down, each participant is a line, each arrow bears what was sent; the table below says the same ----

LONG_TEXT = 100             # characters on an arrow; the table has them all
MARGIN = 10                 # percent of the width on each side of the lanes
NARROW = 4                  # lanes that a narrow page has room for


def heads(*names):
    return "".join(f"<th scope=col>{name}" for name in names)


def visible(text):
    """Line ends become a sign."""
    return escape(text).replace("\n", "\u23ce ")


def picture(failure):
    """What shows the violation, as a drawing and, the same, as a table, the first wrong event marked in both; '' if there is nothing to draw."""
    entries = failure.slice
    if not entries:
        return ""
    people = list(dict.fromkeys(entry.who for entry in entries if entry.who != "server"))
    middle = (len(people) + 1) // 2
    lanes = people[:middle] + ["server"] + people[middle:]
    at = {who: MARGIN + number * (100 - 2 * MARGIN) / (len(lanes) - 1) for number, who in enumerate(lanes)} if people else {"server": 50}
    mark = f"<span class=mark>{SIGNS[FAILED]} {say('the first wrong one')}</span>"
    names = "".join(f"<b style='left:{place:.2f}%'>{escape(named(who))}</b>" for who, place in at.items())
    lines = "".join(f"<div class='lane{' server' * (who == 'server')}' style='left:{place:.2f}%'></div>" for who, place in at.items())
    drawn = [event(number, entry, at, mark if number - 1 == failure.wrong else "") for number, entry in enumerate(entries, 1)]
    if failure.wrong == len(entries):
        drawn.append(f"<li class=wrong>{own(at, '<code>' + say('nothing more came') + '</code>' + mark)}")
    room = f" style='min-width:{6 * len(lanes)}rem'" if len(lanes) > NARROW else ""
    label = escape(say("The order of events; the table below says the same"))
    legend = say("Time runs down. Whole arrows go to the server, dashed ones come from it; what stands in a box is the server's own.")
    rows = "".join(f"<tr{' class=wrong' * (number - 1 == failure.wrong)}><td>{number}{f' {SIGNS[FAILED]}' * (number - 1 == failure.wrong)}<td>{entry.at:.6f}"
                   f"<td>{escape(named(entry.who))}<td>{say(entry.what)}<td><code>{visible(text_of(entry))}</code>" for number, entry in enumerate(entries, 1))
    if failure.wrong == len(entries):
        rows += f"<tr class=wrong><td>{SIGNS[FAILED]}<td><td><td><td>{say('nothing more came')}"
    return (f"<div class=wide{' tabindex=0' * bool(room)}><div class=diagram role=group aria-label='{label}'{room}><div class=names>{names}</div>{lines}<ol>" + "".join(drawn)
            + f"</ol></div></div>\n<p class=soft>{legend}\n<details><summary>{say('The same as a table, with nothing left out')}</summary><div class=wide><table><thead><tr>"
            f"{heads(say('no.'), say('seconds'), say('who'), say('did'), say('what'))}</thead><tbody>{rows}</table></div></details>")


def text_of(entry):
    return say(entry.text) if entry.what == "exits" else entry.text


def event(number, entry, at, mark):
    """One row of the drawing: an arrow between a client and the server, with what was sent above it; or a box of the server's own."""
    wrong = " class=wrong" * bool(mark)
    text = visible(brief(in_a_line(text_of(entry), "\n"), LONG_TEXT))
    if entry.what in ("sends", "hears", "types") and text:
        words = f"{number}. <code>{text}</code>"
    else:
        words = f"{number}. {say(entry.what)} <code>{text}</code>" if text else f"{number}. {say(entry.what)}"
    if entry.who == "server":
        return f"<li{wrong}>{own(at, words + mark)}"
    left, right = sorted((at[entry.who], at["server"]))
    deed = entry.what in DEEDS
    towards = "right" if (at[entry.who] < at["server"]) == deed else "left"
    return (f"<li{wrong}><div class='arrow {'to' if deed else 'from'} {towards}' style='margin-left:{left:.2f}%;width:{right - left:.2f}%'>"
            f"{words}{mark}</div>")


def own(at, words):
    """What the server does by itself, at its line."""
    place = at["server"]
    side = "center" if 35 < place < 65 else "right" if place > 50 else "left"
    return f"<div class=own style='text-align:{side}'>{words}</div>"
