"""Files of outcomes: every format gives the same, and a wrong row is named by its line."""

import json
import math
from datetime import UTC, datetime

import pandas as pd
import pytest

from signalserve.client import Outcome
from signalserve.errors import DataError
from signalserve.outcome_files import read_outcomes_file

BTC = "BTC-USD"
AS_OF = datetime(2025, 11, 24, 16, 1, tzinfo=UTC)
EXPECTED = [
    Outcome("0193", direction="UP"),
    Outcome("0194", close=67012.5),
    Outcome(symbol=BTC, as_of=AS_OF, direction="DOWN"),
]
ROWS = [
    {"prediction_id": "0193", "direction": "UP"},
    {"prediction_id": "0194", "close": 67012.5},
    {"symbol": BTC, "as_of": "2025-11-24T16:01:00Z", "direction": "DOWN"},
]
TABLE = pd.DataFrame(ROWS).assign(as_of=lambda t: pd.to_datetime(t["as_of"]))


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("o.csv", lambda path: TABLE.to_csv(path, index=False)),
        ("o.csv", lambda path: TABLE.to_csv(path, index=False, sep=";")),
        ("o.parquet", lambda path: TABLE.to_parquet(path)),
        ("o.json", lambda path: path.write_text(json.dumps(ROWS))),
        ("o.json", lambda path: TABLE.to_json(path, orient="records", date_format="iso")),
        ("o.ndjson", lambda path: TABLE.to_json(path, orient="records", lines=True, date_format="iso")),
        ("o.json", lambda path: path.write_text("\n\n".join(map(json.dumps, ROWS)) + "\n")),
    ],
    ids=["csv", "semicolons", "parquet", "json", "pandas", "ndjson", "lines in json"],
)
def test_every_format_gives_the_same(tmp_path, name, save):
    save(tmp_path / name)
    assert read_outcomes_file(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    "time", ["2025-11-24 16:01", "2025-11-24T17:01:00+01:00", "1764000060", "1764000060000", "1764000060000000"]
)
def test_times_may_be_written_as_in_files_of_candles(write, time):
    path = write("o.csv", f"symbol,as_of,direction\n{BTC},{time},UP\n")
    assert read_outcomes_file(path) == [Outcome(symbol=BTC, as_of=AS_OF, direction="UP")]


def test_other_columns_and_other_spellings_of_case_are_no_obstacle(write):
    path = write("o.csv", "Prediction ID,note,CLOSE\n0193,seen by eye,1.5\n\n0194,,2\n")
    assert read_outcomes_file(path) == [Outcome("0193", close=1.5), Outcome("0194", close=2.0)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("o.csv", "prediction_id,direction\n0193,UP\n0194,\n", r"line 3: outcome: expected exactly one of direction"),
        ("o.csv", "prediction_id,direction\n0193,up\n", r"line 2: direction: expected one of DOWN, NEUTRAL, UP"),
        ("o.csv", "prediction_id,close\n0193,1;5\n", r"line 2: close: expected a price above 0, got '1;5'"),
        ("o.csv", "prediction_id,close\n0193,nan\n", r"line 2: close: expected a price above 0, got nan"),
        ("o.csv", "symbol,as_of,close\nBTC,noon,1\n", r"line 2: as_of: expected a time such as .* got 'noon'"),
        ("o.csv", "symbol,as_of,close\nBTC,12,1\n", r"line 2: as_of: expected a time such as .* got '12'"),
        ("o.csv", "prediction_id,close\n0193\n", r"line 2: expected 2 values as in the header, got 1"),
        ("o.csv", "prediction_id,symbol,as_of,close\n0193,BTC,17e8,1\n", r"line 2: .* got prediction_id and symbol"),
        ("o.csv", f"prediction_id,close\n0193,{10**400}\n", r"line 2: close: expected a price above 0, got inf"),
        ("o.json", f'[{{"prediction_id": "0193", "close": {10**400}}}]', r"object 1: close: expected a price above 0"),
        ("o.json", f'[{{"prediction_id": "0193", "close": {"9" * 5000}}}]', r"cannot be read as json"),
        ("o.csv", "prediction_id,close\n", r"expected at least one outcome, got none"),
        ("o.csv", "", r"expected at least one outcome, got none"),
        ("o.json", '[{"prediction_id": "0193", "close": 1}, 7]', r"object 2: expected an object, got 7"),
        ("o.json", '[{"prediction_id": "0193", "close": [1]}]', r"object 1: close: expected a price .*, got \[1\]"),
        ("o.json", "[", r"cannot be read as json: .* line 1"),
        ("o.ndjson", '{"prediction_id": "0193", "close": 1}\n{\n', r"line 2: expected an object a line, or one array"),
        ("o.parquet", "PAR1", r"cannot be read as parquet"),
        ("o.xlsx", "", r"expected a file ending in \.csv, \.json, \.ndjson, \.parquet; convert it"),
    ],
)  # fmt: skip
def test_what_is_no_outcome_is_named_by_file_and_line(write, name, content, words):
    with pytest.raises(DataError, match=rf"{name}: {words}"):
        read_outcomes_file(write(name, content))


def test_a_wrong_row_of_parquet_is_named_by_its_number(tmp_path):
    pd.DataFrame({"prediction_id": ["0193", "0194"], "close": [1.0, math.inf]}).to_parquet(tmp_path / "o.parquet")
    with pytest.raises(DataError, match="row 2: close: expected a price above 0, got inf"):
        read_outcomes_file(tmp_path / "o.parquet")


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read as csv: .*No such file"):
        read_outcomes_file(tmp_path / "none.csv")
