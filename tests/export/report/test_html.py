import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from export.report.html import render
from export.report.model import Report, Section, Verdict
from tests.export.report.reports import bar_plot, every_plot, report, table

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A page's elements and texts; refuses tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def hostile_report() -> Report:
    plot = bar_plot(title=HOSTILE, caption=HOSTILE, x_label=HOSTILE, groups=[HOSTILE, "b", "c"])
    cells = table(title=HOSTILE, note=HOSTILE, rows=[[HOSTILE, *[None] * 7]])
    return report(
        command=HOSTILE,
        title=HOSTILE,
        subject=HOSTILE,
        verdict=Verdict(level="warn", sentence=HOSTILE, reasons=[HOSTILE]),
        facts={HOSTILE: HOSTILE},
        sections=[Section(title=HOSTILE, text=[HOSTILE], tables=[cells], plots=[plot])] * 4,
    )


def test_a_hostile_text_is_only_text() -> None:
    page = Page(render(hostile_report()))
    assert not {"script", "img"} & set(page.tags())
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 40


def test_nothing_leads_out_of_the_page() -> None:
    text = render(report())
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<>)]*", text))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, fetched by nobody
    attributes = [(name, value or "") for _, pairs in Page(text).elements for name, value in pairs.items()]
    links = [value for name, value in attributes if name in ("src", "href", "xlink:href", "action", "data")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(report()) == render(Report.model_validate_json(report().model_dump_json()))


@pytest.mark.parametrize(
    ("level", "word"), [("pass", "✓ PASS"), ("warn", "▲ WARNING"), ("fail", "✗ FAIL"), ("info", "● INFORMATION")]
)
def test_the_verdict_comes_first_and_in_words(level: str, word: str) -> None:
    shown = Page(render(report(verdict={"level": level, "sentence": "This is it.", "reasons": ["Because."]}))).text
    places = [shown.rindex(text) for text in ("The gates of v8", word, "This is it.", "Because.", "43,200", "On three")]
    assert places == sorted(places)


def test_every_reference_within_the_page_finds_its_element() -> None:
    page = Page(render(report(sections=[*report().sections * 2, *[Section(title="s", tables=[table()])] * 3])))
    ids = [pairs["id"] for _, pairs in page.elements if "id" in pairs]
    assert len(set(ids)) == len(ids)
    links = {(pairs.get("href") or "#")[1:] for tag, pairs in page.elements if tag == "a"}
    labels = {pairs["aria-labelledby"] for _, pairs in page.elements if "aria-labelledby" in pairs}
    assert links == {f"section-{n}" for n in range(1, 6)}
    assert links | labels <= set(ids)


@pytest.mark.parametrize(("sections", "contents"), [(0, 0), (3, 0), (4, 1)])
def test_long_reports_have_a_table_of_contents(sections: int, contents: int) -> None:
    assert Page(render(report(sections=[Section(title="s")] * sections))).tags().count("nav") == contents


def test_tables_say_what_heads_what() -> None:
    page = Page(render(report()))
    scopes = [pairs.get("scope") for tag, pairs in page.elements if tag == "th"]
    assert scopes == ["col"] * 8 + ["row"] * 2
    assert page.tags().count("caption") == 1


def test_every_plot_has_its_caption_as_a_label() -> None:
    page = Page(render(report()))
    assert page.tags().count("figure") == page.tags().count("figcaption") == len(every_plot())
    assert sum(pairs.get("role") == "img" for _, pairs in page.elements) == len(every_plot())


def test_headings_skip_no_level() -> None:
    levels = [int(tag[1]) for tag in Page(render(report())).tags() if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least."""
    blocks = re.findall(r":root \{(.*?)\}", render(report()), re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6});", blocks[scheme == "dark"]))
    for ground in ("paper", "shade"):
        for ink in ("ink", "quiet", "link", "pass", "warn", "fail", "info"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """The ratio of relative luminances, 1 … 21, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)
