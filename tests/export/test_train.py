"""The training loop on data that can be learned in seconds, and the price levels it varies."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from export import train
from export.split import Part, cut
from export.train import Plan, PriceLevels, class_weights, price_columns, raw_logits
from signalserve.candles import Candles
from signalserve.demo import demo_candles
from signalserve.features import COLUMNS, WARM_UP, compute_features
from signalserve.network import LstmConfig
from signalserve.pipeline import Scaler

SMALL = LstmConfig(inputs=len(COLUMNS), hidden=8, layers=2)
PLAN = Plan(epochs=10, every=2, learning_rate=2e-2, level_spread=0.0)
PART = Part(np.arange(59, 700), window=60, horizon=15)
LEVELS = PriceLevels(Scaler(np.zeros(len(COLUMNS)), np.ones(len(COLUMNS))), spread=0.0)


@pytest.fixture(scope="module")
def learnable() -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label is the sign of one of their columns, thirds of each."""
    rows = np.random.default_rng(0).normal(size=(800, len(COLUMNS))).astype(np.float32)
    rows[:, 7] *= 3
    return rows, np.digitize(rows[:, 7], [-1.3, 1.3])


def at_double_price(candles: Candles) -> Candles:
    return replace(candles, **{name: 2 * getattr(candles, name) for name in ("open", "high", "low", "close")})


def test_what_can_be_learned_is_learned(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = learnable
    trained = train.train(SMALL, PLAN, rows, labels, PART, None, LEVELS)
    right = raw_logits(trained.network, rows, PART).argmax(dim=1).numpy() == labels[PART.ends]
    assert right.mean() > 0.8
    assert trained.epochs[-1].loss < trained.epochs[0].loss
    assert not trained.network.training


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = learnable
    config, plan = replace(SMALL, dropout=0.3), replace(PLAN, epochs=1, level_spread=0.1)
    levels = PriceLevels(Scaler(np.ones(len(COLUMNS)), np.ones(len(COLUMNS))), spread=0.1)

    def weights(plan: Plan) -> torch.Tensor:
        return torch.cat(
            [
                value.flatten()
                for value in train.train(config, plan, rows, labels, PART, None, levels).network.state_dict().values()
            ]
        )

    first = weights(plan)
    torch.rand(3)  # what else draws numbers in the process does not matter
    assert torch.equal(first, weights(plan))
    assert not torch.equal(first, weights(replace(plan, seed=1)))


def test_training_leaves_the_process_as_it_was(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    train.train(SMALL, replace(PLAN, epochs=1), *learnable, PART, None, LEVELS)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == torch.get_num_threads()


def test_validation_chooses_the_epoch_and_its_weights_are_kept(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = learnable
    fit, validation = cut(PART, 0.6)
    told: list[train.Epoch] = []
    wild = replace(PLAN, learning_rate=0.2)  # so that the last epoch is not the best
    trained = train.train(SMALL, wild, rows, labels, fit, validation, LEVELS, told.append)
    assert tuple(told) == trained.epochs
    assert trained.chosen.validation_nll == min(epoch.validation_nll or 99 for epoch in told)
    logits = raw_logits(trained.network, rows, validation).double()
    nll = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[validation.ends]))
    assert float(nll) == trained.chosen.validation_nll


def test_without_validation_the_last_epoch_stays(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    trained = train.train(SMALL, replace(PLAN, epochs=2), *learnable, PART, None, LEVELS)
    assert trained.chosen == trained.epochs[-1]
    assert trained.chosen.validation_nll is None


def test_rows_and_labels_outside_the_part_are_never_read(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = learnable[0].copy(), learnable[1].copy()
    rows[701:], labels[:59], labels[701:] = np.nan, -1, -1
    plan = replace(PLAN, epochs=1)
    here, there = (train.train(SMALL, plan, *data, PART, None, LEVELS) for data in ((rows, labels), learnable))
    assert here.epochs == there.epochs


def test_weighted_classes_weigh_the_same_together() -> None:
    labels = np.array([0] * 10 + [1] * 30 + [2] * 60)
    weights = class_weights(labels).numpy()
    assert (weights * [10, 30, 60]).tolist() == pytest.approx([100 / 3] * 3)
    with pytest.raises(ValueError, match="windows of every class"):
        class_weights(np.array([0, 1, 1]))


def test_a_loss_that_explodes_is_an_error_with_advice(learnable: tuple[np.ndarray, np.ndarray]) -> None:
    rows = learnable[0] * np.float32(np.nan)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train.train(SMALL, PLAN, rows, learnable[1], PART, None, LEVELS)


def test_price_columns_are_those_that_double_with_the_price() -> None:
    candles = demo_candles("ETH-USD", 600, end_ms=1_750_000_000_000)
    here, there = (compute_features(each)[WARM_UP:] for each in (candles, at_double_price(candles)))
    expected = np.where(price_columns(COLUMNS), 2 * here, here)
    # 1e-10 in every denominator makes the rest differ by that much and no more
    assert np.allclose(there, expected, rtol=1e-6, atol=1e-6)


def test_another_price_level_is_what_scaled_features_of_other_prices_are(monkeypatch: pytest.MonkeyPatch) -> None:
    candles = demo_candles("BTC-USD", 600, end_ms=1_750_000_000_000)
    here, there = (compute_features(each)[WARM_UP:] for each in (candles, at_double_price(candles)))
    scaler = Scaler(here.mean(axis=0), here.std(axis=0))
    scaled, expected = (((rows - scaler.mean) / scaler.scale)[None, :60] for rows in (here, there))
    doubling: Callable[..., torch.Tensor] = lambda *shape: torch.full(shape, np.log(2.0))  # noqa: E731
    monkeypatch.setattr(torch, "randn", doubling)
    varied = PriceLevels(scaler, spread=1.0).vary(torch.from_numpy(scaled.astype(np.float32)))
    assert np.allclose(varied.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_without_spread_windows_stay_as_they_are() -> None:
    windows = torch.randn(4, 60, len(COLUMNS))
    assert PriceLevels(Scaler(np.ones(len(COLUMNS)), np.ones(len(COLUMNS))), 0.0).vary(windows) is windows
