"""A report -> one page that needs nothing else: styles and plots stand inside it, no script runs, no link leads out.

The same report gives the same bytes.
"""

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from export.report.cells import SYMBOLS, WORDS, cell_text, detail, is_number
from export.report.model import Plot, Report
from export.report.plots import svg

CONTENTS_FROM: Final = 4
"""Sections: fewer are seen at a glance."""


def render(report: Report) -> str:
    """The page as HTML 5, readable on a phone, in the dark and on paper (`template.html`)."""
    page = Environment(
        loader=PackageLoader("export.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("template.html")
    return page.render(
        report=report,
        symbol=SYMBOLS[report.verdict.level],
        word=WORDS[report.verdict.level],
        contents=len(report.sections) >= CONTENTS_FROM,
        cell_text=cell_text,
        detail=detail,
        is_number=is_number,
        svg=_svg,
    )


def _svg(plot: Plot, prefix: str) -> Markup:
    return Markup(svg(plot, prefix))  # noqa: S704 – matplotlib has escaped its texts
