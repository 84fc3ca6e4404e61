"""A comparison's report: what it leads with, that it can be served from, and that it survives its schema."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contests import contest, gates, output

from export.comparison import Cost, compete
from export.comparison_report import Overall, SymbolResult, compare_report
from export.contest import BASE_RATES, FULL_FIT, V6, V8
from export.decision import candidates_of, decide
from export.paired import judge
from export.report.files import write_reports
from export.report.html import render
from export.report.model import Report, read_report
from signalserve.ensemble import pool
from signalserve.settings import parse_settings

CREATED = "2026-01-02T03:04:05Z"
POOL = FULL_FIT["log"]


@pytest.fixture(scope="module")
def results() -> list[SymbolResult]:
    """Of two symbols with the same figures, which are computed once."""
    one, other = (contest(symbol, gates=gates("accuracy")) for symbol in ("BTC-USD", "ETH-USD"))
    first = compete(one, (output(one, knows=0.5, seed=1), output(one, knows=1.0, seed=2)))
    second = replace(first, contest=other, stream=replace(first.stream, symbols=("ETH-USD",)))
    judged = judge(first.stream, "BTC-USD", POOL, 0.75)
    costs = {V6: Cost(1, 0.5, 64, "cpu"), V8: Cost(3, 2, 64, "cpu")}
    return [
        SymbolResult(
            comparison, said, decide(said, candidates_of([comparison], POOL), urgent=False, accuracy=0.68), costs
        )
        for comparison, said in ((first, judged), (second, replace(judged, scope="ETH-USD")))
    ]


@pytest.fixture(scope="module")
def report(results: list[SymbolResult]) -> Report:
    judged = replace(results[0].judged, scope="All symbols together")
    decision = decide(judged, candidates_of([r.comparison for r in results], POOL), urgent=False, accuracy=0.68)
    return reported(results, Overall(judged, decision))


def reported(results: list[SymbolResult], overall: Overall | None, *, whole: bool = True) -> Report:
    return compare_report(results, overall, threshold=0.75, whole=whole, created=CREATED)


def test_the_verdict_is_of_all_and_then_of_each(report: Report) -> None:
    assert report.verdict.level == "fail"
    assert report.verdict.sentence.startswith("All symbols together: no criterion is met")
    assert report.verdict.reasons[0] == "Each of BTC-USD, ETH-USD alone leads to the same answer."
    assert len(report.verdict.reasons) <= 6
    assert [section.title for section in report.sections] == [
        *("What to adopt", "All symbols together", "BTC-USD", "ETH-USD"),
    ]


@pytest.mark.parametrize(("choices", "level"), [(("v8", "v8"), "pass"), (("v8", None), "warn"), ((None, None), "fail")])
def test_the_level_says_how_many_symbols_may_trade(
    results: list[SymbolResult], choices: tuple[str | None, ...], level: str
) -> None:
    decided = [replace(r, decision=replace(r.decision, choice=c)) for r, c in zip(results, choices, strict=True)]
    overall = Overall(decided[0].judged, decided[0].decision)
    assert reported(decided, overall).verdict.level == level


def test_who_falls_back_on_another_model_than_all_together_is_named(results: list[SymbolResult]) -> None:
    first, second = results
    first = replace(first, decision=replace(first.decision, fallback="v8"))
    second = replace(second, decision=replace(second.decision, fallback="ensemble"))
    reasons = reported([first, second], Overall(first.judged, first.decision)).verdict.reasons
    assert reasons[0].endswith("the same answer; if one must be served, ETH-USD by ensemble.")


def test_symbols_that_are_decided_otherwise_are_named_with_their_answers(results: list[SymbolResult]) -> None:
    first, second = results
    served = replace(first, decision=replace(first.decision, choice="v8"))
    reasons = reported([served, second], Overall(second.judged, second.decision)).verdict.reasons
    assert reasons[0].startswith("BTC-USD: serve v8: ")
    assert reasons[1].startswith("ETH-USD: no criterion is met")


def test_the_report_comes_back_from_its_file(report: Report, tmp_path: Path) -> None:
    [(_, written)] = write_reports([("compare", report)], tmp_path)
    assert read_report(written) == report


def test_its_lines_serve_what_was_judged(report: Report, results: list[SymbolResult]) -> None:
    settings = parse_settings(str(report.figures["serving_yaml"]), "lines")
    for result in results:
        one, stream = settings.of(result.judged.scope), result.comparison.stream
        weights = np.array([one.weights[V6], one.weights[V8]])
        served = pool(
            np.stack([stream.forecasts[V6], stream.forecasts[V8]]), weights, one.pool.method, one.pool.temperature
        )
        np.testing.assert_allclose(served, stream.forecasts[POOL], atol=1e-9)
        assert result.judged.pool == POOL


def test_the_lines_of_some_symbols_say_where_they_belong(results: list[SymbolResult]) -> None:
    report = reported(results[:1], None, whole=False)
    assert str(report.figures["serving_yaml"]).startswith("# put under symbols:\nBTC-USD: {")
    assert "Put each line under symbols:" in report.sections[0].tables[0].note


def test_a_pool_of_one_model_is_said_to_be_none(results: list[SymbolResult]) -> None:
    first, contestants = results[0], results[0].comparison.contestants
    alone = tuple(replace(c, weight=0.0) if c.name == POOL else c for c in contestants)
    report = reported([replace(first, comparison=replace(first.comparison, contestants=alone))], None)
    assert "For BTC-USD one model has all the weight: there is no pool to serve." in report.sections[0].tables[0].note


def test_spans_are_told_in_minutes(report: Report) -> None:
    assert report.facts["BTC-USD calibration part"].startswith(
        "2025-06-15 23:26 to 2025-06-17 08:45 UTC: 1,990 windows"
    )


def test_failed_gates_and_what_must_not_trade_stand_beside_the_lines(report: Report) -> None:
    note = report.sections[0].tables[0].note
    assert "For BTC-USD, ETH-USD no criterion is met" in note
    assert "v8/ETH-USD/1 failed gates: the service loads them only with allow_failed_gates: true" in note


def test_every_contestant_stands_beside_the_base_rates(report: Report) -> None:
    tables = {table.title: table for table in report.sections[2].tables}
    names = [row[0] for row in tables["Who competes"].rows]
    assert [row[0] for row in tables["Scores on the test part"].rows] == [*names, *BASE_RATES]
    assert tables["Logits and cost of the models"].rows[1][-1] == 3


def test_all_plots_can_be_drawn(report: Report) -> None:
    kinds = [plot.kind for plot in report.sections[2].plots]
    assert kinds == ["interval", "line", "line", "line", "bar"]
    assert render(report).count("<svg") == 1 + 2 * len(kinds)


def test_an_unknown_calibration_span_is_admitted(results: list[SymbolResult]) -> None:
    comparison = results[0].comparison
    bundles = tuple(
        replace(
            b,
            manifest=b.manifest.model_copy(update={"spans": b.manifest.spans.model_copy(update={"calibration": None})}),
        )
        for b in comparison.contest.bundles
    )
    one = replace(results[0], comparison=replace(comparison, contest=replace(comparison.contest, bundles=bundles)))
    facts = reported([one], None).facts
    assert facts["BTC-USD unknown"].startswith("on which bars the temperature of v6_fixed and v8 was fitted")
