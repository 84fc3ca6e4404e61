"""One symbol's bars -> its two reference bundles: V6 as it was, then mended, and V8."""

import copy
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy
import sklearn
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

import signalserve
from export import train
from export.forward import Progress
from export.gates import GateSettings
from export.judging import TooFewWindows, draw_samples, judge_bundle
from export.labels import neutral_band
from export.quality import describe, report_of
from export.reference_stream import describe_stream, keep
from export.scores import baselines, class_shares
from export.series import Series
from export.split import Part, Split, cut, split_in_time, usable
from export.temperature import fit_temperature
from export.train import Epoch, Trained
from signalserve.bundle import (
    Bundle,
    CalibrationValues,
    Gates,
    Manifest,
    ScalerValues,
    Span,
    sha256_of,
    write_bundle,
)
from signalserve.candle_files import read_candles
from signalserve.candles import INTERVAL_MS, iso
from signalserve.errors import DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features
from signalserve.golden import golden_answer
from signalserve.network import architecture_of
from signalserve.pipeline import CalibratedModel, Calibration, Scaler

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Show = Callable[[int, int, Epoch], None]
"""Told of each epoch: how many are done, of how many, and the last of them."""

HORIZON: Final = 15
"""Bars that a label looks ahead, as the owners' LSTMs do."""

CLAMP: Final = 15.0
"""The owners' own limit: three e-folds past one-class certainty."""

VALIDATION_SHARE: Final = 0.15
"""The end of the training part, on which V8 chooses its epoch and its head."""

NOTE: Final = (
    "A reference for the service, not an edge: little better than chance. report.nll_gain says how much of what it "
    "gains over the base rates lies in telling quiet minutes from moving ones, and how much in their direction."
)

# ---- what both generations of a symbol learn from


@dataclass(frozen=True)
class Market:
    """One symbol's bars, made ready once.

    band: of the labels, a share of the close.  labels: (n,), UNKNOWN in the last HORIZON rows.
    """

    series: Series
    band: float
    labels: Classes
    split: Split

    def labels_of(self, part: Part) -> Classes:
        return self.labels[part.ends]


def read_market(symbol: str, path: Path) -> Market:
    """Raises DataError for a file that cannot be read, or with too few bars for three parts and a validation."""
    candles = read_candles(path)
    try:
        # The first window is the first that a request of candles could send: its averages have settled as they will
        # have in the service, where rows just past the warm-up still lean on the first close.
        split = split_in_time(usable(len(candles), MIN_CANDLES - WINDOW, WINDOW, HORIZON))
        validation_cut(split.train)
    except ValueError as error:
        raise DataError(f"{path}: too few bars to train, calibrate and test on: {error}") from None
    band = neutral_band(candles.close, HORIZON, split.train.bars)
    series = Series(
        symbol,
        path,
        INTERVAL_MS,
        COLUMNS,
        compute_features(candles),
        candles.timestamp_ms,
        candles.close,
        first_row=MIN_CANDLES - WINDOW,
    )
    return Market(series, band, series.labels(HORIZON, band), split)


def validation_cut(train: Part) -> tuple[Part, Part]:
    """The training part -> what weights are fitted on, and its last VALIDATION_SHARE after an embargo."""
    return cut(train, 1 - VALIDATION_SHARE)


def fit_scaler(market: Market) -> Scaler:
    """A StandardScaler fitted on the bars of the training part, and on no others."""

    bars = market.split.train.bars
    fitted = StandardScaler().fit(market.series.rows[bars.start : bars.stop])
    return Scaler(np.asarray(fitted.mean_), np.asarray(fitted.scale_))


# ---- the two generations


@dataclass(frozen=True)
class Draft:
    """A trained network on its way to a bundle. training: what the manifest's provenance tells of it."""

    generation: str
    trained: Trained
    scaler: Scaler
    training: dict[str, Any]
    was_mended: bool  # True: the report also shows what it was before scaler and temperature


