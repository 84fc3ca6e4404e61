"""`python -m monitoring drill`: plant one fault after another in the running service, and see which alerts fire.

Bars are replayed at high speed through the real service, with a real Prometheus and the project's rules beside it. Exit
code 1: the alerts of a fault are not exactly those that are expected.
"""

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from monitoring.drill.run import Result

REPORT: Final = Path(__file__).resolve().parents[1] / "drill.md"
STORE: Final = Path("model_store")
SPEED: Final = 240.0
"""Times faster than the clock: a scrape a second sees every fourth minute."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("drill", help="plant faults and see which alerts fire", description=__doc__)
    parser.add_argument(
        "--bars", type=Path, metavar="DIR", help="folder of candles; generated ones where it is missing"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a clean stretch of 200 minutes instead of a day")
    parser.add_argument("--speed", type=float, default=SPEED, help="times faster than the clock (default %(default)g)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the report there (default monitoring/drill.md, if all is run)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from monitoring.drill.faults import FAULTS
    from monitoring.drill.feed import DAY
    from monitoring.drill.models import prepare
    from monitoring.drill.run import Drill

    unknown = set(args.only or ()) - {fault.name for fault in FAULTS}
    if unknown:
        print(f"--only: expected {', '.join(fault.name for fault in FAULTS)}, got {', '.join(sorted(unknown))}")
        return 2
    chosen = [fault for fault in FAULTS if not args.only or fault.name in args.only]
    bars = args.bars if args.bars and args.bars.is_dir() else None
    out = args.out or (REPORT if not (args.only or args.quick) else None)
    clean = 200 if args.quick else DAY
    console = Console(stderr=True, highlight=False)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="drill-") as temporary, Progress(console=console) as progress:
        folder = Path(temporary)
        store, feeds = prepare(STORE, folder / "store", bars, clean + DAY, console.print)
        drill = Drill(folder, store, feeds, clean, args.speed)
        task = progress.add_task("clean day", total=clean)
        drill.prefill(lambda n: progress.advance(task, n))
        for fault in chosen:
            task = progress.add_task(fault.name, total=fault.minutes)
            result = drill.run(fault, lambda n, task=task: progress.advance(task, n))  # type: ignore[misc]
            progress.update(task, completed=fault.minutes)
            results.append(result)
            console.print(f"{fault.name}: {_short(result)}")
            if out:
                out.write_text(report(results, bars))  # after each: a drill takes half an hour, and may be ended
    print(report(results, bars))
    return 0 if all(result.is_as_expected for result in results) else 1


def report(results: "list[Result]", bars: Path | None) -> str:
    from monitoring.drill.faults import BASELINE
    from monitoring.drill.table import table, unseen

    right = sum(result.is_as_expected for result in results)
    speeds = [result.speed for result in results]
    kind = "generated bars" if bars is None else "real bars that the references never saw"
    baseline = ", ".join(f"{name} ({why})" for name, why in BASELINE.items())
    return (
        f"# Drill of {datetime.now(UTC):%Y-%m-%d}\n\n"
        f"Written by `make drill`: {kind}, replayed {min(speeds):.0f} to {max(speeds):.0f} times faster than the "
        f"clock. {right} of {len(results)} faults raised exactly the alerts that were expected. Predictions are of all "
        f"symbols together, a minute is one of each. Alerts are looked for every scrape, each second: about four "
        f"minutes of the replay. Not shown: {baseline}.\n\n{table(results)}\n## What can't be seen\n\n{unseen(results)}"
    )


def _short(result: "Result") -> str:
    fired = ", ".join(f"{one.name} {one.minutes}" for one in result.fired) or "nothing fired"
    words = "as expected" if result.is_as_expected else f"missing {result.missing}, unexpected {result.unexpected}"
    pace = "" if result.kept_pace else f"; THE MACHINE WAS BUSY, speed {result.speed:.0f} of {result.wanted_speed:.0f}"
    return f"{words}: {fired}{pace}"
