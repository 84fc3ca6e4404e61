"""The sidecar's pages: /metrics for Prometheus, /ready for load balancers and people."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
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
        own = _own_metrics(prober)
        return Response(generate_latest(registry) + generate_latest(own), media_type=CONTENT_TYPE_LATEST)

    @contextlib.asynccontextmanager
    async def probing(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(prober.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return Starlette(routes=[Route("/ready", ready), Route("/metrics", metrics)], lifespan=probing)


def _own_metrics(prober: Prober) -> CollectorRegistry:
    """What the sidecar itself knows, made anew for each scrape: how the golden probes stand."""
    registry = CollectorRegistry()
    labels = ["endpoint", "symbol", "generation"]
    ready = Gauge("signalserve_ready", "1 while golden probes are answered correctly", labels, registry=registry)
    seconds = Gauge(
        "signalserve_probe_seconds", "How long the last golden probe took, over HTTP", labels, registry=registry
    )
    faults = prober.not_ready()
    for probe in prober.probes:
        values = (probe.endpoint, probe.symbol, probe.manifest.generation)
        ready.labels(*values).set(probe.name not in faults)
        seconds.labels(*values).set(prober.standings[probe.name].seconds)
    return registry
