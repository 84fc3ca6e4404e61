"""`signalserve outcomes import` against a server."""

import argparse
import json
import subprocess
import sys

import pytest
from fake_service import refusal, serving

from signalserve.client import ConnectionFailed, NotReady
from signalserve.commands import outcomes
from signalserve.errors import ConfigError, DataError
from signalserve.outcome_request import read_outcomes


@pytest.fixture
def run(tmp_path):
    """run(rows, *arguments): the exit code for a file of these rows."""

    def run(rows, *arguments):
        file = tmp_path / "outcomes.json"
        file.write_text(json.dumps(rows))
        parser = argparse.ArgumentParser()
        outcomes.add_parser(parser.add_subparsers())
        args = parser.parse_args(["outcomes", "import", str(file), *arguments])
        return args.run(args)

    return run


def rows(n):
    return [{"prediction_id": str(i), "direction": "UP"} for i in range(n)]


def answer(**counts):
    """A service that reads claims as the real one, and says of each request the same."""
    tally = {"joined": 0, "already_known": 0, "unknown": 0, "contradicting": 0, "undecidable": 0, **counts}

    def answer(path, body):
        assert path == "/predictions/ensemble"
        assert read_outcomes(json.loads(body))
        return 200, json.dumps(tally).encode()

    return answer


def test_the_tally_is_told_in_words(run, capsys):
    with serving(answer(joined=1, unknown=2)) as server:
        assert run(rows(3), "--url", server.url) == 0
    assert capsys.readouterr() == (
        "3 outcomes\n"
        "        1 found predictions that had no outcome\n"
        "        2 are about predictions that the journal does not hold\n",
        "",
    )


def test_a_long_file_is_one_tally(run, capsys):
    with serving(answer(joined=1, already_known=999)) as server:
        assert run(rows(2500), "--url", server.url, "--json") == 0
        assert server.connections == 1
    counts = {"joined": 3, "already_known": 2997, "unknown": 0, "contradicting": 0, "undecidable": 0}
    assert json.loads(capsys.readouterr().out) == counts


def test_a_terminal_is_shown_how_far_it_is(run, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with serving(answer(joined=1)) as server:
        assert run(rows(1001), "--url", server.url) == 0
    printed = capsys.readouterr()
    assert "telling outcomes" in printed.err
    assert printed.out.startswith("1,001 outcomes\n")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_contradiction_is_exit_code_1(run, capsys, form):
    with serving(answer(joined=1, contradicting=1)) as server:
        assert run(rows(2), "--url", server.url, *form) == 1
    assert "contradict" in capsys.readouterr().out


def test_a_wrong_file_is_sent_nowhere(run):
    def refuse(path, body):
        raise AssertionError("asked")

    with serving(refuse) as server, pytest.raises(DataError, match=r"outcomes\.json: object 2: direction: expected"):
        run([*rows(1), {"prediction_id": "1", "direction": "SIDEWAYS"}], "--url", server.url)


def test_a_url_that_is_none_is_the_operators_to_mend(run):
    with pytest.raises(ConfigError, match="--url: expected a URL"):
        run(rows(1), "--url", "127.0.0.1:8080")


def test_nobody_at_the_url_is_a_failed_connection(run):
    with serving(answer()) as server:
        url = server.url
    with pytest.raises(ConnectionFailed):
        run(rows(1), "--url", url)


def test_a_service_without_a_journal_says_so(run, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(lambda path, body: (503, refusal("not_ready", 503).content)) as server, pytest.raises(NotReady):
        run(rows(1), "--url", server.url)


def test_a_busy_watcher_is_asked_again(run, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    busy = [(503, refusal("not_ready", 503).content)] * 5  # the client itself asks four times

    def sometimes(path, body):
        return busy.pop() if busy else answer(joined=1)(path, body)

    with serving(sometimes) as server:
        assert run(rows(1), "--url", server.url) == 0
    assert busy == [] and "1 found predictions" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    code = (
        "import sys, signalserve.commands.outcomes; "
        "print([name for name in ('numpy', 'httpx', 'pydantic', 'rich', 'torch', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
