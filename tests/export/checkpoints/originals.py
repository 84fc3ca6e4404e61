"""The networks that exist in the field, in plain torch as their owners had them, and their files as they saved them.

Written from their description alone: no code is shared with signalserve or export.
"""

import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

WINDOW = 60
NAMES_72 = tuple(f"column_{i:02d}" for i in range(72))


@dataclass(frozen=True)
class Original:
    """A file as its owners saved it, and what their own code answers.

    answer: raw windows (n, 60, F) -> logits (n, outputs) before any clamp or temperature.  temperature, clamp: what
    their code does to them, None where it does nothing.  is_scaled: whether their code scales, so that raw features
    may be of any size.
    """

    file: Path
    inputs: int
    answer: Callable[[np.ndarray], np.ndarray]
    temperature: float = 1.0
    clamp: float | None = None
    columns: tuple[str, ...] | None = None
    is_scaled: bool = True

    def windows(self, n: int = 8) -> np.ndarray:
        """(n, 60, F), float32, as large as its features are."""
        noise = np.random.default_rng(2).normal(size=(n, WINDOW, self.inputs))
        scaler = fitted_scaler(self.inputs)
        return (scaler.mean_ + noise * scaler.scale_ if self.is_scaled else noise).astype(np.float32)


class FeedForward(nn.Module):
    """V6, V7 and V8's nets: fc1 … fc4 on the window's last row; norm: the prefix of the norms that answer."""

    def __init__(self, widths: tuple[int, ...], norms: tuple[str, ...] = (), temperature: Tensor | None = None) -> None:
        super().__init__()
        for i, (a, b) in enumerate(pairwise(widths), start=1):
            setattr(self, f"fc{i}", nn.Linear(a, b))
        for i, width in enumerate(widths[1:-1], start=1):
            if "bn" in norms:
                setattr(self, f"bn{i}", nn.BatchNorm1d(width))
            if "ln" in norms:
                setattr(self, f"ln{i}", nn.LayerNorm(width))
        self.norm = "ln" if "ln" in norms else "bn" if "bn" in norms else ""
        self.depth = len(widths) - 1
        if temperature is not None:
            self.temperature = nn.Parameter(temperature)

    def forward(self, windows: Tensor) -> Tensor:
        x = windows[:, -1, :]
        for i in range(1, self.depth):
            x = getattr(self, f"fc{i}")(x)
            if self.norm:
                x = getattr(self, f"{self.norm}{i}")(x)
            x = torch.relu(x)
        return getattr(self, f"fc{self.depth}")(x)


class WithTemperature(nn.Module):
    """The V6 fix's wrapper; its own forward clamps and divides, the logits are those of the net inside."""

    def __init__(self, base_model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.base_model = base_model
        self.register_buffer("temperature", torch.tensor(temperature))


class Lstm(nn.Module):
    """V5's, V6's and the bare LSTM: the last step of a stack, and one linear layer."""

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=0.2)
        self.fc = nn.Linear(hidden, outputs)

    def forward(self, windows: Tensor) -> Tensor:
        steps, _ = self.lstm(windows)
        return self.fc(steps[:, -1, :])


class BidirectionalLstm(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, 128, 3, batch_first=True, bidirectional=True, dropout=0.3)
        self.fc = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1), nn.Sigmoid())

    def forward(self, windows: Tensor) -> Tensor:
        """The logit: what the sigmoid is given."""
        steps, _ = self.lstm(windows)
        return self.fc[:-1](steps[:, -1, :])


