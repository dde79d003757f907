"""python -m harness grade: grades the submissions of a class."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.arguments import positive, seconds
from harness.driving.messages import Message, msg
from harness.grading import adjust, check_setup, intake, outputs, probe
from harness.grading.adjust import Adjustment
from harness.grading.downloads import submissions_in
from harness.grading.engine import Cluster, Embedded, Engine
from harness.grading.intake import Matched, Work
from harness.grading.model import Class, End, Grade, Student
from harness.grading.progress import Shown
from harness.grading.results import Results, checks_digest, rubric_digest
from harness.grading.roster import read_late, read_roster, read_time
from harness.grading.run import Run, Terms
from harness.verdicts import catalogue, language, rubric
from harness.verdicts.formats.render import clean
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import DEADLINE, UsageError

MOST_WORKERS = 5  # checks at once of one submission: most of them wait most of the time


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `harness grade` takes."""
    parser.add_argument(
        "submissions",
        nargs="?",
        metavar="SUBMISSIONS",
        help="a folder with a folder, an archive or a git clone for each student, or what Canvas, "
        "Moodle or Gradescope let you download",
    )
    parser.add_argument(
        "--lab", type=int, required=True, metavar="N", choices=range(9), help="0 to 8"
    )
    parser.add_argument(
        "--check-setup",
        action="store_true",
        help="grade no submissions: show that the starting folder gets 0 points, the reference "
        "all, and each exhibit of the lab less than all",
    )
    parser.add_argument(
        "--roster",
        metavar="FILE",
        help="roster.csv: the column login, and any of name, sis_id, email, section, moodle_id, "
        "github, language, extension (days, or a time), partners (logins), submitted (a time)",
    )
    parser.add_argument(
        "--rubric", metavar="FILE", help="rubric.toml: points of checks, hidden checks"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        default="results",
        help="the folder of results (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="submissions at once (default: one for every two cores)",
    )
    parser.add_argument(
        "--sandbox",
        choices=probe.OF_SANDBOX,
        default="auto",
        help="auto: the best that this machine offers. none: practice, which gives no grades "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--require-tier", choices=("A", "B"), help="stop if the sandbox is none of this tier"
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="judge on the workers of this Dask scheduler"
    )
    parser.add_argument(
        "--due",
        metavar="TIME",
        help="2026-11-30 18:00, or a day, whose end it is then; of a git clone, the last commit "
        "until then is judged",
    )
    parser.add_argument(
        "--late",
        metavar="RULE",
        help='what lateness costs, as "10%%/day" or "2 points/hour, grace 15 min, cap 50%%": for '
        "each unit that has begun; percents are of the points that the checks give",
    )
    parser.add_argument(
        "--format",
        action="extend",
        nargs="+",
        default=[],
        choices=outputs.CHOICES,
        metavar="NAME",
        help=f"write also for these: {', '.join(outputs.CHOICES)}",
    )
    parser.add_argument(
        "--gradebook", metavar="FILE", help="fill in this gradebook, as Canvas exported it"
    )
    parser.add_argument(
        "--assignment", default="", metavar="TITLE", help="the column of the gradebook"
    )
    parser.add_argument(
        "--worksheet", metavar="FILE", help="fill in this grading worksheet, as Moodle exported it"
    )
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="LOGIN", help="judge only these students"
    )
    parser.add_argument(
        "--regrade",
        action="store_true",
        help="judge also what is judged already, and show whose verdicts changed",
    )
    parser.add_argument(
        "--deadline",
        type=seconds,
        default=float(DEADLINE),
        metavar="S",
        help="seconds that a server may take for anything (default: %(default)s)",
    )
    parser.add_argument("--seed", default="", help="the same seed makes the same names and texts")
    parser.add_argument(
        "--lang", choices=LANGUAGES, help="of what people read (default: the locale's, else en)"
    )


