"""Ways between the dashboards."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

OVERVIEW: Final = "signalserve"
STREAM: Final = "signalserve-drift"
RUNBOOKS: Final = "signalserve-runbooks"


def address(uid: str) -> str:
    return f"/d/{uid}"


def to_dashboard(words: str, uid: str) -> DashboardLink:
    """A link at the top of a dashboard that keeps the time shown and the choices made."""
    link = DashboardLink(words).type(DashboardLinkType.LINK).url(address(uid)).icon("dashboard")
    return link.keep_time(True).include_vars(True)
