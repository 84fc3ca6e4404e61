"""How fast a pass over all bars is beside the engine alone, what memory it takes, and what intervals are worth.

    python bench/lab.py [--model-store model_store] [--bars ../shared/data] [--quick] [--json FILE]

pass: what diagnose, calibrate, judge and compare do first, `export.forward.forward` over every window of a symbol's
bars.  engine alone: the same engine on windows that lie ready in memory, at its best batch size and number of threads,
between the parts of the pass: whatever slows a part down slows both.
coverage: the share of simulated series whose 95 % interval by `export.bootstrap` holds the truth.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from figures import Spread
from machine import Machine
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from export.bootstrap import coverage
from export.forward import forward, workers_for
from export.series import Series, Source, read_series
from export.unseen import all_ends
from export.windows import windows_ending_at
from signalserve.bundle import Bundle, load_bundle, newest_bundles
from signalserve.engine import Engine, create_engine
from signalserve.errors import OperatorError
from signalserve.settings import GENERATIONS

LEAST_RATIO: Final = 0.8
MOST_MB: Final = 1500.0
LEAST_COVERAGE: Final = 0.9

BATCHES: Final = (64, 128, 256, 512, 1024)
READY: Final = 1024
"""Windows that lie ready for the engine alone; 18 MB."""

PARTS: Final = 8
"""Of a pass, each compared with the engine alone right before and after it."""

PHIS: Final = (0.0, 0.9)
"""Autocorrelation of the simulated series: none, and that of predictions a minute apart (monitoring)."""


@dataclass(frozen=True)
class Subject:
    """A model and all windows of its symbol's bars."""

    bundle: Bundle
    series: Series
    ends: npt.NDArray[np.int64]

    @property
    def name(self) -> str:
        return f"{self.bundle.manifest.generation} {self.bundle.manifest.symbol}"

    def engine(self) -> Engine:
        """A new one each time: it keeps the memory of its largest batch for as long as it lives."""
        return create_engine(self.bundle, engine="onnxruntime", device="cpu")


@dataclass(frozen=True)
class Alone:
    """The engine's best: windows/s at a batch size, so many batches at once."""

    per_second: float
    batch: int
    workers: int


@dataclass(frozen=True)
class Pass:
    """One model over all its windows. seconds: all parts, without the engine alone between them.

    alone: at its best setting, the median over the pass.  ratio: windows/s of a part over the engine's around it.
    """

    model: str
    windows: int
    seconds: float
    alone: Alone
    ratio: Spread

    @property
    def per_second(self) -> float:
        return self.windows / self.seconds


@dataclass(frozen=True)
class Lab:
    """features_s: symbol -> seconds for its features, which both generations share.  coverage: by autocorrelation."""

    features_s: Mapping[str, float]
    passes: Sequence[Pass]
    peak_mb: float
    coverage: Mapping[float, float]

    def missed(self) -> list[str]:
        """What is not as it should be, in words."""
        slow = [f"{each.model}: ratio {each.ratio}" for each in self.passes if each.ratio.median < LEAST_RATIO]
        large = [f"peak memory {self.peak_mb:,.0f} MB"] if self.peak_mb > MOST_MB else []
        narrow = [
            f"coverage {share:.3f} at φ {phi:g}" for phi, share in self.coverage.items() if share < LEAST_COVERAGE
        ]
        return slow + large + narrow


def main() -> int:
    args = _arguments()
    machine = Machine.here()
    lab = measure(args.model_store, args.bars, Console(stderr=True, highlight=False), quick=args.quick)
    _print(Console(highlight=False), machine, lab)
    if args.json:
        passes = [{**asdict(each), "per_second": each.per_second} for each in lab.passes]
        content = {"machine": asdict(machine), **asdict(lab), "passes": passes, "missed": lab.missed()}
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return 1 if lab.missed() else 0


def measure(model_store: Path, bars: Path, console: Console, *, quick: bool = False) -> Lab:
    """Everything, one after the other. quick: a part of the windows and of the series. Raises OperatorError."""
    subjects, features_s = read_subjects(model_store, bars, most=2000 if quick else None)
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
        alone = [measure_alone(subject) for subject in progress.track(subjects, description="engines alone")]
        passes = measure_passes(subjects, alone, progress)
        # ru_maxrss is in KiB
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        sets = 20 if quick else 500
        shares = {phi: coverage(phi, data_sets=sets) for phi in progress.track(PHIS, description="intervals")}
    return Lab(features_s, passes, peak_mb, shares)


