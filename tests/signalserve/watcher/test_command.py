"""`signalserve watcher`: what it is made of, by the environment that it shares with the workers."""

import argparse
import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from stores import BTC, ETH, write_model

from signalserve.bundle import ARCHIVES_INDEX, MANIFEST, WEIGHTS, load_manifests, sha256_of
from signalserve.errors import ConfigError
from signalserve.journal import LATCHES, database_of
from signalserve.journal.reading import Maker, Model
from signalserve.latches import Latch, Latches
from signalserve.log import LOGGER
from signalserve.watcher import command, drift_metrics
from signalserve.watcher import keeper as keeper_module
from signalserve.watcher.references import References

Start = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two models of one symbol and one of another, as they are after packing."""
    store = tmp_path / "store"
    folders = [write_model(store, *of) for of in (("v6_fixed", BTC), ("v8", BTC), ("v8", ETH))]
    packed = {str(folder.relative_to(store / "bundles")): sha256_of(folder / MANIFEST) for folder in folders}
    (store / ARCHIVES_INDEX).write_text(json.dumps({"bundles": packed}))
    return store


@pytest.fixture
def started(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs the command until its pages are up; what /metrics and /ready then say."""
    (tmp_path / "metrics").mkdir()
    monkeypatch.setenv("SIGNALSERVE_PROBE_SECRET", "s3cret")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    monkeypatch.setenv("SIGNALSERVE_RUN_FOLDER", str(tmp_path / "run"))
    monkeypatch.delenv("SIGNALSERVE_JOURNAL", raising=False)
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", True)
    pages = {}

    async def look(app: Any) -> None:
        client = httpx.AsyncClient(base_url="http://watcher", transport=httpx.ASGITransport(app))
        async with app.router.lifespan_context(app), client:
            pages["metrics"] = (await client.get("/metrics")).text
            while "no answer yet" in str(ready := (await client.get("/ready")).json()):
                await asyncio.sleep(0.01)
            pages["ready"] = ready

    def serve(app: Any, **_: object) -> None:
        asyncio.run(asyncio.wait_for(look(app), 20))

    monkeypatch.setattr(uvicorn, "run", serve)

    def start(*options: str) -> dict[str, Any]:
        parser = argparse.ArgumentParser()
        command.add_parser(parser.add_subparsers())
        args = parser.parse_args(["watcher", "--model-store", str(store), "--inference-url", DEAD, *options])
        assert args.run(args) == 0
        return pages

    return start


DEAD = "http://127.0.0.1:9"


def test_without_what_the_launcher_sets_it_says_who_sets_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SIGNALSERVE_PROBE_SECRET", raising=False)
    with pytest.raises(ConfigError, match=r"SIGNALSERVE_PROBE_SECRET, .* `signalserve serve` sets them"):
        command.run(argparse.Namespace())


