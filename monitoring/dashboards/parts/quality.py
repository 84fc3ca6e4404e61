"""How good predictions were, where outcomes are known, and whether confidence meant what it said."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.panels import Query, bars, lines, rows
from monitoring.dashboards.queries import STREAM, known, series

_NAME: Final = "{{symbol}} {{arm}}"


def add_to(made: Dashboard) -> None:
    made.with_row(Row("Live quality, on the outcomes that are known"))
    made.with_panel(
        rows(
            "Arms compared",
            "The outcomes judged, how many independent ones they are worth, and the scores on them. The arms of a "
            "symbol are judged on the same bars only where each was computed for each.",
            "none",
            [
                Query(series("signalserve_live_outcomes", *STREAM), "Outcomes"),
                Query(series("signalserve_live_effective_outcomes", *STREAM), "Effective"),
                Query(series("signalserve_live_accuracy", *STREAM), "Accuracy"),
                Query(series("signalserve_live_nll", *STREAM), "NLL, nats"),
                Query(series("signalserve_live_brier", *STREAM), "Brier"),
                Query(series("signalserve_live_confidence_gap", *STREAM), "Confidence gap"),
            ],
            span=16,
            columns={"instance": "Instance", "symbol": "Symbol", "arm": "Arm"},
        )
    )
    made.with_panel(
        bars(
            "Reliability",
            "The share that was right beside the mean confidence, by confidence up to the edge named: equal where "
            "confidence means what it says. Over all chosen symbols and arms, weighted by outcomes.",
            "percentunit",
            [
                Query(_weighted("signalserve_live_reliability_confidence"), "Confidence"),
                Query(_weighted("signalserve_live_reliability_right"), "Right"),
            ],
            span=8,
            label="le",
            axis="Confidence up to",
        )
    )
    scores = [
        ("Accuracy", "accuracy", "percentunit", "Share of the outcomes that the likeliest class was right about"),
        ("NLL", "nll", "none", "Mean negative log-likelihood of the outcomes in nats, lower is better"),
        (
            "Brier score",
            "brier",
            "none",
            "Mean squared error of the probabilities, summed over classes, lower is better",
        ),
    ]
    for title, name, unit, meaning in scores:
        queries = [
            Query(series(f"signalserve_live_{name}", *STREAM), _NAME),
            Query(series(f"signalserve_live_base_{name}", *STREAM), f"{_NAME} reference, shares known {{{{known}}}}"),
        ]
        made.with_panel(
            lines(
                title,
                f"{meaning}, beside what needs no model (dashed): the class shares of the training part "
                "(before) and of these very outcomes (hindsight).",
                unit,
                queries,
                span=8,
                nothing="too few outcomes",
            )
        )
    made.with_panel(
        lines(
            "Accuracy, estimated and reached",
            "What accuracy would be if confidence meant what it says, of predictions whose outcomes are still awaited, "
            "beside what the known outcomes gave.",
            "percentunit",
            [
                Query(series("signalserve_live_estimated_accuracy", *STREAM), f"{_NAME} estimated"),
                Query(series("signalserve_live_accuracy", *STREAM), f"{_NAME} reached"),
            ],
            span=12,
            nothing="too few outcomes",
        )
    )
    made.with_panel(
        lines(
            "Confidence gap",
            "Mean confidence less accuracy: above 0 the arm claims more than it delivers. Dashed: what a calibrated "
            "model would not pass, on either side.",
            "percentunit",
            [
                Query(series("signalserve_live_confidence_gap", *STREAM), _NAME),
                Query(series("signalserve_live_confidence_gap_limit", *STREAM), f"{_NAME} upper limit"),
                Query(f"-{series('signalserve_live_confidence_gap_limit', *STREAM)}", f"{_NAME} lower limit"),
            ],
            span=12,
            nothing="too few outcomes",
        )
    )


def _weighted(metric: str) -> str:
    """The mean of a figure of each confidence bin over the chosen streams, each as often as its outcomes."""
    outcomes = series("signalserve_live_reliability_count", *STREAM)
    return f"sum by (le) ({known(f'{outcomes} * {series(metric, *STREAM)}')}) / (sum by (le) ({outcomes}) > 0)"
