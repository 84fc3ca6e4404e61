"""A plot's data -> an SVG to stand inside a page: no script, no link, and the same bytes from the same data.

The page gives title and caption, the SVG only axes, legend and data. Text stays text, so that it can be read aloud,
searched and set in the page's font. All are 5.5 in (396 pt) wide: on a phone of 390 px text of 11 pt is above 9 px.
Colours: Okabe and Ito, Color Universal Design (2008), less the yellow that white paper swallows. What differs in
colour differs in its marker or hatching too.
"""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    ScalarFormatter,
)

from export.report.cells import power_of_ten
from export.report.model import BarPlot, HistogramPlot, IntervalPlot, Line, LinePlot, Marker, Plot, Scale

WIDTH: Final = 5.5
"""Of every figure, inches."""

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
POINTS: Final = ("o", "s", "^", "D", "v", "P", "X")
HATCHES: Final = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
MARKER_DASHES: Final = ((0, (1, 1.5)), (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))

DRAWN: Final[dict[str, dict[str, Any]]] = {
    "line": {"linestyle": "-"},
    "dashed": {"linestyle": (0, (5, 2))},
    "points": {"linestyle": ""},
    "step": {"linestyle": "-", "drawstyle": "steps-post"},
}

FEW_POINTS: Final = 20
"""Up to here every point of a line is marked, beyond it about eight, enough to tell the lines apart."""

STYLE: Final[dict[str, Any]] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelsize": 11.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "grid.color": "#dddddd",
    "hatch.color": "#ffffff",
    "hatch.linewidth": 0.8,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",  # text, not outlines
    "svg.hashsalt": "signalserve",  # otherwise every run names its clip paths anew
    "text.parse_math": False,  # a $ in a name is a dollar
}

NO_METADATA: Final = {"Creator": None, "Date": None, "Format": None, "Type": None}
"""They would put links and the hour into every plot."""


def svg(plot: Plot, prefix: str) -> str:
    """The <svg> element of a plot.

    prefix: begins every id inside, so that plots of one page do not refer into one another.
    Not for two threads at once: matplotlib's settings, which change here for the time of drawing, are the process's.
    """
    with _our_style():
        match plot:
            case LinePlot():
                figure = _lines(plot)
            case HistogramPlot():
                figure = _histograms(plot)
            case BarPlot():
                figure = _bars(plot)
            case IntervalPlot():
                figure = _intervals(plot)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=NO_METADATA)
    text = written.getvalue()
    return _within_page(text[text.index("<svg") :], prefix)


@contextmanager
def _our_style() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # Only the layout asks for the glyph; the page is set in the reader's fonts, which have it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _within_page(element: str, prefix: str) -> str:
    """Ids and references prefixed; only inside tags: in texts matplotlib writes < and > as entities."""

    def prefixed(tag: re.Match[str]) -> str:
        return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}-", tag[0])

    return re.sub(r"<[^>]+>", prefixed, element).rstrip()