def test_it_keeps_the_journal_that_the_workers_write(tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIGNALSERVE_JOURNAL", str(tmp_path / "journal"))
    assert "signalserve_journal_ok" in started()["metrics"]
    assert database_of(tmp_path / "journal").exists()


def test_without_a_journal_it_proves_and_shows_the_rest(started: Start):
    pages = started()
    assert "signalserve_journal" not in pages["metrics"]
    assert "nothing is recorded" in pages["ready"]["journal"]
    assert "no answer: ConnectError" in pages["ready"]["not_ready"]["v8 ETH-USD"]


def test_models_that_are_out_are_known_by_their_bundles(tmp_path: Path, started: Start, store: Path):
    manifest = (store / "bundles" / "v8" / ETH / "1" / "manifest.json").read_bytes()
    sha256 = hashlib.sha256(manifest).hexdigest()
    Latches(tmp_path / "run" / LATCHES).trip(Latch("ensemble", ETH, "v8", sha256, ("rule",), 1, None))
    lines = [line for line in started()["metrics"].splitlines() if line.startswith("signalserve_model_out")]
    assert len(lines) == 6
    assert [line for line in lines if line.endswith(" 1.0")] == [
        'signalserve_model_out{endpoint="ensemble",generation="v8",symbol="ETH-USD"} 1.0'
    ]


def test_bundles_are_compared_with_what_the_archives_were_built_from(started: Start, store: Path):
    index = json.loads((store / ARCHIVES_INDEX).read_text())
    index["bundles"]["v8/ETH-USD/1"] = "0" * 64
    (store / ARCHIVES_INDEX).write_text(json.dumps(index))
    pages = started()
    lines = [line for line in pages["metrics"].splitlines() if line.startswith("signalserve_bundle_intact")]
    assert sorted(lines) == [
        'signalserve_bundle_intact{generation="v6_fixed",symbol="BTC-USD"} 1.0',
        'signalserve_bundle_intact{generation="v8",symbol="BTC-USD"} 1.0',
        'signalserve_bundle_intact{generation="v8",symbol="ETH-USD"} 0.0',
    ]
    assert "expected sha256 000000000000…" in pages["ready"]["bundles"]


def test_every_arm_says_from_the_start_that_it_has_no_drift_reference_yet(
    tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIGNALSERVE_JOURNAL", str(tmp_path / "journal"))
    lines = [line for line in started()["metrics"].splitlines() if line.startswith("signalserve_drift_reference{")]
    arms = (("ensemble", BTC), ("v6_fixed", BTC), ("v8", BTC), ("v8", ETH))
    assert sorted(lines) == [
        f'signalserve_drift_reference{{arm="{arm}",symbol="{symbol}"}} 0.0' for arm, symbol in arms
    ]


def test_drift_is_measured_by_the_bundles_references_and_the_days_asked_for(
    tmp_path: Path, store: Path, started: Start, monkeypatch: pytest.MonkeyPatch
):
    folder = write_model(store, "v8", BTC, version="2", referenced=True)
    (store / ARCHIVES_INDEX).write_text(
        json.dumps({"bundles": {f"v8/{BTC}/2": sha256_of(folder / MANIFEST)}, "made_from": ""})
    )
    monkeypatch.setenv("SIGNALSERVE_JOURNAL", str(tmp_path / "journal"))
    made: list[tuple[References, float]] = []

    class Noted(drift_metrics.DriftMetrics):
        def __init__(self, known: Any, references: References, target_days: float) -> None:
            made.append((references, target_days))
            super().__init__(known, references, target_days)

    monkeypatch.setattr(drift_metrics, "DriftMetrics", Noted)
    started("--days-between-false-alarms", "7")
    [(references, days)] = made
    by = Maker((Model(sha256_of(folder / MANIFEST), None, None, 1.0, None),), None, 2.0, True)
    assert days == 7
    assert references.of(by) is not None


def test_statistics_are_computed_as_often_as_asked_for(tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIGNALSERVE_JOURNAL", str(tmp_path / "journal"))
    every: list[float] = []
    keeper = keeper_module.Keeper
    monkeypatch.setattr(
        keeper_module,
        "Keeper",
        lambda *of, **options: every.append(options["statistics_every_s"]) or keeper(*of, **options),
    )
    started("--statistics-every", "0.5")
    assert every == [0.5]


def test_what_is_being_made_ends_with_the_watcher(started: Start, monkeypatch: pytest.MonkeyPatch):
    closed: list[References] = []
    monkeypatch.setattr(References, "close", lambda self: closed.append(self))
    started()
    assert len(closed) == 1


def test_quality_is_followed_for_every_model_and_for_the_pool_of_two(store: Path):
    assert command._arms(load_manifests(store)) == {(BTC, "v6_fixed"), (BTC, "v8"), (BTC, "ensemble"), (ETH, "v8")}


def test_a_damaged_bundle_is_watched_by_its_manifest_and_one_without_a_manifest_is_left_out(
    tmp_path: Path, started: Start, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SIGNALSERVE_JOURNAL", str(tmp_path / "journal"))
    (store / "bundles" / "v8" / BTC / "1" / WEIGHTS).write_bytes(b"damaged")
    (store / "bundles" / "v8" / ETH / "1" / MANIFEST).write_text("{")
    lines = started()["metrics"].splitlines()
    said = map(json.loads, capsys.readouterr().err.splitlines())
    assert [(one["bundle"], one["then"]) for one in said if one["event"] == "bundle_unreadable"] == [
        ("v8/BTC-USD/1", "watched by its manifest, without a reference"),
        ("v8/ETH-USD/1", "left out"),
    ]
    shown = {line for line in lines if line.startswith("signalserve_bundle_intact{")}
    assert shown == {
        'signalserve_bundle_intact{generation="v6_fixed",symbol="BTC-USD"} 1.0',
        'signalserve_bundle_intact{generation="v8",symbol="BTC-USD"} 0.0',
        'signalserve_bundle_intact{generation="v8",symbol="ETH-USD"} 0.0',
    }
    assert 'signalserve_ready{endpoint="v8",generation="v8",symbol="BTC-USD"} 0.0' in lines
    assert 'signalserve_drift_reference{arm="ensemble",symbol="BTC-USD"} 0.0' in lines
    assert "signalserve_statistics_timestamp_seconds" in str(lines)
    assert not any("ETH-USD" in line for line in lines if line.startswith("signalserve_ready{"))
