"""The rules as Prometheus's own tool sees them, and as they are committed."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from monitoring.__main__ import main
from monitoring.metrics_table import documented_metrics, documented_series, metrics_in
from monitoring.rules.rule import Alert, Record
from monitoring.rules.timescale import TimeScale
from monitoring.rules.words import labels_named, series_named
from monitoring.rules.written import GROUPS, RULES_FILE, rules_text

MONITORING = RULES_FILE.parents[1]
CASES = sorted((RULES_FILE.parent / "tests").glob("*.yml"))
ALERTS: list[Alert] = [alert for group in GROUPS for alert in group.alerts]
RECORDS: list[Record] = [record for group in GROUPS for record in group.records]
SCALES = (1, 240)
ALWAYS = "Watchdog"
"""The one alert that is never silent, and asks for no metric."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"), reason="promtool comes with Debian's prometheus"
)


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@functools.cache
def cases() -> list[dict[str, Any]]:
    """Every case of every file: its alert, whether it fires, its name."""
    return [
        {"alert": check["alertname"], "fires": bool(check["exp_alerts"]), "name": test["name"]}
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]


def runbook_sections() -> dict[str, str]:
    parts = re.split(r"^## (\w+)$", (MONITORING / "runbooks.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# ---- as promtool sees them


@needs_promtool
@pytest.mark.parametrize("factor", SCALES)
def test_prometheus_accepts_the_rules(tmp_path: Path, factor: float) -> None:
    written = tmp_path / "rules.yml"
    written.write_text(rules_text(TimeScale(factor)))
    promtool("check", "rules", written)


@needs_promtool
def test_prometheus_accepts_the_configuration() -> None:
    promtool("check", "config", RULES_FILE.with_name("prometheus.yml"))


@needs_promtool
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent_as_their_cases_say(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_a_case_that_fires_and_one_that_is_silent(alert: Alert) -> None:
    mine = [case for case in cases() if case["alert"] == alert.name]
    assert {case["fires"] for case in mine} == ({True} if alert.name == ALWAYS else {True, False})
    for case in mine:
        assert case["name"].startswith(f"{alert.name} {'fires' if case['fires'] else 'is silent'}: ")


def test_no_case_is_of_an_alert_that_is_gone() -> None:
    assert {case["alert"] for case in cases()} == {alert.name for alert in ALERTS}


# ---- as they are written


def test_the_committed_rules_are_what_the_code_writes(tmp_path: Path) -> None:
    assert main(["rules", "--out", str(tmp_path / "rules.yml")]) == 0
    assert (tmp_path / "rules.yml").read_text() == RULES_FILE.read_text(), "run make monitoring"


@pytest.mark.parametrize("rule", [*RECORDS, *ALERTS], ids=lambda rule: rule.name)
def test_every_metric_of_a_rule_is_documented(rule: Record | Alert) -> None:
    named = metrics_in(rule.expr.replace("$", ""))
    if isinstance(rule, Alert):
        named |= series_named(rule.summary) | series_named(rule.description)
    assert bool(named) == (rule.name != ALWAYS)
    assert named <= documented_series() | {record.name for record in RECORDS}


@pytest.mark.parametrize("rule", [*RECORDS, *ALERTS], ids=lambda rule: rule.name)
def test_every_label_of_a_selector_is_the_metrics_own(rule: Record | Alert) -> None:
    labels = {series: metric.labels for metric in documented_metrics() for series in metric.series}
    for series, selector in re.findall(r"(\w+)\{([^}]*)\}", rule.expr):
        named = set(re.findall(r'(\w+)=~?"', selector)) - {"job", "instance"}
        assert named <= labels.get(series, frozenset({"window", "statistic"})), series


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_texts_use_labels_that_exist(alert: Alert) -> None:
    known = {label for metric in documented_metrics() for label in metric.labels} | {"job", "instance"}
    assert labels_named(alert.summary + alert.description) <= known
    assert not alert.summary.endswith(".") and alert.description.endswith((".", "?"))


def test_no_two_rules_share_a_name() -> None:
    names = [rule.name for rule in [*RECORDS, *ALERTS]]
    assert len(names) == len(set(names))


def test_every_record_is_named_as_recorded() -> None:
    assert all(record.name.startswith("signalserve:") for record in RECORDS)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert list(runbook_sections()) == [alert.name for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_runbook_says_what_it_means_what_to_look_at_and_what_to_do(alert: Alert) -> None:
    section = runbook_sections()[alert.name]
    assert re.findall(r"^\*\*(.+?)\*\*", section, re.MULTILINE) == ["Means", "Look at", "Do"]
    assert f"**Means** ({alert.severity}):" in section


def test_drift_alerts_do_not_wait() -> None:
    drift = [alert for alert in ALERTS if "signalserve:drift_ratio" in alert.expr]
    assert len(drift) == 5 and all(alert.wait == "0s" for alert in drift)


# ---- in a drill


def alerts_at(factor: float, **options: str) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(rules_text(TimeScale(factor), **options))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_a_drill_leaves_out_what_compares_old_bars_with_the_clock() -> None:
    assert set(alerts_at(1)) - set(alerts_at(240)) == {"AsOfLate", "OutcomesOverdue"}


def test_a_drill_divides_waits_ranges_and_ages() -> None:
    assert alerts_at(60)["NotReady"]["for"] == "1s"
    assert "[10s]" in alerts_at(60)["WorkerRestarted"]["expr"] and "> 13" in alerts_at(60)["WorkerRestarted"]["expr"]
    assert "age_seconds > 300" in alerts_at(1)["NoPrediction"]["expr"]


def test_nothing_is_so_short_that_no_scrape_can_show_it() -> None:
    assert "age_seconds > 5\n" in alerts_at(240)["NoPrediction"]["expr"]
    ranges = re.findall(r"\[(\w+)\]", rules_text(TimeScale(240)))
    assert set(ranges) == {"5s", "7500ms", "15s"}  # of 5, 10 and 15 minutes; of 30; of an hour


def test_how_long_the_machine_takes_is_not_divided() -> None:
    for name in ("JournalBehind", "ProbesSlow"):
        assert alerts_at(240)[name]["expr"].rpartition("> ")[2] == alerts_at(1)[name]["expr"].rpartition("> ")[2]


@pytest.mark.parametrize("rule", [*RECORDS, *ALERTS], ids=lambda rule: rule.name)
def test_no_range_escapes_the_time_scale(rule: Record | Alert) -> None:
    assert not re.search(r"\[\d|offset \d", rule.expr)


def test_a_time_scale_under_1_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rules", "--time-scale", "0.5"])
    assert "a time scale is 1 (live) or more" in capsys.readouterr().err


def test_runbooks_can_be_read_elsewhere() -> None:
    url = alerts_at(1, runbooks="https://wiki.example/runbooks")["ModelOut"]["annotations"]["runbook_url"]
    assert url == "https://wiki.example/runbooks#modelout"


# ---- PSI, computed twice


def psi(window: np.ndarray, reference: np.ndarray) -> float:
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (window, reference))
    return float(((p - q) * np.log(p / q)).sum())


def count_series(name: str, labels: str, counts: np.ndarray) -> list[dict[str, str]]:
    series = f'signalserve_drift_{name}{{job="a",instance="b",symbol="S",arm="v8",{labels}'
    return [{"series": f'{series},bin="{bin_}"}}', "values": f"{count}x3"} for bin_, count in enumerate(counts)]


def expression_test(
    tmp_path: Path,
    series: list[dict[str, str]],
    expression: str,
    samples: list[Any],
    *,
    at: str = "15s",
    rules: Path = RULES_FILE,
    interval: str = "15s",
) -> None:
    """Whether an expression gives these samples at a time, once the rules have seen the series."""
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": interval,
        "tests": [
            {
                "interval": interval,
                "input_series": series,
                "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": samples}],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    promtool("test", "rules", tmp_path / "test.yml")


@needs_promtool
def test_prometheus_computes_the_psi_that_numpy_computes(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    series: list[dict[str, str]] = []
    for case, (bins, n, m) in enumerate([(10, 100, 2000), (10, 1440, 10_000_000), (3, 360, 500), (10, 120, 300)]):
        window = random.multinomial(n, random.dirichlet(np.full(bins, 0.3)))  # with empty bins
        reference = random.multinomial(m, random.dirichlet(np.full(bins, 3.0)))
        labels = f'statistic="case_{case}_psi"'
        series += count_series("window_count", f'window="{n}",{labels}', window)
        series += count_series("reference_count", labels, reference)
        expected = f'signalserve_drift{{job="a",instance="b",symbol="S",arm="v8",window="{n}",{labels}}}'
        series.append({"series": expected, "values": f"{psi(window, reference)!r}x3"})
    agree = "count(abs(signalserve:drift_psi - signalserve_drift) < 1e-9)"
    expression_test(tmp_path, series, agree, [{"labels": "{}", "value": 4}])


NOT_COMPARABLE = {
    "under 100 predictions": (np.array([33, 33, 33]), np.array([10, 10, 10])),
    "an empty reference": (np.array([50, 50, 50]), np.array([0, 0, 0])),
    "a bin that the reference lacks": (np.array([50, 50, 50]), np.array([10, 10])),
    "a bin that the window lacks": (np.array([75, 75]), np.array([10, 10, 10])),
}


@needs_promtool
@pytest.mark.parametrize("case", NOT_COMPARABLE)
def test_no_psi_is_told_of_what_cannot_be_compared(tmp_path: Path, case: str) -> None:
    window, reference = NOT_COMPARABLE[case]
    series = count_series("window_count", 'window="120",statistic="class_psi"', window)
    series += count_series("reference_count", 'statistic="class_psi"', reference)
    expression_test(tmp_path, series, "signalserve:drift_psi", [])


@needs_promtool
@pytest.mark.parametrize(("at", "fires"), [("29s", False), ("37s", True)], ids=["asked", "not asked any more"])
def test_in_a_drill_seconds_without_predictions_are_minutes(tmp_path: Path, at: str, fires: bool) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(rules_text(TimeScale(240)))
    series = [
        {"series": "signalserve_watcher_started_seconds", "values": "0x60"},
        {"series": 'signalserve_last_prediction_timestamp_seconds{symbol="S"}', "values": "0+1x30 30x30"},
    ]
    firing = 'count(ALERTS{alertname="NoPrediction",alertstate="firing"})'
    expected = [{"labels": "{}", "value": 1}] if fires else []
    expression_test(tmp_path, series, firing, expected, at=at, rules=rules, interval="1s")
