"""Contests of two models whose logits are made up, on a made-up market, for every test that compares."""

from pathlib import Path
from typing import Any

import numpy as np

from export.contest import Contest, parts
from export.gates import GateSettings
from export.series import Series
from signalserve.bundle import Bundle, CalibrationValues, Gates, Labels, Manifest, Span, Spans
from signalserve.candles import iso
from signalserve.engine import Output

BARS, WINDOW, HORIZON, BAND = 3050, 10, 1, 3e-4
START_MS, MINUTE_MS = 1_750_000_000_000 // 60_000 * 60_000, 60_000
TAUGHT = Labels(horizon_bars=HORIZON, neutral_band=BAND)


def series(symbol: str = "BTC-USD", bars: int = BARS, seed: int = 0) -> Series:
    """A random walk of closes; the rows are of no use to anybody."""
    steps = np.random.default_rng(seed).normal(scale=6e-4, size=bars)
    times = START_MS + MINUTE_MS * np.arange(bars)
    close = 100 * np.exp(steps.cumsum())
    return Series(symbol, Path(f"{symbol}.csv"), MINUTE_MS, ("a",), np.zeros((bars, 1)), times, close, 0)


def span(first: int, last: int) -> Span:
    """Of the bars of every series here, both ends included."""
    return Span(start=iso(START_MS + MINUTE_MS * first), end=iso(START_MS + MINUTE_MS * last))


def bundle(generation: str, symbol: str = "BTC-USD", *, outputs: int = 3, **fields: Any) -> Bundle:
    manifest = {
        "generation": generation,
        "symbol": symbol,
        "version": "1",
        "architecture": {"outputs": outputs},
        "columns": ["a"],
        "window": WINDOW,
        "interval_ms": MINUTE_MS,
        "labels": TAUGHT,
        "calibration": CalibrationValues(clamp=15, temperature=1, method="by hand"),
        "spans": Spans(train=span(0, 499), calibration=span(500, 2499), test=None),
        "gates": None,
    }
    return Bundle(Path(generation), Manifest.model_construct(**{**manifest, **fields}), {}, {}, generation * 8)


def contest(symbol: str = "BTC-USD", *, outputs: tuple[int, int] = (3, 3), **fields: Any) -> Contest:
    """A V6-fixed and a V8 on one market; calibrated on about 2,000 windows, judged on about 550."""
    both = tuple(bundle(g, symbol, outputs=n, **fields) for g, n in zip(("v6_fixed", "v8"), outputs, strict=True))
    one = series(symbol, seed=sum(map(ord, symbol)))
    calibration, test = parts([one, one], [b.manifest for b in both], HORIZON, None, False)
    return Contest(symbol, both, (one, one), TAUGHT, one.labels(HORIZON, BAND), calibration, test)


def output(contest: Contest, *, knows: float, seed: int = 0, outputs: int = 3) -> Output:
    """Logits that lean to what will come by `knows`, over noise of one; temperature 1."""
    labels = contest.labels[contest.ends]
    logits = np.random.default_rng(seed).normal(size=(len(labels), 3)) + knows * np.eye(3)[labels]
    if outputs == 1:
        logits = np.stack([np.zeros(len(labels)), logits[:, 2] - logits[:, 0]], axis=1)
    exponentials = np.exp(logits)
    known = exponentials / exponentials.sum(axis=1, keepdims=True)
    return Output(logits, known if outputs == 3 else np.stack([known[:, 0], 0 * known[:, 0], known[:, 1]], axis=1))


def gates(*failed: str, **settings: Any) -> Gates:
    """As judge leaves them. settings: what is not as the models' owners have it."""
    judged_with = GateSettings(**settings)
    passed = [gate for gate in judged_with.required if gate not in failed]
    return Gates(passed=passed, failed=list(failed), report={"settings": judged_with.model_dump(mode="json")})
