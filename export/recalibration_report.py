"""What calibrating found -> a report: the verdict, how every temperature does, from which confidence to act, and what
monitoring will hold the new version against."""

from dataclasses import asdict
from typing import Any, Final

import numpy as np

from export.dependence import FEWEST_EFFECTIVE_LABELS
from export.drift_report import drift_figures, drift_section
from export.recalibration import ACTED_ON, PERFECT, AtTemperature, Recalibration
from export.recalibration_verdict import BOT, interval_text, temperature_text, verdict, whole_percent
from export.report.cells import minute_text, percent_text
from export.report.model import (
    Cell,
    Column,
    HistogramPlot,
    Line,
    LinePlot,
    Marker,
    Panel,
    Report,
    Section,
    Table,
    interval_cell,
)
from export.selective import SMALLEST, Threshold
from signalserve.bundle import Span

CONFIDENCE_EDGES: Final = [round(0.30 + 0.05 * i, 2) for i in range(15)]
"""Of equal width, so that heights compare; a third is the least of three classes, and 0.75 and 0.90 are exact."""

HIGHEST_NLL: Final = 1.1
"""Times the lowest: what lies above is off the plot, or the valley would be a line."""


def calibrate_report(done: Recalibration, *, written: str, created: str) -> Report:
    """One model's report.

    written: where the new version is, or why there is none.  created: UTC, ISO 8601 with a Z.
    """
    return Report(
        command="calibrate",
        title="Calibration",
        subject=done.bundle.name,
        created=created,
        verdict=verdict(done),
        facts=_facts(done, written),
        sections=[
            _temperatures(done),
            _reliability(done),
            _acting(done),
            drift_section(done.drift, _span(done.test.span)),
        ],
        figures=_figures(done),
    )


def _facts(done: Recalibration, written: str) -> dict[str, str]:
    old, taught, fitted = done.bundle.manifest, done.taught, done.fitted
    two_classes = "" if old.knows_neutral else "; the model knows no NEUTRAL and is judged where UP or DOWN came"
    return {
        "Temperature so far": f"{temperature_text(old.calibration.temperature)} ({old.calibration.method})",
        "Temperature found": f"{temperature_text(fitted.temperature)} ({fitted.method})",
        "New version": written,
        "Clamp": f"±{old.calibration.clamp:g}",
        "Labels": f"{taught.horizon_bars} bars ahead, NEUTRAL within ±{100 * taught.neutral_band:.3g} %{two_classes}",
        "Calibration part": f"{_span(done.calibration.span)}, {fitted.fit.n:,} labels worth "
        f"{fitted.effective_labels:,.0f} independent ones ({FEWEST_EFFECTIVE_LABELS:,} are needed)",
        "Test part": f"{_span(done.test.span)}, {done.evaluation.at[0].scores.n:,} labels",
        "Bars": f"{done.data['file']}, sha256 {done.data['sha256'][:12]}…",
    }


# ---- how every temperature does


def _temperatures(done: Recalibration) -> Section:
    evaluation = done.evaluation
    accuracy = percent_text(evaluation.at[0].scores.accuracy)
    return Section(
        title="Temperatures",
        text=[
            "Everything was fitted to the calibration part, and every figure here is the test part's, unless it says "
            "otherwise: no window or label of one shares a bar with the other, or with what taught the weights.",
            f"The accuracy is {accuracy} at every T: all logits are divided by the same number, so that the largest "
            "stays the largest. What T changes is how sure the model says it is.",
        ],
        tables=[_score_table(done), _confident_table(done)],
        plots=[
            _likelihood_plot(done),
            HistogramPlot(
                title="Confidence at each temperature",
                caption="Where the confidences of the test part lie. A lower temperature moves them to the right, "
                "and makes none of them truer.",
                x_label="confidence (probability of the predicted class)",
                y_label="share of predictions",
                edges=CONFIDENCE_EDGES,
                panels=[
                    Panel(name=f"T = {temperature_text(at.temperature)}{_role_in_brackets(done, at)}", shares=_bins(at))
                    for at in _distinct(done, evaluation.at)
                ],
                markers=[Marker(name=f"the bot trades from {whole_percent(BOT)} on", at=BOT, axis="x")],
            ),
        ],
    )


