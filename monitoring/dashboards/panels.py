"""Kinds of panels, with one look for each, so that a dashboard reads as a list of titles, words and queries.

span: columns of the 24 that a dashboard has.  unit: an id of Grafana's list of units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import barchart, common, heatmap, stat, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DataTransformerConfig,
    DynamicConfigValue,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from monitoring.dashboards.variables import DATASOURCE

GREEN: Final = "green"
YELLOW: Final = "yellow"
RED: Final = "red"
GRAY: Final = "gray"
DIRECTIONS: Final = {"DOWN": "orange", "NEUTRAL": GRAY, "UP": "blue"}
"""Not red and green: not everybody can tell them apart, and no direction is a fault."""

HEIGHT: Final = 8
"""Rows of the grid for a plot; a number that stands alone takes half."""

Panel = TypeVar("Panel", stat.Panel, timeseries.Panel, heatmap.Panel, table.Panel, barchart.Panel)


@dataclass(frozen=True)
class Query:
    """expr: PromQL.  name: the legend, in which {{symbol}} stands for a label's value, or the column of a table."""

    expr: str
    name: str = ""


def verdict(title: str, description: str, query: Query, words: Mapping[int, tuple[str, str]], span: int) -> stat.Panel:
    """One number that stands for words. words: number -> (word, colour)."""
    results = {
        str(number): ValueMappingResult(text=word, color=colour, index=number)
        for number, (word, colour) in words.items()
    }
    panel = _described(stat.Panel(), title, description, "none", span, HEIGHT // 2)
    panel.with_target(_query(0, query).instant()).mappings([ValueMap(results)]).no_value("nothing is watched")
    panel.reduce_options(_NEWEST)
    return panel.color_mode(shapes.BigValueColorMode.BACKGROUND_SOLID).graph_mode(shapes.BigValueGraphMode.NONE)


def numbers(
    title: str,
    description: str,
    unit: str,
    query: Query,
    span: int,
    steps: Sequence[tuple[float, str]] = (),
    nothing: str = "not known",
    height: int = HEIGHT // 2,
) -> stat.Panel:
    """The newest value of each series. steps: (from this value on, colour).  nothing: what stands there for NaN."""
    panel = _described(stat.Panel(), title, description, unit, span, height)
    panel.with_target(_query(0, query).instant()).thresholds(_thresholds(steps)).no_value(nothing)
    panel.mappings([_not_a_number(nothing)]).graph_mode(shapes.BigValueGraphMode.NONE).reduce_options(_NEWEST)
    return panel.text_mode(shapes.BigValueTextMode.VALUE_AND_NAME if query.name else shapes.BigValueTextMode.VALUE)


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    span: int,
    limit: float | None = None,
    nothing: str = "no data yet",
    least: float | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Values over time. Names that hold `limit`, `floor` or `reference` are drawn dashed.

    limit: drawn across, red above.  least: the axis goes down to it at least.
    """
    panel = _described(timeseries.Panel(), title, description, unit, span)
    for number, query in enumerate(queries):
        panel.with_target(_query(number, query).range())
    panel.no_value(nothing).line_width(1).show_points(shapes.VisibilityMode.NEVER)
    panel.fill_opacity(20 if stacked else 0)
    panel.legend(common.VizLegendOptions().show_legend(True).display_mode(shapes.LegendDisplayMode.LIST))
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
    panel.override_by_regexp(".*(limit|floor|reference).*", [_property("custom.lineStyle", _DASHED)])
    for direction, colour in DIRECTIONS.items():
        panel.override_by_regexp(f".*{direction}.*", [_property("color", {"mode": "fixed", "fixedColor": colour})])
    if least is not None:
        panel.axis_soft_min(least)
    if limit is not None:
        panel.thresholds(_thresholds([(limit, RED)]))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    return panel


def heat(title: str, description: str, unit: str, query: Query, span: int) -> heatmap.Panel:
    """A histogram's buckets over time."""
    panel = _described(heatmap.Panel(), title, description, unit, span)
    panel.with_target(_query(0, query).range().format(PromQueryFormat.HEATMAP))
    panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Viridis").steps(64))
    return panel.cell_values(heatmap.CellValues().unit("short")).y_axis(heatmap.YAxisConfig().unit(unit))


def rows(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    span: int,
    columns: Mapping[str, str],
    nothing: str = "no data yet",
    cell_links: Mapping[str, tuple[str, str]] = {},
) -> table.Panel:
    """The newest values as a table: a row for each set of labels, a column for each query.

    columns: label -> heading, in their order.  cell_links: label -> (words, address) behind its cells.
    """
    panel = _described(table.Panel(), title, description, unit, span)
    panel.no_value(nothing).mappings([_not_a_number(nothing)])
    _as_table(panel, queries, columns)
    for label, (words, address) in cell_links.items():
        link = DashboardLink(words).url(address).build()
        panel.override_by_name(columns[label], [_property("links", [{"title": link.title, "url": link.url}])])
    return panel


def bars(
    title: str, description: str, unit: str, queries: Sequence[Query], span: int, label: str, axis: str
) -> barchart.Panel:
    """The newest values side by side. label: the one whose values stand on the axis, which is called `axis`."""
    panel = _described(barchart.Panel(), title, description, unit, span)
    _as_table(panel, queries, {label: axis})
    panel.with_transformation(_transformation("sortBy", {"sort": [{"field": axis}]}))
    panel.no_value("no data yet").x_field(axis).show_value(shapes.VisibilityMode.NEVER)
    return panel.legend(common.VizLegendOptions().show_legend(True).display_mode(shapes.LegendDisplayMode.LIST))


def words(title: str, description: str, markdown: str, span: int, height: int) -> text.Panel:
    panel = text.Panel().title(title).description(description).span(span).height(height)
    return panel.mode(TextMode.MARKDOWN).content(markdown)


_NEWEST: Final = common.ReduceDataOptions().calcs(["last"])
_DASHED: Final = {"fill": "dash", "dash": [6, 4]}


def _described(panel: Panel, title: str, description: str, unit: str, span: int, height: int = HEIGHT) -> Panel:
    panel.title(title).description(description).datasource(DATASOURCE).span(span).height(height)
    return panel.unit(unit)


def _query(number: int, query: Query) -> Dataquery:
    made = Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(DATASOURCE)
    return made.legend_format(query.name or "__auto")


def _as_table(panel: table.Panel | barchart.Panel, queries: Sequence[Query], columns: Mapping[str, str]) -> None:
    """One frame of the labels and a column for each query."""
    for number, query in enumerate(queries):
        panel.with_target(_query(number, query).instant().format(PromQueryFormat.TABLE))
    values = ["Value"] if len(queries) == 1 else [f"Value #{chr(ord('A') + number)}" for number in range(len(queries))]
    order = [*columns, *values]
    names = {**columns, **dict(zip(values, (query.name for query in queries), strict=True))}
    # the filter first: rows are merged where all labels agree, and the name of a series is one of them
    panel.with_transformation(_transformation("filterFieldsByName", {"include": {"names": order}}))
    panel.with_transformation(_transformation("merge", {}))
    panel.with_transformation(
        _transformation("organize", {"indexByName": {name: at for at, name in enumerate(order)}, "renameByName": names})
    )


def _transformation(name: str, options: Any) -> DataTransformerConfig:
    return DataTransformerConfig(id_val=name, options=options)


def _property(name: str, value: Any) -> DynamicConfigValue:
    return DynamicConfigValue(id_val=name, value=value)


def _thresholds(steps: Sequence[tuple[float, str]]) -> ThresholdsConfig:
    all_steps = [Threshold(color=GREEN), *(Threshold(value=value, color=colour) for value, colour in steps)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(all_steps)


def _not_a_number(words: str) -> ValueMapping:
    result = ValueMappingResult(text=words, color=GRAY, index=0)
    return SpecialValueMap(DashboardSpecialValueMapOptions(match=SpecialValueMatch.NA_N, result=result))
