from typing import Any

import pytest

from export.report.cells import SYMBOLS, WORDS, cell_text, detail
from export.report.model import Cell, Column, Interval
from tests.export.report.reports import table


@pytest.mark.parametrize(
    ("form", "digits", "cell", "text"),
    [
        ("text", None, "v8", "v8"),
        ("integer", None, -4_237_513, "−4,237,513"),
        ("decimal", None, 1.0912, "1.091"),
        ("decimal", 4, 1.0912, "1.0912"),
        ("decimal", 2, -0.001, "0.00"),
        ("percent", None, 0.3871, "38.7 %"),
        ("percent", 0, 1, "100 %"),
        ("scientific", None, 3.2e-5, "3.20 × 10⁻⁵"),
        ("scientific", 0, -4_237_513, "−4 × 10⁶"),
        ("interval", None, Interval(low=-0.25, high=0.5), "−0.250 … 0.500"),
        ("percent_interval", None, Interval(low=0.361, high=0.412), "36.1 … 41.2 %"),
        ("passed", None, True, "✓ pass"),
        ("passed", None, False, "✗ fail"),
        ("decimal", None, None, "–"),
    ],
)
def test_a_cell_reads_as_its_column_says(form: Any, digits: int | None, cell: Cell, text: str) -> None:
    assert cell_text(cell, Column(name="a", format=form, digits=digits)) == text


def test_a_heading_tells_unit_and_level() -> None:
    assert [detail(table(), index) for index in (0, 2, 5, 6)] == ["", "nats", "95 % interval", "90 % interval"]


def test_levels_differ_without_their_colours() -> None:
    assert len(set(SYMBOLS.values())) == len(set(WORDS.values())) == 4
