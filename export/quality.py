"""A model's raw logits on bars that nothing was fitted to -> the `report` of its manifest."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from export.labels import UNKNOWN
from export.scores import baselines, by_class, class_shares, score, skill
from signalserve import CLASSES, pipeline
from signalserve.errors import DataError
from signalserve.pipeline import Calibration

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

NEUTRAL = CLASSES.index("NEUTRAL")


def probabilities_of(raw_logits: Floats, calibration: Calibration) -> Floats:
    """The pipeline's own clamp, temperature and softmax, on arrays: (m, classes known) -> (m, 3)."""
    return np.asarray(pipeline.probabilities_of(torch.from_numpy(raw_logits), calibration).numpy())


def judged_on(raw_logits: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
    """Which predictions can be scored, (m,): those with a label that the model could have given.

    A model of two logits knows no NEUTRAL and is scored only where UP or DOWN came.
    """
    known: npt.NDArray[np.bool_] = labels != UNKNOWN
    return known if raw_logits.shape[1] == len(CLASSES) else known & (labels != NEUTRAL)


def fit_targets(raw_logits: Floats, labels: Labels) -> Labels:
    """Labels as positions among the model's own logits: DOWN 0, UP 1 where it has two. All must be `judged_on`."""
    return labels if raw_logits.shape[1] == len(CLASSES) else (labels == CLASSES.index("UP")).astype(np.int64)


def describe(raw_logits: Floats, calibration: Calibration, labels: Labels, horizon: int) -> dict[str, Any]:
    """Scores of the calibrated forecasts, and how far the logits under them reach.

    raw_logits: (m, classes known).  labels: (m,), all `judged_on`, in time order.  horizon: bars.
    """
    return {
        **score(probabilities_of(raw_logits, calibration), labels, horizon).as_dict(),
        "raw_logits": {
            "min": float(raw_logits.min()),
            "max": float(raw_logits.max()),
            "share_beyond_clamp": float((np.abs(raw_logits) > calibration.clamp).any(axis=1).mean()),
        },
    }


def report_of(
    raw_logits: Floats,
    calibration: Calibration,
    labels: Labels,
    earlier_labels: Labels,
    horizon: int,
    *,
    earlier_part: Literal["train", "calibration"],
) -> dict[str, Any]:
    """`describe`, beside what is reached without a model, and where the gain over that lies.

    earlier_labels: (k,), of the part `earlier_part`: their class shares are the forecast to beat.  Rows and labels that
    the model cannot be judged on are left out.  Raises DataError where none is left.
    """
    chosen = judged_on(raw_logits, labels)
    earlier = earlier_labels[judged_on(np.empty((len(earlier_labels), raw_logits.shape[1])), earlier_labels)]
    if not chosen.any() or not len(earlier):
        raise DataError(
            f"expected labels to judge on, got {chosen.sum()} and {len(earlier)} before them; give more bars"
        )
    raw_logits, labels = raw_logits[chosen], labels[chosen]
    shares = class_shares(earlier)
    return {
        **describe(raw_logits, calibration, labels, horizon),
        "base_rates": by_class(class_shares(labels)),
        f"{earlier_part}_base_rates": by_class(shares),
        **baselines(shares, labels),
        **skill(probabilities_of(raw_logits, calibration), labels, shares),
    }
