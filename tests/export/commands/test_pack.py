"""`signalserve pack`: what it says it did is what it did, and what is wrong is one sentence."""

import json
import warnings
from pathlib import Path

import pytest
from stores import BTC, write_model, write_settings, write_store

from signalserve.commands.main import main

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import model_archiver.version  # noqa: F401  # leaves its version file open, which is a warning, and those are errors

TINY = {"hidden": 2, "layers": 1}


def pack(store: Path, *words: str) -> int:
    settings = write_settings(store / "serving.yaml")
    return main(["pack", "--model-store", str(store), "--settings", str(settings), *words])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path, (BTC,), **TINY)


def test_it_says_whether_it_built(store: Path, capsys: pytest.CaptureFixture[str]):
    said = []
    for words in ((), (), ("--force",)):
        assert pack(store, *words) == 0
        said.append(capsys.readouterr().out.strip())
    names = f"ensemble.mar in {store}"
    assert [line.partition(":")[0] for line in said] == ["built", "up to date", "built"]
    assert all(line.endswith(names) for line in said)


def test_with_json_the_output_is_the_index_alone(store: Path, capsys: pytest.CaptureFixture[str]):
    assert pack(store, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content.pop("built") is True
    assert content == json.loads((store / "archives.json").read_text())


def test_a_damaged_bundle_is_one_sentence_and_nothing_is_built(store: Path, capsys: pytest.CaptureFixture[str]):
    (write_model(store, "v8", BTC, version="2", **TINY) / "weights.safetensors").write_bytes(b"damaged")
    assert pack(store) == 2
    assert "v8/BTC-USD/2/weights.safetensors: sha256" in capsys.readouterr().err
    assert not list(store.glob("*.mar"))


def test_a_store_without_bundles_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert pack(tmp_path) == 2
    assert f"{tmp_path / 'bundles'}: expected bundles at" in capsys.readouterr().err
