"""The child that makes a pool's reference: what it writes, and what it says where it cannot."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference_model
from stores import BTC, write_model

from signalserve.bundle import load_bundle
from signalserve.drift.limits import simulate_limits
from signalserve.drift.reference import Reference
from signalserve.drift.stream import Stream
from signalserve.errors import BundleError
from signalserve.watcher import make_reference

DAYS = "20"


@pytest.fixture(autouse=True)
def niced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Not the tests' own process: what is niced stays so."""
    by: list[int] = []
    monkeypatch.setattr(make_reference.os, "nice", by.append)
    return by


@pytest.fixture
def members(tmp_path: Path) -> dict[str, Path]:
    return {generation: write_model(tmp_path, generation, referenced=True) for generation in ("v6_fixed", "v8")}


def make(file: Path, members: dict[str, Path], method: str = "log") -> None:
    make_reference.main([str(file), method, "1.5", DAYS, f"0.4={members['v6_fixed']}", f"0.6={members['v8']}"])


def test_it_is_the_reference_of_the_pool_of_what_its_members_kept(members: dict[str, Path], tmp_path: Path):
    file = tmp_path / "references" / "pool.json"
    make(file, members)
    found = Reference.from_json(json.loads(file.read_text()))
    both, times = [], None
    for folder in members.values():
        tensors, bundle = load_bundle(folder).stream, load_bundle(folder)
        logits = tensors["raw_logits"].astype(np.float64).clip(-15, 15)
        both.append(reference_model.softmax(logits / bundle.manifest.calibration.temperature))
        times = tensors["as_of_ms"]
    probabilities = reference_model.pool(np.stack(both), np.array([0.4, 0.6]), "log", 1.5)
    confidence = probabilities.max(axis=1)
    assert found.n == len(confidence)
    assert found.mean_confidence == pytest.approx(confidence.mean(), abs=1e-12)
    assert found.said == tuple(np.bincount(probabilities.argmax(axis=1), minlength=3))
    assert (found.largest_logit, set(found.rates)) == (None, {"saturation_rate"})
    expected = simulate_limits(Stream(times, probabilities, None, None), simulated_days=20)
    assert found.limits.at(270) == pytest.approx(expected.at(270), rel=1e-6)


def test_predictions_come_first(members: dict[str, Path], tmp_path: Path, niced: list[int]):
    make(tmp_path / "pool.json", members)
    assert niced == [19]
    assert [path.name for path in tmp_path.glob("pool*")] == ["pool.json"]  # nothing of what was staged


def test_a_member_that_keeps_no_stream_is_named(members: dict[str, Path], tmp_path: Path):
    bare = write_model(tmp_path / "bare", "v8", BTC)
    with pytest.raises(SystemExit, match="v8/BTC-USD/1: keeps no stream; run signalserve calibrate --reference-only"):
        make(tmp_path / "pool.json", {**members, "v8": bare})
    assert not (tmp_path / "pool.json").exists()


def test_a_bundle_that_was_damaged_is_refused(members: dict[str, Path], tmp_path: Path):
    (members["v8"] / "stream.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"stream\.safetensors: sha256"):
        make(tmp_path / "pool.json", members)


def test_it_ends_with_its_parent(members: dict[str, Path], tmp_path: Path):
    """The pipe is at its end when everybody who holds it is gone, and the parent is killed at once."""
    recipe = [str(tmp_path / "pool.json"), "log", "1.5", "1000000", *(f"0.5={folder}" for folder in members.values())]
    parent = (
        "import os, signal, subprocess, sys\n"
        "command = [sys.executable, '-m', 'signalserve.watcher.make_reference', str(os.getpid()), *sys.argv[1:]]\n"
        "subprocess.Popen(command)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    begun = subprocess.run([sys.executable, "-c", parent, *recipe], stdout=subprocess.PIPE, timeout=60)
    assert begun.returncode == -signal.SIGKILL
