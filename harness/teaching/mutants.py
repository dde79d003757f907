"""Mutants: our servers, and the strangers' in C, each with one small mistake, made systematically.
They measure the checks as the exhibits do, by bugs that nobody chose.

cosmic-ray and mutmut know only Python, no statement dropped or swapped and no lock, and mutmut runs
its tests in the mutant's own process: so the mutations are ours (harness/teaching/mutations).
"""

import hashlib
import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.arguments import positive
from harness.driving.messages import msg, template
from harness.driving.server import ROOT
from harness.driving.text_files import EncodingError, read_text
from harness.teaching.mutations.edit import KINDS
from harness.teaching.mutations.judge import (
    ALIKE,
    CHECK,
    FAULT,
    FUZZ,
    STILLBORN,
    SURVIVED,
    Judge,
    isolation,
)
from harness.teaching.mutations.population import Mutant, all_mutants, sample
from harness.teaching.soak import Missing
from harness.verdicts import language
from harness.verdicts.command import ends_by_signals
from harness.verdicts.language import LANGUAGES, say
from harness.verdicts.model import UsageError

EQUIVALENT = ROOT / "tests" / "mutants_equivalent.toml"  # id = "why nobody can tell the difference"
BY_CHECK, BY_CHECK_AND_FUZZ = 0.9, 0.97  # of the mutants that are not equivalent, at least
JUDGES = "checks", "driving", "model", "verdicts"  # the packages that judge a server
WIDTH = 100  # columns of the table
COLUMNS = {
    STILLBORN: template("stillborn"),
    ALIKE: template("equivalent"),
    CHECK: template("caught by check"),
    FUZZ: template("caught by fuzz"),
    SURVIVED: template("survived"),
    FAULT: template("not judged"),
}
screen = Console(highlight=False, markup=False, soft_wrap=True, width=WIDTH)


# -- What is known already -------------------------------------------------------------------------


def equivalents() -> dict[str, str]:
    """Return {id: reason} of the mutants that nobody can tell from the original.

    Raises UsageError.
    """
    try:
        found = tomllib.loads(read_text(EQUIVALENT))
    except (tomllib.TOMLDecodeError, EncodingError) as error:
        raise UsageError(f"{EQUIVALENT.name}: {error}") from None
    for name, reason in found.items():
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(msg("{file}: {name} has no reason", file=EQUIVALENT.name, name=name))
    return found


