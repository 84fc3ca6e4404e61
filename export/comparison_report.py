"""What a comparison found -> its report: the decision, the lines that adopt it, and the figures of every symbol."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from export.comparison import Comparison, Contestant, Cost
from export.contest import BY_HAND, FULL_FIT, METHODS, V6, V8, Contest
from export.decision import Decision, is_pool, percent, sentence, serving_lines
from export.paired import Estimate, Judged, Stream
from export.report.cells import minute_text
from export.report.model import (
    BarPlot,
    Bars,
    Cell,
    Column,
    IntervalPlot,
    Level,
    Line,
    LinePlot,
    Marker,
    Report,
    Section,
    Table,
    Verdict,
    interval_cell,
)
from export.report.model import Estimate as Whiskers
from export.scores import reliability
from export.selective import risk_coverage
from signalserve import CLASSES
from signalserve.settings import Variant

CURVE_POINTS: Final = 200
"""Of a risk-coverage curve: more than a screen has room for."""


@dataclass(frozen=True)
class SymbolResult:
    """One symbol, judged. costs: of a prediction, by generation."""

    comparison: Comparison
    judged: Judged
    decision: Decision
    costs: Mapping[str, Cost]

    @property
    def pool(self) -> Contestant:
        return self.comparison.contestant(self.judged.pool)


@dataclass(frozen=True)
class Overall:
    """All symbols together."""

    judged: Judged
    decision: Decision


def compare_report(
    results: Sequence[SymbolResult], overall: Overall | None, *, threshold: float, whole: bool, created: str
) -> Report:
    """The report of one or several symbols.

    overall: None for one symbol.  threshold: of the confidence, from which on the bot acts.  whole: whether these are
    all symbols of the store.  created: UTC, ISO 8601 with a Z.
    """
    decisions = [result.decision for result in results]
    lines = serving_lines(decisions, {result.judged.scope: result.pool for result in results}, whole=whole)
    scopes = [*([(overall.judged, overall.decision)] if overall else []), *((r.judged, r.decision) for r in results)]
    return Report(
        command="compare",
        title="Comparison",
        subject=", ".join(bundle.name for result in results for bundle in result.comparison.contest.bundles),
        created=created,
        verdict=_verdict(decisions, overall),
        facts=_facts(results),
        sections=[
            _adoption(results, lines, whole=whole),
            *([_overall(overall, threshold)] if overall else []),
            *(_symbol(result, threshold) for result in results),
        ],
        figures=_figures(scopes, results, lines),
    )


def _verdict(decisions: Sequence[Decision], overall: Overall | None) -> Verdict:
    first = overall.decision if overall else decisions[0]
    met = [decision.choice is not None for decision in decisions]
    level: Level = "pass" if all(met) and first.choice else "warn" if any(met) or first.choice else "fail"
    each = _each(decisions, overall.decision) if overall else []
    return Verdict(level=level, sentence=first.sentence, reasons=[*each, *first.reasons])


def _each(decisions: Sequence[Decision], overall: Decision) -> list[str]:
    """What is decided for the symbols one by one, those together that are decided alike."""
    scopes: dict[Variant | None, list[str]] = {}
    for decision in decisions:
        scopes.setdefault(decision.choice, []).append(decision.scope)
    if list(scopes) == [overall.choice]:
        other = [f"{decision.scope} by {decision.mode}" for decision in decisions if decision.mode != overall.mode]
        served = f"; if one must be served, {', '.join(other)}" if other else ""
        return [f"Each of {', '.join(scopes[overall.choice])} alone leads to the same answer{served}."]
    return [sentence(", ".join(alike), choice) for choice, alike in scopes.items()]


def _facts(results: Sequence[SymbolResult]) -> dict[str, str]:
    facts = {}
    for result in results:
        contest, symbol = result.comparison.contest, result.judged.scope
        taught = contest.taught
        neutral = "" if contest.knows_neutral else "; only where UP or DOWN came, since a model knows no NEUTRAL"
        facts[f"{symbol} labels"] = (
            f"{taught.horizon_bars} bars ahead, NEUTRAL within ±{100 * taught.neutral_band:.3g} % of the close{neutral}"
        )
        facts[f"{symbol} calibration part"] = _part(
            contest, test=False, effective=result.comparison.effective_calibration
        )
        facts[f"{symbol} test part"] = _part(contest, test=True, effective=result.judged.effective_n)
        unknown = [b.manifest.generation for b in contest.bundles if b.manifest.spans.calibration is None]
        if unknown:
            facts[f"{symbol} unknown"] = (
                f"on which bars the temperature of {' and '.join(unknown)} was fitted; if on these, it looks better "
                "here than it is"
            )
    return facts


def _part(contest: Contest, *, test: bool, effective: float) -> str:
    part = contest.test if test else contest.calibration
    span = contest.series[0].span_of(part)
    return (
        f"{minute_text(span.start)} to {minute_text(span.end)} UTC: {len(part):,} windows, labels worth "
        f"{effective:,.0f} independent ones"
    )


def _adoption(results: Sequence[SymbolResult], lines: Sequence[str], *, whole: bool) -> Section:
    notes = [
        "Keep what else serving.yaml says."
        if whole
        else "Put each line under symbols:, in place of that symbol's own; defaults and other symbols stay.",
        "Weights and temperatures hold for these bundles and no others.",
    ]
    untraded = [result.judged.scope for result in results if result.decision.choice is None]
    if untraded:
        notes.append(
            f"For {', '.join(untraded)} no criterion is met: the mode is whoever answers best if somebody must, to be "
            "watched and not traded on."
        )
    alone = [result.judged.scope for result in results if not is_pool(result.pool.weight or 0.0)]
    if alone:
        notes.append(f"For {', '.join(alone)} one model has all the weight: there is no pool to serve.")
    refused = [b.name for result in results for b in result.comparison.contest.bundles if b.failed_gates]
    if refused:
        notes.append(f"{', '.join(refused)} failed gates: the service loads them only with allow_failed_gates: true.")
    return Section(
        title="What to adopt",
        tables=[
            Table(
                title="Lines for serving.yaml",
                note=" ".join(notes),
                columns=[Column(name="serving.yaml", format="text")],
                rows=[[line] for line in lines],
            )
        ],
    )


def _overall(overall: Overall, threshold: float) -> Section:
    judged = overall.judged
    return Section(
        title=judged.scope,
        text=[
            "Windows of one minute stand in one block of the bootstrap, whatever their symbol: markets that move "
            "together say one thing three times over. A perfect model's calibration error is simulated as if all "
            "moved as one. Each symbol has the pools that were fitted to it.",
        ],
        tables=[_criteria(overall.decision), *_score_tables(judged, threshold)],
        plots=[_differences_plot(judged)],
    )


def _symbol(result: SymbolResult, threshold: float) -> Section:
    judged, stream = result.judged, result.comparison.stream
    drawn = list(dict.fromkeys([V6, V8, judged.pool, BY_HAND["linear"], *FULL_FIT.values()]))
    return Section(
        title=judged.scope,
        text=[
            "Everything was fitted to the calibration part, and is judged on the test part, which no window, label or "
            "fit of the former touches. Linear pools average probabilities, log pools their logarithms; w is "
            f"{V6}'s weight, T the pool's temperature.",
            f"The fitted pool is “{judged.pool}”: the likelier of the two with both fitted that serving.yaml can "
            "say, on the calibration parts of all symbols that are compared.",
        ],
        tables=[
            _criteria(result.decision),
            _contestants(result),
            *_score_tables(judged, threshold),
            _models(result),
        ],
        plots=[
            _differences_plot(judged),
            _weights_plot(result),
            _reliability_plot(stream, [V6, V8, judged.pool]),
            _risk_plot(stream, drawn, threshold),
            _classes_plot(judged, [V6, V8, judged.pool]),
        ],
    )


def _criteria(decision: Decision) -> Table:
    return Table(
        title="The owners' criteria",
        note="v6_fixed needs its first two and urgency, v8 both of its own; the pool needs both models to pass, urgent "
        "or not. A dash: not judged, which counts as not met.",
        columns=[
            Column(name="for", format="text"),
            Column(name="condition", format="text"),
            Column(name="found", format="text"),
            Column(name="met", format="passed"),
        ],
        rows=[["pool" if c.of == "ensemble" else c.of, c.condition, c.found, c.met] for c in decision.criteria],
    )


def _contestants(result: SymbolResult) -> Table:
    return Table(
        title="Who competes",
        note="Servable: serving.yaml can say it. Intervals of weights, outwards to the next 0.05, come from a block "
        "bootstrap of the calibration part. The log pool of models at T = 1 is not listed: with other w and T it is "
        "the log pool of the served ones.",
        columns=[
            Column(name="contestant", format="text"),
            Column(name="what it is", format="text"),
            Column(name="w", format="decimal", digits=4),
            Column(name="w between", format="interval", digits=2),
            Column(name="T", format="decimal"),
            Column(name="servable", format="text"),
        ],
        rows=[
            [
                c.name,
                c.how + (f"; T stopped at the {c.at_bound} end of its range" if c.at_bound else ""),
                c.weight,
                interval_cell(c.interval),
                None if c.weight is None else c.temperature,
                "yes" if c.adoptable else "no",
            ]
            for c in result.comparison.contestants
        ],
    )


def _score_tables(judged: Judged, threshold: float) -> list[Table]:
    """Narrow enough for a terminal, each of them."""
    return [_scores(judged), _confidence(judged), _acting(judged, threshold), *_differences(judged), _balance(judged)]


def _scores(judged: Judged) -> Table:
    return Table(
        title="Scores on the test part",
        note="Lower is better. Earlier shares: always forecasting the calibration part's class shares; own shares: the "
        "test part's, which nobody could know before. Who does not beat both is not shown to know anything.",
        columns=[
            Column(name="contestant", format="text"),
            Column(name="NLL", format="decimal", digits=4, unit="nats"),
            Column(name="NLL between", format="interval", digits=4),
            Column(name="Brier", format="decimal", digits=4),
            Column(name="Brier between", format="interval", digits=4),
        ],
        rows=[[name, *_estimate(f.nll), *_estimate(f.brier)] for name, f in judged.figures.items()],
    )


def _confidence(judged: Judged) -> Table:
    return Table(
        title="Accuracy and confidence",
        note="A perfectly calibrated model's calibration error would be 'if perfect' on average, and above 'by chance' "
        "in one case of 20. Who forecasts shares says the largest class at all times; the largest class that came made "
        f"up {percent(max(judged.base_rates))}.",
        columns=[
            Column(name="contestant", format="text"),
            Column(name="accuracy", format="percent"),
            Column(name="between", format="percent_interval"),
            Column(name="mean confidence", format="percent"),
            Column(name="calibration error", format="decimal"),
            Column(name="if perfect", format="decimal"),
            Column(name="by chance", format="decimal"),
        ],
        rows=[
            [name, *_estimate(f.accuracy), f.confidence.mean, f.confidence.error, f.confidence.null, f.confidence.limit]
            for name, f in judged.figures.items()
        ],
    )


def _acting(judged: Judged, threshold: float) -> Table:
    return Table(
        title=f"Acting on predictions at least {percent(threshold)} sure",
        note="The interval is Wilson's, on as many independent predictions as they are worth. A dash: there are none.",
        columns=[
            Column(name="contestant", format="text"),
            Column(name="acted on", format="percent"),
            Column(name="predictions", format="integer"),
            Column(name="independent", format="integer"),
            Column(name="right", format="percent"),
            Column(name="between", format="percent_interval"),
        ],
        rows=[
            [
                name,
                f.acted_on.coverage,
                f.acted_on.n,
                round(f.acted_on.effective_n),
                f.acted_on.accuracy,
                interval_cell(f.acted_on.interval),
            ]
            for name, f in judged.figures.items()
        ],
    )


def _differences(judged: Judged) -> list[Table]:
    first_and_second = [Column(name="first", format="text"), Column(name="second", format="text")]
    return [
        Table(
            title="Paired differences in NLL",
            note="The first's less the second's, window by window. Better: whose is lower, where the interval leaves 0 "
            f"out. Where there is no difference, one interval in 20 shows one; here are {len(judged.differences)}.",
            columns=[
                *first_and_second,
                Column(name="NLL", format="decimal", digits=4, unit="nats"),
                Column(name="between", format="interval", digits=4),
                Column(name="better", format="text"),
            ],
            rows=[
                [d.first, d.second, *_estimate(d.nll), d.better or "no difference can be shown"]
                for d in judged.differences
            ],
        ),
        Table(
            title="Paired differences in Brier score and accuracy",
            columns=[
                *first_and_second,
                Column(name="Brier", format="decimal", digits=4),
                Column(name="between", format="interval", digits=4),
                Column(name="accuracy", format="percent"),
                Column(name="between", format="percent_interval"),
            ],
            rows=[[d.first, d.second, *_estimate(d.brier), *_estimate(d.accuracy)] for d in judged.differences],
        ),
    ]


def _balance(judged: Judged) -> Table:
    return Table(
        title="Class balance on the test part",
        columns=[Column(name="contestant", format="text"), *(Column(name=name, format="percent") for name in CLASSES)],
        rows=[
            ["what came", *judged.base_rates],
            *([name, *f.predicted_shares] for name, f in judged.figures.items()),
        ],
    )


def _models(result: SymbolResult) -> Table:
    first = result.costs[V6]
    return Table(
        title="Logits and cost of the models",
        note=f"Raw logits of the test part. Costs were measured on this machine in this run (ONNX Runtime, "
        f"{first.device}, medians): one window at a time, and in batches of {first.batch}. A pool runs both models: it "
        "costs their sum.",
        columns=[
            Column(name="model", format="text"),
            Column(name="lowest logit", format="decimal", digits=2),
            Column(name="highest logit", format="decimal", digits=2),
            Column(name="beyond the clamp", format="percent"),
            Column(name="alone", format="decimal", unit="ms"),
            Column(name="in a batch", format="decimal", unit="ms"),
            Column(name=f"alone, times {V6}", format="decimal", digits=2),
        ],
        rows=[
            [
                name,
                logits.lowest,
                logits.highest,
                logits.beyond_clamp,
                result.costs[name].single_ms,
                result.costs[name].batch_ms,
                result.costs[name].single_ms / first.single_ms,
            ]
            for name, logits in result.comparison.logits.items()
        ],
    )


def _differences_plot(judged: Judged) -> IntervalPlot:
    return IntervalPlot(
        title=f"Paired differences in NLL, {judged.scope}",
        caption="Left of 0 the first named is better. An interval that holds 0 shows no difference.",
        x_label="difference in NLL (nats a prediction)",
        rows=[
            Whiskers(
                name=f"{d.first} − {d.second}", value=d.nll.value, low=d.nll.interval.low, high=d.nll.interval.high
            )
            for d in judged.differences
        ],
        reference=0,
    )


def _weights_plot(result: SymbolResult) -> LinePlot:
    lines = []
    for method in METHODS:
        fit = result.comparison.fits[method]
        weights = [point.weight for point in fit.curve]
        lines += [
            Line(name=f"{method}, calibration part", x=weights, y=[point.nll for point in fit.curve]),
            Line(name=f"{method}, test part", x=weights, y=result.comparison.test_curves[method], style="dashed"),
        ]
    return LinePlot(
        title=f"How likely every weight is, {result.judged.scope}",
        caption="Weights are chosen where the calibration part's curve is lowest, each with its own likeliest T. How "
        "flat the valley is, is how little the data tells. The test part's curve is for looking at: nothing is fitted "
        "to it.",
        x_label=f"weight of {V6} (0: {V8} alone, 1: {V6} alone)",
        y_label="mean NLL (nats)",
        lines=lines,
        markers=[Marker(name="fitted pool's weight", at=result.pool.weight or 0.0, axis="x")],
    )


def _reliability_plot(stream: Stream, names: Sequence[str]) -> LinePlot:
    lines = []
    for name in names:
        confidence, hits = _acts(stream, name)
        bins = reliability(confidence, hits, stream.overlap)
        lines.append(
            Line(
                name=name,
                x=[b.confidence for b in bins],
                y=[b.accuracy for b in bins],
                low=[b.interval.low for b in bins],
                high=[b.interval.high for b in bins],
                style="points",
            )
        )
    return LinePlot(
        title=f"How often what is said comes true, {stream.symbols[0]}",
        caption="Each point is a tenth of the test part's predictions, of similar confidence. On the diagonal they "
        "come true as often as they say; below it less often. Whiskers are 95 % intervals.",
        x_label="confidence",
        y_label="share that came true",
        diagonal=True,
        lines=lines,
    )


def _risk_plot(stream: Stream, names: Sequence[str], threshold: float) -> LinePlot:
    lines = []
    for name in names:
        curve = risk_coverage(*_acts(stream, name))
        kept = curve.coverage >= 0.01  # of less, the accuracy is noise
        step = max(1, int(kept.sum()) // CURVE_POINTS)
        lines.append(
            Line(name=name, x=curve.coverage[kept][::step].tolist(), y=(1 - curve.accuracy[kept][::step]).tolist())
        )
    return LinePlot(
        title=f"Risk and coverage, {stream.symbols[0]}",
        caption="How often one is wrong who acts only on the most confident predictions: lower is better, and a curve "
        f"that does not fall to the left knows not when it is right. The table says how many are at least "
        f"{percent(threshold)} sure.",
        x_label="coverage: share of predictions acted on",
        y_label="risk: share of them that is wrong",
        lines=lines,
    )


def _classes_plot(judged: Judged, names: Sequence[str]) -> BarPlot:
    return BarPlot(
        title=f"Class balance, {judged.scope}",
        caption="How often each class is predicted, beside how often it came.",
        x_label="class",
        y_label="share of the test part",
        groups=list(CLASSES),
        bars=[
            Bars(name="what came", values=list(judged.base_rates)),
            *(Bars(name=name, values=list(judged.figures[name].predicted_shares)) for name in names),
        ],
    )


def _acts(stream: Stream, name: str) -> tuple[Any, Any]:
    """Confidence and hits, each (n,)."""
    said = stream.forecasts[name]
    return said.max(axis=1), said.argmax(axis=1) == stream.labels


def _estimate(estimate: Estimate) -> list[Cell]:
    return [estimate.value, interval_cell(estimate.interval)]


def _figures(
    scopes: Sequence[tuple[Judged, Decision]], results: Sequence[SymbolResult], lines: Sequence[str]
) -> dict[str, Any]:
    figures = {
        "serving_yaml": "\n".join(lines) + "\n",
        "scopes": {
            judged.scope: {"judged": asdict(judged), "decision": {**asdict(decision), "mode": decision.mode}}
            for judged, decision in scopes
        },
        "symbols": {result.judged.scope: _symbol_figures(result) for result in results},
    }
    plain: dict[str, Any] = json.loads(json.dumps(figures))  # the dataclasses' tuples as lists
    return plain


def _symbol_figures(result: SymbolResult) -> dict[str, Any]:
    comparison, contest = result.comparison, result.comparison.contest
    return {
        "bundles": {bundle.name: bundle.sha256 for bundle in contest.bundles},
        "calibration_span": contest.series[0].span_of(contest.calibration).model_dump(),
        "test_span": contest.series[0].span_of(contest.test).model_dump(),
        "contestants": [asdict(contestant) for contestant in comparison.contestants],
        "fits": {method: asdict(fit) for method, fit in comparison.fits.items()},
        "test_curves": dict(comparison.test_curves),
        "temperatures": {name: asdict(fit) for name, fit in comparison.temperatures.items()},
        "logits": {name: asdict(logits) for name, logits in comparison.logits.items()},
        "costs": {name: asdict(cost) for name, cost in result.costs.items()},
    }
