"""What a report is: pure data, from which the page, the terminal's lines and the JSON all come.

    Report
    ├── verdict: Verdict               what to think of it, in a sentence with its reasons
    ├── facts: {name: value}           what was looked at: versions, spans, counts
    ├── sections: [Section]
    │   ├── text: [str]                paragraphs
    │   ├── tables: [Table]            columns with a format, rows of cells
    │   └── plots: [Plot]              LinePlot, HistogramPlot, BarPlot, IntervalPlot: told apart by `kind`
    └── figures: {name: JSON}          the command's raw results, for programs

A report that cannot be drawn cannot be made: lengths, types, orders and logarithms are checked here, and no number is
NaN or infinite. What a command could not find out is None, and shows as a gap or a dash.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from signalserve.errors import DataError

Text = Annotated[str, Field(min_length=1)]
Level = Literal["pass", "warn", "fail", "info"]
Scale = Literal["linear", "log", "symlog"]
Range = tuple[float, float]
Format = Literal["text", "integer", "decimal", "percent", "scientific", "interval", "percent_interval", "passed"]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(_Data):
    """Where a figure lies, from low to high, with a probability of `level`."""

    low: float
    high: float
    level: float = Field(default=0.95, gt=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> "Interval":
        if self.low > self.high:
            raise ValueError(f"expected low <= high, got {self.low} and {self.high}")
        return self


class Found(Protocol):
    """An interval as the statistics give it (`export.bootstrap.Interval`)."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def level(self) -> float: ...


def interval_cell(found: Found | None) -> Interval | None:
    """A found interval as a cell; nothing where nothing was found."""
    return None if found is None else Interval(low=found.low, high=found.high, level=found.level)


def _plain(value: object) -> object:
    # A comparison or a sum in numpy gives numpy's own scalars, which no JSON knows.
    return value.item() if isinstance(value, np.generic) else value


Cell = Annotated[str | int | float | bool | Interval | None, BeforeValidator(_plain)]

CELL_TYPES: Final[dict[Format, tuple[type, ...]]] = {
    "text": (str,),
    "integer": (int,),
    "decimal": (int, float),
    "percent": (int, float),
    "scientific": (int, float),
    "interval": (Interval,),
    "percent_interval": (Interval,),
    "passed": (bool,),
}
"""What a column of each format holds, beside None."""


class Column(_Data):
    """How the values below a heading are shown.

    format: percent and percent_interval take shares, 0.123 for 12.3 %.  digits: after the point; by default 3, of
    a percentage 1, of a scientific number 2.  unit: of the values, shown in the heading.
    """

    name: Text
    format: Format
    digits: int | None = Field(default=None, ge=0, le=15)
    unit: str = ""


class Table(_Data):
    """Rows of cells, each as wide as there are columns.

    note: what a reader must know to read it, below the table.  Intervals of one column share their level.
    """

    title: Text
    note: str = ""
    columns: list[Column] = Field(min_length=1)
    rows: list[list[Cell]]

    @model_validator(mode="after")
    def _cells_fit_columns(self) -> "Table":
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}, row {number}: expected {len(self.columns)} cells, got {len(row)}"
                )
            for column, cell in zip(self.columns, row, strict=True):
                if not _fits(cell, column.format):
                    raise ValueError(
                        f"table {self.title!r}, row {number}, column {column.name!r}: "
                        f"expected a value of the format {column.format}, got {type(cell).__name__} {cell!r}"
                    )
        for column, cells in zip(self.columns, zip(*self.rows, strict=True), strict=False):
            levels = sorted({cell.level for cell in cells if isinstance(cell, Interval)})
            if len(levels) > 1:
                raise ValueError(
                    f"table {self.title!r}, column {column.name!r}: expected intervals of one level, got {levels}"
                )
        return self


def _fits(cell: Cell, form: Format) -> bool:
    if isinstance(cell, bool):  # a bool is an int to isinstance
        return form == "passed"
    return cell is None or isinstance(cell, CELL_TYPES[form])


