"""`signalserve sidecar`: the process beside TorchServe, which `signalserve serve` starts."""

import argparse
import logging
import os
from pathlib import Path

from signalserve.environment import METRICS_VARIABLE, PROBE_VARIABLE
from signalserve.errors import ConfigError


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("sidecar", help="readiness and metrics beside TorchServe", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8083)
    parser.add_argument("--inference-url", default="http://127.0.0.1:8080")
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import uvicorn

    from signalserve.bundle import load_manifests
    from signalserve.log import event, log_to_stderr
    from signalserve.watcher.app import make_app
    from signalserve.watcher.probes import Prober, make_probes

    secret, folder = os.environ.get(PROBE_VARIABLE), os.environ.get(METRICS_VARIABLE)
    if not secret or not folder:
        raise ConfigError(
            f"the sidecar shares {PROBE_VARIABLE} and {METRICS_VARIABLE} with TorchServe's workers; "
            "`signalserve serve` sets both"
        )
    log_to_stderr()
    manifests = load_manifests(args.model_store)
    prober = Prober(list(make_probes(manifests)), args.inference_url, secret)
    event(logging.INFO, "sidecar_started", port=args.port, probes=len(prober.probes))
    app = make_app(prober, Path(folder))
    uvicorn.run(app, host=args.host, port=args.port, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    return 0
