"""A state dict -> which of the networks that exist in the field it is, and its tensors under our names.

Only the tensors' names and shapes decide; a file's name says nothing (feed-forward nets are called lstm_….pt). Sizes
other than the usual ones are taken as long as each layer fits the next; a tensor that no layer wants is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from export.checkpoints.pickle_values import printable, shown
from signalserve import CLASSES
from signalserve.errors import CheckpointError
from signalserve.network import AttentionLstmConfig, Config, FeedForwardConfig, LstmConfig

Array = npt.NDArray[Any]

WRAPPERS: Final = re.compile(r"(?:(?:module|base_model|_orig_mod|model)\.)*")
"""Prefixes of a network inside another: DataParallel's, the owners' wrapper's, torch.compile's, Lightning's."""

MAX_LAYERS: Final = 16
"""Of a stack. The networks of the field have at most four."""

MAX_WIDTH: Final = 4096
"""Of what a layer reads. The networks of the field read at most 1,024 numbers."""

USUAL_HEADS: Final = 8
"""Of the V8 LSTM's attention; no tensor's shape tells them."""

HEADS_KEYS: Final = ("num_heads", "n_heads", "heads", "attention_heads", "num_attention_heads")
"""Under which a file's `config` may tell them."""


@dataclass(frozen=True)
class Recognised:
    """A network known by its tensors.

    kind: in words.  generation: as it is called when nothing else names it.  weights: float32, by our names.
    temperature: the tensor of that name, if there is one.  assumed: what no tensor says, each a sentence.
    """

    kind: str
    generation: str
    config: Config
    weights: Mapping[str, Array]
    temperature: float | None
    assumed: tuple[str, ...]


def recognise(tensors: Mapping[str, Array], config: Mapping[str, Any] | None = None) -> Recognised:
    """Which network these tensors are.

    tensors: a state dict.  config: what the file says of the network's sizes; only the number of heads is read.
    Raises CheckpointError for a layer that is missing, of another width or unknown, and for weights not finite.
    """
    by_plain_name = {WRAPPERS.sub("", name, count=1): array for name, array in tensors.items()}
    if len(by_plain_name) < len(tensors):
        raise CheckpointError(
            f"expected one network, got two in one state dict: {_some(list(tensors))}; save one alone"
        )
    left = _Tensors(by_plain_name)
    temperature = left.scalar("temperature")
    if left.has("lstm1.weight_ih_l0"):
        found = _attention_lstm(left, config or {})
    elif left.has("lstm.weight_ih_l0"):
        found = _lstm(left)
    elif left.has("fc1.weight"):
        found = _feed_forward(left)
    else:
        raise CheckpointError(
            f"expected tensors named fc1…, lstm.… or lstm1…, as the known networks have, got {_some(left.names)}; "
            "its code is needed to import it"
        )
    left.expect_none(found[0])
    kind, generation, sizes, weights, assumed = found
    return Recognised(kind, generation, sizes, weights, temperature, (_meaning_of_outputs(sizes.outputs), *assumed))


_Found = tuple[str, str, Config, dict[str, Array], tuple[str, ...]]


def _feed_forward(left: "_Tensors") -> _Found:
    """fc1 … fcN on the window's last row, with bn1 … or ln1 … between each hidden layer and its ReLU, or neither."""
    matches = (re.fullmatch(r"fc([1-9][0-9]{0,3})\.weight", name) for name in left.names)
    numbers = sorted(int(match[1]) for match in matches if match)
    if numbers != list(range(1, len(numbers) + 1)):
        raise CheckpointError(
            f"expected layers fc1, fc2, … without a gap, got {_some([f'fc{n}' for n in numbers])}; "
            "a layer is missing: save the whole state dict again"
        )
    _check_layers("fc1, fc2, …", len(numbers))
    widths = [left.width("fc1.weight")]
    weights: dict[str, Array] = {}
    for n in numbers:
        name = "head" if n == len(numbers) else f"layers.{n - 1}"
        widths.append(left.linear(f"fc{n}", widths[-1], weights, name))
    inputs, hidden, outputs = widths[0], widths[1:-1], _checked_outputs(widths[-1], f"fc{numbers[-1]}")
    has_batch, has_layer = left.has("bn1.weight"), left.has("ln1.weight")
    norm: Literal["none", "batch", "layer"] = "layer" if has_layer else "batch" if has_batch else "none"
    unused: dict[str, Array] = {}
    for i, width in enumerate(hidden):
        if has_batch:  # beside layer norms they served training alone
            left.batch_norm(f"bn{i + 1}", width, unused if has_layer else weights, f"norms.{i}")
        if has_layer:
            left.take_pair(f"ln{i + 1}", (width,), weights, f"norms.{i}")
    assumed: tuple[str, ...] = () if norm == "none" else (f"the {norm} norms stand between each layer and its ReLU",)
    if unused:
        assumed += (f"bn1 … bn{len(hidden)} were used in training only and are left out: ln1 … are what answers",)
    kind = {
        "none": "V6 feed-forward net",
        "batch": "V7 feed-forward net with batch norms",
        "layer": "V8 feed-forward net with layer norms",
    }[norm]
    generation = {"none": "v6", "batch": "v7", "layer": "v8"}[norm]
    sizes = FeedForwardConfig(inputs=inputs, hidden=hidden, norm=norm, outputs=outputs)
    return kind, generation, sizes, weights, (*assumed, "it reads the window's last bar alone")


