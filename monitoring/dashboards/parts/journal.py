"""Whether everything is recorded."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.panels import Query, lines, numbers
from monitoring.dashboards.queries import count, series

_NOT_SCORED: Final = 'result=~"dropped|failed"'


def add_to(made: Dashboard) -> None:
    made.with_row(Row("Journal"))
    made.with_panel(
        numbers(
            "Journal",
            "Whether the journal is written now.",
            "bool_yes_no",
            Query(f"min({series('signalserve_journal_ok')})"),
            span=4,
            nothing="nothing is recorded",
            height=8,
        )
    )
    made.with_panel(
        lines(
            "Behind",
            "Since the database last held all that workers had written; 0 while nothing waits.",
            "s",
            [Query(series("signalserve_journal_behind_seconds"), "{{instance}}")],
            span=6,
            nothing="nothing is recorded",
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Lost, and shadows dropped",
            "Predictions that were answered and could not be written, and windows whose other arms were not scored in "
            "time, within each interval.",
            "short",
            [
                Query(f"sum({count('signalserve_journal_lost_total')})", "lost"),
                Query(f"sum by (result) ({count('signalserve_shadows_total', _NOT_SCORED)})", "{{result}}"),
            ],
            span=7,
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Rows, and outcomes overdue",
            "Predictions kept, one for each arm, and those whose outcome should have been known for a day.",
            "short",
            [
                Query(series("signalserve_journal_rows"), "{{instance}} rows"),
                Query(series("signalserve_outcomes_overdue"), "{{instance}} overdue"),
            ],
            span=7,
            nothing="nothing is recorded",
            least=0,
        )
    )
