"""Acting on confident predictions only: against brute force, scipy, and cases told by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.selective import at_threshold, risk_coverage, threshold_for
from export.shares import independent
from signalserve.intervals import wilson


def honest(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences between 0.4 and 0.9 that come true as often as they say."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.4, 0.9, n)
    return confidence, random.random(n) < confidence


@given(st.lists(st.tuples(st.sampled_from([0.4, 0.5, 0.6, 0.7]), st.booleans()), min_size=1, max_size=30))
def test_the_curve_is_that_of_brute_force(pairs: list[tuple[float, bool]]) -> None:
    confidence, hits = np.array([c for c, _ in pairs]), np.array([h for _, h in pairs])
    curve = risk_coverage(confidence, hits)
    assert curve.thresholds.tolist() == sorted({c for c, _ in pairs})
    for threshold, coverage, accuracy in zip(curve.thresholds, curve.coverage, curve.accuracy, strict=True):
        acted_on = [h for c, h in pairs if c >= threshold]
        assert coverage == pytest.approx(len(acted_on) / len(pairs))
        assert accuracy == pytest.approx(sum(acted_on) / len(acted_on))


def test_equal_confidences_enter_together_in_any_order() -> None:
    confidence, hits = np.full(6, 0.5), np.array([True, False, True, False, False, True])
    forth, back = risk_coverage(confidence, hits), risk_coverage(confidence, hits[::-1])
    assert (forth.coverage.tolist(), forth.accuracy.tolist()) == ([1.0], [0.5])
    assert back.accuracy.tolist() == [0.5]


def test_the_threshold_is_the_lowest_that_reaches_the_wish() -> None:
    confidence, hits = honest(5000)
    found = threshold_for(confidence, hits, accuracy=0.75, horizon=1)
    assert found is not None
    assert found.accuracy is not None
    assert found.accuracy >= 0.75
    lower = [hits[confidence >= c].mean() for c in np.unique(confidence) if c < found.threshold]
    assert max(lower) < 0.75
    assert found.threshold == pytest.approx(0.6, abs=0.03)  # above it confidence is uniform up to 0.9


def test_a_threshold_tells_everything_about_what_lies_above_it() -> None:
    confidence, hits = honest(3000)
    found = at_threshold(confidence, hits, 0.8, horizon=15)
    selected = confidence >= 0.8
    assert (found.n, found.coverage) == (selected.sum(), selected.mean())
    assert found.accuracy == hits[selected].mean()
    assert found.effective_n == independent(hits, selected, 15)
    assert found.interval == wilson(hits[selected].mean(), found.effective_n)


def test_a_chosen_threshold_can_be_reported_on_other_data() -> None:
    chosen = threshold_for(*honest(5000, seed=1), accuracy=0.8, horizon=1)
    assert chosen is not None
    assert chosen == at_threshold(*honest(5000, seed=1), chosen.threshold, horizon=1)
    reported = at_threshold(*honest(5000, seed=2), chosen.threshold, horizon=1)
    assert reported.interval is not None
    assert reported.interval.low < 0.8 < reported.interval.high


def test_no_threshold_is_given_where_none_reaches_the_wish() -> None:
    assert threshold_for(*honest(5000), accuracy=0.97, horizon=1) is None  # confidence ends at 0.9


def test_a_few_lucky_predictions_are_not_enough() -> None:
    confidence, hits = honest(5000)
    top = np.argsort(confidence)
    hits[top[-20:]], hits[top[-21]] = True, False
    assert threshold_for(confidence, hits, accuracy=1.0, horizon=1, smallest=21) is None
    lucky = threshold_for(confidence, hits, accuracy=1.0, horizon=1, smallest=20)
    assert lucky is not None
    assert (lucky.n, lucky.accuracy) == (20, 1.0)


def test_coins_reach_no_gate() -> None:
    coins = [np.random.default_rng(seed).random((2, 20_000)) for seed in range(20)]
    found = [threshold_for(confidence, luck < 0.5, accuracy=0.68, horizon=1) for confidence, luck in coins]
    assert found == [None] * 20


def test_overlapping_hits_count_for_less_and_can_be_too_few() -> None:
    confidence, luck = np.random.default_rng(0).uniform(0.4, 0.9, (2, 900))
    hits = luck < 0.75
    tied, tied_hits = np.repeat(confidence[:60], 15), np.repeat(hits[:60], 15)
    assert at_threshold(confidence, hits, 0.4, 1).effective_n > 600
    assert at_threshold(tied, tied_hits, 0.4, 15).effective_n == pytest.approx(60, rel=0.5)
    assert threshold_for(confidence, hits, 0.0, 1, smallest=200) is not None
    assert threshold_for(tied, tied_hits, 0.0, 15, smallest=200) is None


def test_hits_that_depend_for_longer_than_labels_overlap_count_for_less_too() -> None:
    hits = np.repeat(np.random.default_rng(1).random(100) < 0.7, 100)  # right for 100 bars, or wrong for 100
    confidence = np.random.default_rng(0).uniform(0.4, 0.9, 10_000)
    assert at_threshold(confidence, hits, 0.4, horizon=15).effective_n == pytest.approx(100, rel=0.5)
    assert threshold_for(confidence, hits, 0.0, 15, smallest=200) is None


def test_nothing_above_a_threshold_has_no_accuracy() -> None:
    found = at_threshold(*honest(100), threshold=0.95, horizon=15)
    assert (found.n, found.effective_n, found.coverage) == (0, 0.0, 0.0)
    assert (found.accuracy, found.interval) == (None, None)


@pytest.mark.parametrize(
    ("confidence", "hits", "words"),
    [
        (np.zeros(0), np.zeros(0, dtype=bool), "n > 0"),
        (np.zeros(3), np.zeros(2, dtype=bool), r"got \(3,\) and \(2,\)"),
        (np.array([0.5, np.nan]), np.ones(2, dtype=bool), "finite"),
    ],
)
def test_wrong_input_is_refused_in_words(confidence: np.ndarray, hits: np.ndarray, words: str) -> None:
    for call in (risk_coverage, lambda c, h: at_threshold(c, h, 0.5, 15), lambda c, h: threshold_for(c, h, 0.5, 15)):
        with pytest.raises(ValueError, match=words):
            call(confidence, hits)
