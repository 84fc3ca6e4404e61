"""`signalserve fix`: a checkpoint and bars -> a V6-fixed bundle, and the table of before and after.

Fits a StandardScaler on the first half of the bars, clamps logits at ±15, fits the temperature by likelihood on the
next quarter, and judges both states on the last, which nothing was fitted to. The weights stay as they are. A folder
mends every checkpoint in it.
"""

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from export.commands.import_checkpoint import (
    add_checkpoint,
    add_out,
    check_labels,
    import_path,
    report_faults,
    root_of,
)
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
    add_out(parser)
    add_output(parser)
    parser.set_defaults(
        run=run,
        horizon=HORIZON,  # --band: None lets the bars choose it
    )


def run(args: argparse.Namespace) -> int:
    """Mend, write, tell. Raises OperatorError where the only one could not be; 2 where one of several could not."""
    from export.fixing import GENERATION
    from export.fixing_report import fix_report
    from export.options import check_writable, command_line, screen_of

    check_labels(args.horizon, args.band)
    check_writable(args.reports, root_of(args))
    screen, command = screen_of(args), command_line()
    imported, failed = import_path(args, screen)
    mended: list[Mended] = []
    for checkpoint in imported:
        try:
            mended.append(mend_one(args, screen, checkpoint))
        except OperatorError as error:
            failed.append(error)
    if mended:
        created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        stem = f"fix-{GENERATION}-" + "-".join(dict.fromkeys(model.imported.symbol for model in mended))
        screen.finish(
            [partial(write_one, args, screen, model, command) for model in mended],
            lambda folders: [(stem, fix_report(mended, written=list(map(str, folders)), created=created))],
            args.reports,
        )
    return report_faults(screen, failed, "mended", len(mended))


def mend_one(args: argparse.Namespace, screen: "Screen", imported: "Imported") -> "Mended":
    """Raises DataError for bars that cannot mend it."""

    from export.checkpoints.pickle_values import printable
    from export.fixing import mend, split_for, windows_of
    from export.options import source_of
    from export.series import read_series

    series = read_series(source_of(args), imported.symbol, imported.columns, imported.interval_ms)
    split = split_for(imported, series, args.horizon)
    with screen.progress(printable(imported.path.name), windows_of(split)) as advance:
        return mend(imported, series, split, args.horizon, args.band, advance)


def write_one(args: argparse.Namespace, screen: "Screen", mended: "Mended", command: str) -> Path:
    from export.checkpoints.pickle_values import printable
    from export.fixing import write

    with screen.drawing(printable(mended.imported.path.name)) as advance:
        return write(mended, root_of(args), command, advance)
