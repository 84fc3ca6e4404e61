"""`python -m monitoring rules`: write Prometheus's rules."""

import argparse
from pathlib import Path

from monitoring.rules.timescale import TimeScale
from monitoring.rules.written import RULES_FILE, RUNBOOKS, rules_text


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("rules", help="Prometheus's recording rules and alerts", description=__doc__)
    parser.add_argument(
        "--time-scale",
        type=_time_scale,
        default=TimeScale(),
        metavar="S",
        help="for a drill that replays time S times faster: every `for:`, range and age is divided by S, as far as "
        "scrapes can show it, and rules that compare as_of with the clock are left out (default 1: live)",
    )
    parser.add_argument(
        "--runbooks",
        default=RUNBOOKS,
        metavar="ADDRESS",
        help="where runbooks.md can be read, such as its page in your repository's browser (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=RULES_FILE, metavar="FILE", help="default: the committed file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    args.out.write_text(rules_text(args.time_scale, args.runbooks))
    print(f"written: {args.out}")
    return 0


def _time_scale(text: str) -> TimeScale:
    try:
        return TimeScale(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
