"""`signalserve pack`: the bundles in force -> the archives that TorchServe serves; the same bundles, the same bytes.

They are built only where something that they are made from has changed. `signalserve serve` does the same at its start.
"""

import argparse
import json
import os
from pathlib import Path

from export.options import add_store, screen_of
from signalserve.environment import default_settings


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("pack", help="build TorchServe's archives from the bundles", description=__doc__)
    add_options(parser)
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    parser.add_argument("--json", action="store_true", help="print what was built as JSON, and nothing else")
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which bundles are in force: also for `signalserve serve` and `signalserve onnx`."""
    add_store(parser)
    parser.add_argument(
        "--settings", type=Path, default=default_settings(os.environ), help="the toggles (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Raises BundleError and ConfigError; then the archives are what they were."""
    from export.archives import ENDPOINTS, build_from, load_in_force
    from signalserve.bundle import ARCHIVES_INDEX
    from signalserve.settings import load_settings

    screen = screen_of(args)
    bundles = load_in_force(args.model_store, load_settings(args.settings))
    with screen.progress("exporting", len(bundles)) as progress:
        built = build_from(args.model_store, bundles, force=args.force, progress=progress)
    if args.json:
        index = json.loads((args.model_store / ARCHIVES_INDEX).read_text())
        print(json.dumps({"built": built, **index}, indent=1))
    names = ", ".join(f"{endpoint}.mar" for endpoint in ENDPOINTS)
    screen.say(f"{'built' if built else 'up to date'}: {names} in {args.model_store}")
    return 0
