"""What is compared with what: two models of one symbol, the same windows for both, and the names of the contestants.

The windows come after everything that taught either model, and fall into two parts with an embargo between them: on
the calibration part pools are fitted, on the test part everybody is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Final

import numpy as np
import numpy.typing as npt

from export.series import Series, Source, read_series
from export.split import Part, cut
from export.unseen import unseen
from signalserve.bundle import Bundle, Labels, Manifest
from signalserve.ensemble import PoolMethod
from signalserve.errors import ConfigError, DataError
from signalserve.settings import GENERATIONS

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
ClassIds = npt.NDArray[np.int64]

HAND_WEIGHT: Final = 0.4
"""V6-fixed's weight in `serving.yaml` as it is delivered."""

FIT_SHARE: Final = 0.5
"""Of the windows that neither model learned from, where no manifest says where its temperature was fitted."""

V6, V8 = GENERATIONS
EARLIER_SHARES: Final = "earlier shares"
OWN_SHARES: Final = "own shares, in hindsight"
BASE_RATES: Final = (EARLIER_SHARES, OWN_SHARES)
"""Two forecasters that know nothing of a window: one always says how often each class came on the calibration part, the
other how often it comes on the test part. The former alone is a poor yardstick: where the shares moved between the
parts, even a model without skill may beat it."""

METHODS: Final[tuple[PoolMethod, ...]] = ("linear", "log")
BY_HAND: Final[dict[PoolMethod, str]] = {method: f"{method} by hand" for method in METHODS}
WEIGHTED: Final[dict[PoolMethod, str]] = {method: f"{method}, w" for method in METHODS}
FULL_FIT: Final[dict[PoolMethod, str]] = {method: f"{method}, w & T" for method in METHODS}
UNCALIBRATED: Final = "linear of T = 1, w & T"
LIKELIEST: Final = {V6: f"{V6} at its likeliest T", V8: f"{V8} at its likeliest T"}
"""Each model with its temperature fitted here by likelihood, whatever it is served with: how sure it honestly is."""


@dataclass(frozen=True)
class Contest:
    """What is compared, on which windows. bundles, series: V6-fixed's, then V8's.  labels: (bars,) of the series."""

    symbol: str
    bundles: tuple[Bundle, Bundle]
    series: tuple[Series, Series]
    taught: Labels
    labels: ClassIds
    calibration: Part
    test: Part

    @property
    def knows_neutral(self) -> bool:
        return all(bundle.manifest.knows_neutral for bundle in self.bundles)

    @property
    def ends(self) -> Times:
        """Of the windows of both parts, in time order."""
        return np.concatenate([self.calibration.ends, self.test.ends])


def prepare(
    source: Source,
    bundles: tuple[Bundle, Bundle],
    taught: tuple[Labels, Labels],
    *,
    fit_share: float | None = None,
    assume_unseen: bool = False,
) -> Contest:
    """Read the bars of a V6-fixed and a V8 of one symbol, and find the windows that neither has seen.

    taught: each model's labels.  fit_share: of these windows, to fit pools to; by default all up to where the later
    of the two temperatures was fitted.  Raises ConfigError for models that cannot be compared, DataError for bars that
    do not suffice.
    """
    check_comparable(bundles, taught)
    symbol, horizon = bundles[0].manifest.symbol, taught[0].horizon_bars
    read = [read_series(source, symbol, b.manifest.columns, b.manifest.interval_ms) for b in bundles]
    series = read[0], read[1]
    calibration, test = parts(series, [b.manifest for b in bundles], horizon, fit_share, assume_unseen)
    labels = series[0].labels(horizon, taught[0].neutral_band)
    return Contest(symbol, bundles, series, taught[0], labels, calibration, test)


def check_comparable(bundles: Sequence[Bundle], taught: Sequence[Labels]) -> None:
    """Raises ConfigError unless these are a V6-fixed and a V8 that answer the same question of the same bars."""
    first, second = (bundle.manifest for bundle in bundles)
    if (first.generation, second.generation) != (V6, V8) or first.symbol != second.symbol:
        raise ConfigError(
            f"expected a {V6} and a {V8} of one symbol, got {bundles[0].name} and {bundles[1].name}: a pool of others "
            "could not be served"
        )
    if taught[0].horizon_bars != taught[1].horizon_bars or not isclose(
        taught[0].neutral_band, taught[1].neutral_band, rel_tol=1e-9
    ):
        one, other = (f"{labels.horizon_bars} bars ahead with a band of {labels.neutral_band:.3g}" for labels in taught)
        raise DataError(
            f"{first.symbol}: {V6} was taught {one}, {V8} {other}: no comparison would mean anything; give two models "
            "that were taught the same"
        )
    if (first.window, first.interval_ms) != (second.window, second.interval_ms):
        one, other = (f"{m.window} bars of {m.interval_ms / 1000:g} s" for m in (first, second))
        raise DataError(
            f"{first.symbol}: {V6} reads {one}, {V8} {other}: they never see the same window; give two models that do"
        )


def parts(
    series: Sequence[Series], manifests: Sequence[Manifest], horizon: int, fit_share: float | None, assume_unseen: bool
) -> tuple[Part, Part]:
    """The calibration and the test part: after both training spans, the test part after both calibration spans too.

    Raises DataError where one of them would be empty.
    """

    def common(by_calibration_too: bool) -> Part:
        found = [
            unseen(one, manifest, horizon, by_calibration_too=by_calibration_too, assume_unseen=assume_unseen)
            for one, manifest in zip(series, manifests, strict=True)
        ]
        return replace(found[0], ends=np.intersect1d(found[0].ends, found[1].ends))

    untaught, untouched = common(by_calibration_too=False), common(by_calibration_too=True)
    before = untaught.ends[untaught.ends + horizon < untouched.bars.start]
    if fit_share is None and len(before):
        return replace(untaught, ends=before), untouched
    try:
        calibration, later = cut(untaught, FIT_SHARE if fit_share is None else fit_share)
    except ValueError as error:
        raise DataError(f"{series[0].path}: {error}; give more bars after the training spans") from None
    test = np.intersect1d(later.ends, untouched.ends)
    if not len(test):
        raise DataError(
            f"{series[0].path}: expected bars to judge on after the calibration part and both models' calibration "
            "spans, got none; give later bars or a smaller --fit-share"
        )
    return calibration, replace(later, ends=test)


def check_one_horizon(contests: Sequence[Contest]) -> None:
    """Raises DataError for symbols whose labels look ahead differently: nothing could be said of all together."""
    if len({(c.taught.horizon_bars, c.series[0].interval_ms) for c in contests}) > 1:
        each = "; ".join(
            f"{c.symbol} {c.taught.horizon_bars} bars of {c.series[0].interval_ms / 1000:g} s" for c in contests
        )
        raise DataError(f"labels of the symbols look ahead differently: {each}; compare one at a time: --symbols")
