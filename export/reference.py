"""`signalserve reference`: bars -> the reference bundles, for each symbol a V6 (as it was, then mended) and a V8.

Trains on the first 60 % of the bars, fits the temperature on the next 15 %, and reports only what came of the last
25 %, which nothing was fitted to or chosen by. Writes the bundles and, beside their folder, a README with the table.
"""

import argparse
import copy
import platform
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

import signalserve
from export.labels import direction_labels, neutral_band
from export.reference_stream import describe_stream
from export.scores import baselines, by_class, class_shares, score, skill
from export.split import Part, Split, cut, split_in_time, usable
from signalserve.bundle import (
    Manifest,
    ScalerValues,
    Span,
    find_bundles,
    load_bundle,
    newest_bundles,
    sha256_of,
    version_key,
    write_bundle,
)
from signalserve.candle_files import find_candle_files, read_candles
from signalserve.candles import INTERVAL_MS, Candles, iso
from signalserve.errors import BundleError, DataError
from signalserve.features import COLUMNS, MIN_CANDLES, WINDOW, compute_features
from signalserve.golden import golden_answer

if TYPE_CHECKING:  # torch takes a second to import, and `signalserve --help` does no work that needs it
    from rich.table import Table
    from torch import nn

    from export.train import Epoch, Trained
    from signalserve.pipeline import Calibration, Scaler

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Show = Callable[[int, int, "Epoch"], None]
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


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("reference", help="train the reference bundles on bars", description=__doc__)
    parser.add_argument(
        "--bars", type=Path, default=Path("../shared/data"), help="folder with candle files (default %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("model_store/bundles"), help="where bundles go (default %(default)s)"
    )
    parser.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="such as BTC-USD (default: all in --bars)")
    parser.add_argument("--version", type=int, metavar="N", help="of the bundles (default: one more than the newest)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the models learn nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write and show. Raises DataError for unusable bars, BundleError for a version that exists already."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    files = choose_files(find_candle_files(args.bars), args.symbols, args.bars)
    versions = {symbol: choose_version(args.out, symbol, args.version) for symbol in files}
    command = command_of(args)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for symbol, path in files.items():
            market = read_market(symbol, path)
            for generation, build in GENERATIONS.items():
                task = progress.add_task(f"{symbol} {generation}", total=None, said="")

                def show(done: int, of: int, epoch: "Epoch", task: Any = task) -> None:
                    progress.update(task, completed=done, total=of, said=_said(epoch))

                draft = build(market, args.quick, show)
                folder = write(market, draft, args.out, versions[symbol], command)
                progress.console.print(f"wrote {folder}")
    manifests = newest_manifests(args.out)
    console.print(rich_table(manifests))
    readme = args.out.parent / README
    if not write_readme(readme, manifests):
        console.print(f"left {readme} as it is: it is not one that this command wrote")
    return 0


def choose_files(found: Mapping[str, Path], wanted: Sequence[str] | None, bars: Path) -> dict[str, Path]:
    """The candle files of the wanted symbols, all where none are named. Raises DataError for one without a file."""
    missing = [symbol for symbol in wanted or () if symbol not in found]
    if missing:
        raise DataError(f"--symbols: expected some of {', '.join(found)} (in {bars}), got {', '.join(missing)}")
    return {symbol: found[symbol] for symbol in wanted or found}


def choose_version(out: Path, symbol: str, wanted: int | None) -> str:
    """One more than the newest version of the symbol's bundles, or the wanted one where it is free.

    Raises BundleError now rather than after minutes of training.
    """
    taken = [path for path in find_bundles(out) if path.parts[-2] == symbol]
    if wanted is None:
        return str(max((version_key(path.name)[0] for path in taken), default=0) + 1)
    if wanted < 1:
        raise BundleError(f"--version: expected 1 or more, got {wanted}")
    for path in taken:
        if path.name == str(wanted):
            raise BundleError(
                f"{path} exists already; a version is never overwritten: leave --version out for a new one"
            )
    return str(wanted)


def command_of(args: argparse.Namespace) -> str:
    """The command line that does this again."""
    words = ["signalserve", "reference", "--bars", str(args.bars), "--out", str(args.out)]
    words += ["--symbols", *args.symbols] if args.symbols else []
    words += ["--version", str(args.version)] if args.version is not None else []
    words += ["--quick"] if args.quick else []
    return shlex.join(words)


# ---- what both generations of a symbol learn from


@dataclass(frozen=True)
class Market:
    """One symbol's bars, made ready once.

    features: (n, 72), raw.  band: of the labels, a share of the close.  labels: (n,), UNKNOWN in the last HORIZON rows.
    """

    symbol: str
    path: Path
    candles: Candles
    features: Floats
    band: float
    labels: Classes
    split: Split

    def labels_of(self, part: Part) -> Classes:
        return self.labels[part.ends]

    def span_of(self, part: Part) -> Span:
        times, bars = self.candles.timestamp_ms, part.bars
        return Span(start=iso(times[bars.start]), end=iso(times[bars.stop - 1]), bars=len(bars))


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
    labels = direction_labels(candles.close, HORIZON, band)
    return Market(symbol, path, candles, compute_features(candles), band, labels, split)


def validation_cut(train: Part) -> tuple[Part, Part]:
    """The training part -> what weights are fitted on, and its last VALIDATION_SHARE after an embargo."""
    return cut(train, 1 - VALIDATION_SHARE)


def fit_scaler(market: Market) -> "Scaler":
    """A StandardScaler fitted on the bars of the training part, and on no others."""
    from sklearn.preprocessing import StandardScaler

    from signalserve.pipeline import Scaler

    bars = market.split.train.bars
    fitted = StandardScaler().fit(market.features[bars.start : bars.stop])
    return Scaler(np.asarray(fitted.mean_), np.asarray(fitted.scale_))


# ---- the two generations


@dataclass(frozen=True)
class Draft:
    """A trained network on its way to a bundle. training: what the manifest's provenance tells of it."""

    generation: str
    trained: "Trained"
    scaler: "Scaler"
    training: dict[str, Any]
    was_mended: bool  # True: the report also shows what it was before scaler and temperature


def build_v6(market: Market, quick: bool, show: Show) -> Draft:
    """V6 as it was: the whole training part, every epoch, nothing that would stop it."""
    from export import train

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
    from export import train

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
            "span": market.span_of(validation).model_dump(),
            "n": len(validation),
            **baselines(class_shares(market.labels_of(fit)), market.labels_of(validation)),
        },
    }
    return Draft("v8", by_head[head], scaler, training, was_mended=False)


