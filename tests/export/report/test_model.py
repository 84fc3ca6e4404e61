import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from export.report import model
from export.report.model import (
    Column,
    Estimate,
    Interval,
    Line,
    Marker,
    Panel,
    Report,
    Table,
    read_report,
    report_schema,
)
from signalserve.errors import DataError
from tests.export.report.reports import bar_plot, every_plot, histogram_plot, line_plot, report, table


def one_cell(cell: object, form: Any) -> Table:
    return Table(title="t", columns=[Column(name="a", format=form)], rows=[[cell]])


def test_a_report_comes_back_from_its_json_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(report().model_dump_json())
    assert read_report(path) == report()


def test_a_report_obeys_its_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(report_schema())
    jsonschema.Draft202012Validator(report_schema()).validate(json.loads(report().model_dump_json()))


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["verdict"].update(level="splendid"),
        lambda data: data.update(schema_version=2),
        lambda data: data.update(surprise=1),
        lambda data: data["sections"][0]["plots"][0].update(kind="pie"),
        lambda data: data.pop("subject"),
    ],
)
def test_schema_and_reader_refuse_the_same(edit: Any, tmp_path: Path) -> None:
    data = json.loads(report().model_dump_json())
    edit(data)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data))
    assert not jsonschema.Draft202012Validator(report_schema()).is_valid(data)
    with pytest.raises(DataError, match=r"report\.json: .* schema version 1: run the command again"):
        read_report(path)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: not readable: No such file.* name the \.json"):
        read_report(tmp_path / "none.json")


def test_text_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text("<html>")
    with pytest.raises(DataError, match=r"page\.json: the file: Invalid JSON"):
        read_report(tmp_path / "page.json")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_is_nan_or_infinite(number: float) -> None:
    for make in (
        lambda: one_cell(number, "decimal"),
        lambda: Interval(low=0, high=number),
        lambda: Line(name="a", x=[0], y=[number]),
        lambda: Marker(name="a", at=number, axis="x"),
        lambda: report(figures={"deep": [{"down": number}]}),
    ):
        with pytest.raises(ValidationError, match="finite number"):
            make()


@pytest.mark.parametrize("created", ["2025-06-03", "2025-06-03T14:20:00", "2025-06-03T14:20:00+02:00"])
def test_a_report_is_dated_in_utc(created: str) -> None:
    with pytest.raises(ValidationError, match="created"):
        report(created=created)


def test_a_report_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        report().title = "another"  # type: ignore[misc]


def test_a_row_of_another_width_is_named() -> None:
    with pytest.raises(ValidationError, match="'All models', row 2: expected 8 cells, got 1"):
        table(rows=[[None] * 8, ["v8"]])


@pytest.mark.parametrize(
    ("cell", "form", "got"),
    [
        (1, "text", "int 1"),
        (0.5, "integer", "float 0.5"),
        (True, "integer", "bool True"),
        (True, "decimal", "bool True"),
        ("12 %", "percent", "str '12 %'"),
        (1, "passed", "int 1"),
        (0.5, "interval", "float 0.5"),
        (Interval(low=0, high=1), "decimal", "Interval"),
    ],
)
def test_a_cell_of_another_format_is_named(cell: object, form: str, got: str) -> None:
    with pytest.raises(ValidationError, match=f"row 1, column 'a': expected a value of the format {form}, got {got}"):
        one_cell(cell, form)


@pytest.mark.parametrize(
    ("cell", "form", "plain"),
    [(np.int64(3), "integer", 3), (np.float32(0.5), "decimal", 0.5), (np.bool_(True), "passed", True)],
)
def test_numbers_of_numpy_become_plain_ones(cell: object, form: str, plain: object) -> None:
    kept = one_cell(cell, form).rows[0][0]
    assert kept == plain
    assert type(kept) is type(plain)


