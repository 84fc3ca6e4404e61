"""All dashboards as the text of their files."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from monitoring.dashboards.overview import overview
from monitoring.dashboards.runbooks import runbooks
from monitoring.dashboards.stream import stream

FOLDER: Final = Path(__file__).resolve().parents[1] / "grafana" / "dashboards"


def dashboard_texts() -> Mapping[str, str]:
    """File name -> JSON for Grafana's provisioning."""
    return {f"{made.uid}.json": _text(made) for made in (builder().build() for builder in (overview, stream, runbooks))}


def _text(dashboard: Dashboard) -> str:
    for number, panel in zip(itertools.count(1), _panels(dashboard), strict=False):
        panel.id_val = number  # else Grafana gives its own, and a link to one panel leads elsewhere after a restart
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


def _panels(dashboard: Dashboard) -> Iterator[Panel | RowPanel]:
    for panel in dashboard.panels or ():
        yield panel
        if isinstance(panel, RowPanel):
            yield from panel.panels
