"""A small report with every kind of table cell and plot, for the tests of this folder."""

from typing import Any

from export.report.model import (
    BarPlot,
    Bars,
    Column,
    Estimate,
    HistogramPlot,
    Interval,
    IntervalPlot,
    Line,
    LinePlot,
    Marker,
    Panel,
    Plot,
    Report,
    Section,
    Table,
    Verdict,
)

LABELS: dict[str, Any] = {
    "title": "a plot",
    "caption": "A line that rises.",
    "x_label": "time (bars)",
    "y_label": "NLL (nats)",
}
AT_ONE = Marker(name="limit", at=1, axis="y")


def line_plot(*lines: Line, **fields: Any) -> LinePlot:
    drawn = list(lines) or [Line(name="a", x=[0, 1, 2], y=[1, None, 3])]
    return LinePlot(**{**LABELS, "lines": drawn, **fields})


def histogram_plot(**fields: Any) -> HistogramPlot:
    panels = [Panel(name="T = 1", shares=[0.1, 0.9]), Panel(name="T = 2", shares=[0.4, 0.6])]
    return HistogramPlot(**{**LABELS, "edges": [0.3, 0.6, 1.0], "panels": panels, **fields})


def bar_plot(**fields: Any) -> BarPlot:
    bars = [Bars(name="predicted", values=[0.8, None, 0.2]), Bars(name="came", values=[0.3, 0.4, 0.3])]
    return BarPlot(**{**LABELS, "groups": ["DOWN", "NEUTRAL", "UP"], "bars": bars, **fields})


def interval_plot(**fields: Any) -> IntervalPlot:
    rows = [Estimate(name="BTC-USD", value=0.1, low=-0.2, high=0.3), Estimate(name="ETH-USD", value=0, low=0, high=0)]
    return IntervalPlot(**{**LABELS, "rows": rows, "reference": 0, **fields})


def every_plot() -> list[Plot]:
    return [line_plot(), histogram_plot(), bar_plot(markers=[AT_ONE]), interval_plot()]


def table(**fields: Any) -> Table:
    columns = [
        Column(name="model", format="text"),
        Column(name="windows", format="integer"),
        Column(name="NLL", format="decimal", digits=2, unit="nats"),
        Column(name="accuracy", format="percent"),
        Column(name="at the clamp", format="scientific"),
        Column(name="NLL, between", format="interval"),
        Column(name="accuracy, between", format="percent_interval"),
        Column(name="gate", format="passed"),
    ]
    half, most = Interval(low=-0.25, high=0.5), Interval(low=0.25, high=0.5, level=0.9)
    rows = [["v8", 10_800, 1.0912, 0.387, 3.2e-5, half, most, True], ["v6", *[None] * 6, False]]
    return Table(**{"title": "All models", "columns": columns, "rows": rows, **fields})


def report(**fields: Any) -> Report:
    return Report(
        **{
            "command": "judge",
            "title": "The gates of v8",
            "subject": "v8/BTC-USD/2",
            "created": "2025-06-03T14:20:00Z",
            "verdict": Verdict(level="fail", sentence="It may not go live.", reasons=["It is right too seldom."]),
            "facts": {"bars": "43,200"},
            "sections": [Section(title="Gates", text=["On three sets."], tables=[table()], plots=every_plot())],
            "figures": {"accuracy": 0.387, "by_class": [1, 2.5, None, {"UP": True}]},
            **fields,
        }
    )
