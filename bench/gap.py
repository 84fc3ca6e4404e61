"""After how many days a calibrated model's confidence gap passes a limit by chance, and how soon a wrong one is found.

    python bench/gap.py [--days 15000] [--seed 0] [--quick] [--json FILE]

Rests on simulated models that are calibrated by construction: one prediction a minute, labels 15 minutes ahead of a
random walk, so that neighbours share 14 of 15 minutes of their future. Somebody looks every minute at the last 1,440
outcomes: |gap| over multiples of the standard error of `signalserve.watcher.calibration_gap`, and over ±1.96 standard
errors of independent outcomes.
alarm: goes on until it has been quiet for an hour.
The table at the end is what MULTIPLES of that module holds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from machine import Machine
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.signal import lfilter
from scipy.special import expit, logit, ndtr
from scipy.stats import chi2

from signalserve.intervals import Interval
from signalserve.watcher.calibration_gap import RARE, TARGET_DAYS, GapLimit
from signalserve.watcher.quality import FEWEST, WINDOW

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HORIZON: Final = 15
LAGS: Final = HORIZON - 1
DAY: Final = 1440
CHUNK: Final = 200
"""Days simulated at once; 100 MB."""

GIVEN_UP: Final = 10
"""Days after which nobody looks for a wrong model any more."""

MULTIPLES: Final = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)
STREAMS: Final = 9
"""Three symbols, three arms."""

ENOUGH: Final = 10
"""Alarms below which days between them are a guess."""

QUIET: Final = 60
"""Looks without an alarm that end it."""

LEAST: Final = 0.34
"""Confidence: the largest of three probabilities is at least a third."""

PHI: Final = 0.97
"""Autocorrelation of confidence from one minute to the next."""


@dataclass(frozen=True)
class Model:
    """A model without a market.

    claims: its typical confidence.  spread: standard deviation of its log-odds.  turns: chance that it calls the other
    direction a minute later, 0: always the same, so that neighbours' hits overlap in full.  right: how often it is
    right; None: as often as it says.
    """

    name: str
    claims: float
    spread: float
    turns: float
    right: float | None = None


CALIBRATED: Final = (
    Model("served", 0.40, 0.2, 0.1),
    Model("flickers", 0.40, 0.2, 0.3),
    Model("steady", 0.40, 0.2, 0.0),
    Model("unsteady", 0.50, 0.8, 0.1),
    Model("sure", 0.75, 0.3, 0.1),
    Model("certain", 0.97, 0.3, 0.0),
)

WRONG: Final = (
    Model("claims 0.75, right 0.50", 0.75, 0.3, 0.1, right=0.50),
    Model("claims 0.60, right 0.50", 0.60, 0.3, 0.1, right=0.50),
    Model("claims 0.50, right 0.75", 0.50, 0.3, 0.1, right=0.75),
)


@dataclass(frozen=True)
class Looks:
    """What is seen minute by minute, (m,) each.

    gap: mean confidence less accuracy.  error: its standard error.  naive: that of independent outcomes.  worth: how
    many independent ones the outcomes count as.
    """

    gap: Floats
    error: Floats
    naive: Floats
    worth: Floats


@dataclass(frozen=True)
class Alarms:
    """Of one calibrated model, a day.

    worth: how many independent outcomes a window's are.  naive: at ±1.96 standard errors of independent ones.
    naive_share: of the looks, that lie over those.  multiples: one for each of MULTIPLES.  in_force: at the multiple in
    force.  at_start: at that one within the first day of a new model, whose window is not full.
    """

    model: str
    days: int
    worth: float
    naive: float
    naive_share: float
    multiples: tuple[float, ...]
    in_force: float
    at_start: float


@dataclass(frozen=True)
class Found:
    """Days until a wrong model was found in half and in 95 % of the cases; inf where it was not found in time.

    fresh: it is new.  after: it was calibrated until then.
    """

    model: str
    fresh: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Result:
    """multiple: in force, for TARGET_DAYS and STREAMS."""

    multiple: float
    alarms: Sequence[Alarms]
    found: Sequence[Found]

    def table(self) -> dict[float, float]:
        """Multiple -> days between alarms of the calibrated model that has the most, where they are ENOUGH."""
        most = [max(each.multiples[i] for each in self.alarms) for i in range(len(MULTIPLES))]
        days = min(each.days for each in self.alarms)
        return {multiple: 1 / rate for multiple, rate in zip(MULTIPLES, most, strict=True) if rate * days >= ENOUGH}

    @property
    def worst(self) -> Alarms:
        return max(self.alarms, key=lambda each: each.in_force)

    def days_between(self) -> Interval:
        """Between alarms of STREAMS series at the multiple in force, were all as the worst; exact for a Poisson count.

        Source: Garwood 1936, Fiducial Limits for the Poisson Distribution.
        """
        days = self.worst.days / STREAMS
        alarms = self.worst.in_force * self.worst.days
        fewest, most = chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0, chi2.ppf(0.975, 2 * alarms + 2) / 2
        return Interval(days / most, days / fewest if fewest else np.inf)

    def missed(self) -> list[str]:
        """What is not as it should be, in words: within a factor of two of the days asked for."""
        days = self.days_between()
        return [f"{days.high:.1f} days between alarms at most"] if days.high < TARGET_DAYS / 2 else []


def main() -> int:
    args = _arguments()
    machine = Machine.here()
    days, starts = (CHUNK, 40) if args.quick else (max(1, args.days // CHUNK) * CHUNK, 400)
    result = measure(days, starts, args.seed, Console(stderr=True, highlight=False))
    _print(Console(highlight=False), machine, result)
    if args.json:
        content = {**asdict(result), "table": result.table(), "missed": result.missed()}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if result.missed() else 0


def measure(days: int, starts: int, seed: int, console: Console) -> Result:
    """days: of each calibrated model.  starts: of each wrong one."""
    multiple = GapLimit(TARGET_DAYS, STREAMS).multiple
    watching = partial(track, console=console)
    alarms = [
        count_alarms(model, days, multiple, np.random.default_rng([seed, number]))
        for number, model in watching(list(enumerate(CALIBRATED)), description="calibrated")
    ]
    found = [
        time_to_find(model, starts, multiple, np.random.default_rng([seed, number, 1]))
        for number, model in watching(list(enumerate(WRONG)), description="wrong")
    ]
    return Result(multiple, alarms, found)


def count_alarms(model: Model, days: int, multiple: float, random: np.random.Generator) -> Alarms:
    """False alarms of a model that is calibrated. days: whole CHUNKs of them."""
    asked = (*MULTIPLES, multiple)
    counts, naive, naive_share, worth = np.zeros(len(asked)), 0, [], []
    for _ in range(days // CHUNK):
        seen = look(*said(model, CHUNK * DAY + WINDOW, random), first=WINDOW)
        counts += [alarms_in(np.abs(seen.gap) > times * seen.error) for times in asked]
        is_over = np.abs(seen.gap) > 1.96 * seen.naive
        naive += alarms_in(is_over)
        naive_share.append(float(is_over.mean()))
        worth.append(float(np.median(seen.worth)))
    starts = days // 10
    begun = (look(*said(model, WINDOW, random)) for _ in range(starts))
    at_start = sum(alarms_in(np.abs(seen.gap) > multiple * seen.error) for seen in begun) / starts
    *rates, in_force = (counts / days).tolist()
    means = float(np.mean(worth)), naive / days, float(np.mean(naive_share))
    return Alarms(model.name, days, *means, tuple(rates), in_force, at_start)


def time_to_find(model: Model, starts: int, multiple: float, random: np.random.Generator) -> Found:
    """How long a wrong model goes unnoticed, for GIVEN_UP days at most."""
    honest = replace(model, right=None)
    fresh, after = [], []
    for _ in range(starts):
        wrong = said(model, GIVEN_UP * DAY, random)
        fresh.append(first_alarm(*wrong, multiple))
        before = said(honest, WINDOW, random)
        after.append(first_alarm(*map(np.concatenate, zip(before, wrong, strict=True)), multiple, since=WINDOW))
    return Found(model.name, _half_and_nearly_all(fresh), _half_and_nearly_all(after))


def first_alarm(confidence: Floats, hits: Bools, multiple: float, since: int = 0) -> float:
    """Days from the outcome number `since` until the gap lies over its limit; inf where it never does."""
    first = max(FEWEST, since + 1)
    seen = look(confidence, hits, first)
    over = np.flatnonzero(np.abs(seen.gap) > multiple * seen.error)
    return float(first + over[0] - since) / DAY if len(over) else np.inf


def _half_and_nearly_all(days: Sequence[float]) -> tuple[float, float]:
    half, nearly_all = np.quantile(days, [0.5, 0.95], method="higher")
    return float(half), float(nearly_all)


def said(model: Model, n: int, random: np.random.Generator) -> tuple[Floats, Bools]:
    """Confidences and hits of n predictions in time order, (n,) each; an outcome comes true with its own probability.

    A hit is a future that lies in the best `right` of all futures, seen from the direction that is called.
    """
    walk = np.concatenate([[0.0], np.cumsum(random.standard_normal(n + HORIZON))])
    future = (walk[HORIZON:-1] - walk[: -HORIZON - 1]) / np.sqrt(HORIZON)  # (n,) standard normal
    noise = random.standard_normal(n)
    noise[0] /= np.sqrt(1 - PHI**2)  # stationary from the first on
    odds = lfilter([np.sqrt(1 - PHI**2)], [1, -PHI], noise)
    confidence = np.maximum(expit(logit(model.claims) + model.spread * odds), LEAST)
    direction = np.where(np.cumsum(random.random(n) < model.turns) % 2, -1, 1)
    return confidence, ndtr(direction * future) < (confidence if model.right is None else model.right)


def look(confidence: Floats, hits: Bools, first: int = FEWEST) -> Looks:
    """A look after each outcome from the `first` on, at the last WINDOW: what `quality.quality_of` finds, for all of
    them at once, from prefix sums."""
    values = confidence - hits
    stop = np.arange(first, len(values) + 1)
    start = np.maximum(0, stop - WINDOW)
    n = stop - start
    sums = _prefix(values)
    mean = (sums[stop] - sums[start]) / n
    unweighted, bartlett, variance = np.zeros(len(n)), np.zeros(len(n)), np.zeros(len(n))
    for lag in range(LAGS + 1):
        products = _prefix(values[lag:] * values[: len(values) - lag])
        later, earlier = sums[stop] - sums[start + lag], sums[stop - lag] - sums[start]
        product = products[stop - lag] - products[start]
        covariance = (product - mean * (later + earlier) + (n - lag) * mean**2) / n
        if lag == 0:
            variance = covariance
        times = 1 if lag == 0 else 2
        unweighted += times * covariance
        bartlett += times * (1 - lag / (LAGS + 1)) * covariance
    long_run = np.where(unweighted > 0, unweighted, bartlett)
    worth = np.clip(n * variance / long_run, 1, n)
    worth = np.maximum(1, worth * (1 - (2 * LAGS + 1) / n))
    right = _prefix(hits)[stop] - _prefix(hits)[start]
    is_rare = np.minimum(right, n - right) < RARE * HORIZON
    worth = np.where(is_rare, np.minimum(worth, n / HORIZON), worth)
    implied = _prefix(confidence * (1 - confidence))
    implied = (implied[stop] - implied[start]) / n
    error = np.full(len(n), np.inf)
    known = worth >= 2
    error[known] = np.sqrt(np.maximum(variance, implied)[known] / (worth[known] - 1))
    return Looks(mean, error, np.sqrt(variance.clip(0) / n), worth)


def alarms_in(over: Bools) -> int:
    """over: at each look, (m,)."""
    places = np.flatnonzero(over)
    return int(np.count_nonzero(np.diff(places) > QUIET)) + 1 if len(places) else 0


def _prefix(values: npt.NDArray[np.generic]) -> Floats:
    """Sums of the first 0 … n values, (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _print(console: Console, machine: Machine, result: Result) -> None:
    console.print(f"{machine}\n")
    table = Table(title=f"False alarms a day of calibrated models, {result.worst.days:,} days of each")
    table.add_column("limit", no_wrap=True)
    for each in result.alarms:
        table.add_column(each.model, justify="right", no_wrap=True)
    rows = {
        "naive ±1.96": [f"{each.naive:.2f}" for each in result.alarms],
        "  of the time": [f"{each.naive_share:.0%}" for each in result.alarms],
        **{f"× {times:g}": [f"{each.multiples[i]:.4f}" for each in result.alarms] for i, times in enumerate(MULTIPLES)},
        f"× {result.multiple:.2f}": [f"{each.in_force:.4f}" for each in result.alarms],
        "  first day": [f"{each.at_start:.4f}" for each in result.alarms],
        f"{WINDOW:,} count as": [f"{each.worth:.0f}" for each in result.alarms],
    }
    for limit, cells in rows.items():
        table.add_row(limit, *cells)
    console.print(table)
    days = result.days_between()
    console.print(
        f"× {result.multiple:.2f} is in force for {TARGET_DAYS:g} days and {STREAMS} series; were all as "
        f"{result.worst.model!r}, {days.low:.0f} to {days.high:.0f} days would lie between alarms"
    )
    console.print(_found_table(result.found))
    steps = ", ".join(f"({times}, {float(f'{between:.3g}')})" for times, between in result.table().items())
    console.print(f"MULTIPLES = ({steps})", soft_wrap=True)
    console.print("missed: " + "; ".join(result.missed()) if result.missed() else "every limit is kept")


def _found_table(found: Sequence[Found]) -> Table:
    table = Table(title="Days until a wrong model is found: half of them, 95 %")
    table.add_column("model")
    for name in ("new", "calibrated until then"):
        table.add_column(name, justify="right")
    for each in found:
        table.add_row(each.model, *(f"{half:.2f}, {nearly_all:.2f}" for half, nearly_all in (each.fresh, each.after)))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=15_000, help=f"of each calibrated model, in steps of {CHUNK}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="seconds; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
