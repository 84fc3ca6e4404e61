"""What is drawn is spread as the stream, depends on its past as the stream, and can't be told from more of it."""

import math

import numpy as np
import pytest
from drift_streams import autoregressive, one_sided_stream, pool_of, stream_of, weak_stream
from scipy.stats import ks_2samp

from signalserve.bundle import CalibrationValues
from signalserve.drift.kept import probabilities
from signalserve.drift.stream import Floats, Stream
from signalserve.drift.surrogates import Drawn, Surrogates, autoregression, normal_scores

N = 20_000


def drawn_from(stream: Stream, n: int = 100_000) -> Drawn:
    return Surrogates(stream).draw(n, np.random.default_rng(1))


def correlation(values: Floats, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


@pytest.fixture
def two_classes() -> Stream:
    logits = autoregressive(0.9, (2000, 2))
    calibrated = probabilities(logits, CalibrationValues(clamp=15.0, temperature=3.0, method="nll"))
    return Stream(np.arange(2000), calibrated, np.abs(logits).max(axis=1), None)


def test_each_number_is_spread_as_in_the_stream() -> None:
    stream = weak_stream(N)
    drawn = drawn_from(stream)
    assert ks_2samp(drawn.confidence, stream.confidence).statistic < 0.02
    assert ks_2samp(drawn.largest_logit, stream.largest_logit).statistic < 0.02
    assert np.bincount(drawn.classes) / len(drawn.classes) == pytest.approx(np.bincount(stream.classes) / N, abs=0.03)


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.97])
def test_confidence_moves_as_slowly_as_in_the_stream(phi: float) -> None:
    stream = one_sided_stream(autoregressive(phi, (N,)))
    before, after = (normal_scores(part.confidence) for part in (stream, drawn_from(stream)))
    lags = (1, 5, 30, 60)
    assert [correlation(after, lag) for lag in lags] == pytest.approx(
        [correlation(before, lag) for lag in lags], abs=0.05
    )


def test_classes_move_as_slowly_as_in_the_stream() -> None:
    stream = weak_stream(N)
    before, after = ((classes == 2).astype(float) for classes in (stream.classes, drawn_from(stream).classes))
    assert [correlation(after, lag) for lag in (1, 5)] == pytest.approx(
        [correlation(before, lag) for lag in (1, 5)], abs=0.05
    )


def test_numbers_move_together_as_in_the_stream() -> None:
    stream = one_sided_stream(autoregressive(0.9, (N,)))
    drawn = drawn_from(Stream(stream.time_ms, stream.probabilities, stream.confidence, None))
    assert drawn.largest_logit is not None
    assert np.corrcoef(drawn.confidence, drawn.largest_logit)[0, 1] > 0.999


@pytest.mark.parametrize("window", [120, 360, 1440])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_design_effect_is_that_of_theory(phi: float, window: int) -> None:
    """(1 + φ) / (1 - φ) of a window long enough, less what its ends lack."""
    exact = 1 + 2 * sum((1 - lag / window) * phi**lag for lag in range(1, window))
    assert exact <= (1 + phi) / (1 - phi)
    stream = one_sided_stream(autoregressive(phi, (200_000,)))
    assert Surrogates(stream).design_effect(window) == pytest.approx(exact, rel=0.1)


def test_the_design_effect_is_the_variance_of_drawn_window_means_against_independent_ones() -> None:
    stream = one_sided_stream(autoregressive(0.9, (N,)))
    surrogates = Surrogates(stream)
    scores = normal_scores(surrogates.draw(1_200_000, np.random.default_rng(2)).confidence)
    assert 120 * scores.reshape(-1, 120).mean(axis=1).var() == pytest.approx(surrogates.design_effect(120), rel=0.05)


def test_the_first_prediction_drawn_is_like_any_other() -> None:
    surrogates = Surrogates(weak_stream(2000, 0.97))
    rng = np.random.default_rng(3)
    firsts = [surrogates.draw(5, rng).confidence[0] for _ in range(400)]
    assert ks_2samp(firsts, weak_stream(2000, 0.97).confidence).pvalue > 0.001


def test_the_same_seed_draws_the_same() -> None:
    first, again = (drawn_from(weak_stream(500), 50) for _ in range(2))
    assert first.confidence.tolist() == again.confidence.tolist()
    assert first.classes.tolist() == again.classes.tolist()


def test_a_stream_that_never_changes_stays_as_it_is() -> None:
    surrogates = Surrogates(stream_of(np.tile([1.0, 0.0, 2.0], (200, 1))))
    drawn = surrogates.draw(30, np.random.default_rng(0))
    assert set(drawn.confidence) == {surrogates.draw(1, np.random.default_rng(1)).confidence[0]}
    assert set(drawn.classes) == {2}
    assert surrogates.design_effect(120) == 1


def test_two_values_in_turn_can_be_drawn_from() -> None:
    """What repeats itself exactly would leave the autoregression nothing new."""
    stream = one_sided_stream(np.tile([0.5, -0.5], 500))
    drawn = drawn_from(stream, 1000)
    assert np.isfinite(drawn.confidence).all()
    assert stream.confidence.min() <= drawn.confidence.min() < drawn.confidence.max() <= stream.confidence.max()


def test_a_network_of_two_classes_never_draws_the_third(two_classes: Stream) -> None:
    drawn = drawn_from(two_classes, 5000)
    assert set(drawn.classes) == {0, 2}
    assert np.isfinite(drawn.confidence).all()


def test_a_pool_has_no_logits_to_draw() -> None:
    assert drawn_from(pool_of(weak_stream(500)), 10).largest_logit is None


@pytest.mark.parametrize("n", [0, 1, 39])
def test_a_stream_too_short_to_learn_from_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 40 predictions .* got {n}"):
        Surrogates(weak_stream(40).last(n) if n else Stream(np.arange(0), np.empty((0, 3)), None, None))


def test_the_shortest_stream_that_is_taken_can_be_drawn_from() -> None:
    assert np.isfinite(drawn_from(weak_stream(40), 100).confidence).all()


def test_normal_scores_are_ranks_and_equal_values_share_theirs() -> None:
    scores = normal_scores(np.array([3.0, 1.0, 3.0, 9.0]))
    assert scores[0] == scores[2]
    assert scores[1] == pytest.approx(-1.1503, abs=1e-4)  # the quantile of 1/8
    assert normal_scores(np.arange(9.0)).sum() == pytest.approx(0)


def test_coefficients_are_those_of_the_process() -> None:
    coefficients = autoregression(autoregressive(0.8, (100_000,)), 3)
    assert coefficients == pytest.approx([0.8, 0, 0], abs=0.02)


def test_the_equations_of_yule_and_walker_hold() -> None:
    values = autoregressive(0.8, (300,))
    centred = values - values.mean()
    covariances = [sum(centred[lag:] * centred[: 300 - lag]) / 300 for lag in range(5)]
    coefficients = autoregression(values, 4)
    for lag in range(1, 5):
        told = math.fsum(c * covariances[abs(lag - j)] for j, c in enumerate(coefficients, 1))
        assert told == pytest.approx(covariances[lag], abs=1e-7)
