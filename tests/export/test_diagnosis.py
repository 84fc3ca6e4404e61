"""Every planted fault is found and named, the gravest first; a sound model is called sane, and no more than that."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stores import BTC, ETH, candles, scaler_of, write_model

from export.diagnosis import Diagnosis, diagnose, windows_of, work
from export.diagnosis_faults import faults_of, in_words, verdict
from export.diagnosis_report import diagnosis_report, symlog_edges
from export.report.model import Report
from export.series import Series
from export.split import Part
from export.unseen import all_ends
from signalserve.bundle import Bundle, Span, Spans, load_bundle
from signalserve.engine import TorchEngine
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features
from signalserve.network import FeedForwardConfig, LstmConfig, architecture_of, build_network

MINUTE, CREATED = 60_000, "2025-11-24T16:00:00Z"


@pytest.fixture(scope="module")
def series() -> Series:
    """A week and a day of generated bars: enough for too narrow columns to show."""
    bars = candles(BTC, 8 * 1440 + MIN_CANDLES)
    rows = compute_features(bars)
    return Series(BTC, Path("BTC.csv"), MINUTE, COLUMNS, rows, bars.timestamp_ms, bars.close, MIN_CANDLES)


@pytest.fixture(scope="module")
def sound(series: Series, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its scaler was fitted on all but the first and the last day of the bars, and its manifest says so."""
    part = all_ends(series, 60, 0)
    train = Part(part.ends[1440:-1440], part.window, part.horizon)
    rows = series.rows[train.bars.start : train.bars.stop]
    spans = {"train": series.span_of(train).model_dump(), "calibration": None, "test": None}
    return load_bundle(
        write_model(
            tmp_path_factory.mktemp("store"),
            layers=1,
            gain=4.0,
            mean=rows.mean(axis=0).tolist(),
            scale=rows.std(axis=0).tolist(),
            spans=spans,
        )
    )


