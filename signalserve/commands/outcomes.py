"""`signalserve outcomes import`: tells a running service what became of earlier predictions.

A row of the file names a prediction (prediction_id), or a symbol and a moment (symbol, as_of: when the window's last
bar closed), and what became of it: a direction (DOWN, NEUTRAL, UP), or the close one horizon later. Importing a file
again changes nothing. Exit code 1 where an outcome contradicts one that is known.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signalserve.client import OutcomeTally, SignalClient
    from signalserve.client.requests import Call

BUSY_S: Final = 5.0
"""For as long a worker does not ask the watcher again once it gave no answer."""
BUSY_AT_MOST: Final = 3

_WORDS: Final = {
    "joined": "found predictions that had no outcome",
    "already_known": "were known already",
    "unknown": "are about predictions that the journal does not hold",
    "contradicting": "contradict an outcome that is known, and changed nothing",
    "undecidable": "came before their time, or are prices of predictions whose own close or label rule is not known",
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("outcomes", help="tell what became of earlier predictions", description=__doc__)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    importing = verbs.add_parser("import", help="from a file", description=__doc__)
    importing.add_argument("file", type=Path, metavar="FILE", help="csv, parquet, json or ndjson")
    importing.add_argument("--url", default="http://127.0.0.1:8080", help="of a running service (default %(default)s)")
    importing.add_argument("--json", action="store_true", help="print the tally as JSON")
    importing.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises DataError for the file, ConfigError for the URL, SignalError for what the service answers."""
    from signalserve.client import requests
    from signalserve.outcome_files import read_outcomes_file

    outcomes = read_outcomes_file(args.file)
    tally = _tell(args.url, _with_progress(requests.outcomes(outcomes)))
    if args.json:
        print(tally.model_dump_json())
    else:
        print(f"{len(outcomes):,} outcomes")
        for name, count in tally.model_dump().items():
            if count:
                print(f"{count:>9,} {_WORDS[name]}")
    return 1 if tally.contradicting else 0


def _with_progress(calls: "list[Call[OutcomeTally]]") -> "Iterable[Call[OutcomeTally]]":
    """The calls, with a bar on standard error that follows them; none where it would only flash up."""
    if len(calls) < 2 or not sys.stderr.isatty():
        return calls
    from rich.console import Console
    from rich.progress import track

    return track(calls, "telling outcomes", console=Console(stderr=True), transient=True)


def _tell(url: str, calls: "Iterable[Call[OutcomeTally]]") -> "OutcomeTally":
    from signalserve.client import InvalidInput, SignalClient
    from signalserve.client.results import NOTHING_TOLD
    from signalserve.errors import ConfigError

    try:
        client = SignalClient(url)
    except InvalidInput as error:
        raise ConfigError(f"--url: {error}") from None
    with client:
        return sum((_send(client, call) for call in calls), NOTHING_TOLD)


def _send(client: "SignalClient", call: "Call[OutcomeTally]") -> "OutcomeTally":
    """One piece, again and again while the watcher is busy: it takes in what was predicted before it joins anything."""
    from signalserve.client import NotReady

    for _ in range(BUSY_AT_MOST):
        try:
            return client.send(call)
        except NotReady:
            time.sleep(BUSY_S)
    return client.send(call)
