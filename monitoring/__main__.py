"""`python -m monitoring rules | dashboards | drill`: write the files that Prometheus and Grafana read, and try them."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Final

COMMANDS: Final = ("monitoring.rules.command", "monitoring.dashboards.command", "monitoring.drill.command")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(name).add_parser(subparsers)
    args = parser.parse_args(arguments)
    return int(args.run(args))


if __name__ == "__main__":
    raise SystemExit(main())