GENERATIONS: Final[Mapping[str, Callable[[Market, bool, Show], Draft]]] = {"v6_fixed": build_v6, "v8": build_v8}


def scaled_rows(market: Market, scaler: "Scaler") -> npt.NDArray[np.float32]:
    """(n, 72): standardised in float64, then rounded, as the pipeline does."""
    return ((market.features - scaler.mean) / scaler.scale).astype(np.float32)


def _counting(show: Show, done_before: int, of: int) -> "Callable[[Epoch], None]":
    return lambda epoch: show(done_before + epoch.number, of, epoch)


def _told(trained: "Trained") -> dict[str, Any]:
    return {
        "epochs": len(trained.epochs),
        "chosen_epoch": trained.chosen.number,
        "last_loss": trained.epochs[-1].loss,
        "seconds": round(trained.seconds, 1),
    }


def _validation_nll(trained: "Trained") -> float:
    assert trained.chosen.validation_nll is not None  # every V8 is trained with a validation part
    return trained.chosen.validation_nll


# ---- from a draft to a bundle


def write(market: Market, draft: Draft, out: Path, version: str, command: str) -> Path:
    """Fit the temperature on the calibration part, judge on the test part, write the bundle; returns its folder."""
    from export.temperature import fit_temperature
    from signalserve.network import architecture_of
    from signalserve.pipeline import Calibration

    network, scaler, split = draft.trained.network, draft.scaler, market.split
    fit = fit_temperature(
        pipeline_logits(network, scaler, market, split.calibration), market.labels_of(split.calibration), CLAMP
    )
    calibration = Calibration(CLAMP, fit.temperature)
    raw_logits = pipeline_logits(network, scaler, market, split.test)  # (m, 3)
    probabilities = probabilities_of(raw_logits, calibration)  # (m, 3)
    labels, train_shares = market.labels_of(split.test), class_shares(market.labels_of(split.train))
    report = {
        **judge(raw_logits, calibration, labels),
        "base_rates": by_class(class_shares(labels)),
        "train_base_rates": by_class(train_shares),
        **baselines(train_shares, labels),
        **skill(probabilities, labels, train_shares),
        "temperature_fit": asdict(fit),
    }
    if draft.was_mended:
        report["before_fix"] = before_fix(market, draft)
    scaler_values = ScalerValues(mean=scaler.mean.tolist(), scale=scaler.scale.tolist())
    manifest = {
        "generation": draft.generation,
        "symbol": market.symbol,
        "version": version,
        "architecture": architecture_of(draft.trained.config),
        "columns": list(COLUMNS),
        "window": WINDOW,
        "interval_ms": INTERVAL_MS,
        "labels": {"horizon_bars": HORIZON, "neutral_band": market.band},
        "scaler": scaler_values,
        "calibration": {"clamp": CLAMP, "temperature": fit.temperature, "method": "nll"},
        "spans": {name: market.span_of(getattr(split, name)) for name in ("train", "calibration", "test")},
        "provenance": provenance(market, draft, command),
        "report": report,
        "golden": golden_answer(calibrated(network, scaler, calibration, double=True), scaler_values, WINDOW),
    }
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    reference = describe_stream(raw_logits, probabilities, market.span_of(split.test))
    return write_bundle(out, manifest, weights, reference)


