"""Does a scaler belong to these bars? Every column before and after scaling, and what the columns say together.

A right scaler drifts: a quiet week has a fifth of the training's spread, a trend moves prices by three of their
deviations. A wrong one is off by much more, and in many columns at once. The limits here lie between the two: what
right scalers showed on every day of the 30 days of three symbols, and what another symbol's scaler showed there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from export.series import Series
from signalserve.bundle import ScalerValues
from signalserve.off_scale import WARN_BEYOND, WARN_COLUMNS

Floats = npt.NDArray[np.float64]

ELSEWHERE: Final = 5.0
"""Deviations between a column's median and the scaler's mean. Right scalers showed up to 2.8 on any day; the ETH-USD
scaler 7.2 and more in 18 columns on SOL-USD's prices, which was the least of any other symbol's."""

WIDE: Final = 30.0
"""Times the scaler's spread, or one such part of it. Right scalers showed up to 3 times on any day and down to 1/6 on
any week; BTC-USD returns scaled for 16 % a bar show 1/284."""

NARROW_AFTER_DAYS: Final = 7
"""Bars of fewer days are not called too narrow: on a quiet day prices have down to 1/71 of it."""

FOREIGN: Final = 100.0
"""Times, or one such part: one column is enough, since no market's spread changes a hundredfold and stays there."""

FAR: Final = 2.0
"""Log distance from which a column is looked for elsewhere: a spread off by a factor of 7."""

NEARER: Final = 1 / 3
"""Of that distance is left where a column is found elsewhere. With a right scaler no column was, on any day."""

STAYS: Final = 0.5
"""Log distance that a column must gain by moving: a factor of 1.6 is drift."""

TINY: Final = float(np.finfo(np.float32).eps)
"""A scale below this part of its mean: float32, in which windows arrive, cannot hold what it divides."""

Misfit = Literal["elsewhere", "too wide", "too narrow"]


@dataclass(frozen=True)
class Spread:
    """Where columns stand and how far they reach, (features,) each: the median, and the deviation that a normal
    column with these 1 % and 99 % quantiles would have. One bad bar moves neither."""

    median: Floats
    deviation: Floats


@dataclass(frozen=True)
class ColumnFit:
    """One column on the bars, and its scaler.

    raw_mean, raw_deviation: before scaling.  mean, deviation, low, median, high: after it; low and high are the 5 %
    and 95 % quantiles.  largest: |scaled|, in the row largest_row.  beyond: share of bars with |scaled| > 10.
    width: the bars' spread in units of the scaler's; None where more than 98 % of the bars hold one value.
    constant: it never changes.  misfit: how it contradicts its scaler, None where it does not.
    """

    name: str
    raw_mean: float
    raw_deviation: float
    scaler_mean: float
    scaler_scale: float
    mean: float
    deviation: float
    low: float
    median: float
    high: float
    largest: float
    largest_row: int
    beyond: float
    width: float | None
    constant: bool
    misfit: Misfit | None

    @property
    def is_foreign(self) -> bool:
        """Off by so much that this column alone shows that the scaler was fitted to something else."""
        off = self.width is not None and max(self.width, 1 / self.width) >= FOREIGN
        return off and self.misfit is not None


@dataclass(frozen=True)
class Displaced:
    """A column whose place in the scaler holds what fits another one."""

    column: str
    holds: str


@dataclass(frozen=True)
class FeatureFit:
    """A scaler on bars.

    bars: how many.  beyond: share of them with any |scaled| > 10.  displaced: columns that look swapped; empty where
    no other order explains the scaler better.
    """

    bars: int
    columns: Sequence[ColumnFit]
    beyond: float
    displaced: Sequence[Displaced]

    @property
    def misfits(self) -> list[ColumnFit]:
        return [column for column in self.columns if column.misfit]

    @property
    def farthest(self) -> ColumnFit:
        """The column that holds the largest |scaled|."""
        return max(self.columns, key=lambda column: column.largest)

    @property
    def is_foreign(self) -> bool:
        """Whether the scaler was fitted to something else: many columns contradict it, or one by far too much."""
        return len(self.misfits) > WARN_COLUMNS * len(self.columns) or any(c.is_foreign for c in self.columns)


def is_identity(scaler: ScalerValues) -> bool:
    """Whether it changes nothing: what a bundle has whose checkpoint came without a scaler."""
    return not any(scaler.mean) and all(scale == 1 for scale in scaler.scale)


def tiny_scales(scaler: ScalerValues, columns: Sequence[str]) -> list[str]:
    """Columns whose scale divides by less than float32 resolves at their mean, so that noise comes out."""
    triples = zip(columns, scaler.mean, scaler.scale, strict=True)
    return [name for name, mean, scale in triples if scale < TINY * abs(mean) or scale < np.finfo(np.float32).tiny]


def was_constant(scaler: ScalerValues, columns: Sequence[str]) -> list[str]:
    """Columns that never varied where the scaler was fitted: StandardScaler gives these a scale of exactly 1."""
    if is_identity(scaler):
        return []
    return [name for name, scale in zip(columns, scaler.scale, strict=True) if scale == 1]