def _score_table(done: Recalibration) -> Table:
    gains = done.evaluation.gains
    return Table(
        title="How good the forecasts are",
        note="NLL and Brier score: lower is better; at a lower NLL the probabilities were nearer to what came. The "
        "calibration error means nothing beside 0, only beside what perfectly calibrated models with these confidences "
        f"would show: on average, and what {whole_percent(PERFECT)} of them stay below. Always forecasting the class "
        f"shares of the calibration part has an NLL of {gains.earlier.baseline_nll:.4f}, those of the test part "
        f"{gains.hindsight.baseline_nll:.4f}.",
        columns=[
            Column(name="T", format="text"),
            Column(name="which is", format="text"),
            Column(name="NLL", format="decimal", digits=4, unit="nats"),
            Column(name="Brier", format="decimal", digits=4),
            Column(name="calibration error", format="decimal"),
            Column(name="if perfect", format="decimal"),
            Column(name=f"{whole_percent(PERFECT)} of perfect below", format="decimal"),
            Column(name="mean confidence", format="percent"),
        ],
        rows=[
            [
                temperature_text(at.temperature),
                _role(done, at.temperature),
                at.scores.nll,
                at.scores.brier,
                at.scores.calibration_error,
                at.scores.calibration_error_null,
                at.calibration_error_limit,
                at.scores.mean_confidence,
            ]
            for at in _listed(done)
        ],
    )


def _confident_table(done: Recalibration) -> Table:
    return Table(
        title=f"Who is {whole_percent(BOT)} sure, and how often that comes true",
        note="The interval is Wilson's, on the number of independent predictions that they are worth: neighbours are "
        "right or wrong together. A dash: there are none.",
        columns=[
            Column(name="T", format="text"),
            Column(name=f"at least {whole_percent(BOT)} sure", format="percent"),
            Column(name="predictions", format="integer"),
            Column(name="independent", format="integer"),
            Column(name="come true", format="percent"),
            Column(name="between", format="percent_interval"),
            Column(name=f"at least {whole_percent(ACTED_ON[1])} sure", format="percent"),
        ],
        rows=[
            [temperature_text(at.temperature), *_acted_on(at.acted_on[0]), at.acted_on[1].coverage]
            for at in _listed(done)
        ],
    )


def _likelihood_plot(done: Recalibration) -> LinePlot:
    fitted, evaluation = done.fitted, done.evaluation
    lowest = float(min(fitted.curve_nll.min(), evaluation.curve_nll.min()))
    interval = [fitted.interval.low, fitted.fit.temperature, fitted.interval.high]
    temperatures = fitted.curve.tolist()
    return LinePlot(
        title="Likelihood of every temperature",
        caption=f"The likeliest T, {temperature_text(fitted.fit.temperature)} ({interval_text(fitted.interval)}), is "
        "where the calibration part's curve is lowest; how flat the valley is, is how little the data tells.",
        x_label="temperature T",
        y_label="mean NLL (nats)",
        x_scale="log",
        x_range=(temperatures[0], temperatures[-1]),
        y_range=(lowest - 0.01, HIGHEST_NLL * lowest),
        lines=[
            Line(name="calibration part", x=temperatures, y=fitted.curve_nll.tolist()),
            Line(name="test part", x=temperatures, y=evaluation.curve_nll.tolist(), style="dashed"),
            Line(name="likeliest T, 95 % interval", x=interval, y=[fitted.fit.nll_after] * 3),
        ],
        markers=[Marker(name="class shares alone, test part", at=evaluation.gains.earlier.baseline_nll, axis="y")],
    )


# ---- does the confidence come true


def _reliability(done: Recalibration) -> Section:
    shown = [at for at in _distinct(done, done.evaluation.at) if _role(done, at.temperature) or at.temperature == 1]
    return Section(
        title="Reliability",
        plots=[
            LinePlot(
                title="How often what is said comes true",
                caption="Each point is a tenth of the test part's predictions, of similar confidence. On the diagonal "
                "they come true as often as they say; below it less often. The whiskers are 95 % intervals.",
                x_label="confidence",
                y_label="share that came true",
                diagonal=True,
                lines=[
                    Line(
                        name=f"T = {temperature_text(at.temperature)}{_role_in_brackets(done, at)}",
                        x=[point.confidence for point in at.reliability],
                        y=[point.accuracy for point in at.reliability],
                        low=[point.interval.low for point in at.reliability],
                        high=[point.interval.high for point in at.reliability],
                        style="points",
                    )
                    for at in shown
                ],
            )
        ],
    )


# ---- from which confidence to act


