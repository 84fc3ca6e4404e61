"""The watcher's pages, with probes answered by a service in process."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from journal_lines import closes
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from stores import BTC, write_settings, write_store

from signalserve.bundle import ARCHIVES_INDEX, WEIGHTS, find_bundles, load_bundle
from signalserve.environment import PROBE_HEADER
from signalserve.journal import LATCHES, database_of, spool_of
from signalserve.journal.lines import encode_line
from signalserve.journal.spool import SpoolWriter
from signalserve.journal.store import JournalStore
from signalserve.latches import Latch, Latches, clear
from signalserve.outcome_request import OutcomeClaim
from signalserve.service import RawRequest, Service
from signalserve.watcher import keeper as keeper_module
from signalserve.watcher.app import make_app
from signalserve.watcher.intact import BundlesIntact
from signalserve.watcher.journal_metrics import JournalMetrics, ModelsOut
from signalserve.watcher.keeper import Keeper
from signalserve.watcher.outcomes import encode_claims
from signalserve.watcher.probes import Prober, make_probes
from signalserve.watcher.repeated import Repeated

SECRET = "s3cret"
LABELS = 'endpoint="ensemble",generation="v8",symbol="BTC-USD"'


class Watcher:
    """The app's pages, over a service that can be switched off."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "metrics"
        self.folder.mkdir()
        settings_path = write_settings(root / "serving.yaml")
        self.services = {
            endpoint: Service.load(
                root, endpoint, settings_path=settings_path, engine="torch", device="cpu", probe_secret=SECRET
            )
            for endpoint in ("v6_fixed", "v8", "ensemble")
        }
        self.is_up = True
        self.store = root
        packed = [load_bundle(path) for path in find_bundles(root / "bundles")]
        index = {"bundles": {bundle.name: bundle.sha256 for bundle in packed}}
        (root / ARCHIVES_INDEX).write_text(json.dumps(index))
        manifests = [bundle.manifest for bundle in packed]
        self.bundles = BundlesIntact(root, manifests)
        transport = httpx.MockTransport(self.answer)
        self.prober = Prober(list(make_probes(manifests)), "http://service", SECRET, transport=transport)
        self.journal = root / "journal"
        self.keeper = Keeper(self.journal, [], open_store=lambda: JournalStore(self.journal))
        known = {("v8", BTC, "v8"): "a" * 64, ("ensemble", BTC, "v8"): "a" * 64}
        self.models_out = ModelsOut(self.journal / LATCHES, known)
        collectors = [JournalMetrics(self.keeper)]
        parts = (self.models_out, self.bundles, self.folder, SECRET)
        self.app = make_app(self.prober, self.keeper, *parts, collectors)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if not self.is_up:
            return httpx.Response(500, text="down")
        service = self.services[request.url.path.removeprefix("/predictions/")]
        (reply,) = service.answer([RawRequest(request.content, dict(request.headers))])
        return httpx.Response(reply.status, content=reply.body)


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    return Watcher(write_store(tmp_path, (BTC,)))


@asynccontextmanager
async def opened(watcher: Watcher) -> AsyncIterator[httpx.AsyncClient]:
    """The app as uvicorn runs it, from its start to its end."""
    transport = httpx.ASGITransport(watcher.app)
    pages = httpx.AsyncClient(base_url="http://watcher", transport=transport)
    async with watcher.app.router.lifespan_context(watcher.app), pages:
        yield pages