def main(options: argparse.Namespace) -> int:
    """Exit status: 0 all are graded, 3 some need a look, 2 misuse; 130 if it was stopped."""
    language.choose(options.lang)
    try:
        with stopped_by_signals():
            return grade(options)
    except UsageError as why:
        print(f"grade: {clean(say(why.args[0]))}", file=sys.stderr)
        return 2


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """What tells a program to end is taken as Ctrl-C is."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def grade(options: argparse.Namespace) -> int:
    """As main(). Raises UsageError."""
    terms = terms_of(options)
    if options.check_setup:
        return try_setup(terms, options)
    if not options.submissions:
        raise UsageError(msg("name the folder of submissions, or give --check-setup"))
    students = read_roster(options.roster) if options.roster else None
    others = [Path(one) for one in (options.out, options.roster, options.rubric) if one]
    handed = submissions_in(Path(options.submissions), others)
    matched = (
        intake.without_roster(handed) if students is None else intake.with_roster(handed, students)
    )
    if not matched.students:
        raise UsageError(msg("{folder} holds no submission", folder=options.submissions))
    with Results(Path(options.out)) as results:
        works = intake.works_of(matched, terms.due, terms.lab, results.keep)
        handed_in_says(matched.students, works)
        tell_first(matched, works)
        adjustments = read_first(matched, terms, options, results.folder)
        run = Run(terms, results, Shown(0))
        is_open = bool(matched.unmatched)
        run.plan(those(matched.students, options.only), works, options.regrade, is_open)
        try:
            judge(run, options)
        except KeyboardInterrupt:
            left = sum(not task.is_settled for task in run.tasks.values())
            tell(
                say(
                    "stopped: {left} still to judge. All others are in {folder}, and the same "
                    "command goes on",
                    left=left,
                    folder=options.out,
                )
            )
            return 130
        found = class_of(matched, run)
        adjust_by_hand(found, adjustments, results)
        results.forget_all_but({one.submission for one in results.all()})
        notes = outputs.write(found, results.folder, options.format, tables_of(options))
        return tell_last(found, notes, options.out)


def tell(text: str) -> None:
    """Prints a line; nothing in it is obeyed by a terminal."""
    print(clean(text), flush=True)


def terms_of(options: argparse.Namespace) -> Terms:
    """What holds for all submissions. Raises UsageError."""
    if options.late and not options.due:
        raise UsageError(msg("--late needs --due"))
    if options.scheduler and options.jobs:
        raise UsageError(msg("--jobs is of this machine: with --scheduler, its workers decide"))
    begun = intake.starters(options.lab)
    graded = rubric.read(options.rubric)
    tier = tier_of(options)
    if tier == probe.NONE:
        tell(say("Nothing confines the programs: this is practice, and gives no grades"))
    if tier == "B" and (options.jobs or 1) > 1:
        raise UsageError(msg("in tier B all share one network: --jobs 1"))
    jobs = options.jobs or default_jobs(tier)
    cores = max(1, len(os.sched_getaffinity(0)) // jobs)
    return Terms(
        lab=options.lab,
        begun=begun,
        rubric=graded,
        rubric_digest=rubric_digest(graded),
        checks=checks_digest(begun, options.deadline),
        tier=tier,
        deadline=options.deadline,
        seed=options.seed,
        workers=min(1 + 2 * cores, MOST_WORKERS),
        lang=language.in_use,
        due=read_time(options.due) if options.due else None,
        late=read_late(options.late) if options.late else None,
    )


def default_jobs(tier: str) -> int:
    """How many submissions are judged at once on this machine: each has two cores. In tier B all
    share the network of the machine.
    """
    return 1 if tier == "B" else max(1, len(os.sched_getaffinity(0)) // 2)


def tier_of(options: argparse.Namespace) -> str:
    """The tier of the sandbox. Raises UsageError if there is none, or none that is asked for:
    practice must be asked for, too. Each worker of a scheduler tries its own.
    """
    if options.scheduler:
        tier = (*probe.OF_SANDBOX[options.sandbox], probe.NONE)[0]
        order = (*probe.TIERS, probe.NONE)
        if options.require_tier and order.index(tier) > order.index(options.require_tier):
            raise UsageError(
                msg(
                    "--sandbox {name} is below tier {tier}",
                    name=options.sandbox,
                    tier=options.require_tier,
                )
            )
        return tier
    found = probe.choose(options.sandbox, options.require_tier)
    if found.tier == probe.NONE and options.sandbox != "none":
        raise UsageError(
            msg(
                "{reasons}\nWithout a sandbox there is no grade; --sandbox none is for practice",
                reasons=found.text(),
            )
        )
    return found.tier


def those(students: list[Student], logins: list[str] | None) -> list[Student]:
    """Those of the class who are to be judged. Raises UsageError."""
    if logins is None:
        return students
    known = {student.login.casefold(): student for student in students}
    for login in logins:
        if login.casefold() not in known:
            close = ", ".join(catalogue.close_to(login, [student.login for student in students]))
            raise UsageError(
                msg("{login} is no student (close: {names})", login=login, names=close)
                if close
                else msg("{login} is no student of this class", login=login)
            )
    wanted = {login.casefold() for login in logins}
    return [student for student in students if student.login.casefold() in wanted]


def handed_in_says(students: list[Student], works: dict[str, Work]) -> None:
    """Takes the roster's word for when something was handed in. Raises UsageError."""
    for student in students:
        if (text := student.more.get("submitted")) and student.login in works:
            works[student.login] = replace(works[student.login], submitted=read_time(text))


