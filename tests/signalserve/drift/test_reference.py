"""A reference is what its stream was, survives its file, and says what is wrong with one that isn't its own."""

import json
import math
from typing import Any

import numpy as np
import pytest
from drift_streams import pool_of, weak_stream

from signalserve.drift import WINDOWS
from signalserve.drift.limits import Limits, simulate_limits
from signalserve.drift.reference import Reference, make_reference
from signalserve.drift.stream import Stream

STREAM = weak_stream(2000)
COLUMNS = 72


@pytest.fixture(scope="module")
def limits() -> Limits:
    return simulate_limits(STREAM, simulated_days=20)


@pytest.fixture
def reference(limits: Limits) -> Reference:
    return make_reference(STREAM, limits, clamp=15.0, columns=COLUMNS)


def test_it_is_what_its_stream_was(reference: Reference) -> None:
    assert reference.n == sum(reference.said) == 2000
    assert reference.mean_confidence == pytest.approx(sum(STREAM.confidence) / 2000)
    assert reference.said == tuple(int((STREAM.classes == i).sum()) for i in range(3))
    assert reference.confidence.counts.tolist() == [200] * 10
    assert list(reference.design_effect) == list(WINDOWS)
    assert all(effect > 3 for effect in reference.design_effect.values())


def test_rates_have_limits_above_their_own(limits: Limits) -> None:
    share = np.where(np.arange(2000) < 500, 0.2, 0.0)
    stream = Stream(STREAM.time_ms, STREAM.probabilities, STREAM.largest_logit, share)
    assert stream.largest_logit is not None
    clamp = float(np.quantile(stream.largest_logit, 0.9))
    rates = make_reference(stream, limits, clamp=clamp, columns=COLUMNS).rates
    assert rates["clamp_rate"].limit == pytest.approx(0.1 + 0.05)
    assert rates["saturation_rate"].limit == pytest.approx(0.05)
    assert rates["off_scale_rate"].limit == pytest.approx(0.05 + 0.5 / COLUMNS)


def test_it_is_the_same_after_json(reference: Reference) -> None:
    content = json.loads(json.dumps(reference.to_json(), allow_nan=False))
    again = Reference.from_json(content)
    assert again.to_json() == content
    assert again.limits == reference.limits
    assert {name: rate.limit for name, rate in again.rates.items()} == pytest.approx(
        {name: rate.limit for name, rate in reference.rates.items()}
    )


def test_a_pools_has_neither_logits_nor_their_rates(limits: Limits) -> None:
    pool = make_reference(pool_of(STREAM), limits, clamp=None, columns=None)
    assert set(pool.rates) == {"saturation_rate"}
    assert Reference.from_json(pool.to_json()).largest_logit is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"said": None}, "signalserve calibrate"),
        ({"confidence": {"edges": [1.0]}}, "signalserve calibrate"),
        ({"confidence": {"edges": [1.0], "counts": [1, 2, 3]}}, "one edge fewer"),
        ({"limits": []}, "signalserve calibrate"),
        ({"n": None}, "signalserve calibrate"),
        ({"class_days": [1.0]}, "3"),
        ({"design_effect": {"day": 1.0}}, "day"),
    ],
)
def test_content_that_is_not_its_own_is_refused(reference: Reference, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Reference.from_json({**reference.to_json(), **change})


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("design_effect", "120"), None, "design_effect: expected .* each window"),
        (("design_effect", "120"), 0.0, "design_effect"),
        (("design_effect", "120"), math.nan, "design_effect"),
        (("design_effect", "120"), math.inf, "design_effect"),
        (("limits", "class_psi", "360"), None, "class_psi: expected one series for each window"),
        (("limits", "class_psi", "360"), [0.1, 0.2], "class_psi, window 360: expected 7"),
        (("limits", "class_psi", "360"), [0.1] * 6 + [math.nan], "class_psi, window 360"),
        (("limits", "class_psi", "360"), [0.0] + [0.1] * 6, "class_psi, window 360"),
        (("limits", "confidence_shift"), None, r"limits: expected those of \['confidence_shift'\]"),
        (("days",), [1.0, 2.0], "days: expected at least 3"),
        (("days",), [1.0, 2.0, 5.0, 4.0, 7.0, 8.0, 9.0], "ascending"),
        (("days",), [0.0, 2.0, 3.0, 4.0, 7.0, 8.0, 9.0], "above 0"),
        (("days",), [1.0, 2.0, 3.0, 4.0, 7.0, 8.0, math.inf], "finite"),
    ],
)
def test_numbers_that_can_not_be_used_are_refused(
    reference: Reference, place: tuple[str, ...], value: Any, words: str
) -> None:
    """value: in place of what is there; None takes it away."""
    content = json.loads(json.dumps(reference.to_json()))
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    del holder[place[-1]]
    if value is not None:
        holder[place[-1]] = value
    with pytest.raises(ValueError, match=words):
        Reference.from_json(content)


@pytest.mark.parametrize("missing", ["n", "said", "rates", "limits", "days", "run_days"])
def test_what_lacks_a_field_is_refused_by_its_name(reference: Reference, missing: str) -> None:
    content = reference.to_json()
    del content[missing]
    with pytest.raises(ValueError, match=missing):
        Reference.from_json(content)
