"""Tensors -> their statistics, against plain sums; and what is dead in them is counted."""

import numpy as np
import pytest

from export.diagnosis_weights import weights_of

COLUMNS = ("a", "b", "c")


def tensors(**changes: np.ndarray) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(3)
    shapes = {"layers.0.weight": (4, 3), "layers.0.bias": (4,), "head.weight": (3, 4), "head.bias": (3,)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} | changes


def test_every_tensor_is_described_as_plain_sums_describe_it():
    given = tensors()
    weights = weights_of(given, "feed_forward", COLUMNS)
    assert weights.numbers == 12 + 4 + 12 + 3
    assert weights.norm == pytest.approx(sum(float(x) ** 2 for array in given.values() for x in array.flat) ** 0.5)
    first, values = weights.tensors[0], [float(x) for x in given["layers.0.weight"].flat]
    mean = sum(values) / 12
    assert (first.name, first.shape) == ("layers.0.weight", (4, 3))
    assert first.mean == pytest.approx(mean)
    assert first.deviation == pytest.approx((sum((x - mean) ** 2 for x in values) / 12) ** 0.5)
    assert (first.smallest, first.largest) == (min(values), max(values))
    assert (weights.not_finite, weights.dead_units, list(weights.unread)) == (0, 0, [])


def test_what_is_not_finite_is_counted_and_left_out_of_the_rest():
    broken = np.array([[np.nan, 1, 2, 3], [np.inf, 1, 2, 3], [-np.inf, 0, 0, 0]], dtype=np.float32)
    weights = weights_of(tensors(**{"head.weight": broken}), "feed_forward", COLUMNS)
    head = weights.tensors[2]
    assert (head.nan, head.infinite, weights.not_finite) == (1, 2, 3)
    assert (head.mean, head.largest) == (pytest.approx(12 / 9), 3)
    assert np.isfinite(weights.norm)


def test_a_tensor_without_any_number_has_no_figures():
    weights = weights_of(tensors(**{"head.bias": np.full(3, np.nan)}), "feed_forward", COLUMNS)
    assert weights.tensors[3].mean is None
    assert weights.tensors[3].largest is None


def test_units_of_zeros_and_columns_that_nobody_reads_are_dead():
    first = np.ones((4, 3), dtype=np.float32)
    first[:, 1], first[2] = 0, 0
    weights = weights_of(tensors(**{"layers.0.weight": first}), "feed_forward", COLUMNS)
    assert weights.unread == ["b"]
    assert weights.tensors[0].dead_units == 1
    assert weights.tensors[0].zeros == pytest.approx(6 / 12)
    assert weights.tensors[1].dead_units is None  # a vector has no units


def test_a_column_that_only_the_other_direction_reads_is_read():
    forward, backward = np.ones((8, 3)), np.ones((8, 3))
    forward[:, 0], backward[:, 2] = 0, 0
    lstm = {"lstm.weight_ih_l0": forward, "lstm.weight_ih_l0_reverse": backward}
    assert weights_of(lstm, "lstm", COLUMNS).unread == []