class Marker(_Data):
    """A named straight line across a plot, at a limit, a threshold or a mean.

    at: in the units of its axis.  axis: x for an upright line, y for a level one.
    """

    name: Text
    at: float
    axis: Literal["x", "y"]


class _Plot(_Data):
    """title: a few words.  caption: a full sentence on what to see, read aloud to who cannot see it.

    x_label, y_label: the quantity and its unit, such as "mean NLL (nats)".
    """

    title: Text
    caption: Text
    x_label: Text
    y_label: Text


class Line(_Data):
    """One curve, or one set of points.

    x, y: as long as each other; a y of None is a gap.  low, high: the edges of a band around it, both or neither, as
    long as y; the band has a gap wherever one of the two is None.
    """

    name: Text
    x: list[float] = Field(min_length=1)
    y: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None
    style: Literal["line", "dashed", "points", "step"] = "line"

    @model_validator(mode="after")
    def _lengths_agree(self) -> "Line":
        if (self.low is None) != (self.high is None):
            raise ValueError(f"line {self.name!r}: expected both low and high, or neither, got one of them")
        for name, values in (("y", self.y), ("low", self.low), ("high", self.high)):
            if values is not None and len(values) != len(self.x):
                raise ValueError(
                    f"line {self.name!r}: expected {len(self.x)} values of {name}, one for each x, got {len(values)}"
                )
        return self


class LinePlot(_Plot):
    """Curves over a common x.

    diagonal: draw y = x, where a calibrated forecast lies.  x_range, y_range: (from, to), by default what the data
    needs.  x_scale, y_scale: log needs all values above 0; symlog is linear near 0 and logarithmic beyond ±1.
    """

    kind: Literal["line"] = "line"
    lines: list[Line] = Field(min_length=1)
    diagonal: bool = False
    markers: list[Marker] = Field(default_factory=list)
    x_range: Range | None = None
    y_range: Range | None = None
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"

    @field_validator("x_range", "y_range")
    @classmethod
    def _range_ascends(cls, value: Range | None) -> Range | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError(f"expected a range from a smaller to a larger number, got {value[0]} and {value[1]}")
        return value

    @model_validator(mode="after")
    def _diagonal_is_straight(self) -> "LinePlot":
        if self.diagonal and (self.x_scale, self.y_scale) != ("linear", "linear"):
            raise ValueError(
                f"plot {self.title!r}: expected linear axes for a diagonal, got {self.x_scale} and {self.y_scale}"
            )
        return self

    @model_validator(mode="after")
    def _logarithms_exist(self) -> "LinePlot":
        for axis, scale, limits in (("x", self.x_scale, self.x_range), ("y", self.y_scale, self.y_range)):
            lowest = min((*self._values(axis), *(limits or ())), default=1.0)
            if scale == "log" and lowest <= 0:
                raise ValueError(
                    f"plot {self.title!r}: expected values above 0 on a log {axis} axis, got {lowest}: use symlog"
                )
        return self

    def _values(self, axis: str) -> Iterator[float]:
        yield from (marker.at for marker in self.markers if marker.axis == axis)
        for line in self.lines:
            if axis == "x":
                yield from line.x
            else:
                yield from (y for y in (*line.y, *(line.low or ()), *(line.high or ())) if y is not None)


class Panel(_Data):
    """One histogram of several: the share of all values that falls into each bin, 0 … 1."""

    name: Text
    shares: list[Annotated[float, Field(ge=0, le=1)]]


