"""What the offline commands share: their options, their progress bars and where their reports go."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalserve.errors import ConfigError

if TYPE_CHECKING:  # help comes at once: torch, pyarrow and rich only where a command runs
    from rich.console import Console

    from export.report.model import Report
    from export.series import Source
    from signalserve.bundle import Labels, Manifest


def add_data(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """--bars or --features."""
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--bars", type=Path, metavar="DIR", help="folder of candle files, such as BTCUSDT_1m.parquet")
    source.add_argument("--features", type=Path, metavar="DIR", help="folder of files such as BTC_features.parquet")


def add_labels(parser: argparse.ArgumentParser) -> None:
    """--horizon and --band, for models that do not say what they were taught."""
    parser.add_argument("--horizon", type=int, metavar="BARS", help="bars that a label looks ahead")
    parser.add_argument("--band", type=float, metavar="SHARE", help="a move within ±this share of the close is NEUTRAL")


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-store", type=Path, default=Path("model_store"), help="folder with bundles/ (default %(default)s)"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """--json, and --reports for the page and its data."""
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON on standard output, and nothing else"
    )
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="where reports go (default %(default)s)"
    )


def source_of(args: argparse.Namespace) -> "Source":
    from export.series import Source

    return Source(args.bars, "bars") if args.bars is not None else Source(args.features, "features")


def labels_of(args: argparse.Namespace, manifest: "Manifest") -> "Labels":
    """What the model was taught: as its manifest says, else --horizon and --band.

    Raises ConfigError where neither says it, or both and differently.
    """
    from signalserve.bundle import Labels

    known = manifest.labels
    if known is not None:
        given = (
            known.horizon_bars if args.horizon is None else args.horizon,
            known.neutral_band if args.band is None else args.band,
        )
        if given != (known.horizon_bars, known.neutral_band):
            raise ConfigError(
                f"--horizon, --band: {manifest.generation} of {manifest.symbol} was taught {known.horizon_bars} bars "
                f"ahead with a band of {known.neutral_band:g}, got {given[0]} and {given[1]:g}; leave them out"
            )
        return known
    if args.horizon is None or args.band is None:
        raise ConfigError(
            f"{manifest.generation} of {manifest.symbol} does not say what it was taught: pass --horizon BARS and "
            "--band SHARE, such as --horizon 15 --band 0.001"
        )
    if args.horizon < 1 or not 0 <= args.band < 1:
        raise ConfigError(
            f"--horizon, --band: expected 1 bar or more and a share from 0 to 1, got {args.horizon}, {args.band}"
        )
    return Labels(horizon_bars=args.horizon, neutral_band=args.band)


def command_line() -> str:
    """The command that does this again, for a bundle's provenance."""
    return shlex.join(["signalserve", *sys.argv[1:]])


@dataclass(frozen=True)
class Screen:
    """Where a command talks: on standard output, or with --json on standard error, so that the output is JSON alone."""

    console: "Console"
    as_json: bool

    @contextmanager
    def progress(self, task: str, total: int) -> Iterator[Any]:
        """A bar with the time that remains; gives a function to be told of what has just been done."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            number = bars.add_task(task, total=total)
            yield lambda done: bars.advance(number, done)

    def say(self, words: str) -> None:
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    def reports(self, reports: "list[tuple[str, Report]]", folder: Path) -> None:
        """Write each report under its name as HTML and JSON, and show it. Raises DataError where that cannot be."""
        from export.report.files import write_report
        from export.report.terminal import show

        for stem, report in reports:
            written = write_report(report, folder, stem)
            if not self.as_json:
                show(report, self.console, page=written[0])
            self.say("wrote " + " and ".join(str(path) for path in written))
        if self.as_json:
            contents = [report.model_dump(mode="json") for _, report in reports]
            print(json.dumps(contents[0] if len(contents) == 1 else contents, indent=1))


def screen_of(args: argparse.Namespace) -> Screen:
    from rich.console import Console

    return Screen(Console(stderr=args.json), args.json)
