"""Whether an ONNX file answers as the network that it was made from: in ONNX Runtime, against torch and float64."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from export.forward import Progress
from export.onnx_files import OnnxFile
from export.series import Series
from export.unseen import all_ends
from export.windows import windows_ending_at
from signalserve.bundle import ScalerValues
from signalserve.environment import TELEMETRY_VARIABLE
from signalserve.errors import BundleError
from signalserve.golden import golden_window

WINDOWS: Final = 1000
"""What a file is checked on."""

BATCH: Final = 256

BOUND: Final = 1e-5
"""Largest difference of a probability from torch's; from float64 it is the manifest's numeric bound."""

LOGIT_BOUND: Final = 1e-4
"""Of a logit, as a share of it where it is above 1: float32 sums in another order through 60 steps, and the temperature
has yet to divide it."""

RUNS: Final = 3
"""How often each window is answered for a check: by ONNX Runtime, torch, and torch in float64."""

Windows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """The largest one, of a probability, and of a logit (as a share of it where it is above 1)."""

    probability: float
    logit: float


@dataclass(frozen=True)
class Agreement:
    """How far a file's answers in ONNX Runtime lie from those of its network in torch, and in float64."""

    windows: int
    torch: Difference
    float64: Difference


def real_windows(file: OnnxFile, series: Series) -> Windows:
    """WINDOWS of the series' windows, spread evenly over all of it (all that there are, if they are fewer).

    Nothing is fitted or judged, so that also bars which taught the model will do.
    """
    ends = all_ends(series, file.schema.window, 0).ends
    chosen = np.unique(np.linspace(0, len(ends) - 1, WINDOWS).round().astype(np.int64))
    return windows_ending_at(series.rows.astype(np.float32), ends[chosen], file.schema.window)


def generated_windows(file: OnnxFile) -> Windows:
    """Without bars: the golden window, then noise of one standard deviation around the scaler's means, WINDOWS in all.

    A column that several models read is on the scale of the first.
    """
    known: dict[str, tuple[float, float]] = {}
    for manifest in (bundle.manifest for bundle in file.bundles):
        for column, mean, scale in zip(manifest.columns, manifest.scaler.mean, manifest.scaler.scale, strict=True):
            known.setdefault(column, (mean, scale))
    means, scales = zip(*(known[column] for column in file.schema.columns), strict=True)
    noise = np.random.default_rng(0).normal(size=(WINDOWS - 1, file.schema.window, len(means)))
    golden = golden_window(ScalerValues(mean=list(means), scale=list(scales)), file.schema.window)
    return np.concatenate([golden[None], (np.array(means) + np.array(scales) * noise).astype(np.float32)])


def check(file: OnnxFile, windows: Windows, progress: Progress) -> Agreement:
    """Answer the same windows by the file in ONNX Runtime, by its network in torch, and in float64, and compare.

    windows: (n, window, features), raw.  Raises BundleError for a file that is not valid ONNX, or differs by more than
    the bounds above.
    """
    try:
        onnx.checker.check_model(file.content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{file.stem}.onnx: expected a valid ONNX file, got {error}") from None
    session = _session(file.content)
    names = [output.name for output in session.get_outputs()]
    double = copy.deepcopy(file.module).double()
    # equal ones, so that every model counts
    weights = {"weights": np.full(len(file.bundles), 1 / len(file.bundles))} if file.takes_weights else {}

    def answers(run: Callable[[dict[str, npt.NDArray[Any]]], Sequence[Floats]]) -> list[Floats]:
        parts = []
        for start in range(0, len(windows), BATCH):
            some = windows[start : start + BATCH]
            parts.append(run({"windows": some, **weights}))
            progress(len(some))
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    got = answers(lambda inputs: session.run(names, inputs))
    agreement = Agreement(
        len(windows),
        torch=_difference(names, got, answers(lambda inputs: _in_torch(file.module, inputs))),
        float64=_difference(names, got, answers(lambda inputs: _in_torch(double, inputs))),
    )
    _require(file, "torch", agreement.torch, BOUND)
    _require(file, "float64", agreement.float64, max(bundle.manifest.numeric_bound for bundle in file.bundles))
    return agreement


def _session(content: bytes) -> Any:
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def _in_torch(module: nn.Module, inputs: Mapping[str, npt.NDArray[Any]]) -> list[Floats]:
    with torch.inference_mode():
        return [output.numpy() for output in module(*(torch.from_numpy(array) for array in inputs.values()))]


def _difference(names: Sequence[str], got: Sequence[Floats], expected: Sequence[Floats]) -> Difference:
    probability = logit = 0.0
    for name, ours, theirs in zip(names, got, expected, strict=True):
        apart = np.abs(ours - theirs)
        if name.startswith("probabilities"):
            probability = np.maximum(probability, apart.max())  # which keeps a NaN
        else:
            logit = np.maximum(logit, (apart / np.maximum(1, np.abs(theirs))).max())
    return Difference(float(probability), float(logit))


def _require(file: OnnxFile, whose: str, found: Difference, bound: float) -> None:
    for what, difference, limit in (("probability", found.probability, bound), ("logit", found.logit, LOGIT_BOUND)):
        if not difference <= limit:  # also NaN
            raise BundleError(
                f"{file.stem}.onnx: expected every {what} within {limit:g} of {whose}'s, got one {difference:.2g} "
                "away; install the locked requirements, with whose torch and onnxruntime this is tested"
            )
