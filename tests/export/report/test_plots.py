import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import matplotlib
import pytest

from export.report.model import Bars, Estimate, HistogramPlot, Line, Marker, Panel, Plot
from export.report.plots import svg
from tests.export.report.reports import (
    AT_ONE,
    LABELS,
    bar_plot,
    every_plot,
    histogram_plot,
    interval_plot,
    line_plot,
)

SVG = "{http://www.w3.org/2000/svg}"


def texts(plot: Plot) -> list[str]:
    """Every text of the drawn plot, in its order. Warnings are errors in these tests, so drawing is a test itself."""
    root = ElementTree.fromstring(svg(plot, "p"))
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def of_one_point(**fields: Any) -> Line:
    return Line(name="a", x=[5], y=[7], **fields)


@pytest.mark.parametrize(
    "plot",
    [
        *every_plot(),
        *(line_plot(of_one_point(style=style, low=[6], high=[8])) for style in ("line", "dashed", "points", "step")),
        *(line_plot(of_one_point(), x_scale=scale, y_scale=scale) for scale in ("linear", "log", "symlog")),
        *(line_plot(Line(name="a", x=[1, 2, 3], y=[4, 4, 4]), y_scale=scale) for scale in ("linear", "log", "symlog")),
        line_plot(Line(name="a", x=[2, 2], y=[0, 0], low=[0, 0], high=[0, 0])),
        line_plot(Line(name="a", x=[0, 1], y=[None, None], low=[None, None], high=[None, None])),
        line_plot(Line(name="a", x=[1, 2], y=[None, None]), y_scale="log"),
        line_plot(Line(name="a", x=[0, 1, 2], y=[1, None, 3], low=[0, None, 2], high=[2, None, 4]), markers=[AT_ONE]),
        line_plot(of_one_point(), diagonal=True, x_range=(0, 10), y_range=(0, 10)),
        line_plot(*(Line(name=f"T = {n}", x=list(range(100)), y=[float(n)] * 100) for n in range(12))),
        line_plot(Line(name="logits", x=[0, 1, 2], y=[-4_237_513, 0, 12]), y_scale="symlog"),
        line_plot(Line(name="small", x=[0, 1], y=[0.01, 0.02]), y_scale="symlog"),
        histogram_plot(edges=[0, 1], panels=[Panel(name="all", shares=[0])]),
        histogram_plot(panels=[Panel(name="none", shares=[0, 0])], markers=[Marker(name="m", at=0.5, axis="x")]),
        bar_plot(groups=["UP"], bars=[Bars(name="a", values=[0])]),
        bar_plot(groups=["UP"], bars=[Bars(name="a", values=[None])]),
        bar_plot(groups=["most recent 7 days", "an_unbreakably_long_name", "UP"]),
        interval_plot(rows=[Estimate(name="a", value=1, low=1, high=1)], reference=None),
    ],
)
def test_every_plot_draws_whatever_the_numbers(plot: Plot) -> None:
    assert plot.x_label in texts(plot)


def test_the_same_data_gives_the_same_bytes() -> None:
    assert [svg(plot, "p") for plot in every_plot()] == [svg(plot, "p") for plot in every_plot()]


@pytest.mark.parametrize("plot", every_plot())
def test_ids_are_the_plots_own_and_every_reference_finds_one(plot: Plot) -> None:
    drawn = svg(plot, "p7")
    ids = re.findall(r'\bid="([^"]*)"', drawn)
    assert len(set(ids)) == len(ids)
    assert all(name.startswith("p7-") for name in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', drawn)) <= set(ids)


@pytest.mark.parametrize(
    "name", ["$x_1$ and $", "<script>alert(1)</script>", 'a id="b" c', "R&D", "_hidden", "成交量 🚀"]
)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    lines = [Line(name=name, x=[0, 1], y=[0, 1]), of_one_point()]
    assert name in texts(line_plot(*lines))


def test_a_legend_stands_where_there_is_more_than_one_thing_to_tell_apart() -> None:
    assert "a" not in texts(line_plot())
    assert {"a", "limit"} <= set(texts(line_plot(markers=[AT_ONE])))
    assert {"predicted", "came", "limit"} <= set(texts(bar_plot(markers=[AT_ONE])))


def test_lines_differ_in_their_points_too() -> None:
    def shapes(count: int) -> int:
        lines = [Line(name=str(n), x=[0, 1], y=[n, n]) for n in range(count)]
        root = ElementTree.fromstring(svg(line_plot(*lines), "p"))
        paths = (path for defs in root.iter(f"{SVG}defs") for path in defs.iter(f"{SVG}path"))
        return len({(path.get("d"), path.get("style")) for path in paths})

    assert shapes(7) - shapes(2) == 5
    assert shapes(14) - shapes(2) == 12  # where the colours begin anew, the points do not


def test_a_point_between_gaps_is_seen() -> None:
    y: list[float | None] = [1.0] * 50
    whole = svg(line_plot(Line(name="a", x=list(range(50)), y=y)), "p")
    y[9] = y[11] = None
    assert svg(line_plot(Line(name="a", x=list(range(50)), y=y)), "p").count("<use") == whole.count("<use") + 1


@pytest.mark.parametrize(
    ("lowest", "highest", "ticks"),
    [(1, 10, {"1", "2", "5", "10"}), (0.05, 1000, {"0.1", "1", "10", "100", "1000"}), (1, 1e9, {"1", "10⁶"})],
)
def test_a_logarithmic_axis_has_labels_that_people_read(lowest: float, highest: float, ticks: set[str]) -> None:
    line = Line(name="a", x=[lowest, highest], y=[0, 1])
    assert ticks <= set(texts(line_plot(line, x_scale="log")))


def test_a_symlog_axis_goes_from_minus_millions_through_0_to_millions() -> None:
    line = Line(name="a", x=[0, 1], y=[-4e6, 4e6])
    assert {"−10⁶", "−1000", "0", "1000", "10⁶"} <= set(texts(line_plot(line, y_scale="symlog")))


@pytest.mark.parametrize(
    ("scale", "y", "ticks"),
    [
        ("symlog", [-0.5, 0.5], {"−0.4", "0.0", "0.4"}),
        ("symlog", [52.0, 88.0], {"60", "70", "80"}),
        ("log", [52.0, 88.0], {"60", "70", "80"}),
    ],
)
def test_within_a_decade_an_axis_is_labelled_like_a_linear_one(scale: str, y: list[float], ticks: set[str]) -> None:
    assert ticks <= set(texts(line_plot(Line(name="a", x=[0, 1], y=y), y_scale=scale)))


def test_histograms_share_their_axes() -> None:
    plot = HistogramPlot(**LABELS, edges=[0, 1, 2], panels=[Panel(name=f"T = {n}", shares=[1, 0]) for n in range(7)])
    assert texts(plot).count("time (bars)") == 1
    assert [text for text in texts(plot) if text.startswith("T = ")] == [f"T = {n}" for n in range(7)]


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    svg(line_plot(), "p")
    assert dict(matplotlib.rcParams) == before
    assert "svg.fonttype" in before


def test_a_users_own_style_changes_nothing() -> None:
    plain = svg(line_plot(), "p")
    with matplotlib.rc_context({"axes.facecolor": "#ff00ff", "font.size": 30, "text.usetex": True}):
        assert svg(line_plot(), "p") == plain
