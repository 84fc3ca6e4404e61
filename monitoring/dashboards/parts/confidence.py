"""What is said, and how surely, beside the reference."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.panels import Query, bars, heat, lines
from monitoring.dashboards.queries import LONGEST, STREAM, SYMBOL, count, known, series, statistic

_VARIANT: Final = 'variant=~"$arm"'


def add_to(made: Dashboard) -> None:
    made.with_row(Row("Confidence"))
    made.with_panel(
        heat(
            "Confidence of the answers",
            "How many answers of the chosen arms had which confidence. A model that says the same of everything is one "
            "bright line; saturation is one at the top.",
            "percentunit",
            Query(f"sum by (le) ({count('signalserve_confidence_bucket', SYMBOL, _VARIANT)})", "{{le}}"),
            span=12,
        )
    )
    window = known(series("signalserve_drift_window_count", *STREAM, LONGEST, statistic("confidence_psi")))
    reference = _of_the_same(series("signalserve_drift_reference_count", *STREAM, statistic("confidence_psi")), window)
    made.with_panel(
        bars(
            "Confidence against its reference",
            "Shares of the last 1,440 predictions in the reference's own ten bins, from its least sure to its surest, "
            "beside the reference's shares of them.",
            "percentunit",
            [
                Query(f"sum by (bin) ({window}) / on () group_left () sum({window})", "Now"),
                Query(f"sum by (bin) ({reference}) / on () group_left () sum({reference})", "Reference"),
            ],
            span=6,
            label="bin",
            axis="Bin",
        )
    )
    share = known(series("signalserve_class_share", *STREAM))
    reference_share = series("signalserve:drift_reference_share", *STREAM, statistic("class_psi"))
    made.with_panel(
        lines(
            "Class shares",
            "How often each class was said in the last 1,440 predictions, beside the reference (dashed) and the floor "
            "of an eighth of it, under which ClassVanished fires. Average of the chosen symbols and arms.",
            "percentunit",
            [
                Query(f"avg by (direction) ({share})", "{{direction}}"),
                Query(f"avg by (bin) ({_of_the_same(reference_share, share)})", "{{bin}} reference"),
                Query(
                    f"avg by (direction) ({known(series('signalserve_class_share_floor', *STREAM))})",
                    "{{direction}} floor",
                ),
            ],
            span=6,
            least=0,
        )
    )


def _of_the_same(reference: str, live: str) -> str:
    """The references of those streams that are shown beside them: an average over others would be no comparison."""
    return f"{reference} and on (job, instance, symbol, arm) ({live})"