def build_v6(market: Market, quick: bool, show: Show) -> Draft:
    """V6 as it was: the whole training part, every epoch, nothing that would stop it."""

    plan = train.quick(train.V6_PLAN) if quick else train.V6_PLAN
    scaler = fit_scaler(market)
    trained = train.train(
        train.V6_NETWORK,
        plan,
        scaled_rows(market, scaler),
        market.labels,
        fit=market.split.train,
        validation=None,
        levels=train.PriceLevels(scaler, plan.level_spread),
        on_epoch=_counting(show, 0, plan.epochs),
    )
    return Draft("v6_fixed", trained, scaler, {"plan": asdict(plan), **_told(trained)}, was_mended=True)


def build_v8(market: Market, quick: bool, show: Show) -> Draft:
    """V8 with each head, of which the one with the lower validation NLL is kept; the manifest has both figures."""

    plan = train.quick(train.V8_PLAN) if quick else train.V8_PLAN
    scaler = fit_scaler(market)
    fit, validation = validation_cut(market.split.train)
    by_head: dict[str, train.Trained] = {}
    for turn, attention in enumerate(train.V8_HEADS):
        by_head["attention" if attention else "last_step"] = train.train(
            replace(train.V8_NETWORK, attention=attention),
            plan,
            scaled_rows(market, scaler),
            market.labels,
            fit=fit,
            validation=validation,
            levels=train.PriceLevels(scaler, plan.level_spread),
            on_epoch=_counting(show, turn * plan.epochs, plan.epochs * len(train.V8_HEADS)),
        )
    head = min(by_head, key=lambda name: _validation_nll(by_head[name]))
    training = {
        "plan": asdict(plan),
        **_told(by_head[head]),
        "head": head,
        "heads": {name: asdict(trained.chosen) for name, trained in by_head.items()},
        "validation": {
            "span": market.series.span_of(validation).model_dump(),
            "n": len(validation),
            **baselines(class_shares(market.labels_of(fit)), market.labels_of(validation)),
        },
    }
    return Draft("v8", by_head[head], scaler, training, was_mended=False)


GENERATIONS: Final[Mapping[str, Callable[[Market, bool, Show], Draft]]] = {"v6_fixed": build_v6, "v8": build_v8}


def scaled_rows(market: Market, scaler: Scaler) -> npt.NDArray[np.float32]:
    """(n, 72): standardised in float64, then rounded, as the pipeline does."""
    return ((market.series.rows - scaler.mean) / scaler.scale).astype(np.float32)


def _counting(show: Show, done_before: int, of: int) -> Callable[[Epoch], None]:
    return lambda epoch: show(done_before + epoch.number, of, epoch)


def _told(trained: Trained) -> dict[str, Any]:
    return {
        "epochs": len(trained.epochs),
        "chosen_epoch": trained.chosen.number,
        "last_loss": trained.epochs[-1].loss,
        "seconds": round(trained.seconds, 1),
    }


def _validation_nll(trained: Trained) -> float:
    assert trained.chosen.validation_nll is not None  # every V8 is trained with a validation part
    return trained.chosen.validation_nll


# ---- from a draft to a bundle


def write(
    market: Market, draft: Draft, out: Path, version: str, command: str, progress: Progress | None = None
) -> Path:
    """Fit the temperature on the calibration part, judge on what follows it, write the bundle; returns its folder.

    progress: told of the days simulated for its drift limits.
    """

    network, scaler, split = draft.trained.network, draft.scaler, market.split
    fit = fit_temperature(
        pipeline_logits(network, scaler, market, split.calibration), market.labels_of(split.calibration), CLAMP
    )
    calibration = Calibration(CLAMP, fit.temperature)
    raw_logits = pipeline_logits(network, scaler, market, split.test)  # (m, 3)
    labels, earlier = market.labels_of(split.test), market.labels_of(split.train)
    report = {
        **report_of(raw_logits, calibration, labels, earlier, HORIZON, earlier_part="train"),
        "temperature_fit": asdict(fit),
    }
    if draft.was_mended:
        report["before_fix"] = before_fix(market, draft)
    scaler_values = ScalerValues(mean=scaler.mean.tolist(), scale=scaler.scale.tolist())
    manifest = {
        "generation": draft.generation,
        "symbol": market.series.symbol,
        "version": version,
        "architecture": architecture_of(draft.trained.config),
        "columns": list(COLUMNS),
        "window": WINDOW,
        "interval_ms": INTERVAL_MS,
        "labels": {"horizon_bars": HORIZON, "neutral_band": market.band},
        "scaler": scaler_values,
        "calibration": {"clamp": CLAMP, "temperature": fit.temperature, "method": "nll"},
        "spans": {name: market.series.span_of(getattr(split, name)) for name in ("train", "calibration", "test")},
        "provenance": provenance(market, draft, command),
        "report": report,
        "golden": golden_answer(calibrated(network, scaler, calibration, double=True), scaler_values, WINDOW),
    }
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    kept = keep(market.series, split.test, raw_logits, scaler_values)
    reference = describe_stream(
        kept,
        CalibrationValues(clamp=CLAMP, temperature=fit.temperature, method="nll"),
        market.series.span_of(split.test),
        len(COLUMNS),
        progress=progress,
    )
    manifest["gates"] = judged(market, Bundle(out, Manifest(**manifest, files={}), weights, reference, sha256=""))
    return write_bundle(out, manifest, weights, reference, kept.tensors())


