"""Feature rows -> windows. All windows of a series are one view of its rows; only a batch is ever copied."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


def all_windows(rows: Rows, window: int) -> Rows:
    """Every run of `window` consecutive rows, oldest first, as a read-only view.

    rows: (n, features).  Returns (n - window + 1, window, features): window i ends at row i + window - 1.
    Raises ValueError where there are fewer rows than a window has.
    """
    if rows.ndim != 2 or not 1 <= window <= len(rows):
        raise ValueError(f"rows: expected (n, features) with n of at least {window}, got {rows.shape}")
    view = np.lib.stride_tricks.sliding_window_view(rows, window, axis=0)  # (n - window + 1, features, window)
    return view.transpose(0, 2, 1)


def windows_ending_at(rows: Rows, ends: npt.NDArray[np.int64], window: int) -> Rows:
    """The windows whose last rows are `ends`, copied: (len(ends), window, features).

    Raises ValueError for an end that has no whole window before it.
    """
    if len(ends) and (ends.min() < window - 1 or ends.max() >= len(rows)):
        raise ValueError(f"ends: expected {window - 1} … {len(rows) - 1}, got {ends.min()} … {ends.max()}")
    copied: Rows = all_windows(rows, window)[ends - (window - 1)]
    return copied


def batches(rows: Rows, ends: npt.NDArray[np.int64], window: int, size: int) -> Iterator[Rows]:
    """The windows ending at `ends`, in that order, `size` at a time (the last batch may be smaller)."""
    for start in range(0, len(ends), size):
        yield windows_ending_at(rows, ends[start : start + size], window)
