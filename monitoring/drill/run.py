"""One fault: the service on a copy of a clean day's journal, the bars that follow, and the alerts that fire."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from monitoring.drill.faults import BASELINE, Fault
from monitoring.drill.feed import Feed
from monitoring.drill.plants import copy_store
from monitoring.rules.timescale import TimeScale
from monitoring.rules.written import rules_text
from tests.live.prometheus import Alert, Prometheus
from tests.live.server import ROOT, Server, wait_for

LEAD: Final = 60
"""Minutes without a fault before one that is planted in the running service: a worker that restarts within 13 minutes
of a start is no news, and 13 minutes of a drill are at least five scrapes."""
BLIND_S: Final = 5.0
"""After the first scrape: until then Prometheus takes the watcher for absent, and the bot for silent."""
AFTER: Final = 40
"""Minutes to go on for when all that is expected has fired: what should not fire gets its chance."""
LOOK_S: Final = 0.5
REFERENCES_S: Final = 600.0
SETTLE_S: Final = 60.0

JSON: Final = {"Content-Type": "application/json"}
Progress = Callable[[int], object]
"""Told how many minutes have just been replayed."""


@dataclass(frozen=True)
class Fired:
    """One alert by name. minutes, predictions: since the fault was planted, when it was first seen to fire; minutes
    below 0: before it.  where: the label sets that fired by the end.
    """

    name: str
    severity: str
    minutes: int
    predictions: int
    where: frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Result:
    """failures: requests that were not answered by a prediction.  minutes: replayed since the fault was planted.
    speed: replayed seconds a second, as it was kept.  wanted_speed: what the rules were written for.
    """

    fault: Fault
    fired: Sequence[Fired]
    failures: int
    minutes: int
    speed: float
    wanted_speed: float

    @property
    def missing(self) -> list[str]:
        return sorted(self.fault.expected - {one.name for one in self.fired})

    @property
    def unexpected(self) -> list[str]:
        """Names, and names with the symbol where it is one that has no fault."""
        names = {one.name for one in self.fired} - self.fault.expected
        symbols = self.fault.symbols
        foreign = {
            f"{one.name} of {where[0]}"
            for one in self.fired
            for where in one.where
            if symbols and where[0] and where[0] not in symbols
        }
        early = {f"{one.name} before the fault" for one in self.fired if one.minutes < 0}
        return sorted(names | foreign | early)

    @property
    def kept_pace(self) -> bool:
        """False on a machine that was busy with other things: what tells how long it takes (JournalBehind, ProbesSlow)
        then fires by right, and durations are not what the rules take them for."""
        return self.speed > 0.95 * self.wanted_speed

    @property
    def is_as_expected(self) -> bool:
        return not (self.missing or self.unexpected)


@dataclass
class Watch:
    """What has fired so far, by name."""

    first: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    where: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)

    def see(self, alerts: Iterable[Alert], minutes: int, predictions: int) -> None:
        for alert in alerts:
            labels = alert.labels
            name = labels["alertname"]
            if name not in BASELINE:
                self.first.setdefault(name, (labels["severity"], minutes, predictions))
                place = tuple(labels.get(key, "") for key in ("symbol", "arm", "generation", "statistic", "window"))
                self.where.setdefault(name, set()).add(place)

    def fired(self) -> list[Fired]:
        found = [Fired(name, *first, frozenset(self.where[name])) for name, first in self.first.items()]
        return sorted(found, key=lambda one: (one.minutes, one.name))


class Lookout:
    """Asks Prometheus what fires, every LOOK_S, once it has seen the watcher for BLIND_S."""

    def __init__(self, prometheus: Prometheus) -> None:
        self.watch = Watch()
        self._prometheus = prometheus
        self._has_scraped = False
        self._due = 0.0

    def look(self, minutes: int, predictions: int) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + LOOK_S
        if self._has_scraped:
            self.watch.see(self._prometheus.alerts(), minutes, predictions)
        elif self._prometheus.query("up == 1"):
            self._has_scraped, self._due = True, now + BLIND_S


@dataclass
class Bot:
    """Asks about each of its feeds once a minute, and does not ask again."""

    client: httpx.Client
    feeds: Sequence[Feed]
    answered: int = 0
    failures: int = 0

    def ask(self, minute: int) -> None:
        for feed in self.feeds:
            if self._is_answered(feed.request(minute)):
                self.answered += 1
            else:
                self.failures += 1

    def _is_answered(self, body: bytes) -> bool:
        try:
            return self.client.post("/predictions/ensemble", content=body).status_code == 200
        except httpx.HTTPError:
            return False


@dataclass(frozen=True)
class Drill:
    """folder: of its own.  store: the models, with their archives.
    feeds: of each symbol, from the clean day's first minute on.  clean: minutes of that day.  speed: times faster than
    the clock.  settings: the serving.yaml.
    """

    folder: Path
    store: Path
    feeds: Sequence[Feed]
    clean: int
    speed: float
    settings: Path = ROOT / "serving.yaml"

    @property
    def journal(self) -> Path:
        return self.folder / "clean" / "journal"

    @property
    def rules(self) -> Path:
        return self.folder / "rules.yml"

    def prefill(self, progress: Progress) -> None:
        """The clean day, as fast as it is answered: its journal is where every fault begins."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rules.write_text(rules_text(TimeScale(self.speed)))
        with self._running(self.folder / "clean", self.store) as server, _client(server) as client:
            bot = Bot(client, self.feeds)
            for minute in range(self.clean):
                bot.ask(minute)
                if bot.failures:
                    raise AssertionError(f"minute {minute} of the clean day was not answered:\n{server.output()}")
                progress(1)
            _wait_for_references(server)
            wait_for(lambda: server.metrics()["signalserve_journal_waiting_bytes"] == 0, SETTLE_S)

    def run(self, fault: Fault, progress: Progress) -> Result:
        folder = self.folder / fault.name
        shutil.copytree(self.journal, folder / "journal")
        store = copy_store(self.store, folder / "store") if fault.prepare or fault.deed else self.store
        if fault.prepare:
            fault.prepare(store)
        with self._running(folder, store) as server:
            result = self._replay(fault, server, progress)
        shutil.rmtree(folder)
        return result

    def _replay(self, fault: Fault, server: Server, progress: Progress) -> Result:
        planted_at = self.clean + (0 if fault.is_there_from_the_start else LEAD)
        end = stop_at = min(planted_at + fault.minutes, *(feed.minutes for feed in self.feeds))
        with _client(server) as client:
            bot = Bot(client, self.feeds)
            bot.ask(self.clean)  # what answers is known by it, and is held against what
            _wait_for_references(server)
            target = server.watcher.removeprefix("http://")
            with Prometheus(server.folder / "prometheus", target, [self.rules]) as prometheus:
                lookout, began, first = Lookout(prometheus), time.monotonic(), self.clean + 1
                minute = first
                while minute < stop_at:
                    if minute == planted_at:
                        bot.answered = 0
                        self._plant(fault, server, bot, minute)
                    bot.ask(minute)
                    lookout.look(minute - planted_at, bot.answered)
                    if stop_at == end and fault.expected and fault.expected <= lookout.watch.first.keys():
                        stop_at = min(end, minute + AFTER)
                    minute += 1
                    progress(1)
                    time.sleep(max(0.0, began + (minute - first) * 60 / self.speed - time.monotonic()))
                speed = (minute - first) * 60 / (time.monotonic() - began)
                time.sleep(2 * LOOK_S)  # until the last minute is scraped and judged
                lookout.look(minute - planted_at, bot.answered)
                if faults := prometheus.rule_faults():
                    raise AssertionError(f"rules that fail: {faults}")
        return Result(fault, lookout.watch.fired(), bot.failures, minute - planted_at, speed, self.speed)

    @staticmethod
    def _plant(fault: Fault, server: Server, bot: "Bot", minute: int) -> None:
        """What a fault does to the running service, and to what the bot sends from this minute on."""
        if fault.deed:
            fault.deed(server)
        if fault.change:
            bot.feeds = [
                fault.change(feed, minute) if fault.symbols is None or feed.symbol in fault.symbols else feed
                for feed in bot.feeds
            ]

    @contextmanager
    def _running(self, folder: Path, store: Path) -> Iterator[Server]:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.settings, folder / "serving.yaml")
        server = Server(folder, store=store, options=["--statistics-every", "1"])
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def _client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=JSON, timeout=30, trust_env=False) as client:
        yield client


def _wait_for_references(server: Server) -> None:
    """A pool's reference takes half a minute to draw, of the machine's time: in a drill that would be hours."""

    def all_known() -> bool:
        known: Mapping[str, float] = {
            name: value for name, value in server.metrics().items() if name.startswith("signalserve_drift_reference{")
        }
        return bool(known) and all(known.values())

    wait_for(all_known, REFERENCES_S)
