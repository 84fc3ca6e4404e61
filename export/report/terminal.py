"""A report -> lines in a terminal: the verdict first, then what was looked at, then every table that fits."""

from pathlib import Path
from textwrap import fill
from typing import Final

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from export.report.cells import SYMBOLS, WORDS, cell_text, detail, is_number
from export.report.model import Level, Report, Table

COLOURS: Final[dict[Level, str]] = {"pass": "green", "warn": "yellow", "fail": "red", "info": "blue"}


def show(report: Report, console: Console, page: Path | None = None) -> None:
    """Print a report.

    page: the HTML file where the plots are, and the tables that are wider than the console.
    """
    level = report.verdict.level
    console.print(_plain(f"{SYMBOLS[level]} {WORDS[level]}: {report.verdict.sentence}", f"bold {COLOURS[level]}"))
    for reason in report.verdict.reasons:
        console.print(_plain(f"  - {reason}"))
    console.print(_plain(f"\n{report.title}: {report.subject}", "bold"))
    if report.facts:
        console.print(_facts(report.facts))
    too_wide = []
    for section in report.sections:
        for table in section.tables:
            drawn = _table(table)
            if _narrowest(drawn, console) > console.width:
                too_wide.append(table.title)
                continue
            console.print()
            console.print(drawn)
            if table.note:
                console.print(_plain(table.note, "dim"))
    if too_wide:
        console.print(_plain(f"\nToo wide for {console.width} columns: {'; '.join(too_wide)}"))
    if page is not None:
        plots = sum(len(section.plots) for section in report.sections)
        console.print(_plain(f"\nThe whole report, with {plots} plot{'s' * (plots != 1)}: {page}"), soft_wrap=True)


def _plain(text: str, style: str = "") -> Text:
    """Text as it is: no markup, and no control characters, which could rewrite what the terminal shows."""
    return Text("".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in text), style)


def _facts(facts: dict[str, str]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for name, value in facts.items():
        grid.add_row(_plain(name, "dim"), _plain(value))
    return grid


def _narrowest(drawn: RichTable, console: Console) -> int:
    # rich measures within the options' width: on the console's own no table would ever be too wide
    return console.measure(drawn, options=console.options.update_width(10_000)).minimum


def _table(table: Table) -> RichTable:
    drawn = RichTable(title=_plain(table.title, "bold"), title_justify="left", box=None, padding=(0, 1, 0, 0))
    texts = [
        [_plain(cell_text(cell, column)) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    for index, column in enumerate(table.columns):
        small = detail(table, index)
        heading, narrowest = column.name, None
        if column.format != "text":
            # A number broken over two lines is another number: only its heading may be.
            narrowest = max(len(word) for word in (*heading.split(), *small.split()) or [""])
            narrowest = max(narrowest, *(row[index].cell_len for row in texts), 0)
            heading, small = fill(heading, narrowest), fill(small, narrowest)
        drawn.add_column(
            _plain(heading + (f"\n{small}" if small else "")),
            justify="right" if is_number(column) else "left",
            min_width=narrowest,
            no_wrap=narrowest is not None,
        )
    for row in texts:
        drawn.add_row(*row)
    return drawn
