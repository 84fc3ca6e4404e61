"""The README says what is so."""

import json
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MANIFESTS = sorted((ROOT / "model_store" / "bundles").glob("*/*/*/manifest.json"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: "/".join(path.parts[-4:-2]))
def test_the_models_figures_are_the_manifests(path: Path) -> None:
    manifest = json.loads(path.read_text())
    report = manifest["report"]
    name, share = max(report["base_rates"].items(), key=lambda item: item[1])
    hindsight = -sum(share * math.log(share) for share in report["base_rates"].values())
    row = (
        f"| {manifest['symbol']} | {manifest['generation']} | {manifest['calibration']['temperature']:.3g} "
        f"| {report['accuracy']:.3f} | {share:.3f} ({name}) | {report['nll']:.4f} | {report['base_rate_nll']:.4f} "
        f"| {hindsight:.4f} | {report['brier']:.4f} | {report['base_rate_brier']:.4f} |"
    )
    assert row in README


def test_every_file_it_names_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    table = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", README, re.MULTILINE)
    named = [name for cell in table for name in re.findall(r"`([^`]+)`", cell)]
    paths = [name for name in named if "/" in name or "." in name]
    assert len(links) > 5 and len(paths) > 10
    for name in [*links, *paths]:
        assert (ROOT / name).exists() or (ROOT / "signalserve" / name).exists(), name


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)`?", README)) <= targets