def _lines(plot: LinePlot) -> Figure:
    figure = Figure((WIDTH, 4.4 if plot.diagonal else 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale(plot.x_scale)
    axes.set_yscale(plot.y_scale)
    for index, line in enumerate(plot.lines):
        _line(axes, line, index, alone=len(plot.lines) == 1)
    if plot.diagonal:
        start = plot.lines[0].x[0]
        axes.axline((start, start), slope=1, color="#555555", linewidth=1, label="y = x")
    _markers(axes, plot.markers)
    if plot.x_range:
        axes.set_xlim(plot.x_range)
    if plot.y_range:
        axes.set_ylim(plot.y_range)
    _ticks(axes.xaxis, plot.x_scale, most=6)
    _ticks(axes.yaxis, plot.y_scale, most=7)
    _labels(axes, plot)
    if len(plot.lines) > 1 or plot.diagonal or plot.markers:
        _legend(figure, axes.lines)
    return figure


def _line(axes: Axes, line: Line, index: int, *, alone: bool) -> None:
    colour = COLOURS[index % len(COLOURS)]
    x, y = np.array(line.x), _floats(line.y)
    marked = _marked(y, every_point=line.style == "points", alone=alone)
    axes.plot(
        x,
        y,
        color=colour,
        marker=POINTS[(index + index // len(COLOURS)) % len(POINTS)] if marked else "",
        markevery=marked,
        label=line.name,
        **DRAWN[line.style],
    )
    if line.low is not None and line.high is not None:
        low, high = _floats(line.low), _floats(line.high)
        if line.style == "points" or len(x) == 1:  # a band needs neighbours to lie between
            axes.vlines(x, low, high, color=colour, linewidth=1.2)
        else:
            axes.fill_between(
                x, low, high, color=colour, alpha=0.2, linewidth=0, step="post" if line.style == "step" else None
            )


def _marked(y: npt.NDArray[np.float64], *, every_point: bool, alone: bool) -> list[int]:
    """The indices of the points that get a marker: those that no line would show, and enough to know the line by."""
    if every_point or len(y) <= FEW_POINTS:
        return list(range(len(y)))
    there = np.concatenate([[False], np.isfinite(y), [False]])
    isolated = np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:]).tolist()
    return isolated if alone else sorted({*isolated, *range(0, len(y), -(-len(y) // 8))})


def _histograms(plot: HistogramPlot) -> Figure:
    count = len(plot.panels)
    figure = Figure((WIDTH, 1.2 + 0.95 * count), layout="constrained")
    grid = figure.subplots(count, sharex=True, sharey=True, squeeze=False)
    for index, (axes, panel) in enumerate(zip(grid[:, 0], plot.panels, strict=True)):
        axes.stairs(panel.shares, plot.edges, fill=True, color=COLOURS[0])
        axes.set_title(panel.name, loc="left", fontsize=11)
        axes.yaxis.set_major_locator(_round_numbers(3))
        _markers(axes, plot.markers)
        if index == count - 1:
            axes.set_xlabel(textwrap.fill(plot.x_label, 60))
    highest = max(share for panel in plot.panels for share in panel.shares)
    grid[0, 0].set_ylim(0, 1.05 * highest or 1)
    figure.supylabel(textwrap.fill(plot.y_label, 12 * (count + 1)), fontsize=11.5)
    if plot.markers:
        _legend(figure, grid[0, 0].lines)
    return figure


def _bars(plot: BarPlot) -> Figure:
    figure = Figure((WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(plot.bars)
    places = np.arange(len(plot.groups))
    for index, bars in enumerate(plot.bars):
        heights = _floats(bars.values)
        known = np.isfinite(heights)
        axes.bar(
            (places - 0.4 + (index + 0.5) * width)[known],
            heights[known],
            width,
            color=COLOURS[index % len(COLOURS)],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="#ffffff",
            label=bars.name,
        )
    room = max(1, 48 // len(plot.groups))  # characters below each group
    if all(len(word) <= room for name in plot.groups for word in name.split()):
        axes.set_xticks(places, [textwrap.fill(name, room) for name in plot.groups])
    else:
        axes.set_xticks(places, plot.groups, rotation=30, ha="right")
    axes.set_xlim(-0.6, len(plot.groups) - 0.4)
    axes.grid(axis="x", visible=False)
    _markers(axes, plot.markers)
    _labels(axes, plot)
    if len(plot.bars) > 1 or plot.markers:
        _legend(figure, [*axes.containers, *axes.lines])
    return figure


def _intervals(plot: IntervalPlot) -> Figure:
    figure = Figure((WIDTH, 1.0 + 0.36 * len(plot.rows)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(plot.rows))
    for ends in ([row.low for row in plot.rows], [row.high for row in plot.rows]):
        axes.plot(ends, places, linestyle="", marker="|", markersize=9, color=COLOURS[0])
    axes.hlines(places, [row.low for row in plot.rows], [row.high for row in plot.rows], color=COLOURS[0])
    axes.plot([row.value for row in plot.rows], places, linestyle="", marker="o", color=COLOURS[0])
    if plot.reference is not None:
        axes.axvline(plot.reference, color=COLOURS[1], linestyle=(0, (5, 2)), linewidth=1.4)
    axes.set_yticks(places, [textwrap.fill(row.name, 26) for row in plot.rows])
    axes.set_ylim(len(plot.rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(_round_numbers(5))
    _labels(axes, plot)
    return figure


def _floats(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """None becomes NaN, at which matplotlib breaks a line."""
    return np.array(values, dtype=np.float64)


def _markers(axes: Axes, markers: Sequence[Marker]) -> None:
    for index, marker in enumerate(markers):
        draw = axes.axvline if marker.axis == "x" else axes.axhline
        draw(
            marker.at,
            color="#222222",
            linewidth=1.3,
            linestyle=MARKER_DASHES[index % len(MARKER_DASHES)],
            label=marker.name,
        )


def _labels(axes: Axes, plot: Plot) -> None:
    axes.set_xlabel(textwrap.fill(plot.x_label, 60))
    axes.set_ylabel(textwrap.fill(plot.y_label, 34))


def _legend(figure: Figure, drawn: Sequence[Any]) -> None:
    """Above the axes, where it hides no data, in as many columns as the longest name leaves room for."""
    names = [artist.get_label() for artist in drawn]
    columns = max(1, min(3, 60 // (max(map(len, names)) + 8)))
    figure.legend(drawn, names, loc="outside upper left", ncols=columns)


def _ticks(axis: Axis, scale: Scale, most: int) -> None:
    """Labels that people can read and that do not touch. most: how many fit."""
    if scale == "linear":
        axis.set_major_locator(_round_numbers(most))
        return
    low, high = axis.get_view_interval()
    chosen = _log_ticks(low, high, most) if scale == "log" else _symlog_ticks(low, high, most)
    seen = [tick for tick in chosen if low <= tick <= high]
    axis.set_minor_locator(NullLocator())
    if len(seen) < 3:  # within less than a decade the axis is as good as linear
        axis.set_major_locator(_round_numbers(most))
        axis.set_major_formatter(ScalarFormatter())
    else:
        axis.set_major_locator(FixedLocator(seen))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _round_numbers(most: int) -> MaxNLocator:
    return MaxNLocator(most, steps=(1, 2, 2.5, 5, 10))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2, 5, 10 over less than two decades, else powers of ten."""
    narrow = math.log10(high / low) < 2
    return list(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=most).tick_values(low, high))


def _symlog_ticks(low: float, high: float, most: int) -> list[float]:
    """0 and powers of ten at equal steps to both sides; matplotlib's own put -1, 0 and 1 upon one another."""
    decades = [math.ceil(math.log10(max(end, 10))) for end in (-low, high)]
    step = math.ceil(sum(decades) / (most - 1))
    powers = [10.0**exponent for exponent in range(step, max(decades) + 1, step)]
    return [*(-power for power in reversed(powers)), 0.0, *powers]


def _tick(value: float) -> str:
    """0.01 and 1000 as they are, 10⁵ beyond."""
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:g}".replace("-", "−")
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    factor = round(abs(value) / 10.0**exponent)
    sign = "−" if value < 0 else ""
    return sign + (f"{factor} × " if factor != 1 else "") + power_of_ten(exponent)
