"""What the offline commands share on the command line."""

import argparse
import io
import os
from pathlib import Path
from typing import Any

import pytest
from stores import write_model

from export.options import Screen, add_data, add_labels, add_output, check_writable, labels_of, screen_of, source_of
from export.report.model import Report, Verdict
from signalserve.bundle import Labels, load_bundle
from signalserve.drift import limits
from signalserve.errors import ConfigError, DataError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_data(parser)
    add_labels(parser)
    return parser.parse_args(["--bars", "bars", *words])


def test_a_folder_of_bars_or_of_features_is_asked_for():
    assert (source_of(parsed()).folder, source_of(parsed()).kind) == (Path("bars"), "bars")


def test_labels_come_from_the_manifest(tmp_path: Path):
    manifest = load_bundle(write_model(tmp_path)).manifest
    assert labels_of(parsed(), manifest) == manifest.labels == Labels(horizon_bars=15, neutral_band=1e-3)
    assert labels_of(parsed("--horizon", "15"), manifest) == manifest.labels


@pytest.mark.parametrize("words", [("--horizon", "1"), ("--band", "0.015"), ("--horizon", "0")])
def test_a_model_is_not_asked_for_other_labels_than_it_was_taught(tmp_path: Path, words: tuple[str, ...]):
    with pytest.raises(ConfigError, match=r"was taught 15 bars ahead with a band of 0.001, got"):
        labels_of(parsed(*words), load_bundle(write_model(tmp_path)).manifest)


def test_labels_that_nobody_knows_must_be_given_whole(tmp_path: Path):
    manifest = load_bundle(write_model(tmp_path, labels=None)).manifest
    with pytest.raises(ConfigError, match=r"pass --horizon BARS and --band SHARE"):
        labels_of(parsed("--horizon", "15"), manifest)
    assert labels_of(parsed("--horizon", "1", "--band", "0.015"), manifest).neutral_band == 0.015


@pytest.mark.parametrize("words", [("--horizon", "0", "--band", "0.1"), ("--horizon", "1", "--band", "-1")])
def test_labels_out_of_range_are_refused(tmp_path: Path, words: tuple[str, ...]):
    with pytest.raises(ConfigError, match=r"expected 1 bar or more and a share from 0 to 1"):
        labels_of(parsed(*words), load_bundle(write_model(tmp_path, labels=None)).manifest)


def test_a_bar_counts_the_days_that_drift_limits_take(monkeypatch: pytest.MonkeyPatch):
    shown = []
    monkeypatch.setattr(Screen, "progress", lambda _, task, total: shown.append((task, total)))
    screen().drawing("v8/BTC-USD/1")
    assert shown == [("v8/BTC-USD/1: days simulated for drift limits", limits.SIMULATED_DAYS)]


# ---- what is written, and in which order


def screen(*words: str) -> Screen:
    parser = argparse.ArgumentParser()
    add_output(parser)
    return screen_of(parser.parse_args(words))


def report(**fields: Any) -> Report:
    told = {"command": "judge", "title": "May it?", "subject": "v8", "created": "2026-11-24T10:00:00Z"}
    return Report(**{**told, "verdict": Verdict(level="pass", sentence="It may."), **fields})


def version(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    return folder


def test_reports_are_of_the_versions_that_were_just_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    writes = [lambda: version(tmp_path / "2"), lambda: version(tmp_path / "3")]
    screen().finish(writes, lambda written: [("judge", report(subject=str(written[1])))], tmp_path / "reports")
    shown = capsys.readouterr().out
    assert f"May it?: {tmp_path / '3'}" in shown
    assert shown.splitlines()[-2:] == [f"wrote {tmp_path / '2'}", f"wrote {tmp_path / '3'}"]


def refuse() -> Path:
    raise DataError("the disk is full")


def test_where_a_version_or_a_report_cannot_be_written_neither_stays(tmp_path: Path):
    (tmp_path / "file").touch()
    first = tmp_path / "2"
    with pytest.raises(DataError, match="the disk is full"):
        screen().finish([lambda: version(first), refuse], lambda _: [("judge", report())], tmp_path / "reports")
    with pytest.raises(DataError, match="cannot write the report"):
        screen().finish([lambda: version(first)], lambda _: [("judge", report())], tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interruption_leaves_no_version_behind(tmp_path: Path):
    def interrupt(written: list[Path]) -> list[tuple[str, Report]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        screen().finish([lambda: version(tmp_path / "2")], interrupt, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_went_away_is_told_when_all_is_written(tmp_path: Path):
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    talking = screen()
    talking.console.file = Gone()
    with pytest.raises(BrokenPipeError):
        talking.finish([lambda: version(tmp_path / "2")], lambda _: [("judge", report())], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "judge.html", "judge.json"]


def test_a_folder_that_cannot_be_written_to_is_named_and_none_is_made(tmp_path: Path):
    (tmp_path / "file").touch()
    check_writable(tmp_path, tmp_path / "new" / "folder")
    with pytest.raises(DataError, match=r"file/new: cannot be written: Not a directory; choose another folder"):
        check_writable(tmp_path / "new", tmp_path / "file" / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(DataError, match=r"new: cannot be written: Permission denied"):
        check_writable(tmp_path / "new")
