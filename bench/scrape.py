"""How long a scrape of the watcher takes whose windows of drift are full: at the start, and after 1,000 restarts.

    python bench/scrape.py [--model-store model_store] [--restarts 1000] [--scrapes 200] [--json FILE] [--quick]

The service and its watcher are the real ones, asked over HTTP. The workers that restart are short-lived processes with
the real workers' metrics (`short_lives.py`), several at once: a worker of TorchServe needs seconds to start. After each
of these waves the watcher is scraped, which folds what has ended. What the figures mean: bench/README.md.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

import httpx
from full_windows import FIRST_S, KEEP, asked_every_second, prefill, subjects_of, values_of, wait_until_full
from load import LoadError, percentile
from machine import Machine
from programs import ROOT, ProgramError
from rich.console import Console
from rich.progress import track
from rich.table import Table
from servers import Signalserve
from subject import write_settings

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.environment import METRICS_VARIABLE
from signalserve.errors import OperatorError

MOST_MS: Final = 50.0
MOST_SERIES: Final = 3_000

AT_ONCE: Final = 8
"""Workers that end between two scrapes: of the four, each twice."""
PAUSE_S: Final = 0.1


@dataclass(frozen=True)
class Scrapes:
    """when: in words.  cpu_ms: of the watcher's process while one is answered."""

    when: str
    times: int
    median_ms: float
    p99_ms: float
    most_ms: float
    cpu_ms: float

    @property
    def is_within(self) -> bool:
        return self.p99_ms <= MOST_MS


@dataclass(frozen=True)
class Measured:
    """series: on the page at the end.  restarts: of workers that were asked for.  counted: starts of workers that the
    page has more at the end.  files: that the restarts left in the workers' folder.
    """

    scrapes: Sequence[Scrapes]
    series: int
    restarts: int
    counted: int
    files: int

    def missed(self) -> list[str]:
        """What is not as it should be, in words."""
        slow = [f"{one.when}: {one.p99_ms:.0f} ms" for one in self.scrapes if not one.is_within]
        many = [f"{self.series:,} series"] if self.series > MOST_SERIES else []
        lost = [f"{self.counted:,} of {self.restarts:,} starts counted"] if self.counted != self.restarts else []
        # counters and histograms, a file each
        left = [f"{self.files:,} files left of workers that have ended"] if self.files > 2 else []
        return slow + many + lost + left


def main() -> int:
    args = _arguments()
    machine = Machine.here()
    measured = measure(args.model_store, args.restarts, args.scrapes, Console(stderr=True, highlight=False))
    _print(Console(highlight=False, width=120), machine, measured)
    if args.json:
        content = {"machine": asdict(machine), **asdict(measured), "missed": measured.missed()}
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return 1 if measured.missed() else 0


def measure(model_store: Path, restarts: int, scrapes: int, console: Console) -> Measured:
    """restarts: of workers.  scrapes: before them, and as many after."""
    bundles = [load_bundle(path) for path in newest_bundles(model_store / "bundles")]
    served: dict[str, list[str]] = {}
    for bundle in bundles:
        served.setdefault(bundle.manifest.symbol, []).append(bundle.manifest.generation)
    with tempfile.TemporaryDirectory(prefix="bench-scrape-") as temporary:
        folder = Path(temporary)
        settings = write_settings(folder / "serving.yaml")
        prefill(folder / "journal", bundles, console)
        console.print("starting")
        with Signalserve(model_store, settings, options=KEEP) as service:
            service.wait()
            wait_until_full(service)
            subjects = subjects_of(model_store, bundles, folder)
            requests = [replace(service.request(one.forms["npy"]), as_of=FIRST_S) for one in subjects.values()]
            with asked_every_second(requests), Scraper(service) as scraper:
                return watch(scraper, served, restarts, scrapes, console)


def watch(
    scraper: "Scraper", served: Mapping[str, Sequence[str]], restarts: int, scrapes: int, console: Console
) -> Measured:
    """All scrapes, of a watcher whose windows are full. served: symbol -> generations."""
    started, files = scraper.worker_starts(), len(scraper.files())
    console.print("scraping")
    before = scraper.scrape("at the start", pauses(scrapes))
    with short_lives(scraper.folder, served) as wave:
        waves = track(range(0, restarts, AT_ONCE), description="workers restart", console=console)
        ended = (wave(min(AT_ONCE, restarts - done)) for done in waves)
        folding = scraper.scrape(f"right after {AT_ONCE} workers have ended", ended)
    console.print("scraping")
    after = scraper.scrape(f"after {restarts:,} restarts", pauses(scrapes))
    return Measured(
        scrapes=(before, folding, after),
        series=sum(not line.startswith("#") for line in scraper.page().splitlines()),
        restarts=restarts,
        counted=scraper.worker_starts() - started,
        files=len(scraper.files()) - files,
    )


