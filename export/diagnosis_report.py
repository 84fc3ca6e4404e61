"""What a diagnosis found -> a report: the verdict, then the figures behind it, in the order in which the data flows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.diagnosis import Diagnosis, OnBars
from export.diagnosis_faults import faults_of, in_words, share_words, verdict
from export.diagnosis_features import ELSEWHERE, WIDE, ColumnFit, is_identity
from export.diagnosis_predictions import CONFIDENCE_LEVELS, LOGIT_LEVELS, Stage
from export.diagnosis_weights import Weights
from export.judging_report import scale_table
from export.report.cells import decimal, scientific
from export.report.model import (
    BarPlot,
    Bars,
    Cell,
    Column,
    Estimate,
    HistogramPlot,
    IntervalPlot,
    Line,
    LinePlot,
    Marker,
    Panel,
    Plot,
    Report,
    Section,
    Table,
)
from signalserve import CLASSES

Floats = npt.NDArray[np.float64]

CONFIDENCE_EDGES: Final = [round(0.30 + 0.05 * i, 2) for i in range(15)]
"""A third is the least of three classes; 0.75 and 0.90 are edges."""

SYMLOG_STEP: Final = 0.1
"""Width of a bin of logits as the axis shows them: ten between 0 and 1, ten a decade beyond."""

SHOWN: Final = 20
"""Columns in the plot, those furthest from their means: all 72 fill three screens."""

OUT_OF_TABLE: Final = ("logits", "confidences", "said")
"""Of a stage: one number a window, too many for a report."""


def diagnosis_report(diagnosis: Diagnosis, created: str) -> Report:
    """created: UTC, ISO 8601 with a Z."""
    faults = faults_of(diagnosis)
    on_bars = diagnosis.on_bars
    sections = [] if on_bars is None else [_logits(on_bars), _classes(diagnosis, on_bars), _features(on_bars)]
    return Report(
        command="diagnose",
        title="Diagnosis",
        subject=subject(diagnosis),
        created=created,
        verdict=verdict(diagnosis, faults),
        facts=_facts(diagnosis),
        sections=[*sections, _weights(diagnosis.weights), *_origin(diagnosis)],
        figures={
            "faults": [asdict(fault) for fault in faults],
            "weights": _plain(asdict(diagnosis.weights)),
            "golden": diagnosis.golden,
            "on_bars": None if on_bars is None else _figures(on_bars),
        },
    )


def subject(diagnosis: Diagnosis) -> str:
    bundle = diagnosis.bundle
    name = f"{bundle.manifest.generation} of {bundle.manifest.symbol}"
    return f"{name}, version {bundle.manifest.version}" if diagnosis.is_bundle else f"{bundle.path.name}: {name}"


def _facts(diagnosis: Diagnosis) -> dict[str, str]:
    manifest, on_bars, weights = diagnosis.bundle.manifest, diagnosis.on_bars, diagnosis.weights
    sizes = {name: size for name, size in manifest.architecture.items() if size and name not in ("kind", "dropout")}
    facts = {
        "Network": f"{manifest.architecture['kind']}: {', '.join(f'{name} {size}' for name, size in sizes.items())}",
        "Weights": f"{weights.numbers:,} in {len(weights.tensors)} tensors",
        "Clamp, temperature": f"±{manifest.calibration.clamp:g}, {manifest.calibration.temperature:.4g} "
        f"({manifest.calibration.method})",
        "Scaler": "none" if is_identity(manifest.scaler) else f"of {len(manifest.columns)} columns",
        "Golden answer": _golden_words(diagnosis),
    }
    if on_bars is None:
        return {**facts, "Bars": "none were given"}
    return {**facts, "Bars": on_bars.bars, "Windows": f"{on_bars.windows:,}, in a row"}


def _golden_words(diagnosis: Diagnosis) -> str:
    if not diagnosis.is_bundle:
        return "a checkpoint has none"
    if diagnosis.weights.not_finite:
        return "not asked for: the weights are not finite"
    return "wrong" if diagnosis.golden else "as the manifest says"


# ---- logits and confidence


def _logits(on_bars: OnBars) -> Section:
    stages = on_bars.stages
    if not stages:
        return Section(title="Logits and confidence", text=["No window was answered by finite numbers."])
    text = [
        "The order is scale, network, clamp, temperature, softmax. Each column of these tables is the same "
        "network, stopped at one step of it.",
    ]
    if on_bars.unscaled:
        text.append(
            f"Unscaled is what it would say if its scaler were forgotten, for {on_bars.unscaled.windows:,} of the "
            "windows, evenly spaced: it is there to be recognised, and no fault."
        )
    if on_bars.not_finite:
        text.append(f"{on_bars.not_finite:,} windows answered by NaN or infinity are left out of all figures.")
    return Section(
        title="Logits and confidence",
        text=text,
        tables=[_logit_table(on_bars.untempered), _confidence_table(stages)],
        plots=[_logit_plot(on_bars.untempered), _confidence_plot(stages)],
    )


def _logit_table(stages: Sequence[Stage]) -> Table:
    levels = ["smallest", *(f"{100 * level:g} % quantile" for level in LOGIT_LEVELS[1:-1]), "largest"]
    rows = {name: [_number(stage.raw[i]) for stage in stages] for i, name in enumerate(levels)}
    rows["after the clamp"] = [f"{_number(stage.clamped[0])} … {_number(stage.clamped[-1])}" for stage in stages]
    rows["windows beyond the clamp"] = [share_words(stage.beyond) for stage in stages]
    rows["windows that tie there"] = [share_words(stage.ties) for stage in stages]
    return Table(
        title="Raw logits",
        note="Quantiles over all logits of all windows. Beyond the clamp: with a raw logit larger than it. Tie: with "
        "the largest logits equal at the clamp, so that the direction is arbitrary.",
        columns=[Column(name="figure", format="text"), *(Column(name=_step(stage), format="text") for stage in stages)],
        rows=[[name, *cells] for name, cells in rows.items()],
    )


def _confidence_table(stages: Sequence[Stage]) -> Table:
    rows = {"mean": [stage.mean_confidence for stage in stages]}
    rows |= {
        f"{100 * level:g} % of predictions at most": [stage.confidence[i] for stage in stages]
        for i, level in enumerate(CONFIDENCE_LEVELS)
    }
    rows |= {
        f"share over {100 * float(limit):g} %": [stage.confident[limit] for stage in stages]
        for limit in stages[0].confident
    }
    return Table(
        title="Confidence",
        note="The probability of the predicted class, after the clamp.",
        columns=[
            Column(name="figure", format="text"),
            *(Column(name=stage.name, format="percent") for stage in stages),
        ],
        rows=[[name, *cells] for name, cells in rows.items()],
    )


def _logit_plot(stages: Sequence[Stage]) -> LinePlot:
    clamp = stages[0].clamp
    edges = symlog_edges(max(2 * clamp, *(stage.reach for stage in stages)))
    return LinePlot(
        title="Where raw logits lie",
        caption=f"The share of logits in each bin, on an axis that is logarithmic beyond ±1. What lies beyond "
        f"±{clamp:g} is clamped to it, and how much larger it was is lost.",
        x_label="raw logit",
        y_label="share of logits",
        x_scale="symlog",
        lines=[
            Line(name=_step(stage), x=edges, y=[*_shares(stage.logits, edges), 0.0], style="step") for stage in stages
        ],
        markers=[Marker(name=f"clamp, {sign}{clamp:g}", at=at, axis="x") for sign, at in (("−", -clamp), ("+", clamp))],
    )


def symlog_edges(reach: float) -> list[float]:
    """Edges of bins that are equally wide on a symlog axis and hold ±reach."""
    places = np.arange(0, 1 + np.log10(max(reach, 1.0)) + 2 * SYMLOG_STEP, SYMLOG_STEP)  # where the axis shows them
    positive = np.where(places <= 1, places, 10 ** (places - 1))
    edges: list[float] = np.concatenate([-positive[:0:-1], positive]).tolist()
    return edges


def _shares(values: Floats, edges: Sequence[float]) -> list[float]:
    """The share of values in each bin, one fewer than there are edges."""
    counts, _ = np.histogram(values, edges)
    shares: list[float] = (counts / len(values)).tolist()
    return shares


def _confidence_plot(stages: Sequence[Stage]) -> HistogramPlot:
    return HistogramPlot(
        title="How sure it is",
        caption="The share of predictions by confidence. The bot trades from 75 % on; the gates allow fewer than one "
        "in ten predictions over 90 %.",
        x_label="confidence (probability of the predicted class)",
        y_label="share of predictions",
        edges=CONFIDENCE_EDGES,
        panels=[Panel(name=stage.name, shares=_shares(stage.confidences, CONFIDENCE_EDGES)) for stage in stages],
        markers=[Marker(name="75 %", at=0.75, axis="x"), Marker(name="90 %", at=0.9, axis="x")],
    )


# ---- classes


def _classes(diagnosis: Diagnosis, on_bars: OnBars) -> Section:
    stages = on_bars.stages
    if not stages:
        return Section(title="What it says", text=["Nothing."])
    known = [name for name in CLASSES if name != "NEUTRAL" or diagnosis.bundle.manifest.knows_neutral]
    text = [] if len(known) == len(CLASSES) else ["The network knows only DOWN and UP."]
    plots: list[Plot] = [
        BarPlot(
            title="Class shares",
            caption="How often each class is the predicted one.",
            x_label="predicted class",
            y_label="share of predictions",
            groups=list(known),
            bars=[
                Bars(name=_step(stage), values=[stage.classes[name] for name in known]) for stage in on_bars.untempered
            ],
        )
    ]
    if len(on_bars.days) > 1:
        plots.append(_daily_plot(on_bars.days, known))
    return Section(title="What it says", text=text, tables=[_class_table(on_bars.untempered, known)], plots=plots)


def _class_table(stages: Sequence[Stage], known: Sequence[str]) -> Table:
    return Table(
        title="Classes and runs",
        note="Longest run: windows in a row with the same prediction; a dash where the windows are not in a row. Clamp "
        "and temperature leave all this as it is, but for ties.",
        columns=[
            Column(name="stage", format="text"),
            Column(name="windows", format="integer"),
            *(Column(name=name, format="percent") for name in known),
            *(Column(name=f"longest {name}", format="integer") for name in known),
        ],
        rows=[
            [
                _step(stage),
                stage.windows,
                *(stage.classes[name] for name in known),
                *(stage.longest[name] if stage.longest else None for name in known),
            ]
            for stage in stages
        ],
    )


def _daily_plot(days: Floats, known: Sequence[str]) -> LinePlot:
    return LinePlot(
        title="Class shares day by day",
        caption="The share of each predicted class in every 24 hours, as served. A class that dies out, or one that "
        "takes over, shows here first.",
        x_label="day from the first window on",
        y_label="share of predictions",
        y_range=(-0.02, 1.02),  # markers at 0 and 1 stay whole
        lines=[
            Line(name=name, x=[float(day + 1) for day in range(len(days))], y=days[:, CLASSES.index(name)].tolist())
            for name in known
        ],
    )


# ---- features


def _features(on_bars: OnBars) -> Section:
    features = on_bars.features
    text = [_fit_words(on_bars)]
    if features.displaced:
        text.append(
            "Their mean and scale would fit if these columns stood elsewhere: "
            + "; ".join(f"{one.column} has those of {one.holds}" for one in features.displaced)
            + "."
        )
    if on_bars.fits:
        text.append(f"The scaler does fit the bars of {on_bars.fits}, which are in the same folder.")
    return Section(
        title="Features",
        text=text,
        tables=[_gate_table(on_bars), _column_table(features.columns)],
        plots=[_feature_plot(features.columns)],
    )


def _fit_words(on_bars: OnBars) -> str:
    features = on_bars.features
    misfits = [column.name for column in features.misfits]
    beyond = f"{100 * features.beyond:.1f} % of the {features.bars:,} bars hold a value beyond 10 deviations"
    if misfits:
        return (
            f"{len(misfits)} of {len(features.columns)} columns contradict the scaler: {in_words(misfits)}. {beyond}."
        )
    return (
        f"No column contradicts the scaler. {beyond}, as real bars do with a right scaler: it is judged by where whole "
        "columns lie, and by many at once."
    )


def _gate_table(on_bars: OnBars) -> Table:
    training = on_bars.training
    return scale_table(
        "As gate 1 sees it",
        [("all of these bars", on_bars.scale), *([("its training bars", training)] if training else [])],
        note="The gate asks for |mean| and |deviation − 1| below 0.1 on the bars that the scaler was fitted on. "
        "On other bars a right scaler fails it: prices have moved."
        + ("" if training else f" The training bars could not be looked at: {on_bars.why_no_training}."),
    )


def _column_table(columns: Sequence[ColumnFit]) -> Table:
    return Table(
        title="Every column, before and after scaling",
        note="In the network's order. Median: of the scaled column. Largest: of all its scaled values, by size. "
        f"Elsewhere: its median is over {ELSEWHERE:g} deviations from the scaler's mean. Too wide or too narrow: its "
        f"spread is over {WIDE:g} times the scaler's, or under 1/{WIDE:g} of it.",
        columns=[
            Column(name="column", format="text"),
            Column(name="remark", format="text"),
            *(Column(name=name, format="text") for name in ("mean", "deviation", "scaler's mean", "scaler's scale")),
            *(
                Column(name=name, format="decimal", digits=2)
                for name in ("scaled mean", "scaled deviation", "median", "largest")
            ),
            Column(name="beyond 10", format="percent"),
        ],
        rows=[_column_row(column) for column in columns],
    )


def _column_row(column: ColumnFit) -> list[Cell]:
    before = (column.raw_mean, column.raw_deviation, column.scaler_mean, column.scaler_scale)
    remarks = [column.misfit, "never changes" if column.constant else None]
    return [
        column.name,
        ", ".join(filter(None, remarks)) or None,
        *map(_number, before),
        column.mean,
        column.deviation,
        column.median,
        column.largest,
        column.beyond,
    ]


def _feature_plot(columns: Sequence[ColumnFit]) -> IntervalPlot:
    furthest = sorted(columns, key=lambda column: -abs(column.median))[:SHOWN]
    return IntervalPlot(
        title="Where scaled columns lie",
        caption=f"The {len(furthest)} columns whose medians lie furthest from the scaler's means: the median, and "
        "where nine tenths of the bars are. A few deviations are drift; tens or thousands are another scaler.",
        x_label="scaled value (deviations)",
        rows=[Estimate(name=c.name, value=c.median, low=c.low, high=c.high) for c in furthest],
        reference=0.0,
    )


# ---- weights and origin


def _weights(weights: Weights) -> Section:
    return Section(
        title="Weights",
        text=[f"The Euclidean norm of all {weights.numbers:,} numbers is {weights.norm:.4g}."],
        tables=[
            Table(
                title="Tensor by tensor",
                note="Dead: rows of a matrix that are all zero, units that answer the same to every input. All other "
                "figures are of the finite numbers.",
                columns=[
                    Column(name="tensor", format="text"),
                    Column(name="shape", format="text"),
                    *(
                        Column(name=name, format="decimal", digits=4)
                        for name in ("mean", "deviation", "smallest", "largest")
                    ),
                    Column(name="zeros", format="percent"),
                    Column(name="NaN", format="integer"),
                    Column(name="infinite", format="integer"),
                    Column(name="dead", format="integer"),
                ],
                rows=[
                    [
                        tensor.name,
                        " × ".join(map(str, tensor.shape)) or "1",
                        tensor.mean,
                        tensor.deviation,
                        tensor.smallest,
                        tensor.largest,
                        tensor.zeros,
                        tensor.nan,
                        tensor.infinite,
                        tensor.dead_units,
                    ]
                    for tensor in weights.tensors
                ],
            )
        ],
    )


def _origin(diagnosis: Diagnosis) -> list[Section]:
    """What the importer found and assumed, where the model came from a checkpoint."""
    provenance = diagnosis.bundle.manifest.provenance
    found, assumed = provenance.get("found"), provenance.get("assumed")
    if not isinstance(found, Mapping) or not isinstance(assumed, Sequence):
        return []
    return [
        Section(
            title="The checkpoint",
            text=[f"Assumed: {words}." for words in assumed],
            tables=[
                Table(
                    title="What the file says",
                    columns=[Column(name="what", format="text"), Column(name="found", format="text")],
                    rows=[[str(name), str(words)] for name, words in found.items()],
                )
            ],
        )
    ]


# ---- words and figures


def _step(stage: Stage) -> str:
    """A stage without its temperature, which changes no logit and no class."""
    return stage.name.removesuffix(", T = 1")


def _number(value: float) -> str:
    """Four digits, as people write them: 104,833; −0.7238; 5.177 × 10⁻⁴."""
    if value and abs(value) < 0.001:
        return scientific(value, 3)
    return decimal(value, 0) if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−")


def _figures(on_bars: OnBars) -> dict[str, Any]:
    stages = {"unscaled": on_bars.unscaled, "scaled": on_bars.scaled, "served": on_bars.served}
    figures: dict[str, Any] = _plain(
        {
            "bars": on_bars.bars,
            "windows": on_bars.windows,
            "not_finite": on_bars.not_finite,
            "features": asdict(on_bars.features),
            "training": asdict(on_bars.training) if on_bars.training else None,
            "fits": on_bars.fits,
            "stages": {
                name: {key: value for key, value in asdict(stage).items() if key not in OUT_OF_TABLE} if stage else None
                for name, stage in stages.items()
            },
            "days": on_bars.days.tolist(),
        }
    )
    return figures


def _plain(value: Any) -> Any:
    """JSON has lists alone."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
