"""The dashboard `signalserve`: whether somebody has to act, and why."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from monitoring.dashboards import links, variables
from monitoring.dashboards.parts import confidence, drift, gpu, journal, quality, service, state


def overview() -> Dashboard:
    made = (
        Dashboard("signalserve")
        .uid(links.OVERVIEW)
        .description("Whether somebody has to act, and why: alerts, drift, live quality, service.")
        .tags(["signalserve"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("15s")
        .time("now-6h", "now")
        .link(links.to_dashboard("One stream in depth", links.STREAM))
        .link(links.to_dashboard("Runbooks", links.RUNBOOKS))
        .with_variable(variables.datasource())
    )
    for variable in (*variables.service(), variables.symbols(), variables.arms()):
        made.with_variable(variable)
    for part in (state, confidence, drift, quality, service, journal, gpu):
        part.add_to(made)
    return made
