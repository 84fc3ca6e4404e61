"""A journal of a million rows: how fast it takes them in, how large they are, how long each question to it takes, and
what its watcher needs.

    python bench/journal.py [--model-store model_store] [--rows 1000000] [--seconds 60] [--json FILE] [--quick]

The rows are generated, one window a minute of each symbol with all three arms, and go the way of real ones: from spool
lines, outcomes joined from bars. Then the whole service is started on that journal, and its watcher is looked at while
predictions are added to the spool. What the figures mean: bench/README.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import psutil
from history import ARMS, History
from machine import Machine
from memory import MB
from programs import ProgramError
from rich.console import Console
from rich.progress import track
from rich.table import Table
from servers import Signalserve
from subject import write_settings

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.commands.journal_stats import read_stats
from signalserve.errors import OperatorError
from signalserve.journal import database_of, outcomes, reading, spool_of
from signalserve.journal.counts import read_counts
from signalserve.journal.spool import SpoolWriter
from signalserve.journal.store import JournalStore
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.quality_metrics import LiveQuality

MOST_MB: Final = 300.0
MOST_CORE: Final = 0.05

PER_SECOND: Final = 10
LOOK_S: Final = 5
"""Between two looks at the watcher's memory and /metrics, which somebody scrapes in earnest too."""

SPARE: Final = 1440
"""Minutes of history that are left for what is added to the rows."""

LEAST, MOST, ENOUGH_S = 3, 20, 1.0
"""How often a question is asked: until all its answers took so long."""


@dataclass(frozen=True)
class Filled:
    """rows: in the database, of them labelled with an outcome.  seconds: for taking them in.  size: bytes on disk."""

    rows: int
    labelled: int
    seconds: float
    size: int


@dataclass(frozen=True)
class Timing:
    """A question to the journal, asked `times` times."""

    question: str
    median_ms: float
    most_ms: float
    times: int


@dataclass(frozen=True)
class Watched:
    """The watcher's process over some seconds. core: share of one, probes and scrapes included.

    rss_mb, pss_mb: the largest seen.  predictions: added to the spool meanwhile.  rows: that the journal has more.
    """

    seconds: float
    core: float
    rss_mb: float
    pss_mb: float
    scrape_ms: float
    predictions: int
    rows: int


@dataclass(frozen=True)
class Measured:
    filled: Filled
    timings: Sequence[Timing]
    watched: Watched

    def missed(self) -> list[str]:
        """What is not as it should be, in words."""
        watched = self.watched
        large = [f"{watched.rss_mb:.0f} MB"] if watched.rss_mb > MOST_MB else []
        busy = [f"{watched.core:.1%} of a core"] if watched.core > MOST_CORE else []
        wanted = watched.predictions * ARMS
        lost = [f"{watched.rows:,} rows taken in of {wanted:,}"] if watched.rows != wanted else []
        return large + busy + lost


def main() -> int:
    args = _arguments()
    machine = Machine.here()
    measured = measure(args.model_store, args.rows, args.seconds, Console(stderr=True, highlight=False))
    _print(Console(highlight=False), machine, measured)
    if args.json:
        content = {"machine": asdict(machine), **asdict(measured), "missed": measured.missed()}
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return 1 if measured.missed() else 0


