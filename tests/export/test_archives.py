"""Archives: built when something changed and only then, whole or not at all, and able to answer when extracted."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import BTC, ETH, SOL, request_body, write_model, write_settings, write_store

import export.archives
from export.archives import build_from, load_in_force
from signalserve.bundle import load_manifests, sha256_of
from signalserve.errors import BundleError
from signalserve.service import RawRequest, Service
from signalserve.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import model_archiver.version  # noqa: F401  # leaves its version file open, which is a warning, and those are errors

ARCHIVES = ("ensemble.mar", "v6_fixed.mar", "v8.mar")
TINY: dict[str, Any] = {"hidden": 2, "layers": 1}


def built_in(store: Path, settings: Settings, *, force: bool = False) -> bool:
    return build_from(store, load_in_force(store, settings), force=force)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose archives are up to date; not to be changed."""
    store = write_store(tmp_path_factory.mktemp("store"), (BTC, ETH), **TINY)
    assert built_in(store, Settings())
    return store


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(built, tmp_path / "store"))


def hashes(store: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in store.iterdir() if path.is_file()}


def names_in(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as file:
        return {name for name in file.namelist() if not name.endswith("/")}


def test_a_store_holds_three_archives_and_their_index_and_nothing_half_done(built: Path):
    assert sorted(hashes(built)) == [".building", "archives.json", *ARCHIVES]


def test_what_is_up_to_date_is_left_alone(store: Path):
    before = hashes(store)
    assert not built_in(store, Settings())
    assert hashes(store) == before


@pytest.mark.parametrize(("endpoint", "generations"), [("v6_fixed", ["v6_fixed"]), ("v8", ["v8"])])
def test_an_archive_holds_its_generations_bundles_and_their_exports(built: Path, endpoint: str, generations: list[str]):
    expected = {"MAR-INF/MANIFEST.json", f"{endpoint}.py", "archive.json"}
    for generation in generations:
        for symbol in (BTC, ETH):
            bundle = f"{generation}/{symbol}/1"
            files = ("manifest.json", "weights.safetensors", "reference.json")
            expected |= {f"onnx/{bundle}.onnx", *(f"bundles/{bundle}/{name}" for name in files)}
    assert names_in(built / f"{endpoint}.mar") - {"model-config.yaml"} == expected


def test_the_ensembles_archive_holds_what_the_others_do(built: Path):
    both = names_in(built / "v6_fixed.mar") | names_in(built / "v8.mar")
    assert names_in(built / "ensemble.mar") == both - {"v6_fixed.py", "v8.py"} | {"ensemble.py"}


def test_an_archive_names_its_handler_and_endpoint(built: Path):
    with zipfile.ZipFile(built / "v8.mar") as file:
        model = json.loads(file.read("MAR-INF/MANIFEST.json"))["model"]
    assert (model["modelName"], model["handler"], model["modelVersion"]) == ("v8", "v8.py", "1.0")


def test_an_extracted_archive_answers_by_its_exported_files(built: Path, tmp_path: Path):
    with zipfile.ZipFile(built / "ensemble.mar") as file:
        file.extractall(tmp_path)
    settings_path = write_settings(tmp_path / "serving.yaml")
    service = Service.load(tmp_path, "ensemble", settings_path=settings_path, engine="auto", device="cpu")
    (reply,) = service.answer([RawRequest(json.dumps(request_body()).encode(), {"content-type": "application/json"})])
    assert reply.status == 200
    assert {model.engine.name for by in service.models.values() for model in by.values()} == {"onnxruntime"}


def test_the_index_tells_the_watcher_which_bundles_are_in_force(built: Path):
    found = {f"{m.generation}/{m.symbol}/{m.version}" for m in load_manifests(built)}
    assert found == {f"{generation}/{symbol}/1" for generation in ("v6_fixed", "v8") for symbol in (BTC, ETH)}


# ---- what makes them stale


def test_a_new_version_is_built_in(store: Path):
    write_model(store, "v8", BTC, version="2", **TINY)
    assert built_in(store, Settings())
    assert "bundles/v8/BTC-USD/2/manifest.json" in names_in(store / "v8.mar")
    assert "bundles/v8/BTC-USD/1/manifest.json" not in names_in(store / "v8.mar")
    assert not built_in(store, Settings())


def test_a_pin_takes_the_older_version_back(store: Path):
    write_model(store, "v8", BTC, version="2", **TINY)
    built_in(store, Settings())
    assert built_in(store, Settings(bundles={BTC: {"v8": "1"}}))
    assert "bundles/v8/BTC-USD/1/manifest.json" in names_in(store / "v8.mar")


def edit_handler(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = Path(shutil.copytree(export.archives.HANDLERS, store.parent / "handlers"))
    (edited / "v8.py").write_text((edited / "v8.py").read_text() + "# edited\n")
    monkeypatch.setattr(export.archives, "HANDLERS", edited)


@pytest.mark.parametrize(
    "change",
    [
        lambda store, patch: (store / "v8.mar").unlink(),
        lambda store, patch: (store / "archives.json").unlink(),
        lambda store, patch: (store / "archives.json").write_text("{"),
        lambda store, patch: (store / "archives.json").write_text("[]"),
        edit_handler,
    ],
)
def test_whatever_they_are_made_from_or_lack_makes_them_stale(
    store: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], object]
):
    change(store, monkeypatch)
    assert built_in(store, Settings())
    assert not built_in(store, Settings())


