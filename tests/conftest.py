"""What several tests share: the real bars, where they are."""

from pathlib import Path

import pytest

from signalserve.candle_files import find_candle_files, read_candles
from signalserve.candles import Candles

REAL_BARS = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_bars() -> dict[str, Candles]:
    """Symbol -> 43,199 real one-minute bars; skips where they are not beside the checkout.

    A test that asks for this has a twin on generated candles.
    """
    if not REAL_BARS.is_dir():
        pytest.skip("the real bars are not here")
    pytest.importorskip("pyarrow", reason="reading the real bars needs pyarrow")
    return {symbol: read_candles(path) for symbol, path in find_candle_files(REAL_BARS).items()}
