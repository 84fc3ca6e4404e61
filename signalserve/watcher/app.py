"""The watcher's pages: /metrics for Prometheus, /ready for load balancers and people, /outcomes for the workers."""

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from signalserve.environment import PROBE_HEADER
from signalserve.errors import JournalError
from signalserve.watcher.fold import fold_dead
from signalserve.watcher.intact import BundlesIntact
from signalserve.watcher.journal_metrics import ModelsOut
from signalserve.watcher.keeper import Keeper
from signalserve.watcher.outcomes import parse_claims
from signalserve.watcher.probes import Prober
from signalserve.watcher.rendered import Rendered
from signalserve.watcher.repeated import Repeated
from signalserve.watcher.worker_counts import WorkerCounts

NO_JOURNAL = "nothing is recorded: the service was started with --journal none"


def make_app(
    prober: Prober,
    keeper: Keeper | None,
    models_out: ModelsOut,
    bundles: BundlesIntact,
    metrics_folder: Path,
    secret: str,
    collectors: Sequence[Collector] = (),
    rendered: Rendered | None = None,
    repeated: Sequence[Repeated] = (),
) -> Starlette:
    """prober, keeper: run as long as the app; no keeper where nothing is recorded.  models_out: what the guardrails
    took out.  bundles: whether those on disk are intact.  metrics_folder: PROMETHEUS_MULTIPROC_DIR of the workers.
    secret: what they mark their own requests with.  collectors: what else /metrics shows.  rendered: what it shows of
    the journal.  repeated: what else is done as long as the app runs.
    """
    counts = WorkerCounts(metrics_folder)
    registry = CollectorRegistry()
    for collector in (_Standings(prober), models_out, bundles, *collectors):
        registry.register(collector)

    async def ready(_: Request) -> Response:
        faults = prober.not_ready()
        out = [f"{endpoint} {symbol} ({generation})" for endpoint, symbol, generation in models_out.names()]
        beside = {"out": out, "journal": _journal_words(keeper), "bundles": bundles.words()}
        if faults:
            return JSONResponse({"ready": False, "not_ready": faults, **beside}, status_code=503)
        return JSONResponse({"ready": True, "answering": sorted(prober.standings), **beside})

    async def metrics(_: Request) -> Response:
        fold_dead(metrics_folder)
        text = generate_latest(registry) + counts.text() + (rendered.text if rendered else b"")
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def outcomes(request: Request) -> Response:
        # bytes: a header may hold what no ASCII text does
        if not hmac.compare_digest(request.headers.get(PROBE_HEADER, "").encode(), secret.encode()):
            return _error(403, "only the service's workers may ask here; send outcomes to /predictions/ensemble")
        if keeper is None:
            return _error(503, NO_JOURNAL)
        try:
            claims = parse_claims(await request.body())
        except ValueError as error:
            return _error(400, str(error))
        try:
            return JSONResponse(asdict(await keeper.tell(claims)))
        except JournalError as error:
            return _error(503, str(error))

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(prober.run()), *([asyncio.create_task(keeper.run())] if keeper else [])]
        for work in repeated:
            work.start()
        try:
            yield
        finally:
            for work in repeated:
                work.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if keeper:
                await keeper.close()

    routes = [Route("/ready", ready), Route("/metrics", metrics), Route("/outcomes", outcomes, methods=["POST"])]
    return Starlette(routes=routes, lifespan=running)


def _error(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status_code=status)


def _journal_words(keeper: Keeper | None) -> str:
    """A journal that fails is no reason not to be ready: predictions go on."""
    if keeper is None:
        return NO_JOURNAL
    if keeper.fault:
        return f"not written now: {keeper.fault}; predictions go on, and {keeper.waiting_bytes:,} bytes wait for it"
    unreadable = keeper.snapshot.unreadable if keeper.snapshot else {}
    if unreadable:
        files = "; ".join(f"{name}: {why}" for name, why in unreadable.items())
        return f"written, but for spool files that can't be read: {files}"
    return "written"


class _Standings(Collector):
    """What the watcher itself knows: since when it runs, and how the golden probes stand.

    Not Gauges: in a process that has PROMETHEUS_MULTIPROC_DIR they would write to the workers' folder.
    """

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        labels = ["endpoint", "symbol", "generation"]
        ready = GaugeMetricFamily("signalserve_ready", "1 while golden probes are answered correctly", labels=labels)
        seconds = GaugeMetricFamily(
            "signalserve_probe_seconds", "How long the last golden probe took, over HTTP", labels=labels
        )
        faults = self._prober.not_ready()
        for probe in self._prober.probes:
            values = (probe.endpoint, probe.symbol, probe.manifest.generation)
            ready.add_metric(values, probe.name not in faults)
            seconds.add_metric(values, self._prober.standings[probe.name].seconds)
        started = GaugeMetricFamily(
            "signalserve_watcher_started_seconds", "Unix time at which the watcher was started", value=self._started
        )
        yield from (ready, seconds, started)
