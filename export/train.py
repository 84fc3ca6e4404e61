"""Windows and labels -> weights. Offline, on one CPU thread: the same bits on every run and any number of cores.

Two recipes stand here, one for each generation of reference model:

- V6 as its owners had it: trained until it knows the training part by heart, nothing held back, nothing to stop it.
  Its confidence is then a memory of the training part, which is the fault that a temperature has to mend.
- V8: dropout, label smoothing, class weights, and of all epochs the one that does best on the last days of the
  training part. Neither the calibration part nor the test part is seen by either.

Both learn at other price levels than the real ones (`PriceLevels`). Without that a network learns which 500 USD of
BTC's way the training part spent where, and knows nothing above them.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from export.split import Part
from export.windows import batches
from signalserve import CLASSES
from signalserve.features import COLUMNS
from signalserve.network import LstmConfig, architecture_of, build_network
from signalserve.pipeline import Scaler

Floats32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

LARGEST_GRADIENT: Final = 1.0
"""Norm to which a step's gradient is cut: one window in a shock would otherwise undo an epoch."""

PRICE_PREFIXES: Final = (
    *("atr_", "bb_lower_", "bb_upper_", "ema_", "macd_", "momentum_"),
    *("price_channel_high_", "price_channel_low_", "sma_"),
)
"""Columns in units of the quote currency: at twice the price they are twice as large, all others as they were."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained. No number here was chosen by looking at a test part."""

    epochs: int
    every: int  # an epoch takes one window in so many, the next epoch their neighbours: these share 59 of 60 bars
    learning_rate: float  # of Adam
    batch: int = 64
    level_spread: float = 0.1  # deviation of the log of the factor on prices; 0.1 covers BTC's 93,000 to 112,000 USD
    label_smoothing: float = 0.0
    class_weights: bool = False  # True: each class weighs in the loss as if all were equally frequent
    seed: int = 20250603  # the day of the last bar


V6_NETWORK: Final = LstmConfig(inputs=len(COLUMNS), hidden=64, layers=2)
V8_NETWORK: Final = LstmConfig(inputs=len(COLUMNS), hidden=128, layers=2, dropout=0.3)
V8_HEADS: Final = (False, True)
"""Whether the head reads the last step or an attention-weighted mean; validation chooses."""

V6_PLAN: Final = Plan(epochs=80, every=5, learning_rate=1e-3)
V8_PLAN: Final = Plan(epochs=16, every=10, learning_rate=3e-4, label_smoothing=0.1, class_weights=True)


def quick(plan: Plan) -> Plan:
    """The same recipe in a second or two, for tests; what comes out has learned nothing."""
    return replace(plan, epochs=2, every=8)


@dataclass(frozen=True)
class Epoch:
    """number: from 1.  loss: mean over the epoch, as trained.  validation_*: None where nothing was held back."""

    number: int
    loss: float
    validation_nll: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, with the weights after `chosen.number` epochs (the last where nothing chose)."""

    config: LstmConfig
    network: nn.Module
    epochs: tuple[Epoch, ...]
    chosen: Epoch
    seconds: float


class PriceLevels:
    """The same window as it would look at another price level.

    Prices times a factor, scaled, are  f·x + (f - 1)·mean/scale  of the scaled x. Ratios, oscillators, returns and
    volumes stay.
    """

    def __init__(self, scaler: Scaler, spread: float) -> None:
        """spread: deviation of log f, >= 0; 0 leaves every window as it is."""
        prices = price_columns(COLUMNS)
        self._prices = torch.from_numpy(prices.astype(np.float32))  # (features,)
        self._shift = torch.from_numpy(np.where(prices, scaler.mean / scaler.scale, 0.0).astype(np.float32))
        self._spread = spread

    def vary(self, scaled: Tensor) -> Tensor:
        """scaled: (batch, window, features). Returns the same shape, each window at a level drawn for it."""
        if self._spread == 0:
            return scaled
        change = torch.expm1(self._spread * torch.randn(len(scaled), 1, 1))  # (batch, 1, 1), f - 1
        return scaled + change * (self._prices * scaled + self._shift)


def price_columns(columns: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which columns are in the quote currency, (features,)."""
    return np.array([name.startswith(PRICE_PREFIXES) for name in columns])


