"""Requests, errors, time, workers, and what is in force."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.panels import Query, lines, numbers
from monitoring.dashboards.queries import SYMBOL, count, rate, series

_WHOLE: Final = 'stage="total"'


def add_to(made: Dashboard) -> None:
    made.with_row(Row("Service"))
    made.with_panel(
        lines(
            "Predictions",
            "Predictions answered a second, by endpoint. Golden probes are not counted.",
            "cps",
            [Query(f"sum by (endpoint) ({rate('signalserve_predictions_total', SYMBOL)})", "{{endpoint}}")],
            span=8,
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Errors by code",
            "Requests answered by an error, a second. Codes of 4xx are the caller's, model_output_not_finite, "
            "no_healthy_arm and not_ready the service's.",
            "reqps",
            [Query(f"sum by (code) ({rate('signalserve_errors_total')}) > 0 or vector(0)", "{{code}}")],
            span=8,
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Warnings by kind",
            "Predictions that carried a warning, a second.",
            "cps",
            [Query(f"sum by (kind) ({rate('signalserve_warnings_total', SYMBOL)})", "{{kind}}")],
            span=8,
            least=0,
        )
    )
    buckets = f"sum by (endpoint, le) ({rate('signalserve_latency_seconds_bucket', _WHOLE)})"
    made.with_panel(
        lines(
            "Time in the worker",
            "Quantiles of the time from the first byte read to the last one written, interpolated within the "
            "histogram's buckets.",
            "s",
            [
                Query(f"histogram_quantile({quantile}, {buckets})", f"{{{{endpoint}}}} p{round(100 * quantile)}")
                for quantile in (0.5, 0.95, 0.99)
            ],
            span=8,
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Golden probes over HTTP",
            "How long a golden window took from the watcher's side, the slowest of each endpoint.",
            "s",
            [Query(f"max by (endpoint) ({series('signalserve_probe_seconds', SYMBOL)})", "{{endpoint}}")],
            span=8,
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Batch size",
            "Mean number of windows computed together.",
            "short",
            [
                Query(
                    f"sum by (endpoint) ({rate('signalserve_batch_size_sum')})\n"
                    f"/ sum by (endpoint) ({rate('signalserve_batch_size_count')})",
                    "{{endpoint}}",
                )
            ],
            span=8,
            nothing="no requests",
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Workers begun",
            "How often a worker of each endpoint began: a step without a start of the service is a worker that died "
            "and was replaced.",
            "short",
            [Query(f"sum by (endpoint) ({count('signalserve_worker_starts_total')})", "{{endpoint}}")],
            span=8,
            least=0,
        )
    )
    made.with_panel(
        lines(
            "Hard rules broken, models out",
            "1 while a model breaks a hard rule over its last five predictions, and while a guardrail keeps it from "
            "answering.",
            "none",
            [
                Query(f"max by (invariant) ({series('signalserve_invariant_broken', SYMBOL)})", "{{invariant}}"),
                Query(
                    f"max by (symbol, generation) ({series('signalserve_model_out', SYMBOL)})",
                    "{{symbol}} {{generation}} out",
                ),
            ],
            span=8,
            least=0,
        )
    )
    made.with_panel(
        numbers(
            "Settings and bundles",
            "1 while serving.yaml is valid on every endpoint, and while every file of every bundle on disk is what its "
            "manifest says.",
            "bool_yes_no",
            Query(
                f"{_named('serving.yaml valid', series('signalserve_config_valid'))}\n"
                f"or {_named('bundles intact', series('signalserve_bundle_intact', SYMBOL))}",
                "{{what}}",
            ),
            span=8,
            height=8,
        )
    )


def _named(what: str, selector: str) -> str:
    """The least of some series, with a name of its own."""
    return f'label_replace(min({selector}), "what", "{what}", "", "")'
