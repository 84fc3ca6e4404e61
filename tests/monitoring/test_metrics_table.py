"""The one table of metrics, beside what the code makes."""

import doctest

import pytest
from prometheus_client import CollectorRegistry

from monitoring import metrics_table
from monitoring.metrics_table import Documented, documented_metrics, documented_series, metrics_in
from signalserve.metrics import Metrics
from signalserve.watcher.quality_metrics import LiveQuality


def table() -> dict[str, Documented]:
    return {metric.name: metric for metric in documented_metrics()}


def workers_own() -> set[str]:
    """The metrics of a worker that has served and been told everything that a gauge shows."""
    registry = CollectorRegistry()
    metrics = Metrics("ensemble", {"BTC-USD": ("v8",)}, ("v8",), registry)
    metrics.bundle("BTC-USD", "v8", "1", "0" * 64, "torch", "cpu")
    metrics.skill("BTC-USD", "v8", 0.01)
    metrics.gates("BTC-USD", "v8", 0, judged=True)
    metrics.config("f" * 64, valid=True)
    metrics.invariants("BTC-USD", "v8", frozenset())
    found = set()
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        documented = table()[name]
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert (family.type, labels) == (documented.type, documented.labels), name
        found.add(name)
    return found


def test_what_workers_count_is_documented_and_nothing_else() -> None:
    assert workers_own() == {name for name, metric in table().items() if metric.section == "What workers count"}


def test_live_quality_is_documented() -> None:
    for family in LiveQuality([("BTC-USD", "v8")]).collect():
        assert table()[family.name].labels == {label for sample in family.samples for label in sample.labels}


def test_no_metric_stands_there_twice() -> None:
    assert len(documented_metrics()) == len(table())


def test_labels_come_from_closed_sets() -> None:
    labels = {label for metric in documented_metrics() for label in metric.labels}
    assert not labels & {"request_id", "prediction_id", "id", "price", "close", "as_of", "pid", "caller"}


def test_counters_and_units_are_named_as_prometheus_wants() -> None:
    for metric in documented_metrics():
        if metric.section != metrics_table.ELSEWHERE:
            assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
            assert (metric.unit == "bytes") == metric.name.endswith("_bytes"), metric.name


def test_a_histogram_has_three_series() -> None:
    assert {"signalserve_confidence_bucket", "signalserve_confidence_sum", "signalserve_confidence_count"} <= (
        documented_series()
    )
    assert "signalserve_confidence" not in documented_series()


def test_a_row_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected \| `metric`"):
        documented_metrics("| `signalserve_ready` | gauge |")


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ('up{job="a b"} == 0', {"up"}),
        ("sum by (job, arm) (increase(a_total[5m])) / on (job) group_left (x) b", {"a_total", "b"}),
        ("max_over_time(a[1h:30s] offset 5m) unless on (job) b and -c > 0.5 * 1e-6", {"a", "b", "c"}),
        ("histogram_quantile(0.99, sum(rate(a_bucket[$__rate_interval])) by (le))", {"a_bucket"}),
        ("signalserve:drift_ratio{statistic=~'x|y'} > 1", {"signalserve:drift_ratio"}),
    ],
)
def test_the_metrics_of_an_expression_are_found(expression: str, named: set[str]) -> None:
    assert metrics_in(expression) == named


def test_examples_run() -> None:
    assert doctest.testmod(metrics_table).failed == 0
