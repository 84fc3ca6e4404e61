"""Bundles on disk against what the archives were built from: by looks at real files, one after the other."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import BTC, ETH, write_model

from signalserve.bundle import ARCHIVES_INDEX, MANIFEST, WEIGHTS, load_bundle, load_manifests, sha256_of
from signalserve.watcher import intact
from signalserve.watcher.intact import REHASH_S, BundlesIntact


class Looked:
    """A store of two bundles, and what the watcher makes of it at seconds that the test chooses."""

    def __init__(self, root: Path) -> None:
        self.seconds = 0.0
        self.v8, self.v6 = (write_model(root, *of) for of in (("v8", BTC), ("v6_fixed", ETH)))
        bundles = [load_bundle(folder) for folder in (self.v8, self.v6)]
        index = {"bundles": {bundle.name: bundle.sha256 for bundle in bundles}}
        (root / ARCHIVES_INDEX).write_text(json.dumps(index))
        self.bundles = BundlesIntact(root, load_manifests(root), clock=lambda: self.seconds)

    def look(self, after_s: float = 10.0) -> dict[tuple[str, str], float]:
        self.seconds += after_s
        self.bundles.look()
        return self.shown()

    def shown(self) -> dict[tuple[str, str], float]:
        """(symbol, generation) -> what /metrics says."""
        [metric] = self.bundles.collect()
        assert metric.name == "signalserve_bundle_intact"
        return {(one.labels["symbol"], one.labels["generation"]): one.value for one in metric.samples}


INTACT = {(BTC, "v8"): 1, (ETH, "v6_fixed"): 1}
V8_NOT = {**INTACT, (BTC, "v8"): 0}


@pytest.fixture
def looked(tmp_path: Path) -> Looked:
    return Looked(tmp_path)


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [{"event": record.message, **record.fields} for record in caplog.records]  # type: ignore[attr-defined]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_bundles_as_they_were_packed_are_intact_from_the_start(looked: Looked, caplog: pytest.LogCaptureFixture):
    assert looked.shown() == looked.look() == looked.look(REHASH_S) == INTACT
    assert (looked.bundles.words(), events(caplog)) == ("intact", [])


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, "reference.json"])
def test_a_changed_byte_of_any_file_is_found_and_told_once(looked: Looked, name: str, caplog: pytest.LogCaptureFixture):
    path = looked.v8 / name
    expected = sha256_of(path)
    flip_a_byte(path)
    assert looked.look() == looked.look() == looked.look(REHASH_S) == V8_NOT
    words = f"expected sha256 {expected[:12]}…, got {sha256_of(path)[:12]}…"
    assert events(caplog) == [{"event": "bundle_not_intact", "file": str(path), "reason": words}]
    assert f"{path}: {words}" in looked.bundles.words()
    assert "a start of the whole service would refuse the bundle" in looked.bundles.words()


def test_a_file_that_is_put_back_is_intact_again(looked: Looked, caplog: pytest.LogCaptureFixture):
    for _ in range(2):  # the same bit twice
        flip_a_byte(looked.v8 / WEIGHTS)
        looked.look()
    assert looked.shown() == INTACT
    assert [record.message for record in caplog.records] == ["bundle_not_intact", "bundle_intact_again"]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (Path.unlink, "got no readable file: No such file or directory"),
        (lambda path: (path.unlink(), path.mkdir()), "got no readable file: Is a directory"),
        (lambda path: shutil.rmtree(path.parent), "got no readable file: No such file or directory"),
    ],
)
def test_a_file_that_is_gone_or_none_is_not_intact(looked: Looked, harm: Callable[[Path], object], words: str):
    harm(looked.v8 / WEIGHTS)
    assert looked.look() == looked.look() == V8_NOT
    assert f"{looked.v8 / WEIGHTS}: expected sha256 " in looked.bundles.words() and words in looked.bundles.words()


def test_a_manifest_that_agrees_with_its_changed_files_is_not_what_was_packed(looked: Looked):
    flip_a_byte(looked.v8 / WEIGHTS)
    manifest = json.loads((looked.v8 / MANIFEST).read_text())
    manifest["files"][WEIGHTS] = sha256_of(looked.v8 / WEIGHTS)
    (looked.v8 / MANIFEST).write_text(json.dumps(manifest))
    assert load_bundle(looked.v8)
    assert looked.look() == V8_NOT
    assert MANIFEST in looked.bundles.words() and WEIGHTS in looked.bundles.words()


def test_a_changed_byte_whose_mtime_was_put_back_is_found_at_the_next_look(looked: Looked):
    path = looked.v8 / WEIGHTS
    before = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert looked.look() == V8_NOT


def test_a_changed_byte_that_moves_no_time_is_found_within_ten_minutes(looked: Looked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intact, "_stamp", lambda path: (0, 0, 0, 0))
    looked.look(REHASH_S)
    flip_a_byte(looked.v8 / WEIGHTS)
    assert looked.look(REHASH_S - 1) == INTACT
    assert looked.look(1) == V8_NOT


def test_what_did_not_change_is_not_read_again_before_ten_minutes(looked: Looked, monkeypatch: pytest.MonkeyPatch):
    looked.look(REHASH_S)
    read: list[Path] = []
    monkeypatch.setattr(intact, "sha256_of", lambda path: (read.append(path), sha256_of(path))[1])
    looked.look()
    assert read == []
    (looked.v6 / WEIGHTS).touch()
    looked.look()
    assert read == [looked.v6 / WEIGHTS]
    looked.look(REHASH_S)
    assert len(read) == 1 + len([*looked.v8.iterdir(), *looked.v6.iterdir()])
