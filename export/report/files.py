"""A report -> its two files: the page for people and the JSON for programs."""

import os
from pathlib import Path

from export.report.html import render
from export.report.model import Report
from signalserve.errors import DataError


def write_report(report: Report, folder: Path, stem: str) -> list[Path]:
    """Write folder/stem.html and folder/stem.json, each as a whole, over those of an earlier run; returns both.

    stem: a file name without ending.  Raises DataError where the folder can't be written to.
    """
    if Path(stem).name != stem:
        raise ValueError(f"stem: expected a file name without folders, got {stem!r}")
    texts = {".html": render(report), ".json": report.model_dump_json(indent=1) + "\n"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_replace(folder / (stem + ending), text) for ending, text in texts.items()]
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot write the report: {error.strerror}; mend it or name another folder"
        ) from None


def _replace(path: Path, text: str) -> Path:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        return new.replace(path)
    finally:
        new.unlink(missing_ok=True)