def calibrated(network: "nn.Module", scaler: "Scaler", calibration: "Calibration", *, double: bool = False) -> Any:
    """The pipeline that will serve; double: with the same (float32) weights computed in float64, on a copy."""
    from signalserve.pipeline import CalibratedModel

    return CalibratedModel(copy.deepcopy(network).double() if double else network, scaler, calibration).eval()


def pipeline_logits(network: "nn.Module", scaler: "Scaler", market: Market, part: Part) -> Floats:
    """Raw logits of a part's windows, (m, 3), float64, through the pipeline from raw features on."""
    from export.train import raw_logits
    from signalserve.pipeline import Calibration

    model = calibrated(network, scaler, Calibration(CLAMP, 1.0))
    return np.asarray(raw_logits(lambda windows: model(windows)[0], market.features, part).numpy())


def probabilities_of(raw_logits: Floats, calibration: "Calibration") -> Floats:
    """The pipeline's own clamp, temperature and softmax, on arrays: (m, 3) -> (m, 3)."""
    import torch

    from signalserve import pipeline

    return np.asarray(pipeline.probabilities_of(torch.from_numpy(raw_logits), calibration).numpy())


def judge(raw_logits: Floats, calibration: "Calibration", labels: Classes) -> dict[str, Any]:
    """Scores of the calibrated forecasts, and how far the logits under them reach. raw_logits: (m, 3)."""
    return {
        **score(probabilities_of(raw_logits, calibration), labels, HORIZON).as_dict(),
        "raw_logits": {
            "min": float(raw_logits.min()),
            "max": float(raw_logits.max()),
            "share_beyond_clamp": float((np.abs(raw_logits) > calibration.clamp).any(axis=1).mean()),
        },
    }


def before_fix(market: Market, draft: Draft) -> dict[str, Any]:
    """The same network on the same test part as it was served: without its scaler, and with it at T = 1.

    And what it says of the windows it was trained on, which is where its confidence comes from.
    """
    from signalserve.pipeline import Calibration, Scaler

    network, split, as_trained = draft.trained.network, market.split, Calibration(CLAMP, 1.0)
    no_scaler = Scaler(np.zeros(len(COLUMNS)), np.ones(len(COLUMNS)))
    # neighbours tell the same: a tenth of the training part is 2,500 windows
    known = replace(split.train, ends=split.train.ends[::10])

    def judged(scaler: Scaler, part: Part) -> dict[str, Any]:
        return judge(pipeline_logits(network, scaler, market, part), as_trained, market.labels_of(part))

    return {
        "unscaled": judged(no_scaler, split.test),
        "scaled_at_temperature_1": judged(draft.scaler, split.test),
        "scaled_at_temperature_1_on_training_part": judged(draft.scaler, known),
    }


