"""A judgement -> its report: the verdict, every gate on every set, and accuracy beside what no model reaches."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from export.gates import GATES, FeatureScale, Figure, Gate, Limit
from export.judging import EDGES, TRAINING, Finding, Judgement
from export.report.cells import decimal, minute_text
from export.report.model import (
    BarPlot,
    Bars,
    Cell,
    Column,
    HistogramPlot,
    Marker,
    Panel,
    Plot,
    Report,
    Section,
    Table,
    Verdict,
    interval_cell,
)
from signalserve import CLASSES
from signalserve.bundle import Span

NAMES: Final[dict[Gate, str]] = {
    "features": "features normalised",
    "logits": "raw logits in range",
    "overconfidence": "overconfidence",
    "confidence": "average confidence",
    "balance": "class balance",
    "finite": "no NaN or infinity",
    "accuracy": "accuracy",
}

SHORT: Final = 80
"""Windows' lengths: in a shorter set, block-bootstrap intervals of what depends on a whole window are too narrow.

`bootstrap.coverage` at an autocorrelation of 0.99, for 95 % intervals: 0.80 at 24 lengths of 60, 0.91 at 83."""


def judging_report(judgement: Judgement) -> Report:
    manifest = judgement.bundle.manifest
    spans, labels = manifest.spans, judgement.labels
    return Report(
        command="judge",
        title="May it go live?",
        subject=f"{manifest.generation} of {manifest.symbol}, version {manifest.version}",
        created=judgement.judged_at,
        verdict=verdict(judgement),
        facts={
            "trained on": _span_words(spans.train),
            "calibrated on": _span_words(spans.calibration),
            **{finding.sample.title: _set_words(finding) for finding in judgement.findings},
            "labels": f"{labels.horizon_bars} bars ahead, NEUTRAL within ±{labels.neutral_band:.4%}",
            "temperature, clamp": f"{manifest.calibration.temperature:.4g}, ±{manifest.calibration.clamp:g}",
            "bars": judgement.bars,
            "gates required": _required_words(judgement),
        },
        sections=[
            _gates_section(judgement),
            _accuracy_section(judgement),
            _confidence_section(judgement),
            _classes_section(judgement),
            _logits_section(judgement),
            _features_section(judgement),
        ],
        figures=judgement.as_dict(),
    )


# ---- the verdict


def verdict(judgement: Judgement) -> Verdict:
    """What the figures say of these bars, and no more: gates that are passed promise nothing about later ones."""
    failed, required = judgement.failed, judgement.settings.required
    optional = [gate for gate in GATES if gate not in required and not judgement.passes(gate)]
    close = [gate for gate in judgement.passed if _is_close(judgement, gate)]
    reasons = [_reason(judgement, gate) for gate in failed]
    reasons += [f"Not required, and not passed: {_reason(judgement, gate)}" for gate in optional]
    if failed:
        return Verdict(
            level="fail",
            sentence=f"{len(failed)} of {_gates(len(required))} failed: must not go live.",
            reasons=reasons,
        )
    if close:
        reasons.insert(0, f"On no set can the data tell these from their limits: {_listed(close)}.")
    if optional or close:
        return Verdict(level="warn", sentence=f"{_all(len(required))} passed, with reservations.", reasons=reasons)
    return Verdict(level="pass", sentence=f"{_all(len(required))} passed on these bars.", reasons=reasons)


def _required_words(judgement: Judgement) -> str:
    required = judgement.settings.required
    if set(required) == set(GATES):
        return f"all {len(GATES)}"
    return f"{len(required)} of {len(GATES)}: {_listed(required)}"


def _all(count: int) -> str:
    return "The one required gate was" if count == 1 else f"All {count} required gates were"


def _gates(count: int) -> str:
    return f"{count} gate" + "s" * (count != 1)


def _listed(gates: Sequence[Gate]) -> str:
    return ", ".join(NAMES[gate] for gate in gates)


def _is_close(judgement: Judgement, gate: Gate) -> bool:
    """Whether some figure of a gate that is passed cannot be told from its limit on any set."""
    by_name: dict[str, list[bool]] = {}
    for figure in judgement.figures_of(gate):
        by_name.setdefault(figure.name, []).append(figure.undecided)
    return any(all(undecided) for undecided in by_name.values())


def _reason(judgement: Judgement, gate: Gate) -> str:
    """What broke a gate, by figure: by how much at the worst, where, and whether that is certain."""
    titles = _titles(judgement)
    broken: dict[str, list[Figure]] = {}
    for figure in judgement.figures_of(gate):
        if not figure.passed:
            broken.setdefault(figure.name, []).append(figure)
    parts, unjudged = [], dict[str, list[str]]()
    for name, figures in broken.items():
        worst = max(figures, key=_excess)
        where = f"the {titles[worst.on]}"
        if worst.value is None:
            unjudged.setdefault(f"could not be judged on {where}: {worst.note}", []).append(name)
            continue
        doubt = "; the data cannot tell it from the limit" if all(figure.undecided for figure in figures) else ""
        parts.append(f"{name} {_value(worst)} in {where} (wanted: {limit_words(worst)}{doubt})")
    parts += [f"{' and '.join(names)} {why}" for why, names in unjudged.items()]
    beside = _beside(judgement) if gate == "accuracy" else ""
    return f"{_capital('; '.join(parts))}.{beside}"


def _excess(figure: Figure) -> float:
    """How far a figure lies outside its limit; what could not be judged is farthest."""
    if figure.value is None:
        return math.inf
    low, high = figure.limit.low, figure.limit.high
    return max(0.0 if low is None else low - figure.value, 0.0 if high is None else figure.value - high)


def _beside(judgement: Judgement) -> str:
    """On how many sets accuracy is shown to beat what needs no model, and on how many one class came more often."""
    found = [finding.benchmark for finding in judgement.findings if finding.benchmark is not None]
    gains = [one.gain_interval for one in found if one.gain_interval is not None]
    words = ""
    if gains:
        majority, better = found[0].majority, sum(gain.low > 0 for gain in gains)
        words = (
            f" It beats always saying {majority}, the training's commonest class, on {better} of {len(gains)} sets."
            if better
            else f" On no set can it be shown to beat always saying {majority}, the training's commonest class."
        )
    above = Counter(one.commonest for one in found if one.commonest_share >= one.accuracy)
    if above:
        sets = ", ".join(f"{name} on {count}" for name, count in above.items())
        words += f" Always saying one class would have been right as often or more: {sets} of {len(found)} sets."
    return words


# ---- sections


def _gates_section(judgement: Judgement) -> Section:
    sets = [TRAINING, *(finding.sample.name for finding in judgement.findings)]
    titles = _titles(judgement)
    overview: list[list[Cell]] = []
    for gate in GATES:
        cells: list[Cell] = []
        for one in sets:
            found = [figure.passed for figure in judgement.figures_of(gate) if figure.on == one]
            cells.append(all(found) if found else None)
        name = NAMES[gate] if gate in judgement.settings.required else f"{NAMES[gate]} (not required)"
        overview.append([name, *cells])
    return Section(
        title="Gates",
        text=[
            "A gate is passed where every figure keeps to its limit on every set. What cannot be judged counts as not "
            "passed. The sets share windows with one another: they are three looks at one stretch of time.",
            *(f"{_capital(finding.sample.title)}: {finding.sample.words}" for finding in judgement.findings),
        ],
        tables=[
            Table(
                title="Gate by gate",
                columns=[
                    Column(name="gate", format="text"),
                    *(Column(name=titles[one], format="passed") for one in sets),
                ],
                rows=overview,
                note="– where a gate has nothing to do with a set.",
            ),
            _shares_table(judgement),
            _numbers_table(judgement),
        ],
    )


def _shares_table(judgement: Judgement) -> Table:
    titles = _titles(judgement)
    return Table(
        title="Shares and their limits",
        columns=[
            Column(name="figure", format="text"),
            Column(name="set", format="text"),
            Column(name="found", format="percent"),
            Column(name="interval", format="percent_interval"),
            Column(name="wanted", format="text"),
            Column(name="result", format="passed"),
            Column(name="remark", format="text"),
        ],
        rows=[
            [
                figure.name,
                titles[figure.on],
                figure.value,
                interval_cell(figure.interval),
                limit_words(figure),
                figure.passed,
                _remark(figure, judgement),
            ]
            for figure in _by_name(judgement, "share")
        ],
        note="The figure decides. Intervals come from a block bootstrap, since predictions a bar apart share most of "
        "their bars; where one holds the limit, more data could turn the result. A set that spans few windows' lengths "
        "gives a lower bound of the uncertainty: of 500 simulated series with an autocorrelation of 0.99, 80 % of the "
        "95 % intervals held the truth at 1,440 values, 91 % at 5,000.",
    )


def _numbers_table(judgement: Judgement) -> Table:
    titles = _titles(judgement)
    return Table(
        title="Numbers and their limits",
        columns=[
            Column(name="figure", format="text"),
            Column(name="set", format="text"),
            Column(name="found", format="text"),
            Column(name="wanted", format="text"),
            Column(name="result", format="passed"),
            Column(name="remark", format="text"),
        ],
        rows=[
            [
                figure.name,
                titles[figure.on],
                _value(figure),
                limit_words(figure),
                figure.passed,
                figure.note or None,
            ]
            for figure in _by_name(judgement, "number")
        ],
        note="Extremes and counts have no interval: what the windows not looked at hold, these do not tell.",
    )


def _accuracy_section(judgement: Judgement) -> Section:
    found = [(finding.sample.title, finding.benchmark) for finding in judgement.findings]
    accuracy = {figure.on: figure for figure in judgement.figures_of("accuracy")}
    rows: list[list[Cell]] = []
    for finding in judgement.findings:
        one = finding.benchmark
        if one is None:
            continue
        gain = one.gain_interval
        rows.append(
            [
                finding.sample.title,
                one.accuracy,
                interval_cell(accuracy[finding.sample.name].interval),
                f"{decimal(100 * one.commonest_share, 1)} % ({one.commonest})",
                None
                if one.majority_accuracy is None
                else f"{decimal(100 * one.majority_accuracy, 1)} % ({one.majority})",
                one.gain,
                interval_cell(gain),
                one.n,
                None if one.independent is None else round(one.independent),
            ]
        )
    unknown = any(one is not None and one.majority is None for _, one in found)
    two = not judgement.bundle.manifest.knows_neutral
    return Section(
        title="Accuracy",
        text=[
            "Accuracy means nothing alone. The commonest class is known only afterwards; always saying what was most "
            "frequent in training needs no model either, and could have been done.",
            *(["The model knows only DOWN and UP, and is judged where one of them came."] if two else []),
            *(["Nobody knows which class was most frequent in its training."] if unknown else []),
        ],
        tables=[
            Table(
                title="Beside what no model reaches",
                columns=[
                    Column(name="set", format="text"),
                    Column(name="accuracy", format="percent"),
                    Column(name="accuracy, interval", format="percent_interval"),
                    Column(name="commonest class", format="text"),
                    Column(name="always the training's", format="text"),
                    Column(name="gain over it", format="percent"),
                    Column(name="gain, interval", format="percent_interval"),
                    Column(name="windows", format="integer"),
                    Column(name="worth", format="integer"),
                ],
                rows=rows,
                note="Gain: in percentage points, paired. Worth: independent predictions that would give as wide an "
                "interval.",
            )
        ],
    )


def _confidence_section(judgement: Judgement) -> Section:
    panels = [
        Panel(name=finding.sample.title, shares=finding.confidence_shares)
        for finding in judgement.findings
        if finding.confidence_shares is not None
    ]
    plots: list[Plot] = []
    if panels:
        plots.append(
            HistogramPlot(
                title="How confident it is",
                caption="The share of predictions by confidence, beside where the bot trades and the gates look.",
                x_label="confidence",
                y_label="share of predictions",
                edges=EDGES.tolist(),
                panels=panels,
                markers=[
                    Marker(name="75 %: the bot trades", at=0.75, axis="x"),
                    Marker(name="90 %", at=0.9, axis="x"),
                    Marker(name="99 %", at=0.99, axis="x"),
                ],
            )
        )
    return Section(title="Confidence", plots=plots)


def _classes_section(judgement: Judgement) -> Section:
    known = CLASSES if judgement.bundle.manifest.knows_neutral else (CLASSES[0], CLASSES[2])
    said = [(finding.sample.title, finding.said) for finding in judgement.findings if finding.said is not None]
    low, high = judgement.settings.class_share
    plots: list[Plot] = []
    if said:
        plots.append(
            BarPlot(
                title="What it says",
                caption="The share of each class among the predictions, beside the limits.",
                x_label="predicted class",
                y_label="share of predictions",
                groups=list(known),
                bars=[Bars(name=title, values=[shares[name] for name in known]) for title, shares in said],
                markers=[
                    Marker(name=f"at least {100 * low:g} %", at=low, axis="y"),
                    Marker(name=f"at most {100 * high:g} %", at=high, axis="y"),
                ],
            )
        )
    return Section(title="Classes", plots=plots)


def _logits_section(judgement: Judgement) -> Section:
    found = [(finding.sample.title, finding.logits) for finding in judgement.findings if finding.logits is not None]
    limit = judgement.settings.raw_logit
    plots: list[Plot] = []
    if found:
        plots.append(
            BarPlot(
                title="How far raw logits reach",
                caption=f"The smallest and the largest raw logit of each set, beside the limits of ±{limit:g}.",
                x_label="set",
                y_label="raw logit",
                groups=[title for title, _ in found],
                bars=[
                    Bars(name="smallest", values=[low for _, (low, _) in found]),
                    Bars(name="largest", values=[high for _, (_, high) in found]),
                ],
                markers=[
                    Marker(name=f"+{limit:g}", at=limit, axis="y"),
                    Marker(name=f"−{limit:g}", at=-limit, axis="y"),
                ],
            )
        )
    return Section(title="Raw logits", plots=plots)


def _features_section(judgement: Judgement) -> Section:
    scales = [(finding.sample.title, finding.features) for finding in judgement.findings]
    if judgement.training is not None:
        scales.insert(0, (_titles(judgement)[TRAINING], judgement.training))
    return Section(
        title="Scaled features",
        text=[
            "Judged only on the bars that the scaler was fitted on. On later ones prices and their averages stand "
            "elsewhere, with a right scaler too; the rest of this table is there to be seen, and decides nothing."
        ],
        tables=[scale_table("How far from mean 0 and deviation 1", scales)],
    )


def scale_table(title: str, scales: Sequence[tuple[str, FeatureScale]], note: str = "") -> Table:
    """What the features gate looks at, a row for each named set of bars."""
    return Table(
        title=title,
        note=note,
        columns=[
            Column(name="bars", format="text"),
            Column(name="largest |mean|", format="decimal"),
            Column(name="of", format="text"),
            Column(name="largest |deviation − 1|", format="decimal"),
            Column(name="of column", format="text"),
            Column(name="columns beyond", format="text"),
        ],
        rows=[
            [
                name,
                scale.mean,
                scale.mean_column,
                scale.deviation,
                scale.deviation_column,
                f"{scale.beyond} of {scale.columns}",
            ]
            for name, scale in scales
        ],
    )


# ---- words


def limit_words(figure: Figure) -> str:
    """A limit as people say it."""
    limit: Limit = figure.limit
    shown = [None if bound is None else _number(bound, figure.kind) for bound in (limit.low, limit.high)]
    if shown[0] is not None and shown[1] is not None:
        return f"{shown[0]} to {shown[1]}"
    if shown[0] is not None:
        return f"more than {shown[0]}" if limit.strict else f"at least {shown[0]}"
    if limit.high == 0:
        return "none"
    return f"less than {shown[1]}" if limit.strict else f"at most {shown[1]}"


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "not judged"
    if figure.kind == "share":
        return f"{decimal(100 * figure.value, 1)} %"
    if 0 < abs(figure.value) < 1e-4:
        return "under 0.0001"
    return f"{figure.value:,.0f}" if float(figure.value).is_integer() else f"{figure.value:,.4g}"


def _number(bound: float, kind: str) -> str:
    return f"{100 * bound:g} %" if kind == "share" else f"{bound:g}"


def _titles(judgement: Judgement) -> dict[str, str]:
    return {TRAINING: "training bars", **{one.sample.name: one.sample.title for one in judgement.findings}}


def _by_name(judgement: Judgement, kind: str) -> list[Figure]:
    """Figures of a kind, those of one name together, in the order in which gates are told."""
    figures = [figure for figure in judgement.figures if figure.kind == kind]
    names = list(dict.fromkeys(figure.name for figure in figures))
    return sorted(figures, key=lambda figure: names.index(figure.name))


def _remark(figure: Figure, judgement: Judgement) -> str | None:
    remarks = [figure.note] if figure.note else []
    if figure.undecided:
        remarks.append("limit in interval")
    by_window = figure.gate != "accuracy"  # whose hits depend on each other by a horizon
    if figure.interval is not None and by_window and figure.value not in (0, 1):  # these count a window as one
        part = next(one.sample.part for one in judgement.findings if one.sample.name == figure.on)
        if len(part.bars) < SHORT * part.window:
            remarks.append("interval: at least this wide")
    return "; ".join(remarks) or None


def _set_words(finding: Finding) -> str:
    return f"{len(finding.sample.part):,} windows, {_span_words(finding.sample.span)}"


def _span_words(span: Span | None) -> str:
    return "not known" if span is None else f"{minute_text(span.start)} to {minute_text(span.end)} UTC"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
