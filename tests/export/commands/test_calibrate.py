"""`signalserve calibrate` from files to a new version: what it writes, what it prints, what it refuses."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference_model import ReferenceModel
from stores import BTC, candles, write_model

from export import new_reference, reference_stream
from export.report.model import read_report
from export.versions import revise
from signalserve.bundle import Bundle, find_bundles, load_bundle
from signalserve.candles import FIELDS, Candles, last, to_rows
from signalserve.commands.main import main
from signalserve.drift.kept import read_kept
from signalserve.drift.reference import Reference
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features
from signalserve.network import LstmConfig, architecture_of

NEXT_BAR = {"horizon_bars": 1, "neutral_band": 1e-4}
NO_SPANS = {"train": None, "calibration": None, "test": None}
TAUGHT_LATER = {"start": "2025-11-01T00:00:00Z", "end": "2025-11-25T00:00:00Z"}


def write_bars(folder: Path, bars: Candles) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / f"{BTC}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *to_rows(bars)])
    return folder


def write_features(folder: Path, bars: Candles, dropped: str = "") -> Path:
    """Settled rows only, as their owners keep them."""
    folder.mkdir()
    columns = {"timestamp": bars.timestamp_ms, "close": bars.close}
    columns |= dict(zip(COLUMNS, compute_features(bars).T, strict=True))
    table = pa.table({name: values[1000:] for name, values in columns.items() if name != dropped})
    pq.write_table(table, folder / "BTC_features.parquet")
    return folder


def two_classes(store: Path) -> Path:
    """A version of the store's model that knows only DOWN and UP; returns its folder."""
    bundle = load_bundle(store / "bundles" / "v8" / BTC / "1")
    config = LstmConfig(len(COLUMNS), 4, 1, attention=True, outputs=1)
    manifest = bundle.manifest.model_copy(update={"architecture": architecture_of(config)})
    weights = {**bundle.weights, "head.weight": bundle.weights["head.weight"][:1], "head.bias": np.zeros(1, np.float32)}
    return revise(replace(bundle, manifest=manifest, weights=weights), store / "bundles", command="test")


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), candles(BTC, 3500))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_model(tmp_path / "store", hidden=4, layers=1, labels=NEXT_BAR)
    return tmp_path / "store"


def calibrate(store: Path, *words: object) -> int:
    where = ["--model-store", store, "--reports", store.parent / "reports"]
    return main(["calibrate", *map(str, [*words, *where])])


def versions(store: Path) -> list[str]:
    return ["/".join(path.parts[-3:]) for path in find_bundles(store / "bundles")]


def newest(store: Path) -> Bundle:
    return load_bundle(list(find_bundles(store / "bundles"))[-1])


def test_the_next_version_takes_the_temperature_and_its_evidence(store: Path, bars: Path) -> None:
    old_folder = store / "bundles" / "v8" / BTC / "1"
    before = {path.name: path.read_bytes() for path in old_folder.iterdir()}
    assert calibrate(store, f"v8/{BTC}", "--bars", bars) == 0
    assert {path.name: path.read_bytes() for path in old_folder.iterdir()} == before
    old, new = load_bundle(old_folder).manifest, newest(store)
    manifest, report = new.manifest, new.manifest.report
    assert (new.name, manifest.calibration.method, manifest.gates) == (f"v8/{BTC}/2", "nll", None)
    assert manifest.calibration.temperature == report["temperature_fit"]["temperature"] != old.calibration.temperature
    assert manifest.spans.train == old.spans.train
    assert manifest.spans.calibration.end < manifest.spans.test.start
    assert report["n"] == new.reference["n"] == manifest.spans.test.bars - 60
    assert new.reference["span"] == manifest.spans.test.model_dump()
    assert new.reference["confidence"]["mean"] == pytest.approx(report["mean_confidence"])
    assert report["temperature_fit"]["effective_labels"] >= 1000
    assert manifest.provenance["history"][-1]["made_from"]["version"] == "1"
    page = read_report(store.parent / "reports" / f"calibrate-v8-{BTC}-1.json")
    assert page.facts["New version"] == str(new.path)
    kept = read_kept(new)
    assert kept is not None
    assert len(kept.as_of_ms) == new.reference["n"]
    assert page.verdict.sentence in (store.parent / "reports" / f"calibrate-v8-{BTC}-1.html").read_text()


