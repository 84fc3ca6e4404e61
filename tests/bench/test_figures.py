"""Ratios are taken within a round, so that a slow round slows both sides."""

import pytest
from figures import Key, Results, Spread
from load import Summary

OURS, PEER = Key("ours", "npy", 1), Key("peer", "npy", 1)


def summary(p50_us: float, **also: object) -> Summary:
    fields = {"requests": 10, "failed": 0, "per_second": 1e6 / p50_us, "p99_us": p50_us, "seconds": 1.0, "faults": {}}
    return Summary(p50_us=p50_us, **(fields | also))  # type: ignore[arg-type]


@pytest.fixture
def results() -> Results:
    results = Results()
    for ours, peer in ((200.0, 100.0), (6000.0, 2000.0), (250.0, 100.0)):  # the second round was slow for both
        results.add(OURS, summary(ours))
        results.add(PEER, summary(peer))
    return results


def test_a_ratio_is_the_median_of_the_rounds_own_ratios(results: Results) -> None:
    assert results.ratio(OURS, PEER, "p50_us") == Spread(2.5, 2.0, 3.0)
    assert str(results.ratio(OURS, PEER, "p50_us")) == "2.50 (2.00–3.00)"


def test_a_spread_over_the_rounds_keeps_the_range(results: Results) -> None:
    assert results.spread(PEER, "p50_us") == Spread(100.0, 100.0, 2000.0)


def test_sides_with_different_numbers_of_rounds_are_not_compared(results: Results) -> None:
    results.add(OURS, summary(200.0))
    with pytest.raises(ValueError, match="shorter"):
        results.ratio(OURS, PEER, "p50_us")


def test_faults_name_who_and_how_often(results: Results) -> None:
    results.add(PEER, summary(100.0, failed=3, faults={"HTTP 503": 3}))
    assert list(results.faults()) == ["peer, npy, 1 connections: 3 × HTTP 503"]
