"""What the watcher shows of what the workers did."""

import time

import httpx
import pytest
from live.server import Server
from live.windows import last_windows

from signalserve.demo import demo_candles

pytestmark = pytest.mark.live

CASE = next(last_windows("ETH-USD", demo_candles("ETH-USD", 1_060, seed=5), 1))


def total(metrics: dict[str, float], name: str, *labels: str) -> float:
    """The sum of all series of a name that carry these labels."""
    return sum(v for key, v in metrics.items() if key.startswith(name) and all(label in key for label in labels))


def test_every_series_exists_at_zero_before_its_first_event(server: Server) -> None:
    metrics = server.metrics()
    assert 'signalserve_errors_total{code="no_healthy_arm",endpoint="v8"}' in metrics
    assert 'signalserve_warnings_total{endpoint="ensemble",kind="clamp_tie",symbol="SOL-USD"}' in metrics
    for variant in ("v6_fixed", "v8", "ensemble"):
        for direction in ("DOWN", "NEUTRAL", "UP"):
            labels = f'direction="{direction}",endpoint="ensemble",symbol="SOL-USD",variant="{variant}"'
            assert f"signalserve_predictions_total{{{labels}}}" in metrics


def test_a_prediction_is_counted_once_everywhere(server: Server) -> None:
    labels = ('endpoint="ensemble"', 'symbol="ETH-USD"', 'variant="ensemble"')
    before = server.metrics()
    for _ in range(10):
        server.ask("ensemble", CASE.by_position())
    after = server.metrics()

    def more(name: str, *labels: str) -> float:
        return total(after, name, *labels) - total(before, name, *labels)

    assert more("signalserve_predictions_total", *labels) == 10
    assert more("signalserve_confidence_count", *labels) == 10
    assert more("signalserve_raw_logit_count", *labels[:2], 'generation="v8"') == 30
    assert more("signalserve_latency_seconds_count", labels[0], 'stage="total"') == 10


def test_probes_leave_no_trace(server: Server) -> None:
    names = ("signalserve_predictions_total", "signalserve_latency_seconds_count", "signalserve_errors_total")
    before = server.metrics()
    time.sleep(4)  # a dozen golden windows are asked every 1.5 s
    after = server.metrics()
    assert [total(before, name) for name in names] == [total(after, name) for name in names]
    assert total(after, "signalserve_ready") == 12
    assert total(after, "signalserve_probe_seconds", 'endpoint="v8"') > 0


def test_bundles_and_settings_in_force_are_named(server: Server) -> None:
    metrics = server.metrics()
    assert total(metrics, "signalserve_bundle_info", 'endpoint="ensemble"') == 6
    hashes = {value for key, value in metrics.items() if key.startswith("signalserve_config_hash")}
    assert len(hashes) == 1 and hashes.pop() > 0
    assert total(metrics, "signalserve_invariant_broken") == 0


def test_torchserves_own_metrics_are_there_too(server: Server) -> None:
    response = httpx.get(f"http://127.0.0.1:{server.port + 2}/metrics", trust_env=False)
    assert "ts_inference_requests_total" in response.text


def test_the_management_api_cannot_load_models(server: Server) -> None:
    response = httpx.post(f"http://127.0.0.1:{server.port + 1}/models?url=evil.mar", trust_env=False)
    assert response.status_code in (403, 404, 405)
