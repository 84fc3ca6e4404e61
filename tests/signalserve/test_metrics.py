"""Counters that exist at 0 before anything happened, and count what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from signalserve.metrics import CONFIDENCE_EDGES, Metrics

CODES = [
    *("bad_json", "bad_npy", "bad_content_type", "too_large", "unknown_symbol", "bad_shape", "missing_columns"),
    *("unknown_columns", "not_finite", "bad_candles", "bad_weights", "bad_variant", "features_off_scale"),
    *("extra_field", "missing_field", "bad_field", "model_output_not_finite", "no_healthy_arm", "not_ready"),
]
WARNINGS = [
    *("clamped", "clamp_tie", "features_off_scale", "stale_input", "uncalibrated_weights", "failed_gates", "degraded"),
]
RULES = ["not_finite", "clamped", "clamp_tie", "saturated", "off_scale"]
MODELS = {"BTC-USD": ("v6_fixed", "v8"), "SOL-USD": ("v6_fixed",)}
VARIANTS = ("v6_fixed", "v8", "ensemble")


class Counted:
    """Metrics of the ensemble endpoint and what they show."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics("ensemble", MODELS, VARIANTS, self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"signalserve_{name}", {"endpoint": "ensemble", **labels})


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.mark.parametrize("code", CODES)
def test_every_error_code_of_the_contract_starts_at_0(counted: Counted, code: str):
    assert counted.value("errors_total", code=code) == 0


@pytest.mark.parametrize(("symbol", "kind"), [(symbol, kind) for symbol in MODELS for kind in WARNINGS])
def test_every_warning_starts_at_0(counted: Counted, symbol: str, kind: str):
    assert counted.value("warnings_total", symbol=symbol, kind=kind) == 0


@pytest.mark.parametrize(("symbol", "variant"), [(symbol, variant) for symbol in MODELS for variant in VARIANTS])
def test_every_direction_and_confidence_starts_at_0(counted: Counted, symbol: str, variant: str):
    assert counted.value("confidence_count", symbol=symbol, variant=variant) == 0
    for direction in ("DOWN", "NEUTRAL", "UP"):
        assert counted.value("predictions_total", symbol=symbol, variant=variant, direction=direction) == 0


@pytest.mark.parametrize(
    ("symbol", "generation"), [(symbol, generation) for symbol, several in MODELS.items() for generation in several]
)
def test_every_models_logits_and_invariants_start_at_0(counted: Counted, symbol: str, generation: str):
    assert counted.value("raw_logit_count", symbol=symbol, generation=generation) == 0
    for rule in RULES:
        assert counted.value("invariant_broken", symbol=symbol, generation=generation, invariant=rule) == 0


def test_latencies_and_batches_start_at_0(counted: Counted):
    assert counted.value("batch_size_count") == 0
    for stage in ("read", "model", "respond", "total"):
        assert counted.value("latency_seconds_count", stage=stage) == 0


def test_a_workers_start_is_counted_once(counted: Counted):
    assert counted.value("worker_starts_total") == 1


def test_a_model_that_is_not_there_has_no_series(counted: Counted):
    assert counted.value("raw_logit_count", symbol="SOL-USD", generation="v8") is None


def test_a_prediction_counts_its_direction_confidence_and_warnings(counted: Counted):
    counted.metrics.predicted("BTC-USD", "v8", "UP", 0.75, ["clamped", "stale_input"])
    assert counted.value("predictions_total", symbol="BTC-USD", variant="v8", direction="UP") == 1
    assert counted.value("predictions_total", symbol="BTC-USD", variant="v8", direction="DOWN") == 0
    assert counted.value("warnings_total", symbol="BTC-USD", kind="clamped") == 1
    assert counted.value("warnings_total", symbol="SOL-USD", kind="clamped") == 0
    assert counted.value("confidence_sum", symbol="BTC-USD", variant="v8") == 0.75


@pytest.mark.parametrize("edge", [0.75, 0.95])
def test_the_confidences_that_people_act_on_are_edges(counted: Counted, edge: float):
    assert edge in CONFIDENCE_EDGES
    counted.metrics.predicted("BTC-USD", "v8", "UP", edge, [])
    counted.metrics.predicted("BTC-USD", "v8", "UP", edge + 1e-9, [])
    assert counted.value("confidence_bucket", symbol="BTC-USD", variant="v8", le=str(edge)) == 1