def test_json_stands_alone_and_is_what_was_written(store: Path, bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = store.parent / "elsewhere"
    wish = ["--target-confidence", "0.60:0.75", "--out", elsewhere]
    assert calibrate(store, f"v8/{BTC}", "--bars", bars, "--json", *wish) == 0
    printed = json.loads(capsys.readouterr().out)
    [folder] = find_bundles(elsewhere)
    written = load_bundle(folder).manifest.calibration
    assert (printed["command"], printed["figures"]["temperature"]) == ("calibrate", written.temperature)
    assert written.method == "target mean confidence 0.60:0.75"
    assert versions(store) == [f"v8/{BTC}/1"]


def test_several_models_are_reported_one_by_one_and_a_dry_run_writes_no_version(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(store, "v6_fixed", hidden=4, layers=1, labels=NEXT_BAR)
    folder = store / "bundles" / "v8" / BTC / "1"  # the same as v8/BTC-USD, once more
    assert calibrate(store, f"v8/{BTC}", f"v6_fixed/{BTC}", folder, "--bars", bars, "--json", "--dry-run") == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["subject"] for report in reports] == [f"v8/{BTC}/1", f"v6_fixed/{BTC}/1"]
    assert {report["facts"]["New version"] for report in reports} == {"none: --dry-run"}
    assert versions(store) == [f"v6_fixed/{BTC}/1", f"v8/{BTC}/1"]


def test_a_model_of_unknown_labels_and_bars_takes_what_the_caller_vouches_for(store: Path, tmp_path: Path) -> None:
    write_model(store, "v7", hidden=4, layers=1, labels=None, spans=NO_SPANS)
    features = write_features(tmp_path / "features", candles(BTC, 3500))
    vouched = ["--horizon", 1, "--band", 1e-4, "--assume-unseen", "--write"]
    assert calibrate(store, f"v7/{BTC}", "--features", features, *vouched) == 0
    manifest = load_bundle(store / "bundles" / "v7" / BTC / "2").manifest
    assert manifest.labels.model_dump() == NEXT_BAR
    assert manifest.spans.train is None
    assert manifest.spans.test is not None


def test_a_model_of_two_classes_is_judged_where_one_of_them_came(store: Path, bars: Path) -> None:
    assert calibrate(store, two_classes(store), "--bars", bars, "--accuracy", 0.5, "--fit-share", 0.7) == 0
    new = newest(store)
    assert new.manifest.report["base_rates"]["NEUTRAL"] == 0
    assert new.manifest.report["n"] < new.reference["n"] == new.manifest.spans.test.bars - 60


def test_real_bars_give_a_version_too(store: Path, tmp_path: Path, real_bars: dict[str, Candles]) -> None:
    shutil.rmtree(store)
    write_model(store, hidden=4, layers=1)
    some = write_bars(tmp_path / "some", last(real_bars[BTC], 15_000))
    assert calibrate(store, f"v8/{BTC}", "--bars", some, "--fit-share", 0.75, "--write") == 0
    fit = newest(store).manifest.report["temperature_fit"]
    assert 1000 <= fit["effective_labels"] < fit["n"] / 5  # labels 15 bars ahead overlap


def test_no_version_takes_the_place_of_one_that_the_data_agrees_with(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(store, f"v8/{BTC}", "--bars", bars) == 0
    assert calibrate(store, f"v8/{BTC}", "--bars", bars) == 0
    words = "the data asks for no change; --write writes it all the same"
    assert f"v8/{BTC}/2: no new version written: {words}" in capsys.readouterr().out
    assert versions(store) == [f"v8/{BTC}/1", f"v8/{BTC}/2"]
    page = read_report(store.parent / "reports" / f"calibrate-v8-{BTC}-2.json")
    assert page.facts["New version"] == f"none: {words}"
    assert calibrate(store, f"v8/{BTC}", "--bars", bars, "--write") == 0
    assert versions(store)[-1] == f"v8/{BTC}/3"


def test_no_version_takes_a_temperature_at_which_the_search_ended(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(store, "v7", hidden=4, layers=1, labels=NEXT_BAR)
    assert calibrate(store, f"v7/{BTC}", f"v8/{BTC}", "--bars", bars) == 0
    assert "v7/BTC-USD/1: no new version written: the data bounds no temperature" in capsys.readouterr().out
    assert versions(store) == [f"v7/{BTC}/1", f"v8/{BTC}/1", f"v8/{BTC}/2"]


def test_where_reports_cannot_be_written_no_version_is(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.parent / "reports").write_text("a file")
    assert calibrate(store, f"v8/{BTC}", "--bars", bars) == 2
    assert "reports: cannot be written" in capsys.readouterr().err
    assert versions(store) == [f"v8/{BTC}/1"]


def test_drift_limits_are_computed_once_and_shown_even_where_nothing_is_written(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = count_calls(monkeypatch)
    assert calibrate(store, f"v8/{BTC}", "--bars", bars, "--dry-run", "--json") == 0
    shown = json.loads(capsys.readouterr().out)["figures"]["drift"]
    assert calibrate(store, f"v8/{BTC}", "--bars", bars, "--json") == 0
    assert len(simulated) == 2
    new = newest(store)
    written = Reference.from_json(new.reference["drift"])
    assert json.loads(capsys.readouterr().out)["figures"]["drift"] == shown
    assert shown["limits"]["class_psi"]["360"] == pytest.approx(written.limits.at(270)["class_psi", 360])
    kept = read_kept(new)
    assert kept is not None
    assert written.mean_confidence == pytest.approx(kept.stream(new.manifest.calibration).confidence.mean(), abs=1e-6)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls, simulate = [], reference_stream.simulate_limits
    monkeypatch.setattr(
        reference_stream, "simulate_limits", lambda *of, **options: calls.append(of) or simulate(*of, **options)
    )
    return calls


# ---- the reference alone


@pytest.fixture
def referred(store: Path, bars: Path) -> Path:
    """A store whose one model has another reference in its second version."""
    assert calibrate(store, f"v8/{BTC}", "--bars", bars, "--reference-only") == 0
    return store


def test_a_new_reference_changes_nothing_that_answers(referred: Path) -> None:
    old, new = load_bundle(referred / "bundles" / "v8" / BTC / "1"), newest(referred)
    assert new.name == f"v8/{BTC}/2"
    same = {"version", "files", "provenance"} ^ set(type(new.manifest).model_fields)
    assert {name: getattr(new.manifest, name) for name in same} == {name: getattr(old.manifest, name) for name in same}
    assert new.passed_gates
    assert new.manifest.provenance["history"][-1]["changed"] == ["reference"]


def test_a_new_reference_is_of_every_window_that_was_never_seen(referred: Path) -> None:
    new, made = newest(referred), candles(BTC, 3500)
    kept = read_kept(new)
    assert kept is not None
    assert new.reference["n"] == 3500 - MIN_CANDLES + 1  # no label is needed, and the spans lie long before
    assert kept.as_of_ms[[0, -1]].tolist() == [
        made.timestamp_ms[MIN_CANDLES - 1] + 60_000,
        made.timestamp_ms[-1] + 60_000,
    ]
    rows = compute_features(made)
    ends = [MIN_CANDLES - 1, 2000, 3499]
    raw_logits, _ = ReferenceModel(new.path).answer(np.stack([rows[end - 59 : end + 1] for end in ends]))
    found = kept.raw_logits[[end - MIN_CANDLES + 1 for end in ends]]
    np.testing.assert_allclose(found, raw_logits, atol=1e-4)
    assert Reference.from_json(new.reference["drift"]).n == new.reference["n"]


def test_a_new_reference_is_shown_as_tables_and_as_json(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    elsewhere = store.parent / "elsewhere"
    words = [f"v8/{BTC}", "--bars", bars, "--reference-only", "--out", elsewhere]
    assert calibrate(store, *words) == 0
    printed = capsys.readouterr().out
    assert "Limits for 270 days of one arm" in printed
    assert "PSI of confidence" in printed and "One class on end" in printed
    assert f"wrote {elsewhere / 'v8' / BTC / '1'}" in printed
    assert versions(store) == [f"v8/{BTC}/1"]
    assert calibrate(store, *words, "--json") == 0
    page = json.loads(capsys.readouterr().out)
    assert (page["title"], page["facts"]["New version"]) == ("Drift reference", str(elsewhere / "v8" / BTC / "2"))
    written = load_bundle(elsewhere / "v8" / BTC / "2").reference["drift"]
    assert page["figures"]["drift"]["design_effect"] == written["design_effect"]


def test_a_model_of_unknown_labels_can_have_a_reference(store: Path, bars: Path) -> None:
    write_model(store, "v7", hidden=4, layers=1, labels=None, spans=NO_SPANS)
    assert calibrate(store, f"v7/{BTC}", "--bars", bars, "--reference-only", "--assume-unseen") == 0
    assert load_bundle(store / "bundles" / "v7" / BTC / "2").reference["n"] > 1000


def test_a_reference_that_cannot_be_made_leaves_all_models_as_they_were(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(store, "v8", "ETH-USD", hidden=4, layers=1, labels=NEXT_BAR)
    words = [f"v8/{BTC}", "v8/ETH-USD", "--bars", bars, "--reference-only"]
    check_refusal(store, capsys, "expected a file of bars of ETH-USD", *words)


def seen_up_to(end: str) -> dict[str, Any]:
    """Spans of a model whose temperature has seen bars up to then."""
    return {**NO_SPANS, "train": EARLY, "calibration": {"start": "2025-11-24T00:00:00Z", "end": end}}


EARLY = {"start": "2025-05-04T15:33:00Z", "end": "2025-05-05T15:33:00Z"}


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("2025-11-24T16:00:00Z", "the model has seen bars up to 2025-11-24T16:00:00Z"),
        ("2025-11-24T14:22:00Z", "expected at least 40 windows that v8/BTC-USD/1 has not seen, to learn from how its"),
    ],
)
def test_too_few_unseen_bars_for_a_reference_are_told(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str], end: str, told: str
) -> None:
    shutil.rmtree(store)
    write_model(store, hidden=4, layers=1, spans=seen_up_to(end))
    check_refusal(store, capsys, told, f"v8/{BTC}", "--bars", bars, "--reference-only")


def test_logits_that_are_no_numbers_make_no_reference(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SimpleNamespace(raw_logits=np.full((3500 - MIN_CANDLES + 1, 3), np.nan))
    monkeypatch.setattr(new_reference, "forward", lambda *_, **__: broken)
    told = "v8/BTC-USD/1: expected finite logits and shares, got NaN or infinity; run signalserve diagnose on it"
    check_refusal(store, capsys, told, f"v8/{BTC}", "--bars", bars, "--reference-only")


def test_a_short_reference_is_warned_of(store: Path, tmp_path: Path) -> None:
    few = write_bars(tmp_path / "few", candles(BTC, MIN_CANDLES + 200))
    assert calibrate(store, f"v8/{BTC}", "--bars", few, "--reference-only") == 0
    page = read_report(store.parent / "reports" / f"calibrate-v8-{BTC}-1.json")
    assert page.verdict.level == "warn"
    assert page.verdict.reasons[0].startswith("The reference is shorter than a day of 1,440 predictions")


# ---- what is refused


BAD_WORDS = [
    (["--target-confidence", "0.75"], "--target-confidence: expected LOW:HIGH between 0 and 1, such as 0.60:0.75"),
    (["--target-confidence", "0.8:0.6"], "--target-confidence: expected LOW:HIGH"),
    (["--target-confidence", "0.1:0.2"], "expected a temperature with a mean confidence of 0.15, got none"),
    (["--target-confidence", "0.6:0.7", "--reference-only"], "--reference-only keeps the temperature: leave --target-"),
    (["--fit-share", "1"], "--fit-share: expected a share between 0 and 1, got 1"),
    (["--accuracy", "68"], "--accuracy: expected a share between 0 and 1, got 68"),
    (["--horizon", "15"], "was taught 1 bars ahead"),
    (["--fit-share", "0.3"], "expected at least 1,000 effective labels to fit a temperature to v8 of BTC-USD, got 7"),
    (["--fit-share", "0.95"], "expected at least 300 effective labels to judge v8 of BTC-USD, got"),
    (["--fit-share", "0.99"], "give more bars, or pass --fit-share 0.5, with which these would do"),
    (["v9/BTC-USD"], "v9/BTC-USD: expected a bundle's folder, or one of v8/BTC-USD/1"),
]


@pytest.mark.parametrize(("words", "told"), BAD_WORDS)
def test_bad_words_are_refused_in_a_sentence(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    check_refusal(store, capsys, told, f"v8/{BTC}", *words, "--bars", bars)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"spans": NO_SPANS}, "does not say which bars it was trained on"),
        ({"spans": {**NO_SPANS, "train": TAUGHT_LATER}}, "the model has seen bars up to 2025-11-25T00:00:00Z"),
        ({"labels": None}, "does not say what it was taught: pass --horizon BARS and --band SHARE"),
        ({"interval_ms": 300_000}, "300"),
        ({"columns": ["feature_0", "feature_1"]}, "pass a folder of ready features with --features"),
    ],
)
def test_a_model_that_these_bars_cannot_judge_is_refused(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], told: str
) -> None:
    shutil.rmtree(store)
    write_model(store, hidden=4, layers=1, **{"labels": NEXT_BAR, **fields})
    check_refusal(store, capsys, told, f"v8/{BTC}", "--bars", bars)


