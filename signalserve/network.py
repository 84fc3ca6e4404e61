"""The networks: (batch, window, features) -> raw logits (batch, outputs).

An architecture is data: a dataclass that a manifest can hold, found by its `kind` in ARCHITECTURES. A new network is
a config, a module and one line there. No scaling, clamping or softmax here; that order stands in `pipeline.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from signalserve.errors import BundleError


@dataclass(frozen=True)
class LstmConfig:
    """A stack of LSTM layers and a linear head."""

    inputs: int  # F, the number of columns
    hidden: int  # width of each layer: 64 in V6, 128 in V8
    layers: int
    attention: bool = False  # True: the head reads an attention-weighted mean of all steps, else the last step
    outputs: int = 3
    dropout: float = 0.0  # between layers and before the head, only while training
    kind: str = "lstm"


class LstmNetwork(nn.Module):
    """An LSTM over the window; the head reads its last step, or a learned average over all steps."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        between_layers = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.inputs, config.hidden, config.layers, batch_first=True, dropout=between_layers)
        self.score = nn.Linear(config.hidden, 1) if config.attention else None
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.outputs)

    def forward(self, scaled: Tensor) -> Tensor:
        """scaled: (batch, window, features), standardised. Returns raw logits (batch, outputs)."""
        steps, _ = self.lstm(scaled)  # (batch, window, hidden)
        if self.score is None:
            summary = steps[:, -1]  # (batch, hidden)
        else:
            attention = torch.softmax(self.score(steps), dim=1)  # (batch, window, 1), sums to 1 over the window
            summary = (attention * steps).sum(dim=1)  # (batch, hidden)
        return cast(Tensor, self.head(self.dropout(summary)))  # (batch, outputs)


ARCHITECTURES = {"lstm": (LstmConfig, LstmNetwork)}


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
    except (TypeError, ValueError, RuntimeError) as error:
        raise BundleError(f"architecture {kind}: expected {config_class.__name__}'s sizes, got {error}") from None


def architecture_of(config: LstmConfig) -> dict[str, Any]:
    """The form in which a manifest keeps a config."""
    return asdict(config)