def version_of_checks() -> str:
    """Return what tells these checks, and all that they use, from others."""
    digest = hashlib.sha256()
    for folder in JUDGES:
        for path in sorted((Path(__file__).parents[1] / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Results:
    """The file of results: one JSON object a line, each written whole, only ever appended to.

    Those of other versions of the checks stay in it, and count for nothing.
    """

    def __init__(self, path: str) -> None:
        """Reads what is there. A last line that was not finished is cut off. Raises OSError."""
        self.version = version_of_checks()
        self.file = open(path, "a+b", buffering=0)
        self.file.seek(0)
        text = self.file.read()
        whole = text.rfind(b"\n") + 1
        self.file.truncate(whole)
        self.known: dict[str, dict] = {}
        for number, line in enumerate(text[:whole].splitlines(), 1):
            try:
                record = json.loads(line)
                if record["version"] == self.version:
                    self.known[record["id"]] = record
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    msg("{path}, line {number}: not a result", path=path, number=number)
                ) from None

    def add(self, record: dict) -> None:
        """Write one result."""
        self.file.write(json.dumps({**record, "version": self.version}).encode() + b"\n")
        self.known[record["id"]] = record

    def is_final(self, mutant: Mutant, minutes: int) -> bool:
        """Whether the mutant need not be judged again: nor a survivor fuzzed for so long."""
        record = self.known.get(mutant.id, {"outcome": FAULT})
        if record["outcome"] == SURVIVED:
            return record["minutes"] >= minutes
        return record["outcome"] != FAULT


# -- Judging all -----------------------------------------------------------------------------------


def judge_all(
    judge: Judge, mutants: list[Mutant], results: Results, workers: int
) -> Iterator[dict]:
    """Judge these mutants, several at once; write and yield each result as it comes."""
    with ThreadPoolExecutor(workers) as threads:
        tasks = {
            threads.submit(judge.judge, mutant, results.known.get(mutant.id)) for mutant in mutants
        }
        try:
            for task in as_completed(tasks):
                tasks.remove(task)
                record = task.result()
                results.add(record)
                yield record
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            judge.stop()


# -- The report ------------------------------------------------------------------------------------


def outcome_of(mutant: Mutant, results: Results, known: dict[str, str]) -> str:
    if mutant.id in known:
        return ALIKE
    return results.known.get(mutant.id, {"outcome": FAULT})["outcome"]


def report(mutants: list[Mutant], results: Results, known: dict[str, str]) -> float:
    """Show the survivors and the table; return which part of those that count was caught."""
    outcomes = {mutant.id: outcome_of(mutant, results, known) for mutant in mutants}
    for mutant in mutants:
        if outcomes[mutant.id] == SURVIVED:
            unsure = results.known[mutant.id]["unsure"]
            screen.print(f"\n{mutant.id}  {mutant.place}  {mutant.design}", style="bold")
            if unsure:
                screen.print(say("inconclusive: {checks}", checks=", ".join(unsure)))
            screen.print(mutant.diff)
    table = Table(box=None)
    table.add_column(say("kind"))
    for head in (say("made"), *map(say, COLUMNS.values())):
        table.add_column(head, justify="right")
    total: Counter[str] = Counter(outcomes.values())
    for kind in KINDS:
        counts = Counter(outcomes[mutant.id] for mutant in mutants if mutant.edit.kind == kind)
        if counts:
            table.add_row(kind, *cells(counts))
    table.add_row(say("all"), *cells(total), style="bold")
    screen.print()
    screen.print(table)
    caught, counted = total[CHECK] + total[FUZZ], total[CHECK] + total[FUZZ] + total[SURVIVED]
    share = caught / counted if counted else 1.0
    screen.print(
        say(
            "{caught} of {counted} mutants that are not equivalent were caught ({share:.1%}).",
            caught=caught,
            counted=counted,
            share=share,
        )
    )
    return share


def cells(counts: Counter[str]) -> list[str]:
    return [str(counts.total()), *(str(counts[outcome] or "-") for outcome in COLUMNS)]


def tell_of(record: dict, number: int, count: int) -> None:
    """Show one result as it comes."""
    word = COLUMNS[record["outcome"]]
    what = f"{say(word)}: {record['by']}" if record["by"] else say(word)
    screen.print(f"{number:>5} / {count}  {what}  {record['id']}  {record['place']}")


# -- The command -----------------------------------------------------------------------------------


def arguments(parser):
    """Adds what `harness mutants` takes."""
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="only those with this in their id: a file, a kind"
    )
    parser.add_argument("--list", action="store_true", help="only show them, with their diffs")
    parser.add_argument(
        "--sample", type=positive, metavar="N", help="judge so many, of all kinds and files"
    )
    parser.add_argument(
        "--seed", default="1", help="another seed draws another sample (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        default=0,
        metavar="M",
        help="play random dialogues for so long against each that the checks do not catch "
        "(default: none)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="judge so many at once (default: the number of cores, %(default)s)",
    )
    parser.add_argument(
        "--results",
        default="mutants.jsonl",
        metavar="FILE",
        help="append each result to FILE; what is there already is not judged again, unless the "
        "checks have changed (default: %(default)s)",
    )
    parser.add_argument(
        "--lang", choices=LANGUAGES, help="of what is shown (default: the locale's, else en)"
    )


def chosen(options, mutants: list[Mutant]) -> list[Mutant]:
    """Return the mutants that the command line asks for. Raises UsageError."""
    found = [
        mutant
        for mutant in mutants
        if not options.parts or any(part in mutant.id for part in options.parts)
    ]
    if not found:
        raise UsageError(msg("no mutant has {parts} in its id", parts=" ".join(options.parts)))
    return sample(found, options.sample, options.seed) if options.sample else found


def gone(known: Iterable[str], mutants: list[Mutant]) -> list[str]:
    """Return those of the equivalents that are no mutants any more."""
    return sorted(set(known) - {mutant.id for mutant in mutants})


def main(options):
    """Exit status 1 if too few mutants were caught, 2 for misuse."""
    language.choose(options.lang)
    try:
        mutants, known = all_mutants(), equivalents()
        found = chosen(options, mutants)
        if options.list:
            for mutant in found:
                screen.print(f"{mutant.id}  {mutant.place}  {mutant.design}\n{mutant.diff}\n")
            return 0
        return judged(options, found, mutants, known)
    except UsageError as why:
        print(f"mutants: {say(why.args[0])}", file=sys.stderr)
    except Missing as missing:
        why = say("{tool} is not installed", tool=missing)
        print(f"mutants: {why}", file=sys.stderr)
    except OSError as error:
        print(f"mutants: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


def judged(options, found: list[Mutant], mutants: list[Mutant], known: dict[str, str]) -> int:
    """Judge what is asked for and not known yet; return the exit status."""
    results, namespaces = Results(options.results), isolation()
    todo = [
        mutant
        for mutant in found
        if mutant.id not in known and not results.is_final(mutant, options.minutes)
    ]
    try:
        judge = Judge(options.minutes, namespaces)
        with (
            ends_by_signals(),
            closing(judge_all(judge, todo, results, options.workers)) as records,
        ):
            for number, record in enumerate(records, 1):
                tell_of(record, number, len(todo))
    finally:
        share = report(found, results, known)
        for name in gone(known, mutants):
            screen.print(
                say("{file}: there is no mutant {name} any more", file=EQUIVALENT.name, name=name)
            )
    return int(share < (BY_CHECK_AND_FUZZ if options.minutes else BY_CHECK))
