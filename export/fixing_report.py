"""What mending found -> a report: the networks before and after, on bars that nothing was fitted to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from export.checkpoints.pickle_values import printable
from export.fixing import WISHED_ACCURACY, Mended, State, seen_in_words
from export.report.cells import percent_text
from export.report.model import (
    Cell,
    Column,
    HistogramPlot,
    Level,
    Marker,
    Panel,
    Report,
    Section,
    Table,
    Verdict,
    interval_cell,
)
from export.scores import Gain
from export.temperature import HIGHEST, LOWEST
from signalserve import CLASSES
from signalserve.bundle import Span

CONFIDENCE_BINS: Final = [round(0.30 + 0.05 * i, 2) for i in range(15)]
"""Equal ones, so that heights can be compared; a third is the least that three classes leave."""

BOT: Final = 0.75
"""The confidence from which the bot trades."""


def fix_report(models: Sequence[Mended], *, written: Sequence[str], created: str) -> Report:
    """One report on all that were mended together.

    written: where each new bundle is.  created: UTC, as `Report.created`.
    """
    named = dict(zip(_names(models), models, strict=True))
    return Report(
        command="fix",
        title="V6's mend",
        subject=_listed(list(named)),
        created=created,
        verdict=_verdict(named),
        facts={
            name: f"{printable(model.imported.path.name)} is now {where}"
            for (name, model), where in zip(named.items(), written, strict=True)
        },
        sections=[_before_and_after(named), _fitted(named)],
        figures={name: _figures(model, where) for (name, model), where in zip(named.items(), written, strict=True)},
    )


Named = Mapping[str, Mended]


def _names(models: Sequence[Mended]) -> list[str]:
    """Each one's symbol, with its file where two are of one symbol."""
    count = Counter(model.imported.symbol for model in models)
    both = [(model.imported.symbol, printable(model.imported.path.name)) for model in models]
    return [symbol if count[symbol] == 1 else f"{symbol} ({file})" for symbol, file in both]


# ---- the verdict


def _verdict(named: Named) -> Verdict:
    better = [name for name, model in named.items() if model.gains.show_knowledge]
    others = [name for name in named if name not in better]
    sentence = f"{_listed(list(named))}: mended with a scaler, a clamp and a fitted temperature; "
    if not others:
        sentence += "its NLL is below that of always forecasting the class shares, known before or in hindsight"
    elif not better:
        sentence += (
            "no knowledge can be shown: its NLL is not below that of always forecasting the class shares, known "
            "before and in hindsight"
        )
    else:
        sentence += (
            f"the NLL of {_listed(better)} is below that of always forecasting the class shares, known before or in "
            f"hindsight, that of {_listed(others)} cannot be shown to be"
        )
    unknown = any(model.imported.trained is None for model in named.values())
    level: Level = "warn" if others or unknown else "pass"
    if any(model.fitted.fit.at_bound for model in named.values()):
        level = "fail"
    return Verdict(
        level=level,
        sentence=sentence + ".",
        reasons=[*(reason for name, model in named.items() for reason in _reasons(name, model)), *_seen(named)],
    )


def _gain(gain: Gain) -> str:
    return f"{gain.mean:+.4f} ({gain.interval.low:+.4f} … {gain.interval.high:+.4f})"


def _reasons(name: str, model: Mended) -> Iterator[str]:
    before, after = model.before.figures, model.after.figures
    yield (
        f"{name} was {percent_text(before['mean_confidence'])} sure on average and right in "
        f"{percent_text(before['accuracy'])}; now it is {percent_text(after['mean_confidence'])} sure and right in "
        f"{percent_text(after['accuracy'])}, where the commonest class alone makes "
        f"{percent_text(max(model.report['base_rates'].values()))}. Over 90 % confidence: "
        f"{percent_text(before['confident_shares']['0.9'])} of predictions then, "
        f"{percent_text(after['confident_shares']['0.9'])} now. Gain in nats a prediction: "
        f"{_gain(model.gains.earlier)} over the calibration part's class shares, "
        f"{_gain(model.gains.hindsight)} over the test part's own, which "
        "nobody knew."
    )
    if model.fitted.fit.at_bound == "upper":
        yield f"{name}: no temperature helps, its logits know nothing of the labels; do not serve it."
    if model.fitted.fit.at_bound == "lower":
        yield f"{name}: its logits separate the labels, as no honest forecast does; it may have learned these bars."
    never = [said for said, share in _said(model, model.after).items() if share == 0]
    if never:
        yield f"{name} never says {_listed(never)}: no temperature changes that, only another training."


