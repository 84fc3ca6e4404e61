"""How fast the whole service is, beside a plain FastAPI service of the same models and beside the models alone.

    python bench/serve.py [--model-store model_store] [--rounds 5] [--seconds 3] [--json FILE] [--quick]

All are measured in the same run, in turn, round after round. Every ratio is taken within a round; what is reported is
the median over the rounds and the range. What the figures mean, and what they do not: bench/README.md.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from figures import Key, Results
from in_process import InProcess
from load import LoadError, measure
from machine import Machine
from memory import Memory, memory_of
from programs import ProgramError
from rich.console import Console
from servers import AGREEMENT, PEERS, Server, Signalserve, largest_difference
from subject import Subject, make_subject, write_settings
from tables import figures_table, memory_table, ratios_table

CONNECTIONS = (1, 16)
ALONE, ANSWER = "models alone", "Service.answer"
WITHOUT_SERVER = (ALONE, ANSWER)
WANTED = 2.0  # × the peer's p50 at one connection, until an issue sets a target against the quickest server


def main() -> int:
    args = _arguments()
    console = Console(stderr=True, highlight=False)
    machine = Machine.here()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder, ExitStack() as stack:
        console.print("starting")
        settings = write_settings(Path(folder) / "serving.yaml", args.settings)
        service = stack.enter_context(Signalserve(args.model_store, settings))
        service.wait()
        subject = make_subject(args.model_store, Path(folder), args.symbol)
        servers: list[Server] = [service, *(stack.enter_context(peer(subject)) for peer in PEERS)]
        for server in servers:
            server.wait()
        require_agreement(servers, subject)
        in_process = stack.enter_context(InProcess(subject, settings))
        console.print(f"warming up, {args.warm_up:g} s a server and form")
        measure_round(Results(), servers, subject, args.warm_up, CONNECTIONS[-1:])
        for number in range(args.rounds):
            console.print(f"round {number + 1} of {args.rounds}")
            # every other round in the opposite order, so that drift favours nobody
            measure_round(results, servers[:: -1 if number % 2 else 1], subject, args.seconds, CONNECTIONS)
            measure_without_server(results, in_process, subject, args.seconds)
        memories = [memory for server in servers for memory in memory_of(server)]
    _print(Console(highlight=False, width=max(100, console.width)), machine, servers, results, memories)
    if args.json:
        content = {
            "machine": asdict(machine),
            "options": {"rounds": args.rounds, "seconds": args.seconds, "symbol": args.symbol},
            "notes": {server.name: server.note for server in servers},
            "results": results.as_json(),
            "memory": [asdict(memory) for memory in memories],
        }
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    faults = list(results.faults())
    for fault in faults:
        console.print(f"[red]{fault}")
    return 1 if faults else 0


def require_agreement(servers: Sequence[Server], subject: Subject) -> None:
    """Raises ProgramError where two servers or forms give different probabilities: they would not do the same work."""
    first: tuple[str, Mapping[str, Any]] | None = None
    for server in servers:
        for form in subject.forms.values():
            if server.request(form) is None:
                continue
            name, answer = f"{server.name}, {form.name}", server.answer(form)
            if answer is None:
                raise ProgramError(f"{name}: no answer\n{server.program.log_tail()}")
            first = first or (name, answer)
            difference = largest_difference(answer, first[1])
            if difference > AGREEMENT:
                raise ProgramError(f"{name} differs by {difference:.2g} from {first[0]}")


def measure_round(
    results: Results, servers: Sequence[Server], subject: Subject, seconds: float, connections: Sequence[int]
) -> None:
    """Every form at every number of connections, the servers one after the other."""
    for form in subject.forms.values():
        for count in connections:
            for server in servers:
                request = server.request(form)
                if request is not None:
                    before = server.program.cpu_seconds()
                    summary = measure(request, connections=count, seconds=seconds, warm_up=min(0.3, seconds / 4))
                    took_ms = (server.program.cpu_seconds() - before) * 1000
                    results.add(Key(server.name, form.name, count), replace(summary, cpu_ms=took_ms / summary.answered))


def measure_without_server(results: Results, in_process: InProcess, subject: Subject, seconds: float) -> None:
    one, many = CONNECTIONS
    alone = {one: in_process.measure(None, seconds), many: in_process.measure_together(None, seconds)}
    for form in subject.forms.values():
        for count, summary in alone.items():
            results.add(Key(ALONE, form.name, count), summary)
        results.add(Key(ANSWER, form.name, one), in_process.measure(form, seconds))
        results.add(Key(ANSWER, form.name, many), in_process.measure_together(form, seconds))


def _print(
    console: Console, machine: Machine, servers: Sequence[Server], results: Results, memories: Sequence[Memory]
) -> None:
    service, *peers = servers
    console.print(str(machine))
    for server in servers:
        if server.note:
            console.print(f"{server.name}: {server.note}")
    console.print(f"the load generator took up to {results.generator_share():.0%} of one core\n")
    for connections in CONNECTIONS:
        console.print(figures_table(results, connections, WITHOUT_SERVER))
        console.print(ratios_table(results, service.name, connections, WITHOUT_SERVER))
    console.print(memory_table(memories))
    for peer in peers:
        for form in dict.fromkeys(key.form for key in results.rounds if key.who == peer.name):
            ratio = results.ratio(Key(service.name, form, 1), Key(peer.name, form, 1), "p50_us")
            verdict = "within" if ratio.median <= WANTED else "NOT within"
            console.print(f"{form} at one connection: p50 {ratio} × {peer.name}'s, {verdict} {WANTED:g} ×")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--settings", type=Path, default=Path("serving.yaml"), help="who answers is set by the bench")
    parser.add_argument("--symbol", default="BTC-USD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="each measurement (default %(default)s)")
    parser.add_argument("--warm-up", type=float, default=2.0, help="of each server and form (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, each round by itself")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s: to see that it works, no figures")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.warm_up = 2, 0.5, 0.5
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LoadError, ProgramError) as error:
        sys.exit(f"bench/serve.py: {error}")