def test_logits_fall_on_both_sides_of_the_clamp(counted: Counted):
    counted.metrics.logits("BTC-USD", "v8", [-4e6, 14.9, 15.1])
    labels = {"symbol": "BTC-USD", "generation": "v8"}
    assert counted.value("raw_logit_bucket", **labels, le="-15.0") == 1
    assert counted.value("raw_logit_bucket", **labels, le="15.0") == 2
    assert counted.value("raw_logit_count", **labels) == 3


def test_broken_invariants_go_up_and_down(counted: Counted):
    labels = {"symbol": "BTC-USD", "generation": "v8", "invariant": "clamped"}
    counted.metrics.invariants("BTC-USD", "v8", frozenset({"clamped"}))
    assert counted.value("invariant_broken", **labels) == 1
    counted.metrics.invariants("BTC-USD", "v8", frozenset())
    assert counted.value("invariant_broken", **labels) == 0


def test_every_prediction_that_breaks_an_invariant_is_counted(counted: Counted):
    labels = {"symbol": "BTC-USD", "generation": "v8"}
    assert counted.value("invariant_breaks_total", **labels) == 0
    counted.metrics.breaks("BTC-USD", "v8")
    counted.metrics.breaks("BTC-USD", "v8")
    assert counted.value("invariant_breaks_total", **labels) == 2


def test_errors_latencies_and_batches_are_counted(counted: Counted):
    counted.metrics.failed("bad_json")
    counted.metrics.took("model", 0.002)
    counted.metrics.batch(64)
    assert counted.value("errors_total", code="bad_json") == 1
    assert counted.value("latency_seconds_bucket", stage="model", le="0.0025") == 1
    assert counted.value("batch_size_sum") == 64


def test_the_configuration_shows_whether_it_is_valid_and_which_it_is(counted: Counted):
    counted.metrics.config("ff" * 32, valid=False)
    assert counted.value("config_valid") == 0
    assert counted.value("config_hash") == 2**48 - 1


def test_bundles_and_their_worth_are_shown(counted: Counted):
    counted.metrics.bundle("BTC-USD", "v8", "3", "abcdef", "torch", "cpu")
    counted.metrics.skill("BTC-USD", "v8", -0.01)
    text = generate_latest(counted.registry).decode()
    assert "signalserve_bundle_info{" in text
    assert 'version="3"' in text
    assert 'signalserve_model_accuracy_over_majority{generation="v8",symbol="BTC-USD"} -0.01' in text


def test_failed_gates_are_counted_and_not_judged_is_not_passed(counted: Counted):
    counted.metrics.gates("BTC-USD", "v8", 3, judged=True)
    counted.metrics.gates("BTC-USD", "v6_fixed", 0, judged=False)
    shown = generate_latest(counted.registry).decode()
    assert 'signalserve_failed_gates{generation="v8",symbol="BTC-USD"} 3.0' in shown
    assert 'signalserve_gates_judged{generation="v8",symbol="BTC-USD"} 1.0' in shown
    assert 'signalserve_failed_gates{generation="v6_fixed",symbol="BTC-USD"} 0.0' in shown
    assert 'signalserve_gates_judged{generation="v6_fixed",symbol="BTC-USD"} 0.0' in shown


def test_in_multiprocess_mode_everything_is_at_0_too(tmp_path: Path):
    code = (
        "from signalserve.metrics import Metrics\n"
        "Metrics('v8', {'BTC-USD': ['v8']}, ['v8'])\n"
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "registry = CollectorRegistry()\n"
        "MultiProcessCollector(registry)\n"
        "print(generate_latest(registry).decode())\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    for code_ in CODES:
        assert f'signalserve_errors_total{{code="{code_}",endpoint="v8"}} 0.0' in shown
    assert 'signalserve_predictions_total{direction="UP",endpoint="v8",symbol="BTC-USD",variant="v8"} 0.0' in shown