def read_subjects(model_store: Path, bars: Path, most: int | None = None) -> tuple[list[Subject], dict[str, float]]:
    """Every served model with its series, and the seconds that each symbol's features took. most: windows of each."""
    folders = [path for path in newest_bundles(model_store / "bundles") if path.parts[-3] in GENERATIONS]
    subjects: list[Subject] = []
    features_s: dict[str, float] = {}
    for bundle in sorted(map(load_bundle, folders), key=lambda bundle: bundle.manifest.symbol):
        manifest = bundle.manifest
        started = time.perf_counter()
        series = read_series(Source(bars, "bars"), manifest.symbol, manifest.columns, manifest.interval_ms)
        # the second generation finds them computed
        features_s.setdefault(manifest.symbol, time.perf_counter() - started)
        subjects.append(Subject(bundle, series, all_ends(series, manifest.window, 0).ends[:most]))
    return subjects, features_s


def measure_passes(subjects: Sequence[Subject], alone: Sequence[Alone], progress: Progress) -> list[Pass]:
    """Each model over all its windows. alone: of each subject."""
    # in seconds of the engine alone, since a window of one model costs several of another's
    total = sum(len(subject.ends) / best.per_second for subject, best in zip(subjects, alone, strict=True))
    task = progress.add_task("passes", total=total)
    passes = []
    for subject, best in zip(subjects, alone, strict=True):
        progress.update(task, description=subject.name)

        def advance(done: int, rate: float = best.per_second) -> None:
            progress.advance(task, done / rate)

        passes.append(measure_pass(subject, best, advance))
    return passes


def measure_pass(subject: Subject, best: Alone, progress: Callable[[int], object]) -> Pass:
    """One model over all its windows, part by part."""
    engine = subject.engine()

    def engine_alone() -> float:
        return measure_setting(engine, subject, best.batch, best.workers).per_second

    around, rates, seconds = [engine_alone()], [], 0.0
    for ends in np.array_split(subject.ends, PARTS):
        started = time.perf_counter()
        forward(subject.bundle, subject.series.rows, ends, engine=engine, progress=progress)
        took = time.perf_counter() - started
        seconds += took
        rates.append(len(ends) / took)
        around.append(engine_alone())
    ratio = Spread.of([2 * rate / sum(pair) for rate, pair in zip(rates, pairwise(around), strict=True)])
    typical = Alone(statistics.median(around), best.batch, best.workers)
    return Pass(subject.name, len(subject.ends), seconds, typical, ratio)


def measure_alone(subject: Subject) -> Alone:
    """The engine's best of all batch sizes, in one thread and in as many as a pass takes."""
    engine = subject.engine()
    most = workers_for(engine)
    settings = [(batch, workers) for batch in BATCHES for workers in sorted({1, most}) if batch * workers <= READY]
    found = [measure_setting(engine, subject, batch, workers) for batch, workers in settings]
    return max(found, key=lambda alone: alone.per_second)


def measure_setting(engine: Engine, subject: Subject, batch: int, workers: int) -> Alone:
    """The engine on READY windows that lie ready in memory."""
    rows = subject.series.rows.astype(np.float32)
    ready = np.ascontiguousarray(windows_ending_at(rows, subject.ends[:READY], subject.bundle.manifest.window))
    parts = [ready[start : start + batch] for start in range(0, len(ready), batch)]
    with ThreadPoolExecutor(workers) as pool:
        started = time.perf_counter()
        done = sum(len(output.finite) for output in pool.map(engine.predict_rows, parts))
        return Alone(done / (time.perf_counter() - started), batch, workers)


def _print(console: Console, machine: Machine, lab: Lab) -> None:
    console.print(f"{machine}\n")
    table = Table(title="A pass over all bars; the engine alone at its best batch size × threads")
    table.add_column("model", no_wrap=True)
    for name in ("windows", "windows/s", "engine alone", "ratio (range)"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in lab.passes:
        alone = f"{each.alone.per_second:,.0f}, {each.alone.batch} × {each.alone.workers}"
        table.add_row(each.model, f"{each.windows:,}", f"{each.per_second:,.0f}", alone, str(each.ratio))
    console.print(table)
    features = ", ".join(f"{symbol} {seconds:.1f} s" for symbol, seconds in lab.features_s.items())
    console.print(f"all passes together: {sum(each.seconds for each in lab.passes):.0f} s")
    console.print(f"features, read and computed once for both generations: {features}")
    console.print(f"peak memory of the whole process: {lab.peak_mb:,.0f} MB")
    shares = ", ".join(f"{share:.3f} at φ {phi:g}" for phi, share in lab.coverage.items())
    console.print(f"95 % intervals that hold the truth: {shares}")
    console.print("missed: " + "; ".join(lab.missed()) if lab.missed() else "every limit is kept")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="folder with bundles/")
    parser.add_argument("--bars", type=Path, default=Path("../shared/data"), help="folder with files of candles")
    parser.add_argument("--quick", action="store_true", help="half a minute; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OperatorError as error:
        sys.exit(f"bench/lab.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
