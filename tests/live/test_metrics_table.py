"""The one table of metrics, beside what the running service shows."""

import httpx
import pytest
from live.server import Server
from live.windows import last_windows
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics_table import ELSEWHERE, GPU, documented_metrics
from signalserve.demo import demo_candles

pytestmark = pytest.mark.live

MOST_SERIES = 3_000
"""For three symbols."""

CASE = next(last_windows("BTC-USD", demo_candles("BTC-USD", 1_060, seed=5), 1))


@pytest.fixture(scope="module")
def shown(server: Server) -> dict[str, Metric]:
    """Name, as the table has it -> what /metrics shows after a prediction."""
    assert server.ask("ensemble", CASE.by_position()).status_code == 200
    text = httpx.get(f"{server.watcher}/metrics", trust_env=False, timeout=30).text
    families = text_string_to_metric_families(text)
    return {f"{family.name}_total" if family.type == "counter" else family.name: family for family in families}


def test_every_metric_is_documented_and_every_documented_one_is_shown(shown: dict[str, Metric]) -> None:
    by_section = {metric.name: metric.section for metric in documented_metrics()}
    assert set(shown) - set(by_section) == set(), "missing in monitoring/metrics.md"
    owed = {name for name, section in by_section.items() if section not in (GPU, ELSEWHERE)}
    assert owed - set(shown) == set(), "in monitoring/metrics.md, and not shown"


def test_types_and_labels_are_as_documented(shown: dict[str, Metric]) -> None:
    documented = {metric.name: (metric.type, set(metric.labels)) for metric in documented_metrics()}
    for name, family in shown.items():
        labels = {label for sample in family.samples for label in sample.labels}
        bounds = {"le"} if family.type == "histogram" else set()
        assert (family.type, labels - bounds) == documented[name], name


def test_a_scrape_holds_no_more_series_than_it_may(shown: dict[str, Metric]) -> None:
    assert sum(len(family.samples) for family in shown.values()) <= MOST_SERIES
