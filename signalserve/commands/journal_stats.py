"""What `signalserve journal stats` shows: the record's size and standing, and how good the predictions in it were."""

import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalserve.candles import iso
from signalserve.journal import database_of, spool_of
from signalserve.journal.counts import COUNTS, read_counts
from signalserve.journal.reading import Standing, base_rates, matured, standings, waiting_bytes
from signalserve.watcher.quality import FEWEST, WINDOW, Baseline, Figure, Quality, quality_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Stats:
    """folder: the journal's.  database_bytes: with what is not folded into the file yet.  waiting_bytes: how far the
    watcher is behind.  qualities: of each of the standings, in their order."""

    folder: Path
    database_bytes: int
    waiting_bytes: int
    standings: list[Standing]
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
                    "quality": asdict(quality),
                }
                for one, quality in zip(self.standings, self.qualities, strict=True)
            ],
            "counts": self.counts,
        }


def read_stats(connection: sqlite3.Connection, folder: Path) -> Stats:
    """Reads the whole table of predictions."""
    found = standings(connection, time.time_ns() // 1_000_000)
    return Stats(
        folder=folder,
        database_bytes=sum(path.stat().st_size for path in folder.glob(f"{database_of(folder).name}*")),
        waiting_bytes=waiting_bytes(connection, spool_of(folder)),
        standings=found,
        qualities=[
            quality_of(matured(connection, one.symbol, one.arm, WINDOW), base_rates(connection, one.symbol, one.arm))
            for one in found
        ],
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
            f"The last {WINDOW:,} outcomes of each, with 95 % intervals; fewer than {FEWEST} are too few. Shares: of "
            "always forecasting the classes' shares, those known when the model was made or those of these outcomes."
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
    table = _table("forecast", "outcomes", "independent", "accuracy", "NLL", "Brier")
    for one, quality in zip(stats.standings, stats.qualities, strict=True):
        name, n, scores = f"{one.symbol} {one.arm}", f"{quality.n:,}", quality.scores
        table.add_section()
        if scores is None:
            table.add_row(name, n, "too few")
            continue
        worth = "unknown" if scores.effective_n is None else f"{scores.effective_n:,.0f}"
        table.add_row(name, n, worth, _percent(scores.accuracy), _plain(scores.nll), _plain(scores.brier))
        for when, baseline in (("known before", scores.before), ("in hindsight", scores.hindsight)):
            if baseline is not None:
                table.add_row(f"  shares {when}", "", "", *_baseline(baseline), style="dim")
    return table


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
