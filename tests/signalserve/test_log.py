"""Log lines: one JSON object each, on stderr, silent until asked for."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from signalserve.log import LOGGER, JsonFormatter, event, log_to_stderr


@pytest.fixture(autouse=True)
def leave_logging_as_it_was() -> Iterator[None]:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


def test_nothing_is_written_until_a_process_asks(capfd: pytest.CaptureFixture[str]):
    LOGGER.handlers[:] = [logging.NullHandler()]
    LOGGER.propagate = False
    event(logging.ERROR, "request_refused")
    assert capfd.readouterr() == ("", "")


def test_an_event_is_one_json_object_on_a_line_of_stderr(capsys: pytest.CaptureFixture[str]):
    log_to_stderr()
    event(logging.WARNING, "request_refused", request_id="bot\n7", status=422, codes=["bad_shape"])
    out, err = capsys.readouterr()
    line = json.loads(err)
    assert (out, err.count("\n")) == ("", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "event": "request_refused",
        "request_id": "bot\n7",
        "status": 422,
        "codes": ["bad_shape"],
    }


def test_asking_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]):
    log_to_stderr()
    log_to_stderr()
    event(logging.INFO, "bundle_loaded")
    assert capsys.readouterr().err.count("bundle_loaded") == 1


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]):
    log_to_stderr(logging.ERROR)
    event(logging.WARNING, "request_refused")
    assert capsys.readouterr().err == ""


def test_an_exception_stays_on_the_line():
    try:
        raise ValueError("a reason")
    except ValueError:
        import sys

        record = LOGGER.makeRecord("signalserve", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: a reason" in json.loads(line)["exception"]


def test_what_json_does_not_know_is_written_as_text(capsys: pytest.CaptureFixture[str]):
    log_to_stderr()
    event(logging.INFO, "config_refused", reason=ValueError("why"))
    assert json.loads(capsys.readouterr().err)["reason"] == "why"