def provenance(market: Market, draft: Draft, command: str) -> dict[str, Any]:
    """Where a bundle comes from: data by hash, command, seed, versions, training; strict JSON."""
    import scipy
    import sklearn
    import torch

    times = market.candles.timestamp_ms
    return {
        "data": {
            "file": market.path.name,
            "sha256": sha256_of(market.path),
            "instrument": instrument_of(market.path.name, market.symbol),
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


# ---- what is shown

README: Final = "README.md"
TITLE: Final = "# Reference models"
"""The README's first line, by which this command knows its own."""

HEADER: Final = (
    *("symbol", "model", "T", "accuracy", "majority", "largest class", "NLL", "base-rate NLL", "Brier"),
    *("base-rate Brier", "calibration error (if perfect)", "over 0.75"),
)


def newest_manifests(out: Path) -> list[Manifest]:
    """Of the newest version of each bundle, by symbol, then generation."""
    manifests = (load_bundle(folder).manifest for folder in newest_bundles(out))
    return sorted(manifests, key=lambda manifest: (manifest.symbol, manifest.generation))


IN_TERMINAL: Final = frozenset(
    {"symbol", "model", "T", "accuracy", "majority", "largest class", "NLL", "base-rate NLL", "Brier"}
)


def table_rows(manifests: Sequence[Manifest]) -> Iterator[tuple[str, ...]]:
    """One row of text a bundle, in the order of HEADER; all of it from the test part."""
    for manifest in manifests:
        report, fit = manifest.report, manifest.report["temperature_fit"]
        yield (
            *_name(manifest),
            f"{manifest.calibration.temperature:.3g}" + (" (at its bound)" if fit["at_bound"] else ""),
            f"{report['accuracy']:.3f}",
            f"{report['majority_accuracy']:.3f}",
            f"{max(report['base_rates'].values()):.3f}",
            f"{report['nll']:.4f}",
            f"{report['base_rate_nll']:.4f}",
            f"{report['brier']:.4f}",
            f"{report['base_rate_brier']:.4f}",
            f"{report['calibration_error']:.3f} ({report['calibration_error_null']:.3f})",
            f"{report['confident_shares']['0.75']:.1%}",
        )


GAIN_HEADER: Final = ("symbol", "model", "gain in NLL", "quiet or moving", "direction", "up or down right")


def gain_rows(manifests: Sequence[Manifest]) -> Iterator[tuple[str, ...]]:
    """Where a bundle's gain over the base rates lies, one row each, in the order of GAIN_HEADER."""
    for manifest in manifests:
        gain = manifest.report["nll_gain"]
        parts = (gain, gain["quiet_or_moving"], gain["direction"])
        yield (
            *_name(manifest),
            *(_with_error(part, 4) for part in parts),
            _with_error(manifest.report["up_or_down"], 3),
        )


def rich_table(manifests: Sequence[Manifest]) -> "Table":
    """The columns that fit a terminal of 80 characters; the README has all."""
    from rich.table import Table

    shown = [HEADER.index(name) for name in HEADER if name in IN_TERMINAL]
    table = Table(
        *(HEADER[column] for column in shown),
        title="On the test part, which nothing was fitted to",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for row in table_rows(manifests):
        table.add_row(*(row[column] for column in shown))
    return table


def write_readme(path: Path, manifests: Sequence[Manifest]) -> bool:
    """Write what these models are and how good; returns False, and writes nothing, over a README that is not ours."""
    if path.exists() and not path.read_text().startswith(TITLE):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(readme_text(manifests))
    return True


def readme_text(manifests: Sequence[Manifest]) -> str:
    """Markdown: what the models are, how old, how good, and how V6 was before it was mended."""
    spans = [manifest.spans for manifest in manifests]
    first, last = min(span.train.start for span in spans), max(span.test.end for span in spans)
    tested = min(span.test.start for span in spans)
    counts = " or ".join(f"{n:,}" for n in sorted({manifest.report["n"] for manifest in manifests}))
    return f"""{TITLE}

Written by `signalserve reference` from the manifests in `bundles/`; change those, not this.

These networks exist so that the service, its monitoring and its tests have something real to serve. They were trained
and judged on the one-minute bars of {first[:10]} to {last[:10]} and know no other days: they are no basis for trades.
For each symbol there are two. `v6_fixed` is a V6 as the owners had it (an LSTM trained until its confidence was mostly
memory of the training part), mended with the scaler that its serving had forgotten, a clamp at ±{CLAMP:g} and a
temperature fitted by likelihood. `v8` is a wider LSTM with dropout, label smoothing, class weights, and the end of the
training part held back to choose epoch and head. Both were trained at other price levels than the real ones (the
prices of a window times a random factor), without which much of what they learn is where the price stood.

Labels: the close {HORIZON} bars on, against a band that calls a third of the training part NEUTRAL. The bars are cut in
time order, 60 % to train on, 15 % for the temperature, 25 % to judge, with {WINDOW + HORIZON} bars unused between them.

## How good they are

On the test part (from {tested[:10]} on; {counts} predictions a bundle), which nothing was fitted to or chosen by:

{_markdown(HEADER, table_rows(manifests))}

- `majority` is the accuracy of always saying the class that was most frequent in training, `largest class` the share
  of the class that turned out most frequent; `base-rate` scores are those of always forecasting the training's shares.
- `calibration error` means nothing beside 0, only beside what a perfectly calibrated model would show on as many labels
  that overlap as much (in brackets).
- `T` is the temperature that made the calibration part likeliest; the larger, the less its logits knew of the labels.
- `over 0.75` is how often a model was sure enough for the bot to trade. A calibrated confidence in so weak a signal
  hardly ever is: what the owners saw above 0.75 was a temperature, not knowledge.

## What they know

What the forecasts gain over the base rates in nats a prediction, ± its standard error:

{_markdown(GAIN_HEADER, gain_rows(manifests))}

- The gain is the sum of two: telling quiet minutes (NEUTRAL) from moving ones, and telling UP from DOWN where it moved.
- `up or down right`: of the moves beyond the band, how often the likelier of UP and DOWN came. 0.5 is a coin.
- Predictions a minute apart share 59 of 60 bars, so the standard errors come from the means of 30 blocks. A figure
  within two of them is nothing, and of so many figures one or the other is beyond them by chance.

## V6 before it was mended

The same networks on the same test part:

{_markdown(BEFORE_HEADER, before_rows(manifests))}

Without its scaler a network does not answer what it was taught: it says few classes, whatever the market does, and
can be sure of them. With it, at T = 1, it is nearly as sure as of the windows it learned from, and right far less
often.
"""


BEFORE_HEADER: Final = (
    *("symbol", "as", "raw logits", "mean confidence", "over 0.9", "DOWN / NEUTRAL / UP said", "accuracy", "NLL"),
)


def before_rows(manifests: Sequence[Manifest]) -> Iterator[tuple[str, ...]]:
    """A mended model's states, one row each, in the order of BEFORE_HEADER."""
    for manifest in manifests:
        before = manifest.report.get("before_fix")
        if before is None:
            continue
        states = {
            "served without its scaler": before["unscaled"],
            "scaled, T = 1": before["scaled_at_temperature_1"],
            f"scaled, T = {manifest.calibration.temperature:.3g}": manifest.report,
            "scaled, T = 1, on its training part": before["scaled_at_temperature_1_on_training_part"],
        }
        for state, report in states.items():
            yield (
                manifest.symbol,
                state,
                f"{report['raw_logits']['min']:.1f} … {report['raw_logits']['max']:.1f}",
                f"{report['mean_confidence']:.3f}",
                f"{report['confident_shares']['0.9']:.1%}",
                " / ".join(f"{share:.0%}" for share in report["predicted_shares"].values()),
                f"{report['accuracy']:.3f}",
                f"{report['nll']:.3f}",
            )


def _markdown(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _name(manifest: Manifest) -> tuple[str, str]:
    return manifest.symbol, f"{manifest.generation} {manifest.version}"


def _with_error(figure: Mapping[str, Any], digits: int) -> str:
    mean, error = figure["mean"], figure["standard_error"]
    return f"{mean:.{digits}f} ± " + (f"{error:.{digits}f}" if error is not None else "?")


def _said(epoch: "Epoch") -> str:
    held_back = "" if epoch.validation_nll is None else f", validation NLL {epoch.validation_nll:.4f}"
    return f"loss {epoch.loss:.4f}{held_back}"
