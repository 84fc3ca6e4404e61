"""A bundle over all windows of a series, in batches: what diagnosing, calibrating, judging and comparing read."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt

from export.windows import windows_ending_at
from signalserve.bundle import Bundle
from signalserve.engine import Engine, Output, create_engine

BATCH: Final = 64
"""Windows at a time: no engine here is faster with more (bench/lab.py tries 64 … 1,024), and progress and an interrupt
come sooner with fewer."""

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
    engine: by default the service's own, on the CPU or the first GPU.  An interrupt is heeded after a batch.
    """
    running = engine or create_engine(bundle, engine="onnxruntime", device="auto")
    single, window = rows.astype(np.float32), bundle.manifest.window
    done = []
    pool = ThreadPoolExecutor(workers_for(running))
    try:
        for output in pool.map(
            lambda some: running.predict_rows(windows_ending_at(single, some, window)),
            [ends[start : start + BATCH] for start in range(0, len(ends), BATCH)],
        ):
            done.append(output)
            if progress:
                progress(len(output.finite))
    finally:
        pool.shutdown(cancel_futures=True)
    return Output(
        np.concatenate([output.raw_logits for output in done]),
        np.concatenate([output.probabilities for output in done]),
    )


def workers_for(engine: Engine) -> int:
    """Batches at once: one for each core, since an engine takes one thread; one on a GPU, where they would queue."""
    return len(os.sched_getaffinity(0)) if engine.device == "cpu" else 1
