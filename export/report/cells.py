"""A table's values -> the words and numbers that people read, the same on the page and in the terminal."""

from typing import Final

from export.report.model import Cell, Column, Format, Interval, Level, Table

NOTHING: Final = "–"
"""In the place of a value that is not there."""

SYMBOLS: Final[dict[Level, str]] = {"pass": "✓", "warn": "▲", "fail": "✗", "info": "●"}
WORDS: Final[dict[Level, str]] = {"pass": "PASS", "warn": "WARNING", "fail": "FAIL", "info": "INFORMATION"}
"""With the symbols: a level is never told by its colour alone."""

DIGITS: Final[dict[Format, int]] = {
    "decimal": 3,
    "percent": 1,
    "scientific": 2,
    "interval": 3,
    "percent_interval": 1,
}
"""After the point, where a column does not say."""

_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def cell_text(cell: Cell, column: Column) -> str:
    """A value in its column's format, which the table has checked that it has."""
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        level: Level = "pass" if cell else "fail"
        return f"{SYMBOLS[level]} {level}"
    digits = DIGITS.get(column.format, 0) if column.digits is None else column.digits
    if isinstance(cell, Interval):
        if column.format == "percent_interval":
            return f"{decimal(100 * cell.low, digits)} … {decimal(100 * cell.high, digits)} %"
        return f"{decimal(cell.low, digits)} … {decimal(cell.high, digits)}"
    if column.format == "percent":
        return f"{decimal(100 * cell, digits)} %"
    if column.format == "scientific":
        return scientific(cell, digits)
    return decimal(cell, digits)


def decimal(value: float, digits: int) -> str:
    """1,234.50, −0.25, and never −0.00."""
    return f"{value:z,.{digits}f}".replace("-", "−")


def scientific(value: float, digits: int) -> str:
    """1.50 × 10⁻⁵."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa.replace('-', '−')} × {power_of_ten(int(exponent))}"


def power_of_ten(exponent: int) -> str:
    """10⁻⁵."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def is_number(column: Column) -> bool:
    """Whether its cells line up at their right edges."""
    return column.format not in ("text", "passed")


def detail(table: Table, index: int) -> str:
    """What stands below a column's name: the unit, and how sure its intervals are."""
    levels = {cell.level for cell in (row[index] for row in table.rows) if isinstance(cell, Interval)}
    parts = [table.columns[index].unit, *(f"{100 * level:g} % interval" for level in levels)]
    return ", ".join(part for part in parts if part)


def percent_text(share: float) -> str:
    """0.6805 -> 68.0 %."""
    return f"{100 * share:.1f} %"


def minute_text(time: str) -> str:
    """2025-05-04T15:33:00Z -> 2025-05-04 15:33."""
    return time[:16].replace("T", " ")
