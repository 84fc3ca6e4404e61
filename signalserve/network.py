"""The networks: (batch, window, features) -> raw logits (batch, outputs), 3 classes or 1 for UP against DOWN.

An architecture is data: a dataclass that a manifest can hold, found by its `kind` in ARCHITECTURES. A new network is
a config, a module and one line there. No scaling, clamping or softmax here; that order stands in `pipeline.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from signalserve.errors import BundleError


@dataclass(frozen=True)
class LstmConfig:
    """A stack of LSTM layers and a head."""

    inputs: int  # F, the number of columns
    hidden: int  # width of each layer: 64 in V6, 128 in V8
    layers: int
    attention: bool = False  # True: the head reads an attention-weighted mean of all steps, else the last step
    outputs: int = 3  # 1: the log-odds of UP against DOWN, of a network that knows no NEUTRAL
    dropout: float = 0.0  # between layers and before the head, only while training
    bidirectional: bool = False  # the head reads both directions' output at the last step
    head_hidden: int = 0  # width of a ReLU layer in the head; 0: the head is linear
    kind: str = "lstm"


class LstmNetwork(nn.Module):
    """An LSTM over the window; the head reads its last step, or a learned average over all steps."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        between_layers = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(
            config.inputs,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=between_layers,
            bidirectional=config.bidirectional,
        )
        width = config.hidden * (2 if config.bidirectional else 1)
        self.score = nn.Linear(width, 1) if config.attention else None
        self.dropout = nn.Dropout(config.dropout)
        if config.head_hidden:
            self.head: nn.Module = nn.Sequential(
                nn.Linear(width, config.head_hidden), nn.ReLU(), nn.Linear(config.head_hidden, config.outputs)
            )
        else:
            self.head = nn.Linear(width, config.outputs)

    def forward(self, scaled: Tensor) -> Tensor:
        """scaled: (batch, window, features), standardised. Returns raw logits (batch, outputs)."""
        steps, _ = self.lstm(scaled)  # (batch, window, hidden)
        if self.score is None:
            summary = steps[:, -1]  # (batch, hidden)
        else:
            attention = torch.softmax(self.score(steps), dim=1)  # (batch, window, 1), sums to 1 over the window
            summary = (attention * steps).sum(dim=1)  # (batch, hidden)
        return cast(Tensor, self.head(self.dropout(summary)))  # (batch, outputs)


@dataclass(frozen=True)
class FeedForwardConfig:
    """Linear layers with ReLU between them, on the window's last row."""

    inputs: int  # F, the number of columns
    hidden: Sequence[int]  # widths: 256, 128, 64 in V6 and V7; 512, 256, 128 in V8
    norm: Literal["none", "batch", "layer"] = "none"  # between each hidden layer and its ReLU: V7 batch, V8 layer
    outputs: int = 3
    kind: str = "feed_forward"


class FeedForwardNetwork(nn.Module):
    """Reads the last bar alone: what came before is in it only as far as its features look back."""

    def __init__(self, config: FeedForwardConfig) -> None:
        super().__init__()
        widths = [config.inputs, *config.hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, config.hidden, strict=False))
        norms = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        self.norms = nn.ModuleList(norms[config.norm](width) for width in config.hidden)
        self.head = nn.Linear(widths[-1], config.outputs)

    def forward(self, scaled: Tensor) -> Tensor:
        """scaled: (batch, window, features), standardised. Returns raw logits (batch, outputs)."""
        x = scaled[:, -1]  # (batch, features)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x)))  # (batch, width)
        return cast(Tensor, self.head(x))  # (batch, outputs)


@dataclass(frozen=True)
class AttentionLstmConfig:
    """Two LSTM stacks, self-attention over their steps, and three linear layers."""

    inputs: int  # F, the number of columns
    hidden: int = 512
    layers: int = 2  # of each stack
    heads: int = 8
    head_hidden: Sequence[int] = (256, 128)  # GELU after the first, ReLU after the second
    outputs: int = 3
    kind: str = "attention_lstm"


class AttentionLstmNetwork(nn.Module):
    """The owners' V8: bidirectional LSTM, LSTM, layer norm, multi-head self-attention; its last step is classified."""

    def __init__(self, config: AttentionLstmConfig) -> None:
        super().__init__()
        hidden, (first, second) = config.hidden, config.head_hidden
        self.lstm1 = nn.LSTM(config.inputs, hidden, config.layers, batch_first=True, bidirectional=True)
        self.lstm2 = nn.LSTM(2 * hidden, hidden, config.layers, batch_first=True)
        self.layer_norm = nn.LayerNorm(hidden)
        self.attention = nn.MultiheadAttention(hidden, config.heads, batch_first=True)
        self.fc1 = nn.Linear(hidden, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, config.outputs)

    def forward(self, scaled: Tensor) -> Tensor:
        """scaled: (batch, window, features), standardised. Returns raw logits (batch, outputs)."""
        steps, _ = self.lstm1(scaled)  # (batch, window, 2 hidden)
        steps, _ = self.lstm2(steps)  # (batch, window, hidden)
        steps = self.layer_norm(steps)
        last = steps[:, -1:]  # only the last step's attention is read, so only it is asked
        attended, _ = self.attention(last, steps, steps, need_weights=False)  # (batch, 1, hidden)
        x = nn.functional.gelu(self.fc1(attended[:, 0]))  # (batch, 256)
        return cast(Tensor, self.fc3(torch.relu(self.fc2(x))))  # (batch, outputs)


Config = LstmConfig | FeedForwardConfig | AttentionLstmConfig

ARCHITECTURES: Mapping[str, tuple[type[Config], type[nn.Module]]] = {
    "lstm": (LstmConfig, LstmNetwork),
    "feed_forward": (FeedForwardConfig, FeedForwardNetwork),
    "attention_lstm": (AttentionLstmConfig, AttentionLstmNetwork),
}


def build_network(architecture: Mapping[str, Any]) -> nn.Module:
    """The untrained network that a manifest's `architecture` describes, in evaluation mode.

    Raises BundleError when the kind or one of its sizes is unknown.
    """
    kind = architecture.get("kind")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise BundleError(f"architecture: expected a kind among {sorted(ARCHITECTURES)}, got {kind!r}")
    config_class, network_class = ARCHITECTURES[kind]
    try:
        return network_class(config_class(**architecture)).eval()
    except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BundleError(f"architecture {kind}: expected {config_class.__name__}'s sizes, got {error}") from None


def architecture_of(config: Config) -> dict[str, Any]:
    """The form in which a manifest keeps a config."""
    return asdict(config)
