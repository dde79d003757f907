"""The harness's command line: python -m harness COMMAND. Each command adds its own arguments, in its own module."""
import sys

# Before all else: nothing in the current folder may be taken for a module, for anybody may have put it there.
sys.path[:] = [*sys.path[0 if sys.flags.safe_path else 1:], __file__.rpartition("/harness/")[0]]
if sys.argv[1:2] in (["check"], ["lab"]):
    from harness import sources     # noqa: F401

import argparse
import importlib
import os

# Each command's module (with `arguments(parser)` and `main(options)`, which returns the exit status), what it does, and more for its --help.
COMMANDS = {
    "demo": ("harness.demo", "play one conversation on each of the three servers, and compare them in a table",
             "A few seconds for each. The exit status is 1 if a step failed."),
    "bench-quick": ("harness.bench.quick", "the short form of the benchmarks",
                    "What each server delivers, and what the others notice of one client's doings. Takes some minutes."),
    "bench": ("harness.bench", "measure the three servers beside others, under the same load",
              "Some minutes. The exit status is 1 if a server did not deliver right. Needs a C compiler; "
              "ngircd and uvloop take part if they are installed."),
    "check": ("harness.verdicts.command", "check a server in any language and explain each failure",
              "The exit status is 1 if a check failed, else 3 if one could not be judged, else 0."),
    "starter": ("harness.teaching.starter", "write a lab's starting folder",
                "It runs from the first minute, and fails exactly that lab's checks. `make check` there judges it."),
    "lab": ("harness.teaching.lab", "judge a lab's starting folder: what `make check` does there",
            "Says first what would keep the server from running. The exit status is that of check."),
    "hunt": ("harness.teaching.hunt", "deal a server with a bug that is not named, judge its repair, keep score", ""),
    "exhibits": ("harness.teaching.exhibits", "run the servers with one bug each, and count how often the checks catch them",
                 "Each runs against the check that it names; the exit status is 1 if one escapes too often."),
    "soak": ("harness.teaching.soak", "run all checks against correct servers, on busy cores, and count false alarms",
             "An hour and more. The exit status is 1 if there was one."),
    "compare": ("harness.tracing.compare", "run one workload through all three servers, check it, and draw what happened",
                "Under a minute for all workloads. The exit status is 1 if something that must hold did not."),
    "trace": ("harness.tracing.command", "look at the trace of a run in the Perfetto UI, or measure what tracing costs", ""),
}


def parse(argv):
    """The options of a command line, with `command` and `module`. Exits as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m harness", allow_abbrev=False,
                                     description="Drives group-chat servers, and shows, checks and measures what they do.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    argv = sys.argv[1:] if argv is None else argv
    for name, (module, about, more) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}", allow_abbrev=False)
        if argv[:1] == [name]:          # only that one is imported: some are large
            importlib.import_module(module).arguments(command)
            command.set_defaults(module=module)
    return parser.parse_args(argv)


def main(argv=None):
    """Runs a command; its exit status."""
    try:
        options = parse(argv)
        return importlib.import_module(options.module).main(options)
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
