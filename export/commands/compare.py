"""`signalserve compare`: a V6-fixed and a V8 of each symbol, and bars -> who forecasts better, and which to serve.

Both models and their pools forecast the same windows, which neither has seen. Pools are fitted to the first part, and
everybody is judged, paired, on the last. The decision follows the owners' criteria, and the lines of serving.yaml that
adopt it are printed.
"""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from export.options import (
    Screen,
    add_data,
    add_labels,
    add_output,
    add_store,
    labels_of,
    screen_of,
    source_of,
)
from signalserve.errors import BundleError, ConfigError

if TYPE_CHECKING:  # torch and scipy only where the command runs
    from export.comparison import Comparison, Cost
    from export.comparison_report import Overall, SymbolResult
    from export.contest import Contest
    from export.decision import Decision
    from export.paired import Judged
    from export.series import Source
    from signalserve.bundle import Bundle

ALL: Final = "All symbols together"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("compare", help="V6-fixed, V8 or both, with evidence", description=__doc__)
    parser.add_argument(
        "bundles",
        nargs="*",
        metavar="BUNDLE",
        help="a v6_fixed and a v8 of one symbol, each a folder or generation/symbol[/version] in the store "
        "(default: the newest two of each symbol)",
    )
    add_data(parser)
    parser.add_argument(
        "--symbols", nargs="+", metavar="SYMBOL", help="such as BTC-USD (default: all with both models)"
    )
    add_labels(parser)
    add_store(parser)
    parser.add_argument("--urgent", action="store_true", help="the deployment cannot wait for V8")
    parser.add_argument(
        "--accuracy", type=float, default=0.68, metavar="SHARE", help="V6-fixed's accuracy gate (default %(default)s)"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.75, help="confidence from which the bot acts (default %(default)s)"
    )
    parser.add_argument(
        "--fit-share",
        type=float,
        metavar="SHARE",
        help="of the unseen windows, the first to fit pools to (default: those that the temperatures were fitted on, "
        "else 0.5)",
    )
    parser.add_argument(
        "--assume-unseen",
        action="store_true",
        help="these bars taught no weights, where a bundle does not say which did",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and report. Raises OperatorError for bad input, and has then written nothing."""
    from export.comparison import chosen_method
    from export.comparison_report import compare_report
    from export.contest import FULL_FIT, check_one_horizon

    for name, share in (
        ("--fit-share", args.fit_share),
        ("--accuracy", args.accuracy),
        ("--threshold", args.threshold),
    ):
        if share is not None and not 0 < share < 1:
            raise ConfigError(f"{name}: expected a share between 0 and 1, got {share:g}")
    source, screen = source_of(args), screen_of(args)
    contests = [prepare(pair, source, args) for pair in choose(args, source, screen)]
    check_one_horizon(contests)
    competed = [compete(contest, screen) for contest in contests]
    pool = FULL_FIT[chosen_method([comparison for comparison, _ in competed])]
    results, overall = judge_all(competed, pool, args, screen)
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    whole = {contest.symbol for contest in contests} == symbols_of(args.model_store / "bundles")
    report = compare_report(results, overall, threshold=args.threshold, whole=whole, created=created)
    stem = "compare" if overall else f"compare-{results[0].judged.scope}"
    screen.reports([(stem, report)], args.reports)
    return 0


def choose(args: argparse.Namespace, source: "Source", screen: Screen) -> "list[tuple[Bundle, Bundle]]":
    """Two named bundles, or the newest two of each symbol that has both models and a file.

    Raises ConfigError for another number of bundles, BundleError where a wanted symbol lacks one.
    """
    from export.versions import find_bundle
    from signalserve.bundle import load_bundle, newest_bundles
    from signalserve.settings import GENERATIONS

    if args.bundles:
        if len(args.bundles) != 2 or args.symbols:
            raise ConfigError(
                f"expected two bundles of one symbol and no --symbols, or none, got {len(args.bundles)}"
                f"{' and --symbols' if args.symbols else ''}"
            )
        return [in_order([find_bundle(words, args.model_store) for words in args.bundles])]
    newest = {path.parts[-3:-1]: path for path in newest_bundles(args.model_store / "bundles")}
    symbols = {symbol for _, symbol in newest}
    both = sorted(symbol for symbol in symbols if all((generation, symbol) in newest for generation in GENERATIONS))
    missing = [symbol for symbol in args.symbols or () if symbol not in both]
    if missing or not both:
        raise BundleError(
            f"{args.model_store / 'bundles'}: expected a {' and a '.join(GENERATIONS)} of "
            f"{', '.join(missing) or 'at least one symbol'}, got both of {', '.join(both) or 'none'}"
        )
    wanted = args.symbols or [symbol for symbol in both if symbol in source.files()]
    if not wanted:
        raise ConfigError(
            f"{source.folder}: expected {source.kind} of {', '.join(both)}, got {', '.join(source.files())}"
        )
    left_out = [symbol for symbol in both if symbol not in wanted]
    if left_out and not args.symbols:
        screen.say(f"left out, without {source.kind}: {', '.join(left_out)}")
    v6, v8 = GENERATIONS
    return [(load_bundle(newest[v6, symbol]), load_bundle(newest[v8, symbol])) for symbol in dict.fromkeys(wanted)]


def symbols_of(root: Path) -> set[str]:
    """Those that a store has any model of."""
    from signalserve.bundle import find_bundles

    return {folder.parts[-2] for folder in find_bundles(root)}


def in_order(bundles: "Sequence[Bundle]") -> "tuple[Bundle, Bundle]":
    """V6-fixed first, however they were named."""
    first, second = sorted(bundles, key=lambda bundle: bundle.manifest.generation)
    return first, second


def prepare(pair: "tuple[Bundle, Bundle]", source: "Source", args: argparse.Namespace) -> "Contest":
    from export.contest import prepare

    taught = labels_of(args, pair[0].manifest), labels_of(args, pair[1].manifest)
    return prepare(source, pair, taught, fit_share=args.fit_share, assume_unseen=args.assume_unseen)


def compete(contest: "Contest", screen: Screen) -> "tuple[Comparison, dict[str, Cost]]":
    """Run both models over the windows, time them, and fit the pools."""
    import numpy as np

    from export.comparison import compete, measure_costs
    from export.forward import BATCH, forward
    from export.windows import windows_ending_at
    from signalserve.engine import create_engine

    models = list(zip(contest.bundles, contest.series, strict=True))
    engines = [create_engine(bundle, engine="onnxruntime", device="auto") for bundle in contest.bundles]
    ends, outputs = contest.ends, []
    with screen.progress(contest.symbol, 2 * len(ends)) as advance:
        for (bundle, series), engine in zip(models, engines, strict=True):
            outputs.append(forward(bundle, series.rows, ends, progress=advance, engine=engine))
    windows = [
        windows_ending_at(series.rows, contest.test.ends[:BATCH], bundle.manifest.window).astype(np.float32)
        for bundle, series in models
    ]
    costs = measure_costs(engines, windows)
    return compete(contest, (outputs[0], outputs[1])), {
        bundle.manifest.generation: cost for bundle, cost in zip(contest.bundles, costs, strict=True)
    }


def judge_all(
    competed: "Sequence[tuple[Comparison, dict[str, Cost]]]", pool: str, args: argparse.Namespace, screen: Screen
) -> "tuple[list[SymbolResult], Overall | None]":
    """Score and decide each symbol, and all together where there are several."""
    from export.comparison_report import Overall, SymbolResult
    from export.decision import candidates_of, decide
    from export.paired import judge, together

    def decided(judged: "Judged", *comparisons: "Comparison") -> "Decision":
        return decide(judged, candidates_of(comparisons, pool), urgent=args.urgent, accuracy=args.accuracy)

    results = []
    with screen.progress("scores and intervals", len(competed) + (len(competed) > 1)) as advance:
        for comparison, costs in competed:
            judged = judge(comparison.stream, comparison.contest.symbol, pool, args.threshold)
            results.append(SymbolResult(comparison, judged, decided(judged, comparison), costs))
            advance(1)
        if len(competed) == 1:
            return results, None
        everything = [comparison for comparison, _ in competed]
        judged = judge(together([comparison.stream for comparison in everything]), ALL, pool, args.threshold)
        advance(1)
    return results, Overall(judged, decided(judged, *everything))
