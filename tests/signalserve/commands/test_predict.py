"""`signalserve predict`, in process on tiny models and against a server."""

import argparse
import csv
import json
import re
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from fake_service import refusal, serving
from stores import BTC, candles, write_settings, write_store

from signalserve.bundle import load_bundle
from signalserve.candles import FIELDS, last, to_rows
from signalserve.client import BadVariant, ConnectionFailed, UnknownSymbol
from signalserve.commands import predict
from signalserve.commands.predict import add_parser
from signalserve.demo import demo_candles
from signalserve.errors import BundleError, ConfigError, DataError
from signalserve.service import RawRequest, Service
from signalserve.skill import skill_words


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def run(store, tmp_path, capsys):
    """run(*arguments): the exit code is 0, and this is what was printed."""
    settings = write_settings(tmp_path / "serving.yaml")

    def run(*arguments: object) -> str:
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        where = ["--symbol", BTC, "--model-store", store, "--settings", settings]
        args = parser.parse_args(["predict", *map(str, [*where, *arguments])])
        assert args.run(args) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def bars(tmp_path):
    """A csv of as many bars as a request needs."""
    path = tmp_path / "bars.csv"
    write_csv(path, to_rows(candles()))
    return path


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])


def skill_of(store, generation):
    """The line that says what a model is worth, as `skill_words` has it, on one line."""
    return " ".join(skill_words(load_bundle(store / "bundles" / generation / BTC / "1").manifest).split())


def test_the_table_tells_all_that_matters(run, bars, store):
    shown = " ".join(run("--candles", bars).split())
    assert re.search(r"BTC-USD (DOWN|NEUTRAL|UP) confidence 0\.\d{3}", shown)
    assert re.search(r"as of 2025-11-24 16:01:00 UTC, \d+ days ago", shown)
    assert "by ensemble (mode ensemble)" in shown
    assert "linear pool, T 1" in shown
    assert re.search(r"v6_fixed 1 0\.50 2 (-?\d+\.\d\d ){3}no (0\.\d{3} ?){3}", shown)
    assert "stale_input: the last bar closed more than three bars ago" in shown
    assert all(skill_of(store, generation) in shown for generation in ("v6_fixed", "v8"))


def test_json_is_the_response_as_it_came(run, bars):
    content = json.loads(run("--candles", bars, "--json"))
    assert (content["symbol"], content["as_of"], len(content["models"])) == (BTC, "2025-11-24T16:01:00Z", 2)


def test_a_server_and_this_process_say_the_same(run, bars, store, tmp_path):
    service = Service.load(store, "ensemble", settings_path=write_settings(tmp_path / "other.yaml"))

    def answer(path, body):
        [reply] = service.answer([RawRequest(body, {"content-type": "application/json"})])
        return reply.status, reply.body

    with serving(answer) as server:
        there = json.loads(run("--candles", bars, "--json", "--url", server.url))
        table = run("--candles", bars, "--url", server.url)
    here = json.loads(run("--candles", bars, "--json"))
    assert without_ids(there) == without_ids(here)
    assert "What the models are worth" not in table  # a response does not say


def without_ids(content):
    return {name: value for name, value in content.items() if name not in ("prediction_id", "request_id")}


def test_json_from_a_server_keeps_every_byte(run, bars):
    body = b'{"a field of tomorrow":   1}'
    with serving(lambda path, content: (200, body)) as server:
        assert run("--candles", bars, "--json", "--url", server.url) == body.decode() + "\n"


def test_demo_candles_are_called_what_they_are(run):
    shown = " ".join(run("--demo").split())
    assert "generated candles, from no market" in shown
    assert re.search(r"UTC, \d+ s ago", shown)
    assert "stale_input" not in shown


@pytest.mark.parametrize("endpoint", ["v6_fixed", "v8"])
def test_an_endpoint_is_its_model(run, bars, store, endpoint):
    content = json.loads(run("--candles", bars, "--json", "--endpoint", endpoint))
    assert [model["generation"] for model in content["models"]] == [endpoint]
    shown = " ".join(run("--candles", bars, "--endpoint", endpoint).split())
    told = [generation for generation in ("v6_fixed", "v8") if skill_of(store, generation) in shown]
    assert told == [endpoint]


def test_weights_and_variant_overrule_the_settings(run, bars):
    content = json.loads(run("--candles", bars, "--json", "--weights", "v6_fixed=0.9, v8=0.1"))
    assert [model["weight"] for model in content["models"]] == [0.9, 0.1]
    assert json.loads(run("--candles", bars, "--json", "--variant", "v8"))["variant"] == "v8"


def test_a_bar_that_has_not_closed_is_left_out(run, tmp_path, capsys):
    now = demo_candles(BTC, 1062)
    open_now = replace(now, timestamp_ms=now.timestamp_ms + 60_000)  # the last one is open now
    write_csv(tmp_path / "live.csv", to_rows(open_now))
    content = json.loads(run("--candles", tmp_path / "live.csv", "--json"))
    closed = last(open_now, 2).timestamp_ms[0] + 60_000
    assert content["as_of"] == f"{predict.datetime.fromtimestamp(closed / 1000, predict.UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_too_few_bars_are_refused_with_the_number(run, tmp_path):
    write_csv(tmp_path / "few.csv", to_rows(candles(n=1059)))
    with pytest.raises(DataError, match=r"few\.csv: expected at least 1,060 closed bars .* got 1,059"):
        run("--candles", tmp_path / "few.csv")


def test_what_the_service_refuses_comes_out_as_its_class(run, bars):
    with pytest.raises(UnknownSymbol, match="expected one of BTC-USD"):
        run("--candles", bars, "--symbol", "XRP-USD")
    answer = refusal("bad_variant")
    with serving(lambda path, body: (422, answer.content)) as server, pytest.raises(BadVariant):
        run("--candles", bars, "--url", server.url)


def test_nobody_at_the_url_is_a_failed_connection(run, monkeypatch):
    with serving(lambda path, body: None) as server:
        url = server.url
    with pytest.raises(ConnectionFailed, match="is the service running there"):
        run("--demo", "--url", url)


def test_what_the_operator_must_mend_is_an_operators_error(run, tmp_path):
    with pytest.raises(BundleError, match="found none"):
        run("--demo", "--model-store", tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        run("--demo", "--settings", tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="expected a URL"):
        run("--demo", "--url", "127.0.0.1:8080")


def test_without_torch_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"needs torch: pip install 'signalserve\[cpu\]', or name a service by --url"):
        run("--demo")


def test_without_rich_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs rich: pip install 'signalserve\[cli\]', or ask for --json"):
        run("--demo")


@pytest.mark.parametrize("text", ["v8", "v8=", "=0.5,", "v8=a"])
def test_weights_that_are_none_are_refused(run, text, capsys):
    with pytest.raises(SystemExit):
        run("--demo", "--weights", text)
    assert "expected generations and shares such as v6_fixed=0.4,v8=0.6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 minutes ago"), (7200, "2 hours ago"), (1e6, "12 days ago"),
     (-5, "5 s ahead of this machine's clock")],
)  # fmt: skip
def test_an_age_reads_well(seconds, words):
    assert predict._age(timedelta(seconds=seconds)) == words
