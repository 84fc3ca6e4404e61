"""A new version: the same weights, other knowledge about them, and a history of how it came about."""

from pathlib import Path

import numpy as np
import pytest
from reference_model import ReferenceModel
from stores import BTC, raw_window, write_model

from export.versions import find_bundle, next_version, revise
from signalserve.bundle import CalibrationValues, load_bundle
from signalserve.drift.kept import KeptStream
from signalserve.engine import TorchEngine
from signalserve.errors import BundleError
from signalserve.models import prove

GATES = {"passed": [], "failed": ["accuracy"], "report": {}}
KEPT = KeptStream(np.arange(2) * 60_000, np.eye(2, 3), np.zeros(2))
COLDER = CalibrationValues(clamp=15.0, temperature=0.5, method="nll")


def test_a_new_version_answers_its_golden_window_under_its_new_temperature(tmp_path: Path):
    old = load_bundle(write_model(tmp_path, temperature=2.0))
    folder = revise(old, tmp_path / "bundles", command="signalserve calibrate", calibration=COLDER)
    new = load_bundle(folder)
    prove(new, TorchEngine(new, "cpu"))
    window = raw_window()[None]
    _, expected = ReferenceModel(folder).answer(window)
    np.testing.assert_allclose(TorchEngine(new, "cpu").predict(window).probabilities, expected, atol=1e-5)
    assert folder.name == "2" and old.path.exists()


def test_its_history_says_from_what_by_what_command_and_what_changed(tmp_path: Path):
    first = load_bundle(write_model(tmp_path))
    second = load_bundle(revise(first, tmp_path / "bundles", command="signalserve calibrate x", calibration=COLDER))
    third = load_bundle(revise(second, tmp_path / "bundles", command="signalserve judge x", gates=GATES))
    steps = third.manifest.provenance["history"]
    assert [step["command"] for step in steps] == ["signalserve calibrate x", "signalserve judge x"]
    assert steps[1]["made_from"] == {"version": "2", "sha256": second.sha256}
    assert steps[1]["changed"] == ["gates"]


def test_a_verdict_stays_with_the_model_that_was_judged(tmp_path: Path):
    judged = load_bundle(revise(load_bundle(write_model(tmp_path)), tmp_path / "bundles", command="judge", gates=GATES))
    assert judged.failed_gates == ("accuracy",)
    recalibrated = load_bundle(revise(judged, tmp_path / "bundles", command="calibrate", calibration=COLDER))
    assert recalibrated.manifest.gates is None


def test_a_new_reference_leaves_the_verdict_and_is_told_in_the_history(tmp_path: Path):
    old = load_bundle(write_model(tmp_path))
    described = load_bundle(revise(old, tmp_path / "bundles", command="calibrate", reference={"n": 3}, kept=KEPT))
    assert described.reference == {"n": 3}
    assert described.stream["raw_logits"].tolist() == KEPT.raw_logits.tolist()
    assert described.manifest.gates == old.manifest.gates
    assert described.manifest.provenance["history"][-1]["changed"] == ["reference"]


def test_what_a_bundle_keeps_goes_on_to_its_next_version(tmp_path: Path):
    old = load_bundle(write_model(tmp_path, referenced=True))
    new = load_bundle(revise(old, tmp_path / "bundles", command="judge", gates=GATES))
    assert new.reference == old.reference
    assert {name: tensor.tolist() for name, tensor in new.stream.items()} == {
        name: tensor.tolist() for name, tensor in old.stream.items()
    }


def test_a_change_that_is_no_manifest_leaves_nothing_behind(tmp_path: Path):
    bundle = load_bundle(write_model(tmp_path))
    with pytest.raises(ValueError, match="colour"):
        revise(bundle, tmp_path / "bundles", command="x", colour="red")
    assert [path.name for path in bundle.path.parent.iterdir()] == ["1"]


def test_the_next_version_is_one_more_than_the_newest(tmp_path: Path):
    write_model(tmp_path, version="9")
    write_model(tmp_path, version="10")
    assert next_version(tmp_path / "bundles", "v8", BTC) == "11"
    assert next_version(tmp_path / "bundles", "v6_fixed", BTC) == "1"


def test_a_number_whose_manifest_is_gone_is_not_given_again(tmp_path: Path):
    (write_model(tmp_path, version="3") / "manifest.json").unlink()
    assert next_version(tmp_path / "bundles", "v8", BTC) == "4"


def test_a_bundle_is_found_by_folder_by_name_and_by_version(tmp_path: Path):
    first, second = write_model(tmp_path, version="1"), write_model(tmp_path, version="2")
    assert find_bundle(str(first), tmp_path).path == first
    assert find_bundle("v8/BTC-USD", tmp_path).path == second
    assert find_bundle("v8/BTC-USD/1", tmp_path).path == first
    with pytest.raises(BundleError, match="v9/BTC-USD: expected a bundle's folder, or one of v8/BTC-USD/2"):
        find_bundle("v9/BTC-USD", tmp_path)