def _lstm(left: "_Tensors") -> _Found:
    """A stack of LSTM layers in one or both directions; a head of one layer (fc) or of two with ReLU (fc.0, fc.3)."""
    weights: dict[str, Array] = {}
    stack = left.lstm("lstm", weights)
    width = stack.hidden * (2 if stack.bidirectional else 1)
    head_hidden = 0
    if left.has("fc.0.weight"):
        head_hidden = left.linear("fc.0", width, weights, "head.0")
        outputs = _checked_outputs(left.linear("fc.3", head_hidden, weights, "head.2"), "fc.3")
    else:
        outputs = _checked_outputs(left.linear("fc", width, weights, "head"), "fc")
    sizes = LstmConfig(
        inputs=stack.inputs,
        hidden=stack.hidden,
        layers=stack.layers,
        outputs=outputs,
        bidirectional=stack.bidirectional,
        head_hidden=head_hidden,
    )
    assumed = ("the head reads the window's last step",)
    if stack.bidirectional:
        return "bidirectional LSTM", "bilstm", sizes, weights, assumed
    owners = {(2, 64, 1): ("V6 LSTM", "v6_lstm"), (3, 128, 1): ("V5 LSTM", "v5_lstm")}
    kind, generation = owners.get((stack.layers, stack.hidden, outputs), ("LSTM", "lstm"))
    return kind, generation, sizes, weights, assumed


def _attention_lstm(left: "_Tensors", config: Mapping[str, Any]) -> _Found:
    """lstm1 in both directions, lstm2, layer norm, self-attention, three linear layers."""
    weights: dict[str, Array] = {}
    first, second = left.lstm("lstm1", weights), left.lstm("lstm2", weights)
    hidden = first.hidden
    if not first.bidirectional or second.bidirectional:
        raise CheckpointError("expected lstm1 in both directions and lstm2 in one, as V8's LSTM has them")
    if (second.inputs, second.hidden, second.layers) != (2 * hidden, hidden, first.layers):
        raise CheckpointError(
            f"lstm2: expected {first.layers} layers of {2 * hidden} -> {hidden} after lstm1, "
            f"got {second.layers} of {second.inputs} -> {second.hidden}"
        )
    left.take_pair("layer_norm", (hidden,), weights, "layer_norm")
    for name, shape in {
        "attention.in_proj_weight": (3 * hidden, hidden),
        "attention.in_proj_bias": (3 * hidden,),
        "attention.out_proj.weight": (hidden, hidden),
        "attention.out_proj.bias": (hidden,),
    }.items():
        weights[name] = left.take(name, shape)
    widths = [hidden]
    for n in (1, 2, 3):
        widths.append(left.linear(f"fc{n}", widths[-1], weights, f"fc{n}"))
    told = next((config[key] for key in HEADS_KEYS if key in config), None)
    heads = USUAL_HEADS if told is None else told
    if type(heads) is not int or heads < 1 or hidden % heads:
        got = printable(str(heads)) if type(heads) is int else shown(heads)
        raise CheckpointError(f"attention heads: expected a number that divides the width {hidden}, got {got}")
    sizes = AttentionLstmConfig(
        inputs=first.inputs,
        hidden=hidden,
        layers=first.layers,
        heads=heads,
        head_hidden=widths[1:3],
        outputs=_checked_outputs(widths[3], "fc3"),
    )
    assumed = () if told is not None else (f"the attention has {USUAL_HEADS} heads",)
    return "V8 LSTM with attention", "v8", sizes, weights, (*assumed, "the head reads the window's last step")


def _checked_outputs(outputs: int, layer: str) -> int:
    if outputs not in (1, len(CLASSES)):
        raise CheckpointError(
            f"{layer}: expected {len(CLASSES)} outputs ({', '.join(CLASSES)}) or 1 (UP against DOWN), got {outputs}; "
            "a layer is missing, or the network was made for something else"
        )
    return outputs


def _meaning_of_outputs(outputs: int) -> str:
    if outputs == 1:
        return "the one output is the log-odds of UP against DOWN; it knows no NEUTRAL"
    return f"the outputs are in the order {', '.join(CLASSES)}"


def _check_layers(stack: str, layers: int) -> None:
    if layers > MAX_LAYERS:
        raise CheckpointError(f"{stack}: expected at most {MAX_LAYERS} layers, got {layers:,}")


def _some(names: list[str]) -> str:
    shown_names = ", ".join(printable(name) for name in names[:6]) or "none"
    return shown_names + (f" and {len(names) - 6:,} more" if len(names) > 6 else "")


