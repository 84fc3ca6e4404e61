"""What the offline commands share: their options, their progress bars and where their reports go."""

import argparse
import errno
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalserve.errors import ConfigError, DataError

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
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            number = bars.add_task(task, total=total)
            yield lambda done: bars.advance(number, done)

    def drawing(self, name: str) -> "AbstractContextManager[Any]":
        """The bar of the days that the drift limits of one bundle are simulated for."""
        from signalserve.drift import limits

        return self.progress(f"{name}: days simulated for drift limits", limits.SIMULATED_DAYS)

    def say(self, words: str) -> None:
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    def reports(self, reports: "Sequence[tuple[str, Report]]", folder: Path) -> None:
        """Write each report under its name as HTML and JSON, and show it. Raises DataError where that cannot be."""
        self.finish((), lambda _: reports, folder)

    def finish(
        self,
        versions: Sequence[Callable[[], Path]],
        reports: "Callable[[list[Path]], Sequence[tuple[str, Report]]]",
        folder: Path,
    ) -> None:
        """Write new versions of bundles and then the reports on them, all or none; only then show and name them.

        versions: each writes one and returns its folder.  reports: of these folders, each with its files' name.
        Raises what a version raises, and DataError where a report cannot be written: the versions are gone again.
        """
        from export.report.files import write_reports
        from export.report.terminal import show

        written: list[Path] = []
        try:
            for write in versions:
                written.append(write())  # noqa: PERF401 – what was written before one fails must be known
            told = reports(written)
            pages = write_reports(told, folder)
        except BaseException:  # an interruption too: a version nobody was told of would be served as the newest
            for path in written:
                shutil.rmtree(path, ignore_errors=True)
            raise
        for (_, report), files in zip(told, pages, strict=True):
            if not self.as_json:
                show(report, self.console, page=files[0])
            self.say("wrote " + " and ".join(map(str, files)))
        for path in written:
            self.say(f"wrote {path}")
        if self.as_json:
            contents = [report.model_dump(mode="json") for _, report in told]
            print(json.dumps(contents[0] if len(contents) == 1 else contents, indent=1))


def check_writable(*folders: Path) -> None:
    """Before anything long is computed: may files be written to these folders, which need not be there yet?

    Creates nothing, so that a refusal leaves no trace.  Raises DataError that names the folder.
    """
    for folder in folders:
        place = folder.absolute()
        there = next(path for path in (place, *place.parents) if os.path.exists(path))  # noqa: PTH110 – never raises
        if not there.is_dir():
            reason = errno.ENOTDIR
        elif not os.access(there, os.W_OK | os.X_OK):
            reason = errno.EACCES
        else:
            continue
        raise DataError(f"{folder}: cannot be written: {os.strerror(reason)}; choose another folder")


def screen_of(args: argparse.Namespace) -> Screen:
    from rich.console import Console

    class PipedConsole(Console):
        """Leaves a reader that went away to `main`: rich would exit with 1, which says that a gate failed."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Screen(PipedConsole(stderr=args.json), args.json)
