"""Tensors are told apart by their names and shapes alone, and those of no known network are refused in words."""

from typing import Any

import numpy as np
import pytest

from export.checkpoints.formats import Recognised, recognise
from signalserve.errors import CheckpointError
from signalserve.network import AttentionLstmConfig, FeedForwardConfig, LstmConfig

State = dict[str, np.ndarray]


def pair(name: str, *shape: int) -> State:
    """A layer's weight of this shape, and its bias."""
    return {f"{name}.weight": np.ones(shape, np.float32), f"{name}.bias": np.zeros(shape[0], np.float32)}


def feed_forward(*widths: int) -> State:
    state: State = {}
    for i in range(1, len(widths)):
        state |= pair(f"fc{i}", widths[i], widths[i - 1])
    return state


def batch_norm(name: str, width: int) -> State:
    statistics = {
        f"{name}.running_mean": np.zeros(width, np.float32),
        f"{name}.running_var": np.ones(width, np.float32),
    }
    return pair(name, width) | statistics | {f"{name}.num_batches_tracked": np.array(7)}


def lstm(name: str, inputs: int, hidden: int, layers: int, directions: tuple[str, ...] = ("",)) -> State:
    state: State = {}
    for layer in range(layers):
        for direction in directions:
            width = inputs if layer == 0 else hidden * len(directions)
            shapes = {"weight_ih": (4 * hidden, width), "weight_hh": (4 * hidden, hidden)}
            shapes |= {"bias_ih": (4 * hidden,), "bias_hh": (4 * hidden,)}
            state |= {f"{name}.{part}_l{layer}{direction}": np.ones(s, np.float32) for part, s in shapes.items()}
    return state


def attention_lstm(hidden: int = 16) -> State:
    attention = {
        "attention.in_proj_weight": np.ones((3 * hidden, hidden), np.float32),
        "attention.in_proj_bias": np.ones(3 * hidden, np.float32),
    }
    return {
        **lstm("lstm1", 5, hidden, 2, ("", "_reverse")),
        **lstm("lstm2", 2 * hidden, hidden, 2),
        **pair("layer_norm", hidden),
        **attention,
        **pair("attention.out_proj", hidden, hidden),
        **pair("fc1", 8, hidden),
        **pair("fc2", 4, 8),
        **pair("fc3", 3, 4),
    }


BOTH = ("", "_reverse")
NORMS = {**batch_norm("bn1", 8), **batch_norm("bn2", 4)}
KNOWN: dict[str, tuple[State, str, Any]] = {
    "v6": (feed_forward(72, 256, 128, 64, 3), "v6", FeedForwardConfig(72, [256, 128, 64])),
    "another size": (feed_forward(5, 9, 1), "v6", FeedForwardConfig(5, [9], outputs=1)),
    "v7": (feed_forward(5, 8, 4, 3) | NORMS, "v7", FeedForwardConfig(5, [8, 4], "batch")),
    "v8": (
        feed_forward(5, 8, 4, 3) | NORMS | pair("ln1", 8) | pair("ln2", 4),
        "v8",
        FeedForwardConfig(5, [8, 4], "layer"),
    ),
    "v6 lstm": (lstm("lstm", 31, 64, 2) | pair("fc", 1, 64), "v6_lstm", LstmConfig(31, 64, 2, outputs=1)),
    "v5 lstm": (lstm("lstm", 9, 128, 3) | pair("fc", 1, 128), "v5_lstm", LstmConfig(9, 128, 3, outputs=1)),
    "lstm": (lstm("lstm", 7, 64, 2) | pair("fc", 3, 64), "lstm", LstmConfig(7, 64, 2)),
    "bidirectional": (
        lstm("lstm", 7, 8, 3, BOTH) | pair("fc.0", 6, 16) | pair("fc.3", 1, 6),
        "bilstm",
        LstmConfig(7, 8, 3, outputs=1, bidirectional=True, head_hidden=6),
    ),
    "attention": (attention_lstm(), "v8", AttentionLstmConfig(5, 16, 2, 8, [8, 4])),
}


def recognised(name: str) -> Recognised:
    return recognise(KNOWN[name][0])


@pytest.mark.parametrize("name", KNOWN)
def test_each_known_network_is_told_by_its_tensors(name: str) -> None:
    _, generation, config = KNOWN[name]
    found = recognised(name)
    assert (found.generation, found.config) == (generation, config)
    assert found.temperature is None


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("prefix", ["module.", "base_model.", "module.base_model.", "_orig_mod.module.", "model."])
def test_a_wrapper_around_a_network_changes_nothing(name: str, prefix: str) -> None:
    found = recognise({prefix + tensor: array for tensor, array in KNOWN[name][0].items()})
    assert found.config == recognised(name).config
    assert list(found.weights) == list(recognised(name).weights)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_temperature_is_no_layer(shape: tuple[int, ...]) -> None:
    found = recognise({**KNOWN["v6"][0], "temperature": np.full(shape, 2.5)})
    assert found.temperature == 2.5
    assert "temperature" not in found.weights


def test_norms_that_only_trained_are_left_out_and_said() -> None:
    found = recognised("v8")
    assert not any("running" in name for name in found.weights)
    assert any("bn1 … bn2 were used in training only" in words for words in found.assumed)


def test_half_precision_becomes_single() -> None:
    state = {name: array.astype(np.float16) for name, array in KNOWN["lstm"][0].items()}
    assert {array.dtype for array in recognise(state).weights.values()} == {np.dtype(np.float32)}


def test_the_number_of_heads_is_assumed_and_said_unless_the_file_tells_it() -> None:
    assert "the attention has 8 heads" in recognised("attention").assumed
    told = recognise(attention_lstm(), {"num_heads": 4})
    assert isinstance(told.config, AttentionLstmConfig)
    assert told.config.heads == 4
    assert "the attention has 8 heads" not in told.assumed


