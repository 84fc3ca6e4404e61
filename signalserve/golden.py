"""One window whose answer is known: how the service proves that it can answer, at load and ever after.

The window is made from the bundle's own scaler, so that every model has one, whatever its columns. Its answer was
computed in float64 when the bundle was written and stands in the manifest.
"""

import numpy as np
import numpy.typing as npt

from signalserve.bundle import Golden, Manifest, ScalerValues


def golden_window(scaler: ScalerValues, window: int) -> npt.NDArray[np.float32]:
    """Raw features of shape (window, features): smooth waves of up to 1.5 standard deviations, each column its own."""
    step = np.arange(window)[:, None]  # (window, 1)
    column = np.arange(len(scaler.mean))[None, :]  # (1, features)
    scaled = 1.5 * np.sin(0.21 * step + 0.7 * column) * np.cos(0.13 * column)  # (window, features)
    raw: npt.NDArray[np.float64] = np.asarray(scaler.mean) + scaled * np.asarray(scaler.scale)
    return raw.astype(np.float32)


def golden_mismatch(manifest: Manifest, raw_logits: npt.ArrayLike, probabilities: npt.ArrayLike) -> str | None:
    """What is wrong with an answer to the golden window, in words; None where it is right.

    raw_logits, probabilities: shape (classes,). Compared with the manifest's float64 answer: probabilities within its
    numeric bound, logits within 1,000 × that bound plus 1e-4 of their size (float32 rounding through 60 steps).
    """
    pairs = (
        ("probabilities", probabilities, manifest.golden.probabilities, 0.0, manifest.numeric_bound),
        ("raw logits", raw_logits, manifest.golden.raw_logits, 1e-4, 1e3 * manifest.numeric_bound),
    )
    for what, got, expected, relative, absolute in pairs:
        answer = np.asarray(got, dtype=np.float64)
        if answer.shape != (len(expected),) or not np.allclose(answer, expected, rtol=relative, atol=absolute):
            return f"golden window: expected {what} {_short(expected)}, got {_short(answer)}"
    return None


def golden_answer(model: object, scaler: ScalerValues, window: int) -> Golden:
    """The answer that a manifest keeps. model: a CalibratedModel in float64."""
    import torch  # only where bundles are written: the watcher reads manifests without torch

    from signalserve.pipeline import CalibratedModel

    assert isinstance(model, CalibratedModel)
    with torch.inference_mode():
        raw_logits, probabilities = model(torch.from_numpy(golden_window(scaler, window))[None])
    return Golden(raw_logits=raw_logits[0].tolist(), probabilities=probabilities[0].tolist())


def _short(values: npt.ArrayLike) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in np.ravel(values)) + "]"
