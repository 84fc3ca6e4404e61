"""What monitoring will compare with: bins, runs, dependence."""

import json

import numpy as np
import pytest

from export.reference_stream import (
    BINS,
    autocorrelation,
    confidence_bins,
    describe_runs,
    describe_stream,
    effective_n,
    run_lengths,
)
from signalserve.bundle import Span

SPAN = Span(start="2025-05-27T00:00:00Z", end="2025-05-28T00:00:00Z", bars=1441)


def stream(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    logits = np.random.default_rng(seed).normal(size=(n, 3))
    exponentials = np.exp(logits)
    return logits, exponentials / exponentials.sum(axis=1, keepdims=True)


def ar1(n: int, phi: float, seed: int = 0) -> np.ndarray:
    shocks = np.random.default_rng(seed).normal(size=n)
    values = np.zeros(n)
    for row in range(1, n):
        values[row] = phi * values[row - 1] + shocks[row]
    return values


def test_the_description_is_strict_json_and_counts_every_prediction() -> None:
    logits, probabilities = stream(1000)
    told = json.loads(json.dumps(describe_stream(logits, probabilities, SPAN), allow_nan=False))
    assert told["n"] == sum(told["confidence"]["counts"]) == 1000
    assert sum(told["class_shares"].values()) == pytest.approx(1)
    assert told["span"] == SPAN.model_dump()
    assert told["raw_logits"]["min"] == logits.min()
    assert told["raw_logits"]["UP"][-1] == logits[:, 2].max()
    assert told["confidence"]["mean"] == pytest.approx(probabilities.max(axis=1).mean())


def test_bins_hold_equal_counts_where_no_values_are_equal() -> None:
    told = confidence_bins(stream(2000)[1].max(axis=1))
    assert told["counts"] == [200] * BINS
    assert (told["edges"][0], told["edges"][-1], len(told["edges"])) == (0.0, 1.0, BINS + 1)


def test_counts_follow_from_the_edges_by_the_rule_that_is_told() -> None:
    confidence = np.round(stream(500)[1].max(axis=1), 2)  # many equal values
    told = confidence_bins(confidence)
    edges = np.array(told["edges"])
    counted = [int(((edges[i] <= confidence) & (confidence < edges[i + 1])).sum()) for i in range(BINS)]
    assert told["counts"] == counted


def test_a_confidence_of_one_has_a_bin() -> None:
    told = confidence_bins(np.ones(100))
    assert sum(told["counts"]) == told["counts"][-1] == 100


def test_runs_add_up_and_alternate() -> None:
    classes = np.array([0, 0, 2, 2, 2, 1, 0])
    which, lengths = run_lengths(classes)
    assert which.tolist() == [0, 2, 1, 0]
    assert lengths.tolist() == [2, 3, 1, 1]
    assert (np.repeat(which, lengths) == classes).all()


def test_runs_are_told_by_class_and_a_class_never_said_has_none() -> None:
    told = describe_runs(np.array([0, 0, 2, 2, 2, 0]))
    assert (told["runs"], told["mean"], told["longest"]) == (3, 2.0, 3)
    assert told["by_class"] == {
        "DOWN": {"runs": 2, "mean": 1.5, "longest": 2},
        "NEUTRAL": None,
        "UP": {"runs": 1, "mean": 3.0, "longest": 3},
    }


@pytest.mark.parametrize("lag", [1, 5])
def test_autocorrelation_of_a_known_process_is_recovered(lag: int) -> None:
    assert autocorrelation(ar1(50_000, 0.9), lag) == pytest.approx(0.9**lag, abs=0.02)


def test_dependence_shrinks_the_effective_n() -> None:
    n, phi = 60_000, 0.9
    independent, dependent = effective_n(ar1(n, 0.0)), effective_n(ar1(n, phi))
    assert independent == pytest.approx(n, rel=0.5)  # a variance from 30 blocks is known to a quarter
    assert dependent == pytest.approx(n * (1 - phi) / (1 + phi), rel=0.6)


def test_a_constant_stream_has_no_dependence_to_tell() -> None:
    constant = np.full(1000, 0.4)
    assert autocorrelation(constant, 1) is None
    assert effective_n(constant) is None


def test_a_short_stream_leaves_out_what_it_cannot_tell() -> None:
    told = describe_stream(*stream(30), SPAN)["dependence"]
    assert told["autocorrelation"]["60"] is None
    assert told["effective_n"] is None


def test_too_few_or_infinite_predictions_are_refused() -> None:
    logits, probabilities = stream(20)
    with pytest.raises(ValueError, match="more than 10"):
        describe_stream(logits[:10], probabilities[:10], SPAN)
    logits[3, 1] = np.inf
    with pytest.raises(ValueError, match="finite"):
        describe_stream(logits, probabilities, SPAN)
