"""How long from the start to the first correct prediction, cold and again, and what is left after the stop.

    python bench/startup.py [--model-store model_store] [--rounds 3] [--json FILE]

cold: a model store that holds bundles only, so that the archives are built first.  again: the same store once more.
Beside both, in the same round, the plain FastAPI service of the same models. Correct is, for the service, the bundle's
golden answer, and for the peer the service's answer. The files are in the machine's cache: what a disk adds is not
measured.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from figures import Spread
from machine import Machine
from programs import ProgramError, is_open
from rich.console import Console
from rich.table import Table
from servers import AGREEMENT, START_S, FastApi, Server, Signalserve, largest_difference
from subject import Subject, make_subject, write_settings

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.watcher.probes import Probe, make_probes

COLD, AGAIN, PEER = "signalserve, cold", "signalserve, again", "FastAPI"


@dataclass(frozen=True)
class Start:
    """Seconds. listens_s: from the start until the port was open; first_s: until one answer was right; all_s: until
    every endpoint was right for every symbol (the peer has one of each).  stop_s: from SIGTERM to the end.
    """

    listens_s: float
    first_s: float
    all_s: float
    stop_s: float
    remains: list[str]


def main() -> int:
    args = _arguments()
    console = Console(stderr=True, highlight=False)
    machine = Machine.here()
    starts: dict[str, list[Start]] = {COLD: [], AGAIN: [], PEER: []}
    for number in range(args.rounds):
        console.print(f"round {number + 1} of {args.rounds}")
        with tempfile.TemporaryDirectory(prefix="bench-startup-") as folder:
            for who, start in measure_round(args.model_store, Path(folder), args.symbol).items():
                starts[who].append(start)
    _print(Console(highlight=False), machine, starts)
    if args.json:
        content = {"machine": asdict(machine), "starts": {who: [asdict(s) for s in own] for who, own in starts.items()}}
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return 1 if any(start.remains for who in (COLD, AGAIN) for start in starts[who]) else 0


def measure_round(model_store: Path, folder: Path, symbol: str) -> Mapping[str, Start]:
    """A cold start, a second one and the peer's, one after the other: each has the machine to itself."""
    store = folder / "store"
    shutil.copytree(model_store / "bundles", store / "bundles")
    settings = write_settings(folder / "serving.yaml")
    manifests = [load_bundle(path).manifest for path in newest_bundles(store / "bundles")]
    probe = next(p for p in make_probes(manifests) if p.endpoint == "ensemble" and p.symbol == symbol)
    starts = {}
    for who in (COLD, AGAIN):
        with Signalserve(store, settings) as service:
            listens = service.program.wait_until(lambda: is_open(service.ports[0]), START_S)
            first = service.program.wait_until(lambda: _is_golden(service, probe), START_S)
            every = service.wait()
            subject = make_subject(store, folder, symbol)
            right = service.answer(subject.forms["npy"])
            starts[who] = _stop(service, listens, first, every)
    with FastApi(subject) as peer:
        listens = peer.program.wait_until(lambda: is_open(peer.ports[0]), START_S)
        first = peer.program.wait_until(lambda: _agrees(peer, subject, right), START_S)
        starts[PEER] = _stop(peer, listens, first, first)
    return starts


def _stop(server: Server, listens_s: float, first_s: float, all_s: float) -> Start:
    stopped = server.program.stop(server.ports)
    return Start(listens_s, first_s, all_s, stopped.seconds, stopped.remains)


def _is_golden(service: Signalserve, probe: Probe) -> bool:
    """Asked as a caller asks, without the probes' secret. Before its workers are up, TorchServe makes it wait."""
    try:
        response = httpx.post(
            f"{service.url}/predictions/{probe.endpoint}",
            content=probe.body,
            headers={"content-type": "application/json"},
            timeout=START_S,
            trust_env=False,
        )
    except httpx.HTTPError:
        return False
    return response.status_code == 200 and probe.fault_of(response.json()) is None


def _agrees(peer: Server, subject: Subject, right: Mapping[str, Any] | None) -> bool:
    answer = peer.answer(subject.forms["npy"])
    return answer is not None and right is not None and largest_difference(answer, right) <= AGREEMENT


def _print(console: Console, machine: Machine, starts: Mapping[str, Sequence[Start]]) -> None:
    console.print(f"{machine}\n")
    table = Table("who", title="Seconds: median over the rounds (range)")
    columns = {"listens": "listens_s", "first right answer": "first_s", "all right": "all_s", "stop": "stop_s"}
    for name in columns:
        table.add_column(name, justify="right")
    for who, own in starts.items():
        table.add_row(who, *(str(Spread.of([getattr(s, field) for s in own])) for field in columns.values()))
    console.print(table)
    for who, against in ((AGAIN, PEER), (COLD, AGAIN)):
        pairs = zip(starts[who], starts[against], strict=True)
        console.print(f"first right answer, {who} ÷ {against}: {Spread.of([a.first_s / b.first_s for a, b in pairs])}")
    for who, own in starts.items():
        remains = sorted({thing for start in own for thing in start.remains})
        console.print(f"{who}: after the stop {', '.join(remains) or 'no process, no socket, no port, no file'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="its bundles are copied")
    parser.add_argument("--symbol", default="BTC-USD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, each round by itself")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ProgramError as error:
        sys.exit(f"bench/startup.py: {error}")