def test_bars_with_a_gap_are_refused(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = candles(BTC, 3500)
    kept = np.delete(np.arange(3500), 2000)
    gap = Candles(*(getattr(whole, name)[kept] for name in FIELDS))
    check_refusal(store, capsys, "2000", f"v8/{BTC}", "--bars", write_bars(tmp_path / "gap", gap))


@pytest.mark.parametrize(("dropped", "told"), [("timestamp", "add `timestamp`"), ("close", "add `close`")])
def test_features_without_times_or_closes_are_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dropped: str, told: str
) -> None:
    folder = write_features(tmp_path / "features", candles(BTC, 3500), dropped)
    check_refusal(store, capsys, told, f"v8/{BTC}", "--features", folder)


def test_one_refusal_leaves_all_models_as_they_were(
    store: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(store, "v8", "ETH-USD", hidden=4, layers=1, labels=NEXT_BAR)
    check_refusal(store, capsys, "expected a file of bars of ETH-USD", f"v8/{BTC}", "v8/ETH-USD", "--bars", bars)


def check_refusal(store: Path, capsys: pytest.CaptureFixture[str], told: str, *words: object) -> None:
    """Exit code 2, one sentence, nothing written."""
    before = versions(store)
    assert calibrate(store, *words, "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = [line for line in printed.err.splitlines() if line.startswith("signalserve: ")]
    assert told in line
    assert "Traceback" not in printed.err
    assert versions(store) == before
    assert not (store.parent / "reports").exists()
