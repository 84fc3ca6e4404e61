"""What the limits of drift are worth: days between false alarms, and predictions until a change is seen.

    python bench/drift.py [--days 3000] [--references 30] [--bars ../shared/data] [--quick] [--json FILE]

processes: three logits, Gaussian, each autoregressive of order 1 with φ, over a temperature that makes the confidences
a weak model's. Of many references, limits from each alone, and then days of the same process: every alarm is false.
models: each bundle on real bars. Its reference is its test span; its calibration span, which no reference saw, is
watched. The weights have not seen it either, but the temperature was fitted there.
dependence: how much the mean confidences of windows vary on the watched span, and on streams drawn like the reference.
delays: confidence moved by half a standard deviation and by a whole one; by none, for what chance alone finds.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from false_alarms import (
    FAR,
    OURS,
    Alarms,
    as_drawn,
    count_alarms,
    delay,
    dispersion,
    part_of,
    poisson_days,
    rules_of,
)
from machine import Machine
from redrawn import variance_of_means, ways
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from signalserve.drift import DAY, WINDOWS
from signalserve.drift.limits import SIMULATED_DAYS, Limits, simulate_limits
from signalserve.drift.stream import Floats, Stream
from signalserve.drift.surrogates import Drawn, Surrogates
from signalserve.errors import OperatorError

PHIS: Final = (0.0, 0.9, 0.97)
"""None, that of predictions a minute apart, and slower than any model here."""

REFERENCE: Final = 10_419
"""Predictions of a reference: the test spans of the committed bundles hold as many."""

LOGIT: Final = 0.5
TEMPERATURE: Final = 5.0
"""Standard deviation of the raw logits, and what divides them: confidences of 0.39 ± 0.03."""

TARGET: Final = 30.0
"""Days between false alarms of one arm alone."""

TARGET_OF_ALL: Final = 1.0
"""Of the real models together."""

FACTOR: Final = 2.0
"""Of the target, within which the realised days must lie."""

MOVES: Final = (0.0, 0.5, 1.0)
"""Standard deviations of the reference's confidence."""

PIECES: Final = 12
"""Changes planted on streams of each reference."""

STREAMS: Final = 40
"""Drawn for the variance of windows' means, each as long as the reference."""


@dataclass(frozen=True)
class Size:
    """references: of each process.  days: watched after each.  simulated_days: behind the limits.  reference:
    predictions."""

    references: int
    days: int
    simulated_days: int = SIMULATED_DAYS
    reference: int = REFERENCE


@dataclass(frozen=True)
class Watched:
    """A reference and what came after it. alarms: by rule.  delays: by standard deviations moved, predictions."""

    name: str
    alarms: Mapping[str, Alarms]
    delays: Mapping[float, Sequence[float]]


@dataclass(frozen=True)
class Model:
    """A bundle's streams of the two spans."""

    name: str
    reference: Stream
    watched: Stream


@dataclass(frozen=True)
class Dependence:
    """Of the means of windows. deviation: in the reference.  ratios: to its variance, of the watched span's and of
    those in streams drawn in each way."""

    name: str
    window: int
    deviation: float
    ratios: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """Days between false alarms of a rule: target, realised with the interval, and starts only."""

    name: str
    rule: str
    target: float
    days: float
    alarms: int
    starts: int
    interval: tuple[float, float]
    dispersion: float

    @property
    def is_missed(self) -> bool:
        """Of ours: the whole interval lies further from the target than FACTOR."""
        low, high = self.interval
        return self.rule == OURS and not (low <= FACTOR * self.target and high >= self.target / FACTOR)


def main() -> int:
    args = _arguments()
    machine = Machine.here()
    size = Size(4, 10, 60) if args.quick else Size(args.references, math.ceil(args.days / args.references))
    console = Console(stderr=True, highlight=False)
    models = read_models(args.model_store, args.bars)
    with Progress(console=console) as progress:
        processes, watched, dependence = measure(size, models, args.jobs, progress)
    rows = [row for name, each in processes.items() for row in rows_of(name, each, TARGET)]
    together = rows_of("all models", watched, TARGET_OF_ALL, side_by_side=True)
    rows_by_model = [row for each in watched for row in rows_of(each.name, [each], TARGET_OF_ALL * len(models))]
    judged = [] if args.quick else [*rows, *together]
    missed = [f"{row.name}: {_days(row)}, target {row.target:g}" for row in judged if row.is_missed]
    out = Console(highlight=False, width=200)
    out.print(f"{machine}\n")
    _print_rows(out, f"False alarms of simulated processes, {size.references} references of {size.reference:,}", rows)
    _print_rows(out, "False alarms of real models on real bars", [*together, *rows_by_model])
    _print_dependence(out, dependence)
    _print_delays(out, {**processes, **{each.name: [each] for each in watched}})
    verdict = "quick: nothing is judged" if args.quick else f"every target is kept within a factor of {FACTOR:g}"
    out.print("missed: " + "; ".join(missed) if missed else verdict)
    if args.json:
        delays = {
            name: {move: [_finite(d) for each in some for d in each.delays[move]] for move in MOVES}
            for name, some in {**processes, **{each.name: [each] for each in watched}}.items()
        }
        content = {
            "machine": asdict(machine),
            "size": asdict(size),
            "false_alarms": [_plain(row) for row in (*rows, *together, *rows_by_model)],
            "dependence": [asdict(each) for each in dependence],
            "delays": delays,
            "missed": missed,
        }
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return 1 if missed else 0


