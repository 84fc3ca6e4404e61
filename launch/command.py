"""`signalserve serve`: start the service in the foreground, and stop all of it with Ctrl-C.

Builds the archives where bundles have changed, starts TorchServe and the watcher, waits until every model has answered
its golden window, and prints a curl for each way to ask.
"""

import argparse
import os
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from export.commands.pack import add_options

    parser = subparsers.add_parser("serve", help="start the service in the foreground", description=__doc__)
    add_options(parser)
    parser.add_argument("--engine", choices=["auto", "torch", "onnxruntime"], default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default %(default)s)")
    parser.add_argument(
        "--config", type=Path, default=Path("config.properties"), help="TorchServe's (default %(default)s)"
    )
    parser.add_argument(
        "--port",
        default=os.environ.get("PORT") or "8080",
        help="inference; the five after it are taken too (default $PORT or 8080)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="IPv4 address to listen on (default %(default)s)")
    parser.add_argument(
        "--journal",
        metavar="DIR",
        help="where every prediction is kept (default $SIGNALSERVE_JOURNAL or var/journal/$PORT), or none: nowhere",
    )
    parser.add_argument("--keep-days", type=_positive, default=400.0, help="of predictions (default %(default)s)")
    parser.add_argument(
        "--keep-gb", type=_positive, default=4.0, help="of the journal's database (default %(default)s)"
    )
    parser.add_argument(
        "--days-between-false-alarms",
        type=_positive,
        default=30.0,
        help="of drift, over all symbols and arms together: what sets its limits (default %(default)s)",
    )
    parser.add_argument(
        "--statistics-every",
        type=_positive,
        default=10.0,
        metavar="SECONDS",
        help="between two looks of drift and live quality; less only where days are replayed in minutes",
    )
    parser.add_argument("--samples", type=Path, default=Path("var/requests"), help="where to write the sample requests")
    parser.set_defaults(run=run)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def run(args: argparse.Namespace) -> int:
    from launch.serve import serve

    return serve(args)