def _seen(named: Named) -> Iterator[str]:
    """Whether the figures can be trusted: one sentence for all to which it applies."""
    sentences: dict[str, list[str]] = {}
    for name, model in named.items():
        sentences.setdefault(seen_in_words(model), []).append(name)
    for sentence, names in sentences.items():
        yield f"{_listed(names)}: {sentence}"


# ---- the sections


MODEL: Final = (Column(name="Model", format="text"), Column(name="State", format="text"))


def _before_and_after(named: Named) -> Section:
    sure = Table(
        title="How sure it is",
        note="Tied at the clamp: the largest logits lie at it together, so that the class it says is arbitrary.",
        columns=[
            *MODEL,
            *(Column(name=f"{end} logit", format="decimal", digits=1) for end in ("Lowest", "Highest")),
            *(Column(name="Tied at the clamp", format="percent"), Column(name="Mean confidence", format="percent")),
            *(Column(name="Over 90 %", format="percent"), Column(name="Over 99 %", format="percent")),
        ],
        rows=[[*cells, *_sure(state)] for _, state, cells in _states(named)],
    )
    says = Table(
        title="What it says, and how often it is right",
        note="Commonest class: what always saying it would reach.",
        columns=[
            *MODEL,
            *(Column(name=name, format="percent") for name in CLASSES),
            *(Column(name="Right", format="percent"), Column(name="Commonest class", format="percent")),
        ],
        rows=[
            [
                *cells,
                *(_said(model, state).get(name) for name in CLASSES),
                state.figures["accuracy"],
                max(model.report["base_rates"].values()),
            ]
            for model, state, cells in _states(named)
        ],
    )
    worth = Table(
        title="What its probabilities are worth",
        note="NLL: nats a prediction, the smaller the better; base rates: of always forecasting the middle part's "
        "class shares. Calibration error: beside what a perfectly calibrated model would show on as many such labels.",
        columns=[
            *MODEL,
            *(Column(name="NLL", format="decimal", digits=4), Column(name="base rates", format="decimal", digits=4)),
            *(Column(name="Calibration error", format="decimal"), Column(name="if perfect", format="decimal")),
        ],
        rows=[
            [
                *cells,
                state.figures["nll"],
                model.report["base_rate_nll"],
                state.figures["calibration_error"],
                state.figures["calibration_error_null"],
            ]
            for model, state, cells in _states(named)
        ],
    )
    without_neutral = [name for name, model in named.items() if not model.bundle.manifest.knows_neutral]
    return Section(
        title="Before and after",
        text=[
            "The same weights on the same last part of the bars, to which neither scaler nor temperature was fitted. "
            "Before: as the file is, with its own scaler (or none) and its own temperature.",
            *(f"{name} knows no NEUTRAL and is judged where UP or DOWN came." for name in without_neutral),
        ],
        tables=[sure, says, worth],
        plots=[_histogram(name, model) for name, model in named.items()],
    )


def _sure(state: State) -> list[Cell]:
    figures = state.figures
    limits = figures["raw_logits"]
    shares = figures["confident_shares"]
    mean = figures["mean_confidence"]
    return [limits["min"], limits["max"], state.ties, mean, shares["0.9"], shares["0.99"]]