def measure(
    size: Size, models: Sequence[Model], jobs: int, progress: Progress
) -> tuple[dict[str, list[Watched]], list[Watched], list[Dependence]]:
    """Processes by name, models, and the models' dependence; in so many operating system's processes."""
    tasks = [(phi, seed) for phi in PHIS for seed in range(size.references)]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        futures = [pool.submit(watch_process, phi, seed, size) for phi, seed in tasks]
        real = [pool.submit(watch_model, model, TARGET_OF_ALL * len(models), size) for model in models]
        varied = [pool.submit(vary, model, size) for model in models]
        for future in progress.track([*futures, *real, *varied], description="streams"):
            future.result()
    processes: dict[str, list[Watched]] = {}
    for future in futures:
        processes.setdefault(future.result().name, []).append(future.result())
    return processes, [each.result() for each in real], [row for each in varied for row in each.result()]


def watch_process(phi: float, seed: int, size: Size) -> Watched:
    """Limits from a reference of the process alone, and then days of the same process."""
    n = size.reference
    whole = process(phi, n + (1 + size.days) * DAY, seed)
    drawn = as_drawn(whole)
    before, after = part_of(drawn, 0, n), part_of(drawn, n)
    reference = Stream(whole.time_ms[:n], whole.probabilities[:n], before.largest_logit, None)
    limits = simulate_limits(reference, seed=seed, simulated_days=size.simulated_days)
    # changes are planted on streams of their own, so that their number does not hang on the days watched
    pieces = (as_drawn(process(phi, DAY + FAR, seed, 1 + piece)) for piece in range(PIECES))
    return Watched(
        f"φ {phi:g}",
        count_alarms(before, after, rules_of(reference, limits, TARGET)),
        delays(reference, pieces, limits),
    )


def watch_model(model: Model, days: float, size: Size) -> Watched:
    """days: between false alarms of this model, which sets its limits."""
    reference = model.reference
    limits = simulate_limits(reference, simulated_days=size.simulated_days)
    surrogates, rng = Surrogates(reference), np.random.default_rng(1)
    pieces = (surrogates.draw(DAY + FAR, rng) for _ in range(PIECES * size.references))
    return Watched(
        model.name,
        count_alarms(as_drawn(reference), as_drawn(model.watched), rules_of(reference, limits, days)),
        delays(reference, pieces, limits),
    )


def delays(reference: Stream, pieces: Iterable[Drawn], limits: Limits) -> dict[float, list[float]]:
    """Standard deviations moved -> the delay on each piece, at the limits of one arm alone."""
    at, deviation, before = limits.at(TARGET), float(reference.confidence.std()), as_drawn(reference)
    found: dict[float, list[float]] = {move: [] for move in MOVES}
    for piece in pieces:
        for move in MOVES:
            found[move].append(delay(before, piece, at, move * deviation))
    return found


def vary(model: Model, size: Size) -> list[Dependence]:
    """How much windows' mean confidences vary, within streams as long as the reference."""
    confidence, rng = model.reference.confidence, np.random.default_rng(2)
    streams = min(STREAMS, 2 * size.references)
    drawn = {
        name: [redraw(len(confidence), rng) for _ in range(streams)] for name, redraw in ways(model.reference).items()
    }
    rows = []
    for window in WINDOWS:
        real = variance_of_means(confidence, window)
        varies = {
            "watched": variance_of_means(model.watched.confidence, window),
            **{
                name: float(np.mean([variance_of_means(each, window) for each in some])) for name, some in drawn.items()
            },
        }
        ratios = {name: variance / real for name, variance in varies.items()}
        rows.append(Dependence(model.name, window, math.sqrt(real), ratios))
    return rows


def process(phi: float, n: int, *seed: int) -> Stream:
    """n predictions of the process."""
    from scipy.signal import lfilter

    shocks = np.random.default_rng([*seed, round(1000 * phi)]).standard_normal((n, 3))
    shocks[1:] *= math.sqrt(1 - phi**2)  # the first is drawn as all others are spread
    logits: Floats = LOGIT * lfilter([1.0], [1.0, -phi], shocks, axis=0)
    raised = np.exp(logits / TEMPERATURE)
    return Stream(np.arange(n), raised / raised.sum(axis=1, keepdims=True), np.abs(logits).max(axis=1), None)


