"""A file that does not answer as its network is found out, whatever is wrong with it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from stores import write_model

from export.onnx_check import RUNS, WINDOWS, check, generated_windows, real_windows
from export.onnx_files import OnnxFile, ensemble_file, model_file
from export.series import Series
from signalserve.bundle import load_bundle
from signalserve.errors import BundleError
from signalserve.features import COLUMNS
from signalserve.golden import golden_window
from signalserve.settings import Pool

TINY: dict[str, Any] = {"hidden": 4, "layers": 1}


@pytest.fixture
def file(tmp_path: Path) -> OnnxFile:
    return model_file(load_bundle(write_model(tmp_path, **TINY)))


def ignore(_: int) -> None:
    pass


def test_a_right_file_agrees_and_every_answer_is_told_of(file: OnnxFile):
    told: list[int] = []
    agreement = check(file, generated_windows(file), told.append)
    assert agreement.windows == WINDOWS
    assert sum(told) == RUNS * WINDOWS
    assert 0 < agreement.float64.probability < 1e-5
    assert 0 < agreement.float64.logit < 1e-4


def test_an_ensemble_is_checked_whole(tmp_path: Path):
    bundles = [load_bundle(write_model(tmp_path, generation, **TINY)) for generation in ("v6_fixed", "v8")]
    right, wrong = (ensemble_file(bundles, Pool(temperature=temperature), {}) for temperature in (1.0, 1.01))
    windows = generated_windows(right)[:300]
    assert check(right, windows, ignore).torch.probability < 1e-5
    with pytest.raises(BundleError, match=r"ensemble_BTC-USD.onnx: expected every probability within 1e-05 of torch's"):
        check(dataclasses.replace(right, content=wrong.content), windows, ignore)


def test_another_models_content_is_refused_with_the_difference(file: OnnxFile, tmp_path: Path):
    other = model_file(load_bundle(write_model(tmp_path, version="2", **TINY)))
    with pytest.raises(BundleError, match=r"v8_BTC-USD_1.onnx: expected .* of torch's, got one 0\.\d+ away"):
        check(dataclasses.replace(file, content=other.content), generated_windows(file)[:10], ignore)


def test_a_manifests_own_bound_holds_against_float64(file: OnnxFile):
    strict = file.bundles[0].manifest.model_copy(update={"numeric_bound": 1e-12})
    bundles = [dataclasses.replace(file.bundles[0], manifest=strict)]
    with pytest.raises(BundleError, match="within 1e-12 of float64's"):
        check(dataclasses.replace(file, bundles=bundles), generated_windows(file)[:10], ignore)


def test_an_answer_that_is_no_number_is_a_difference(file: OnnxFile):
    windows = generated_windows(file)[:2]
    windows[0] = np.nan
    with pytest.raises(BundleError, match="got one nan away"):
        check(file, windows, ignore)


def test_what_is_not_valid_onnx_is_refused(file: OnnxFile):
    model = onnx.load_from_string(file.content)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(BundleError, match=r"expected a valid ONNX file, got .*NoSuchOperator"):
        check(dataclasses.replace(file, content=model.SerializeToString()), generated_windows(file), ignore)


def test_generated_windows_are_the_golden_one_and_noise_on_the_scalers_scale(file: OnnxFile):
    windows, scaler = generated_windows(file), file.bundles[0].manifest.scaler
    assert windows.shape == (WINDOWS, 60, len(COLUMNS))
    np.testing.assert_array_equal(windows[0], golden_window(scaler, 60))
    scaled = (windows[1:] - np.array(scaler.mean)) / np.array(scaler.scale)
    assert np.abs(scaled.mean(axis=(0, 1))).max() < 0.05
    assert np.abs(scaled.std(axis=(0, 1)) - 1).max() < 0.05


@pytest.mark.parametrize(("bars", "expected"), [(5000, WINDOWS), (200, 141)])
def test_real_windows_are_spread_over_the_whole_series(file: OnnxFile, bars: int, expected: int):
    rows = np.repeat(np.arange(bars, dtype=np.float64)[:, None], len(COLUMNS), axis=1)
    series = Series("BTC-USD", Path("bars"), 60_000, COLUMNS, rows, None, None, first_row=0)
    ends = real_windows(file, series)[:, -1, 0]
    assert len(ends) == len(set(ends)) == expected
    assert (ends[0], ends[-1]) == (59, bars - 1)
    assert np.ptp(np.diff(ends)) <= 1
