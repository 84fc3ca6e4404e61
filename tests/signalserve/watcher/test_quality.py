"""Live quality against scikit-learn, plain loops and simulated spread."""

import math
from contextlib import closing

import numpy as np
import pytest
from journals import ARM, START_MS, SYMBOL, add_bundle, add_prediction, add_series, new_journal
from scipy.stats import norm
from sklearn.metrics import accuracy_score, log_loss

from export.quality import judged_on
from export.scores import score
from signalserve.intervals import wilson
from signalserve.journal.reading import Matured
from signalserve.metrics import CONFIDENCE_EDGES
from signalserve.watcher.quality import FEWEST, NOTHING, live_quality, quality_of

MINUTE = 60_000
HORIZON_MS = 15 * MINUTE
RATES = np.array([0.25, 0.45, 0.3])


def matured(n, seed=0, *, probabilities=None, outcomes=None, time_ms=None, horizon_ms=HORIZON_MS):
    random = np.random.default_rng(seed)
    return Matured(
        probabilities=random.dirichlet([3, 4, 3], n) if probabilities is None else probabilities,
        outcomes=random.integers(3, size=n) if outcomes is None else outcomes,
        time_ms=np.arange(n) * MINUTE if time_ms is None else time_ms,
        horizon_ms=horizon_ms,
    )


def overlapping(n, seed):
    """Outcomes of labels 15 steps ahead, one a step; UP in a share of UP_SHARE."""
    ahead = np.convolve(np.random.default_rng(seed).normal(size=n + 15), np.ones(15), mode="valid")[1 : n + 1]
    return np.digitize(ahead, [-1.67, 1.67])


UP_SHARE = norm.sf(1.67 / math.sqrt(15))


def test_figures_are_scikit_learns():
    given = matured(700)
    scores = quality_of(given, RATES).scores
    assert scores.accuracy.value == pytest.approx(accuracy_score(given.outcomes, given.probabilities.argmax(1)))
    assert scores.nll.value == pytest.approx(log_loss(given.outcomes, given.probabilities), rel=1e-12)
    one_hot = (given.outcomes[:, None] == [0, 1, 2]).astype(float)
    assert scores.brier.value == pytest.approx(((given.probabilities - one_hot) ** 2).sum(1).mean(), rel=1e-12)


@pytest.mark.parametrize("when", ["before", "hindsight"])
def test_baselines_always_forecast_the_same_shares(when):
    outcomes = np.repeat([0, 1, 2], [300, 100, 200])
    found = getattr(quality_of(matured(600, outcomes=outcomes), RATES).scores, when)
    shares = RATES if when == "before" else np.array([3, 1, 2]) / 6
    assert found.shares == pytest.approx(shares)
    assert found.accuracy == pytest.approx(1 / 6 if when == "before" else 1 / 2)
    assert found.nll == pytest.approx(log_loss(outcomes, np.tile(shares, (600, 1))), rel=1e-12)
    distances = [sum((shares[k] - (k == outcome)) ** 2 for k in range(3)) for outcome in outcomes.tolist()]
    assert found.brier == pytest.approx(sum(distances) / 600, rel=1e-12)


def test_without_known_shares_there_is_no_baseline_before():
    assert quality_of(matured(200), None).scores.before is None


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_too_few_outcomes_tell_nothing_but_their_number(n):
    found = quality_of(matured(n), RATES)
    assert (found.n, found.neutral_left_out, found.scores) == (n, 0, None)
    assert quality_of(matured(FEWEST), RATES).scores is not None


def test_what_was_held_impossible_costs_a_finite_price():
    never = np.tile([0.5, 0.0, 0.5], (100, 1))
    scores = quality_of(
        matured(100, probabilities=never, outcomes=np.ones(100, dtype=int)), np.array([0.5, 0, 0.5])
    ).scores
    assert scores.nll.value == scores.before.nll == pytest.approx(15 * math.log(10))


def test_one_impossible_outcome_does_not_hide_what_the_others_say():
    given = matured(1440)
    before = quality_of(given, None).scores.nll.value
    given.probabilities[7] = np.eye(3)[(given.outcomes[7] + 1) % 3]
    assert quality_of(given, None).scores.nll.value - before < 15 * math.log(10) / 1440


# ---- models that know no NEUTRAL


def of_two_classes(n, seed=0, **columns):
    """Forecasts of DOWN and UP, and outcomes of which a third is NEUTRAL."""
    up = np.random.default_rng(seed).uniform(0.2, 0.8, n)
    return matured(n, seed, probabilities=np.stack([1 - up, 0 * up, up], axis=1), **columns)


