"""The window whose answer is known, and how far an answer may be from it."""

from pathlib import Path

import numpy as np
import pytest
from reference_model import ReferenceModel
from stores import BTC, write_model

from signalserve.bundle import Manifest, ScalerValues, load_bundle
from signalserve.golden import golden_mismatch, golden_window


@pytest.fixture(scope="module", params=["v6_fixed", "v8"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("store"), request.param, BTC)


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return load_bundle(folder).manifest


def test_the_golden_window_is_on_the_models_scale_and_no_two_columns_are_alike():
    window = golden_window(ScalerValues(mean=[100_000.0] * 5, scale=[10.0] * 5), 60)
    assert window.shape == (60, 5)
    assert window.dtype == np.float32
    assert np.abs(window - 100_000).max() < 15.1
    assert len(np.unique(window, axis=1).T) == 5
    assert (np.diff(window, axis=0) != 0).any(axis=0).all()  # and none is constant


def test_the_manifest_keeps_what_a_float64_reference_answers(folder: Path, manifest: Manifest):
    window = golden_window(manifest.scaler, manifest.window)
    raw_logits, probabilities = ReferenceModel(folder).answer(window[None])
    assert manifest.golden.raw_logits == pytest.approx(raw_logits[0].tolist(), abs=1e-10)
    assert manifest.golden.probabilities == pytest.approx(probabilities[0].tolist(), abs=1e-10)


def test_the_right_answer_has_no_mismatch(manifest: Manifest):
    assert golden_mismatch(manifest, manifest.golden.raw_logits, manifest.golden.probabilities) is None


@pytest.mark.parametrize(("off", "is_right"), [(0.9e-5, True), (1.1e-5, False)])
def test_probabilities_may_differ_by_the_numeric_bound(manifest: Manifest, off: float, is_right: bool):
    probabilities = np.array(manifest.golden.probabilities) + np.array([off, 0, -off])
    mismatch = golden_mismatch(manifest, manifest.golden.raw_logits, probabilities)
    assert (mismatch is None) == is_right


def test_a_mismatch_says_what_was_expected_and_what_came(manifest: Manifest):
    swapped = manifest.golden.probabilities[::-1]
    assert "golden window: expected probabilities [" in str(
        golden_mismatch(manifest, manifest.golden.raw_logits, swapped)
    )
    logits = [logit + 1 for logit in manifest.golden.raw_logits]
    assert "expected raw logits [" in str(golden_mismatch(manifest, logits, manifest.golden.probabilities))


@pytest.mark.parametrize("answer", [[], [0.5, 0.5], [float("nan")] * 3, [[0.2, 0.3, 0.5]]])
def test_an_answer_of_another_shape_or_not_finite_is_a_mismatch(manifest: Manifest, answer: list):
    assert golden_mismatch(manifest, manifest.golden.raw_logits, answer) is not None


def test_raw_logits_that_the_clamp_hides_are_a_mismatch_all_the_same(tmp_path: Path):
    manifest = load_bundle(write_model(tmp_path, "v8", BTC, gain=1e6, temperature=8.0)).manifest
    assert np.abs(manifest.golden.raw_logits).max() > 1000  # the probabilities stay the same below
    wrong = [10 * logit for logit in manifest.golden.raw_logits]
    assert "raw logits" in str(golden_mismatch(manifest, wrong, manifest.golden.probabilities))