def _acting(done: Recalibration) -> Section:
    fitted, evaluation = done.fitted, done.evaluation
    found = {"calibration part, where it was chosen": fitted.threshold, "test part": evaluation.threshold}
    table = Table(
        title=f"The lowest threshold with an accuracy of {whole_percent(fitted.accuracy)}",
        note=f"Chosen so that at least {SMALLEST:.0f} independent predictions are left. Of many thresholds the best "
        "looks better than it is where it was picked: the test part's row is the one to believe.",
        columns=[
            Column(name="on the", format="text"),
            Column(name="threshold", format="decimal"),
            Column(name="acted on", format="percent"),
            Column(name="predictions", format="integer"),
            Column(name="independent", format="integer"),
            Column(name="come true", format="percent"),
            Column(name="between", format="percent_interval"),
        ],
        rows=[[part, at.threshold, *_acted_on(at)] for part, at in found.items() if at],
    )
    none = (
        f"None reaches it: on the calibration part no threshold that leaves {SMALLEST:.0f} independent predictions has "
        f"an accuracy of {whole_percent(fitted.accuracy)}."
    )
    curve = evaluation.coverage
    return Section(
        title="From which confidence to act",
        text=[] if fitted.threshold else [none],
        tables=[table] if fitted.threshold else [],
        plots=[
            LinePlot(
                title="Risk–coverage curve",
                caption="What comes of acting on the surest predictions only, at the new temperature, on the test "
                "part, with 95 % intervals. A curve that does not rise to the left has no threshold worth waiting for.",
                x_label="coverage (share of predictions acted on)",
                y_label="accuracy among them",
                x_scale="log",
                lines=[
                    Line(
                        name="accuracy",
                        x=[at.coverage for at in curve],
                        y=[at.accuracy for at in curve],
                        low=[at.interval.low if at.interval else None for at in curve],
                        high=[at.interval.high if at.interval else None for at in curve],
                    )
                ],
                markers=[Marker(name=f"wished for: {whole_percent(fitted.accuracy)}", at=fitted.accuracy, axis="y")],
            )
        ],
    )


# ---- parts of them


def _role(done: Recalibration, temperature: float) -> str:
    fitted = done.fitted
    roles = {
        "likeliest": fitted.fit.temperature,
        "so far": done.bundle.manifest.calibration.temperature,
        "as wished": fitted.target.temperature if fitted.target else None,
    }
    same = temperature_text(temperature)
    return ", and ".join(role for role, of in roles.items() if of is not None and temperature_text(of) == same)


def _role_in_brackets(done: Recalibration, at: AtTemperature) -> str:
    role = _role(done, at.temperature)
    return f" ({role})" if role else ""


def _listed(done: Recalibration) -> list[AtTemperature]:
    """Each temperature that prints differently once; of those alike the new one, then the likeliest."""
    fitted = done.fitted
    kept: dict[str, AtTemperature] = {}
    for at in done.evaluation.at:
        text = temperature_text(at.temperature)
        if text not in kept or at.temperature in (fitted.temperature, fitted.fit.temperature):
            kept[text] = at
    return list(kept.values())


def _distinct(done: Recalibration, found: list[AtTemperature]) -> list[AtTemperature]:
    """Without those that a plot could not tell from another: of these the new one stays, then the likeliest."""
    weightiest = (done.fitted.temperature, done.fitted.fit.temperature)
    first = sorted(found, key=lambda at: (at.temperature != weightiest[0], at.temperature != weightiest[1]))
    kept: list[AtTemperature] = []
    for at in first:
        if all(abs(np.log(at.temperature / other.temperature)) > 0.02 for other in kept):
            kept.append(at)
    return sorted(kept, key=lambda at: at.temperature)


def _bins(at: AtTemperature) -> list[float]:
    counts, _ = np.histogram(at.confidence, CONFIDENCE_EDGES)
    shares: list[float] = (counts / len(at.confidence)).tolist()
    return shares


def _acted_on(at: Threshold) -> list[Cell]:
    """Coverage, count, effective count, accuracy and its interval; nothing where nothing was acted on."""
    interval = interval_cell(at.interval)
    return [at.coverage, at.n, round(at.effective_n), at.accuracy, interval]


def _span(span: Span) -> str:
    return f"{minute_text(span.start)} to {minute_text(span.end)} UTC"


def _figures(done: Recalibration) -> dict[str, Any]:
    fitted, evaluation = done.fitted, done.evaluation
    return {
        "bundle": {"name": done.bundle.name, "sha256": done.bundle.sha256},
        "data": dict(done.data),
        "spans": {"calibration": done.calibration.span.model_dump(), "test": done.test.span.model_dump()},
        "temperature": fitted.temperature,
        "method": fitted.method,
        "fit": {
            **asdict(fitted.fit),
            "interval": asdict(fitted.interval),
            "effective_labels": fitted.effective_labels,
        },
        "test": [
            {
                "temperature": at.temperature,
                "role": _role(done, at.temperature),
                **at.scores.as_dict(),
                "calibration_error_limit": at.calibration_error_limit,
                "acted_on": [asdict(found) for found in at.acted_on],
                "reliability": [asdict(found) for found in at.reliability],
            }
            for at in evaluation.at
        ],
        "gain": asdict(evaluation.gains.earlier),
        "gain_in_hindsight": asdict(evaluation.gains.hindsight),
        "threshold": {
            "accuracy": fitted.accuracy,
            "calibration": asdict(fitted.threshold) if fitted.threshold else None,
            "test": asdict(evaluation.threshold) if evaluation.threshold else None,
        },
        "risk_coverage": [asdict(at) for at in evaluation.coverage],
        "drift": drift_figures(done.drift),
    }