def test_they_can_be_built_anew_by_force(store: Path):
    assert built_in(store, Settings(), force=True)


# ---- reproducible


def test_the_same_bundles_give_the_same_bytes_in_another_place_process_and_time(built: Path, tmp_path: Path):
    shutil.copytree(built / "bundles", tmp_path / "store" / "bundles")
    for path in (tmp_path / "store").rglob("*.json"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    settings = write_settings(tmp_path / "serving.yaml")
    words = ["pack", "--model-store", str(tmp_path / "store"), "--settings", str(settings)]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    subprocess.run(
        [sys.executable, "-m", "signalserve.commands.main", *words], check=True, capture_output=True, env=environment
    )
    for name in (*ARCHIVES, "archives.json"):
        assert (tmp_path / "store" / name).read_bytes() == (built / name).read_bytes(), name


def test_an_archive_says_nothing_of_when_and_where_it_was_packed(built: Path):
    with zipfile.ZipFile(built / "ensemble.mar") as file:
        entries = file.infolist()
        assert json.loads(file.read("MAR-INF/MANIFEST.json"))["createdOn"] == "01/01/1980 00:00:00"
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o644}


# ---- generations without an endpoint


def test_an_imported_generation_in_the_same_store_is_neither_packed_nor_read(store: Path):
    folder = write_model(store, "v7", SOL, **TINY)
    (folder / "weights.safetensors").write_bytes(b"damaged")
    assert {bundle.manifest.generation for bundle in load_in_force(store, Settings())} == {"v6_fixed", "v8"}
    assert not built_in(store, Settings())


# ---- whole or not at all


def test_a_damaged_bundle_changes_nothing(store: Path):
    before = hashes(store)
    folder = write_model(store, "v8", BTC, version="2", **TINY)
    (folder / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"v8/BTC-USD/2/weights\.safetensors: sha256"):
        built_in(store, Settings())
    assert hashes(store) == before


def test_a_build_that_broke_off_is_not_taken_for_a_whole_one(store: Path, monkeypatch: pytest.MonkeyPatch):
    pack = export.archives._pack
    done: list[str] = []

    def break_off(endpoint: str, *rest: Any) -> None:
        if done:
            raise OSError("No space left on device")
        pack(endpoint, *rest)
        done.append(endpoint)

    folder = write_model(store, "v6_fixed", BTC, version="2", **TINY)
    with monkeypatch.context() as patch:
        patch.setattr(export.archives, "_pack", break_off)
        with pytest.raises(OSError, match="No space left"):
            built_in(store, Settings())
    shutil.rmtree(folder)  # the operator takes the new version away again
    built_in(store, Settings())
    assert "bundles/v6_fixed/BTC-USD/2/manifest.json" not in names_in(store / "v6_fixed.mar")


def test_a_store_without_bundles_of_an_endpoint_says_which(tmp_path: Path):
    store = write_store(tmp_path, generations=("v6_fixed",), **TINY)
    with pytest.raises(BundleError, match="v8"):
        built_in(store, Settings(defaults={"mode": "v6_fixed"}))
