"""`signalserve fix`: a checkpoint and bars -> a V6-fixed bundle, and the table of before and after.

Fits a StandardScaler on the first half of the bars, clamps logits at ±15, fits the temperature by likelihood on the
next quarter, and judges both states on the last, which nothing was fitted to. The weights stay as they are. A folder
mends every checkpoint in it.
"""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from export.commands.import_checkpoint import add_checkpoint, check_labels, import_path, report_faults
from export.options import add_data, add_labels, add_output, add_store
from signalserve.errors import OperatorError

if TYPE_CHECKING:  # help comes at once: torch and pyarrow only where the command runs
    from export.checkpoints.importing import Imported
    from export.fixing import Mended
    from export.options import Screen

HORIZON = 15
"""Bars ahead, as the owners' LSTMs look."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("fix", help="mend checkpoints as V6 was mended", description=__doc__)
    add_checkpoint(parser)
    add_data(parser)
    add_labels(parser)
    add_store(parser)
    add_output(parser)
    parser.set_defaults(
        run=run,
        horizon=HORIZON,  # --band: None lets the bars choose it
    )


def run(args: argparse.Namespace) -> int:
    """Mend, write, tell; 2 where some checkpoint could not be. Raises OperatorError where none could."""
    from export.fixing import GENERATION, write
    from export.fixing_report import fix_report
    from export.options import command_line, screen_of

    check_labels(args.horizon, args.band)
    screen, command = screen_of(args), command_line()
    imported, faults = import_path(args, screen)
    mended: list[Mended] = []
    failed: list[OperatorError] = [*faults]
    for checkpoint in imported:
        try:
            mended.append(mend_one(args, screen, checkpoint))
        except OperatorError as error:
            failed.append(error)
    if not mended:
        if len(failed) == 1:
            raise failed[0]
        return report_faults(screen, failed, "0 mended")
    root = args.model_store / "bundles"
    folders = [write(model, root, command) for model in mended]
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    report = fix_report(mended, written=[str(folder) for folder in folders], created=created)
    stem = f"fix-{GENERATION}-" + "-".join(dict.fromkeys(model.imported.symbol for model in mended))
    screen.reports([(stem, report)], args.reports)
    for folder in folders:
        screen.say(f"wrote {folder}")
    return report_faults(screen, failed, f"{len(mended)} mended")


def mend_one(args: argparse.Namespace, screen: "Screen", imported: "Imported") -> "Mended":
    """Raises DataError for bars that cannot mend it."""
    from export.fixing import mend, split_for, windows_of
    from export.options import source_of
    from export.series import read_series

    series = read_series(source_of(args), imported.symbol, imported.columns, imported.interval_ms)
    split = split_for(imported, series, args.horizon)
    with screen.progress(imported.path.name, windows_of(split)) as advance:
        return mend(imported, series, split, args.horizon, args.band, advance)
