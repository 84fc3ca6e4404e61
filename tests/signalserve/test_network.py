"""Networks as a manifest describes them; their numbers are judged in test_engine."""

from typing import Any

import pytest
import torch
from torch import nn

from signalserve.errors import BundleError
from signalserve.network import (
    AttentionLstmConfig,
    FeedForwardConfig,
    LstmConfig,
    LstmNetwork,
    architecture_of,
    build_network,
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)  # as in the service; torch's default makes this LSTM a hundred times slower on busy cores


def built(**sizes: Any) -> LstmNetwork:
    torch.manual_seed(0)
    network = build_network(architecture_of(LstmConfig(**{"inputs": 5, "hidden": 4, "layers": 2, **sizes})))
    assert isinstance(network, LstmNetwork)
    return network


def run(network: nn.Module, scaled: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(scaled)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_batch_of_windows_gives_a_row_of_logits_each(attention: bool, outputs: int):
    assert run(built(attention=attention, outputs=outputs), torch.zeros(7, 60, 5)).shape == (7, outputs)


@pytest.mark.parametrize("attention", [False, True])
def test_a_window_does_not_see_its_neighbours_in_the_batch(attention: bool):
    network, windows = built(attention=attention), torch.randn(4, 60, 5)
    changed = windows.clone()
    changed[0] = 1e6
    assert torch.equal(run(network, windows)[1:], run(network, changed)[1:])


def test_without_attention_the_head_reads_the_last_step():
    network, windows = built(attention=False), torch.randn(3, 60, 5)
    with torch.inference_mode():
        last_step = network.lstm(windows)[0][:, -1]
        assert torch.equal(network.head(last_step), network(windows))


def test_with_attention_equal_scores_give_the_mean_of_all_steps():
    network, windows = built(attention=True), torch.randn(3, 60, 5)
    assert network.score is not None
    torch.nn.init.zeros_(network.score.weight)
    with torch.inference_mode():
        mean_step = network.lstm(windows)[0].mean(dim=1)
        assert torch.allclose(network.head(mean_step), network(windows), atol=1e-6)


def test_dropout_is_off_in_what_is_built():
    network, windows = built(dropout=0.5), torch.randn(3, 60, 5)
    assert torch.equal(run(network, windows), run(network, windows))


def test_dropout_in_a_single_layer_raises_no_warning():
    built(layers=1, dropout=0.5)  # torch warns of it, and warnings are errors here


def test_an_architecture_keeps_its_sizes_through_a_manifest():
    config = LstmConfig(inputs=72, hidden=128, layers=2, attention=True)
    assert LstmConfig(**architecture_of(config)) == config


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"kind": "gru"}, r"expected a kind among .*'lstm'\], got 'gru'"),
        ({}, r"expected a kind among .*'lstm'\], got None"),
        ({"kind": "lstm", "inputs": 5, "hidden": 4}, "architecture lstm: expected LstmConfig's sizes, got .*layers"),
        ({"kind": "lstm", "inputs": 5, "hidden": 4, "layers": 2, "heads": 8}, "got .*heads"),
        ({"kind": "lstm", "inputs": 5, "hidden": 0, "layers": 2}, "hidden"),
        ({"kind": ["lstm"]}, "expected a kind among"),
    ],
)
def test_an_architecture_that_is_not_known_is_refused_in_words(architecture: dict[str, Any], words: str):
    with pytest.raises(BundleError, match=words):
        build_network(architecture)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_a_feed_forward_network_reads_the_last_bar_alone(norm: Any):
    torch.manual_seed(0)
    network, windows = build_network(architecture_of(FeedForwardConfig(5, [8, 4], norm))), torch.randn(3, 60, 5)
    earlier = windows.clone()
    earlier[:, :-1] = 1e6
    assert torch.equal(run(network, windows), run(network, earlier))
    assert run(network, windows).shape == (3, 3)


def test_batch_norm_uses_what_it_learned_and_never_the_batch_at_hand():
    torch.manual_seed(0)
    network, windows = build_network(architecture_of(FeedForwardConfig(5, [8], "batch"))), torch.randn(3, 60, 5)
    assert torch.allclose(run(network, windows)[:1], run(network, windows[:1]), atol=1e-6)


def test_attention_asked_for_the_last_step_alone_is_attention_over_all_steps():
    torch.manual_seed(0)
    network = build_network(architecture_of(AttentionLstmConfig(5, hidden=16, heads=8, head_hidden=[8, 4])))
    windows = torch.randn(3, 60, 5)
    with torch.inference_mode():
        steps = network.layer_norm(network.lstm2(network.lstm1(windows)[0])[0])
        attended = network.attention(steps, steps, steps)[0][:, -1]
        expected = network.fc3(torch.relu(network.fc2(nn.functional.gelu(network.fc1(attended)))))
    assert torch.allclose(run(network, windows), expected, atol=1e-6)


def test_a_head_may_read_both_directions_through_a_hidden_layer():
    network = built(bidirectional=True, head_hidden=6, outputs=1)
    assert [tuple(p.shape) for p in network.head.parameters()] == [(6, 8), (6,), (1, 6), (1,)]
    assert run(network, torch.zeros(2, 60, 5)).shape == (2, 1)
