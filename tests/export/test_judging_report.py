"""The verdict says what the figures say, and no more."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from stores import write_model

from export.gates import GATES, FeatureScale, Figure, GateSettings, Limit
from export.judging import EDGES, Benchmark, Finding, Judgement, Sample
from export.judging_report import judging_report, limit_words, verdict
from export.report.html import render
from export.report.model import Report
from export.split import Part
from signalserve.bundle import Bundle, Labels, Span, load_bundle
from signalserve.intervals import Interval

SETS = {"same_windows": "same 1,000 windows", "recent": "last 7 days", "volatile": "most volatile 24 h"}
SHARES = [0.0] * 16 + [1.0] + [0.0] * 11


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_model(tmp_path_factory.mktemp("store"), "v8", hidden=2, layers=1, columns=("rsi_14",)))


def figure(gate: Any, name: str, value: float | None, limit: Limit, on: str = "recent", **fields: Any) -> Figure:
    kind = "number" if gate in ("features", "logits", "finite") else "share"
    return Figure(gate, on, name, kind, value, limit, **fields)


def accuracy(value: float, low: float, high: float, on: str = "recent") -> Figure:
    return figure("accuracy", "accuracy", value, Limit(low=0.68), on, interval=Interval(low, high))


def findings(gain: Interval | None = None) -> tuple[Finding, ...]:
    benchmark = Benchmark(1000, 200.0, 0.7, "UP", 0.4, "UP" if gain else None, 0.4, 0.3, gain)
    span = Span(start="2025-05-27T08:44:00Z", end="2025-06-03T15:31:00Z", bars=10_000)
    return tuple(
        Finding(
            sample=Sample(name, title, "How it was chosen.", Part(np.arange(59, 1059), 60, 15), span),
            features=FeatureScale(0.5, "rsi_14", 0.2, "rsi_14", 1, 1),
            confidence_shares=SHARES,
            said={"DOWN": 0.3, "NEUTRAL": 0.3, "UP": 0.4},
            logits=(-3.0, 4.0),
            benchmark=benchmark,
        )
        for name, title in SETS.items()
    )


def judgement(bundle: Bundle, *figures: Figure, gain: Interval | None = None, **settings: Any) -> Judgement:
    return Judgement(
        bundle=bundle,
        bars="BTC-USD.csv",
        labels=Labels(horizon_bars=15, neutral_band=1e-3),
        settings=GateSettings(**settings),
        figures=figures,
        findings=findings(gain),
        training=None,
        judged_at="2026-11-24T10:00:00Z",
    )


PASSED = accuracy(0.75, 0.72, 0.78)


def test_a_pass_is_one_on_these_bars(bundle: Bundle):
    found = verdict(judgement(bundle, PASSED))
    assert (found.level, found.sentence) == ("pass", "All 7 required gates were passed on these bars.")
    assert found.reasons == []


def test_a_failure_says_by_how_much_at_the_worst_and_where(bundle: Bundle):
    found = verdict(
        judgement(bundle, PASSED, accuracy(0.356, 0.3, 0.42, "volatile"), accuracy(0.5, 0.4, 0.6, "recent"))
    )
    assert (found.level, found.sentence) == ("fail", "1 of 7 gates failed: must not go live.")
    assert found.reasons == ["Accuracy 35.6 % in the most volatile 24 h (wanted: at least 68 %)."]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(-0.01, 0.05), "On no set can it be shown to beat always saying UP, the training's commonest class."),
        (Interval(0.01, 0.05), "It beats always saying UP, the training's commonest class, on 3 of 3 sets."),
    ],
)
def test_accuracy_that_fails_stands_beside_what_needs_no_model(bundle: Bundle, gain: Interval, words: str):
    assert verdict(judgement(bundle, accuracy(0.4, 0.3, 0.5), gain=gain)).reasons[0].endswith(words)


def test_a_class_that_came_more_often_than_the_model_was_right_is_named(bundle: Bundle):
    beaten = Benchmark(1000, 200.0, 0.45, "NEUTRAL", 0.6, "UP", 0.25, 0.2, Interval(0.1, 0.3))
    found = judgement(bundle, accuracy(0.45, 0.4, 0.5), gain=Interval(0.1, 0.3))
    first, *others = found.findings
    found = replace(found, findings=(replace(first, benchmark=beaten), *others))
    words = "on 3 of 3 sets. Always saying one class would have been right as often or more: NEUTRAL on 1 of 3 sets."
    assert verdict(found).reasons[0].endswith(words)


def test_a_failure_that_may_be_chance_is_said_to_be_one(bundle: Bundle):
    found = verdict(judgement(bundle, accuracy(0.65, 0.6, 0.7)))
    assert found.level == "fail"
    assert "the data cannot tell it from the limit" in found.reasons[0]


def test_a_pass_that_may_be_chance_on_every_set_is_a_reservation(bundle: Bundle):
    on_all = [accuracy(0.7, 0.65, 0.75, on) for on in SETS]
    found = verdict(judgement(bundle, *on_all))
    assert found.level == "warn"
    assert found.reasons == ["On no set can the data tell these from their limits: accuracy."]
    assert verdict(judgement(bundle, *on_all[1:], accuracy(0.75, 0.72, 0.78, "same_windows"))).level == "pass"


def test_what_could_not_be_judged_is_a_failure_with_its_reason(bundle: Bundle):
    absent = figure("features", "largest |mean|", None, Limit(high=0.1), "training", note="they are not here")
    found = verdict(judgement(bundle, absent))
    assert found.reasons == ["Largest |mean| could not be judged on the training bars: they are not here."]
    both = verdict(judgement(bundle, absent, replace(absent, name="largest |deviation - 1|")))
    assert both.reasons[0].startswith("Largest |mean| and largest |deviation - 1| could not be judged on")


def test_a_gate_that_is_not_required_is_only_a_reservation(bundle: Bundle):
    found = verdict(judgement(bundle, accuracy(0.4, 0.3, 0.5), required=("finite",)))
    assert (found.level, found.sentence) == ("warn", "The one required gate was passed, with reservations.")
    assert found.reasons == [
        "Not required, and not passed: Accuracy 40.0 % in the last 7 days (wanted: at least 68 %)."
    ]


def test_gates_that_decide_are_told_from_those_that_are_only_reported(bundle: Bundle):
    some = judgement(bundle, *all_gates(), required=("finite", "accuracy"))
    assert judging_report(some).facts["gates required"] == "2 of 7: no NaN or infinity, accuracy"
    assert some.as_gates().report["required"] == ["finite", "accuracy"]
    assert judging_report(judgement(bundle, *all_gates())).facts["gates required"] == "all 7"


@pytest.mark.parametrize(("bars", "remark"), [(80 * 60, None), (80 * 60 - 1, "interval: at least this wide")])
def test_an_interval_from_few_windows_lengths_is_called_a_lower_bound(bundle: Bundle, bars: int, remark: str | None):
    balance = figure("balance", "UP predicted", 0.4, Limit(0.15, 0.6), interval=Interval(0.3, 0.5))
    found = judgement(bundle, balance, *(accuracy(0.75, 0.72, 0.78, on) for on in SETS))
    part = Part(np.arange(59, bars - 15), 60, 15)
    findings = tuple(replace(one, sample=replace(one.sample, part=part)) for one in found.findings)
    shares = judging_report(replace(found, findings=findings)).sections[0].tables[1]
    assert {row[0]: row[-1] for row in shares.rows} == {"UP predicted": remark, "accuracy": None}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit(0.15, 0.6), "15 % to 60 %"),
        (Limit(low=0.68), "at least 68 %"),
        (Limit(high=0.1, strict=True), "less than 10 %"),
        (Limit(high=0.125), "at most 12.5 %"),
        (Limit(low=0.1, strict=True), "more than 10 %"),
        (Limit(high=0.0), "none"),
    ],
)
def test_limits_read_as_people_say_them(limit: Limit, words: str):
    assert limit_words(figure("balance", "UP predicted", 0.5, limit)) == words


def all_gates() -> list[Figure]:
    """Every gate on every set that it has to do with, passed."""
    limit = Limit(high=0.5)
    found = [figure("features", "largest |mean|", 0.1, limit, "training")]
    return found + [figure(gate, gate, 0.1, limit, on) for gate in GATES[1:] for on in SETS]


def test_the_report_round_trips_and_shows_every_gate_and_figure(bundle: Bundle):
    report = judging_report(judgement(bundle, *all_gates()))
    assert Report.model_validate_json(report.model_dump_json()) == report
    overview, shares, numbers = report.sections[0].tables
    assert [row[1:] for row in overview.rows] == [[True, None, None, None]] + [[None, True, True, True]] * 6
    assert report.subject == "v8 of BTC-USD, version 1"
    assert len(shares.rows) + len(numbers.rows) == 1 + 6 * 3


def test_the_page_stands_alone_and_tells_what_stands_beside_accuracy(bundle: Bundle):
    page = render(judging_report(judgement(bundle, *all_gates(), gain=Interval(0.01, 0.05))))
    assert "40.0 % (UP)" in page and "1.0 … 5.0 %" in page
    assert not re.search(r'(src|href)="(?!#)', page)


def test_a_model_without_one_finite_answer_has_a_report_too(bundle: Bundle):
    broken = judgement(bundle, figure("finite", "answers with NaN or infinity", 1000, Limit(high=0.0)))
    silent = [replace(one, confidence_shares=None, said=None, logits=None, benchmark=None) for one in broken.findings]
    report = judging_report(replace(broken, findings=tuple(silent)))
    assert report.verdict.reasons == ["Answers with NaN or infinity 1,000 in the last 7 days (wanted: none)."]
    assert all(not section.plots for section in report.sections)


def test_the_histogram_has_the_thresholds_on_its_edges():
    assert len(EDGES) == len(SHARES) + 1
    assert np.isclose(EDGES[:, None], [0.75, 0.9]).any(axis=0).all()
