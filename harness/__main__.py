"""The harness's command line: python -m harness COMMAND. A command is imported only when it is the one that is asked for."""
import argparse
import sys

# Forms in which `check` writes what it found.
FORMATS = {"json": "all that was found, as JSON", "junit": "JUnit XML", "html": "one page that needs nothing else",
           "gradescope": "Gradescope's results.json", "classroom50": "Classroom 50's result.json", "autolab": "Autolab's last line",
           "prairielearn": "PrairieLearn's results.json", "canvas": "a line for Canvas's gradebook, as CSV"}


def parse(argv):
    from harness.server import DESIGNS
    parser = argparse.ArgumentParser(prog="python -m harness", allow_abbrev=False,
                                     description="Drives group-chat servers, and shows, checks and measures what they do.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name, about, more=""):
        return commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}", allow_abbrev=False)

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
                "The exit status is 0 if all checks passed, 1 if one failed, 3 if one could not be judged.")
    check.add_argument("server", nargs="+", metavar="COMMAND", help=f"after `--`: the server's command line; or one of ours: {', '.join(DESIGNS)}")
    check.add_argument("--design", choices=DESIGNS, help="also check what this design promises")
    check.add_argument("--lab", type=int, default=8, metavar="N", choices=range(9), help="only what is asked up to lab N")
    check.add_argument("--seed", help="the same seed makes the same names, texts and disturbances")
    check.add_argument("--repeat", type=int, default=5, metavar="K", help="runs of each hunt for a race (default: %(default)s)")
    check.add_argument("--only", nargs="+", metavar="CHECK", help="only these checks, whatever they need")
    check.add_argument("--rubric", metavar="FILE", help="an instructor's rubric.toml: points of checks, hidden checks")
    check.add_argument("--records", metavar="DIR", help="where to keep what happened (default: a new folder for temporary files)")
    check.add_argument("--workers", type=int, metavar="N", help="checks at once (default: twice as many as cores, at most 4)")
    check.add_argument("--student", default="", metavar="LOGIN", help="whom the line for Canvas is about")
    check.set_defaults(outputs=[])
    for name, about in FORMATS.items():
        check.add_argument(f"--{name}", dest="outputs", action="append", metavar="FILE", type=lambda path, name=name: (name, path), help=about)

    exhibits = add("exhibits", "run the servers with one bug each, and count how often the checks catch them",
                   "Each runs against the check that it names; the exit status is 1 if one escapes too often.")
    exhibits.add_argument("names", nargs="*", metavar="NAME", help="only these")
    exhibits.add_argument("--list", action="store_true", help="only show them: symptom and check")
    exhibits.add_argument("--times", type=int, default=20, metavar="N", help="runs of each (default: %(default)s)")
    exhibits.add_argument("--all", action="store_true", help="also run all checks against each, once: half a minute each")
    exhibits.add_argument("--json", metavar="FILE", help="put what was found into FILE")

    soak = add("soak", "run all checks against servers that are right, on busy cores, and count false alarms",
               "An hour and more. The exit status is 1 if there was one.")
    soak.add_argument("--times", type=int, default=30, metavar="N", help="runs on each of ours, a third of it on each stranger's (default: %(default)s)")

    options = parser.parse_args(argv)
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
        if options.command == "check":
            from harness.verdicts import command
            return command.main(options)
        if options.command == "soak":
            from harness import soak
            return soak.main(options)
        if options.command == "exhibits":
            from harness import exhibits
            return exhibits.main(options)
        if options.command == "bench":
            from harness import bench
            return bench.main(options)
        from harness import bench_quick
        return bench_quick.main()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError as missing:
        if missing.name.startswith(("harness", "implementations")):
            raise
        print(f"harness: {missing}; pip install -r requirements.txt brings it", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
