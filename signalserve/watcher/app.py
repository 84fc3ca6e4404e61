"""The sidecar's pages: /metrics for Prometheus, /ready for load balancers and people."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from signalserve.watcher.fold import fold_dead
from signalserve.watcher.probes import Prober


def make_app(prober: Prober, metrics_folder: Path) -> Starlette:
    """prober: runs as long as the app.  metrics_folder: PROMETHEUS_MULTIPROC_DIR of the workers."""

    async def ready(_: Request) -> Response:
        faults = prober.not_ready()
        if faults:
            return JSONResponse({"ready": False, "not_ready": faults}, status_code=503)
        return JSONResponse({"ready": True, "answering": sorted(prober.standings)})

    async def metrics(_: Request) -> Response:
        fold_dead(metrics_folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(metrics_folder))  # type: ignore[no-untyped-call]
        registry.register(_Standings(prober))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @contextlib.asynccontextmanager
    async def probing(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(prober.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return Starlette(routes=[Route("/ready", ready), Route("/metrics", metrics)], lifespan=probing)


class _Standings(Collector):
    """What the sidecar itself knows: how the golden probes stand.

    Not Gauges: in a process that has PROMETHEUS_MULTIPROC_DIR they would write to the workers' folder.
    """

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

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
        yield from (ready, seconds)
