"""Predictions in time order -> `reference.json`: what monitoring compares later predictions with.

The predictions are those on bars that nothing was fitted to. What is told is how confidence is spread, how often
each class is said and for how long on end, how large logits are, and how far from independent all that is.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.scores import by_class, class_shares, mean_and_error
from export.series import Series
from export.split import Part
from signalserve import CLASSES
from signalserve.bundle import CalibrationValues, ScalerValues, Span
from signalserve.drift.kept import KeptStream
from signalserve.drift.limits import simulate_limits
from signalserve.drift.reference import make_reference
from signalserve.drift.surrogates import SHORTEST
from signalserve.off_scale import off_scale_shares

Floats = npt.NDArray[np.float64]

BINS: Final = 10
"""Quantile bins of confidence: fixed ones are empty for a weak model, and a comparison over them is blind."""

LEVELS: Final = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
"""Quantiles of each class's raw logit; 0 and 1 are the extremes."""

LAGS: Final = (1, 5, 15, 60)
"""Minutes: the next prediction, the labels' horizon, and the first window that shares no bar."""


def keep(series: Series, part: Part, raw_logits: Floats, scaler: ScalerValues) -> KeptStream:
    """The part's predictions as a bundle keeps them. raw_logits: (len(part), classes known), of its windows, in order.

    Raises DataError for bars without times, ValueError for logits that are not finite.
    """
    as_of_ms = series.times()[part.ends] + series.interval_ms
    return KeptStream(as_of_ms, raw_logits, off_scale_shares(series.rows, part.ends, part.window, scaler))


def describe_stream(
    kept: KeptStream,
    calibration: CalibrationValues,
    span: Span,
    columns: int,
    *,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Everything `reference.json` holds; plain numbers, no NaN or infinity.

    kept: more than BINS predictions.  calibration: the clamp and temperature that turn them into probabilities.  span:
    the bars behind them.  columns: that the model reads.  The logit of a class that it does not know is null.  `drift`
    is null where they are too few to learn their dependence from; it takes half a minute of computing.
    progress: told of days drawn, of which there are `limits.SIMULATED_DAYS`.
    Raises ValueError for fewer predictions.
    """
    stream, raw_logits = kept.stream(calibration), kept.raw_logits
    n = len(stream)
    if n <= BINS:
        raise ValueError(f"expected more than {BINS} predictions, got {n}")
    probabilities = stream.probabilities
    known = {3: CLASSES, 2: ("DOWN", "UP")}[raw_logits.shape[1]]
    drift = None
    if n >= SHORTEST:
        limits = simulate_limits(stream, progress=progress)
        drift = make_reference(stream, limits, clamp=calibration.clamp, columns=columns).to_json()
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    return {
        "schema_version": 2,
        "n": n,
        "span": span.model_dump(),
        "confidence": confidence_bins(confidence),
        "class_shares": by_class(class_shares(predicted)),
        "raw_logits": {
            "levels": list(LEVELS),
            **dict.fromkeys(CLASSES),
            **{name: np.quantile(raw_logits[:, i], LEVELS).tolist() for i, name in enumerate(known)},
            "min": float(raw_logits.min()),
            "max": float(raw_logits.max()),
        },
        "runs": describe_runs(predicted),
        "dependence": describe_dependence(confidence),
        "drift": drift,
    }


def confidence_bins(confidence: Floats) -> dict[str, Any]:
    """Mean, edges (11) and counts (10) of the quantile bins of confidence.

    A confidence c is in bin i where edges[i] <= c < edges[i + 1]. The outer edges are 0 and 1 whatever the data, and
    the last bin holds 1 itself, so that every later confidence has a bin.  Equal confidences share a bin, so that
    with many of them some counts differ from n/10 and a bin can be empty.
    """
    inner = np.quantile(confidence, np.arange(1, BINS) / BINS)  # (9,)
    bins = np.searchsorted(inner, confidence, side="right")
    return {
        "mean": float(confidence.mean()),
        "edges": [0.0, *inner.tolist(), 1.0],
        "counts": np.bincount(bins, minlength=BINS).tolist(),
    }


def run_lengths(classes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The class and the length of every run of equal neighbours, in order: two arrays of shape (runs,)."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(classes)) + 1])
    return classes[starts], np.diff(np.concatenate([starts, [len(classes)]]))


def describe_runs(predicted: npt.NDArray[np.int64]) -> dict[str, Any]:
    """How long one class is predicted on end, in predictions: overall and by class (null where it never is)."""
    classes, lengths = run_lengths(predicted)

    def summary(some: npt.NDArray[np.int64]) -> dict[str, Any] | None:
        return {"runs": len(some), "mean": float(some.mean()), "longest": int(some.max())} if len(some) else None

    by_name = {name: summary(lengths[classes == i]) for i, name in enumerate(CLASSES)}
    return {**(summary(lengths) or {}), "by_class": by_name}


def describe_dependence(confidence: Floats) -> dict[str, Any]:
    """Autocorrelation of confidence at LAGS (null where it has none), and how many independent values n are worth."""
    return {
        "autocorrelation": {str(lag): autocorrelation(confidence, lag) for lag in LAGS},
        "effective_n": effective_n(confidence),
    }


def autocorrelation(values: Floats, lag: int) -> float | None:
    """Sample autocorrelation, (-1, 1); None for a constant series or one not longer than the lag."""
    centred = values - values.mean()
    variance = float(centred @ centred)
    if len(values) <= lag or np.ptp(values) == 0:
        return None
    return float(centred[:-lag] @ centred[lag:]) / variance


def effective_n(values: Floats) -> float | None:
    """How many independent values would give the mean this series' standard error, at most n.

    From batch means (`scores.mean_and_error`); None where the series is constant or too short for them.
    """
    _, error = mean_and_error(values)
    if not error or np.ptp(values) == 0:
        return None
    return min(float(len(values)), float(values.var(ddof=1)) / error**2)
