"""`signalserve journal`: what was predicted and what became of it. Reads only, also while the service runs.

tail shows the last predictions, export writes a table to a file, stats says how much there is and how good it was,
replay deals the arms of an experiment once more.
"""

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from signalserve.errors import JournalError
from signalserve.journal import database_of, default_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from signalserve.journal.replay import Replay
    from signalserve.journal.tables import Batches

EVERY_S: Final = 0.5
"""Between two looks of `tail --follow`."""

AT_ONCE: Final = 1000
"""Rows of one look."""

WIDE: Final = 200
"""Characters a line where the output is no terminal: no table is cut."""

Row = dict[str, Any]

WHAT: Final = {
    "predictions": "with their outcomes",
    "configs": "each serving.yaml that was in force",
    "events": "of operators and guardrails",
    "closes": "the prices that callers brought",
}
"""The tables that `export` knows: `tables.TABLES`, in words."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("journal", help="the record of predictions and outcomes", description=__doc__)
    parts = parser.add_subparsers(title="what to do", metavar="PART", required=True)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--journal",
        type=Path,
        metavar="DIR",
        help="the journal's folder (default $SIGNALSERVE_JOURNAL, else var/journal/<$PORT or 8080>)",
    )

    part = parts.add_parser("tail", parents=[everywhere], help="the last predictions, a line for each arm")
    part.add_argument("-n", type=_count, default=20, metavar="ROWS", help="how many (default %(default)s)")
    part.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until interrupted")
    part.add_argument("--symbol", help="only of this one")
    part.add_argument("--arm", help="only of this one: v6_fixed, v8 or ensemble")
    part.add_argument("--json", action="store_true", help="every column, one JSON object a line")
    part.set_defaults(answer=_tail)

    part = parts.add_parser("export", parents=[everywhere], help="a table, or a span of time of it, as parquet or csv")
    part.add_argument("file", type=Path, metavar="FILE", help="ending in .parquet or .csv; replaced where it exists")
    listed = "; ".join(f"{name}: {words}" for name, words in WHAT.items())
    part.add_argument("--what", choices=WHAT, default="predictions", help=f"{listed} (default %(default)s)")
    part.add_argument("--since", type=_moment, metavar="TIME", help="from this as_of on, such as 2026-11-24T10:00")
    part.add_argument("--until", type=_moment, metavar="TIME", help="before this one; UTC where no zone is given")
    part.set_defaults(answer=_export)

    part = parts.add_parser("stats", parents=[everywhere], help="how much there is, and how good the predictions were")
    part.add_argument("--json", action="store_true", help="as one JSON object, with the reliability bins")
    part.set_defaults(answer=_stats)

    part = parts.add_parser(
        "replay",
        parents=[everywhere],
        help="work out again which arm the toggles assign each answer, and compare",
        description="Work out again, from the serving.yaml, symbol and time that stand beside each answer, which arm "
        "the toggles assign, and compare it with the one written down. Exit code 1 if any differs.",
    )
    part.add_argument("--json", action="store_true", help="as one JSON object")
    part.set_defaults(answer=_replay)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises JournalError where there is none to read, DataError for a file that cannot be written."""
    from signalserve.journal.reading import open_journal

    folder = args.journal or default_folder(os.environ)
    connection = open_journal(folder)
    try:
        code: int = args.answer(args, connection, folder)
    except sqlite3.Error as error:
        raise JournalError(f"{database_of(folder)}: cannot be read: {error}") from error
    finally:
        connection.close()
    return code


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of rows, 1 or more, got {text!r}")
    return int(text)


