"""What `signalserve journal stats` shows: the record's size and standing, and how good the predictions in it were."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalserve.candles import iso
from signalserve.journal import database_of, spool_of
from signalserve.journal.counts import COUNTS, read_counts
from signalserve.journal.reading import Maker, Standing, maker, standings, waiting_bytes
from signalserve.watcher.quality import FEWEST, WINDOW, Baseline, Figure, Quality, live_quality

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Stats:
    """folder: the journal's.  database_bytes: with what is not folded into the file yet.  waiting_bytes: how far the
    watcher is behind.  makers, qualities: of each of the standings, in their order; no maker where nothing counts."""

    folder: Path
    database_bytes: int
    waiting_bytes: int
    standings: list[Standing]
    makers: list[Maker | None]
    qualities: list[Quality]
    counts: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.standings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times as ISO 8601."""
        return {
            "journal": str(self.folder),
            "database_bytes": self.database_bytes,
            "waiting_bytes": self.waiting_bytes,
            "rows": self.rows,
            "first": iso(min(one.first_ms for one in self.standings)) if self.standings else None,
            "last": iso(max(one.last_ms for one in self.standings)) if self.standings else None,
            "arms": [
                {
                    "symbol": one.symbol,
                    "arm": one.arm,
                    "rows": one.rows,
                    "counted": one.counted,
                    "left_out": one.left_out,
                    "labelled": one.labelled,
                    "waiting": one.waiting,
                    "overdue": one.overdue,
                    "first": iso(one.first_ms),
                    "last": iso(one.last_ms),
                    "made_by": None if made_by is None else asdict(made_by),
                    "quality": _quality_dict(quality),
                }
                for one, made_by, quality in zip(self.standings, self.makers, self.qualities, strict=True)
            ],
            "counts": self.counts,
        }


def _quality_dict(quality: Quality) -> dict[str, Any]:
    content = asdict(quality)
    since_ms = content.pop("since_ms")
    return {"since": None if since_ms is None else iso(since_ms), **content}


def read_stats(connection: sqlite3.Connection, folder: Path) -> Stats:
    """Reads the whole table of predictions."""
    found = standings(connection, time.time_ns() // 1_000_000)
    return Stats(
        folder=folder,
        database_bytes=sum(path.stat().st_size for path in folder.glob(f"{database_of(folder).name}*")),
        waiting_bytes=waiting_bytes(connection, spool_of(folder)),
        standings=found,
        makers=[maker(connection, one.symbol, one.arm) for one in found],
        qualities=[live_quality(connection, one.symbol, one.arm) for one in found],
        counts=read_counts(connection),
    )


def show_stats(stats: Stats, console: "Console") -> None:
    whole = stats.as_dict()
    span = f", from {whole['first']} to {whole['last']}" if stats.standings else ""
    behind = f"{_size(stats.waiting_bytes)} behind" if stats.waiting_bytes else "up to date"
    console.print(f"{stats.folder}: {stats.rows:,} rows{span}", markup=False)
    console.print(f"{_size(stats.database_bytes)} on disk; the watcher is {behind}")
    if stats.standings:
        console.print(_standings(stats.standings))
        console.print(
            f"Judged: of the last {WINDOW:,} outcomes of each, those of the model or pool that made its newest "
            f"prediction; fewer than {FEWEST} are too few. Shares: of always forecasting the classes' shares, those of "
            "the labels that the model learned from, or those of these outcomes."
        )
        console.print(
            "Intervals of 95 % count that labels overlap, and nothing else. Luck that lasts longer, as on a day with a "
            "trend, makes the truth wider: of a momentum rule on 29 days of real minutes, the intervals of 1,440 "
            "outcomes held the mean of all days in 79 % of the cases."
        )
        console.print(_qualities(stats))
    for name, count in stats.counts.items():
        if count:
            console.print(f"{count:>12,}  {COUNTS[name]}", markup=False)


def _standings(found: list[Standing]) -> "Table":
    table = _table("symbol", "arm", "rows", "counted", "left out", "with outcome", "waiting", "overdue")
    for one in found:
        numbers = (one.labelled, one.waiting, one.overdue)
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in one.left_out.items()) or "none"
        table.add_row(one.symbol, one.arm, f"{one.rows:,}", f"{one.counted:,}", left_out, *map("{:,}".format, numbers))
    return table


def _qualities(stats: Stats) -> "Table":
    table = _table("forecast", "outcomes", "independent hits", "accuracy", "NLL", "Brier")
    for one, made_by, quality in zip(stats.standings, stats.makers, stats.qualities, strict=True):
        name, n, scores = f"{one.symbol} {one.arm}", f"{quality.n:,}", quality.scores
        table.add_section()
        if scores is None:
            table.add_row(name, n, "too few")
        else:
            worth = "unknown" if scores.effective_n is None else f"{scores.effective_n:,.0f}"
            table.add_row(name, n, worth, _percent(scores.accuracy), _plain(scores.nll), _plain(scores.brier))
        for remark in _remarks(made_by, quality):
            table.add_row(f"  {remark}", style="dim")
        known = (("known before", scores.before), ("in hindsight", scores.hindsight)) if scores else ()
        for when, baseline in known:
            if baseline is not None:
                table.add_row(f"  shares {when}", "", "", *_baseline(baseline), style="dim")
    return table


def _remarks(made_by: Maker | None, quality: Quality) -> Iterator[str]:
    """Who is judged, since when, and on what not."""
    models = made_by.models if made_by else ()
    for model in models:
        share = f"{model.weight:g} " if len(models) > 1 else ""
        yield f"{share}{model.generation or 'unknown'} {model.version or ''} {model.sha256[:8]}"
    if quality.since_ms is not None:
        yield f"since {iso(quality.since_ms)}"
    if quality.neutral_left_out:
        yield f"without {quality.neutral_left_out:,} NEUTRAL, which it does not know"


def _table(*headings: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("symbol", "arm", "forecast") else "right")
    return table


def _percent(figure: Figure) -> str:
    inside = f" ({figure.interval.low:.1%}–{figure.interval.high:.1%})" if figure.interval else ""
    return f"{figure.value:.1%}{inside}"


def _plain(figure: Figure) -> str:
    inside = f" ({figure.interval.low:.3f}–{figure.interval.high:.3f})" if figure.interval else ""
    return f"{figure.value:.3f}{inside}"


def _baseline(baseline: Baseline) -> tuple[str, ...]:
    return f"{baseline.accuracy:.1%}", f"{baseline.nll:.3f}", f"{baseline.brier:.3f}"


def _size(n_bytes: int) -> str:
    """Bytes in the largest unit that gives at least 1."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= length:
            return f"{n_bytes / length:.1f} {unit}"
    return f"{n_bytes} bytes"
