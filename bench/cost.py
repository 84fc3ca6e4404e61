"""What an answer costs more where everything is recorded, and where the other arms are scored in the background too.

    python bench/cost.py [--model-store model_store] [--rounds 10] [--seconds 1.5] [--json FILE] [--quick]

One window of npy at one connection, of a later minute each time, since a repeat would not be recorded like the first.
Three services run at once, of which one is asked at a time, in turn, round after round. Every ratio is taken within a
round; what is reported is the median over the rounds and the range. What the figures mean: bench/README.md.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import yaml
from figures import FIGURES, Figure, Key, Results, Spread
from load import LoadError, measure
from machine import Machine
from programs import ROOT, ProgramError
from rich.console import Console
from rich.table import Table
from servers import Signalserve
from subject import Subject, make_subject
from tables import figures_table

from signalserve.guardrails import Guardrails
from signalserve.journal import LATCHES
from signalserve.models import load_models
from signalserve.settings import GENERATIONS, Mode, load_settings

WANTED: Final = 1.10  # × the p50 of the service that records nothing

OFF, ON, ALL_ARMS = "unrecorded", "recorded", "all arms"

FIRST_S: Final = 946_684_800
"""2000-01-01, the as_of of the first request."""
APART_S: Final = 100_000 * 60
"""Between the first as_of of one measurement and of the next: more minutes than any has requests."""
OBSERVATIONS: Final = 2_000


@dataclass(frozen=True)
class Case:
    """A symbol of its own, so that one service can be asked for both.  services: that are compared."""

    name: str
    symbol: str
    mode: Mode
    services: Sequence[str]

    def key(self, service: str) -> Key:
        return Key(service, self.name, 1)


POOL = Case("npy, pool", "BTC-USD", "ensemble", (OFF, ON))
ONE_MODEL = Case("npy, v8", "ETH-USD", "v8", (OFF, ON, ALL_ARMS))
"""The pool runs every model for its answer, and leaves nothing to score beside it; V8 alone leaves two arms."""

COMPARED: Final = (
    (POOL, ON, OFF),
    (ONE_MODEL, ON, OFF),
    (ONE_MODEL, ALL_ARMS, OFF),
    (ONE_MODEL, ALL_ARMS, ON),
)


def main() -> int:
    args = _arguments()
    console = Console(stderr=True, highlight=False)
    machine = Machine.here()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bench-cost-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        console.print("starting")
        services = {}
        for name in (OFF, ON, ALL_ARMS):  # one by one: the first may have to build the archives
            settings = write_settings(folder / name, args.settings, score_all_arms=name == ALL_ARMS)
            services[name] = stack.enter_context(Signalserve(args.model_store, settings, name, records=name != OFF))
            services[name].wait()
        subjects = {case: make_subject(args.model_store, folder / case.mode, case.symbol) for case in (POOL, ONE_MODEL)}
        guardrails_us = measure_guardrails(subjects[POOL], folder)
        moments = count(FIRST_S, APART_S)
        console.print("warming up")
        measure_round(Results(), services, subjects, moments, args.seconds)
        for number in range(args.rounds):
            console.print(f"round {number + 1} of {args.rounds}")
            # every other round in the opposite order, so that drift favours nobody
            order = dict(reversed(services.items())) if number % 2 else services
            measure_round(results, order, subjects, moments, args.seconds)
        shadows = shadows_of(services[ALL_ARMS])
    _print(Console(highlight=False, width=max(100, console.width)), machine, results, shadows, guardrails_us)
    if args.json:
        content = {
            "machine": asdict(machine),
            "options": {"rounds": args.rounds, "seconds": args.seconds},
            "results": results.as_json(),
            "shadows": shadows,
            "guardrails_us": guardrails_us,
        }
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    faults = list(results.faults())
    for fault in faults:
        console.print(f"[red]{fault}")
    return 0 if not faults and is_within(results) else 1


def write_settings(folder: Path, source: Path, *, score_all_arms: bool) -> Path:
    """The operator's settings, but for who answers each case's symbol. Its folder is the service's own."""
    settings = yaml.safe_load(source.read_text())
    for case in (POOL, ONE_MODEL):
        settings.setdefault("symbols", {}).setdefault(case.symbol, {})["mode"] = case.mode
    settings["score_all_arms"] = score_all_arms
    folder.mkdir()
    path = folder / "serving.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def measure_round(
    results: Results,
    services: Mapping[str, Signalserve],
    subjects: Mapping[Case, Subject],
    moments: Iterator[int],
    seconds: float,
) -> None:
    """Every case, its services one after the other in the order of `services`. moments: the as_of to begin with, s."""
    for case, subject in subjects.items():
        for name, service in services.items():
            if name in case.services:
                request = replace(service.request(subject.forms["npy"]), as_of=next(moments))
                before = service.program.cpu_seconds()
                summary = measure(request, connections=1, seconds=seconds, warm_up=min(0.3, seconds / 4))
                service.settle()  # its watcher's work is its own, and must not slow down the next
                took_ms = (service.program.cpu_seconds() - before) * 1000
                results.add(case.key(name), replace(summary, cpu_ms=took_ms / summary.answered))


