"""`signalserve import`: a checkpoint as its owners saved it -> a bundle, saying what it found and what it assumed.

Every form is told apart by its tensors, never by its name, and nothing in a file is executed. A folder imports every
checkpoint in it, not those in its subfolders, and pairs scalers by their names; two of one generation and symbol become
two versions, in the order of their names.
"""

import argparse
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.options import add_labels, add_store
from signalserve.errors import CheckpointError, ConfigError, DataError, OperatorError

if TYPE_CHECKING:  # help comes at once: torch and rich only where the command runs
    from export.checkpoints.importing import Imported
    from export.options import Screen
    from signalserve.bundle import Labels, Span


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("import", help="make bundles of checkpoints", description=__doc__)
    add_checkpoint(parser)
    parser.add_argument("--generation", help="such as v6_fixed (default: as its tensors say)")
    add_labels(parser)
    add_store(parser)
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on standard output")
    parser.set_defaults(run=run)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """What is imported, and what a file may not say of itself."""
    parser.add_argument("path", type=Path, metavar="PATH", help="a checkpoint, or a folder (not its subfolders)")
    parser.add_argument("--scaler", type=Path, metavar="FILE", help="the scaler it was trained with")
    parser.add_argument("--symbol", help="such as BTC-USD (default: as the file or its name says)")
    parser.add_argument(
        "--trained", nargs=2, metavar=("START", "END"), help="first and last bar that it learned from, UTC"
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="ROOT", help="where bundles go (default MODEL_STORE/bundles)")


def run(args: argparse.Namespace) -> int:
    """Import, write, tell. Raises OperatorError where the only one could not be; 2 where one of several could not."""
    from export.checkpoints.importing import write_imported
    from export.options import command_line, screen_of

    screen, command = screen_of(args), command_line()
    imported, faults = import_path(args, screen, generation=args.generation, labels=labels_given(args))
    written: list[tuple[Imported, Path]] = []
    try:
        for checkpoint in imported:
            try:
                folder = write_imported(checkpoint, root_of(args), command=command)
            except OperatorError as error:
                faults.append(error)
                continue
            written.append((checkpoint, folder))
            tell(screen, checkpoint, folder)
    finally:  # what was written is told, whatever ends this
        if args.json:
            told = {"imported": [as_json(*each) for each in written], "faults": list(map(str, faults))}
            print(json.dumps(told, indent=1))
    return report_faults(screen, faults, "imported", len(written))


def root_of(args: argparse.Namespace) -> Path:
    """Where bundles go."""
    root: Path = args.model_store / "bundles" if args.out is None else args.out
    return root


def import_path(
    args: argparse.Namespace, screen: "Screen", generation: str | None = None, labels: "Labels | None" = None
) -> "tuple[list[Imported], list[OperatorError]]":
    """The checkpoint at PATH, or all in that folder, and why others cannot be imported.

    Raises CheckpointError where PATH is one file that cannot, ConfigError where an option fits one file only.
    """
    from export.checkpoints.files import named
    from export.checkpoints.importing import files_in, import_checkpoint, import_folder

    path, trained = args.path, trained_given(args)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        words = f"expected a checkpoint or a folder of them, got none: {error.strerror}"
        raise CheckpointError(f"{named(path)}: {words}") from None
    options: dict[str, Any] = {"generation": generation, "labels": labels, "trained": trained}
    if not is_folder:
        return [import_checkpoint(path, scaler=args.scaler, symbol=args.symbol, **options)], []
    for option in ("scaler", "symbol"):
        if getattr(args, option) is not None:
            raise ConfigError(
                f"--{option}: belongs to one checkpoint, and {named(path)} is a folder; import that one by file"
            )
    with screen.progress("reading", len(files_in(path))) as advance:
        return import_folder(path, **options, progress=advance)


def labels_given(args: argparse.Namespace) -> "Labels | None":
    """--horizon and --band, both or neither. Raises ConfigError."""
    from signalserve.bundle import Labels

    if args.horizon is None and args.band is None:
        return None
    if args.horizon is None or args.band is None:
        raise ConfigError("--horizon, --band: expected both or neither, got one; say what the network was taught")
    check_labels(args.horizon, args.band)
    return Labels(horizon_bars=args.horizon, neutral_band=args.band)


def check_labels(horizon: int, band: float | None) -> None:
    """Raises ConfigError for labels that cannot be. band: None where the bars choose it."""
    if horizon < 1 or not (band is None or 0 <= band < 1):
        raise ConfigError(f"--horizon, --band: expected 1 bar or more and a share from 0 to 1, got {horizon}, {band}")


def trained_given(args: argparse.Namespace) -> "Span | None":
    """--trained. Raises ConfigError for times that are none, or in the wrong order."""
    from signalserve.bundle import Span
    from signalserve.candle_files import times_ms
    from signalserve.candles import iso

    if args.trained is None:
        return None
    try:
        start, end = (int(time) for time in times_ms(Path("--trained"), args.trained))
    except DataError as error:
        raise ConfigError(f"{error}; write times such as 2025-05-04T15:33Z") from None
    if start > end:
        raise ConfigError(f"--trained: expected the first bar before the last, got {iso(start)} and {iso(end)}")
    return Span(start=iso(start), end=iso(end))


def tell(screen: "Screen", imported: "Imported", folder: Path) -> None:
    """What it is, what was assumed, and where it stands now."""
    from rich.table import Table
    from rich.text import Text  # a str would be read as markup, and these come from the file

    from export.checkpoints.pairing import UNSCALED
    from export.checkpoints.pickle_values import printable

    title = Text(printable(imported.path.name))
    table = Table("found", "", title=title, title_justify="left", box=None, show_header=False)
    for name, words in imported.found.items():
        table.add_row(name, Text(words))
    for name, claim in imported.claims.items():
        table.add_row(Text(f"{name} (claimed)"), Text(str(claim)))
    screen.console.print(table)
    screen.say("assumed:\n" + "\n".join(f"  - {words}" for words in imported.assumed if words != UNSCALED))
    earlier = sum(path.is_dir() for path in folder.parent.iterdir()) - 1
    screen.say(f"wrote {folder}" + (f", beside {earlier} earlier version(s)" if earlier else ""))
    if not imported.has_scaler:
        screen.console.print(Text(UNSCALED, style="bold red"), soft_wrap=True)
    screen.say("")


def as_json(imported: "Imported", folder: Path) -> dict[str, Any]:
    return {
        "file": str(imported.path),
        "bundle": str(folder),
        "kind": imported.kind,
        "generation": imported.generation,
        "symbol": imported.symbol,
        "version": folder.name,
        "has_scaler": imported.has_scaler,
        "found": dict(imported.found),
        "assumed": list(imported.assumed),
        "owners_claims": dict(imported.claims),
    }


def report_faults(screen: "Screen", faults: list[OperatorError], done: str, count: int) -> int:
    """List what could not be done, beside how many were; the exit code. Raises the only one's error."""
    if not faults:
        return 0
    if not count and len(faults) == 1:
        raise faults[0]
    screen.say(f"{count} {done}, {len(faults)} not:")
    for fault in faults:
        screen.say(f"  - {fault}")
    return 2