def test_intervals_of_a_column_share_their_level() -> None:
    rows = [[Interval(low=0, high=1)], [Interval(low=0, high=1, level=0.9)]]
    with pytest.raises(ValidationError, match=r"column 'a': expected intervals of one level, got \[0\.9, 0\.95\]"):
        Table(title="t", columns=[Column(name="a", format="interval")], rows=rows)


@pytest.mark.parametrize("make", [Interval, lambda **ends: Estimate(name="a", value=0, **ends)])
def test_an_interval_ascends(make: Any) -> None:
    with pytest.raises(ValidationError, match="expected low <= high, got 2"):
        make(low=2, high=1)


def test_a_line_has_a_y_for_each_x() -> None:
    with pytest.raises(ValidationError, match="line 'a': expected 2 values of y, one for each x, got 1"):
        Line(name="a", x=[0, 1], y=[0])


def test_a_band_has_both_edges_as_long_as_the_line() -> None:
    with pytest.raises(ValidationError, match="expected both low and high, or neither"):
        Line(name="a", x=[0], y=[0], low=[0])
    with pytest.raises(ValidationError, match="expected 1 values of high"):
        Line(name="a", x=[0], y=[0], low=[0], high=[0, 1])


@pytest.mark.parametrize(
    "fields",
    [
        {"y_scale": "log", "lines": [Line(name="a", x=[1], y=[0])]},
        {"y_scale": "log", "lines": [Line(name="a", x=[1], y=[1], low=[0], high=[2])]},
        {"x_scale": "log", "lines": [Line(name="a", x=[0], y=[1])]},
        {"x_scale": "log", "lines": [Line(name="a", x=[1], y=[1])], "x_range": (0, 1)},
        {"y_scale": "log", "lines": [Line(name="a", x=[1], y=[1])], "markers": [Marker(name="m", at=0, axis="y")]},
    ],
)
def test_a_logarithm_needs_numbers_above_0(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"expected values above 0 on a log . axis, got 0\.0: use symlog"):
        line_plot(**fields)


def test_a_diagonal_needs_linear_axes() -> None:
    with pytest.raises(ValidationError, match="expected linear axes for a diagonal, got log and linear"):
        line_plot(Line(name="a", x=[1], y=[1]), diagonal=True, x_scale="log")


def test_a_range_ascends() -> None:
    with pytest.raises(ValidationError, match=r"expected a range from a smaller to a larger number, got 1\.0 and 1\.0"):
        line_plot(x_range=(1, 1))


def test_bins_ascend_and_each_has_a_share() -> None:
    with pytest.raises(ValidationError, match="expected ascending edges"):
        histogram_plot(edges=[0, 2, 1])
    with pytest.raises(ValidationError, match="panel 'p': expected 2 shares between 3 edges, got 1"):
        histogram_plot(panels=[Panel(name="p", shares=[1])])


def test_bars_fit_their_groups_and_have_no_upright_markers() -> None:
    with pytest.raises(ValidationError, match="bars 'predicted': expected 1 values, one for each group, got 3"):
        bar_plot(groups=["UP"])
    with pytest.raises(ValidationError, match="marker 'm': expected axis y"):
        bar_plot(markers=[Marker(name="m", at=0, axis="x")])


def test_every_kind_of_plot_is_told_apart_by_its_kind() -> None:
    kinds = [type(plot) for plot in every_plot()]
    back = Report.model_validate_json(report().model_dump_json())
    assert [type(plot) for plot in back.sections[0].plots] == kinds


def test_the_schema_knows_a_list_of_several_reports_and_no_shorter_one() -> None:
    check = jsonschema.Draft202012Validator(report_schema())
    data = json.loads(report().model_dump_json())
    assert check.is_valid([data, data])
    assert not any(map(check.is_valid, ([], [data], [data, {**data, "command": 1}])))


def test_the_schema_beside_the_template_is_the_reports() -> None:
    committed = Path(model.__file__).with_name("schema.json")
    assert json.loads(committed.read_text()) == report_schema()