def shadows_of(service: Signalserve) -> Mapping[str, int]:
    """What became of the windows whose other arms were to be scored: recorded, dropped or failed -> how many."""
    text = httpx.get(f"{service.watcher_url}/metrics", trust_env=False).text
    counts = {"recorded": 0, "dropped": 0, "failed": 0}
    for line in text.splitlines():
        if line.startswith('signalserve_shadows_total{endpoint="ensemble"'):
            name, _, value = line.rpartition(" ")
            counts[name.partition('result="')[2].rstrip('"}')] += int(float(value))
    return counts


def measure_guardrails(subject: Subject, folder: Path) -> float:
    """What the guardrails of one answer by the pool take in process, µs: they are in every figure, since nothing
    switches them off.

    As `Scorer` asks them where all is well: which models of the symbol are out, and what each model's answer showed.
    """
    models, _ = load_models(
        subject.archive, GENERATIONS, load_settings(ROOT / "serving.yaml"), engine="onnxruntime", device="cpu"
    )
    guardrails = Guardrails("ensemble", models, shared=folder, latches=folder / LATCHES)
    os.utime(folder / LATCHES, (0, 0))  # one that was changed a moment ago is read at every look
    symbol = subject.manifest.symbol
    began = time.perf_counter()
    for _ in range(OBSERVATIONS):
        guardrails.out(symbol)
        for generation in models[symbol]:
            guardrails.observe(symbol, generation, frozenset(), None)
    return (time.perf_counter() - began) / OBSERVATIONS * 1e6


def ratio(results: Results, case: Case, service: str, against: str, figure: Figure = "p50_us") -> Spread:
    return results.ratio(case.key(service), case.key(against), figure)


def is_within(results: Results) -> bool:
    return ratio(results, POOL, ON, OFF).median <= WANTED


def _print(
    console: Console, machine: Machine, results: Results, shadows: Mapping[str, int], guardrails_us: float
) -> None:
    console.print(str(machine))
    console.print(f"the load generator took up to {results.generator_share():.0%} of one core\n")
    console.print(figures_table(results, 1, ()))
    table = Table("request", "who", "÷", title="Ratios: median over the rounds (range)")
    for name in ("p50", "p99", "requests/s", "CPU"):
        table.add_column(name, justify="right")
    for case, who, against in COMPARED:
        cells = (str(ratio(results, case, who, against, figure)) for figure in FIGURES)
        table.add_row(case.name, who, against, *cells)
    console.print(table)
    console.print(
        f"guardrails, which nothing switches off, are in every figure: {guardrails_us:.0f} µs of an answer by the pool"
    )
    console.print(
        "windows whose other arms were to be scored: " + ", ".join(f"{n:,} {how}" for how, n in shadows.items())
    )
    verdict = "within" if is_within(results) else "NOT within"
    p50 = ratio(results, POOL, ON, OFF)
    console.print(f"{POOL.name} at one connection: p50 {p50} × with nothing recorded, {verdict} {WANTED:.2f} ×")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--settings", type=Path, default=Path("serving.yaml"), help="who answers is set by the bench")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.5, help="each measurement (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, each round by itself")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s: to see that it works, no figures")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 2, 0.5
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LoadError, ProgramError) as error:
        sys.exit(f"bench/cost.py: {error}")
