"""Spool lines as workers write them, for every test that fills a journal; fields are given by name."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import uuid_utils

from signalserve.journal.lines import ArmLine, BundleLine, ClosesLine, ConfigLine, PredictionLine

BTC = "BTC-USD"
AS_OF_MS = 1_764_000_060_000
MINUTE_MS = 60_000
V6, V8, CONFIG = "6" * 64, "8" * 64, "c" * 64  # sha256 of two bundles and a configuration


def arm(name: str = "v8", **fields: Any) -> ArmLine:
    """One model's answer, or for the name `ensemble` the pool's."""
    line = ArmLine(name, True, False, [0.301, 0.228, 0.471], [3.92, -9.24, 8.33], 8.0, [V8], [1.0], None, [], 0.0, 3.2)
    if name == "v6_fixed":
        line = replace(line, bundles=[V6])
    if name == "ensemble":
        pool = {"temperature": 1.1, "bundles": [V6, V8], "weights": [0.4, 0.6], "method": "log"}
        line = replace(line, raw_logits=None, off_scale=None, largest_z=None, **pool)
    return replace(line, **fields)


def prediction(arms: Sequence[ArmLine] = (arm(),), **fields: Any) -> PredictionLine:
    """One window's answers, with an id of its own; received 300 ms after AS_OF_MS. Its feed is that of `closes`."""
    return replace(
        PredictionLine(
            prediction_id=str(uuid_utils.uuid7()),
            request_id="bot-7",
            endpoint="ensemble",
            symbol=BTC,
            as_of_ms=AS_OF_MS,
            received_ms=AS_OF_MS + 300,
            close=100.0,
            feed="w-1",
            config=CONFIG,
            mode="v8",
            assigned="v8",
            override=False,
            degraded=None,
            latency_ms=1.25,
            arms=list(arms),
        ),
        **fields,
    )


def bundle(sha256: str = V8, **fields: Any) -> BundleLine:
    generation = "v6_fixed" if sha256 == V6 else "v8"
    return replace(BundleLine(sha256, generation, BTC, "1", 8.0, 15.0, MINUTE_MS, 15, 1e-3, [0.3, 0.4, 0.3]), **fields)


def config(**fields: Any) -> ConfigLine:
    return replace(ConfigLine(CONFIG, "defaults: …", AS_OF_MS, "ensemble", 7, None), **fields)


def closes(
    *prices: float, last_ms: int = AS_OF_MS, symbol: str = BTC, feed: str = "w-1", begins: bool = False
) -> ClosesLine:
    """Prices of consecutive minutes, the last of which closed at last_ms."""
    return ClosesLine(symbol, feed, begins, MINUTE_MS, last_ms, list(prices))