def with_pages(watcher: Watcher, use: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with opened(watcher) as pages:
            await use(pages)

    asyncio.run(asyncio.wait_for(run(), 20))


async def ready_within(pages: httpx.AsyncClient, seconds: float) -> httpx.Response:
    deadline = time.monotonic() + seconds
    while (response := await pages.get("/ready")).status_code != 200 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return response


def test_the_app_probes_by_itself_and_says_ready(watcher: Watcher):
    async def use(pages: httpx.AsyncClient) -> None:
        await until(lambda: watcher.keeper.fault is None)
        response = await ready_within(pages, 5)
        assert response.status_code == 200
        assert response.json() == {
            "ready": True,
            "answering": ["ensemble BTC-USD (v6_fixed)", "ensemble BTC-USD (v8)", "v6_fixed BTC-USD", "v8 BTC-USD"],
            "out": [],
            "journal": "written",
            "bundles": "intact",
        }

    with_pages(watcher, use)


def test_a_service_that_is_down_is_503_and_says_which_did_not_answer(watcher: Watcher):
    async def use(pages: httpx.AsyncClient) -> None:
        watcher.is_up = False
        response = await ready_within(pages, 0.2)
        assert response.status_code == 503
        assert response.json()["not_ready"]["v8 BTC-USD"] == "HTTP 500: down"
        watcher.is_up = True
        assert (await ready_within(pages, 5)).status_code == 200

    with_pages(watcher, use)


def test_probing_ends_with_the_app(watcher: Watcher):
    async def start_and_end() -> None:
        async with opened(watcher) as pages:
            await ready_within(pages, 5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(start_and_end())


def test_repeated_work_goes_on_as_long_as_the_app(watcher: Watcher):
    began = threading.Event()
    work = Repeated("as long as the app", began.set, 0.001)
    parts = (watcher.models_out, watcher.bundles, watcher.folder, SECRET)
    watcher.app = make_app(watcher.prober, None, *parts, repeated=[work])

    async def use(_: httpx.AsyncClient) -> None:
        await until(began.is_set)

    assert not began.is_set()
    with_pages(watcher, use)
    for thread in threading.enumerate():
        if thread.name == "as long as the app":
            thread.join(10)
    assert "as long as the app" not in [thread.name for thread in threading.enumerate()]


def test_how_the_probes_stand_is_in_the_metrics(watcher: Watcher):
    async def use(pages: httpx.AsyncClient) -> None:
        await ready_within(pages, 5)
        text = (await pages.get("/metrics")).text
        assert f"signalserve_ready{{{LABELS}}} 1.0" in text
        assert f"signalserve_probe_seconds{{{LABELS}}} " in text
        watcher.prober.standings["ensemble BTC-USD (v8)"].fault = "golden window: expected …"
        assert f"signalserve_ready{{{LABELS}}} 0.0" in (await pages.get("/metrics")).text

    with_pages(watcher, use)


def counted_by(folder: Path, pid: int, value: float) -> Path:
    """The file of a worker with this process id that counted so many errors."""
    path = folder / f"counter_{pid}.db"
    counts = MmapedDict(str(path))
    counts.write_value(mmap_key("errors", "errors_total", ["code"], ["bad_json"], "-"), value, 0.0)
    counts.close()
    return path


def test_what_all_workers_counted_is_added_up_and_the_dead_are_folded(watcher: Watcher):
    dead = [counted_by(watcher.folder, 4_194_304 + i, 2.0) for i in (1, 2)]

    async def use(pages: httpx.AsyncClient) -> None:
        for _ in range(3):
            response = await pages.get("/metrics")
            assert 'errors_total{code="bad_json"} 4.0' in response.text
        assert response.headers["content-type"].startswith("text/plain")

    with_pages(watcher, use)
    assert not any(path.exists() for path in dead)


def test_no_series_is_shown_twice(watcher: Watcher):
    counted_by(watcher.folder, 4_194_305, 1.0)

    async def use(pages: httpx.AsyncClient) -> None:
        text = (await pages.get("/metrics")).text
        names = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
        assert len(names) == len(set(names)) > 8

    with_pages(watcher, use)


async def until(what: Callable[[], bool]) -> None:
    while not what():
        await asyncio.sleep(0.01)


def values(text: str) -> dict[str, float]:
    """'name{labels}' -> value, of a metrics page."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_the_journal_and_the_watchers_start_are_in_the_metrics(watcher: Watcher):
    async def use(pages: httpx.AsyncClient) -> None:
        await until(lambda: watcher.keeper.snapshot is not None)
        shown = values((await pages.get("/metrics")).text)
        assert shown["signalserve_journal_ok"] == 1
        for name in ("waiting_bytes", "behind_seconds", "rows", "unreadable_spools"):
            assert shown[f"signalserve_journal_{name}"] == 0
        assert shown["signalserve_journal_bytes"] >= database_of(watcher.journal).stat().st_size > 0
        assert shown["signalserve_outcomes_overdue"] == 0
        assert shown['signalserve_journal_counts_total{what="outcomes_unknown"}'] == 0
        assert time.time() - 60 < shown["signalserve_watcher_started_seconds"] <= time.time()

    with_pages(watcher, use)


def test_a_journal_that_fails_is_said_and_no_reason_not_to_be_ready(watcher: Watcher):
    watcher.journal.mkdir()
    database_of(watcher.journal).write_bytes(b"no database at all" * 100)

    async def use(pages: httpx.AsyncClient) -> None:
        response = await ready_within(pages, 5)
        await until(lambda: "not a database" in (watcher.keeper.fault or ""))
        response = await pages.get("/ready")
        assert response.status_code == 200
        assert "not written now: " in response.json()["journal"] and "predictions go on" in response.json()["journal"]
        shown = values((await pages.get("/metrics")).text)
        assert shown["signalserve_journal_ok"] == 0
        assert "signalserve_journal_rows" not in shown  # nobody knows; 0 would look like a reset

    with_pages(watcher, use)


def test_a_spool_file_that_cannot_be_read_is_shown_and_the_others_are_written(watcher: Watcher):
    (spool_of(watcher.journal) / "v8-1-a-000001.ndjson").mkdir(parents=True)

    async def use(pages: httpx.AsyncClient) -> None:
        await until(lambda: watcher.keeper.snapshot is not None)
        assert values((await pages.get("/metrics")).text)["signalserve_journal_unreadable_spools"] == 1
        words = (await ready_within(pages, 5)).json()["journal"]
        assert words == "written, but for spool files that can't be read: v8-1-a-000001.ndjson: Is a directory"

    with_pages(watcher, use)


def test_a_watcher_that_is_busy_shows_what_waits_and_since_when(watcher: Watcher, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeper_module, "BUSY_S", 0.1)
    goes_on = threading.Event()

    async def use(pages: httpx.AsyncClient) -> None:
        await until(lambda: watcher.keeper.snapshot is not None)
        watcher.keeper._thread.submit(goes_on.wait, 10)
        SpoolWriter(spool_of(watcher.journal), "v8").append([closes(1.0)])
        await until(lambda: "busy with it for" in (watcher.keeper.fault or ""))
        shown = values((await pages.get("/metrics")).text)
        assert shown["signalserve_journal_ok"] == 0
        assert shown["signalserve_journal_waiting_bytes"] == len(encode_line(closes(1.0)))
        assert shown["signalserve_journal_behind_seconds"] > 0.1
        assert "busy with it for" in (await pages.get("/ready")).json()["journal"]
        goes_on.set()
        await until(lambda: watcher.keeper.fault is None and watcher.keeper.waiting_bytes == 0)

    with_pages(watcher, use)


def test_a_model_is_shown_as_out_while_its_own_latch_exists(watcher: Watcher):
    latches = Latches(watcher.journal / LATCHES)
    of_another_version = Latch("v8", BTC, "v8", "b" * 64, ("rule",), 1, None)
    latch = Latch("ensemble", BTC, "v8", "a" * 64, ("rule",), 2, None)

    async def out(pages: httpx.AsyncClient) -> dict[str, float]:
        shown = values((await pages.get("/metrics")).text)
        return {name.split('"')[1]: value for name, value in shown.items() if name.startswith("signalserve_model_out")}

    async def use(pages: httpx.AsyncClient) -> None:
        assert await out(pages) == {"v8": 0, "ensemble": 0}
        for one in (of_another_version, latch):
            latches.trip(one)
        assert await out(pages) == {"v8": 0, "ensemble": 1}
        ready = await ready_within(pages, 5)
        assert (ready.status_code, ready.json()["out"]) == (200, ["ensemble BTC-USD (v8)"])
        clear(watcher.journal / LATCHES, latch)
        assert await out(pages) == {"v8": 0, "ensemble": 0}
        assert (await pages.get("/ready")).json()["out"] == []

    with_pages(watcher, use)


def test_a_bundle_damaged_on_disk_is_shown_and_no_reason_not_to_be_ready(watcher: Watcher):
    weights = watcher.store / "bundles" / "v8" / BTC / "1" / WEIGHTS
    intact = 'signalserve_bundle_intact{generation="v8",symbol="BTC-USD"}'

    async def use(pages: httpx.AsyncClient) -> None:
        assert values((await pages.get("/metrics")).text)[intact] == 1
        weights.write_bytes(b"damaged")
        watcher.bundles.look()
        assert values((await pages.get("/metrics")).text)[intact] == 0
        response = await ready_within(pages, 5)
        assert response.status_code == 200
        assert (
            str(weights) in response.json()["bundles"]
            and "a start of the whole service would refuse" in response.json()["bundles"]
        )

    with_pages(watcher, use)


CLAIMS = encode_claims([OutcomeClaim("p1", None, None, 2, None), OutcomeClaim(None, BTC, 60_000, None, 1.5)])


def test_outcomes_are_taken_from_whoever_knows_the_secret(watcher: Watcher):
    async def use(pages: httpx.AsyncClient) -> None:
        response = await pages.post("/outcomes", content=CLAIMS, headers={PROBE_HEADER: SECRET})
        assert response.status_code == 200
        nothing = {"joined": 0, "already_known": 0, "contradicting": 0, "undecidable": 0}
        assert response.json() == {**nothing, "unknown": 2}

    with_pages(watcher, use)


@pytest.mark.parametrize("headers", [{}, {PROBE_HEADER: "guess"}, {PROBE_HEADER: "s\u00e9cret".encode("latin-1")}])
def test_outcomes_of_strangers_are_refused_with_the_way_for_them(watcher: Watcher, headers: dict[str, Any]):
    async def use(pages: httpx.AsyncClient) -> None:
        response = await pages.post("/outcomes", content=CLAIMS, headers=headers)
        assert response.status_code == 403 and "/predictions/ensemble" in response.json()["error"]

    with_pages(watcher, use)


def test_outcomes_that_no_worker_writes_are_refused_in_words(watcher: Watcher):
    async def use(pages: httpx.AsyncClient) -> None:
        response = await pages.post("/outcomes", content=b'{"outcomes": []}', headers={PROBE_HEADER: SECRET})
        assert response.status_code == 400 and "expected a list" in response.json()["error"]

    with_pages(watcher, use)


def test_outcomes_can_wait_while_the_journal_fails(watcher: Watcher):
    watcher.journal.write_text("a file where the folder should be")

    async def use(pages: httpx.AsyncClient) -> None:
        response = await pages.post("/outcomes", content=CLAIMS, headers={PROBE_HEADER: SECRET})
        assert response.status_code == 503 and "can't be written now" in response.json()["error"]

    with_pages(watcher, use)


def test_without_a_journal_nothing_is_taken_and_all_say_so(watcher: Watcher):
    parts = (watcher.models_out, watcher.bundles, watcher.folder, SECRET)
    watcher.app = make_app(watcher.prober, None, *parts)

    async def use(pages: httpx.AsyncClient) -> None:
        response = await pages.post("/outcomes", content=CLAIMS, headers={PROBE_HEADER: SECRET})
        assert response.status_code == 503 and "nothing is recorded" in response.json()["error"]
        assert "nothing is recorded" in (await ready_within(pages, 5)).json()["journal"]

    with_pages(watcher, use)
