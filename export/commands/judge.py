"""`signalserve judge`: may a model go live? Its gates on bars it has not seen, with exit code 0 or 1.

Judged are the same 1,000 windows for every model of a symbol, the most recent 7 days, and the most volatile day, all
after the bars that the model was trained and calibrated on. The verdict is kept in the manifest of a new version, and
the service refuses one that failed unless serving.yaml says `allow_failed_gates: true`.
"""

import argparse
from functools import partial
from pathlib import Path

from export.options import (
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


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "judge", help="may a model go live? Its gates, with exit code 0 or 1", description=__doc__
    )
    parser.add_argument(
        "bundles", nargs="+", metavar="BUNDLE", help="folder, or generation/symbol[/version] in the store"
    )
    add_data(parser)
    add_labels(parser)
    parser.add_argument("--gates", type=Path, metavar="FILE", help="YAML with other limits than the owners'")
    parser.add_argument(
        "--assume-unseen",
        action="store_true",
        help="vouch that a model of unknown training has seen none of these bars",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where new versions go (default MODEL_STORE/bundles)")
    parser.add_argument("--dry-run", action="store_true", help="judge and report, and write no new version")
    add_store(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 where every required gate of every bundle was passed, else 1. Everything is judged before anything is written.

    Raises ConfigError, BundleError or DataError where something must be mended first; then nothing was written.
    """
    from export.gates import GateSettings, read_gates
    from export.judging import draw_samples, judge_bundle, windows_of
    from export.judging_report import judging_report
    from export.series import read_series
    from export.versions import find_bundle, revise

    settings = read_gates(args.gates) if args.gates else GateSettings()
    source, screen = source_of(args), screen_of(args)
    root = args.out or args.model_store / "bundles"
    check_writable(args.reports, *([] if args.dry_run else [root]))
    tasks = []
    for words in args.bundles:
        bundle = find_bundle(words, args.model_store)
        manifest = bundle.manifest
        labels = labels_of(args, manifest)
        series = read_series(source, manifest.symbol, manifest.columns, manifest.interval_ms)
        horizon = labels.horizon_bars
        samples = draw_samples(series, manifest, horizon, settings, assume_unseen=args.assume_unseen)
        tasks.append((bundle, series, samples, labels))
    judgements = []
    for bundle, series, samples, labels in tasks:
        with screen.progress(bundle.name, len(windows_of(samples))) as progress:
            judgements.append(judge_bundle(bundle, series, samples, labels, settings, progress=progress))
    reports = [(f"judge-{one.bundle.name.replace('/', '-')}", judging_report(one)) for one in judgements]
    versions = [
        partial(revise, one.bundle, root, command=command_line(), gates=one.as_gates())
        for one in judgements
        if not args.dry_run
    ]
    screen.finish(versions, lambda _: reports, args.reports)
    if args.dry_run:
        screen.say("no new version written (--dry-run)")
    return 1 if any(one.failed for one in judgements) else 0