def feature_fit(rows: Floats, columns: Sequence[str], scaler: ScalerValues, *, bars_per_day: float) -> FeatureFit:
    """rows: (n, features), n > 0, raw and finite, in the scaler's order."""
    means, scales = np.array(scaler.mean), np.array(scaler.scale)
    scaled = (rows - means) / scales  # (n, features)
    sizes = np.abs(scaled)
    found = spread_of(rows)
    judge_narrow = len(rows) >= NARROW_AFTER_DAYS * bars_per_day
    misfits = _misfits(found, means, scales, judge_narrow=judge_narrow)
    low, median, high = np.quantile(scaled, (0.05, 0.5, 0.95), axis=0)
    raw_means, raw_deviations = rows.mean(axis=0), rows.std(axis=0)
    means_after, deviations_after = scaled.mean(axis=0), scaled.std(axis=0)
    largest_rows, beyond = sizes.argmax(axis=0), (sizes > WARN_BEYOND).mean(axis=0)
    constant = np.ptp(rows.astype(np.float32), axis=0) == 0  # as the model reads them
    fits = [
        ColumnFit(
            name=name,
            raw_mean=float(raw_means[i]),
            raw_deviation=float(raw_deviations[i]),
            scaler_mean=float(means[i]),
            scaler_scale=float(scales[i]),
            mean=float(means_after[i]),
            deviation=float(deviations_after[i]),
            low=float(low[i]),
            median=float(median[i]),
            high=float(high[i]),
            largest=float(sizes[largest_rows[i], i]),
            largest_row=int(largest_rows[i]),
            beyond=float(beyond[i]),
            width=float(found.deviation[i] / scales[i]) if found.deviation[i] > 0 else None,
            constant=bool(constant[i]),
            misfit=misfits[i],
        )
        for i, name in enumerate(columns)
    ]
    displaced = [] if is_identity(scaler) else _displaced(found, columns, means, scales, judge_narrow=judge_narrow)
    return FeatureFit(len(rows), fits, float((sizes > WARN_BEYOND).any(axis=1).mean()), displaced)


def fitting_symbol(others: Iterable[Series], scaler: ScalerValues, *, bars_per_day: float) -> str | None:
    """The symbol among others whose bars contradict a scaler least; None where it is foreign to all of them."""
    fits = {
        series.symbol: feature_fit(series.rows[series.first_row :], series.columns, scaler, bars_per_day=bars_per_day)
        for series in others
    }
    right = {symbol: len(fit.misfits) for symbol, fit in fits.items() if not (fit.is_foreign or fit.displaced)}
    return min(right, key=right.__getitem__, default=None)


def spread_of(rows: Floats) -> Spread:
    """rows: (n, features), n > 0, finite."""
    low, median, high = np.quantile(rows, (0.01, 0.5, 0.99), axis=0)
    return Spread(median, (high - low) / 4.6527)  # 2 × 2.32635, the 99 % quantile of a normal distribution


def _misfits(found: Spread, means: Floats, scales: Floats, *, judge_narrow: bool) -> list[Misfit | None]:
    """One a column."""
    elsewhere = np.abs(found.median - means) > ELSEWHERE * scales
    wide = found.deviation > WIDE * scales
    narrow = (found.deviation < scales / WIDE) & (found.deviation > 0) & judge_narrow
    words: tuple[Misfit, ...] = ("elsewhere", "too wide", "too narrow")
    return [
        next((word for word, applies in zip(words, signs, strict=True) if applies), None)
        for signs in zip(elsewhere, wide, narrow, strict=True)
    ]


def _displaced(
    found: Spread, columns: Sequence[str], means: Floats, scales: Floats, *, judge_narrow: bool
) -> list[Displaced]:
    """The columns that an order other than theirs explains far better; empty where there is none.

    The best order is the assignment of columns to places in the scaler with the least sum of log distances (Kuhn
    1955). Columns of one scale, such as ema_10 and sma_10, are as good in either order, and not named.
    """
    varies = np.flatnonzero(found.deviation > 0)
    if len(varies) < 2:
        return []
    some = Spread(found.median[varies], found.deviation[varies])
    distances = _distances(some, means[varies], scales[varies])  # (columns, places)
    inertia = STAYS * np.eye(len(varies))  # among equals, whoever is there stays
    best = linear_sum_assignment((distances - inertia).T)[1]  # (places,): the column that belongs there
    own, assigned = np.diag(distances), distances[best, np.arange(len(best))]
    moved = (own > FAR) & (assigned < NEARER * own)
    # where others lose what these gain, places are only being dealt out among equals
    is_gain = own.sum() - assigned.sum() > (own - assigned)[moved].sum() / 2
    # and if much still does not fit, the scaler is another's, in which some columns find a place by chance
    reordered = Spread(some.median[best], some.deviation[best])
    left = _misfits(reordered, means[varies], scales[varies], judge_narrow=judge_narrow)
    if moved.sum() < 2 or not is_gain or sum(map(bool, left)) > WARN_COLUMNS * len(left):
        return []
    return [Displaced(columns[varies[i]], columns[varies[best[i]]]) for i in np.flatnonzero(moved)]


def _distances(found: Spread, means: Floats, scales: Floats) -> Floats:
    """How badly each place in the scaler suits each column, (columns, places): 0 where both figures agree."""
    deviation, median = found.deviation[:, None], found.median[:, None]
    widths = np.abs(np.log(deviation / scales))
    shifts = np.log1p(np.abs(median - means) / np.maximum(deviation, scales))
    return np.asarray(widths + shifts)
