"""A report -> its two files: the page for people and the JSON for programs."""

import os
from collections.abc import Sequence
from pathlib import Path

from export.report.html import render
from export.report.model import Report
from signalserve.errors import DataError


def write_reports(reports: Sequence[tuple[str, Report]], folder: Path) -> list[tuple[Path, Path]]:
    """Write folder/stem.html and folder/stem.json of each (stem, report), over those of an earlier run; returns both.

    Nothing is replaced before everything is written.
    stem: a file name without ending.  Raises DataError where the folder can't be written to.
    """
    for stem, _ in reports:
        if Path(stem).name != stem:
            raise ValueError(f"stem: expected a file name without folders, got {stem!r}")
    paths = [(folder / f"{stem}.html", folder / f"{stem}.json") for stem, _ in reports]
    texts = [(render(report), report.model_dump_json(indent=1) + "\n") for _, report in reports]
    new = {path: path.with_name(f".{path.name}.{os.getpid()}") for pair in paths for path in pair}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for pair, contents in zip(paths, texts, strict=True):
            for path, text in zip(pair, contents, strict=True):
                new[path].write_text(text, encoding="utf-8")
        for path, written in new.items():
            written.replace(path)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot write the report: {error.strerror}; mend it or name another folder"
        ) from None
    finally:
        if folder.is_dir():
            for written in new.values():
                written.unlink(missing_ok=True)
    return paths
