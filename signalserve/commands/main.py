"""`signalserve`: finds the subcommands that are installed, runs one, and turns what goes wrong into one line.

A subcommand is an entry point of the group `signalserve.commands`: a module with `add_parser(subparsers)`, which sets
`run`, a function of the parsed arguments that returns the exit code. Any installed package may bring its own. Modules
import what is heavy inside `run`, so that help comes at once.

Exit codes: 0 done; 1 it was tried and failed; 2 something must be mended first; 130 interrupted; 141 the reader of
the output went away.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from signalserve import __version__
from signalserve.errors import ConfigError, OperatorError, SignalserveError

GROUP = "signalserve.commands"

_CLI_MODULES = {"pyarrow", "rich"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. argv: without the program's name, by default the process's own. Returns the exit code."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, where a reader that went away is still caught
        return code
    except SignalserveError as error:
        _say(" ".join(str(error).split()))
        return 2 if isinstance(error, OperatorError) else 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "signalserve":
            raise  # ours is never missing: a defect, to be shown with its trace
        _say(_hint(error))
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # what is still buffered would raise again when the interpreter flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="signalserve", description="Calibrated trading-signal predictions.")
    parser.add_argument("--version", action="version", version=f"signalserve {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    points = {point.name: point for point in entry_points(group=GROUP)}
    first = arguments[0] if arguments else ""
    if first in points:
        _load(points[first], subparsers)  # the others need not even be importable
    elif first != "--version":
        for name in sorted(points):
            _load_or_excuse(points[name], subparsers)
    args = parser.parse_args(arguments)
    if not hasattr(args, "run"):
        parser.print_help()
        return 0
    code: int = args.run(args)
    return code


def _load(point: EntryPoint, subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Raises ConfigError where what the module imports, at once or for its options, is not installed."""
    try:
        point.load().add_parser(subparsers)
    except ImportError as error:
        raise ConfigError(f"{point.name}: {_hint(error)}") from error


def _load_or_excuse(point: EntryPoint, subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """A command that can't be loaded stands in the help with the reason."""
    try:
        _load(point, subparsers)
    except ConfigError as error:
        reason = str(error).removeprefix(f"{point.name}: ").replace("%", "%%")
        if point.name not in subparsers.choices:  # it may have got that far
            subparsers.add_parser(point.name, help=f"not available: {reason}")


def _hint(error: ImportError) -> str:
    """What is missing and which extra brings it."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return f"can't be imported: {error}"
    extra = "cli" if error.name.partition(".")[0] in _CLI_MODULES else "cpu"
    return f"{error.name} is not installed here: pip install 'signalserve[{extra}]'"


def _say(line: str) -> None:
    print(f"signalserve: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
