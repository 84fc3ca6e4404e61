"""The dashboard `signalserve-drift`: one symbol and arm in depth, each statistic's window beside its reference."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from monitoring.dashboards import links, variables
from monitoring.dashboards.panels import RED, Query, bars, lines, numbers
from monitoring.dashboards.queries import STREAM, series, statistic

_WINDOW: Final = 'window=~"$window"'

_BINNED: Final = [
    ("confidence_psi", "Confidence", "the reference's ten bins of confidence, from its least sure to its surest"),
    ("class_psi", "Classes", "the three classes"),
    ("logit_psi", "Raw logits", "the reference's ten bins of the largest raw logit of a prediction, models only"),
]

_STATISTICS: Final = [
    ("confidence_psi", "Confidence, PSI", "none"),
    ("class_psi", "Classes, PSI", "none"),
    ("logit_psi", "Raw logits, PSI", "none"),
    ("confidence_shift", "Mean confidence less the reference's", "percentunit"),
    ("clamp_rate", "Clamp rate", "percentunit"),
    ("saturation_rate", "Saturation", "percentunit"),
    ("off_scale_rate", "Columns off scale", "percentunit"),
]


def stream() -> Dashboard:
    made = (
        Dashboard("signalserve: one stream in depth")
        .uid(links.STREAM)
        .description("One symbol and arm: each drift statistic over time, and its window beside its reference.")
        .tags(["signalserve"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("15s")
        .time("now-24h", "now")
        .link(links.to_dashboard("Overview", links.OVERVIEW))
        .link(links.to_dashboard("Runbooks", links.RUNBOOKS))
        .with_variable(variables.datasource())
    )
    for variable in (*variables.service(), variables.one_symbol(), variables.one_arm(), variables.window()):
        made.with_variable(variable)
    _standing(made)
    _bins(made)
    _over_time(made)
    return made


def _standing(made: Dashboard) -> None:
    made.with_panel(
        numbers(
            "Ratio to the limit",
            "Each statistic of the chosen window as a ratio to its own limit: above 1 its alert fires.",
            "none",
            Query(series("signalserve:drift_ratio", *STREAM, _WINDOW), "{{statistic}}"),
            span=12,
            steps=[(1, RED)],
            nothing="no limit, or too few",
        )
    )
    made.with_panel(
        numbers(
            "Predictions in the window",
            "Counted predictions, repeats once; under 100 no statistic is computed.",
            "short",
            Query(series("signalserve_drift_n", *STREAM, _WINDOW)),
            span=4,
        )
    )
    made.with_panel(
        numbers(
            "Independent ones",
            "How many independent predictions those are worth, by the dependence that the reference has.",
            "short",
            Query(series("signalserve_drift_effective_n", *STREAM, _WINDOW)),
            span=4,
        )
    )
    made.with_panel(
        numbers(
            "Design effect",
            "Predictions in the window for each independent one.",
            "short",
            Query(series("signalserve:drift_design_effect", *STREAM, _WINDOW)),
            span=4,
        )
    )


def _bins(made: Dashboard) -> None:
    made.with_row(Row("The chosen window beside the reference"))
    for name, title, what in _BINNED:
        made.with_panel(
            bars(
                f"{title} against its reference",
                f"Shares of {what}: of the chosen window, and of the reference. Half a count is added to each bin, as "
                "PSI has it.",
                "percentunit",
                [
                    Query(
                        f"avg by (bin) ({series('signalserve:drift_window_share', *STREAM, _WINDOW, statistic(name))})",
                        "Window",
                    ),
                    Query(
                        f"avg by (bin) ({series('signalserve:drift_reference_share', *STREAM, statistic(name))})",
                        "Reference",
                    ),
                ],
                span=8,
                label="bin",
                axis="Bin",
            )
        )


def _over_time(made: Dashboard) -> None:
    made.with_row(Row("Over time, all windows"))
    for name, title, unit in _STATISTICS:
        made.with_panel(
            lines(
                title,
                f"{name} over the last 120, 360 and 1,440 predictions. Dashed: the limit of each window"
                + (", which stands for both signs." if name == "confidence_shift" else "."),
                unit,
                [
                    Query(series("signalserve_drift", *STREAM, statistic(name)), "{{window}}"),
                    Query(series("signalserve_drift_limit", *STREAM, statistic(name)), "{{window}} limit"),
                ],
                span=8,
                nothing="too few predictions",
            )
        )
    made.with_panel(
        lines(
            "PSI, as Prometheus computes it",
            "From the exported bin counts; the same as the watcher's to 1e-6, else DriftMiscomputed fires.",
            "none",
            [Query(series("signalserve:drift_psi", *STREAM), "{{statistic}} {{window}}")],
            span=8,
            nothing="too few predictions",
            least=0,
        )
    )
