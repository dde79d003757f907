"""The harness's command line: python -m harness COMMAND. A command is imported only when it is the one that is asked for."""
import sys

# Before all else, for what is in the current folder may come from anybody: no file there is taken for a module.
sys.path[:] = [*sys.path[0 if sys.flags.safe_path else 1:], __file__.rpartition("/harness/")[0]]
if sys.argv[1:2] in (["check"], ["lab"]):
    from harness import sources     # noqa: F401

import argparse
import importlib
import os

# Forms in which `check` writes what it found.
FORMATS = {"json": "all that was found, as JSON", "junit": "JUnit XML", "html": "one page that needs nothing else",
           "gradescope": "Gradescope's results.json", "classroom50": "Classroom 50's result.json", "autolab": "Autolab's last line",
           "prairielearn": "PrairieLearn's results.json", "canvas": "a line for Canvas's gradebook, as CSV"}
PLACES = {"check": "harness.verdicts.command", "trace": "harness.trace_command"}        # of the commands whose module has another name


def seconds(text):
    try:
        if 0 < float(text) <= 600:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is no number of seconds, above 0 and up to 600")


def positive(text):
    """A whole number from 1 on."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def judges(parser):
    """What every command takes that runs the checks."""
    from harness.language import LANGUAGES
    from harness.verdicts.model import DEADLINE
    parser.add_argument("--seed", help="the same seed makes the same names, texts and disturbances")
    parser.add_argument("--repeat", type=positive, default=5, metavar="K", help="disturbed runs of each hunt for a race, beside one undisturbed (default: %(default)s)")
    parser.add_argument("--deadline", type=seconds, default=DEADLINE, metavar="S",
                        help="seconds that a server may take for anything, more where the machine is slow (default: %(default)s)")
    parser.add_argument("--only", nargs="+", action="extend", metavar="CHECK",
                        help="only these checks, whatever they need; may be given again")
    parser.add_argument("--rubric", metavar="FILE", help="an instructor's rubric.toml: points of checks, hidden checks")
    parser.add_argument("--records", metavar="DIR", help="keep there what happened in all checks (default: a new temporary folder, only of those that did not pass)")
    parser.add_argument("--trace", action="store_true",
                        help="start the server with `--trace DIR`, if it takes that, as ours do: a failing run then shows who held which lock "
                             "between its events, and the records keep the trace. To write it slows the server, and races may come more or less often")
    parser.add_argument("--workers", type=positive, metavar="N", help="checks at once (default: 5, on one core 3)")
    parser.add_argument("--student", default="", metavar="LOGIN", help="whom the line for Canvas is about")
    parser.add_argument("--lang", choices=LANGUAGES, help="of what is shown, and of the forms for students (default: the locale's, else en)")
    parser.set_defaults(outputs=[], replay=None)
    for name, about in FORMATS.items():
        parser.add_argument(f"--{name}", dest="outputs", action="append", metavar="FILE", type=lambda path, name=name: (name, path), help=about)


def take_server(parser, options):
    """`--only starts pthread`: the last word that --only took is the server, if it is one of ours and no other is named."""
    from harness.server import DESIGNS
    if not options.server and options.only and options.only[-1] in DESIGNS:
        options.server = [options.only.pop()]
    if not options.server or options.only == []:
        lacks = "no check stands behind --only" if options.server else "no server is named"
        parser.exit(2, f"check: {lacks}: write the checks, then `--`, then the server's command line, as in: "
                       "check --only starts greets -- ./my_server\n")


def parse(argv):
    from harness.language import LANGUAGES
    from harness.server import DESIGNS
    from harness.workloads import NAMES
    parser = argparse.ArgumentParser(prog="python -m harness", allow_abbrev=False,
                                     description="Drives group-chat servers, and shows, checks and measures what they do.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name, about, more="", to=commands):
        return to.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}", allow_abbrev=False)

    demo = add("demo", "play one conversation on each of the three servers, and compare them in a table",
               "A few seconds for each. The exit status is 1 if a step failed.")
    demo.add_argument("designs", nargs="*", metavar="DESIGN", help=f"play only these: {', '.join(DESIGNS)}")
    demo.add_argument("--markdown", metavar="FILE", help="also put the table into FILE (README.md), between the lines "
                      "`<!-- demo table -->` and `<!-- end -->`, if all steps passed")

    add("bench-quick", "the short form of the benchmarks",
        "What each server delivers, and what the others notice of one client's doings. Takes some minutes.")

    bench = add("bench", "measure the three servers beside others, under the same load",
                "Some minutes. The exit status is 1 if a server did not deliver right. Needs a C compiler; "
                "ngircd and uvloop take part if they are installed.")
    bench.add_argument("--quick", action="store_true", help="one pass, at most 100 members: about a minute")
    bench.add_argument("--html", metavar="FILE", help="put tables and a figure into FILE; printed then only with --text")
    bench.add_argument("--text", action="store_true", help="print the tables (the default)")
    bench.add_argument("--json", metavar="FILE", help="put each run's figures into FILE")
    bench.add_argument("--cell", dest="cells", nargs="+", metavar="N.S.W",
                       help="only these: N members, S of them talk, each has W messages on the way")
    bench.add_argument("--only", nargs="+", metavar="NAME", help="only these servers, and the C server they are measured by")
    bench.add_argument("--seconds", type=float, default=1.0, help="for each figure (default: %(default)s)")

    check = add("check", "judge a server, in any language, with reasons",
                "The exit status is 1 if a check failed, else 3 if one could not be judged, else 0.")
    check.add_argument("server", nargs="*", metavar="COMMAND",
                       help=f"after `--`: the server's command line; or one of ours: {', '.join(DESIGNS)}")
    check.add_argument("--list", action="store_true",
                       help="only show the checks, by stage: id, lab, points, title; with --lab and --design those that are asked")
    check.add_argument("--design", choices=DESIGNS, help="also check what this design promises")
    check.add_argument("--lab", type=int, default=8, metavar="N", choices=range(9), help="only what is asked up to lab N")
    check.add_argument("--in", dest="folder", metavar="DIR", help="run the server there (default: here)")
    judges(check)

    starter = add("starter", "write a lab's starting folder", "It runs from the first minute, and fails exactly that lab's checks. `make check` there judges it.")
    starter.add_argument("lab", type=int, metavar="LAB", choices=range(9), help="0 to 8")
    starter.add_argument("folder", metavar="DIR", help="a new folder")
    starter.add_argument("--language", choices=("python", "c"), default="python", help="(default: %(default)s)")
    starter.add_argument("--lang", choices=LANGUAGES, help="of the folder's README (default: the locale's, else en)")

    lab = add("lab", "judge a lab's starting folder: what `make check` does there",
              "Says first what would keep the server from running. The exit status is that of check.")
    lab.add_argument("folder", metavar="DIR", help="what `starter` wrote")
    lab.add_argument("--lab", type=int, required=True, metavar="N", choices=range(9), help="only what is asked up to lab N")
    lab.add_argument("--design", choices=DESIGNS, help="which of the folder's servers (default: the lab's first)")
    judges(lab)

    hunt = add("hunt", "deal a server with a bug that nobody names, judge its repair, keep score")
    actions = hunt.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about in (("deal", "put one that you have not mended yet into a new folder, with one run that failed"),
                        ("check", "judge a repair: what `make check` does there"), ("score", "show which you have mended")):
        action = add(name, about, to=actions)
        if name != "score":
            action.add_argument("folder", metavar="DIR")
        if name == "deal":
            action.add_argument("--design", choices=DESIGNS, help="only of this design")
            action.add_argument("--seed", help="the same seed deals the same of those that are left")

    exhibits = add("exhibits", "run the servers with one bug each, and count how often the checks catch them",
                   "Each runs against the check that it names; the exit status is 1 if one escapes too often.")
    exhibits.add_argument("names", nargs="*", metavar="NAME", help="only these")
    exhibits.add_argument("--list", action="store_true", help="only show them: symptom and check")
    exhibits.add_argument("--page", metavar="FILE", help="only write the guide's page about them into FILE")
    exhibits.add_argument("--lang", choices=LANGUAGES, default="en", help="of that page (default: %(default)s)")
    exhibits.add_argument("--times", type=positive, default=20, metavar="N", help="runs of each (default: %(default)s)")
    exhibits.add_argument("--busy", action="store_true", help="keep as many processes busy as there are cores meanwhile")
    exhibits.add_argument("--all", action="store_true", help="also run all checks against each, once: half a minute each")
    exhibits.add_argument("--json", metavar="FILE", help="put what was found into FILE")

    soak = add("soak", "run all checks against servers that are right, on busy cores, and count false alarms",
               "An hour and more. The exit status is 1 if there was one.")
    soak.add_argument("--times", type=positive, default=30, metavar="N", help="runs on each of ours, a third of it on each stranger's (default: %(default)s)")

    compare = add("compare", "run one workload through all three servers, check it, and draw what happened",
                  "Under a minute for all workloads. The exit status is 1 if something that must hold did not.")
    compare.add_argument("--workload", dest="workloads", action="append", choices=NAMES, metavar="NAME",
                         help=f"only this; may be given again: {', '.join(NAMES)}")
    compare.add_argument("--html", metavar="FILE", help="put pictures and numbers into one page that needs no network")
    compare.add_argument("--json", metavar="FILE", help="put the numbers into FILE")
    compare.add_argument("--perfetto", metavar="FILE", help="put all traces into FILE, which opens in the Perfetto UI")
    compare.add_argument("--runs", metavar="DIR", help="keep the runs there: DIR/WORKLOAD/DESIGN")

    trace = add("trace", "look at the trace of a run in the Perfetto UI, or measure what tracing costs")
    actions = trace.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about in ("perfetto", "write runs as a file that opens in the Perfetto UI"), ("view",
        "serve the Perfetto UI, with these runs in it, from this machine"):
        action = add(name, about, to=actions)
        action.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, as `compare --runs` keeps them, or what --trace wrote")
        if name == "perfetto":
            action.add_argument("--to", metavar="FILE", help="(default: RUN/perfetto.json)")
        else:
            action.add_argument("--port", type=int, default=0, help="(default: a free one)")
            action.add_argument("--no-browser", action="store_true", help="open none: only serve")
    action = actions.add_parser("cost", help="measure what tracing costs, on this machine", allow_abbrev=False,
                                description="Each server without a trace, with one in memory, and with one written at once, in turn. The exit status is 1 if it costs more than it should.")
    action.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    action.add_argument("--json", metavar="FILE", help="put the figures into FILE")

    options = parser.parse_args(argv)
    if options.command == "check" and not options.list:
        take_server(check, options)
    if unknown := set(getattr(options, "designs", ())) - set(DESIGNS):
        demo.error(f"{min(unknown)} is none of {', '.join(DESIGNS)}")
    if options.command == "demo":
        options.designs = list(dict.fromkeys(options.designs or DESIGNS))       # each once
    return options


def main(argv=None):
    try:
        options = parse(argv)
        if options.command == "demo":
            from harness import demo
            return demo.main(options.designs, options.markdown)
        if options.command == "bench-quick":
            from harness import bench_quick
            return bench_quick.main()
        return importlib.import_module(PLACES.get(options.command, f"harness.{options.command}")).main(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:             # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except ModuleNotFoundError as missing:
        if missing.name.startswith(("harness", "implementations")):
            raise
        print(f"harness: {missing}; pip install -r requirements.txt brings it", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
