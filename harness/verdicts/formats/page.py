"""The Report as one HTML page that needs nothing else, and sends nothing: verdicts, and each failure with its picture."""
from html import escape

from harness import language
from harness.language import say
from harness.record import DEEDS
from harness.verdicts.formats.told import cleaned, headline
from harness.verdicts.model import FAILED
from harness.verdicts.plugin import STAGES

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #111; background: #fff }
pre, code { font: 14px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere } dt { font-weight: bold }
dd pre { margin: 0 0 .5rem } td:first-child, td:last-child { white-space: nowrap } table { border-collapse: collapse } th, td { padding: .2rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #bbb }
.passed b { color: #00603b } .failed b { color: #a11 } section.failure { border-left: 4px solid #a11; padding-left: 1rem; margin: 2rem 0 }
svg { max-width: 100%; height: auto; font: 13px system-ui, sans-serif } .number { font-weight: bold }"""

SIGNS = {"passed": "\u2713", "failed": "\u2717", "inconclusive": "?", "not run": "\u2013", "harness fault": "!"}


def page(report):
    report = cleaned(report)
    command = " ".join(report.command)
    parts = [f"<!DOCTYPE html>\n<html lang={language.in_use}><meta charset=utf-8><meta name=viewport content='width=device-width'>"
             "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
             f"<title>Grupo: {escape(command)}</title><style>{STYLE}</style>\n<h1>{escape(headline(report))}</h1>\n"
             f"<p><code>{escape(command)}</code><br>{escape(report.started)}, {report.seconds:g} s; {escape(report.machine)}"]
    parts += [f"<p>{escape(note)}" for note in report.notes]
    failures = []
    for stage in STAGES:
        here = [verdict for verdict in report.verdicts if verdict.stage == stage]
        if here:
            parts.append(f"<h2>{say(stage)}</h2>\n<table><thead><tr>{heads(say('verdict'), say('check'), say('points'))}</thead><tbody>")
        for verdict in here:
            word, title = verdict.verdict, escape(verdict.title)
            points = f"{verdict.score:g} {say('of')} {verdict.points:g}" if verdict.binds else "-"
            if verdict.failure:
                failures.append(verdict)
                title = f"<a href='#f{len(failures)}'>{title}</a>"
            parts.append(f"<tr class='{word.replace(' ', '-')}'><td><b>{SIGNS[word]} {say(word)}</b><td>{title}"
                         f"{f' <i>({escape(verdict.why)})</i>' if verdict.why else ''}<td>{points}")
        if here:
            parts.append("</table>")
    parts += [failure_section(verdict, f"f{number}") for number, verdict in enumerate(failures, 1)]
    return "\n".join(parts) + "\n</html>\n"


def failure_section(verdict, anchor):
    failure = verdict.failure
    steps = "".join(f"<li><pre>{escape(step)}</pre>" for step in failure.steps)
    said = [(say("expected"), failure.expected), (say("but"), failure.came), (say("when"), failure.run), (say("likely cause"), failure.cause),
            (say("read"), f"lab_guide/{failure.page}"), (say("do it again"), failure.replay)]
    return (f"<section class=failure id={anchor}><h2>{SIGNS[FAILED]} {escape(verdict.title)}</h2>\n<h3>{say('What was done')}</h3><ol>{steps}</ol>\n<dl>"
            + "".join(f"<dt>{name}<dd><pre>{escape(text)}</pre>" for name, text in said if text) + f"</dl>\n{picture(failure.slice)}</section>")


# -- The space-time diagram: time runs down, each participant is a line, each arrow has a number that the table below explains ----

LANE, ROW, TOP = 150, 26, 46


def heads(*names):
    return "".join(f"<th scope=col>{name}" for name in names)


def visible(text):
    """Line ends become a sign."""
    return escape(text).replace("\n", "\u23ce ")


def picture(entries):
    """What shows the violation, as a drawing and, the same, as a table; '' if there is nothing to draw."""
    if not entries:
        return ""
    people = list(dict.fromkeys(entry.who for entry in entries if entry.who != "server"))
    middle = (len(people) + 1) // 2
    lanes = people[:middle] + ["server"] + people[middle:]
    at = {who: LANE // 2 + LANE * number for number, who in enumerate(lanes)}
    height = TOP + ROW * (len(entries) + 1)
    label = escape(say("The order of events; the table below says the same"))
    parts = [f"<svg role=img aria-label='{label}' viewBox='0 0 {LANE * len(lanes)} {height}' width={LANE * len(lanes)}>"
             "<defs><marker id=tip viewBox='0 0 8 8' refX=8 refY=4 markerWidth=8 markerHeight=8 orient=auto><path d='M0,0 L8,4 L0,8 z'/></marker></defs>"]
    for who in lanes:
        parts.append(f"<text x={at[who]} y=20 text-anchor=middle font-weight=bold>{escape(named(who))}</text>"
                     f"<line x1={at[who]} y1={TOP - 16} x2={at[who]} y2={height} stroke='#888' stroke-width={3 if who == 'server' else 1} />")
    for number, entry in enumerate(entries, 1):
        y, x = TOP + ROW * number - ROW // 2, at[entry.who]
        if entry.who == "server":
            parts.append(f"<rect x={x - 5} y={y - 5} width=10 height=10 /><text class=number x={x + 10} y={y + 4}>{number}</text>")
            continue
        start, end = (x, at["server"]) if entry.what in DEEDS else (at["server"], x)
        dashes = "" if entry.what in DEEDS else " stroke-dasharray='6 3'"
        parts.append(f"<line x1={start} y1={y - 4} x2={end} y2={y + 4} stroke='#000'{dashes} marker-end='url(#tip)' />"
                     f"<text class=number x={x + (12 if x < at['server'] else -12)} y={y - 6} text-anchor={'start' if x < at['server'] else 'end'}>{number}</text>")
    rows = "".join(f"<tr><td>{number}<td>{entry.at:.6f}<td>{escape(named(entry.who))}<td>{say(entry.what)}"
                   f"<td><code>{visible(say(entry.text) if entry.what == 'exits' else entry.text)}</code>" for number, entry in enumerate(entries, 1))
    legend = say("Time runs down. Whole arrows go to the server, dashed ones come from it; a square is the server's own.")
    return ("".join(parts) + f"</svg>\n<p>{legend}<table><thead><tr>"
            f"{heads(say('no.'), say('seconds'), say('who'), say('did'), say('what'))}</thead><tbody>{rows}</table>")


def named(who):
    return {"server": say("server"), "owner": say("owner")}.get(who, who)
