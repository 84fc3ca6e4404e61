"""Generated predictions and bars, minute by minute, as workers write them into the journal's spool."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import uuid_utils

from signalserve.bundle import Bundle
from signalserve.demo import demo_candles
from signalserve.journal.lines import ArmLine, BundleLine, ClosesLine, PredictionLine
from signalserve.settings import GENERATIONS

MINUTE_MS: Final = 60_000
ARMS: Final = 3
WEIGHTS: Final = (0.4, 0.6)
WARNINGS: Final = ("failed_gates",)
CONFIG: Final = "0" * 64
FEED: Final = "history"
OFF_SCALE: Final = 0.01
"""How likely a column is off its model's scale."""

Floats = npt.NDArray[np.float64]


class History:
    """What a service that answers by the pool writes of one window per symbol and minute: all three arms.

    symbols: those of the bundles.
    """

    def __init__(self, bundles: Sequence[Bundle], minutes: int, end_ms: int) -> None:
        """bundles: one of each generation and symbol.  minutes: that can be asked for.  end_ms: when the last one's bar
        closes.
        """
        self._bundles: Mapping[tuple[str, str], Bundle] = {
            (bundle.manifest.generation, bundle.manifest.symbol): bundle for bundle in bundles
        }
        self.symbols = sorted({symbol for _, symbol in self._bundles})
        self._first_ms = end_ms - (minutes - 1) * MINUTE_MS
        self._closes = {
            symbol: demo_candles(symbol, minutes, end_ms=end_ms - MINUTE_MS).close.tolist() for symbol in self.symbols
        }
        self._draw = np.random.default_rng(1)

    def header(self) -> list[BundleLine]:
        """What every segment begins with."""
        return [_bundle_line(bundle) for bundle in self._bundles.values()]

    def of(self, symbol: str, minute: int) -> tuple[PredictionLine, ClosesLine]:
        """A prediction, and the closing price that is new with it."""
        as_of_ms, close = self._first_ms + minute * MINUTE_MS, self._closes[symbol][minute]
        line = PredictionLine(
            prediction_id=str(uuid_utils.uuid7()),
            request_id=f"bot-{symbol}-{minute}",
            endpoint="ensemble",
            symbol=symbol,
            as_of_ms=as_of_ms,
            received_ms=as_of_ms + 800,
            close=close,
            feed=FEED,
            config=CONFIG,
            mode="ensemble",
            assigned="ensemble",
            override=False,
            degraded=None,
            latency_ms=2.5,
            arms=self._arms(symbol),
        )
        return line, ClosesLine(symbol, FEED, minute == 0, MINUTE_MS, as_of_ms, [close])

    def _arms(self, symbol: str) -> list[ArmLine]:
        bundles = [self._bundles[generation, symbol] for generation in GENERATIONS]
        temperatures = [bundle.manifest.calibration.temperature for bundle in bundles]
        raw_logits = self._draw.normal(scale=temperatures, size=(3, 2)).T  # (models, classes)
        probabilities = _softmax(raw_logits / np.array(temperatures)[:, None])
        hashes = [bundle.sha256 for bundle in bundles]
        columns = [len(bundle.manifest.columns) for bundle in bundles]
        singles = [
            ArmLine(
                arm,
                False,
                False,
                probabilities[i].tolist(),
                raw_logits[i].tolist(),
                temperatures[i],
                [hashes[i]],
                [1.0],
                None,
                WARNINGS,
                off_scale=self._draw.binomial(columns[i], OFF_SCALE) / columns[i],
                largest_z=self._draw.uniform(3, 10),
            )
            for i, arm in enumerate(GENERATIONS)
        ]
        mean = np.array(WEIGHTS) @ probabilities
        pool = ArmLine("ensemble", True, False, mean.tolist(), None, 1.0, hashes, WEIGHTS, "linear", WARNINGS)
        return [*singles, pool]


def _softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits)
    shares: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def _bundle_line(bundle: Bundle) -> BundleLine:
    manifest = bundle.manifest
    return BundleLine(
        sha256=bundle.sha256,
        generation=manifest.generation,
        symbol=manifest.symbol,
        version=manifest.version,
        temperature=manifest.calibration.temperature,
        clamp=manifest.calibration.clamp,
        interval_ms=manifest.interval_ms,
        horizon_bars=manifest.labels.horizon_bars if manifest.labels else None,
        neutral_band=manifest.labels.neutral_band if manifest.labels else None,
        base_rates=[1 / 3, 1 / 3, 1 / 3],
    )