class V8Lstm(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.lstm1 = nn.LSTM(inputs, hidden, 2, batch_first=True, bidirectional=True, dropout=0.3)
        self.lstm2 = nn.LSTM(2 * hidden, hidden, 2, batch_first=True, dropout=0.3)
        self.layer_norm = nn.LayerNorm(hidden)
        self.attention = nn.MultiheadAttention(hidden, 8, dropout=0.1, batch_first=True)
        self.fc1, self.fc2, self.fc3 = nn.Linear(hidden, 256), nn.Linear(256, 128), nn.Linear(128, 3)
        self.temperature = nn.Parameter(torch.tensor(3.0))

    def forward(self, windows: Tensor) -> Tensor:
        x, _ = self.lstm1(windows)
        x, _ = self.lstm2(x)
        x = self.layer_norm(x)
        x, _ = self.attention(x, x, x)
        x = nn.functional.gelu(self.fc1(x[:, -1, :]))
        return self.fc3(torch.relu(self.fc2(x)))


# ---- what the owners' serving code did


def fitted_scaler(inputs: int, seed: int = 1) -> StandardScaler:
    """Fitted on columns of very different sizes, one of them constant."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(500, inputs)) * np.geomspace(1e-4, 1e4, inputs) + np.linspace(-50, 1e5, inputs)
    rows[:, inputs // 2] = 7.0
    return StandardScaler().fit(rows)


def answer_of(network: nn.Module, scale: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def answer(windows: np.ndarray) -> np.ndarray:
        n, window, inputs = windows.shape
        scaled = scale(windows.reshape(-1, inputs).astype(np.float64)).reshape(n, window, inputs)
        with torch.inference_mode():
            return network.eval()(torch.from_numpy(scaled.astype(np.float32))).numpy()

    return answer


def unscaled(rows: np.ndarray) -> np.ndarray:
    return rows


def spread(build: Callable[[], nn.Module], seed: int = 0, gain: float = 2.5) -> nn.Module:
    """Fresh weights made larger, and batch norms that have seen something, so that no layer goes unnoticed."""
    torch.manual_seed(seed)
    network = build()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                value.add_(0.3 * torch.randn_like(value))
            elif name.endswith("running_var"):
                value.mul_(0.5 + torch.rand_like(value))
            elif value.ndim and value.is_floating_point() and "temperature" not in name:
                value.mul_(gain)
    return network.eval()


@contextmanager
def in_main(name: str) -> Iterator[type]:
    """A class that pickles as __main__.<name>, as one defined in the owners' training script does."""
    main = sys.modules["__main__"]
    made = type(name, (), {"__module__": "__main__"})
    setattr(main, name, made)
    try:
        yield made
    finally:
        delattr(main, name)


# ---- the files


def v6_original(folder: Path) -> Original:
    network, scaler = spread(lambda: FeedForward((72, 256, 128, 64, 3))), fitted_scaler(72)
    file = folder / "lstm_BTC-USD_v6.pt"
    content = {
        "model_state_dict": network.state_dict(),
        "input_size": 72,
        "accuracy": 0.6912,
        "feature_columns": list(NAMES_72),
        "normalization_params": {"mean": scaler.mean_, "std": scaler.scale_},
        "training_date": "2025-06-01T12:00:00",
    }
    torch.save(content, file)
    return Original(file, 72, answer_of(network, scaler.transform), columns=NAMES_72)


def v6_wrapper(folder: Path) -> Original:
    base, scaler = spread(lambda: FeedForward((72, 256, 128, 64, 3)), seed=3), fitted_scaler(72)
    file = folder / "lstm_ETH-USD_v6_fixed.pt"
    content = {
        "model_state_dict": WithTemperature(base, 2.5).state_dict(),
        "base_model_state_dict": base.state_dict(),
        "temperature": 2.5,
        "logit_clip": 15.0,
        "input_size": 72,
        "symbol": "ETH-USD",
        "version": "v6_fixed",
    }
    torch.save(content, file)
    with (folder / "scaler_ETH-USD_v6_fixed.pkl").open("wb") as beside:
        pickle.dump(scaler, beside)
    return Original(file, 72, answer_of(base, scaler.transform), temperature=2.5, clamp=15.0)


def v6_deployed(folder: Path) -> Original:
    network, scaler = spread(lambda: FeedForward((72, 256, 128, 64, 3)), seed=4), fitted_scaler(72)
    file = folder / "lstm_SOL-USD_v6_fixed.pt"
    content = {
        "model_state_dict": network.state_dict(),
        "temperature": 8.0,
        "logit_clip": 15.0,
        "input_size": 72,
        "symbol": "SOL-USD",
        "version": "v6_fixed",
    }
    torch.save(content, file)
    with (folder / "scaler_SOL-USD_v6_fixed.pkl").open("wb") as beside:
        pickle.dump(scaler, beside, protocol=2)
    return Original(file, 72, answer_of(network, scaler.transform), temperature=8.0, clamp=15.0)


def v6_lstm(folder: Path) -> Original:
    network = spread(lambda: Lstm(31, 64, 2, 1), seed=5)
    file = folder / "lstm_BTC-USD_v6_lstm.pt"
    torch.save({"model_state_dict": network.state_dict(), "input_size": 31}, file)
    return Original(file, 31, answer_of(network, unscaled), is_scaled=False)


def v5_lstm(folder: Path) -> Original:
    network, scaler = spread(lambda: Lstm(31, 128, 3, 1), seed=6), fitted_scaler(31)
    file = folder / "lstm_ETH-USD_v5.pt"
    torch.save({"model_state_dict": network.state_dict(), "input_size": 31}, file)
    with (folder / "lstm_ETH-USD_v5_scaler.pkl").open("wb") as beside:
        pickle.dump(scaler, beside)
    return Original(file, 31, answer_of(network, scaler.transform))


def bare_lstm(folder: Path) -> Original:
    network = spread(lambda: Lstm(17, 64, 2, 3), seed=7)
    file = folder / "lstm_SOLUSDT.pt"
    torch.save(network.state_dict(), file)
    return Original(file, 17, answer_of(network, unscaled), is_scaled=False)


def bidirectional_lstm(folder: Path) -> Original:
    network = spread(lambda: BidirectionalLstm(20), seed=8)
    file = folder / "lstm_BTC_bidirectional.pt"
    torch.save(network.state_dict(), file)
    return Original(file, 20, answer_of(network, unscaled), is_scaled=False)


def bidirectional_lstm_wrapped(folder: Path) -> Original:
    original = bidirectional_lstm(folder)
    torch.save({"model_state_dict": torch.load(original.file), "input_size": 20}, original.file)
    return original


def v7_enhanced(folder: Path) -> Original:
    network = spread(lambda: FeedForward((72, 256, 128, 64, 3), ("bn",), torch.tensor([1.7])), seed=9)
    scaler = fitted_scaler(72)
    file = folder / "lstm_BTC-USD_v7_enhanced.pt"
    content = {
        "model_state_dict": network.state_dict(),
        "scaler_params": {"mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()},
        "feature_columns": list(NAMES_72),
        "confidence_stats": {"mean": np.float64(0.62), "above_75": 0.2},
        "prediction_distribution": np.array([0.3, 0.4, 0.3]),
        "version": "v7_enhanced",
        "symbol": "BTC-USD",
    }
    torch.save(content, file)
    return Original(
        file, 72, answer_of(network, scaler.transform), temperature=float(np.float32(1.7)), columns=NAMES_72
    )


def v8_feed_forward(folder: Path) -> Original:
    network = spread(lambda: FeedForward((72, 512, 256, 128, 3), ("bn", "ln"), torch.tensor(2.2)), seed=10)
    scaler = fitted_scaler(72)
    file = folder / "lstm_ETH-USD_v8.pt"
    with in_main("V8FeatureProcessor") as made:
        processor = made()
        processor.scaler, processor.feature_columns, processor.fitted = scaler, list(NAMES_72), True
        content = {
            "model_state_dict": network.state_dict(),
            "processor": processor,
            "feature_stats": {"means": scaler.mean_, "count": np.int64(500)},
            "accuracy": 0.71,
        }
        torch.save(content, file)
        with (folder / "processor_ETH-USD_v8.pkl").open("wb") as alone:
            pickle.dump(processor, alone)
    return Original(
        file, 72, answer_of(network, scaler.transform), temperature=float(np.float32(2.2)), columns=NAMES_72
    )


def v8_lstm(folder: Path, hidden: int = 64) -> Original:
    """hidden: 512 in the owners', whose 14 million weights most tests need not wait for."""
    network = spread(lambda: V8Lstm(72, hidden), seed=11, gain=1.5)
    file = folder / "lstm_SOL-USD_v8.pt"
    content = {
        "model_state_dict": network.state_dict(),
        "config": {"input_size": 72, "hidden_size": hidden, "num_heads": 8},
        "optimizer_state_dict": torch.optim.Adam(network.parameters()).state_dict(),
    }
    torch.save(content, file)
    return Original(file, 72, answer_of(network, unscaled), temperature=3.0, is_scaled=False)


ORIGINALS: Mapping[str, Callable[[Path], Original]] = {
    make.__name__: make
    for make in (
        *(v6_original, v6_wrapper, v6_deployed, v6_lstm, v5_lstm, bare_lstm, bidirectional_lstm),
        *(bidirectional_lstm_wrapped, v7_enhanced, v8_feed_forward, v8_lstm),
    )
}


def edited(original: Original, edit: Callable[[dict[str, Any]], object], name: str | None = None) -> Path:
    """The file with its content changed in place, under its own name or another."""
    with in_main("V8FeatureProcessor"):
        content = torch.load(original.file, weights_only=False)
        edit(content)
        file = original.file.with_name(name) if name else original.file
        torch.save(content, file)
    return file
