"""The accuracy that confidence promises, of what has no outcome yet."""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from journals import ARM, SYMBOL, add_bundle, add_prediction, add_series, new_journal

from signalserve.watcher.estimated_accuracy import EstimatedAccuracy, estimated_accuracy
from signalserve.watcher.quality import WINDOW

OTHERS = [("BTC-USD", "ensemble"), ("ETH-USD", "v8")]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(new_journal(tmp_path)) as connection:
        yield connection


def test_it_is_the_mean_confidence_of_what_has_no_outcome(journal: sqlite3.Connection):
    random = np.random.default_rng(3)
    given = random.dirichlet([2, 2, 2], 200)
    outcomes = [int(random.integers(3)) if minute < 150 else None for minute in range(200)]
    outcomes[70] = None  # its bars never came
    for minute, (p, outcome) in enumerate(zip(given.tolist(), outcomes, strict=True)):
        add_prediction(journal, minute, p=p, outcome=outcome)
    expected = np.mean([max(p) for p, outcome in zip(given, outcomes, strict=True) if outcome is None])
    assert estimated_accuracy(journal, SYMBOL, ARM) == pytest.approx(expected, rel=1e-12)


def test_the_first_prediction_has_one_already(journal: sqlite3.Connection):
    add_prediction(journal, p=(0.1, 0.2, 0.7))
    assert estimated_accuracy(journal, SYMBOL, ARM) == 0.7


def test_without_anything_that_waits_there_is_none(journal: sqlite3.Connection):
    assert estimated_accuracy(journal, SYMBOL, ARM) is None
    add_series(journal, 120)
    assert estimated_accuracy(journal, SYMBOL, ARM) is None


def test_a_model_that_knows_no_neutral_has_none(journal: sqlite3.Connection):
    add_prediction(journal, p=(0.4, 0.0, 0.6), logits=(-0.2, None, 0.2))
    assert estimated_accuracy(journal, SYMBOL, ARM) is None


def test_it_is_of_what_answers_now(journal: sqlite3.Connection):
    add_bundle(journal, "cafe", None)
    add_prediction(journal, 0, p=(0.05, 0.05, 0.9))
    add_prediction(journal, 1, p=(0.3, 0.1, 0.6), bundle_id=2)
    add_prediction(journal, 2, p=(0.4, 0.2, 0.4), bundle_id=2, temperature=2.0)
    assert estimated_accuracy(journal, SYMBOL, ARM) == 0.4


def test_repeats_and_overrides_and_what_is_older_than_the_window_do_not_count(journal: sqlite3.Connection):
    add_prediction(journal, 0, p=(0.0, 0.0, 1.0))
    add_series(journal, WINDOW - 1, p=(0.1, 0.1, 0.8), time_ms=1_764_000_060_000)
    add_prediction(journal, WINDOW, p=(0.3, 0.1, 0.6))
    for why in ("repeat", "override", "out"):
        add_prediction(journal, WINDOW, p=(0.0, 0.0, 1.0), left_out=why)
    assert estimated_accuracy(journal, SYMBOL, ARM) == 0.6


def test_every_series_is_there_from_the_start(journal: sqlite3.Connection):
    def shown() -> dict[tuple[str, ...], float]:
        [family] = estimates.collect()
        assert family.name == "signalserve_live_estimated_accuracy"
        return {tuple(one.labels.values()): one.value for one in family.samples}

    estimates = EstimatedAccuracy([(SYMBOL, ARM), *OTHERS])
    assert shown().keys() == {(SYMBOL, ARM), *OTHERS} and all(map(math.isnan, shown().values()))
    add_prediction(journal, p=(0.1, 0.2, 0.7))
    estimates.refresh(journal)
    assert shown()[SYMBOL, ARM] == 0.7 and all(math.isnan(shown()[pair]) for pair in OTHERS)
    add_prediction(journal, outcome=1)
    journal.execute("UPDATE predictions SET outcome = 2")
    estimates.refresh(journal)
    assert all(map(math.isnan, shown().values()))
