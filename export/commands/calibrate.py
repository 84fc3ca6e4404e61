"""`signalserve calibrate`: a bundle and bars -> the likeliest temperature, what it is worth, and a new version.

The windows that the weights have not seen are cut in time: everything is fitted to the first part, and judged on the
last. With --target-confidence the temperature is set for a mean confidence instead, and the report says what that
costs. Nothing is overwritten: the bundle's next version takes the temperature, and must be judged anew. None is written
where the data asks for no other temperature, or bounds none, unless --write says so.

With --reference-only the temperature stays, and with it the verdict of the gates: what monitoring compares with (the
reference stream and the drift limits) is made anew, from the windows that neither weights nor temperature have seen.
"""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from export.options import (
    Screen,
    add_data,
    add_labels,
    add_output,
    add_store,
    check_writable,
    command_line,
    labels_of,
    screen_of,
    source_of,
)
from signalserve.errors import ConfigError

if TYPE_CHECKING:  # torch and scipy only where the command runs
    from export.new_reference import NewReference
    from export.recalibration import Recalibration
    from export.report.model import Report
    from export.series import Source
    from signalserve.bundle import Bundle


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("calibrate", help="fit a bundle's temperature on bars", description=__doc__)
    parser.add_argument(
        "bundles", nargs="+", metavar="BUNDLE", help="folder, or generation/symbol[/version] in the store"
    )
    add_data(parser)
    add_labels(parser)
    add_store(parser)
    parser.add_argument(
        "--fit-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of the unseen windows, the first to fit to; the rest judges (default %(default)s)",
    )
    parser.add_argument(
        "--target-confidence",
        metavar="LOW:HIGH",
        help="set T for this mean confidence, such as 0.60:0.75, instead of the likeliest",
    )
    parser.add_argument(
        "--accuracy",
        type=float,
        default=0.68,
        help="to find a threshold of confidence for (default %(default)s)",
    )
    parser.add_argument(
        "--assume-unseen",
        action="store_true",
        help="these bars taught no weights, where the bundle does not say which did",
    )
    parser.add_argument("--out", type=Path, metavar="ROOT", help="where versions go (default MODEL_STORE/bundles)")
    writing = parser.add_mutually_exclusive_group()
    writing.add_argument("--dry-run", action="store_true", help="report only, write no version")
    writing.add_argument("--write", action="store_true", help="write a version even if the data asks for no change")
    writing.add_argument(
        "--reference-only", action="store_true", help="keep the temperature; make the reference and drift limits anew"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate, write and report. Raises OperatorError for bad input, and has then written nothing."""
    from export.recalibration import write
    from export.versions import find_bundle

    target = read_target(args.target_confidence)
    if target and args.reference_only:
        raise ConfigError("--reference-only keeps the temperature: leave --target-confidence out")
    for name, share in (("--fit-share", args.fit_share), ("--accuracy", args.accuracy)):
        if not 0 < share < 1:
            raise ConfigError(f"{name}: expected a share between 0 and 1, got {share:g}")
    source, screen = source_of(args), screen_of(args)
    root = args.out or args.model_store / "bundles"
    check_writable(args.reports, *([] if args.dry_run else [root]))
    found = {bundle.name: bundle for bundle in (find_bundle(words, args.model_store) for words in args.bundles)}
    if args.reference_only:
        return refer_all(list(found.values()), source, args, screen, root)
    done = [recalibrate(bundle, source, args, target, screen) for bundle in found.values()]
    unwritten = [why_unwritten(one, args) for one in done]
    versions = [
        partial(write, one, root, command_line()) for one, why in zip(done, unwritten, strict=True) if why is None
    ]
    screen.finish(versions, lambda folders: list(reports(done, unwritten, iter(folders))), args.reports)
    for one, why in zip(done, unwritten, strict=True):
        if why is not None:
            screen.say(f"{one.bundle.name}: no new version written: {why}")
    return 0


def why_unwritten(one: "Recalibration", args: argparse.Namespace) -> str | None:
    """Why no version is written of this one; None where one is."""
    if args.dry_run:
        return "--dry-run"
    if args.write or one.why_not_write is None:
        return None
    return f"{one.why_not_write}; --write writes it all the same"


def reports(
    done: "list[Recalibration]", unwritten: list[str | None], folders: Iterator[Path]
) -> "Iterator[tuple[str, Report]]":
    """Each one's report, and the name of its files. folders: of the versions written, in the same order."""
    from export.recalibration_report import calibrate_report

    for one, why in zip(done, unwritten, strict=True):
        written = str(next(folders)) if why is None else f"none: {why}"
        yield stem_of(one.bundle), calibrate_report(one, written=written, created=now())


def read_target(words: str | None) -> tuple[float, float] | None:
    """ "0.60:0.75" -> (0.6, 0.75). Raises ConfigError for what is no range of confidences."""
    if words is None:
        return None
    try:
        low, high = map(float, words.split(":"))
    except ValueError:
        low = high = 0.0
    if not 0 < low <= high < 1:
        raise ConfigError(f"--target-confidence: expected LOW:HIGH between 0 and 1, such as 0.60:0.75, got {words!r}")
    return low, high


def refer_all(bundles: "list[Bundle]", source: "Source", args: argparse.Namespace, screen: Screen, root: Path) -> int:
    """Write each bundle's next version with a new reference and the same everything else, and report; all or none."""
    from export.drift_report import reference_report
    from export.new_reference import write

    done = [refer(bundle, source, args, screen) for bundle in bundles]
    screen.finish(
        [partial(write, one, root, command_line()) for one in done],
        lambda folders: [
            (stem_of(one.bundle), reference_report(one, written=str(folder), created=now()))
            for one, folder in zip(done, folders, strict=True)
        ],
        args.reports,
    )
    return 0


def refer(bundle: "Bundle", source: "Source", args: argparse.Namespace, screen: Screen) -> "NewReference":
    from export.new_reference import describe, keep_predictions, reference_part
    from export.series import read_series

    manifest = bundle.manifest
    series = read_series(source, manifest.symbol, manifest.columns, manifest.interval_ms)
    part = reference_part(bundle, series, assume_unseen=args.assume_unseen)
    with screen.progress(bundle.name, len(part)) as advance:
        kept = keep_predictions(bundle, series, part, advance)
    with screen.drawing(bundle.name) as advance:
        return describe(bundle, series, part, kept, advance)


def recalibrate(
    bundle: "Bundle", source: "Source", args: argparse.Namespace, target: tuple[float, float] | None, screen: Screen
) -> "Recalibration":
    from export.recalibration import Recalibration, evaluate, fit, new_calibration, predict, split
    from export.reference_stream import describe_stream, keep
    from export.series import read_series
    from signalserve.bundle import sha256_of

    manifest = bundle.manifest
    taught, old = labels_of(args, manifest), manifest.calibration
    series = read_series(source, manifest.symbol, manifest.columns, manifest.interval_ms)
    parts = split(series, manifest, taught, args.fit_share, assume_unseen=args.assume_unseen)
    with screen.progress(bundle.name, sum(map(len, parts))) as advance:
        calibration, test = predict(bundle, series, taught, parts, advance)
    horizon = taught.horizon_bars
    fitted = fit(calibration, old.clamp, horizon, accuracy=args.accuracy, target=target)
    evaluation = evaluate(test, fitted, old.clamp, horizon, old.temperature)
    data = {"file": series.path.name, "sha256": sha256_of(series.path)}
    kept = keep(series, parts[1], test.raw_logits, manifest.scaler)
    new = new_calibration(manifest, fitted)
    with screen.drawing(bundle.name) as advance:
        description = describe_stream(kept, new, test.span, len(manifest.columns), progress=advance)
    return Recalibration(bundle, taught, data, calibration, test, kept, fitted, evaluation, description)


def stem_of(bundle: "Bundle") -> str:
    """The name of the files of a bundle's report."""
    return "-".join(("calibrate", *bundle.name.split("/")))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
