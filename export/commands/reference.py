"""`signalserve reference`: bars -> the reference bundles, for each symbol a V6 (as it was, then mended) and a V8.

Trains on the first half of the bars, fits the temperature on the next quarter, and reports only what came of the last
quarter, which nothing was fitted to or chosen by. Writes the bundles and, beside their folder, a README with the table.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signalserve.bundle import (
    find_bundles,
    version_key,
)
from signalserve.candle_files import find_candle_files
from signalserve.errors import BundleError, DataError

if TYPE_CHECKING:  # torch takes a second to import, and `signalserve --help` does no work that needs it
    from export.train import Epoch


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("reference", help="train the reference bundles on bars", description=__doc__)
    parser.add_argument(
        "--bars", type=Path, default=Path("../shared/data"), help="folder with candle files (default %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("model_store/bundles"), help="where bundles go (default %(default)s)"
    )
    parser.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="such as BTC-USD (default: all in --bars)")
    parser.add_argument("--version", type=int, metavar="N", help="of the bundles (default: one more than the newest)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the models learn nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write and show. Raises DataError for unusable bars, BundleError for a version that exists already."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from export.reference_models import GENERATIONS, read_market, write
    from export.reference_report import README, newest_manifests, rich_table, said, write_readme
    from signalserve.drift import limits

    files = choose_files(find_candle_files(args.bars), args.symbols, args.bars)
    versions = {symbol: choose_version(args.out, symbol, args.version) for symbol in files}
    command = command_of(args)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for symbol, path in files.items():
            market = read_market(symbol, path)
            for generation, build in GENERATIONS.items():
                task = progress.add_task(f"{symbol} {generation}", total=None, said="")

                def show(done: int, of: int, epoch: "Epoch", task: Any = task) -> None:
                    progress.update(task, completed=done, total=of, said=said(epoch))

                draft = build(market, args.quick, show)
                task = progress.add_task(f"{symbol} {generation}: drift limits", total=limits.SIMULATED_DAYS, said="")
                drawn = partial(progress.advance, task)
                folder = write(market, draft, args.out, versions[symbol], command, drawn)
                progress.console.print(f"wrote {folder}")
    manifests = newest_manifests(args.out)
    console.print(rich_table(manifests))
    readme = args.out.parent / README
    if not write_readme(readme, manifests):
        console.print(f"left {readme} as it is: it is not one that this command wrote")
    return 0


def choose_files(found: Mapping[str, Path], wanted: Sequence[str] | None, bars: Path) -> dict[str, Path]:
    """The candle files of the wanted symbols, all where none are named. Raises DataError for one without a file."""
    missing = [symbol for symbol in wanted or () if symbol not in found]
    if missing:
        raise DataError(f"--symbols: expected some of {', '.join(found)} (in {bars}), got {', '.join(missing)}")
    return {symbol: found[symbol] for symbol in wanted or found}


def choose_version(out: Path, symbol: str, wanted: int | None) -> str:
    """One more than the newest version of the symbol's bundles, or the wanted one where it is free.

    Raises BundleError now rather than after minutes of training.
    """
    taken = [path for path in find_bundles(out) if path.parts[-2] == symbol]
    if wanted is None:
        return str(max((version_key(path.name)[0] for path in taken), default=0) + 1)
    if wanted < 1:
        raise BundleError(f"--version: expected 1 or more, got {wanted}")
    for path in taken:
        if path.name == str(wanted):
            raise BundleError(
                f"{path} exists already; a version is never overwritten: leave --version out for a new one"
            )
    return str(wanted)


def command_of(args: argparse.Namespace) -> str:
    """The command line that does this again."""
    words = ["signalserve", "reference", "--bars", str(args.bars), "--out", str(args.out)]
    words += ["--symbols", *args.symbols] if args.symbols else []
    words += ["--version", str(args.version)] if args.version is not None else []
    words += ["--quick"] if args.quick else []
    return shlex.join(words)
