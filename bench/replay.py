"""Days of bars replayed through the service: does every prediction get its outcome, and is it the label of the bars?

    python bench/replay.py [--model-store model_store] [--bars ../shared/data] [--days 3] [--demo] [--json FILE]

Of each symbol one request a minute with its last 1,060 candles, one after the other, as fast as they are answered, the
symbols side by side. Then the journal's outcomes are compared with labels that are computed straight from the bars, by
the rule in the manifests. Exit code 1: an answer that is not recorded, a label that differs, too few outcomes.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx
import orjson
from machine import Machine
from programs import ProgramError
from rich.console import Console
from rich.progress import Progress
from servers import Signalserve

from signalserve.bundle import Labels, Manifest, load_manifests
from signalserve.candle_files import find_candle_files, read_candles
from signalserve.candles import INTERVAL_MS, Candles, last, to_rows
from signalserve.demo import demo_candles
from signalserve.errors import DataError, OperatorError
from signalserve.features import MIN_CANDLES
from signalserve.journal.reading import open_journal

LEAST_SHARE: Final = 0.999
"""Of the predictions that can have an outcome, with one."""

DAY_MS: Final = 86_400_000

Moment = tuple[str, str, int]
"""A symbol, an arm and an as_of in ms."""


@dataclass(frozen=True)
class Joined:
    """Predictions are counted once for each arm; windows once.

    windows: answered.  recorded: of them, in the journal.  predictions: in the journal.  due: that can have an outcome,
    since the bar that decides it was sent.  joined: of these, with one.  differing: with another than the bars', or
    with one that no bar decides.
    """

    windows: int
    recorded: int
    predictions: int
    due: int
    joined: int
    differing: int

    @property
    def share(self) -> float:
        return self.joined / self.due if self.due else 0.0

    def missed(self) -> list[str]:
        """What is not as it should be, in words."""
        lost = [f"{self.recorded:,} of {self.windows:,} answers recorded"] if self.recorded != self.windows else []
        wrong = [f"{self.differing:,} outcomes differ from the bars"] if self.differing else []
        few = [f"{self.share:.3%} have an outcome"] if self.share < LEAST_SHARE else []
        return lost + wrong + few


def main() -> int:
    args = _arguments()
    console = Console(stderr=True, highlight=False)
    machine = Machine.here()
    with tempfile.TemporaryDirectory(prefix="bench-replay-") as temporary:
        settings = Path(temporary, "serving.yaml")
        settings.write_bytes(args.settings.read_bytes())
        console.print("starting")
        with Signalserve(args.model_store, settings) as service:
            service.wait()
            manifests = load_manifests(args.model_store)  # of the archives that are served
            symbols = sorted({manifest.symbol for manifest in manifests})
            bars = read_bars(symbols, MIN_CANDLES - 1 + args.minutes, None if args.demo else args.bars)
            seconds = replay(service, bars, console)
            service.settle()
            with closing(open_journal(settings.parent / "journal")) as connection:
                joined = compare(connection, bars, labels_of(bars, manifests))
    _print(Console(highlight=False), machine, joined, seconds)
    if args.json:
        content = {"machine": asdict(machine), "seconds": seconds, **asdict(joined), "missed": joined.missed()}
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return 1 if joined.missed() else 0


def read_bars(symbols: Sequence[str], n: int, folder: Path | None) -> dict[str, Candles]:
    """The last n bars of each symbol; generated ones where there is no folder. Raises DataError."""
    if folder is None:
        # long before those of the sample requests that a start sends: as_of is all that tells them apart
        end_ms = time.time_ns() // 1_000_000 - 30 * DAY_MS
        return {symbol: demo_candles(symbol, n, end_ms=end_ms) for symbol in symbols}
    files = find_candle_files(folder)
    bars = {symbol: last(read_candles(files[symbol]), n) for symbol in symbols if symbol in files}
    short = [symbol for symbol in symbols if len(bars.get(symbol, ())) < n]
    if short:
        raise DataError(f"{folder}: expected {n:,} bars of {', '.join(short)}; take fewer --days, or --demo")
    return bars


def replay(service: Signalserve, bars: Mapping[str, Candles], console: Console) -> float:
    """Ask for every minute that has its MIN_CANDLES bars; the seconds it took. Raises ProgramError."""
    with Progress(console=console) as progress, ThreadPoolExecutor(len(bars)) as pool:
        task = progress.add_task("asking", total=sum(len(candles) - MIN_CANDLES + 1 for candles in bars.values()))
        began = time.perf_counter()
        futures = [
            pool.submit(ask, service.url, symbol, candles, lambda: progress.advance(task))
            for symbol, candles in bars.items()
        ]
        for future in futures:
            future.result()
        return time.perf_counter() - began


def ask(url: str, symbol: str, candles: Candles, advance: Callable[[], object]) -> None:
    """One request after the other, each a minute later. advance: called after each answer."""
    rows = [orjson.dumps(row) for row in to_rows(candles)]
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, timeout=30.0, trust_env=False) as client:
        for end in range(MIN_CANDLES, len(rows) + 1):
            body = b'{"symbol":"%b","candles":[%b]}' % (symbol.encode(), b",".join(rows[end - MIN_CANDLES : end]))
            response = client.post("/predictions/ensemble", content=body)
            if response.status_code != 200:
                raise ProgramError(f"{symbol}, bar {end}: HTTP {response.status_code} {response.text}")
            advance()


def labels_of(bars: Mapping[str, Candles], manifests: Sequence[Manifest]) -> dict[Moment, int]:
    """The label of every arm at every bar that is followed by the one which decides it: 0, 1 or 2.

    The rule is written out once more here, price by price: a wrong one in the service would show. The pool's rule is
    its models', where that is the same one.
    """
    labels = {}
    for symbol, candles in bars.items():
        rules: dict[str, Labels | None] = {m.generation: m.labels for m in manifests if m.symbol == symbol}
        if len(set(rules.values())) == 1 < len(rules):
            rules["ensemble"] = next(iter(rules.values()))
        for arm, rule in rules.items():
            if rule is not None:
                close, ahead = candles.close.tolist(), rule.horizon_bars
                as_of_ms = (candles.timestamp_ms + INTERVAL_MS).tolist()
                for at, now, later in zip(as_of_ms, close, close[ahead:], strict=False):
                    move = later / now - 1
                    is_neutral = abs(move) <= rule.neutral_band
                    labels[symbol, arm, at] = 1 if is_neutral else 2 if move > 0 else 0
    return labels


def compare(connection: sqlite3.Connection, bars: Mapping[str, Candles], labels: Mapping[Moment, int]) -> Joined:
    """What the journal holds of every minute that was asked for, beside the labels."""
    asked = {
        (symbol, int(opened) + INTERVAL_MS)
        for symbol, candles in bars.items()
        for opened in candles.timestamp_ms[MIN_CANDLES - 1 :]
    }
    rows = connection.execute("SELECT symbol, arm, as_of_ms, answered, outcome FROM predictions").fetchall()
    own = [row for row in rows if (row[0], row[2]) in asked]
    pairs = [(outcome, labels.get((symbol, arm, as_of_ms))) for symbol, arm, as_of_ms, _, outcome in own]
    answers = Counter((symbol, as_of_ms) for symbol, _, as_of_ms, answered, _ in own if answered)
    return Joined(
        windows=len(asked),
        recorded=sum(times == 1 for times in answers.values()),  # once, and once only
        predictions=len(own),
        due=sum(label is not None for _, label in pairs),
        joined=sum(label is not None and outcome is not None for outcome, label in pairs),
        differing=sum(outcome is not None and outcome != label for outcome, label in pairs),
    )


def _print(console: Console, machine: Machine, joined: Joined, seconds: float) -> None:
    console.print(f"{machine}\n")
    console.print(f"{joined.windows:,} windows answered in {seconds:.0f} s: {joined.windows / seconds:,.0f} requests/s")
    console.print(f"{joined.recorded:,} of them recorded, as {joined.predictions:,} predictions, one for each arm")
    console.print(f"{joined.due:,} can have an outcome, {joined.joined:,} have one: {joined.share:.3%}")
    console.print(f"{joined.differing:,} differ from labels computed straight from the bars")
    missed = joined.missed()
    console.print(f"missed: {'; '.join(missed)}" if missed else f"every limit is kept; {LEAST_SHARE:.1%} was wanted")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--settings", type=Path, default=Path("serving.yaml"))
    parser.add_argument("--bars", type=Path, default=Path("../shared/data"), help="folder with files of candles")
    parser.add_argument("--demo", action="store_true", help="generated bars instead")
    parser.add_argument("--days", type=float, default=3.0, help="the last so many (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--quick", action="store_true", help="40 minutes")
    args = parser.parse_args()
    args.minutes = 40 if args.quick else round(args.days * 1440)
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OperatorError, ProgramError) as error:
        sys.exit(f"bench/replay.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
