"""What is fitted, what is judged and on which part; every figure against its own float64 computation."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stores import BTC, candles, write_model

from export import recalibration, temperature
from export.recalibration import (
    ACTED_ON,
    GRID,
    Evaluation,
    Fitted,
    Recalibration,
    Sample,
    evaluate,
    fit,
    predict,
    split,
)
from export.recalibration_report import calibrate_report
from export.recalibration_verdict import interval_text, temperature_text, verdict
from export.reference_stream import describe_stream
from export.report.model import Report, Verdict
from export.series import Series
from export.temperature import HIGHEST, LOWEST
from signalserve.bundle import Bundle, CalibrationValues, Labels, Span, load_bundle
from signalserve.drift.kept import KeptStream
from signalserve.errors import DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features
from signalserve.intervals import Interval

CLAMP = 15.0
HORIZON = 5  # of the samples: their labels are independent, and a bootstrap by blocks of 5 is 5 times faster
SPAN = Span(start="2025-05-20T00:00:00Z", end="2025-05-27T00:00:00Z", bars=10_081)
LATER = Span(start="2025-05-28T00:00:00Z", end="2025-06-03T00:00:00Z", bars=8_641)
NEXT_BAR = Labels(horizon_bars=1, neutral_band=3e-4)


def sample(n: int = 1500, *, spread: float = 1.0, distortion: float = 1.0, seed: int = 0, span: Span = SPAN) -> Sample:
    """Labels drawn from the softmax of the logits divided by `distortion`, which is then the right temperature."""
    random = np.random.default_rng(seed)
    logits = spread * random.normal(size=(n, 3))
    labels = (random.random((n, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1).clip(max=2)
    return Sample("v8/BTC-USD/1", span, distortion * logits, labels)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def nll(part: Sample, t: float) -> float:
    """In float64, sharing no code with the pipeline."""
    probabilities = softmax(np.clip(part.raw_logits, -CLAMP, CLAMP) / t)
    return float(-np.log(probabilities[np.arange(len(part.labels)), part.labels]).mean())


def both(calibration: Sample, test: Sample, old: float = 2.5, **options: object) -> tuple[Fitted, Evaluation]:
    fitted = fit(calibration, CLAMP, HORIZON, **{"accuracy": 0.68, **options})
    return fitted, evaluate(test, fitted, CLAMP, HORIZON, old)


# ---- what is fitted


def test_a_known_distortion_is_recovered_within_its_interval() -> None:
    fitted, _ = both(sample(distortion=2.5), sample(500, seed=1))
    assert fitted.interval.low < 2.5 < fitted.interval.high
    assert fitted.temperature == pytest.approx(2.5, rel=0.15)
    assert fitted.method == "nll"


def test_a_calibrated_model_keeps_temperature_one() -> None:
    fitted, evaluation = both(sample(), sample(800, seed=1))
    assert fitted.interval.low < 1 < fitted.interval.high
    assert evaluation.at_temperature(1.0).is_calibrated


def test_overconfidence_is_no_chance() -> None:
    _, evaluation = both(sample(distortion=8), sample(800, distortion=8, seed=1))
    assert not evaluation.at_temperature(1.0).is_calibrated
    assert evaluation.at_temperature(8.0).is_calibrated


def test_the_wish_for_a_confidence_is_met_on_the_calibration_part() -> None:
    calibration = sample()
    fitted = fit(calibration, CLAMP, HORIZON, accuracy=0.68, target=(0.60, 0.75))
    reached = softmax(calibration.raw_logits / fitted.temperature).max(axis=1).mean()
    assert reached == pytest.approx(0.675, abs=1e-4)
    assert fitted.method == "target mean confidence 0.60:0.75"
    assert fitted.fit.temperature != fitted.temperature


def test_the_threshold_is_chosen_where_it_is_fitted_and_believed_where_it_is_judged() -> None:
    calibration, test = sample(spread=2), sample(spread=2, seed=1)
    wrong = replace(test, labels=(test.raw_logits.argmax(axis=1) + 1) % 3)
    fitted, evaluation = both(calibration, wrong)
    assert fitted.threshold is not None
    assert fitted.threshold.accuracy >= 0.68
    assert evaluation.threshold.threshold == fitted.threshold.threshold
    assert evaluation.threshold.accuracy == 0


def test_where_no_threshold_reaches_the_wish_there_is_none() -> None:
    fitted, evaluation = both(sample(spread=0.1), sample(500, spread=0.1, seed=1))
    assert (fitted.threshold, evaluation.threshold) == (None, None)


def test_two_classes_are_fitted_where_one_of_them_came() -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=4000)
    labels = np.where(random.random(4000) < 0.5, 1, np.where(random.random(4000) < 1 / (1 + np.exp(-z)), 2, 0))
    part = Sample("v6_lstm/BTC-USD/1", SPAN, np.stack([0 * z, 3 * z], axis=1), labels)
    fitted, evaluation = both(part, part)
    moved = labels != 1
    losses = {t: np.logaddexp(0, np.where(labels == 2, -3 * z, 3 * z)[moved] / t).mean() for t in (2.0, 3.0)}
    assert fitted.fit.n == moved.sum()
    assert fitted.interval.low < 3 < fitted.interval.high
    assert evaluation.at_temperature(2.0).scores.nll == pytest.approx(losses[2.0], abs=1e-9)
    assert evaluation.at_temperature(3.0).scores.nll == pytest.approx(losses[3.0], abs=1e-9)


def test_too_few_labels_are_refused_with_their_number() -> None:
    with pytest.raises(DataError, match=r"1,000 effective labels to fit a temperature to v8/BTC-USD/1, got 900"):
        fit(sample(900), CLAMP, 1, accuracy=0.68)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_labels_that_are_all_alike_fit_no_temperature(label: int) -> None:
    alike = replace(sample(), labels=np.full(1500, label))
    with pytest.raises(DataError, match=r"30 effective labels of each class to fit .*, got DOWN .*, NEUTRAL .*, UP"):
        fit(alike, CLAMP, 1, accuracy=0.68)


def test_two_classes_are_told_where_they_are_counted_and_how_many_windows_it_takes_in_all() -> None:
    moved = np.where(np.random.default_rng(0).random(1500) < 0.5, 1, sample().labels)  # half of them NEUTRAL and more
    part = Sample("v6_lstm/BTC-USD/1", SPAN, sample().raw_logits[:, :2], moved)
    n = (moved != 1).sum()
    with pytest.raises(DataError, match=rf"v6_lstm/BTC-USD/1 where UP or DOWN came, got .* from {n} of 6,000 windows"):
        fit(part, CLAMP, 1, accuracy=0.68, share=0.25)


def test_logits_that_no_temperature_changes_are_refused() -> None:
    tied = replace(sample(), raw_logits=np.full((1500, 3), 20.0) + np.arange(3))  # all beyond the clamp
    with pytest.raises(DataError, match="got the same for all of them in every window"):
        fit(tied, CLAMP, HORIZON, accuracy=0.68)


def test_the_optimisers_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SimpleNamespace(success=False, nfev=500, message="Maximum number of function calls reached.")
    monkeypatch.setattr(temperature.scipy.optimize, "minimize_scalar", lambda *_, **__: failed)
    with pytest.raises(DataError, match=r"v8/BTC-USD/1: .*Maximum number of function calls reached\."):
        fit(sample(), CLAMP, 1, accuracy=0.68)


# ---- what is judged


def test_every_figure_is_the_test_parts() -> None:
    calibration, test = sample(distortion=2), sample(800, distortion=4, seed=1)
    _, evaluation = both(calibration, test)
    at = evaluation.at_temperature(3.0)
    probabilities = softmax(test.raw_logits.clip(-CLAMP, CLAMP) / 3)
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels
    assert at.scores.n == 800
    assert at.scores.nll == pytest.approx(nll(test, 3), abs=1e-9)
    assert at.scores.brier == pytest.approx(((probabilities - np.eye(3)[test.labels]) ** 2).sum(axis=1).mean())
    assert at.scores.mean_confidence == pytest.approx(confidence.mean())
    assert at.acted_on[0].threshold == ACTED_ON[0]
    assert at.acted_on[0].coverage == pytest.approx((confidence >= 0.75).mean())
    assert at.acted_on[0].accuracy == pytest.approx(hits[confidence >= 0.75].mean())


def test_the_gain_is_over_both_parts_class_shares() -> None:
    calibration, test = sample(), replace(sample(800, seed=1), labels=np.arange(800) % 2)
    fitted, evaluation = both(calibration, test)
    for gain, labels in ((evaluation.gains.earlier, calibration.labels), (evaluation.gains.hindsight, test.labels)):
        with np.errstate(divide="ignore"):
            baseline = -np.log(np.bincount(labels, minlength=3) / len(labels))[test.labels].mean()
        assert gain.baseline_nll == pytest.approx(baseline)
        assert gain.mean == pytest.approx(baseline - nll(test, fitted.temperature), abs=1e-9)
        assert gain.interval.low < gain.mean < gain.interval.high


def test_every_temperature_is_judged_once_and_leaves_the_accuracy() -> None:
    fitted, evaluation = both(sample(), sample(500, seed=1), target=(0.6, 0.75), old=8.0)
    temperatures = [at.temperature for at in evaluation.at]
    assert temperatures == sorted({*GRID, fitted.fit.temperature, fitted.temperature, 8.0})
    assert len({at.scores.accuracy for at in evaluation.at}) == 1


def test_both_parts_curves_are_their_own() -> None:
    calibration, test = sample(distortion=2), sample(800, distortion=4, seed=1)
    fitted, evaluation = both(calibration, test)
    middle = len(fitted.curve) // 2
    assert fitted.curve_nll[middle] == pytest.approx(nll(calibration, fitted.curve[middle]), abs=1e-9)
    assert evaluation.curve_nll[middle] == pytest.approx(nll(test, fitted.curve[middle]), abs=1e-9)
    assert fitted.curve[fitted.curve_nll.argmin()] == pytest.approx(fitted.temperature, rel=0.1)


def test_the_coverage_curve_goes_from_everything_to_few() -> None:
    test = sample(spread=2, seed=1)
    _, evaluation = both(sample(spread=2), test)
    coverages = [at.coverage for at in evaluation.coverage]
    assert coverages[0] == 1
    assert coverages == sorted(coverages, reverse=True)
    assert evaluation.coverage[0].accuracy == pytest.approx((test.raw_logits.argmax(axis=1) == test.labels).mean())
    assert evaluation.coverage[-1].accuracy > evaluation.coverage[0].accuracy
    assert evaluation.coverage[-1].effective_n >= 30


def test_the_limit_is_what_perfect_models_seldom_exceed() -> None:
    evaluation = evaluate(sample(600, seed=1), fit(sample(), CLAMP, HORIZON, accuracy=0.68), CLAMP, 1, 2.5)
    at = evaluation.at_temperature(1.0)
    random, tenths = np.random.default_rng(5), np.array_split(np.argsort(at.confidence), 10)
    gaps = (random.random((2000, 600)) < at.confidence) - at.confidence
    errors = sum(np.abs(gaps[:, tenth].sum(axis=1)) for tenth in tenths) / 600
    assert at.calibration_error_limit == pytest.approx(np.quantile(errors, 0.95), rel=0.08)
    assert at.scores.calibration_error_null == pytest.approx(errors.mean(), rel=0.05)


# ---- from a bundle and bars


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = write_model(tmp_path_factory.mktemp("store"), hidden=4, layers=1, labels=NEXT_BAR.model_dump())
    return load_bundle(folder)


@pytest.fixture(scope="module")
def series() -> Series:
    bars = candles(BTC, 3500)
    rows = compute_features(bars)
    first_row = MIN_CANDLES - WINDOW
    return Series(BTC, Path("bars.csv"), 60_000, COLUMNS, rows, bars.timestamp_ms, bars.close, first_row)


def samples_of(bundle: Bundle, series: Series) -> tuple[Sample, Sample]:
    return predict(bundle, series, NEXT_BAR, split(series, bundle.manifest, NEXT_BAR, 0.6))


def test_the_parts_share_no_bar(bundle: Bundle, series: Series) -> None:
    calibration, test = split(series, bundle.manifest, NEXT_BAR, 0.6)
    assert calibration.bars.stop <= test.bars.start
    assert len(calibration) == round(0.6 * (len(series) - MIN_CANDLES))


def test_nothing_in_the_test_part_touches_the_fit(bundle: Bundle, series: Series) -> None:
    _, test = split(series, bundle.manifest, NEXT_BAR, 0.6)
    rows, close = series.rows.copy(), series.close.copy()
    rows[test.bars.start :] += 1
    close[test.bars.start :] = close[test.bars.start :][::-1]
    calibration, judged = samples_of(bundle, series)
    same, changed = samples_of(bundle, replace(series, rows=rows, close=close))
    fitted, again = (fit(part, CLAMP, HORIZON, accuracy=0.4, target=(0.5, 0.6)) for part in (calibration, same))
    assert (again.fit, again.interval, again.target) == (fitted.fit, fitted.interval, fitted.target)
    assert again.threshold == fitted.threshold
    assert (again.class_shares == fitted.class_shares).all()
    scores = [evaluate(part, fitted, CLAMP, HORIZON, 2.0).at_temperature(2.0).scores for part in (judged, changed)]
    assert scores[0] != scores[1]


def test_nothing_in_the_calibration_part_is_judged(bundle: Bundle, series: Series) -> None:
    calibration, _ = split(series, bundle.manifest, NEXT_BAR, 0.6)
    rows = series.rows.copy()
    rows[: calibration.bars.stop] += 1
    first, second = samples_of(bundle, series), samples_of(bundle, replace(series, rows=rows))
    assert (first[0].raw_logits != second[0].raw_logits).any()
    assert (first[1].raw_logits == second[1].raw_logits).all()
    assert (first[1].labels == second[1].labels).all()


def test_too_few_labels_are_refused_before_the_network_runs(bundle: Bundle, series: Series) -> None:
    with pytest.raises(DataError, match="fit a temperature to v8 of BTC-USD, got 7"):
        split(series, bundle.manifest, NEXT_BAR, 0.3)


def test_another_share_is_named_where_that_would_do(bundle: Bundle, series: Series) -> None:
    with pytest.raises(DataError, match=r"of 2,\d\d\d windows .* more bars, or pass --fit-share 0\.5, with which"):
        split(series, bundle.manifest, NEXT_BAR, 0.3)
    split(series, bundle.manifest, NEXT_BAR, 0.5)


def test_no_share_is_named_where_none_would_do(bundle: Bundle, series: Series) -> None:
    short = replace(series, rows=series.rows[:2000], times_ms=series.times_ms[:2000], close=series.close[:2000])
    with pytest.raises(DataError, match=r"are needed in all, so give about [\d,]+ more bars$"):
        split(short, bundle.manifest, NEXT_BAR, 0.5)


def test_a_part_without_windows_is_refused(bundle: Bundle, series: Series) -> None:
    with pytest.raises(
        DataError, match=r"windows on both sides of 99\.9 %.*or pass --fit-share 0\.5, with which these would do"
    ):
        split(series, bundle.manifest, NEXT_BAR, 0.999)


def test_a_test_part_too_small_to_judge_on_is_refused(bundle: Bundle, series: Series) -> None:
    with pytest.raises(DataError, match=r"300 effective labels to judge v8 of BTC-USD, got \d\d from .*fit-share 0\.5"):
        split(series, bundle.manifest, NEXT_BAR, 0.95)


def test_logits_that_are_not_finite_are_refused_with_their_time(
    bundle: Bundle, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split(series, bundle.manifest, NEXT_BAR, 0.6)
    raw_logits = np.zeros((sum(map(len, parts)), 3))
    raw_logits[3, 1] = np.nan
    monkeypatch.setattr(recalibration, "forward", lambda *_, **__: SimpleNamespace(raw_logits=raw_logits))
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of 2,\d+ windows, the first at 2025-11-2.*diagnose"):
        predict(bundle, series, NEXT_BAR, parts)


# ---- what is said of it


def found(bundle: Bundle, calibration: Sample, test: Sample, old: float = 2.5, **options: object) -> Recalibration:
    manifest = bundle.manifest
    values = manifest.calibration.model_copy(update={"temperature": old})
    spans = manifest.spans.model_copy(update={"calibration": SPAN})
    bundle = replace(bundle, manifest=manifest.model_copy(update={"calibration": values, "spans": spans}))
    data = {"file": "bars.csv", "sha256": "0" * 64}
    fitted, evaluation = both(calibration, test, old, **options)
    return Recalibration(bundle, NEXT_BAR, data, calibration, test, kept(test), fitted, evaluation, described())


def kept(test: Sample) -> KeptStream:
    n = len(test.labels)
    return KeptStream(np.arange(n) * 60_000, test.raw_logits, np.zeros(n))


@functools.cache
def described() -> Mapping[str, Any]:
    """Of other predictions: what is said of temperatures does not look at it."""
    values = CalibrationValues(clamp=CLAMP, temperature=1.0, method="nll")
    return describe_stream(kept(sample(600)), values, LATER, len(COLUMNS))


def said(*args: object, **options: object) -> Verdict:
    return verdict(found(*args, **options))


LEARNED, JUDGED = sample(), sample(1000, seed=1, span=LATER)


@pytest.fixture(scope="module")
def good(bundle: Bundle) -> Recalibration:
    """Of a model that is calibrated by construction, at T = 1."""
    return found(bundle, LEARNED, JUDGED, old=1.0)


def test_a_calibrated_model_passes_and_is_told_to_stay_as_it_is(good: Recalibration) -> None:
    words = verdict(good)
    assert words.level == "pass"
    assert "is the likeliest temperature: at it the model is right about as often as it says" in words.sentence
    assert "The T so far, 1, lies within the interval of the likeliest: the data asks for no change." in words.reasons
    assert any("know something" in reason for reason in words.reasons)


def test_a_model_that_needs_no_temperature_is_told_so(bundle: Bundle) -> None:
    assert any("T = 1 within it" in reason for reason in said(bundle, LEARNED, JUDGED, old=8.0).reasons)


def test_a_wrong_temperature_asks_for_a_change(bundle: Bundle) -> None:
    words = said(bundle, sample(distortion=4), sample(500, distortion=4, seed=1, span=LATER), old=8.0)
    assert "The T so far, 8, lies outside the interval of the likeliest: the data asks for a change." in words.reasons


def test_logits_that_know_nothing_are_told_apart_from_a_fit(bundle: Bundle) -> None:
    backwards = replace(LEARNED, raw_logits=-LEARNED.raw_logits)
    words = said(bundle, backwards, JUDGED)
    assert words.level == "warn"
    assert "No temperature helps, the logits know nothing of the labels (T = 1,000 is" in words.sentence
    assert "is never 75 % sure or more" in words.sentence


def test_no_change_is_asked_for_where_the_data_bounds_no_temperature(bundle: Bundle) -> None:
    backwards = replace(LEARNED, raw_logits=-LEARNED.raw_logits)
    assert any("but the data bounds no other to take" in reason for reason in said(bundle, backwards, JUDGED).reasons)


def test_logits_that_know_the_labels_are_suspected(bundle: Bundle) -> None:
    known = replace(LEARNED, raw_logits=np.eye(3)[LEARNED.labels])
    words = said(bundle, known, JUDGED)
    assert words.level == "warn"
    assert "has the model seen them?" in words.sentence


def test_a_model_that_shows_no_knowledge_does_not_pass(bundle: Bundle) -> None:
    noise = replace(JUDGED, raw_logits=0.02 * JUDGED.raw_logits, labels=np.random.default_rng(2).integers(0, 3, 1000))
    words = said(bundle, sample(1500, spread=0.02), noise)
    assert words.level == "warn"
    assert any("cannot be shown" in reason for reason in words.reasons)


def test_luck_with_the_class_shares_is_no_knowledge(bundle: Bundle) -> None:
    random = np.random.default_rng(3)
    skewed = replace(LEARNED, labels=np.where(random.random(1500) < 0.3, 0, LEARNED.labels))
    even = replace(JUDGED, raw_logits=0.01 * JUDGED.raw_logits, labels=random.integers(0, 3, 1000))
    done = found(bundle, skewed, even)
    assert done.evaluation.gains.earlier.interval.low > 0
    assert verdict(done).level == "warn"
    assert any("but that they know anything cannot be shown" in reason for reason in verdict(done).reasons)


def test_the_wish_for_a_confidence_is_told_its_price(bundle: Bundle) -> None:
    words = said(bundle, sample(spread=0.3), sample(1000, spread=0.3, seed=1, span=LATER), target=(0.6, 0.75))
    assert words.level == "warn"
    assert "was set for the mean confidence asked for and is not the likeliest" in words.sentence
    assert "where it is 75 % sure or more, in" in words.sentence
    assert words.reasons[0].startswith("What the wish costs: an NLL of")
    assert "leave --target-confidence out" in words.reasons[1]


def test_a_threshold_is_said_to_hold_or_not(bundle: Bundle) -> None:
    calibration, test = sample(spread=2), sample(1000, spread=2, seed=1, span=LATER)
    wrong = replace(test, labels=(test.raw_logits.argmax(axis=1) + 1) % 3)
    assert said(bundle, calibration, test, accuracy=0.5).reasons[-1].endswith(": it holds.")
    assert said(bundle, calibration, wrong).reasons[-1].endswith(": it does not hold.")


def test_a_temperature_that_saw_the_test_part_is_named(good: Recalibration) -> None:
    assert not any("flatter" in reason for reason in verdict(good).reasons)
    overlapping = replace(good, test=replace(JUDGED, span=SPAN))
    assert any("flatter" in reason for reason in verdict(overlapping).reasons)


# ---- what is written


def test_a_temperature_within_the_interval_asks_for_no_version(good: Recalibration) -> None:
    assert good.why_not_write == "the data asks for no change"


def test_labels_that_the_bundle_did_not_name_are_a_change(good: Recalibration) -> None:
    unnamed = good.bundle.manifest.model_copy(update={"labels": None})
    assert replace(good, bundle=replace(good.bundle, manifest=unnamed)).why_not_write is None


def test_a_temperature_outside_the_interval_or_wished_for_is_written(bundle: Bundle) -> None:
    assert found(bundle, LEARNED, JUDGED, old=8.0).why_not_write is None
    assert found(bundle, LEARNED, JUDGED, old=1.0, target=(0.6, 0.75)).why_not_write is None


@pytest.mark.parametrize("logits", [-LEARNED.raw_logits, np.eye(3)[LEARNED.labels]])
def test_a_temperature_where_the_search_ended_asks_for_no_version(bundle: Bundle, logits: np.ndarray) -> None:
    done = found(bundle, replace(LEARNED, raw_logits=logits), JUDGED)
    assert done.why_not_write is not None
    assert "bounds no temperature (the search ended at T = " in done.why_not_write


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (0.909, "0.91"), (2.5, "2.50"), (47.42, "47.4"), (999.99, "1,000")]
)
def test_temperatures_are_written_as_people_read_them(value: float, text: str) -> None:
    assert temperature_text(value) == text


def test_an_end_of_the_search_is_no_end_of_an_interval() -> None:
    assert interval_text(Interval(19.72, HIGHEST)) == "19.7 … no upper limit"
    assert interval_text(Interval(LOWEST, 1.5)) == "anything above 0 … 1.50"


def test_the_report_tells_every_temperature_and_survives_its_schema(bundle: Bundle) -> None:
    done = found(bundle, LEARNED, JUDGED, target=(0.6, 0.75))
    report = calibrate_report(done, written="none", created="2025-11-24T16:00:00Z")
    assert Report.model_validate_json(report.model_dump_json()) == report
    scores, confident = report.sections[0].tables
    assert [row[0] for row in scores.rows] == [temperature_text(at.temperature) for at in done.evaluation.at]
    assert {row[1] for row in scores.rows} == {"", "likeliest", "so far", "as wished"}
    assert len(confident.rows) == len(scores.rows)
    titles = [plot.title for section in report.sections for plot in section.plots]
    assert len(titles) == 5
    assert report.figures["fit"]["interval"]["low"] == done.fitted.interval.low
    assert [at["nll"] for at in report.figures["test"]] == [at.scores.nll for at in done.evaluation.at]


def test_temperatures_that_print_alike_are_told_once(bundle: Bundle) -> None:
    likeliest = fit(LEARNED, CLAMP, HORIZON, accuracy=0.68).temperature
    done = found(bundle, LEARNED, JUDGED, old=likeliest * (1 + 1e-5))
    scores, confident = calibrate_report(done, written="none", created="2025-11-24T16:00:00Z").sections[0].tables
    told = [row[:2] for row in scores.rows]
    assert len({text for text, _ in told}) == len(told) == len(confident.rows) == len(done.evaluation.at) - 1
    assert [temperature_text(likeliest), "likeliest, and so far"] in told


def test_times_are_told_as_people_read_them(good: Recalibration) -> None:
    facts = calibrate_report(good, written="none", created="2025-11-24T16:00:00Z").facts
    assert facts["Test part"].startswith("2025-05-28 00:00 to 2025-06-03 00:00 UTC, 1,000 labels")


def test_the_report_tells_what_drift_will_be_held_against(good: Recalibration) -> None:
    report = calibrate_report(good, written="none", created="2025-11-24T16:00:00Z")
    assert report.sections[-1].title.startswith("Drift")
    assert "2025-05-28 00:00 to 2025-06-03 00:00 UTC" in report.sections[-1].text[-1]
    assert report.figures["drift"]["n"] == good.drift.n == 600


def test_the_report_says_where_no_threshold_reaches_the_wish(bundle: Bundle) -> None:
    done = found(bundle, sample(spread=0.1), JUDGED)
    section = calibrate_report(done, written="none", created="2025-11-24T16:00:00Z").sections[2]
    assert "none is offered" in verdict(done).reasons[-1]
    assert section.tables == []
    assert "None reaches it" in section.text[0]
