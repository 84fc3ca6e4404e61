"""A bundle over all windows of a series, in batches: what diagnosing, calibrating, judging and comparing read."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from export.windows import batches
from signalserve.bundle import Bundle
from signalserve.engine import Engine, Output, create_engine

BATCH: Final = 256
"""Windows at a time: 9 MB as float64, and no engine here is faster with more (bench/lab.py)."""

Progress = Callable[[int], object]
"""Told how many windows have just been done."""


def forward(
    bundle: Bundle,
    rows: npt.NDArray[np.float64],
    ends: npt.NDArray[np.int64],
    *,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Output:
    """Raw logits and probabilities of the windows ending at `ends`, in that order; rows that are not finite are kept.

    rows: (n, features), raw, in the bundle's column order.  A window reaches the model as float32, as a request's does.
    engine: by default the service's own, on the CPU or the first GPU.
    """
    running = engine or create_engine(bundle, engine="onnxruntime", device="auto")
    single = rows.astype(np.float32)
    done = []
    for windows in batches(single, ends, bundle.manifest.window, BATCH):
        done.append(running.predict_rows(windows))
        if progress:
            progress(len(windows))
    return Output(
        np.concatenate([output.raw_logits for output in done]),
        np.concatenate([output.probabilities for output in done]),
    )
