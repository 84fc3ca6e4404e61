"""`signalserve watcher`: the process beside TorchServe, which `signalserve serve` starts.

Drains what the workers write into the journal, joins outcomes, computes how good the models are, sends golden probes,
and shows all of it on /ready and /metrics.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from signalserve.environment import JOURNAL_VARIABLE, METRICS_VARIABLE, PROBE_VARIABLE, RUN_VARIABLE
from signalserve.errors import ConfigError

if TYPE_CHECKING:
    from signalserve.bundle import Manifest
    from signalserve.watcher.probes import Probe


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "watcher", help="journal, readiness and metrics beside TorchServe", description=__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8083)
    parser.add_argument("--inference-url", default="http://127.0.0.1:8080")
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--keep-days", type=float, default=400)
    parser.add_argument("--keep-gb", type=float, default=4)
    parser.add_argument(
        "--statistics-every", type=float, default=10, metavar="SECONDS", help="less where days are replayed in minutes"
    )
    parser.add_argument("--days-between-false-alarms", type=float, default=30, help="of drift, over all arms together")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import uvicorn
    from prometheus_client.registry import Collector

    from signalserve.journal import LATCHES
    from signalserve.journal.store import JournalStore
    from signalserve.log import event, log_to_stderr
    from signalserve.watcher.app import make_app
    from signalserve.watcher.archived import readable_bundles
    from signalserve.watcher.drift_metrics import DriftMetrics
    from signalserve.watcher.estimated_accuracy import EstimatedAccuracy
    from signalserve.watcher.freshness import Freshness
    from signalserve.watcher.gpu import SAMPLE_S, Gpus
    from signalserve.watcher.intact import CHECK_S, BundlesIntact
    from signalserve.watcher.journal_metrics import JournalMetrics, ModelsOut
    from signalserve.watcher.keeper import Keeper
    from signalserve.watcher.probes import Prober, make_probes
    from signalserve.watcher.quality_metrics import LiveQuality
    from signalserve.watcher.references import FOLDER, References, model_references
    from signalserve.watcher.rendered import Rendered
    from signalserve.watcher.repeated import Repeated

    secret, metrics_folder, run_folder = _shared()
    log_to_stderr()
    loaded = list(readable_bundles(args.model_store))
    manifests = [bundle.manifest for bundle in loaded]
    prober = Prober(list(make_probes(manifests)), args.inference_url, secret)
    journal = Path(os.environ[JOURNAL_VARIABLE]) if JOURNAL_VARIABLE in os.environ else None
    models_out = ModelsOut((journal or run_folder) / LATCHES, _models(prober.probes, args.model_store))
    bundles, gpus = BundlesIntact(args.model_store, manifests), Gpus()
    collectors: list[Collector] = [gpus]
    references = References(model_references(loaded), (journal or run_folder) / FOLDER)
    keeper, rendered = None, None
    if journal:
        arms, symbols = _arms(manifests), {manifest.symbol for manifest in manifests}
        drift = DriftMetrics(arms, references, args.days_between_false_alarms)
        quality = LiveQuality(arms, args.days_between_false_alarms)
        estimated, freshness = EstimatedAccuracy(arms), Freshness(symbols)
        rendered = Rendered([freshness, drift, quality, estimated])
        open_store = partial(JournalStore, journal, keep_days=args.keep_days, keep_bytes=int(args.keep_gb * 1e9))
        keeper = Keeper(
            journal,
            [rendered],
            open_store=open_store,
            statistics_every_s=args.statistics_every,
        )
        collectors += [JournalMetrics(keeper), rendered]
    event(logging.INFO, "watcher_started", port=args.port, probes=len(prober.probes), journal=str(journal or "none"))
    repeated = [Repeated("bundles", bundles.look, CHECK_S), Repeated("gpus", gpus.look, SAMPLE_S)]
    app = make_app(prober, keeper, models_out, bundles, metrics_folder, secret, collectors, rendered, repeated)
    try:
        uvicorn.run(app, host=args.host, port=args.port, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    finally:
        references.close()
    return 0


def _shared() -> tuple[str, Path, Path]:
    """The probe secret, the folder of the workers' counts and that of this run. Raises ConfigError without them."""
    names = (PROBE_VARIABLE, METRICS_VARIABLE, RUN_VARIABLE)
    if not all(os.environ.get(name) for name in names):
        raise ConfigError(
            f"the watcher shares {', '.join(names)} with TorchServe's workers; `signalserve serve` sets them"
        )
    secret, metrics_folder, run_folder = (os.environ[name] for name in names)
    return secret, Path(metrics_folder), Path(run_folder)


def _arms(manifests: "Sequence[Manifest]") -> set[tuple[str, str]]:
    """(symbol, arm) of everything that can answer: each model, and the pool where there are two."""
    models = [(manifest.symbol, manifest.generation) for manifest in manifests]
    symbols = [symbol for symbol, _ in models]
    return {*models, *((symbol, "ensemble") for symbol in symbols if symbols.count(symbol) > 1)}


def _models(probes: "Sequence[Probe]", store: Path) -> dict[tuple[str, str, str], str]:
    """(endpoint, symbol, generation) -> sha256 of the bundle that answers there."""
    from signalserve.bundle import MANIFEST, sha256_of

    found = {}
    for probe in probes:
        manifest = probe.manifest
        folder = store / "bundles" / manifest.generation / manifest.symbol / manifest.version
        found[probe.endpoint, probe.symbol, manifest.generation] = sha256_of(folder / MANIFEST)
    return found
