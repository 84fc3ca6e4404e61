"""What a bundle keeps of its reference is what its network said, and says the same again."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from signalserve.bundle import CalibrationValues
from signalserve.drift.kept import KeptStream, probabilities, read_kept
from signalserve.errors import BundleError
from signalserve.pipeline import Calibration, probabilities_of

CALIBRATION = CalibrationValues(clamp=15.0, temperature=2.5, method="nll")
TIMES = np.arange(4) * 60_000
LOGITS = np.array([[1.0, 2.0, 3.0], [-40.0, 0.0, 40.0], [0.0, 0.0, 0.0], [5.0, 1.0, -3.0]])
SHARES = np.array([0.0, 0.5, 0.0, 0.25])


def bundle(tensors: Any) -> Any:
    return SimpleNamespace(path=Path("bundles/v8/BTC-USD/2"), stream=tensors)


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_those_of_the_pipeline(classes: int) -> None:
    logits = 20 * np.random.default_rng(0).normal(size=(50, classes))
    expected = probabilities_of(torch.from_numpy(logits), Calibration(15.0, 2.5)).numpy()
    assert probabilities(logits, CALIBRATION) == pytest.approx(expected, abs=1e-12)


def test_a_network_of_two_classes_never_says_neutral() -> None:
    known = probabilities(LOGITS[:, :2], CALIBRATION)
    assert known.shape == (4, 3)
    assert set(known[:, 1]) == {0.0}
    assert known.sum(axis=1) == pytest.approx(np.ones(4))


def test_logits_however_large_are_clamped_first() -> None:
    assert probabilities(1e30 * LOGITS, CALIBRATION) == pytest.approx(
        probabilities(15.0 * np.sign(LOGITS), CALIBRATION)
    )


def test_its_stream_keeps_raw_logits_beyond_the_clamp() -> None:
    stream = KeptStream(TIMES, LOGITS, SHARES).stream(CALIBRATION)
    assert stream.largest_logit is not None and stream.off_scale is not None
    assert stream.largest_logit.tolist() == [3.0, 40.0, 0.0, 5.0]
    assert stream.off_scale.tolist() == SHARES.tolist()
    assert stream.confidence[1] == pytest.approx(1 / (1 + math.exp(-15 / 2.5) + math.exp(-30 / 2.5)))


def test_what_is_written_is_read_back() -> None:
    kept = KeptStream(TIMES, LOGITS, SHARES)
    tensors = kept.tensors()
    assert {name: tensor.dtype.name for name, tensor in tensors.items()} == {
        "as_of_ms": "int64",
        "raw_logits": "float32",
        "off_scale": "float32",
    }
    again = read_kept(bundle(tensors))
    assert again is not None
    assert again.raw_logits.tolist() == LOGITS.tolist()
    assert again.stream(CALIBRATION).confidence.tolist() == kept.stream(CALIBRATION).confidence.tolist()


def test_a_bundle_that_keeps_none_has_none() -> None:
    assert read_kept(bundle(None)) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"raw_logits": LOGITS[:2]}, "raw logits"),
        ({"raw_logits": LOGITS[:, :1]}, "raw logits"),
        ({"raw_logits": LOGITS[0]}, "raw logits"),
        ({"off_scale": SHARES[:2]}, "off_scale"),
        ({"raw_logits": np.where(LOGITS == 0, np.nan, LOGITS)}, "finite"),
        ({"as_of_ms": TIMES[::-1]}, "ascending"),
        ({"as_of_ms": TIMES * 0}, "ascending"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_by_its_folder_and_fault(changed: dict[str, Any], words: str) -> None:
    tensors = {**KeptStream(TIMES, LOGITS, SHARES).tensors(), **changed}
    with pytest.raises(BundleError, match=f"BTC-USD/2: stream.safetensors: .*{words}.*restore"):
        read_kept(bundle(tensors))


def test_a_file_that_lacks_a_tensor_is_refused_by_its_name() -> None:
    with pytest.raises(BundleError, match="raw_logits"):
        read_kept(bundle({"as_of_ms": TIMES}))