def train(
    config: LstmConfig,
    plan: Plan,
    scaled: Floats32,
    labels: Labels,
    fit: Part,
    validation: Part | None,
    levels: PriceLevels,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Trained:
    """Train a network from its seed.

    scaled: (n, features), standardised rows; finite where a window reaches.  labels: (n,), 0 … 2 at every end of fit
    and validation.  validation: chooses the epoch by NLL, or None: the last epoch.  on_epoch: told of each.
    Raises ValueError where a class is missing from fit, FloatingPointError where the loss stops being finite.
    """
    started = time.monotonic()
    weights = class_weights(labels[fit.ends]) if plan.class_weights else None
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = build_network(architecture_of(config))
        optimiser = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
        epochs: list[Epoch] = []
        lowest, chosen, kept = math.inf, None, network.state_dict()
        for number in range(1, plan.epochs + 1):
            ends = fit.ends[(number - 1) % plan.every :: plan.every]
            ends = ends[torch.randperm(len(ends)).numpy()]
            loss = _one_epoch(network, optimiser, plan, scaled, labels, ends, fit.window, weights, levels)
            epoch = Epoch(number, loss, *_validate(network, scaled, labels, validation))
            epochs.append(epoch)
            on_epoch(epoch)
            standing = -math.inf if epoch.validation_nll is None else epoch.validation_nll
            if standing <= lowest:
                lowest, chosen = standing, epoch
                kept = {name: value.clone() for name, value in network.state_dict().items()}
    if chosen is None:
        raise FloatingPointError(
            f"training: expected a finite validation NLL after some epoch of {plan.epochs}, got none"
        )
    network.load_state_dict(kept)
    return Trained(config, network.eval(), tuple(epochs), chosen, time.monotonic() - started)


def class_weights(labels: Labels) -> Tensor:
    """What each class's windows weigh so that all classes weigh the same together, (3,), mean over windows 1.

    Raises ValueError where a class is missing.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    if not counts.all():
        raise ValueError(
            f"labels: expected windows of every class, got {dict(zip(CLASSES, counts.tolist(), strict=True))}"
        )
    return torch.from_numpy((len(labels) / (len(CLASSES) * counts)).astype(np.float32))


def raw_logits(
    answer: Callable[[Tensor], Tensor], rows: npt.NDArray[np.floating[Any]], part: Part, batch: int = 256
) -> Tensor:
    """A model's answer to every window of a part, (m, outputs), in time order.

    answer: (batch, window, features) -> (batch, outputs).  rows: (n, features), what answer expects: scaled for a
    network, raw for a pipeline; cast to float32, as requests are.
    """
    windows = batches(rows, part.ends, part.window, batch)
    with _one_thread(), torch.inference_mode():
        return torch.cat([answer(torch.from_numpy(each.astype(np.float32, copy=False))) for each in windows])


def _one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    plan: Plan,
    scaled: Floats32,
    labels: Labels,
    ends: npt.NDArray[np.int64],
    window: int,
    weights: Tensor | None,
    levels: PriceLevels,
) -> float:
    """One pass over the windows ending at `ends`, in that order; returns the mean loss."""
    network.train()
    total = 0.0
    for start, windows in zip(range(0, len(ends), plan.batch), batches(scaled, ends, window, plan.batch), strict=True):
        targets = torch.from_numpy(labels[ends[start : start + plan.batch]])
        logits = network(levels.vary(torch.from_numpy(windows)))  # (batch, 3)
        loss = nn.functional.cross_entropy(logits, targets, weight=weights, label_smoothing=plan.label_smoothing)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"training: the loss became {loss.item()}; lower the learning rate")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        total += loss.item() * len(windows)
    return total / len(ends)


def _validate(
    network: nn.Module, scaled: Floats32, labels: Labels, validation: Part | None
) -> tuple[float, float] | tuple[None, None]:
    """NLL in nats and accuracy, without weights or smoothing."""
    if validation is None:
        return None, None
    logits = raw_logits(network.eval(), scaled, validation).double()
    targets = torch.from_numpy(labels[validation.ends])
    hits = logits.argmax(dim=1) == targets
    return float(nn.functional.cross_entropy(logits, targets)), float(hits.double().mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    # sums in another order are other bits, and on small matrices a second thread costs more than it brings
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
