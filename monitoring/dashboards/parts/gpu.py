"""The GPU, where there is one."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.dashboards.panels import Query, lines
from monitoring.dashboards.queries import series

ROW: Final = "GPU"


def add_to(made: Dashboard) -> None:
    row = Row(ROW)
    figures = [
        (
            "GPU load",
            "utilization_ratio",
            "percentunit",
            "Share of the driver's last sample in which the GPU computed.",
        ),
        ("GPU memory", "memory_used_bytes", "bytes", "Memory in use, by whatever process."),
        ("GPU temperature", "temperature_celsius", "celsius", "As the driver tells it."),
    ]
    for title, name, unit, meaning in figures:
        queries = [Query(series(f"signalserve_gpu_{name}"), "{{instance}} {{gpu}}")]
        if name == "memory_used_bytes":
            queries.append(Query(series("signalserve_gpu_memory_total_bytes"), "{{instance}} {{gpu}} limit"))
        row.with_panel(
            lines(title, f"{meaning} Empty where there is none.", unit, queries, span=8, nothing="no GPU", least=0)
        )
    made.with_row(row)