def _moment(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-11-24T10:00, got {text!r}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _console() -> "Console":
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for the frame, as by every command

    return Piped(highlight=False, width=None if sys.stdout.isatty() else WIDE)


# ---- tail


def _tail(args: argparse.Namespace, connection: sqlite3.Connection, _: Path) -> int:
    from signalserve.journal.reading import tail

    show = _print_json if args.json else _Lines(_console()).show
    newest = tail(connection, 1)
    found = tail(connection, args.n, symbol=args.symbol, arm=args.arm)
    show(found)
    last = max((row["row_id"] for row in newest + found), default=0)
    while args.follow:
        # all that is new, and chosen here: SQLite would look for a symbol that is rare through the whole journal
        while fresh := tail(connection, AT_ONCE, after_row_id=last):
            last = fresh[-1]["row_id"]
            show([row for row in fresh if args.symbol in (None, row["symbol"]) and args.arm in (None, row["arm"])])
        time.sleep(EVERY_S)
    return 0


def _print_json(rows: list[Row]) -> None:
    for row in rows:
        pool = row["pool"]
        print(json.dumps({**row, "pool": None if pool is None else json.loads(pool)}, allow_nan=False), flush=True)


class _Lines:
    """Rows as lines of one table that may go on for ever: of fixed widths, with its headings at the start."""

    WIDTHS: Final = {
        "as of": 16,
        "symbol": 9,
        "arm": 8,
        "answered": 8,
        "said": 7,
        "confidence": 10,
        "outcome": 14,
        "remarks": 40,
    }

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._is_begun = False

    def show(self, rows: list[Row]) -> None:
        from rich.table import Table

        if self._is_begun and not rows:
            return
        table = Table(box=None, padding=(0, 1), show_header=not self._is_begun)
        for heading, width in self.WIDTHS.items():
            table.add_column(heading, width=width, no_wrap=True)
        for row in rows:
            table.add_row(*_cells(row))
        self._console.print(table)
        self._is_begun = True


def _cells(row: Row) -> tuple[str, ...]:
    from signalserve import CLASSES

    probabilities = [row["p_down"], row["p_neutral"], row["p_up"]]
    confidence = max(probabilities)
    said, outcome = probabilities.index(confidence), row["outcome"]
    remarks = [row["left_out"], row["degraded"], *row["warnings"].split(",")]
    return (
        f"{datetime.fromtimestamp(row['time_ms'] / 1000, UTC):%Y-%m-%d %H:%M}",
        row["symbol"],
        row["arm"],
        "yes" if row["answered"] else "",
        CLASSES[said],
        f"{confidence:.3f}",
        "" if outcome is None else f"{CLASSES[outcome]}, {'right' if outcome == said else 'wrong'}",
        ", ".join(remark for remark in remarks if remark),
    )


# ---- export, stats and replay


def _export(args: argparse.Namespace, connection: sqlite3.Connection, folder: Path) -> int:
    from signalserve.errors import DataError
    from signalserve.journal.files import check_suffix, write_rows
    from signalserve.journal.tables import TABLES, Batches

    check_suffix(args.file)
    if args.what == "configs" and (args.since, args.until) != (None, None):
        raise DataError(
            "--what configs: expected neither --since nor --until, got one: a configuration is in force long after it "
            "was first seen; leave them out to get every one"
        )
    table = TABLES[args.what]
    with _followed(Batches(connection, table, args.since, args.until), str(folder)) as batches:
        count = write_rows(batches, list(table.columns), args.file)
    print(f"wrote {count:,} rows to {args.file}")
    return 0


@contextmanager
def _followed(batches: "Batches", name: str) -> "Iterator[Iterable[list[tuple[Any, ...]]]]":
    """The batches, with a bar on standard error that follows them."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bars:
        yield bars.track(batches, total=len(batches), description=name)


def _stats(args: argparse.Namespace, connection: sqlite3.Connection, folder: Path) -> int:
    from signalserve.commands.journal_stats import read_stats, show_stats

    stats = read_stats(connection, folder)
    if args.json:
        print(json.dumps(stats.as_dict(), indent=1, allow_nan=False))
    else:
        show_stats(stats, _console())
    return 0


def _replay(args: argparse.Namespace, connection: sqlite3.Connection, folder: Path) -> int:
    from dataclasses import asdict

    from signalserve.journal.replay import answers, config_texts, replay

    with _followed(answers(connection), str(folder)) as batches:
        found = replay(batches, config_texts(connection))
    if args.json:
        print(json.dumps({"compared": found.compared, **asdict(found)}, indent=1))
    else:
        _print_replay(found)
    return 1 if found.differing else 0


def _print_replay(found: "Replay") -> None:
    from signalserve.candles import iso

    print(f"{found.compared:,} answers compared: {found.agreeing:,} agree, {found.differing:,} differ")
    for count, reason in (
        (found.text_unknown, "not compared: the journal does not hold their serving.yaml"),
        (found.text_unreadable, "not compared: this version cannot read their serving.yaml"),
        (found.unassigned, "not compared: of the endpoints of one model, which assign no arm"),
    ):
        if count:
            print(f"{count:>9,} {reason}")
    for one in found.differences:
        print(
            f"{iso(one.time_ms)} {one.symbol} {one.prediction_id}: {one.assigned} (mode {one.mode}) in the journal, "
            f"{one.replayed_assigned} (mode {one.replayed_mode}) by its serving.yaml"
        )
    if found.differing > len(found.differences):
        print(f"… and {found.differing - len(found.differences):,} more")
