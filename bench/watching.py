"""What an answer costs more where drift and live quality are computed and a Prometheus scrapes and evaluates its rules.

    python bench/watching.py [--model-store model_store] [--rounds 5] [--seconds 30] [--json FILE] [--quick]

Two services on journals whose windows of drift are full: one as it is shipped, beside a real Prometheus with the
project's rules, and one whose statistics never come due, beside none. One is asked at a time, in turn, round after
round, while the other one's processes are suspended. What the figures mean: bench/README.md.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import psutil
from cost import APART_S
from figures import FIGURES, Figure, Key, Results, Spread
from full_windows import FIRST_S, KEEP, asked_every_second, not_full, page_of, prefill, subjects_of, wait_until_full
from load import LoadError, measure
from machine import Machine
from memory import MB
from programs import Program, ProgramError
from prometheus import Prometheus
from rich.console import Console
from rich.table import Table
from servers import Signalserve
from subject import Subject, write_settings
from tables import figures_table

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.errors import OperatorError

WANTED: Final = 1.10  # × the p50 of the service that nobody watches

OFF, ON = "unwatched", "watched"
OPTIONS: Final = {OFF: ("--statistics-every", "1e9"), ON: ("--statistics-every", "10")}
FORM: Final = "npy, pool"
TURN_S: Final = 30
"""Of a turn, or a multiple: what is due every 10 s and every 15 s, and came due while a service was suspended, is in
it as often as in earnest."""


@dataclass(frozen=True)
class System:
    """What is measured as one."""

    service: Signalserve
    prometheus: Prometheus | None = None

    @property
    def programs(self) -> Sequence[Program]:
        return [self.service.program, *([self.prometheus.program] if self.prometheus else [])]

    def background(self) -> Mapping[str, psutil.Process]:
        """What does the watching."""
        found = {"watcher": self.service.process("watcher")}
        return found | ({self.prometheus.name: self.prometheus.process()} if self.prometheus else {})


@dataclass(frozen=True)
class Use:
    """Of one process in one turn. core: share of one.  rss_mb, pss_mb: at its end."""

    core: float
    rss_mb: float
    pss_mb: float


@dataclass
class Measured:
    """uses: (system, process) -> one a turn."""

    results: Results = field(default_factory=Results)
    uses: dict[tuple[str, str], list[Use]] = field(default_factory=dict)

    def ratio(self, figure: Figure = "p50_us") -> Spread:
        return self.results.ratio(_key(ON), _key(OFF), figure)

    def is_within(self) -> bool:
        return self.ratio().median <= WANTED

    def as_json(self) -> dict[str, Any]:
        uses = [
            {"who": who, "process": process, "turns": [asdict(use) for use in turns]}
            for (who, process), turns in self.uses.items()
        ]
        return {"results": self.results.as_json(), "uses": uses}


def main() -> int:
    args = _arguments()
    console = Console(stderr=True, highlight=False)
    machine = Machine.here()
    measured = Measured()
    bundles = [load_bundle(path) for path in newest_bundles(args.model_store / "bundles")]
    with tempfile.TemporaryDirectory(prefix="bench-watching-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        prefill(folder / "journal", bundles, console)
        console.print("starting")
        systems = {name: stack.enter_context(started(name, args.model_store, folder)) for name in (ON, OFF)}
        subjects = subjects_of(args.model_store, bundles, folder)
        moments = count(FIRST_S, APART_S)
        console.print("warming up")
        measure_round(Measured(), systems, subjects, moments, min(args.seconds, 5.0))
        for number in range(args.rounds):
            console.print(f"round {number + 1} of {args.rounds}")
            # every other round in the opposite order, so that drift favours nobody
            order = dict(reversed(systems.items())) if number % 2 else systems
            measure_round(measured, order, subjects, moments, args.seconds)
        faults = [*measured.results.faults(), *faults_of(systems[ON])]
    _print(Console(highlight=False, width=max(100, console.width)), machine, measured)
    if args.json:
        content = {
            "machine": asdict(machine),
            "options": {"rounds": args.rounds, "seconds": args.seconds},
            **measured.as_json(),
            "faults": faults,
        }
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    for fault in faults:
        console.print(f"[red]{fault}")
    return 0 if not faults and measured.is_within() else 1


@contextmanager
def started(name: str, model_store: Path, folder: Path) -> Iterator[System]:
    """The service, on a copy of the journal in `folder`, and what watches it; ready, its windows full."""
    own = folder / name
    shutil.copytree(folder / "journal", own / "journal")
    settings = write_settings(own / "serving.yaml")
    with ExitStack() as stack:
        options = (*KEEP, *OPTIONS[name])
        service = stack.enter_context(Signalserve(model_store, settings, name, options=options))
        service.wait()
        wait_until_full(service)
        if name == OFF:
            yield System(service)
            return
        prometheus = stack.enter_context(Prometheus(service, own / "prometheus"))
        prometheus.wait()
        yield System(service, prometheus)


def measure_round(
    measured: Measured,
    systems: Mapping[str, System],
    subjects: Mapping[str, Subject],
    moments: Iterator[int],
    seconds: float,
) -> None:
    """A turn of each system, in the order of `systems`. moments: the as_of to begin with, s."""
    for name, system in systems.items():
        with ExitStack() as stack:
            for other in systems.values():
                if other is not system:
                    for program in other.programs:
                        stack.enter_context(program.suspended())
            take_turn(measured, name, system, subjects, next(moments), seconds)


def take_turn(
    measured: Measured, name: str, system: System, subjects: Mapping[str, Subject], moment: int, seconds: float
) -> None:
    """One symbol is asked as fast as it is answered, the others once a second: every arm has something new."""
    service = system.service
    first, *others = (
        replace(service.request(subject.forms["npy"]), as_of=moment) for _, subject in sorted(subjects.items())
    )
    background = system.background()
    before, cpu_before = cpu_seconds(system), {what: seconds_of(process) for what, process in background.items()}
    began = time.monotonic()
    with asked_every_second(others):
        summary = measure(first, connections=1, seconds=seconds, warm_up=min(0.3, seconds / 4))
    service.settle()
    took = time.monotonic() - began
    for what, process in background.items():
        size = process.memory_full_info()
        use = Use((seconds_of(process) - cpu_before[what]) / took, size.rss / MB, size.pss / MB)
        measured.uses.setdefault((name, what), []).append(use)
    cpu_ms = (cpu_seconds(system) - before) * 1000 / summary.answered
    measured.results.add(_key(name), replace(summary, cpu_ms=cpu_ms))


def cpu_seconds(system: System) -> float:
    return sum(program.cpu_seconds() for program in system.programs)


def seconds_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def faults_of(system: System) -> list[str]:
    """Why the watched one was not watched, in words."""
    assert system.prometheus is not None
    return [*not_full(page_of(system.service)), *system.prometheus.faults()]


def _key(name: str) -> Key:
    return Key(name, FORM, 1)


def _print(console: Console, machine: Machine, measured: Measured) -> None:
    console.print(str(machine))
    console.print(f"the load generator took up to {measured.results.generator_share():.0%} of one core\n")
    console.print(figures_table(measured.results, 1, ()))
    table = Table("who", "÷", title="Ratios: median over the rounds (range)")
    for name in ("p50", "p99", "requests/s", "CPU"):
        table.add_column(name, justify="right")
    table.add_row(ON, OFF, *(str(measured.ratio(figure)) for figure in FIGURES))
    console.print(table)
    table = Table("who", "process", title="Under the load: median over the turns")
    for name in ("of a core", "RSS MB", "PSS MB"):
        table.add_column(name, justify="right")
    for (who, process), uses in measured.uses.items():
        core, *sizes = (statistics.median(getattr(use, name) for use in uses) for name in ("core", "rss_mb", "pss_mb"))
        table.add_row(who, process, f"{core:.1%}", *(f"{size:.0f}" for size in sizes))
    console.print(table)
    verdict = "within" if measured.is_within() else "NOT within"
    console.print(f"{FORM} at one connection: p50 {measured.ratio()} × unwatched, {verdict} {WANTED:.2f} ×")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=float(TURN_S), help="of a turn, a multiple of 30 (default %(default)g)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, each round by itself")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 5 s: to see that it works, no figures")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 2, 5.0
    elif args.seconds <= 0 or args.seconds % TURN_S:
        parser.error(
            f"--seconds: expected a multiple of {TURN_S}, so that what comes due is measured, got {args.seconds:g}"
        )
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LoadError, OperatorError, ProgramError) as error:
        sys.exit(f"bench/watching.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