def judged(market: Market, bundle: Bundle) -> Gates | None:
    """The verdict of `signalserve judge` with the owners' limits; None where too few bars are left for one."""
    series, labels = market.series, bundle.manifest.labels
    assert labels is not None  # every reference model says what it was taught
    settings = GateSettings()
    try:
        samples = draw_samples(series, bundle.manifest, HORIZON, settings)
    except TooFewWindows:
        return None
    return judge_bundle(bundle, series, samples, labels, settings).as_gates()


def calibrated(network: nn.Module, scaler: Scaler, calibration: Calibration, *, double: bool = False) -> Any:
    """The pipeline that will serve; double: with the same (float32) weights computed in float64, on a copy."""

    return CalibratedModel(copy.deepcopy(network).double() if double else network, scaler, calibration).eval()


def pipeline_logits(network: nn.Module, scaler: Scaler, market: Market, part: Part) -> Floats:
    """Raw logits of a part's windows, (m, 3), float64, through the pipeline from raw features on."""

    model = calibrated(network, scaler, Calibration(CLAMP, 1.0))
    return np.asarray(train.raw_logits(lambda windows: model(windows)[0], market.series.rows, part).numpy())


def before_fix(market: Market, draft: Draft) -> dict[str, Any]:
    """The same network on the same test part as it was served: without its scaler, and with it at T = 1.

    And what it says of the windows it was trained on, which is where its confidence comes from.
    """

    network, split, as_trained = draft.trained.network, market.split, Calibration(CLAMP, 1.0)
    no_scaler = Scaler(np.zeros(len(COLUMNS)), np.ones(len(COLUMNS)))
    # neighbours tell the same: a tenth of the training part is 2,500 windows
    known = replace(split.train, ends=split.train.ends[::10])

    def judged(scaler: Scaler, part: Part) -> dict[str, Any]:
        return describe(pipeline_logits(network, scaler, market, part), as_trained, market.labels_of(part), HORIZON)

    return {
        "unscaled": judged(no_scaler, split.test),
        "scaled_at_temperature_1": judged(draft.scaler, split.test),
        "scaled_at_temperature_1_on_training_part": judged(draft.scaler, known),
    }


def provenance(market: Market, draft: Draft, command: str) -> dict[str, Any]:
    """Where a bundle comes from: data by hash, command, seed, versions, training; strict JSON."""

    times = market.series.times()
    return {
        "data": {
            "file": market.series.path.name,
            "sha256": sha256_of(market.series.path),
            "instrument": instrument_of(market.series.path.name, market.series.symbol),
            "span": Span(start=iso(times[0]), end=iso(times[-1]), bars=len(times)).model_dump(),
        },
        "command": command,
        "seed": draft.training["plan"]["seed"],
        "versions": {
            "signalserve": signalserve.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "scipy": scipy.__version__,
        },
        "training": draft.training,
        "note": NOTE,
    }


def instrument_of(file: str, symbol: str) -> str:
    """What the bars are, as far as the file's name says."""
    perpetual = re.match(r"binance_perp_([A-Z0-9]+)_1m", file)
    if perpetual:
        return f"Binance USDT-M perpetual {perpetual[1]}, one-minute bars; served as {symbol}"
    return f"one-minute bars of {symbol}; the file's name does not say from where"