@dataclass(frozen=True)
class _Stack:
    inputs: int
    hidden: int
    layers: int
    bidirectional: bool


class _Tensors:
    """The tensors that no layer has taken yet. Whoever takes one says which shape it must have."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._left = dict(tensors)

    @property
    def names(self) -> list[str]:
        return list(self._left)

    def has(self, name: str) -> bool:
        return name in self._left

    def width(self, name: str) -> int:
        """The second size of a matrix: its inputs."""
        array = self._left.get(name)
        if array is None or array.ndim != 2:
            got = "none; save the whole state dict again" if array is None else f"the shape {array.shape}"
            raise CheckpointError(f"{name}: expected a matrix (outputs, inputs), got {got}")
        width = int(array.shape[1])
        if not 1 <= width <= MAX_WIDTH:
            raise CheckpointError(f"{name}: expected 1 to {MAX_WIDTH:,} inputs, got {width:,}")
        return width

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """The tensor as float32. Raises CheckpointError if it is missing, has another shape or is not finite."""
        array = self._left.pop(name, None)
        if array is None:
            raise CheckpointError(f"{name}: expected a tensor {shape}, got none; save the whole state dict again")
        if array.shape != shape:
            raise CheckpointError(f"{name}: expected the shape {shape} after the layer before it, got {array.shape}")
        if array.dtype.kind != "f":
            raise CheckpointError(f"{name}: expected floating-point weights, got {array.dtype}; save it unquantised")
        weights = array.astype(np.float32)
        broken = int(np.logical_not(np.isfinite(weights)).sum())
        if broken:
            raise CheckpointError(
                f"{name}: expected finite weights, got {broken:,} of {weights.size:,} NaN or infinite: its training "
                "diverged; take an earlier checkpoint"
            )
        return weights

    def scalar(self, name: str) -> float | None:
        """A tensor of one number, of shape () or (1,); None where there is none."""
        array = self._left.pop(name, None)
        if array is None:
            return None
        if array.size != 1:
            raise CheckpointError(f"{name}: expected one number, got the shape {array.shape}")
        return float(array.reshape(()))

    def take_pair(self, name: str, shape: tuple[int, ...], into: dict[str, Array], as_name: str) -> None:
        """weight and bias of one shape: a norm's."""
        for part in ("weight", "bias"):
            into[f"{as_name}.{part}"] = self.take(f"{name}.{part}", shape)

    def batch_norm(self, name: str, width: int, into: dict[str, Array], as_name: str) -> None:
        self.take_pair(name, (width,), into, as_name)
        for part in ("running_mean", "running_var"):
            into[f"{as_name}.{part}"] = self.take(f"{name}.{part}", (width,))
        if (into[f"{as_name}.running_var"] < 0).any():
            raise CheckpointError(f"{name}.running_var: expected variances of at least 0, got a negative one")
        # a counter for training, which torch's strict loading asks for
        self._left.pop(f"{name}.num_batches_tracked", None)
        into[f"{as_name}.num_batches_tracked"] = np.zeros(1, dtype=np.int64)

    def linear(self, name: str, inputs: int, into: dict[str, Array], as_name: str) -> int:
        """weight (outputs, inputs) and bias (outputs,); returns outputs."""
        self.width(f"{name}.weight")
        outputs = len(self._left[f"{name}.weight"])
        if not outputs:
            raise CheckpointError(f"{name}.weight: expected at least one output, got none")
        into[f"{as_name}.weight"] = self.take(f"{name}.weight", (outputs, inputs))
        into[f"{as_name}.bias"] = self.take(f"{name}.bias", (outputs,))
        return outputs

    def lstm(self, name: str, into: dict[str, Array]) -> _Stack:
        """All layers of torch's LSTM, under the names they have; 4 gates of `hidden` in each matrix."""
        inputs, hidden = self.width(f"{name}.weight_ih_l0"), self.width(f"{name}.weight_hh_l0")
        bidirectional = self.has(f"{name}.weight_ih_l0_reverse")
        directions = ("", "_reverse") if bidirectional else ("",)
        layers, width = 0, inputs
        while self.has(f"{name}.weight_ih_l{layers}"):
            _check_layers(name, layers + 1)
            for direction in directions:
                for part, shape in {
                    "weight_ih": (4 * hidden, width),
                    "weight_hh": (4 * hidden, hidden),
                    "bias_ih": (4 * hidden,),
                    "bias_hh": (4 * hidden,),
                }.items():
                    tensor = f"{name}.{part}_l{layers}{direction}"
                    into[tensor] = self.take(tensor, shape)
            width, layers = hidden * len(directions), layers + 1
        return _Stack(inputs, hidden, layers, bidirectional)

    def expect_none(self, kind: str) -> None:
        if self._left:
            raise CheckpointError(
                f"{kind}: expected no further tensors, got {_some(self.names)}; it is a network of another form, "
                "whose code is needed to import it"
            )
