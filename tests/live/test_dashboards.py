"""Every query of every panel, asked of a real Prometheus that scrapes the real service under bars."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from live.prometheus import PROGRAM, Prometheus
from live.server import ROOT, Server, wait_for
from live.windows import JSON, npy_of

from signalserve.candles import to_rows
from signalserve.demo import demo_candles
from signalserve.features import MIN_CANDLES, compute_features
from tests.monitoring.dashboard_linter import filled, panels

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(PROGRAM is None, reason="no program `prometheus` on PATH: apt-get install prometheus"),
]

SYMBOL = "ETH-USD"
WINDOW, WITH_CLOSES = 1_440, 150
"""Predictions: a full window of drift, of which the last come with closes, so that their outcomes are known."""

NEEDS_A_GPU = frozenset({"GPU load", "GPU memory", "GPU temperature"})
CHOSEN = {
    "signalserve": {"job": ".+", "instance": ".+", "symbol": ".+", "arm": ".+"},
    "signalserve-drift": {"job": ".+", "instance": ".+", "symbol": SYMBOL, "arm": "v8", "window": str(WINDOW)},
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> Iterator[Prometheus]:
    """It has seen a day of predictions, the newest outcomes, and two rounds of its rules."""
    folder = tmp_path_factory.mktemp("dashboards")
    server = Server(folder, store=packed)
    target = server.watcher.removeprefix("http://")
    watching = Prometheus(folder / "prometheus", target, [ROOT / "monitoring/prometheus/rules.yml"])
    try:
        server.start()
        with watching:
            ask_for_a_day(server)
            wait_for(lambda: has_all_of_it(watching), 60)
            yield watching
    finally:
        server.stop()


def ask_for_a_day(server: Server) -> None:
    bars = demo_candles(SYMBOL, MIN_CANDLES + WINDOW, seed=3)
    rows, features = to_rows(bars), np.asarray(compute_features(bars), dtype=np.float32)
    ends = range(len(rows) - WINDOW + 1, len(rows) + 1)
    with httpx.Client(trust_env=False, timeout=30) as client:
        for end in ends[:-WITH_CLOSES]:
            as_of = datetime.fromtimestamp(rows[end - 1][0] / 1000 + 60, UTC).isoformat()
            headers = {"Content-Type": "application/x-npy", "X-Symbol": SYMBOL, "X-As-Of": as_of}
            send(client, server, npy_of(np.ascontiguousarray(features[end - 60 : end])), headers)
        for end in ends[-WITH_CLOSES:]:
            send(client, server, orjson.dumps({"symbol": SYMBOL, "candles": rows[end - MIN_CANDLES : end]}), JSON)


def send(client: httpx.Client, server: Server, body: bytes, headers: Mapping[str, str]) -> None:
    response = client.post(f"{server.url}/predictions/ensemble", content=body, headers=headers)
    assert response.status_code == 200, response.text


def has_all_of_it(prometheus: Prometheus) -> bool:
    """A recording rule that needs the whole window, and a score that needs outcomes, are numbers."""
    wanted = (
        f'signalserve:drift_psi{{symbol="{SYMBOL}",arm="v8",window="{WINDOW}",statistic="confidence_psi"}}',
        f'signalserve:drift_ratio{{symbol="{SYMBOL}",arm="v8",window="{WINDOW}",statistic="confidence_psi"}}',
        f'signalserve_class_share{{symbol="{SYMBOL}",arm="v8",direction="UP"}}',
        f'signalserve_live_accuracy{{symbol="{SYMBOL}",arm="v8"}}',
        'ALERTS{alertstate="firing",alertname="FailedGates"}',  # the committed models do
    )
    return all(any(not math.isnan(one.value) for one in prometheus.query(text)) for text in wanted)


def questions() -> Iterator[tuple[str, dict[str, Any]]]:
    """(dashboard, panel) of all that ask something."""
    for name in CHOSEN:
        dashboard = json.loads((ROOT / f"monitoring/grafana/dashboards/{name}.json").read_text())
        yield from ((name, panel) for panel in panels(dashboard) if panel.get("targets"))


def answer(prometheus: Prometheus, expression: str, over_time: bool) -> list[float]:
    """Every value that Grafana would be given, as it asks."""
    if not over_time:
        return [sample.value for sample in prometheus.query(expression)]
    now = time.time()
    return [value for series in prometheus.query_range(expression, now - 300, now) for value in series]


@pytest.mark.parametrize(
    ("dashboard", "panel"), [pytest.param(name, panel, id=f"{name}: {panel['title']}") for name, panel in questions()]
)
def test_every_query_of_a_panel_is_answered_by_a_number(
    prometheus: Prometheus, dashboard: str, panel: dict[str, Any]
) -> None:
    if panel["title"] in NEEDS_A_GPU:
        pytest.skip("no GPU here")
    for target in panel["targets"]:
        expression = filled(target["expr"], CHOSEN[dashboard])
        values = answer(prometheus, expression, over_time=target["range"])
        assert any(not math.isnan(value) for value in values), f"{expression}: {values or 'no series'}"


def test_no_rule_fails(prometheus: Prometheus) -> None:
    assert prometheus.rule_faults() == {}


def test_the_verdict_is_the_worst_of_the_alerts_that_fire(prometheus: Prometheus) -> None:
    now = time.time()
    severities = {one.labels["severity"] for one in prometheus.query('ALERTS{alertstate="firing"}', now)}
    [panel] = [panel for _, panel in questions() if panel["title"] == "Verdict"]
    [verdict] = prometheus.query(panel["targets"][0]["expr"], now)
    assert verdict.value == (2 if "page" in severities else 1 if "ticket" in severities else 0)
