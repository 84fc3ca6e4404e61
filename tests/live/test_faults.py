"""A model that fails: the service's own fault, told as such, and nobody else's."""

import numpy as np
import pytest
import torch
from live.server import Server, strict_json
from stores import BTC, SOL, by_name, raw_window, scaler_of, write_model, write_settings, write_store

from signalserve.features import COLUMNS
from signalserve.journal import LATCHES
from signalserve.latches import clear, read_latches

pytestmark = pytest.mark.live


def overflowing(weights: dict[str, torch.Tensor]) -> None:
    """Two hidden units follow the first column alone, and the head multiplies both by the largest float32: finite while
    that column is within a few standard deviations, infinite at two thousand."""
    hidden = 8
    for unit in (0, 1):
        for gate, bias in enumerate((20.0, -20.0, 0.0, 20.0)):  # input open, forget all, cell, output open
            row = gate * hidden + unit
            weights["lstm.weight_ih_l0"][row] = 0.0
            weights["lstm.weight_hh_l0"][row] = 0.0
            weights["lstm.bias_ih_l0"][row] = bias
            weights["lstm.bias_hh_l0"][row] = 0.0
        weights["lstm.weight_ih_l0"][2 * hidden + unit, 0] = 1e-3
        weights["head.weight"][0, unit] = 3.4e38


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory):
    """A service whose BTC v8 overflows on an unlucky window."""
    folder = tmp_path_factory.mktemp("failing")
    store = write_store(folder / "store", symbols=(SOL,))
    write_model(store, "v6_fixed", BTC)
    write_model(store, "v8", BTC, hidden=8, layers=1, attention=False, edit=overflowing)
    write_settings(folder / "serving.yaml")
    server = Server(folder, store=store).start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def cleared(failing: Server) -> None:
    """What one test took out is in again for the next."""
    for latch in read_latches(failing.journal / LATCHES):
        clear(failing.journal / LATCHES, latch)


def unlucky() -> dict[str, object]:
    window = raw_window(BTC)
    mean, scale = scaler_of(BTC)
    window[-1, 0] = mean[0] + 2000 * scale[0]
    return {"symbol": BTC, "features": by_name(window, COLUMNS)}


def lucky(symbol: str = BTC) -> dict[str, object]:
    return {"symbol": symbol, "features": by_name(raw_window(symbol), COLUMNS)}


def test_an_infinite_logit_is_a_503_of_the_contract(failing: Server) -> None:
    response = failing.ask("v8", unlucky())
    assert response.status_code == 503
    assert strict_json(response.content)["error"]["code"] == "model_output_not_finite"
    assert failing.ask("v8", lucky()).status_code == 200


def test_the_failing_instance_is_named_and_its_batch_is_not_half_answered(failing: Server) -> None:
    response = failing.ask("v8", {"instances": [lucky(), unlucky(), lucky(SOL)]})
    assert response.status_code == 503
    assert strict_json(response.content)["error"]["instance"] == 1


def test_where_there_is_another_model_it_answers_and_says_why(failing: Server) -> None:
    answer = failing.ask("ensemble", unlucky()).json()
    assert (answer["variant"], answer["degraded"]) == ("v6_fixed", True)
    assert answer["degraded_reason"] == "v8 gives no finite answer to this window"


def test_a_single_value_that_no_market_has_is_not_held_against_the_model(failing: Server) -> None:
    failing.ask("v8", unlucky())
    metrics = failing.metrics()
    assert metrics['signalserve_errors_total{code="model_output_not_finite",endpoint="v8"}'] >= 1
    labels = 'endpoint="v8",generation="v8",invariant="not_finite",symbol="BTC-USD"'
    assert metrics[f"signalserve_invariant_broken{{{labels}}}"] == 0
    assert read_latches(failing.journal / LATCHES) == []


def test_a_model_with_no_other_beside_it_is_out_when_its_logits_stay_beyond_the_clamp(failing: Server) -> None:
    """Its logits lie at 1e36."""
    responses = []
    for step in range(4):
        window = raw_window(BTC, seed=step)
        mean, scale = scaler_of(BTC)
        window[:, 0] = np.float32(mean[0] + scale[0])
        responses.append(failing.ask("v8", {"symbol": BTC, "features": by_name(window, COLUMNS)}))
    assert responses[-1].status_code == 503
    assert responses[-1].json()["error"]["code"] == "no_healthy_arm"
    assert "guardrail_out" in failing.output()
