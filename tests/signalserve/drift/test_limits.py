"""Limits against plain PSI, alarms counted by hand, and what they promise on streams they never saw."""

import json
import math

import numpy as np
import pytest
from drift_streams import autoregressive, plain_counts, plain_psi, pool_of, stream_of, weak_stream
from hypothesis import given
from hypothesis import strategies as st

from signalserve.drift import DAY, OF_MODELS, WINDOWS
from signalserve.drift.limits import APART, BLOCK, DAYS, Limits, alarms, simulate_limits, sliding
from signalserve.drift.psi import Bins
from signalserve.drift.stream import Floats, Stream
from signalserve.drift.surrogates import Drawn, Surrogates

STREAM = weak_stream(2000)


@pytest.fixture(scope="module")
def limits() -> Limits:
    return simulate_limits(STREAM, simulated_days=200)


def drawn(stream: Stream) -> Drawn:
    return Drawn(stream.confidence, stream.classes, stream.largest_logit)


def blocks_of(ratios: Floats) -> Floats:
    largest: Floats = ratios[: len(ratios) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    return largest


def counted_by_hand(path: list[bool]) -> int:
    """Walks the blocks: an alarm that began `since` ends once APART blocks lie under the limit."""
    episodes: list[tuple[int, int]] = []
    for block, is_above in enumerate(path):
        if is_above and episodes and block - episodes[-1][1] <= APART:
            episodes[-1] = (episodes[-1][0], block)
        elif is_above:
            episodes.append((block, block))
    return sum(1 + (last - first) // APART for first, last in episodes)


def test_sliding_psi_is_the_plain_one_of_every_window() -> None:
    reference, live = weak_stream(3000, seed=1), weak_stream(DAY + 200, seed=2)
    found = dict(sliding(drawn(reference), drawn(live)))
    parts = {
        "confidence_psi": (reference.confidence, live.confidence),
        "logit_psi": (reference.largest_logit, live.largest_logit),
    }
    for window in WINDOWS:
        for end in (1, 77, 200):
            span = slice(DAY + end - window, DAY + end)
            for name, (before, now) in parts.items():
                assert before is not None and now is not None
                edges = Bins.of(before).edges.tolist()
                expected = plain_psi(plain_counts(now[span], edges), plain_counts(before, edges))
                assert found[name, window][end - 1] == pytest.approx(expected, rel=1e-9)
            said = [
                [int((classes == i).sum()) for i in range(3)] for classes in (live.classes[span], reference.classes)
            ]
            assert found["class_psi", window][end - 1] == pytest.approx(plain_psi(*said), rel=1e-9)
            shift = abs(math.fsum(live.confidence[span]) / window - math.fsum(reference.confidence) / 3000)
            assert found["confidence_shift", window][end - 1] == pytest.approx(shift, rel=1e-6)


def test_every_window_that_ends_after_the_first_day_is_told() -> None:
    found = dict(sliding(drawn(STREAM), drawn(weak_stream(DAY + 7))))
    assert {len(values) for values in found.values()} == {7}
    assert len(found) == 4 * len(WINDOWS)


@given(st.lists(st.lists(st.booleans(), min_size=60, max_size=60), min_size=1, max_size=4))
def test_alarms_are_those_counted_by_hand(paths: list[list[bool]]) -> None:
    assert alarms(np.array(paths, dtype=float), 0.5) == sum(map(counted_by_hand, paths))


@pytest.mark.parametrize(
    ("above", "times"),
    [
        ([], 0),
        ([0], 1),
        ([59], 1),
        ([3, 4, 5], 1),
        ([0, APART], 2),  # one alarm that goes on into a second day
        ([0, APART - 1], 1),
        ([0, APART + 1], 2),  # two alarms, a whole day under the limit between them
        (range(60), 5),  # five days of it
    ],
)
def test_an_alarm_counts_once_for_each_day_of_it(above: list[int], times: int) -> None:
    path = np.zeros((1, 60))
    path[0, list(above)] = 1
    assert alarms(path, 0.5) == times


def test_an_alarm_ends_with_its_path() -> None:
    paths = np.zeros((2, 60))
    paths[0, -1] = paths[1, 0] = 1
    assert alarms(paths, 0.5) == 2


def test_what_equals_the_limit_is_no_alarm() -> None:
    assert alarms(np.full((1, 12), 0.5), 0.5) == 0


def test_there_are_never_more_alarms_than_days() -> None:
    """So that limits for a day or less can't be kept: they would be 0."""
    assert alarms(np.ones((3, 60)), 0.5) == 3 * 60 / APART
    assert min(DAYS) > 1


def test_the_same_seed_gives_the_same_limits_and_another_others() -> None:
    first, again, other = (simulate_limits(STREAM, seed=seed, simulated_days=20) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_limits_rise_with_the_days_and_fall_with_the_window(limits: Limits) -> None:
    for values in limits.limits.values():
        assert values[0] > 0
        assert (np.diff(values) >= 0).all()
    for name in ("confidence_psi", "class_psi", "confidence_shift"):
        short, middle, day = (limits.at(10.0)[name, window] for window in WINDOWS)
        assert short > middle > day


def test_streams_never_seen_pass_the_limits_about_as_often_as_said(limits: Limits) -> None:
    """Of the same surrogates: only how limits are computed is at stake, not how well they know the process."""
    days, rng, surrogates = 10, np.random.default_rng(99), Surrogates(STREAM)
    at, times = limits.at(5.0), 0
    for _ in range(40):
        path = surrogates.draw(2000 + (1 + days) * DAY, rng)
        reference, live = (
            Drawn(path.confidence[part], path.classes[part], path.largest_logit[part])
            for part in (slice(2000), slice(2000, None))
            if path.largest_logit is not None
        )
        ratios = [values / at[key] for key, values in sliding(reference, live)]
        times += alarms(blocks_of(np.maximum.reduce(ratios))[None], 1.0)
    assert 2.5 < 40 * days / times < 10


def test_dependence_widens_the_limits() -> None:
    shifts = [
        simulate_limits(weak_stream(4000, phi), simulated_days=60).at(10)["confidence_shift", 360]
        for phi in (0.0, 0.9, 0.97)
    ]
    assert 2 * shifts[0] < shifts[1] < shifts[2]


def test_progress_hears_of_every_day() -> None:
    told: list[int] = []
    simulate_limits(STREAM, simulated_days=30, progress=told.append)
    assert told == [20, 20]


def test_a_pool_has_no_limits_for_what_it_has_not() -> None:
    assert {name for name, _ in simulate_limits(pool_of(STREAM), simulated_days=20).limits}.isdisjoint(OF_MODELS)


def test_a_stream_that_never_changes_never_passes_its_limits() -> None:
    still = stream_of(np.tile([1.0, 0.0, 2.0], (2000, 1)))
    limits = simulate_limits(still, simulated_days=20)
    assert limits.class_days == (math.inf,) * 3
    assert limits.run_days == 20  # its run never ends, so that a longer one is no news
    for key, values in sliding(drawn(still), drawn(still)):
        assert (values <= limits.at(30)[key]).all()


def test_a_class_that_stays_away_for_days_by_chance_is_counted() -> None:
    """DOWN comes in rare spells; UP in one prediction of two."""
    logits = np.stack([3 * autoregressive(0.999, (6000,)) - 3, *autoregressive(0.5, (6000, 2)).T], axis=1)
    down, _, up = simulate_limits(stream_of(logits, 1.0), simulated_days=100).class_days
    assert down < 10
    assert up == math.inf


def test_runs_half_as_long_again_as_the_longest_are_counted() -> None:
    """A short reference saw no long runs; streams of its dependence have them."""
    assert simulate_limits(weak_stream(60, 0.9), simulated_days=20).run_days < 20
    assert simulate_limits(weak_stream(20_000, 0.0), simulated_days=20).run_days >= 20


def test_a_stream_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 40"):
        simulate_limits(STREAM.last(39))


STEPS = Limits((2.0, 8.0, 32.0), {("class_psi", window): (1.0, 2.0, 4.0) for window in WINDOWS}, (1.0, 2.0, 3.0), 4.0)


@pytest.mark.parametrize(
    ("days", "limit"), [(0.1, 1.0), (2, 1.0), (4, 1.5), (8, 2.0), (16, 3.0), (32, 4.0), (64, 4.75), (128, 5.5)]
)
def test_limits_between_and_beyond_follow_on_the_logarithm(days: float, limit: float) -> None:
    """Beyond at the mean slope of the last two steps, 3 in a factor of 16."""
    assert STEPS.at(days)["class_psi", 120] == pytest.approx(limit)


@pytest.mark.parametrize("days", [0.0, -1.0, math.nan])
def test_days_that_can_not_be_are_refused(days: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        STEPS.at(days)


def test_limits_are_the_same_after_json(limits: Limits) -> None:
    assert Limits.from_json(json.loads(json.dumps(limits.to_json(), allow_nan=False))) == limits


def test_what_chance_never_does_has_no_number_in_json() -> None:
    never = Limits((2.0, 5.0, 10.0), STEPS.limits, (math.inf, 2.0, math.inf), math.inf)
    content = never.to_json()
    assert (content["class_days"], content["run_days"]) == ([None, 2.0, None], None)
    assert Limits.from_json(content) == never