def measure(model_store: Path, rows: int, seconds: float, console: Console) -> Measured:
    """Everything, one after the other. rows: at least.  seconds: of looking at the watcher."""
    bundles = [load_bundle(path) for path in newest_bundles(model_store / "bundles")]
    symbols = len({bundle.manifest.symbol for bundle in bundles})
    minutes = -(-rows // (symbols * ARMS))
    history = History(bundles, minutes + SPARE, time.time_ns() // 1_000_000)
    later = count(minutes)
    with tempfile.TemporaryDirectory(prefix="bench-journal-") as temporary:
        folder = Path(temporary)
        journal = folder / "journal"
        store = JournalStore(journal)
        try:
            filled = fill(store, journal, history, minutes, console)
            console.print("asking")
            timings = ask(store, journal, history, later)
        finally:
            store.close()
        console.print("starting the service")
        with Signalserve(model_store, write_settings(folder / "serving.yaml")) as service:
            service.wait()
            console.print(f"watching for {seconds:g} s")
            watched = watch(service, journal, history, later, seconds)
    return Measured(filled, timings, watched)


def fill(store: JournalStore, journal: Path, history: History, minutes: int, console: Console) -> Filled:
    """Write the first minutes into a spool, and take them in day by day."""
    writer = SpoolWriter(spool_of(journal), "fill", header=history.header)
    seconds = 0.0
    for start in track(range(0, minutes, 1440), description="taking in", console=console):
        for minute in range(start, min(start + 1440, minutes)):
            for symbol in history.symbols:
                writer.append(history.of(symbol, minute))
        began = time.perf_counter()
        while store.drain():
            pass
        seconds += time.perf_counter() - began
    writer.close()
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # all of it into the one file
    [rows] = store.connection.execute("SELECT count(*) FROM predictions").fetchone()
    labelled = read_counts(store.connection)["outcomes_joined"]
    return Filled(rows, labelled, seconds, database_of(journal).stat().st_size)


def ask(store: JournalStore, journal: Path, history: History, later: Iterator[int]) -> list[Timing]:
    """What the watcher asks of its journal, and what people do. later: minutes that are not in it yet."""
    connection = store.connection
    symbol = history.symbols[0]
    writer = SpoolWriter(spool_of(journal), "ask", header=history.header)
    writer.append([])  # the header is no part of the first prediction
    store.drain()
    timings = [
        timed(
            "drain: one prediction's lines",
            store.drain,
            prepare=lambda: writer.append(history.of(symbol, next(later))),
        )
    ]
    writer.close()
    now_ms = time.time_ns() // 1_000_000
    _, bar = history.of(symbol, next(later))
    [newest] = reading.tail(connection, 1)
    claim = OutcomeClaim(newest["prediction_id"], None, None, 2, None)

    def undone(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            connection.execute("BEGIN IMMEDIATE")
            work()
            connection.execute("ROLLBACK")

        return run

    watcher: dict[str, Callable[[], object]] = {
        "take_closes: one new bar": undone(lambda: outcomes.take_closes(connection, bar, now_ms)),
        "label_late: one prediction": undone(lambda: outcomes.label_late(connection, newest["prediction_id"], now_ms)),
        "apply: one outcome told": undone(lambda: outcomes.apply(connection, [claim], now_ms)),
        "LiveQuality: all arms": lambda: LiveQuality().refresh(connection),
        "overdue": lambda: outcomes.overdue(connection, now_ms),
        "look: what waits, counts": lambda: (store.waiting_bytes(), read_counts(connection)),
        "retire: nothing to do": store.retire,
    }
    with closing(reading.open_journal(journal)) as read_only:
        people: dict[str, Callable[[], object]] = {
            "journal stats": lambda: read_stats(read_only, journal),
            "journal tail": lambda: reading.tail(read_only, 20),
        }
        return [*timings, *(timed(question, answer) for question, answer in (watcher | people).items())]


def timed(question: str, answer: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> Timing:
    """prepare: what comes before each time, and is not measured."""
    took_ms: list[float] = []
    while len(took_ms) < LEAST or (len(took_ms) < MOST and sum(took_ms) < ENOUGH_S * 1000):
        prepare()
        began = time.perf_counter()
        answer()
        took_ms.append((time.perf_counter() - began) * 1000)
    return Timing(question, statistics.median(took_ms), max(took_ms), len(took_ms))


def watch(service: Signalserve, journal: Path, history: History, later: Iterator[int], seconds: float) -> Watched:
    """The service's watcher while predictions come in, of the symbols in turn."""
    process = service.process("watcher")
    before = count_rows(journal)
    writer = SpoolWriter(spool_of(journal), "watch", header=history.header)
    scrapes_ms, sizes = [], []
    windows = ((symbol, minute) for minute in later for symbol in history.symbols)
    began, processor = time.monotonic(), _cpu_seconds(process)
    for number, window in zip(range(round(seconds * PER_SECOND)), windows, strict=False):
        time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        writer.append(history.of(*window))
        if number % (LOOK_S * PER_SECOND) == 0:
            page = httpx.get(f"{service.watcher_url}/metrics", trust_env=False, timeout=30)
            scrapes_ms.append(page.elapsed.total_seconds() * 1000)
            sizes.append(process.memory_full_info())
    took = time.monotonic() - began
    core = (_cpu_seconds(process) - processor) / took
    writer.close()
    service.settle()
    return Watched(
        seconds=took,
        core=core,
        rss_mb=max(size.rss for size in sizes) / MB,
        pss_mb=max(size.pss for size in sizes) / MB,
        scrape_ms=statistics.median(scrapes_ms),
        predictions=number + 1,
        rows=count_rows(journal) - before,
    )


def count_rows(journal: Path) -> int:
    with closing(reading.open_journal(journal)) as connection:
        [rows] = connection.execute("SELECT count(*) FROM predictions").fetchone()
    return int(rows)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _print(console: Console, machine: Machine, measured: Measured) -> None:
    filled, watched = measured.filled, measured.watched
    console.print(f"{machine}\n")
    console.print(f"{filled.rows:,} rows taken in, {filled.labelled:,} of them labelled: {filled.seconds:.1f} s")
    console.print(f"{filled.rows / filled.seconds:,.0f} rows/s, {filled.size / filled.rows:,.0f} bytes a row")
    table = Table("question", title=f"Asked of {filled.rows:,} rows")
    for name in ("median ms", "longest ms", "times"):
        table.add_column(name, justify="right")
    for each in measured.timings:
        table.add_row(each.question, f"{each.median_ms:,.2f}", f"{each.most_ms:,.2f}", str(each.times))
    console.print(table)
    console.print(
        f"the watcher over {watched.seconds:.0f} s: {watched.core:.1%} of a core, RSS {watched.rss_mb:.0f} MB, "
        f"PSS {watched.pss_mb:.0f} MB; a scrape {watched.scrape_ms:.0f} ms; "
        f"{watched.rows:,} rows of {watched.predictions:,} predictions"
    )
    goal = f"{MOST_MB:.0f} MB and {MOST_CORE:.0%} of a core"
    missed = measured.missed()
    console.print(f"NOT within {goal}: {'; '.join(missed)}" if missed else f"within {goal}, and nothing lost")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--rows", type=int, default=1_000_000, help="at least (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of looking at the watcher (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--quick", action="store_true", help="20,000 rows and 5 s; the figures mean nothing")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.seconds = 20_000, 5.0
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OperatorError, ProgramError) as error:
        sys.exit(f"bench/journal.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
