"""The reference models' figures as tables: in the terminal and in model_store/README.md."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table
from scipy.stats import entropy

from export.reference_models import CLAMP, HORIZON
from export.split import SHARES
from export.train import Epoch
from signalserve.bundle import (
    Manifest,
    load_bundle,
    newest_bundles,
)
from signalserve.features import WINDOW

README: Final = "README.md"
TITLE: Final = "# Reference models"
"""The README's first line, by which this command knows its own."""

HEADER: Final = (
    *("symbol", "model", "T", "accuracy", "majority", "largest class", "NLL", "base-rate NLL", "NLL in hindsight"),
    *("Brier", "base-rate Brier", "calibration error (if perfect)", "over 0.75", "gates failed"),
)


def newest_manifests(out: Path) -> list[Manifest]:
    """Of the newest version of each bundle that this command's report fits, by symbol, then generation.

    An imported checkpoint in the same store has none.
    """
    manifests = (load_bundle(folder).manifest for folder in newest_bundles(out))
    ours = (manifest for manifest in manifests if {"temperature_fit", "nll_gain"} <= set(manifest.report))
    return sorted(ours, key=lambda manifest: (manifest.symbol, manifest.generation))


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
            f"{hindsight_nll(manifest):.4f}",
            f"{report['brier']:.4f}",
            f"{report['base_rate_brier']:.4f}",
            f"{report['calibration_error']:.3f} ({report['calibration_error_null']:.3f})",
            f"{report['confident_shares']['0.75']:.1%}",
            "not judged" if manifest.gates is None else ", ".join(manifest.gates.failed) or "none",
        )


def hindsight_nll(manifest: Manifest) -> float:
    """What always forecasting the test part's own class shares reaches there, in nats: their entropy.

    Nobody knows them beforehand; but a model that is no better shows no knowledge of any single window.
    """
    shares = np.array(list(manifest.report["base_rates"].values()))
    return float(entropy(shares))


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


def rich_table(manifests: Sequence[Manifest]) -> Table:
    """The columns that fit a terminal of 80 characters; the README has all."""
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
    first = min(span.train.start for span in spans if span.train)
    last = max(span.test.end for span in spans if span.test)
    tested = min(span.test.start for span in spans if span.test)
    train, calibration, test = (100 * share for share in SHARES)
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
time order, {train:.0f} % to train on, {calibration:.0f} % for the temperature, {test:.0f} % to judge, with an
embargo of {WINDOW + HORIZON} windows between them: no window or label of one part shares a bar with another.

Beside its weights each bundle keeps its predictions on bars that it has not seen (`stream.safetensors`) and what
monitoring holds later ones against (`reference.json`); `signalserve calibrate --reference-only` makes both anew.

## How good they are

On the test part (from {tested[:10]} on; {counts} predictions a bundle), which nothing was fitted to or chosen by:

{_markdown(HEADER, table_rows(manifests))}

- `majority` is the accuracy of always saying the class that was most frequent in training, `largest class` the share
  of the class that turned out most frequent; `base-rate` scores are those of always forecasting the training's shares.
- `NLL in hindsight` is that of always forecasting the class shares that the test part turned out to have. A model above
  it may only have been luckier in its shares than the training's; below it, it knows something of single windows.
- `calibration error` means nothing beside 0, only beside what a perfectly calibrated model would show on as many labels
  that overlap as much (in brackets).
- `T` is the temperature that made the calibration part likeliest; the larger, the less its logits knew of the labels.
- `over 0.75` is how often a model was sure enough for the bot to trade. A calibrated confidence in so weak a signal
  hardly ever is: what the owners saw above 0.75 was a temperature, not knowledge.
- `gates failed` are those of `signalserve judge` with the owners' limits. The service refuses such a model unless
  `serving.yaml` says `allow_failed_gates: true`, and then every response warns `failed_gates`.

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


def said(epoch: Epoch) -> str:
    held_back = "" if epoch.validation_nll is None else f", validation NLL {epoch.validation_nll:.4f}"
    return f"loss {epoch.loss:.4f}{held_back}"
