"""The journal's folder as it is found before a start."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from launch import journal
from launch.journal import prepare
from signalserve.errors import ConfigError, JournalError
from signalserve.journal.store import hold


def unwarned(words: str) -> NoReturn:
    raise AssertionError(words)


def test_none_records_nothing(tmp_path: Path):
    assert prepare("none", {"SIGNALSERVE_JOURNAL": str(tmp_path / "journal")}, unwarned) is None
    assert not (tmp_path / "journal").exists()


def test_a_named_folder_is_made_and_given_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert prepare("a/b", {}, unwarned) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("environ", "folder"),
    [({"PORT": "9080"}, "var/journal/9080"), ({"PORT": "9080", "SIGNALSERVE_JOURNAL": "kept"}, "kept")],
)
def test_by_default_the_variable_decides_and_else_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], folder: str
):
    monkeypatch.chdir(tmp_path)
    assert prepare(None, environ, unwarned) == tmp_path / folder


def test_a_journal_that_another_service_writes_is_refused_and_ours_stays_free(tmp_path: Path):
    prepare(str(tmp_path), {}, unwarned)
    lock = hold(tmp_path)
    with pytest.raises(JournalError, match="another folder with --journal"):
        prepare(str(tmp_path), {}, unwarned)
    os.close(lock)
    prepare(str(tmp_path), {}, unwarned)


def test_a_file_in_the_folders_place_is_named_with_a_way_out(tmp_path: Path):
    (tmp_path / "journal").write_text("a file")
    with pytest.raises(
        ConfigError, match=r"journal: can't hold the journal: File exists; name another .*--journal none"
    ):
        prepare(str(tmp_path / "journal"), {}, unwarned)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_may_recover_is_said_loudly_and_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def refuse(folder: Path) -> NoReturn:
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(journal, "hold", refuse)
    warned: list[str] = []
    assert prepare(str(tmp_path), {}, warned.append) == tmp_path
    assert len(warned) == 1 and warned[0].startswith(f"NOTHING IS RECORDED: {tmp_path}: {os.strerror(number)}")
