"""The three sets lie after all that a model has seen; figures agree with a float64 reference that shares no code."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_model import ReferenceModel
from stores import BTC, candles, write_model

from export import judging, reference_models
from export.gates import GateSettings
from export.judging import Sample, TooFewWindows, draw_samples, fixed_draw, judge_bundle, most_volatile, windows_of
from export.series import Series
from export.split import split_in_time, usable
from export.train import Epoch, Trained
from signalserve.bundle import Bundle, Gates, Labels, load_bundle
from signalserve.candles import iso
from signalserve.errors import ConfigError, DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features
from signalserve.network import LstmConfig, architecture_of, build_network

LABELS = Labels(horizon_bars=15, neutral_band=1e-3)
SETTINGS = GateSettings(windows=300, recent_days=0.25, volatile_hours=4)
BARS = 2600
FIRST_ROW = MIN_CANDLES - WINDOW
TRAINED_TO, CALIBRATED_TO = 1499, 1699  # the last rows of both spans


@pytest.fixture(scope="module")
def series() -> Series:
    bars = candles(BTC, BARS)
    rows = compute_features(bars)
    return Series(BTC, Path("BTC-USD.csv"), 60_000, COLUMNS, rows, bars.timestamp_ms, bars.close, FIRST_ROW)


def span_of(series: Series, first: int, last: int) -> dict[str, Any]:
    times = series.times()
    return {"start": iso(times[first]), "end": iso(times[last]), "bars": last - first + 1}


def model_of(root: Path, series: Series, **fields: Any) -> Bundle:
    """A tiny model that was trained and calibrated on the first of these bars, with the scaler of its training."""
    train = series.rows[FIRST_ROW : TRAINED_TO + 1]
    spans = {
        "train": span_of(series, FIRST_ROW, TRAINED_TO),
        "calibration": span_of(series, TRAINED_TO + 1, CALIBRATED_TO),
        "test": None,
    }
    given = {"mean": train.mean(axis=0), "scale": train.std(axis=0), "gain": 30.0, "spans": spans, **fields}
    return load_bundle(write_model(root, "v8", **given))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, series: Series) -> Bundle:
    return model_of(tmp_path_factory.mktemp("store"), series)


@pytest.fixture(scope="module")
def samples(series: Series, bundle: Bundle) -> tuple[Sample, Sample, Sample]:
    return draw_samples(series, bundle.manifest, 15, SETTINGS)


@pytest.fixture(scope="module")
def judgement(series: Series, bundle: Bundle, samples: tuple[Sample, ...]) -> judging.Judgement:
    return judge_bundle(bundle, series, samples, LABELS, SETTINGS)


# ---- which windows


def test_no_window_of_any_set_shares_a_bar_with_what_the_model_has_seen(samples: tuple[Sample, ...]):
    assert all(sample.part.bars.start > CALIBRATED_TO for sample in samples)
    assert all(sample.part.bars.stop <= BARS for sample in samples)


def test_the_recent_set_is_the_last_windows_whose_outcome_is_known(samples: tuple[Sample, ...]):
    assert samples[1].part.ends.tolist() == list(range(BARS - 15 - 360, BARS - 15))
    assert samples[1].title == "last 0.25 days"


def test_less_than_the_wanted_days_are_said_in_words(series: Series, bundle: Bundle):
    _, recent, _ = draw_samples(series, bundle.manifest, 15, GateSettings(windows=300))
    unseen = BARS - 15 - (CALIBRATED_TO + WINDOW)
    assert len(recent.part) == unseen
    assert recent.title == f"unseen {unseen / 1440:.1f} days"
    assert recent.words == "Fewer than 7 days lie after what the model has seen: these are all 0.6."


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"recent_days": 0.15},
            r"recent_days: expected at least 225 bars, .* got 0.15, which are 216: set it to 0.157 or",
        ),
        ({"volatile_hours": 1}, r"volatile_hours: expected at least 225 bars, .* which are 60: set it to 3.75 or more"),
    ],
)
def test_a_stretch_of_less_than_three_looks_at_the_market_is_refused(
    series: Series, bundle: Bundle, settings: dict[str, float], words: str
):
    with pytest.raises(ConfigError, match=words):
        draw_samples(series, bundle.manifest, 15, SETTINGS.model_copy(update=settings))


def test_the_volatile_set_moved_more_than_any_other_stretch(series: Series, samples: tuple[Sample, ...]):
    stretch = samples[2].part.ends
    returns = [np.log(now / before) for before, now in zip(series.close, series.close[1:], strict=False)]

    def moved(ends: Iterable[int]) -> float:
        return sum(returns[end - 1] ** 2 for end in ends)

    assert len(stretch) == 240 and (np.diff(stretch) == 1).all()
    first, last = CALIBRATED_TO + WINDOW, BARS - 15 - 240
    others = [moved(range(start, start + 240)) for start in range(first, last + 1)]
    assert moved(stretch) == pytest.approx(max(others))


def test_a_stretch_longer_than_the_windows_is_all_of_them(series: Series):
    ends = np.arange(1800, 1900)
    assert most_volatile(series, ends, 1000).tolist() == ends.tolist()


def test_the_draw_is_the_same_for_every_model_and_another_with_another_seed(series: Series, tmp_path: Path):
    other = model_of(tmp_path, series, seed=7, temperature=5.0)
    first, second = (draw_samples(series, other.manifest, 15, GateSettings(windows=300, draw=k))[0] for k in (1, 2))
    drawn = first.part.ends
    assert len(drawn) == 300 == len(set(drawn.tolist())) and (np.diff(drawn) > 0).all()
    assert drawn.tolist() != second.part.ends.tolist()


def test_models_that_have_seen_different_bars_share_the_windows_that_both_can(series: Series):
    times = series.times()
    early, late = times[1700:], times[2000:]
    from_early = {early[k] for k in fixed_draw(early, BTC, SETTINGS)}
    from_late = {late[k] for k in fixed_draw(late, BTC, SETTINGS)}
    assert {time for time in from_early if time >= late[0]} <= from_late


def test_the_draw_prefers_no_part_of_the_time(series: Series):
    drawn = fixed_draw(np.arange(100_000) * 60_000, BTC, GateSettings(windows=1000))
    assert np.histogram(drawn, 10, (0, 100_000))[0].tolist() == pytest.approx([100] * 10, abs=35)  # 3.7 deviations


def test_too_few_unseen_windows_are_refused_with_both_numbers(series: Series, bundle: Bundle):
    with pytest.raises(
        TooFewWindows, match=r"at least 1,000 windows to judge v8 of BTC-USD .*got 826: give later bars"
    ):
        draw_samples(series, bundle.manifest, 15, GateSettings())


def test_a_series_without_times_or_closes_is_refused(series: Series, bundle: Bundle):
    with pytest.raises(DataError, match="no column of times"):
        draw_samples(replace(series, times_ms=None), bundle.manifest, 15, SETTINGS)
    with pytest.raises(DataError, match="expected a column of closes"):
        draw_samples(replace(series, close=None), bundle.manifest, 15, SETTINGS)


# ---- what is found


def answers(bundle: Bundle, series: Series, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    windows = np.stack([series.rows[end - 59 : end + 1] for end in sample.part.ends]).astype(np.float32)
    return ReferenceModel(bundle.path).answer(windows)


def outcome(series: Series, end: int) -> int:
    move = series.close[end + 15] / series.close[end] - 1
    return 2 if move > 1e-3 else 0 if move < -1e-3 else 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_figure_agrees_with_the_float64_reference(
    series: Series, bundle: Bundle, samples: tuple[Sample, ...], judgement: judging.Judgement, number: int
):
    sample = samples[number]
    raw, probabilities = answers(bundle, series, sample)
    said, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    came = [outcome(series, int(end)) for end in sample.part.ends]
    n = len(came)
    expected = {
        "largest |raw logit|": np.abs(raw).max(),
        "over 90 % confidence": sum(confidence > 0.9) / n,
        "over 99 % confidence": sum(confidence > 0.99) / n,
        "mean confidence": sum(confidence) / n,
        **{f"{name} predicted": sum(said == k) / n for k, name in enumerate(("DOWN", "NEUTRAL", "UP"))},
        "answers with NaN or infinity": 0,
        "accuracy": sum(s == c for s, c in zip(said, came, strict=True)) / n,
    }
    found = {figure.name: figure.value for figure in judgement.figures if figure.on == sample.name}
    assert found == pytest.approx(expected, abs=1e-5)


def test_accuracy_stands_beside_the_commonest_class_and_the_trainings_majority(
    series: Series, samples: tuple[Sample, ...], judgement: judging.Judgement
):
    taught = [outcome(series, end) for end in range(FIRST_ROW + 59, TRAINED_TO + 1 - 15)]
    majority = max(range(3), key=taught.count)
    for sample, finding in zip(samples, judgement.findings, strict=True):
        came = [outcome(series, int(end)) for end in sample.part.ends]
        one = finding.benchmark
        assert one.commonest_share == max(came.count(k) for k in range(3)) / len(came)
        assert one.majority == ("DOWN", "NEUTRAL", "UP")[majority]
        assert one.majority_accuracy == pytest.approx(came.count(majority) / len(came))
        assert one.gain == pytest.approx(one.accuracy - one.majority_accuracy)
        assert one.gain_interval.low <= one.gain <= one.gain_interval.high
        assert 1 <= one.independent <= one.n == len(came)


def test_features_are_judged_on_the_bars_of_the_scaler_and_only_shown_on_later_ones(judgement: judging.Judgement):
    found = [figure for figure in judgement.figures if figure.gate == "features"]
    assert {figure.on for figure in found} == {"training"}
    assert all(figure.passed and figure.value < 1e-9 for figure in found)
    assert all(finding.features.beyond > 10 for finding in judgement.findings)


def test_a_scaler_of_other_bars_fails(series: Series, tmp_path: Path):
    bundle = model_of(
        tmp_path, series, mean=series.rows[FIRST_ROW:1500].mean(axis=0) + series.rows[FIRST_ROW:1500].std()
    )
    scale, _ = judging.training_features(series, bundle.manifest, SETTINGS)
    assert scale.mean > 0.1


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (None, "does not say which bars its scaler was fitted on"),
        ({"start": "2025-05-04T15:33:00Z", "end": "2025-05-05T15:33:00Z"}, "are not all in BTC-USD.csv; give a folder"),
    ],
)
def test_training_bars_that_are_not_here_leave_the_features_not_judged(
    series: Series, tmp_path: Path, train: dict[str, str] | None, words: str
):
    bundle = model_of(tmp_path, series, spans={"train": train, "calibration": None, "test": None})
    samples = draw_samples(series, bundle.manifest, 15, SETTINGS, assume_unseen=True)
    judgement = judge_bundle(bundle, series, samples, LABELS, SETTINGS)
    assert not judgement.passes("features") and "features" in judgement.failed
    assert all(words in figure.note for figure in judgement.figures_of("features"))
    assert all(finding.benchmark.majority is None for finding in judgement.findings)


def test_the_bundles_own_report_tells_the_majority_where_the_bars_do_not(series: Series, tmp_path: Path):
    shares = {"DOWN": 0.2, "NEUTRAL": 0.3, "UP": 0.5}
    spans = {"train": None, "calibration": None, "test": None}
    bundle = model_of(tmp_path, series, spans=spans, report={"train_base_rates": shares})
    found = judging.training_shares(series, series.labels(15, 1e-3), bundle.manifest, 15)
    assert found.tolist() == [0.2, 0.3, 0.5]


def test_a_model_of_one_output_is_judged_on_up_and_down(series: Series, bundle: Bundle, samples: tuple[Sample, ...]):
    weights = {**bundle.weights, "head.weight": bundle.weights["head.weight"][2:], "head.bias": np.zeros(1, np.float32)}
    architecture = {**bundle.manifest.architecture, "outputs": 1}
    two = replace(bundle, manifest=bundle.manifest.model_copy(update={"architecture": architecture}), weights=weights)
    judgement = judge_bundle(two, series, samples, LABELS, SETTINGS)
    for sample, finding in zip(samples, judgement.findings, strict=True):
        assert finding.said["NEUTRAL"] == 0
        assert finding.benchmark.n == sum(outcome(series, int(end)) != 1 for end in sample.part.ends)
        assert finding.benchmark.majority in ("DOWN", "UP")


def test_a_nan_among_the_weights_fails_whatever_the_engine_makes_of_it(
    series: Series, bundle: Bundle, samples: tuple[Sample, ...]
):
    weights = {name: array.copy() for name, array in bundle.weights.items()}
    weights["lstm.weight_hh_l0"][0, 0] = np.nan
    judgement = judge_bundle(replace(bundle, weights=weights), series, samples, LABELS, SETTINGS)
    assert "finite" in judgement.failed


def test_progress_is_told_of_every_window_once(series: Series, bundle: Bundle, samples: tuple[Sample, ...]):
    done: list[int] = []
    judge_bundle(bundle, series, samples, LABELS, SETTINGS, progress=done.append)
    assert sum(done) == len(windows_of(samples)) == len({end for sample in samples for end in sample.part.ends})


def test_what_the_manifest_keeps_is_strict_json_and_names_every_gate_once(judgement: judging.Judgement):
    gates = judgement.as_gates()
    text = json.dumps(gates.model_dump(), allow_nan=False)
    assert Gates.model_validate_json(text) == gates
    assert sorted([*gates.passed, *gates.failed]) == sorted(SETTINGS.required)
    assert gates.report["settings"]["windows"] == 300
    assert {figure["passed"] for figure in gates.report["figures"] if figure["gate"] in gates.passed} == {True}


def test_a_gate_that_is_not_required_is_in_neither_list(series: Series, bundle: Bundle, samples: tuple[Sample, ...]):
    lenient = SETTINGS.model_copy(update={"required": ("finite",)})
    gates = judge_bundle(bundle, series, samples, LABELS, lenient).as_gates()
    assert (gates.passed, gates.failed) == (["finite"], [])
    assert {figure["gate"] for figure in gates.report["figures"]} > {"finite", "accuracy"}


# ---- the reference models


@pytest.mark.parametrize(("bars", "is_judged"), [(5700, True), (2600, False)])
def test_a_reference_model_is_written_judged_where_there_are_bars_enough(tmp_path: Path, bars: int, is_judged: bool):
    market = market_of(bars)
    config = LstmConfig(len(COLUMNS), 4, 1)
    torch.manual_seed(0)
    epoch = Epoch(1, 1.0, None, None)
    trained = Trained(config, build_network(architecture_of(config)).eval(), (epoch,), epoch, 0.0)
    scaler = reference_models.fit_scaler(market)
    draft = reference_models.Draft("v8", trained, scaler, {"plan": {"seed": 0}}, was_mended=False)
    bundle = load_bundle(reference_models.write(market, draft, tmp_path / "bundles", "1", "signalserve reference"))
    assert (bundle.manifest.gates is not None) is is_judged
    if is_judged:
        assert {"features", "finite"} <= set(bundle.manifest.gates.passed)
        assert "accuracy" in bundle.failed_gates


def market_of(bars: int) -> reference_models.Market:
    made = candles(BTC, bars)
    split = split_in_time(usable(bars, FIRST_ROW, WINDOW, 15))
    band, path = 5e-4, Path(__file__)  # any file with a hash
    series = Series(BTC, path, 60_000, COLUMNS, compute_features(made), made.timestamp_ms, made.close, FIRST_ROW)
    return reference_models.Market(series, band, series.labels(15, band), split)