class Scraper:
    """Asks for the watcher's /metrics as Prometheus does, at one connection. Used as a context manager.

    folder: where the workers count.
    """

    def __init__(self, service: Signalserve) -> None:
        self._watcher = service.process("watcher")
        self._client = httpx.Client(base_url=service.watcher_url, trust_env=False, timeout=30)
        self.folder = Path(self._watcher.environ()[METRICS_VARIABLE])

    def __enter__(self) -> "Scraper":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def page(self) -> str:
        return self._client.get("/metrics").raise_for_status().text

    def worker_starts(self) -> int:
        return round(sum(values_of(self.page(), "signalserve_worker_starts_total")))

    def files(self) -> list[Path]:
        return list(self.folder.iterdir())

    def scrape(self, when: str, events: Iterable[object]) -> Scrapes:
        """Once after each event."""
        took_ms, cpu_s = [], 0.0
        for _ in events:
            processor, asked = self._cpu_seconds(), time.perf_counter()
            self.page()
            took_ms.append((time.perf_counter() - asked) * 1000)
            cpu_s += self._cpu_seconds() - processor  # in ticks of 10 ms, which even out over many
        ordered = sorted(took_ms)
        return Scrapes(
            when=when,
            times=len(ordered),
            median_ms=statistics.median(ordered),
            p99_ms=percentile(ordered, 0.99),
            most_ms=ordered[-1],
            cpu_ms=cpu_s * 1000 / len(ordered),
        )

    def _cpu_seconds(self) -> float:
        times = self._watcher.cpu_times()
        return float(times.user + times.system)


def pauses(times: int) -> Iterator[None]:
    for _ in range(times):
        yield time.sleep(PAUSE_S)


@contextmanager
def short_lives(folder: Path, served: Mapping[str, Sequence[str]]) -> Iterator[Callable[[int], None]]:
    """A function that lets so many workers live at once, and returns when all have ended. folder: where they count."""
    command = [sys.executable, str(ROOT / "bench" / "short_lives.py"), json.dumps(served)]
    environment = {**os.environ, METRICS_VARIABLE: str(folder)}
    with Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def wave(workers: int) -> None:
            stdin.write(f"{workers}\n")
            stdin.flush()
            if not stdout.readline():
                raise ProgramError("bench/short_lives.py ended before its workers did")

        yield wave
        stdin.close()


def _print(console: Console, machine: Machine, measured: Measured) -> None:
    console.print(f"{machine}\n")
    console.print(
        f"the workers that restarted were {measured.restarts:,} short-lived processes with the metrics of real ones, "
        f"{AT_ONCE} at once; the watcher, its journal and the four workers beside them are the service's own\n"
    )
    table = Table("GET /metrics", title="Scrapes of a watcher whose windows are full")
    for name in ("times", "median ms", "p99 ms", "longest ms", "CPU ms"):
        table.add_column(name, justify="right")
    for one in measured.scrapes:
        figures = (one.median_ms, one.p99_ms, one.most_ms, one.cpu_ms)
        table.add_row(one.when, str(one.times), *(f"{figure:.1f}" for figure in figures))
    console.print(table)
    console.print(
        f"{measured.series:,} series; {measured.counted:,} more starts of workers counted at the end, "
        f"{measured.files} more files in their folder"
    )
    goal = f"{MOST_MS:.0f} ms (p99) and {MOST_SERIES:,} series"
    missed = measured.missed()
    console.print(f"NOT within {goal}: {'; '.join(missed)}" if missed else f"within {goal}, and nothing lost")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--restarts", type=int, default=1000, help="of workers (default %(default)s)")
    parser.add_argument("--scrapes", type=int, default=200, help="before and after them (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--quick", action="store_true", help="40 restarts and 20 scrapes; the figures mean nothing")
    args = parser.parse_args()
    if args.quick:
        args.restarts, args.scrapes = 40, 20
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LoadError, OperatorError, ProgramError) as error:
        sys.exit(f"bench/scrape.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