def test_what_one_output_means_is_said() -> None:
    assert "log-odds of UP against DOWN" in recognised("v6 lstm").assumed[0]
    assert "DOWN, NEUTRAL, UP" in recognised("lstm").assumed[0]


def without(state: State, *names: str) -> State:
    return {name: array for name, array in state.items() if name not in names}


def with_nan(state: State, name: str) -> State:
    broken = state[name].copy()
    broken[0] = np.nan
    return {**state, name: broken}


V6, V7 = feed_forward(72, 256, 128, 64, 3), KNOWN["v7"][0]
LSTM, TWO_WAYS = KNOWN["lstm"][0], KNOWN["bidirectional"][0]
REFUSED: dict[str, tuple[State, str]] = {
    "unknown network": (
        pair("conv1", 3, 3),
        r"expected tensors named fc1…, .* got conv1\.weight, conv1\.bias; its code",
    ),
    "a layer in the middle": (
        without(V6, "fc2.weight", "fc2.bias"),
        "without a gap, got fc1, fc3, fc4; a layer is missing",
    ),
    "the last layer": (without(V6, "fc4.weight", "fc4.bias"), r"fc3: expected 3 outputs .* got 64; a layer is missing"),
    "a bias": (without(V6, "fc2.bias"), r"fc2\.bias: expected a tensor \(128,\), got none; save the whole state dict"),
    "widths": (V6 | pair("fc3", 64, 100), r"fc3\.weight: expected the shape \(64, 128\) .* got \(64, 100\)"),
    "two outputs": (feed_forward(5, 4, 2), "fc2: expected 3 outputs .* or 1 .* got 2"),
    "no matrix": (V6 | {"fc1.weight": np.ones(3)}, r"fc1\.weight: expected a matrix .* got the shape \(3,\)"),
    "NaN": (with_nan(V6, "fc2.weight"), r"fc2\.weight: expected finite weights, got 256 of 32,768 NaN .* diverged"),
    "quantised": (V6 | {"fc1.bias": np.zeros(256, np.int8)}, "expected floating-point weights, got int8; save it unq"),
    "an unknown tensor": (
        V6 | {"extra.weight": np.ones(2)},
        r"V6 feed-forward net: expected no further tensors, got extra",
    ),
    "two networks": (V6 | {"base_model.fc1.bias": np.zeros(256)}, "expected one network, got two"),
    "norm of another width": (V7 | pair("bn2", 5), r"bn2\.weight: expected the shape \(4,\)"),
    "a norm too few": (
        {name: array for name, array in V7.items() if not name.startswith("bn2")},
        r"bn2\.weight: expected a tensor \(4,\), got none",
    ),
    "negative variance": (V7 | {"bn1.running_var": -np.ones(8)}, r"bn1\.running_var: expected variances of at least 0"),
    "many temperatures": (V6 | {"temperature": np.ones(3)}, "temperature: expected one number"),
    "lstm without recurrence": (
        without(LSTM, "lstm.weight_hh_l1"),
        r"lstm\.weight_hh_l1: expected a tensor \(256, 64\)",
    ),
    "lstm without its first recurrence": (
        without(LSTM, "lstm.weight_hh_l0"),
        "expected a matrix .* got none; save the whole state dict again",
    ),
    "lstm head": (LSTM | pair("fc", 3, 128), r"fc\.weight: expected the shape \(3, 64\)"),
    "half a direction": (without(TWO_WAYS, "lstm.bias_ih_l2_reverse"), r"lstm\.bias_ih_l2_reverse: expected a tensor"),
    "half a head": (without(TWO_WAYS, "fc.3.weight", "fc.3.bias"), r"fc\.3\.weight: expected a matrix"),
    "no inputs": (feed_forward(0, 4, 3), "fc1.weight: expected 1 to 4,096 inputs, got 0"),
    "no outputs": (feed_forward(5, 0, 3), "fc1.weight: expected at least one output, got none"),
    "no width": (lstm("lstm", 7, 0, 1) | pair("fc", 3, 0), "weight_hh_l0: expected 1 to 4,096 inputs, got 0"),
    "17 linear layers": (feed_forward(*[2] * 17, 3), "fc1, fc2, …: expected at most 16 layers, got 17"),
    "17 layers of an LSTM": (lstm("lstm", 2, 2, 17) | pair("fc", 3, 2), "lstm: expected at most 16 layers, got 17"),
    "projections": (LSTM | {"lstm.weight_hr_l0": np.ones((8, 64))}, "LSTM: expected no further tensors"),
    "stacks that do not fit": (
        {**attention_lstm(), **lstm("lstm2", 16, 16, 2)},
        r"lstm2: expected 2 layers of 32 -> 16 after lstm1, got 2 of 16 -> 16",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_does_not_fit_is_refused_in_words(fault: str) -> None:
    state, words = REFUSED[fault]
    with pytest.raises(CheckpointError, match=words):
        recognise(state)


def test_stacks_in_other_directions_are_refused() -> None:
    state = {name: array for name, array in attention_lstm().items() if not name.startswith("lstm1")}
    state |= lstm("lstm1", 5, 16, 2)
    with pytest.raises(CheckpointError, match="expected lstm1 in both directions and lstm2 in one"):
        recognise(state)


@pytest.mark.parametrize("heads", [3, 0, "eight"])
def test_heads_that_do_not_divide_the_width_are_refused(heads: object) -> None:
    with pytest.raises(CheckpointError, match="expected a number that divides the width 16"):
        recognise(attention_lstm(), {"num_heads": heads})
