"""`signalserve diagnose`: is a model sane? What is wrong with its weights, its scaler and what it says.

A BUNDLE or a CHECKPOINT as its owners saved it, which is read and not written. With bars the scaler is compared with
them, and the model answers every window, with and without its scaler. Exit code 0 whatever is found, 2 where a model
or the bars cannot be read.
"""

import argparse
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from export.options import Screen, add_data, add_output, add_store, check_writable, screen_of, source_of
from signalserve.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:  # torch and scipy only where the command runs
    from export.diagnosis import Diagnosis
    from export.series import Series, Source
    from signalserve.bundle import Bundle, Manifest


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("diagnose", help="what is wrong with a model, if anything is", description=__doc__)
    parser.add_argument(
        "models",
        nargs="+",
        metavar="BUNDLE|CHECKPOINT",
        help="folder, generation/symbol[/version] in the store, or a checkpoint's file",
    )
    add_data(parser, required=False)
    parser.add_argument("--windows", type=int, metavar="N", help="look at the newest N windows only (default all)")
    parser.add_argument("--scaler", type=Path, metavar="FILE", help="the scaler that a checkpoint was trained with")
    parser.add_argument("--symbol", help="of a checkpoint that does not say it, such as BTC-USD")
    add_store(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Diagnose all, then report. Raises OperatorError for what cannot be read, and has then written nothing."""
    from export.diagnosis_report import diagnosis_report

    if args.windows is not None and args.windows < 1:
        raise ConfigError(f"--windows: expected 1 or more, got {args.windows}")
    check_writable(args.reports)
    screen = screen_of(args)
    source = None if args.bars is None and args.features is None else source_of(args)
    found = [read_model(words, args) for words in args.models]
    done = [examine(bundle, is_bundle, source, args.windows, screen) for bundle, is_bundle in found]
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    stems = distinct([stem_of(diagnosis) for diagnosis in done])
    screen.reports(
        [(stem, diagnosis_report(one, created)) for stem, one in zip(stems, done, strict=True)], args.reports
    )
    return 0


def read_model(words: str, args: argparse.Namespace) -> "tuple[Bundle, bool]":
    """A bundle in memory, and whether it was one on disk.

    Raises BundleError or CheckpointError for what is neither, ConfigError for an option that does not fit it.
    """
    from export.checkpoints.importing import SUFFIXES, import_checkpoint
    from export.versions import find_bundle

    path = Path(words)
    if path.is_file():
        if len(args.models) > 1 and (args.scaler or args.symbol):
            raise ConfigError("--scaler, --symbol: expected one checkpoint beside them; diagnose the others without")
        return import_checkpoint(path, scaler=args.scaler, symbol=args.symbol).as_bundle(), False
    if path.suffix in SUFFIXES:
        raise CheckpointError(f"{path}: expected a checkpoint or a bundle; it does not exist")
    if args.scaler or args.symbol:
        raise ConfigError(f"--scaler, --symbol: expected a checkpoint beside them; the bundle {words} says both itself")
    return find_bundle(words, args.model_store), True


def examine(
    bundle: "Bundle", is_bundle: bool, source: "Source | None", newest: int | None, screen: Screen
) -> "Diagnosis":
    from export.diagnosis import diagnose, windows_of, work
    from export.series import read_series

    manifest = bundle.manifest
    if source is None:
        return diagnose(bundle, is_bundle=is_bundle)
    series = read_series(source, manifest.symbol, manifest.columns, manifest.interval_ms)
    part = windows_of(series, manifest.window, newest)
    with screen.progress(bundle.name, work(bundle, part)) as progress:
        return diagnose(
            bundle, series, part, is_bundle=is_bundle, others=other_symbols(source, manifest), progress=progress
        )


def other_symbols(source: "Source", manifest: "Manifest") -> "Iterator[Series]":
    """The bars of the other symbols in a folder, as far as they can be read: they are only compared with."""
    from export.series import read_series

    for symbol in source.files():
        if symbol != manifest.symbol:
            with suppress(DataError):
                yield read_series(source, symbol, manifest.columns, manifest.interval_ms)


def stem_of(diagnosis: "Diagnosis") -> str:
    """What its report's files are called."""
    bundle = diagnosis.bundle
    return "-".join(("diagnose", *(bundle.name.split("/") if diagnosis.is_bundle else [bundle.path.stem])))


def distinct(stems: list[str]) -> list[str]:
    """Two models of one name become two reports: the second's name ends in -2."""
    return [stem if stem not in stems[:i] else f"{stem}-{stems[:i].count(stem) + 1}" for i, stem in enumerate(stems)]
