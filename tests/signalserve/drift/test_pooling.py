"""What a pool would have said on the bars that its members share."""

import numpy as np
import pytest
import reference_model

from signalserve.drift.pooling import pooled
from signalserve.drift.stream import Stream

METHODS = ["linear", "log"]


def member(minutes: list[int], seed: int) -> Stream:
    n = len(minutes)
    probabilities = np.random.default_rng(seed).dirichlet([3, 3, 3], size=n)
    return Stream(np.array(minutes) * 60_000, probabilities, np.ones(n), np.zeros(n))


@pytest.mark.parametrize("method", METHODS)
def test_the_pool_speaks_where_all_its_members_do(method):
    first, second = member([1, 2, 3, 5, 6], 0), member([2, 3, 4, 6, 7], 1)
    found = pooled([first, second], [0.4, 0.6], method, 1.3)
    both = np.stack([first.probabilities[[1, 2, 4]], second.probabilities[[0, 1, 3]]])
    assert found.time_ms.tolist() == [120_000, 180_000, 360_000]
    np.testing.assert_allclose(
        found.probabilities, reference_model.pool(both, np.array([0.4, 0.6]), method, 1.3), atol=1e-12
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_has_neither_logits_nor_features(method):
    found = pooled([member([1, 2], 0), member([1, 2], 1)], [0.5, 0.5], method, 1.0)
    assert (found.largest_logit, found.off_scale) == (None, None)


def test_a_member_that_weighs_all_is_the_pool():
    first, second = member([1, 2], 0), member([1, 2], 1)
    np.testing.assert_allclose(pooled([first, second], [1.0, 0.0], "linear", 1.0).probabilities, first.probabilities)


def test_members_that_share_no_bar_have_no_pool():
    with pytest.raises(ValueError, match="share bars, got none in common"):
        pooled([member([1, 2], 0), member([3, 4], 1)], [0.5, 0.5], "linear", 1.0)
