"""Files of the journal's rows, read back by other readers than wrote them."""

import csv
from contextlib import closing

import pandas
import pyarrow.parquet
import pytest
from journals import MINUTE, START_MS, SYMBOL, add_prediction, insert, new_journal

from signalserve.errors import DataError
from signalserve.journal import default_folder, tables
from signalserve.journal.files import MOMENTS, write_rows
from signalserve.journal.reading import tail
from signalserve.journal.tables import CLOSES, CONFIGS, PREDICTIONS, Batches

COLUMNS = list(PREDICTIONS.columns)
NAMES = [MOMENTS.get(name, name) for name in COLUMNS]


def rows(journal, since_ms=None, until_ms=None):
    return Batches(journal, PREDICTIONS, since_ms, until_ms)


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 3)
    with closing(new_journal(tmp_path / "journal")) as connection:
        for minute in range(8):
            add_prediction(connection, minute, outcome=minute % 3, request_id='a "quoted", name')
        add_prediction(connection, 8, as_of_ms=None, bundle_id=None, pool="{}", logits=(None, None, None), close=None)
        yield connection


def test_parquet_holds_every_value_and_its_kind(journal, tmp_path):
    path = tmp_path / "rows.parquet"
    assert write_rows(rows(journal), COLUMNS, path) == 9
    table = pyarrow.parquet.read_table(path)
    assert table.column_names == NAMES
    assert str(table.schema.field("as_of").type) == "timestamp[ms, tz=UTC]"
    found = table.to_pylist()
    for row, expected in zip(found, tail(journal, 9), strict=True):
        for name, value in expected.items():
            got = row[MOMENTS.get(name, name)]
            assert (got if name not in MOMENTS or got is None else round(got.timestamp() * 1000)) == value
    assert found[8]["as_of"] is None


def test_csv_says_the_same(journal, tmp_path):
    path = tmp_path / "rows.csv"
    assert write_rows(rows(journal, START_MS + MINUTE, START_MS + 4 * MINUTE), COLUMNS, path) == 3
    frame = pandas.read_csv(path, parse_dates=["as_of"])
    assert list(frame.columns) == NAMES
    assert frame["as_of"].map(lambda moment: moment.timestamp() * 1000).tolist() == [
        START_MS + minute * MINUTE for minute in (1, 2, 3)
    ]
    assert frame["p_up"].tolist() == [0.5] * 3
    assert frame["request_id"][0] == 'a "quoted", name'


def test_a_text_of_several_lines_comes_back_whole(journal, tmp_path):
    text = 'defaults:\n  mode: "v8"  # as asked, by ann\n'
    insert(journal, "configs", sha256="cafe", text=text, first_ms=START_MS)
    path = tmp_path / "configs.csv"
    assert write_rows(Batches(journal, CONFIGS), list(CONFIGS.columns), path) == 2
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["sha256"] for row in found] == ["c0ffee", "cafe"]
    assert found[1]["text"] == text


def test_closes_keep_their_prices_and_moments(journal, tmp_path):
    insert(journal, "closes", symbol=SYMBOL, feed="w-1", at_ms=START_MS, close=1 / 3, told_ms=START_MS + 1)
    insert(journal, "closes", symbol=SYMBOL, feed="told", at_ms=START_MS, close=None, told_ms=START_MS + 1)
    path = tmp_path / "closes.parquet"
    assert write_rows(Batches(journal, CLOSES), list(CLOSES.columns), path) == 2
    told, own = pyarrow.parquet.read_table(path).to_pylist()
    assert (told["feed"], told["close"], own["close"]) == ("told", None, 1 / 3)
    assert (own["told_at"] - own["at"]).total_seconds() == 0.001


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_of_no_rows_there_are_the_columns(journal, tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    assert write_rows(rows(journal, 0, 1), COLUMNS, path) == 0
    if suffix == ".csv":
        assert next(csv.reader([path.read_text()])) == NAMES
    else:
        assert pyarrow.parquet.read_table(path).shape == (0, len(NAMES))


def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_other(journal, tmp_path):
    def broken():
        yield from list(rows(journal))[:2]
        raise OSError(28, "No space left on device")

    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(DataError, match=r"rows\.csv: cannot be written: No space left on device"):
        write_rows(broken(), COLUMNS, path)
    assert path.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["journal", "rows.csv"]


def test_another_kind_of_file_is_refused(journal, tmp_path):
    with pytest.raises(DataError, match=r"rows\.xlsx: expected a file ending in \.parquet or \.csv"):
        write_rows(rows(journal), COLUMNS, tmp_path / "rows.xlsx")


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({}, "var/journal/8080"),
        ({"PORT": "9080"}, "var/journal/9080"),
        ({"PORT": "9080", "SIGNALSERVE_JOURNAL": "/a/b"}, "/a/b"),
        ({"PORT": "", "SIGNALSERVE_JOURNAL": ""}, "var/journal/8080"),
    ],
)
def test_the_folder_that_nobody_names_is_the_one_of_the_port(environ, folder):
    assert str(default_folder(environ)) == folder
