"""Windows are views, and the right ones."""

import numpy as np
import pytest

from export.windows import all_windows, batches, windows_ending_at

ROWS = np.arange(100 * 3, dtype=np.float32).reshape(100, 3)


def test_windows_share_the_memory_of_their_rows() -> None:
    windows = all_windows(ROWS, 60)
    assert windows.shape == (41, 60, 3)
    assert np.shares_memory(windows, ROWS)
    assert not windows.flags.writeable


def test_window_i_holds_rows_i_and_on() -> None:
    windows = all_windows(ROWS, 60)
    assert all((windows[i] == ROWS[i : i + 60]).all() for i in range(41))


def test_a_window_ends_at_its_end() -> None:
    picked = windows_ending_at(ROWS, np.array([99, 59]), 60)
    assert (picked[0] == ROWS[40:]).all()
    assert (picked[1] == ROWS[:60]).all()


def test_batches_together_are_all_windows_in_order() -> None:
    ends = np.arange(59, 100)
    parts = list(batches(ROWS, ends, 60, size=16))
    assert [len(part) for part in parts] == [16, 16, 9]
    assert (np.concatenate(parts) == all_windows(ROWS, 60)).all()


@pytest.mark.parametrize("end", [58, 100])
def test_an_end_without_a_whole_window_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match="expected 59 … 99"):
        windows_ending_at(ROWS, np.array([end]), 60)


def test_fewer_rows_than_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 101"):
        all_windows(ROWS, 101)