def tell_first(matched: Matched, works: dict[str, Work]) -> None:
    """What a teacher must know before anything is judged."""
    if matched.unmatched:
        tell(say("Submissions that are nobody's: {count}", count=len(matched.unmatched)))
        for name, why in matched.unmatched:
            tell(say("  {name}: {why}", name=name, why=why))
    if without := [one.login for one in matched.students if one.login not in works]:
        tell(
            say(
                "Students without a submission: {count}: {names}",
                count=len(without),
                names=", ".join(without),
            )
        )


def try_setup(terms: Terms, options: argparse.Namespace) -> int:
    """Does --check-setup. Returns the exit status. Raises UsageError."""
    engine = engine_of(terms, options)
    try:
        return check_setup.run(terms, engine)
    except KeyboardInterrupt:
        return 130
    finally:
        engine.close()


def engine_of(terms: Terms, options: argparse.Namespace) -> Engine:
    """Where jobs are to run. Raises UsageError."""
    if options.scheduler:
        return Cluster(options.scheduler, terms.checks, terms.deadline)
    return Embedded(options.jobs or default_jobs(terms.tier))


def judge(run: Run, options: argparse.Namespace) -> None:
    """Judges what is missing. Raises UsageError, KeyboardInterrupt."""
    if not run.tasks:
        return
    tell(say("To judge: {count}", count=len(run.tasks)))
    terms = run.terms
    engine = engine_of(terms, options)
    try:
        with Shown(len(run.tasks)) as run.shown:
            run.judge(engine)
    finally:
        engine.close()


def class_of(matched: Matched, run: Run) -> Class:
    """The class as it is in the folder of results now, without the reports: they stay there."""
    terms, results = run.terms, run.results
    grades = [
        results.grade(student.login) or Grade(student.login, End.LOOK, why=msg("not judged yet"))
        for student in matched.students
    ]
    return Class(
        lab=terms.lab,
        title=terms.begun[0].title,
        students=matched.students,
        grades=grades,
        rubric=terms.rubric,
        tier=terms.tier,
        unmatched=[name for name, _ in matched.unmatched],
        due=terms.due,
        late=terms.late.text if terms.late else "",
        graded=datetime.now(UTC).replace(microsecond=0),
        sources=sources_of(grades, run),
    )


def sources_of(grades: list[Grade], run: Run) -> dict[str, dict[str, bytes]]:
    """{digest: {file: its text}} of the files in which the lab has something to write."""
    wanted = {place for begun in run.terms.begun for place in intake.written(begun)}
    found: dict[str, dict[str, bytes]] = {}
    for digest in {grade.submission for grade in grades} - {""}:
        with suppress(OSError):  # it was judged by a run whose folder lacks it now
            files = intake.unpacked(run.results.kept(digest))
            found[digest] = {place: files[place] for place in wanted & files.keys()}
    return found


def read_first(
    matched: Matched, terms: Terms, options: argparse.Namespace, folder: Path
) -> list[Adjustment]:
    """Reads, before anything is judged, what is needed when all is: adjust.csv in the folder of
    results, which it returns, and the tables to fill in. Raises UsageError.
    """
    students, path = matched.students, folder / "adjust.csv"
    not_yet = [Grade(student.login, End.LOOK) for student in students]
    tables = tables_of(options)
    outputs.filled_in(Class(terms.lab, "", students, not_yet, terms.rubric), options.format, tables)
    return adjust.read(path, students, terms.rubric) if path.exists() else []


def adjust_by_hand(found: Class, adjustments: list[Adjustment], results: Results) -> None:
    """Brings what adjust.csv gives into the grades."""
    adjust.apply(found, adjustments)
    for grade in found.grades:
        kept = results.grade(grade.login, with_report=True)
        if kept and replace(kept, report=None) != grade:
            results.commit(replace(grade, report=kept.report))


def tables_of(options: argparse.Namespace) -> outputs.Tables:
    """What a school's system exported, to be filled in. Each table asks for its format."""
    for table, name in (options.gradebook, "canvas"), (options.worksheet, "moodle"):
        if table and name not in options.format:
            options.format.append(name)
    return outputs.Tables(options.gradebook, options.assignment, options.worksheet)


def tell_last(found: Class, notes: list[Message], folder: str) -> int:
    """How it ended, and what needs a look. Returns the exit status."""
    looks = found.ended(End.LOOK)
    tell(
        say(
            "Students: {count}. Graded: {graded}, not built: {not_built}, nothing handed in: "
            "{nothing}, need a look: {looks}",
            count=len(found.grades),
            graded=len(found.ended(End.GRADED)),
            not_built=len(found.ended(End.NOT_BUILT)),
            nothing=len(found.ended(End.NOTHING)),
            looks=len(looks),
        )
    )
    for one in looks:
        tell(say("  {login}: {why}", login=one.login, why=one.why))
    for note in notes:
        tell(say(note))
    tell(
        say("The class is in {folder}/class.html, its table in {folder}/grades.csv", folder=folder)
    )
    return 3 if looks else 0