def read_models(model_store: Path, bars: Path) -> list[Model]:
    """Every served model, newest version, over the spans that its manifest names. Raises OperatorError."""
    from export.forward import forward
    from export.series import Series, Source, read_series
    from signalserve.bundle import Bundle, Span, load_bundle, newest_bundles
    from signalserve.drift.kept import KeptStream
    from signalserve.settings import GENERATIONS

    def stream_of(bundle: Bundle, series: Series, span: Span | None) -> Stream:
        manifest = bundle.manifest
        if span is None or manifest.labels is None:
            raise OperatorError(f"{bundle.path}: expected a calibration and a test span, got none; calibrate it first")
        first, last = (int(datetime.fromisoformat(edge).timestamp() * 1000) for edge in (span.start, span.end))
        inside = np.flatnonzero((series.times() >= first) & (series.times() <= last))
        ends = inside[manifest.window - 1 : len(inside) - manifest.labels.horizon_bars]
        logits = forward(bundle, series.rows, ends).raw_logits.astype(np.float64)
        kept = KeptStream(series.times()[ends] + series.interval_ms, logits, np.zeros(len(ends)))
        return kept.stream(manifest.calibration)

    models = []
    for path in newest_bundles(model_store / "bundles"):
        if path.parts[-3] in GENERATIONS:
            bundle = load_bundle(path)
            manifest = bundle.manifest
            series = read_series(Source(bars, "bars"), manifest.symbol, manifest.columns, manifest.interval_ms)
            spans = [stream_of(bundle, series, span) for span in (manifest.spans.test, manifest.spans.calibration)]
            models.append(Model(f"{manifest.generation} {manifest.symbol}", *spans))
    return models


def rows_of(name: str, watched: Sequence[Watched], target: float, *, side_by_side: bool = False) -> list[Row]:
    """A row a rule, over all that was watched: one after the other, or at the same time."""
    rows = []
    for rule in watched[0].alarms:
        counts = [each.alarms[rule] for each in watched]
        total = sum(counts[1:], counts[0])
        days = total.days / len(watched) if side_by_side else total.days
        interval = poisson_days(total.alarms, days)
        spread = dispersion([count.alarms for count in counts])
        rows.append(Row(name, rule, target, days, total.alarms, total.starts, interval, spread))
    return rows


def _print_rows(console: Console, title: str, rows: Sequence[Row]) -> None:
    table = _table(title, "stream", "limits")
    for name in (
        "target days",
        "watched days",
        "alarms",
        "days between (95 %)",
        "starts",
        "days between",
        "dispersion",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.rule,
            f"{row.target:g}",
            f"{row.days:,.1f}",
            str(row.alarms),
            _days(row),
            str(row.starts),
            _between(row.days, row.starts),
            "–" if math.isnan(row.dispersion) else f"{row.dispersion:.1f}",
        )
    console.print(table)


def _print_dependence(console: Console, dependence: Sequence[Dependence]) -> None:
    table = _table("Variance of windows' mean confidences ÷ the reference's", "model", "window", "deviation")
    for name in dependence[0].ratios if dependence else ():
        table.add_column(name, justify="right", no_wrap=True)
    for row in dependence:
        table.add_row(
            row.name, f"{row.window:,}", f"{row.deviation:.4f}", *(f"{ratio:.2f}" for ratio in row.ratios.values())
        )
    console.print(table)


def _print_delays(console: Console, streams: Mapping[str, Sequence[Watched]]) -> None:
    title = f"Predictions until the first alarm, limits for {TARGET:g} days"
    table = _table(title, "stream", "deviations", "changes", "median", "90 %", f"within {DAY:,}", f"within {FAR:,}")
    for name, watched in streams.items():
        for move in MOVES:
            found = np.array([each for some in watched for each in some.delays[move]])
            middle, most = (float(np.quantile(found, q, method="higher")) for q in (0.5, 0.9))
            shares = ((found <= end).mean() for end in (DAY, FAR))
            table.add_row(
                name, f"{move:g}", str(len(found)), _delay(middle), _delay(most), *(f"{share:.0%}" for share in shares)
            )
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    """As Markdown, to be quoted."""
    table = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _days(row: Row) -> str:
    low, high = row.interval
    return f"{_between(row.days, row.alarms)} ({low:.2g}–{high:.2g})"


def _between(days: float, times: int) -> str:
    return f"{days / times:.3g}" if times else f"> {days:.3g}"


def _delay(predictions: float) -> str:
    return f"> {FAR:,}" if math.isinf(predictions) else f"{predictions:,.0f}"


def _plain(row: Row) -> dict[str, Any]:
    plain = {name: _finite(value) if isinstance(value, float) else value for name, value in asdict(row).items()}
    return {**plain, "interval": [_finite(end) for end in row.interval]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=3000, help="watched of each process (default %(default)s)")
    parser.add_argument("--references", type=int, default=30, help="of each process (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at once (default: the cores)")
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="folder with bundles/")
    parser.add_argument("--bars", type=Path, default=Path("../shared/data"), help="folder with files of candles")
    parser.add_argument("--quick", action="store_true", help="two minutes; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OperatorError as error:
        sys.exit(f"bench/drift.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