class HistogramPlot(_Plot):
    """Histograms over the same bins, one below another on common axes.

    edges: of the bins, ascending, one more than there are shares in a panel.  markers: drawn in every panel.
    """

    kind: Literal["histogram"] = "histogram"
    edges: list[float] = Field(min_length=2)
    panels: list[Panel] = Field(min_length=1)
    markers: list[Marker] = Field(default_factory=list)

    @model_validator(mode="after")
    def _bins_agree(self) -> "HistogramPlot":
        if any(left >= right for left, right in pairwise(self.edges)):
            raise ValueError(f"plot {self.title!r}: expected ascending edges, got {self.edges}")
        for panel in self.panels:
            if len(panel.shares) != len(self.edges) - 1:
                raise ValueError(
                    f"plot {self.title!r}, panel {panel.name!r}: expected {len(self.edges) - 1} shares between "
                    f"{len(self.edges)} edges, got {len(panel.shares)}"
                )
        return self


class Bars(_Data):
    """One bar in each group, all of one colour; a value of None leaves its place empty."""

    name: Text
    values: list[float | None]


class BarPlot(_Plot):
    """Groups of bars side by side.

    groups: their names, along x.  bars: one value for each group.  markers: on the y axis only.
    """

    kind: Literal["bar"] = "bar"
    groups: list[Text] = Field(min_length=1)
    bars: list[Bars] = Field(min_length=1)
    markers: list[Marker] = Field(default_factory=list)

    @model_validator(mode="after")
    def _groups_agree(self) -> "BarPlot":
        for bars in self.bars:
            if len(bars.values) != len(self.groups):
                raise ValueError(
                    f"plot {self.title!r}, bars {bars.name!r}: expected {len(self.groups)} values, one for each "
                    f"group, got {len(bars.values)}"
                )
        for marker in self.markers:
            if marker.axis != "y":
                raise ValueError(
                    f"plot {self.title!r}, marker {marker.name!r}: expected axis y, since groups have names and no "
                    "numbers, got x"
                )
        return self


class Estimate(_Data):
    """A figure with its interval. The value may lie outside: a percentile interval promises nothing about it."""

    name: Text
    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ascending(self) -> "Estimate":
        if self.low > self.high:
            raise ValueError(f"estimate {self.name!r}: expected low <= high, got {self.low} and {self.high}")
        return self


class IntervalPlot(_Plot):
    """Dots with whiskers, one below another in the order of `rows`.

    reference: the x to compare with, such as 0 for a difference.
    """

    kind: Literal["interval"] = "interval"
    y_label: str = ""
    rows: list[Estimate] = Field(min_length=1)
    reference: float | None = None


Plot = Annotated[LinePlot | HistogramPlot | BarPlot | IntervalPlot, Field(discriminator="kind")]


class Verdict(_Data):
    """What to think of it.

    sentence: the answer, in words that stand alone.  reasons: each a sentence, the weightiest first.
    """

    level: Level
    sentence: Text
    reasons: list[Text] = Field(default_factory=list)


class Section(_Data):
    """text: paragraphs, before the tables, which come before the plots."""

    title: Text
    text: list[Text] = Field(default_factory=list)
    tables: list[Table] = Field(default_factory=list)
    plots: list[Plot] = Field(default_factory=list)


class Report(_Data):
    """What one run of a command found out.

    command: its name, such as "judge".  title: the page's.  subject: what was looked at, such as a bundle's name.
    created: UTC, ISO 8601 with a Z.  facts: name -> value, in the order to show them.  figures: plain JSON.
    """

    schema_version: Literal[1] = 1
    command: Text
    title: Text
    subject: Text
    created: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$")
    verdict: Verdict
    facts: dict[str, str] = Field(default_factory=dict)
    sections: list[Section] = Field(default_factory=list)
    figures: dict[str, JsonValue] = Field(default_factory=dict)


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what --json prints: a report, or several of one command in a list.

    A file holds one report.
    """
    several = Annotated[list[Report], Field(min_length=2)]
    one_or_several: TypeAdapter[Any] = TypeAdapter(Report | several)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **one_or_several.json_schema()}


def read_report(path: Path) -> Report:
    """A report from its JSON file. Raises DataError that names the file, the place in it and what to do."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: not readable: {error.strerror}; name the .json that a command wrote") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{path}: {place}: {first['msg']}; expected a report of schema version 1: run the command again"
        ) from None