def test_who_knows_no_neutral_is_judged_on_moves_and_the_others_are_counted():
    given = of_two_classes(900)
    found = quality_of(given, RATES, knows_neutral=False)
    came = given.outcomes != 1
    up, is_up = given.probabilities[came, 2], given.outcomes[came] == 2
    assert (found.n, found.neutral_left_out) == (came.sum(), 900 - came.sum())
    assert found.scores.accuracy.value == pytest.approx(accuracy_score(is_up, up > 0.5))
    assert found.scores.nll.value == pytest.approx(log_loss(is_up, up), rel=1e-12)
    assert found.scores.brier.value == pytest.approx(2 * np.mean((up - is_up) ** 2), rel=1e-12)


def test_who_knows_no_neutral_stands_beside_the_shares_of_moves():
    outcomes = np.repeat([0, 1, 2], [300, 400, 100])
    scores = quality_of(of_two_classes(800, outcomes=outcomes), RATES, knows_neutral=False).scores
    assert scores.before.shares == pytest.approx([0.25 / 0.55, 0, 0.3 / 0.55])
    assert scores.hindsight.shares == pytest.approx([0.75, 0, 0.25])
    assert scores.hindsight.accuracy == 0.75
    assert scores.before.nll == pytest.approx(log_loss(outcomes[outcomes != 1], [[0.25 / 0.55, 0.3 / 0.55]] * 400))


def test_live_and_offline_judge_a_model_of_two_classes_alike():
    given = of_two_classes(900)
    raw_logits = np.log(given.probabilities[:, [0, 2]])
    chosen = judged_on(raw_logits, given.outcomes)
    offline = score(given.probabilities[chosen], given.outcomes[chosen], horizon=15)
    live = quality_of(given, RATES, knows_neutral=False)
    assert (live.n, live.scores.accuracy.value) == (offline.n, offline.accuracy)
    assert (live.scores.nll.value, live.scores.brier.value) == pytest.approx((offline.nll, offline.brier), rel=1e-12)


def test_too_few_moves_are_too_few_however_many_outcomes_there_are():
    outcomes = np.repeat([0, 1, 2], [50, 800, FEWEST - 51])
    found = quality_of(of_two_classes(len(outcomes), outcomes=outcomes), RATES, knows_neutral=False)
    assert (found.n, found.neutral_left_out, found.scores) == (FEWEST - 1, 800, None)


def test_the_judged_begin_with_the_first_that_is_judged():
    given = of_two_classes(4, outcomes=np.array([1, 1, 2, 1]))
    assert quality_of(given, None).since_ms == 0
    assert quality_of(given, None, knows_neutral=False).since_ms == 2 * MINUTE
    assert quality_of(matured(0), None).since_ms is None


# ---- from a journal


@pytest.fixture
def journal(tmp_path):
    with closing(new_journal(tmp_path)) as connection:
        yield connection


def test_of_an_arm_that_said_nothing_there_is_no_quality(journal):
    assert live_quality(journal, SYMBOL, ARM) == NOTHING


def test_the_quality_of_a_journal_is_that_of_its_newest_model(journal):
    add_bundle(journal, "cafe", [0.1, 0.8, 0.1])
    always_up = {"p": (0.1, 0.1, 0.8), "outcome": 0}
    for minute in range(300):
        add_prediction(journal, minute, **always_up | ({} if minute < 150 else {"bundle_id": 2, "outcome": 2}))
    found = live_quality(journal, SYMBOL, ARM)
    assert (found.n, found.since_ms) == (150, START_MS + 150 * MINUTE)
    assert found.scores.accuracy.value == 1
    assert found.scores.before.shares == (0.1, 0.8, 0.1)


def test_a_journals_model_of_two_classes_is_judged_on_moves(journal):
    add_series(journal, 300, p=(0.4, 0.0, 0.6), logits=(-0.2, None, 0.2))
    found = live_quality(journal, SYMBOL, ARM)
    assert 0 < found.neutral_left_out == 300 - found.n
    assert found.scores.nll.value < 1


def test_reliability_counts_what_lies_between_the_edges():
    given = matured(900)
    bins = quality_of(given, RATES).scores.bins
    confidence, hits = given.probabilities.max(1), given.probabilities.argmax(1) == given.outcomes
    assert [one.edge for one in bins] == list(CONFIDENCE_EDGES)
    for low, one in zip((0.0, *CONFIDENCE_EDGES), bins, strict=False):
        chosen = [i for i, value in enumerate(confidence.tolist()) if low < value <= one.edge]
        assert one.count == len(chosen)
        assert one.confidence == (pytest.approx(confidence[chosen].mean()) if chosen else None)
        assert one.right == (pytest.approx(hits[chosen].mean()) if chosen else None)
    assert sum(one.count for one in bins) == 900


