"""`python -m monitoring dashboards`: write Grafana's dashboards."""

import argparse
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("dashboards", help="Grafana's dashboards", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: the committed files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from monitoring.dashboards.written import FOLDER, dashboard_texts

    folder = args.out or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in dashboard_texts().items():
        (folder / name).write_text(text)
        print(f"written: {folder / name}")
    return 0
