"""How far predictions are from their reference, each statistic against its own limit."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.panels import Query, lines, rows
from monitoring.dashboards.queries import LONGEST, STREAM, known, series, statistic

_NAME: Final = "{{symbol}} {{arm}}"


def add_to(made: Dashboard) -> None:
    made.with_row(Row("Drift, as a ratio to the limit in force"))
    ratio = series("signalserve:drift_ratio", *STREAM)
    made.with_panel(
        lines(
            "Largest drift of each stream",
            "The largest ratio of a statistic to its own limit, over all statistics and windows. Above 1 an alert "
            "fires; limits hold their false-alarm rate on predictions that depend on each other.",
            "none",
            [Query(f"max by (symbol, arm) ({ratio})", _NAME)],
            span=8,
            limit=1,
            nothing="too few predictions",
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Largest drift of each statistic",
            "The same by statistic: confidence, classes, logits, mean confidence, and the rates of clamped, saturated "
            "and off-scale predictions.",
            "none",
            [Query(f"max by (statistic) ({ratio})", "{{statistic}}")],
            span=8,
            limit=1,
            nothing="too few predictions",
            least=0,
        )
    )
    made.with_panel(
        rows(
            "Nearest to their limits",
            "The ten largest ratios now, with the predictions in the window and how many independent ones those are "
            "worth.",
            "none",
            [
                Query(f"topk(10, {known(ratio)})", "Ratio"),
                Query(
                    f"{series('signalserve_drift_n', *STREAM)} * on (job, instance, symbol, arm, window) "
                    f"group_right () (topk(10, {known(ratio)}) >= bool 0)",
                    "n",
                ),
                Query(
                    f"{series('signalserve_drift_effective_n', *STREAM)} * on (job, instance, symbol, arm, window) "
                    f"group_right () (topk(10, {known(ratio)}) >= bool 0)",
                    "Effective n",
                ),
            ],
            span=8,
            columns={
                "instance": "Instance",
                "symbol": "Symbol",
                "arm": "Arm",
                "window": "Window",
                "statistic": "Statistic",
            },
            nothing="too few predictions",
        )
    )
    made.with_panel(
        lines(
            "Predictions in the longest window, and their worth",
            "How many of at most 1,440 predictions the longest window holds, and how many independent ones they are "
            "worth: consecutive windows of bars share all but one of them.",
            "short",
            [
                Query(series("signalserve_drift_n", *STREAM, LONGEST), f"{_NAME} n"),
                Query(series("signalserve_drift_effective_n", *STREAM, LONGEST), f"{_NAME} effective n"),
            ],
            span=8,
            least=0,
        )
    )
    rates = [
        (
            "Clamp rate",
            "clamp_rate",
            "Share of the last 1,440 predictions of a model with a raw logit beyond its clamp: the confidence of those "
            "says nothing.",
        ),
        ("Saturation", "saturation_rate", "Share of the last 1,440 predictions with a confidence of nearly 1."),
        (
            "Columns off scale",
            "off_scale_rate",
            "Mean share of a model's columns far beyond what its scaler has seen, over the last 1,440 predictions.",
        ),
    ]
    for title, name, meaning in rates:
        made.with_panel(
            lines(
                title,
                f"{meaning} Dashed: the limit.",
                "percentunit",
                [
                    Query(series("signalserve_drift", *STREAM, LONGEST, statistic(name)), _NAME),
                    Query(series("signalserve_drift_limit", *STREAM, LONGEST, statistic(name)), f"{_NAME} limit"),
                ],
                span=8,
                nothing="too few predictions",
                least=0,
            )
        )
    made.with_panel(
        lines(
            "Largest scaled feature",
            "How many standard deviations from its mean the furthest feature lay, over the last 120 predictions of a "
            "model. Volume columns of real markets go beyond 100; a whole window that does is unscaled.",
            "short",
            [Query(series("signalserve_scaled_feature_max", *STREAM), _NAME)],
            span=8,
            nothing="no predictions yet",
            least=0,
        )
    )
    made.with_panel(
        lines(
            "One class on end",
            "How many predictions on end have said the same class, and the limit of half as long again as the longest "
            "such run of the reference.",
            "short",
            [
                Query(series("signalserve_class_run", *STREAM), _NAME),
                Query(series("signalserve_class_run_limit", *STREAM), f"{_NAME} limit"),
            ],
            span=8,
            least=0,
        )
    )
