"""Probabilities and labels -> how good they are, beside what no model at all reaches. Everything in float64.

A forecast is judged by negative log-likelihood and Brier score first; accuracy and calibration error come second,
each beside the value that chance or a perfect model would show. Windows a minute apart share 59 of 60 bars, so that
n predictions are far fewer independent ones: standard errors come from the means of long blocks.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.bootstrap import mean_interval
from export.shares import worth
from signalserve import CLASSES
from signalserve.intervals import Interval, wilson

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

SMALLEST: Final = 1e-15
"""A probability of 0 that came true costs 34.5 nats instead of infinity, which no JSON can hold."""

BINS: Final = 10
"""Of equal counts, for the calibration error: a weak model has all its confidence in one or two fixed bins."""

BLOCKS: Final = 30
"""For standard errors: 30 leave enough degrees of freedom, and on a week of minutes each is 6 hours long."""

CONFIDENT: Final = (0.75, 0.9, 0.99)
"""The bot trades at 0.75; the gates look at 0.9 and 0.99."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar confidence, and how often they came true.

    confidence: mean.  accuracy: share of hits; interval: Wilson's, on effective_n.  effective_n: independent
    predictions that the n are worth.
    """

    confidence: float
    accuracy: float
    interval: Interval
    n: int
    effective_n: float


@dataclass(frozen=True)
class Scores:
    """How n forecasts did.

    nll: nats.  brier: sum over classes, 0 … 2.  calibration_error: of the confidence, expected value of |accuracy -
    confidence| over BINS bins; calibration_error_null: what a perfectly calibrated model with these confidences would
    show on as many labels that overlap as much.  confident_shares: threshold -> share of forecasts above it.
    confusion: rows true, columns predicted, counts.
    """

    n: int
    accuracy: float
    nll: float
    brier: float
    calibration_error: float
    calibration_error_null: float
    mean_confidence: float
    confident_shares: dict[str, float]
    predicted_shares: dict[str, float]
    confusion: list[list[int]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Gain:
    """By how much the forecasts' NLL is better than that of always forecasting the same class shares.

    baseline_nll: of the latter.  mean, interval: of the difference, above 0 where the forecasts are better.  All nats.
    """

    baseline_nll: float
    mean: float
    interval: Interval


@dataclass(frozen=True)
class Gains:
    """earlier: over the shares of a part known before.  hindsight: over the judged part's own, which nobody knew: the
    best of all forecasts that know nothing of a window, so that what is left is no luck with the shares."""

    earlier: Gain
    hindsight: Gain

    @property
    def show_knowledge(self) -> bool:
        """Whether both intervals lie above 0."""
        return self.earlier.interval.low > 0 and self.hindsight.interval.low > 0


def score(probabilities: Floats, labels: Labels, horizon: int) -> Scores:
    """All figures of one set of forecasts.

    probabilities: (n, 3), rows summing to 1; NEUTRAL is 0 for networks that know only DOWN and UP, whose labels are
    then 0 and 2.  labels: (n,), 0 … 2, in time order.  horizon: bars that a label looks ahead, by which neighbouring
    labels overlap.  Raises ValueError for other shapes or values.
    """
    _check(probabilities, labels)
    predicted = probabilities.argmax(axis=1)  # (n,)
    confidence = probabilities.max(axis=1)  # (n,)
    hits = predicted == labels
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return Scores(
        n=len(labels),
        accuracy=float(hits.mean()),
        nll=float(log_losses(probabilities, labels).mean()),
        brier=float(brier_scores(probabilities, labels).mean()),
        calibration_error=calibration_error(confidence, hits),
        calibration_error_null=float(null_calibration_errors(confidence, horizon).mean()),
        mean_confidence=float(confidence.mean()),
        confident_shares={str(limit): float((confidence > limit).mean()) for limit in CONFIDENT},
        predicted_shares=by_class(class_shares(predicted)),
        confusion=confusion.tolist(),
    )


def log_losses(probabilities: Floats, labels: Labels) -> Floats:
    """-log of the probability of what came, nats, (n,)."""
    losses: Floats = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST))
    return losses


def brier_scores(probabilities: Floats, labels: Labels) -> Floats:
    """Squared distance of each forecast from what came, summed over the classes, (n,). Source: Brier 1950."""
    scores: Floats = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)
    return scores


def calibration_error(confidence: Floats, hits: npt.NDArray[np.bool_]) -> float:
    """Mean of |hit rate - confidence| over BINS bins of equal counts, weighted by count.

    confidence, hits: (n,).  Biased upwards by noise: never read it without its value under perfect calibration.
    Source: Naeini et al. 2015, with the equal-count bins of Nguyen and O'Connor 2015.
    """
    order = np.argsort(confidence, kind="stable")
    gaps = (hits - confidence)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, min(BINS, len(gaps)))) / len(gaps))


def reliability(
    confidence: Floats, hits: npt.NDArray[np.bool_], horizon: int, *, bins: int = BINS, level: float = 0.95
) -> list[ReliabilityBin]:
    """The reliability diagram: bins of equal counts, by ascending confidence, as `calibration_error` has them.

    confidence, hits: (n,), one a bar, in time order, n > 0.  horizon: bars that a label looks ahead; it widens the
    intervals.  Fewer bins than asked for where n is smaller. Source: Niculescu-Mizil and Caruana 2005.
    """
    found = []
    for members in np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence))):
        selected = np.zeros(len(confidence), dtype=bool)
        selected[members] = True
        accuracy, effective = float(hits[members].mean()), worth(hits, selected, horizon, level=level)
        found.append(
            ReliabilityBin(
                confidence=float(confidence[members].mean()),
                accuracy=accuracy,
                interval=wilson(accuracy, effective, level),
                n=len(members),
                effective_n=effective,
            )
        )
    return found


def null_calibration_errors(confidence: Floats, horizon: int, *, rounds: int = 200, seed: int = 0) -> Floats:
    """Calibration errors of perfectly calibrated models with these confidences, by simulation, (rounds,).

    A hit is drawn with the probability that the confidence claims. `horizon` neighbours share one draw, because
    labels `horizon` bars ahead overlap: independent draws would promise a smaller error than truth can reach.
    """
    random, n = np.random.default_rng(seed), len(confidence)
    order = np.argsort(confidence, kind="stable")
    starts = [part[0] for part in np.array_split(np.arange(n), min(BINS, n))]  # of `calibration_error`'s bins
    errors = np.empty(rounds)
    for i in range(rounds):
        hits = np.repeat(random.random(-(-n // horizon)), horizon)[:n] < confidence
        errors[i] = np.abs(np.add.reduceat((hits - confidence)[order], starts)).sum() / n
    return errors


def mean_and_error(values: Floats) -> tuple[float, float | None]:
    """The mean of a dependent series and its standard error, from the means of BLOCKS consecutive blocks.

    values: (n,), in time order.  The error is None where n is too small for two values a block.
    Source: batch means, Law and Kelton, Simulation Modeling and Analysis, chapter 9.
    """
    if len(values) < 2 * BLOCKS:
        return float(np.mean(values)), None
    length = len(values) // BLOCKS
    block_means = values[: BLOCKS * length].reshape(BLOCKS, length).mean(axis=1)
    return float(np.mean(values)), float(block_means.std(ddof=1) / np.sqrt(BLOCKS))


def class_shares(labels: Labels) -> Floats:
    """The share of each class, (3,)."""
    shares: Floats = np.bincount(labels, minlength=len(CLASSES)) / len(labels)
    return shares


def baselines(train_shares: Floats, labels: Labels) -> dict[str, Any]:
    """What is reached without a model, from the training part's class shares alone.

    train_shares: (3,).  labels: (n,), those that the forecasts are judged on.
    Returns the accuracy of always saying the class that was most frequent in training, and the NLL and Brier score of
    always forecasting the shares in training.
    """
    majority = int(train_shares.argmax())
    forecast = np.broadcast_to(train_shares, (len(labels), len(train_shares)))
    return {
        "majority_class": CLASSES[majority],
        "majority_accuracy": float((labels == majority).mean()),
        "base_rate_nll": float(log_losses(forecast, labels).mean()),
        "base_rate_brier": float(brier_scores(forecast, labels).mean()),
    }


def gains(probabilities: Floats, labels: Labels, earlier_shares: Floats, horizon: int) -> Gains:
    """What the forecasts know beyond class shares, with 95 % block-bootstrap intervals.

    probabilities: (n, 3).  labels: (n,), 0 … 2, one a bar, in time order.  earlier_shares: (3,), of a part before.
    horizon: bars that a label looks ahead.  Raises DataError for a part too short for an interval.
    """

    def over(shares: Floats) -> Gain:
        baseline = log_losses(np.broadcast_to(shares, probabilities.shape), labels)  # (n,)
        differences = baseline - log_losses(probabilities, labels)
        return Gain(float(baseline.mean()), float(differences.mean()), mean_interval(differences, horizon))

    return Gains(earlier=over(earlier_shares), hindsight=over(class_shares(labels)))


def skill(probabilities: Floats, labels: Labels, train_shares: Floats) -> dict[str, Any]:
    """Is there any skill, and of what kind? Each figure with its standard error.

    nll_gain: nats by which the forecasts beat the base-rate forecast. By the chain rule it is the sum of two gains:
    quiet_or_moving, from telling NEUTRAL from the rest, and direction, from telling UP from DOWN where it moved.
    up_or_down: of the moves beyond the band, how often the likelier of the two was right.
    """
    forecast = np.broadcast_to(train_shares, probabilities.shape)
    gain = log_losses(forecast, labels) - log_losses(probabilities, labels)
    of_moving = log_losses(_moving(forecast), _moved(labels)) - log_losses(_moving(probabilities), _moved(labels))
    moved = _moved(labels) == 1
    down, up = probabilities[moved, 0], probabilities[moved, 2]
    right = ((up > down) == (labels[moved] == 2)).astype(np.float64)
    return {
        "nll_gain": {
            **_with_error(gain),
            "quiet_or_moving": _with_error(of_moving),
            "direction": _with_error(gain - of_moving),
        },
        "up_or_down": {"n": int(moved.sum()), **_with_error(right)},
    }


def _moving(probabilities: Floats) -> Floats:
    """(n, 3) over DOWN, NEUTRAL, UP -> (n, 2) over quiet, moving."""
    return np.stack([probabilities[:, 1], probabilities[:, 0] + probabilities[:, 2]], axis=1)


def _moved(labels: Labels) -> Labels:
    """0 where NEUTRAL came, 1 where UP or DOWN did."""
    moved: Labels = (labels != CLASSES.index("NEUTRAL")).astype(np.int64)
    return moved


def _with_error(values: Floats) -> dict[str, float | None]:
    mean, error = mean_and_error(values)
    return {"mean": mean, "standard_error": error}


def by_class(values: npt.ArrayLike) -> dict[str, Any]:
    """(3,) -> {"DOWN": …, "NEUTRAL": …, "UP": …}, plain numbers for JSON."""
    return dict(zip(CLASSES, np.asarray(values).tolist(), strict=True))


def _check(probabilities: Floats, labels: Labels) -> None:
    if probabilities.shape != (len(labels), len(CLASSES)) or not len(labels):
        raise ValueError(f"expected (n, 3) probabilities and (n,) labels, got {probabilities.shape}, {labels.shape}")
    if not (np.isfinite(probabilities).all() and np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)):
        raise ValueError("probabilities: expected finite rows that sum to 1")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise ValueError(f"labels: expected 0, 1, 2, got {labels.min()} … {labels.max()}")
