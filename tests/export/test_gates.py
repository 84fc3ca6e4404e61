"""The gates' limits, each figure against plain counting, and intervals that hold what they promise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.gates import (
    GATES,
    FeatureScale,
    Figure,
    GateSettings,
    Limit,
    Predictions,
    feature_scale,
    features_gate,
    prediction_gates,
    read_gates,
)
from signalserve.errors import ConfigError
from signalserve.intervals import Interval

OWNERS = GateSettings()
N = 1000


def predictions(
    confidence: float | np.ndarray = 0.7,
    said: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    **fields: Any,
) -> Predictions:
    """N windows in a row: each says a class (by default each in turn) with a confidence, the others share the rest."""
    said = np.arange(N) % 3 if said is None else said
    confidence = np.broadcast_to(confidence, N)
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(N), said] = confidence
    given = {"raw_logits": np.log(probabilities), "labels": said if labels is None else labels, **fields}
    return Predictions(**{"probabilities": probabilities, "window": 60, "horizon": 15, "spacing": 1.0, **given})


def figures(seen: Predictions, settings: GateSettings = OWNERS, damaged: int = 0) -> dict[str, Figure]:
    return {figure.name: figure for figure in prediction_gates(seen, damaged, settings, "recent")}


# ---- limits


@pytest.mark.parametrize(
    ("limit", "value", "holds"),
    [
        (Limit(high=0.1, strict=True), 0.1, False),
        (Limit(high=0.1, strict=True), 0.0999, True),
        (Limit(high=15), 15, True),
        (Limit(high=15), 15.001, False),
        (Limit(0.15, 0.6), 0.15, True),
        (Limit(0.15, 0.6), 0.6, True),
        (Limit(0.15, 0.6), 0.1499, False),
        (Limit(0.15, 0.6), 0.601, False),
        (Limit(low=0.68), 0.68, True),
        (Limit(low=0.68, strict=True), 0.68, False),
        (Limit(low=0.68), 0.679, False),
    ],
)
def test_a_limit_holds_up_to_its_bounds(limit: Limit, value: float, holds: bool):
    assert limit.holds(value) is holds


@pytest.mark.parametrize(("low", "high", "undecided"), [(0.5, 0.67, False), (0.6, 0.7, True), (0.69, 0.8, False)])
def test_a_limit_inside_the_interval_leaves_it_undecided(low: float, high: float, undecided: bool):
    figure = Figure("accuracy", "recent", "accuracy", "share", 0.65, Limit(low=0.68), Interval(low, high))
    assert figure.undecided is undecided
    assert not figure.passed  # the figure decides, not the interval


def test_what_could_not_be_judged_is_not_passed():
    assert not Figure("features", "training", "largest |mean|", "number", None, Limit(high=0.1)).passed


# ---- each gate against plain counting


@pytest.mark.parametrize(("sure", "passed"), [(99, True), (100, False)])
def test_fewer_than_a_tenth_may_be_over_90_per_cent(sure: int, passed: bool):
    found = figures(predictions(np.where(np.arange(N) < sure, 0.95, 0.7)))
    assert found["over 90 % confidence"].value == sure / N
    assert found["over 90 % confidence"].passed is passed
    assert found["over 99 % confidence"].value == 0


def test_a_confidence_of_exactly_90_per_cent_is_not_over_it():
    assert figures(predictions(0.9))["over 90 % confidence"].value == 0


@pytest.mark.parametrize(("confidence", "passed"), [(0.59, False), (0.61, True), (0.84, True), (0.86, False)])
def test_the_average_confidence_has_two_limits(confidence: float, passed: bool):
    figure = figures(predictions(confidence))["mean confidence"]
    assert figure.value == pytest.approx(confidence)
    assert figure.passed is passed


@pytest.mark.parametrize(("downs", "passed"), [(149, False), (150, True), (600, True), (601, False)])
def test_each_class_is_predicted_neither_too_rarely_nor_too_often(downs: int, passed: bool):
    rest = 1 + np.arange(N) % 2
    figure = figures(predictions(said=np.where(np.arange(N) < downs, 0, rest)))["DOWN predicted"]
    assert figure.value == downs / N
    assert figure.passed is passed


@pytest.mark.parametrize(("logit", "passed"), [(15.0, True), (-15.0, True), (15.01, False), (-4_237_513.0, False)])
def test_a_raw_logit_beyond_the_clamp_fails_on_either_side(logit: float, passed: bool):
    raw = np.zeros((N, 3))
    raw[7, 1] = logit
    figure = figures(predictions(raw_logits=raw))["largest |raw logit|"]
    assert figure.value == abs(logit)
    assert figure.interval is None
    assert figure.passed is passed
    assert figure.note == ("" if passed else "beyond it in 0.1% of the windows")


def test_accuracy_is_the_share_that_came_true():
    labels = np.random.default_rng(1).integers(0, 3, N)
    figure = figures(predictions(labels=labels))["accuracy"]
    assert figure.value == sum(int(i % 3 == label) for i, label in enumerate(labels)) / N
    assert figure.interval is not None and figure.interval.low < figure.value < figure.interval.high
    assert not figure.passed


def test_one_answer_that_is_not_finite_fails_that_gate_and_leaves_the_others():
    raw = np.zeros((N, 3))
    raw[5] = np.nan
    found = figures(predictions(raw_logits=raw))
    assert (found["answers with NaN or infinity"].value, found["answers with NaN or infinity"].passed) == (1, False)
    assert found["accuracy"].value == 1
    assert found["DOWN predicted"].value == 334 / 999  # row 5 said UP


def test_a_model_that_answers_nothing_finite_passes_nothing():
    found = figures(predictions(raw_logits=np.full((N, 3), np.inf)))
    assert not any(figure.passed for figure in found.values())
    assert found["mean confidence"].note == "no prediction is finite"


def test_damaged_weights_fail_though_the_answers_look_clean():
    figure = figures(predictions(), damaged=3)["answers with NaN or infinity"]
    assert (figure.value, figure.note) == (N, "3 of its weights are NaN or infinite")


def two_classes(labels: np.ndarray) -> Predictions:
    """Says UP, always, with 70 %."""
    return predictions(
        raw_logits=np.tile([0.0, np.log(0.7 / 0.3)], (N, 1)),
        probabilities=np.tile([0.3, 0.0, 0.7], (N, 1)),
        labels=labels,
    )


def test_a_model_of_two_classes_is_judged_on_those_alone():
    labels = np.repeat([1, 2, 0, 2], N // 4)
    found = figures(two_classes(labels))
    assert "NEUTRAL predicted" not in found
    assert found["UP predicted"].value == 1
    assert found["accuracy"].value == pytest.approx(2 / 3)  # 500 of the 750 that were not NEUTRAL


def test_a_stretch_without_any_outcome_cannot_be_judged():
    figure = figures(two_classes(np.ones(N, dtype=np.int64)))["accuracy"]
    assert (figure.value, figure.passed) == (None, False)
    assert "outcome that the model can say" in figure.note


# ---- features


def test_the_worst_column_is_named_with_its_mean_and_deviation():
    scaled = np.random.default_rng(2).normal(size=(5000, 3))
    scaled = (scaled - scaled.mean(axis=0)) / scaled.std(axis=0)
    scaled[:, 1] = 1.3 * scaled[:, 1] + 0.05
    scaled[:, 2] -= 0.2
    scale = feature_scale(scaled, ("a", "b", "c"), OWNERS)
    assert (scale.mean_column, scale.deviation_column, scale.beyond) == ("c", "b", 2)
    assert (scale.mean, scale.deviation) == (pytest.approx(0.2), pytest.approx(0.3))
    assert [figure.passed for figure in features_gate(scale, OWNERS, "training")] == [False, False]


def test_normalised_features_pass_and_absent_ones_do_not():
    fine = FeatureScale(0.0999, "a", 0.0999, "a", 0, 3)
    assert all(figure.passed for figure in features_gate(fine, OWNERS, "training"))
    absent = features_gate(None, OWNERS, "training", "not here")
    assert [(figure.passed, figure.note) for figure in absent] == [(False, "not here")] * 2


# ---- what depends on what


def test_a_draw_with_gaps_depends_on_fewer_neighbours():
    seen = predictions(spacing=10.0)
    assert (seen.sharing_bars, seen.sharing_labels) == (6, 2)
    assert (predictions().sharing_bars, predictions().sharing_labels) == (60, 15)


# ---- settings


def test_the_limits_are_the_owners():
    assert OWNERS.required == GATES and len(GATES) == 7
    assert (OWNERS.feature_mean, OWNERS.feature_deviation, OWNERS.raw_logit) == (0.1, 0.1, 15)
    assert (OWNERS.share_over_90, OWNERS.average_confidence, OWNERS.class_share) == (0.1, (0.6, 0.85), (0.15, 0.6))
    assert (OWNERS.accuracy, OWNERS.windows, OWNERS.recent_days) == (0.68, 1000, 7)


def test_every_setting_carries_its_sentence():
    assert all(field.description for field in GateSettings.model_fields.values())


def test_a_file_changes_what_it_names(tmp_path: Path):
    path = tmp_path / "gates.yaml"
    path.write_text("accuracy: 0.5\nclass_share: [0.1, 0.7]\nrequired: [accuracy, balance]\n")
    settings = read_gates(path)
    assert (settings.accuracy, settings.class_share, settings.required) == (0.5, (0.1, 0.7), ("accuracy", "balance"))
    assert settings.raw_logit == 15


def test_an_empty_file_changes_nothing(tmp_path: Path):
    (tmp_path / "gates.yaml").write_text("# all as the owners have it\n")
    assert read_gates(tmp_path / "gates.yaml") == OWNERS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuracy: 0.5\nacuracy: 0.6\n", r"gates.yaml:2: acuracy: unknown key; expected some of required, "),
        ("windows: 1000\naccuracy: 68\n", r"gates.yaml:2: accuracy: .*less than or equal to 1"),
        ("accuracy: high\n", r"gates.yaml:1: accuracy: .*valid number"),
        ("accuracy: true\n", r"gates.yaml:1: accuracy: .*valid number"),
        (
            "class_share: [0.6, 0.1]\n",
            r"gates.yaml:1: class_share: expected a smaller and a larger share, got 0.6 and 0.1",
        ),
        ("required: [acuracy]\n", r"gates.yaml:1: required: .*'accuracy'"),
        ("windows: 10\n", r"gates.yaml:1: windows: .*300"),
        ("recent_days: .inf\n", r"gates.yaml:1: recent_days: .*finite"),
        ("accuracy: 0.5\naccuracy: 0.6\n", r"gates.yaml: expected every key once"),
        ("accuracy: [0.5\n", r"gates.yaml:2: not valid YAML"),
        ("- accuracy\n", r"gates.yaml:1: expected lines of a name and its limit, such as accuracy: 0.68, and got none"),
        (
            "required: [finite, accuracy, finite]\n",
            r"gates.yaml:1: required: expected each gate once, got finite again",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_line(tmp_path: Path, text: str, words: str):
    (tmp_path / "gates.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_gates(tmp_path / "gates.yaml")


@pytest.mark.parametrize("prepare", [lambda path: None, lambda path: path.write_bytes(b"\xff\xfe"), Path.mkdir])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, prepare: Callable[[Path], object]):
    prepare(tmp_path / "gates.yaml")
    with pytest.raises(ConfigError, match=r"gates.yaml: .*--gates"):
        read_gates(tmp_path / "gates.yaml")
