from pathlib import Path
from typing import Any

import pytest

from export.report.files import write_reports
from export.report.html import render
from export.report.model import Report, read_report
from signalserve.errors import DataError
from tests.export.report import reports


def report(**fields: Any) -> Report:
    return reports.report(sections=[], **fields)


def write_report(one: Report, folder: Path, stem: str) -> tuple[Path, Path]:
    return write_reports([(stem, one)], folder)[0]


def test_a_report_is_written_as_a_page_and_as_data(tmp_path: Path) -> None:
    page, data = write_report(report(), tmp_path / "new" / "folder", "judge")
    assert page == tmp_path / "new" / "folder" / "judge.html"
    assert page.read_text(encoding="utf-8") == render(report())
    assert read_report(data) == report()
    assert sorted(page.parent.iterdir()) == [page, data]


def test_a_report_replaces_that_of_an_earlier_run(tmp_path: Path) -> None:
    write_report(report(title="first"), tmp_path, "judge")
    _, data = write_report(report(title="second"), tmp_path, "judge")
    assert read_report(data).title == "second"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_earlier_report_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, _ = write_report(report(), tmp_path, "judge")
    before = page.read_bytes()

    def full(path: Path, text: str, **options: object) -> int:
        path.write_bytes(text[:10].encode())
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left on device; mend it or name another folder"):
        write_report(report(title="other"), tmp_path, "judge")
    assert page.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_of_several_reports_none_is_written_where_one_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def full(path: Path, text: str, **options: Any) -> int:
        if "second.json" in path.name:
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_reports([("first", report()), ("second", report())], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot write the report: .*; mend it or name another folder"):
        write_report(report(), tmp_path / "file", "judge")


def test_a_name_with_folders_in_it_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a file name without folders, got 'v8/BTC-USD/1'"):
        write_report(report(), tmp_path, "v8/BTC-USD/1")
