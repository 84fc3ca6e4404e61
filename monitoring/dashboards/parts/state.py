"""Whether somebody has to act."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.dashboards import links
from monitoring.dashboards.panels import GRAY, GREEN, RED, YELLOW, Query, lines, numbers, rows, verdict
from monitoring.dashboards.queries import SYMBOL, rate, series

_SAID: Final = 'endpoint="ensemble"'


def add_to(made: Dashboard) -> None:
    """No variable narrows the verdict and its alerts: what is not chosen fires too."""
    made.with_panel(
        verdict(
            "Verdict",
            "act now: an alert that pages fires, or a golden window is answered wrongly. not known: what alerts are "
            "computed from is over a minute old, or was never there. look: an alert fires that can wait for the day. "
            "calm: none of them. What only should be known (info) does not count.",
            Query(
                "clamp_max((\n"
                '  count(ALERTS{alertstate="firing",severity="page"}) or count(signalserve_ready == 0)\n'
                "), 1) * 2\n"
                "or clamp_max(count(\n"
                "  signalserve_ready unless on (job, instance) "
                "(time() - signalserve_statistics_timestamp_seconds <= 60)\n"
                "), 1) * 3\n"
                'or clamp_max(count(ALERTS{alertstate="firing",severity="ticket"}), 1)\n'
                "or count(signalserve_ready) * 0"
            ),
            {0: ("calm", GREEN), 1: ("look", YELLOW), 2: ("act now", RED), 3: ("not known", GRAY)},
            span=6,
        )
    )
    made.with_panel(
        numbers(
            "Age of the last prediction",
            "Since the newest prediction of each symbol was received. Bots ask every minute; NoPrediction fires after "
            "five.",
            "s",
            Query(series("signalserve:last_prediction_age_seconds", SYMBOL), "{{symbol}}"),
            span=9,
            steps=[(120, YELLOW), (300, RED)],
            nothing="none yet",
        )
    )
    made.with_panel(
        numbers(
            "Golden windows answered correctly",
            "Share of the windows with a known answer that each endpoint has answered correctly within five seconds.",
            "percentunit",
            Query(f"avg by (endpoint) ({series('signalserve_ready', SYMBOL)})", "{{endpoint}}"),
            span=9,
        )
    )
    made.with_panel(
        rows(
            "Firing alerts",
            "Every alert that fires, whatever is chosen above, but for Watchdog, which always does. Its name leads to "
            "the runbooks: what it means, what to look at, what to do.",
            "dateTimeFromNow",
            [
                Query(
                    "1000 * ALERTS_FOR_STATE\n"
                    '  and ignoring (alertstate) ALERTS{alertstate="firing",alertname!="Watchdog"}',
                    "Since",
                )
            ],
            span=16,
            columns={
                "severity": "Severity",
                "alertname": "Alert",
                "symbol": "Symbol",
                "arm": "Arm",
                "generation": "Model",
                "window": "Window",
                "statistic": "Statistic",
                "endpoint": "Endpoint",
                "instance": "Instance",
            },
            nothing="no alert fires",
            cell_links={"alertname": ("Runbook", links.address(links.RUNBOOKS))},
        )
    )
    made.with_panel(
        lines(
            "Arm in force",
            "Which arm answered on the ensemble endpoint, predictions a second: more than one of a symbol is an "
            "experiment, a caller's own choice or a change of serving.yaml.",
            "cps",
            [
                Query(
                    f"sum by (symbol, variant) ({rate('signalserve_predictions_total', _SAID, SYMBOL)})",
                    "{{symbol}} {{variant}}",
                )
            ],
            span=8,
            least=0,
            stacked=True,
        )
    )