def _fitted(named: Named) -> Section:
    networks = Table(
        title="The networks",
        columns=[Column(name=name, format="text") for name in ("Model", "Network", "Scaler before", "Labels")],
        rows=[
            [
                name,
                f"{model.imported.kind}: {model.imported.found['sizes']}",
                model.imported.found["scaler"],
                _labels(model),
            ]
            for name, model in named.items()
        ],
    )
    parts = Table(
        title="Which bars did what",
        columns=[Column(name=name, format="text") for name in ("Model", "Scaler", "Temperature", "Judged")],
        rows=[
            [name, _span(model.scaler_span), _span(model.calibration.span), _span(model.test.span)]
            for name, model in named.items()
        ],
    )
    temperatures = Table(
        title="The temperature",
        note=f"An interval that ends at {LOWEST:g} or {HIGHEST:g} is open there: the data does not bound T. Labels "
        "overlap, so that many are worth few independent ones.",
        columns=[
            Column(name="Model", format="text"),
            *(
                Column(name="in the file", format="decimal", digits=2),
                Column(name="fitted", format="decimal", digits=2),
            ),
            Column(name="likely", format="interval", digits=1),
            *(Column(name="Labels", format="integer"), Column(name="worth", format="integer")),
            Column(name=f"{100 * WISHED_ACCURACY:.0f} % right from", format="text"),
        ],
        rows=[
            [
                name,
                model.before.temperature,
                model.fitted.temperature,
                interval_cell(model.fitted.interval),
                model.fitted.fit.n,
                int(model.fitted.effective_labels),
                "none" if model.fitted.threshold is None else f"{model.fitted.threshold.threshold:.3f}",
            ]
            for name, model in named.items()
        ],
    )
    text = (
        "Fitted by likelihood on the middle part. A temperature changes how sure a model is, never which class it "
        f"says. The last column is the confidence from which on {100 * WISHED_ACCURACY:.0f} % came true there, the "
        "accuracy that the gates ask for; none: at no confidence."
    )
    return Section(title="What was fitted", text=[text], tables=[temperatures, parts, networks])


def _histogram(name: str, model: Mended) -> HistogramPlot:
    panels = [
        Panel(
            name=words,
            shares=(np.histogram(state.confidence, CONFIDENCE_BINS)[0] / len(state.confidence)).tolist(),
        )
        for state, words in (
            (model.before, f"before, T = {_number(model.before.temperature)}"),
            (model.after, f"after, T = {_number(model.after.temperature)}"),
        )
    ]
    return HistogramPlot(
        title=f"How sure {name} is",
        caption=f"Confidence of {name}'s predictions before its mend and after; from the line on the bot trades.",
        x_label="confidence (probability of the class it says)",
        y_label="share of predictions",
        edges=CONFIDENCE_BINS,
        panels=panels,
        markers=[Marker(name=f"bot trades from {100 * BOT:.0f} %", at=BOT, axis="x")],
    )


def _labels(model: Mended) -> str:
    chosen = ", a third of the first part" if model.band_from_bars else ""
    return f"{model.taught.horizon_bars} bars ahead; NEUTRAL within ±{100 * model.taught.neutral_band:.3g} %{chosen}"


def _figures(model: Mended, where: str) -> dict[str, Any]:
    return {
        "checkpoint": str(model.imported.path),
        "bundle": where,
        "spans": {
            "scaler": model.scaler_span.model_dump(),
            "calibration": model.calibration.span.model_dump(),
            "test": model.test.span.model_dump(),
        },
        "labels": model.taught.model_dump(),
        "before": _state_figures(model.before),
        "after": _state_figures(model.after),
        "report": dict(model.report),
        "temperature_fit": {
            **asdict(model.fitted.fit),
            "interval": asdict(model.fitted.interval),
            "effective_labels": model.fitted.effective_labels,
        },
        "gains": asdict(model.gains),
    }


def _state_figures(state: State) -> dict[str, Any]:
    return {
        **state.figures,
        "temperature": state.temperature,
        "has_scaler": state.has_scaler,
        "ties_at_clamp": state.ties,
    }


# ---- words


def _states(named: Named) -> Iterator[tuple[Mended, State, tuple[str, str]]]:
    """Each row of a table: the model, its state, and the cells that name them."""
    for name, model in named.items():
        yield model, model.before, (name, "before")
        yield model, model.after, (name, "after")


def _said(model: Mended, state: State) -> dict[str, float]:
    """Class -> how often it is said, of the classes that the network knows."""
    shares: dict[str, float] = state.figures["predicted_shares"]
    return {name: share for name, share in shares.items() if name != "NEUTRAL" or model.bundle.manifest.knows_neutral}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _span(span: Span) -> str:
    """Times without what goes without saying: UTC, and no seconds."""
    return f"{span.start[:16].replace('T', ' ')} to {span.end[:16].replace('T', ' ')}"


def _number(value: float) -> str:
    """Three digits, and as many as it needs from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