def with_fields(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def with_scaler(bundle: Bundle, **changes: list[float]) -> Bundle:
    return with_fields(bundle, scaler=bundle.manifest.scaler.model_copy(update=changes))


def unscaled(bundle: Bundle) -> Bundle:
    return with_scaler(bundle, mean=[0.0] * len(COLUMNS), scale=[1.0] * len(COLUMNS))


def feed_forward(bundle: Bundle, gain: float = 3.0) -> Bundle:
    """V6's net: without a limit to what it is given."""
    torch.manual_seed(0)
    config = FeedForwardConfig(len(COLUMNS), (16, 8))
    network = build_network(architecture_of(config))
    weights = {name: gain * tensor.numpy() for name, tensor in network.state_dict().items()}
    return replace(with_fields(bundle, architecture=architecture_of(config)), weights=weights)


def examined(bundle: Bundle, series: Series, newest: int = 400, **options: Any) -> Diagnosis:
    """As a checkpoint: a planted fault would make another golden answer too."""
    return diagnose(bundle, series, windows_of(series, 60, newest), is_bundle=False, **options)


def names(diagnosis: Diagnosis) -> list[str]:
    return [fault.name for fault in faults_of(diagnosis)]


def sentence(diagnosis: Diagnosis, name: str) -> str:
    return next(fault.sentence for fault in faults_of(diagnosis) if fault.name == name)


# ---- a sound model


def test_a_sound_model_is_sane_and_nothing_is_promised_beyond_that(sound: Bundle, series: Series):
    diagnosis = diagnose(sound, series, windows_of(series, 60, 7 * 1440))
    found = verdict(diagnosis, faults_of(diagnosis))
    assert names(diagnosis) == []
    assert found.level == "pass"
    assert found.sentence.startswith("Sane: the scaler belongs to these bars, and on 10,080 windows")
    assert "signalserve judge" in found.reasons[0]


def test_without_bars_only_the_model_itself_is_called_sound(sound: Bundle):
    diagnosis = diagnose(sound)
    found = verdict(diagnosis, faults_of(diagnosis))
    assert found.level == "pass"
    assert "nothing else was looked at" in found.sentence
    assert "--bars" in found.reasons[0]


def test_figures_of_the_windows_are_those_of_the_model_run_by_hand(sound: Bundle, series: Series):
    diagnosis = examined(sound, series, newest=50)
    windows = np.lib.stride_tricks.sliding_window_view(series.rows.astype(np.float32), 60, axis=0)[-50:]
    output = TorchEngine(sound, "cpu").predict(windows.transpose(0, 2, 1).copy())
    served = diagnosis.on_bars.served
    assert served.reach == pytest.approx(abs(output.raw_logits).max(), rel=1e-4)
    assert served.mean_confidence == pytest.approx(output.probabilities.max(axis=1).mean(), abs=1e-5)
    assert served.classes["UP"] == (output.probabilities.argmax(axis=1) == 2).mean()


def test_progress_is_told_of_every_window(sound: Bundle, series: Series):
    part, done = windows_of(series, 60, 3000), []
    diagnose(sound, series, part, progress=done.append)
    assert sum(done) == work(sound, part) == 3000 + 2000
    assert work(unscaled(sound), part) == 3000


def test_the_newest_windows_are_the_last_in_a_row(series: Series):
    ends = windows_of(series, 60, 5).ends
    assert ends.tolist() == list(range(len(series) - 5, len(series)))


# ---- the weights


def test_a_nan_among_the_weights_is_found_and_no_engine_hides_it(sound: Bundle, series: Series):
    weights = {name: array.copy() for name, array in sound.weights.items()}
    weights["lstm.weight_hh_l0"][0, 0] = np.nan
    diagnosis = examined(replace(sound, weights=weights), series)
    assert names(diagnosis)[:2] == ["weights_not_finite", "outputs_not_finite"]
    assert "1 of its" in sentence(diagnosis, "weights_not_finite")
    assert "lstm.weight_hh_l0" in sentence(diagnosis, "weights_not_finite")
    assert "400 of 400 windows" in sentence(diagnosis, "outputs_not_finite")
    assert diagnosis.on_bars.served is None


def test_weights_of_another_manifest_do_not_answer_its_golden_window(sound: Bundle):
    weights = {name: 1.5 * array for name, array in sound.weights.items()}
    assert names(diagnose(replace(sound, weights=weights))) == ["golden"]
    # a checkpoint has no golden answer that it could miss
    assert names(diagnose(replace(sound, weights=weights), is_bundle=False)) == []


def test_columns_that_nobody_reads_and_dead_units_are_named(sound: Bundle):
    weights = {name: array.copy() for name, array in sound.weights.items()}
    weights["lstm.weight_ih_l0"][:, COLUMNS.index("rsi_14")] = 0
    weights["lstm.weight_hh_l0"][3] = 0
    diagnosis = diagnose(replace(sound, weights=weights), is_bundle=False)
    assert names(diagnosis) == ["unread_columns", "dead_units"]
    assert "rsi_14" in sentence(diagnosis, "unread_columns")


# ---- the scaler and the columns


def test_unscaled_features_are_told_by_how_far_the_logits_reach(sound: Bundle, series: Series):
    diagnosis = examined(unscaled(feed_forward(sound)), series)
    found = verdict(diagnosis, faults_of(diagnosis))
    assert found.level == "fail"
    reach = diagnosis.on_bars.served.reach
    assert reach > 1e4
    assert found.sentence.startswith(f"Features go in unscaled: logits reach ±{reach:,.0f}.")
    assert "signalserve fix" in found.reasons[0]
    assert "beyond_clamp" in names(diagnosis)
    assert diagnosis.on_bars.unscaled is None  # it already is


def test_no_scaler_is_no_fault_where_features_come_scaled(sound: Bundle, series: Series):
    scaler = sound.manifest.scaler
    scaled = replace(series, rows=(series.rows - np.array(scaler.mean)) / np.array(scaler.scale))
    diagnosis = examined(unscaled(sound), scaled)
    assert verdict(diagnosis, faults_of(diagnosis)).sentence.startswith(
        "Sane: features come scaled, and on 400 windows"
    )
    assert names(diagnose(unscaled(sound), is_bundle=False)) == ["no_scaler"]


def test_another_symbols_scaler_is_named_with_the_symbol_that_it_fits(sound: Bundle, series: Series):
    mean, scale = scaler_of(ETH)
    bars = candles(ETH, 3000)
    other = replace(series, symbol=ETH, rows=compute_features(bars), times_ms=bars.timestamp_ms)
    diagnosis = examined(with_scaler(sound, mean=mean, scale=scale), series, others=[other])
    assert names(diagnosis)[0] == "foreign_scaler"
    assert "was not fitted on these prices" in sentence(diagnosis, "foreign_scaler")
    assert "It fits the bars of ETH-USD" in faults_of(diagnosis)[0].advice


def test_a_right_scaler_whose_market_has_moved_is_not_called_anothers(sound: Bundle, series: Series):
    later = replace(series, rows=series.rows.copy())
    levels = [i for i, name in enumerate(COLUMNS) if series.rows[-1, i] > 50_000]
    later.rows[-500:, levels] *= 3
    fault = faults_of(examined(sound, later, newest=400))[0]
    assert fault.name == "foreign_scaler"
    assert "prices have moved far" in fault.advice


def test_swapped_columns_are_named(sound: Bundle, series: Series):
    i, j = COLUMNS.index("rsi_14"), COLUMNS.index("returns")
    scaler = sound.manifest.scaler
    mean, scale = list(scaler.mean), list(scaler.scale)
    mean[i], mean[j], scale[i], scale[j] = mean[j], mean[i], scale[j], scale[i]
    diagnosis = examined(with_scaler(sound, mean=mean, scale=scale), series)
    assert names(diagnosis)[0] == "swapped_columns"
    assert "returns has that of rsi_14; rsi_14 has that of returns" in sentence(diagnosis, "swapped_columns")


def test_a_few_columns_off_their_scale_are_named_and_the_rest_is_not_blamed(sound: Bundle, series: Series):
    rows = series.rows.copy()
    rows[:, COLUMNS.index("rsi_14")] *= 40
    diagnosis = examined(sound, replace(series, rows=rows))
    assert names(diagnosis)[0] == "off_scale"
    assert sentence(diagnosis, "off_scale").startswith("1 of 72 columns do not fit the scaler: rsi_14 stands at")


def test_a_value_that_no_network_can_work_with_is_named_with_its_bar(sound: Bundle, series: Series):
    rows = series.rows.copy()
    rows[-100, COLUMNS.index("rsi_14")] = 1e37
    diagnosis = examined(sound, replace(series, rows=rows))
    assert names(diagnosis)[0] == "overflow"
    assert verdict(diagnosis, faults_of(diagnosis)).level == "fail"
    time = str(np.datetime64(int(series.times_ms[-100]), "ms").astype("datetime64[m]")).replace("T", " ")
    assert re.match(rf"rsi_14 is \de\+3\d standard deviations off at {time} UTC", sentence(diagnosis, "overflow"))
    rows[-100, COLUMNS.index("rsi_14")] = 1e29 * sound.manifest.scaler.scale[COLUMNS.index("rsi_14")]
    assert "overflow" not in names(examined(sound, replace(series, rows=rows)))


def test_constant_dead_and_woken_columns_are_told_apart(sound: Bundle, series: Series):
    rows = series.rows.copy()
    rows[:, COLUMNS.index("volume_ratio")] = 1.0
    constant = examined(sound, replace(series, rows=rows))
    assert sentence(constant, "constant_columns") == "volume_ratio never changes on these bars."
    scale = list(sound.manifest.scaler.scale)
    scale[COLUMNS.index("rsi_14")] = 1.0
    assert "rsi_14" in sentence(examined(with_scaler(sound, scale=scale), series), "was_constant")
    scale[COLUMNS.index("rsi_14")] = 1e-12
    dead = examined(with_scaler(sound, scale=scale), series)
    assert names(dead)[0] == "tiny_scale"
    assert "rsi_14" in sentence(dead, "tiny_scale")


def test_a_scaler_that_is_not_of_its_training_bars_fails_gate_1(sound: Bundle, series: Series):
    mean = np.array(sound.manifest.scaler.mean) + 0.5 * np.array(sound.manifest.scaler.scale)
    diagnosis = examined(with_scaler(sound, mean=mean.tolist()), series)
    assert "72 of 72 columns" in sentence(diagnosis, "training_bars")
    assert diagnosis.on_bars.training.mean == pytest.approx(0.5, abs=1e-6)
    elsewhere = Spans(train=Span(start="2020-01-01T00:00:00Z", end="2020-02-01T00:00:00Z"), calibration=None, test=None)
    unknown = examined(with_fields(sound, spans=elsewhere), series)
    assert unknown.on_bars.training is None
    assert "not all in BTC.csv" in unknown.on_bars.why_no_training


# ---- the predictions


def test_ties_at_the_clamp_are_a_breach(sound: Bundle, series: Series):
    weights = {**sound.weights, "head.bias": np.array([40, -10, 50], dtype=np.float32)}
    diagnosis = examined(replace(sound, weights=weights), series)
    assert names(diagnosis) == ["clamp_ties", "beyond_clamp", "class_never_said"]
    assert "In 100 % of the windows the largest logits tie at the clamp of ±15" in sentence(diagnosis, "clamp_ties")
    assert "NEUTRAL and UP are never predicted in 400 windows" in sentence(diagnosis, "class_never_said")


def test_saturated_confidence_is_found(sound: Bundle, series: Series):
    calibration = sound.manifest.calibration.model_copy(update={"temperature": 0.01})
    diagnosis = examined(with_fields(sound, calibration=calibration), series)
    assert names(diagnosis) == ["saturated"]
    share = diagnosis.on_bars.served.confident["0.99"]
    assert f"{100 * share:.1f} % of the predictions are over 99 % sure" in sentence(diagnosis, "saturated")
    assert "signalserve calibrate" in faults_of(diagnosis)[0].advice


def test_a_model_that_nearly_always_says_one_thing_is_one_sided(sound: Bundle, series: Series):
    found = examined(sound, series)

    def saying(down: float, neutral: float, up: float) -> Diagnosis:
        served = replace(found.on_bars.served, classes={"DOWN": down, "NEUTRAL": neutral, "UP": up})
        return replace(found, on_bars=replace(found.on_bars, served=served))

    assert names(saying(0.01, 0.94, 0.05)) == []
    assert sentence(saying(0.01, 0.97, 0.02), "one_sided") == "NEUTRAL is predicted in 97.0 % of 400 windows."
    assert names(saying(0.0, 0.97, 0.03)) == ["class_never_said"]


def test_what_follows_from_a_wrong_scaler_is_not_given_advice_of_its_own(sound: Bundle, series: Series):
    faults = faults_of(examined(unscaled(feed_forward(sound)), series))
    assert {fault.advice for fault in faults[1:]} == {"Mend what stands above first: this may follow from it."}


def test_a_model_of_two_classes_is_not_blamed_for_never_saying_neutral(sound: Bundle, series: Series):
    torch.manual_seed(3)
    config = LstmConfig(len(COLUMNS), 8, 1, outputs=1)
    network = build_network(architecture_of(config))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    weights["head.bias"] = np.zeros(1, np.float32)
    two = replace(with_fields(sound, architecture=architecture_of(config)), weights=weights)
    diagnosis = examined(two, series)
    assert not any("NEUTRAL" in fault.sentence for fault in faults_of(diagnosis))
    report = diagnosis_report(diagnosis, CREATED)
    assert report.sections[1].tables[0].columns[2].name == "DOWN"
    assert "NEUTRAL" not in [column.name for column in report.sections[1].tables[0].columns]


# ---- the report


@pytest.mark.parametrize("spoil", [lambda bundle: bundle, lambda bundle: unscaled(feed_forward(bundle))])
def test_a_report_survives_its_json_and_begins_with_the_verdict(
    sound: Bundle, series: Series, spoil: Callable[[Bundle], Bundle]
):
    diagnosis = examined(spoil(sound), series, newest=3000)
    report = diagnosis_report(diagnosis, CREATED)
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert report.verdict == verdict(diagnosis, faults_of(diagnosis))
    assert [fault["name"] for fault in report.figures["faults"]] == names(diagnosis)
    columns = report.sections[2].tables[1]
    assert [row[0] for row in columns.rows] == list(COLUMNS)


def test_bins_of_logits_are_equally_wide_on_their_axis_and_hold_the_largest():
    edges = np.array(symlog_edges(4_237_513))
    assert edges[-1] >= 4_237_513
    np.testing.assert_allclose(edges, -edges[::-1])
    shown = np.where(np.abs(edges) <= 1, edges, np.sign(edges) * (1 + np.log10(np.maximum(np.abs(edges), 1))))
    np.testing.assert_allclose(np.diff(shown), 0.1)


def test_long_lists_of_names_are_cut():
    assert in_words(["a"]) == "a"
    assert in_words(["a", "b"]) == "a and b"
    assert in_words(list("abcdef")) == "a, b, c, d and 2 more"
