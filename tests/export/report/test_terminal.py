import io
from pathlib import Path

import pytest
from rich.console import Console

from export.report.model import Report, Section, Verdict
from export.report.terminal import show
from tests.export.report.reports import report, table


def printed(shown: Report, width: int = 120, page: Path | None = None) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    show(shown, console, page)
    return console.export_text()


@pytest.mark.parametrize(
    ("level", "word"), [("pass", "✓ PASS"), ("warn", "▲ WARNING"), ("fail", "✗ FAIL"), ("info", "● INFORMATION")]
)
def test_the_first_line_is_the_verdict(level: str, word: str) -> None:
    shown = printed(report(verdict={"level": level, "sentence": "This is it.", "reasons": ["Because."]}))
    assert shown.splitlines()[:2] == [f"{word}: This is it.", "  - Because."]


def test_facts_and_tables_follow() -> None:
    shown = printed(report())
    assert shown.index("43,200") < shown.index("All models") < shown.index("✓ pass")
    assert "25.0 … 50.0 %" in shown


def test_a_table_too_wide_is_named_and_not_squeezed() -> None:
    shown = printed(report(), width=60)
    assert "Too wide for 60 columns: All models" in shown
    assert "✓ pass" not in shown


def test_plots_are_left_to_the_page_which_is_named_on_one_line() -> None:
    page = Path("/a/folder/with/a/long/name/judge.html")
    assert f"The whole report, with 4 plots: {page}" in printed(report(), width=40, page=page)


def test_a_text_is_no_markup_and_no_command_to_the_terminal() -> None:
    hostile = "[red]a[/red] \x1b[2J:boom:"
    cells = table(title=hostile, rows=[[hostile, *[None] * 7]])
    shown = printed(
        report(
            subject=hostile,
            verdict=Verdict(level="info", sentence=hostile),
            facts={hostile: hostile},
            sections=[Section(title="s", tables=[cells])],
        )
    )
    assert "\x1b" not in shown
    assert shown.count("[red]a[/red] �[2J:boom:") == 6