def test_a_confidence_on_an_edge_belongs_below_it_and_one_of_1_to_the_last_bin():
    rows = [[0.75, 0.25, 0.0], [1 + 1e-9, 0.0, 0.0], [0.0, 1.0, 0.0], [0.35, 0.33, 0.32]]
    bins = quality_of(matured(100, probabilities=np.array(rows * 25)), RATES).scores.bins
    assert {one.edge: one.count for one in bins if one.count} == {0.35: 25, 0.75: 25, 1.0: 50}


# ---- how much they are worth


def test_the_effective_number_is_that_of_the_spread_of_accuracies():
    always_up = np.tile([0.2, 0.2, 0.6], (720, 1))
    found = [
        quality_of(matured(720, probabilities=always_up, outcomes=overlapping(720, seed)), RATES).scores
        for seed in range(300)
    ]
    worth = UP_SHARE * (1 - UP_SHARE) / np.var([scores.accuracy.value for scores in found])
    assert np.mean([scores.effective_n for scores in found]) == pytest.approx(worth, rel=0.25)


@pytest.mark.parametrize("figure", ["accuracy", "nll", "brier"])
def test_intervals_hold_the_truth(figure):
    forecast = np.array([0.2, 0.2, 0.6])
    came = np.array([UP_SHARE, 1 - 2 * UP_SHARE, UP_SHARE])
    truth = {
        "accuracy": UP_SHARE,
        "nll": -came @ np.log(forecast),
        "brier": sum(came[k] * ((forecast - np.eye(3)[k]) ** 2).sum() for k in range(3)),
    }[figure]
    held = 0
    for seed in range(100):
        given = matured(300, probabilities=np.tile(forecast, (300, 1)), outcomes=overlapping(300, seed))
        interval = getattr(quality_of(given, RATES).scores, figure).interval
        held += interval.low <= truth <= interval.high
    assert held >= 88


def test_the_interval_of_the_accuracy_is_wilsons_on_the_effective_number():
    scores = quality_of(matured(500), RATES).scores
    assert scores.accuracy.interval == wilson(scores.accuracy.value, scores.effective_n)


def test_predictions_further_apart_than_their_horizon_are_independent():
    outcomes = overlapping(15 * 400, 1)[::15]
    always_up = np.tile([0.2, 0.2, 0.6], (400, 1))
    apart = matured(400, probabilities=always_up, outcomes=outcomes, time_ms=np.arange(400) * HORIZON_MS)
    assert quality_of(apart, RATES).scores.effective_n == pytest.approx(400, rel=0.01)


def test_a_series_without_a_change_counts_its_disjoint_stretches():
    right = matured(1440, probabilities=np.tile([0.1, 0.1, 0.8], (1440, 1)), outcomes=np.full(1440, 2))
    scores = quality_of(right, RATES).scores
    assert scores.effective_n == pytest.approx(1440 / 15, rel=0.03)
    assert scores.accuracy.interval.low < 0.97


def test_where_nobody_knows_the_horizon_nobody_knows_the_worth():
    scores = quality_of(matured(500, horizon_ms=None), RATES).scores
    assert (scores.effective_n, scores.accuracy.interval, scores.nll.interval) == (None, None, None)
    assert scores.accuracy.value > 0


def test_outcomes_that_overlap_throughout_have_no_spread_to_tell():
    scores = quality_of(matured(120, horizon_ms=1000 * MINUTE), RATES).scores
    assert (scores.effective_n, scores.nll.interval) == (1.0, None)


@pytest.mark.parametrize("outcome", [0, 2])
def test_losses_that_never_changed_have_no_interval(outcome):
    same = matured(300, probabilities=np.tile([0.1, 0.1, 0.8], (300, 1)), outcomes=np.full(300, outcome))
    scores = quality_of(same, RATES).scores
    assert (scores.nll.interval, scores.brier.interval) == (None, None)
    assert scores.accuracy.interval.high - scores.accuracy.interval.low > 0.1


def test_losses_that_differ_by_rounding_alone_have_no_interval():
    nearly = np.tile([0.1, 0.1, 0.8], (300, 1)) + np.outer(np.arange(300) % 2, [0, 1e-16, -1e-16])
    assert quality_of(matured(300, probabilities=nearly, outcomes=np.full(300, 2)), RATES).scores.nll.interval is None
