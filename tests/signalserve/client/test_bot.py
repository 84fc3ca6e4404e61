"""The example bot, as a user starts it, and what it makes of answers and errors."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fake_service import Clock, Script, answer_any, ok, prediction, refusal, serving
from stores import BTC, candles

from signalserve.client import Prediction, RequestRefused, SignalClient

BOT = Path(__file__).resolve().parents[3] / "examples" / "bot.py"


@pytest.fixture(scope="module")
def bot():
    spec = importlib.util.spec_from_file_location("bot", BOT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(*arguments):
    return subprocess.run([sys.executable, "-W", "error", BOT, *arguments], capture_output=True, text=True, check=False)


def test_one_round_asks_for_every_symbol():
    with serving(answer_any) as server:
        done = start("--once", "--url", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["BTC-USD", "ETH-USD", "SOL-USD"]
    assert done.stdout.count("hold (below 0.75)") == 3


def test_a_service_that_is_down_is_held_through():
    with serving(answer_any) as server:
        url = server.url
    done = start("--once", "--symbols", BTC, "--url", url)
    assert done.returncode == 0
    assert "hold (no prediction after 4 attempts" in done.stdout


def test_somebody_else_at_the_address_ends_it():
    with serving(lambda path, body: (200, b"hello")) as server:
        done = start("--once", "--url", server.url)
    assert done.returncode == 1
    assert "Invalid JSON" in done.stderr


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        ({}, "hold (below 0.75)"),
        ({"up": 0.8}, "BUY"),
        ({"down": 0.8}, "SELL"),
        ({"neutral": 0.8}, "hold (neutral)"),
        ({"up": 0.8, "warnings": ["clamp_tie", "stale_input"]}, "hold (clamp_tie, stale_input)"),
        ({"up": 0.8, "warnings": ["invariant_saturated"]}, "hold (invariant_saturated)"),
        ({"up": 0.8, "warnings": ["uncalibrated_weights"]}, "BUY"),
    ],
)
def test_it_acts_only_on_a_confident_answer_without_doubts(bot, fields, decision):
    assert bot.decide(made(**fields), 0.75) == decision


def made(up=None, down=None, neutral=None, warnings=()):
    content = prediction(warnings=list(warnings))
    for direction, share in {"UP": up, "DOWN": down, "NEUTRAL": neutral}.items():
        if share is not None:
            rest = dict.fromkeys(content["probabilities"], (1 - share) / 2)
            content |= {"direction": direction, "confidence": share, "probabilities": {**rest, direction: share}}
    return Prediction.model_validate_json(json.dumps(content))


def test_bad_candles_are_held_through_and_a_wrong_request_is_not(bot):
    acts = [refusal("bad_candles"), refusal("unknown_symbol"), ok()]
    transport = httpx.MockTransport(Script(*acts))
    with SignalClient(transport=transport, sleep=Clock().sleep) as client:
        assert bot.ask(client, BTC, candles(), 0.75).startswith("hold (bad candles: bad_candles in features")
        with pytest.raises(RequestRefused):
            bot.ask(client, BTC, candles(), 0.75)
        assert bot.ask(client, BTC, candles(), 0.75) == "16:01  UP      0.471  by ensemble  -> hold (below 0.75)"


def test_a_replay_moves_one_bar_each_time(bot, tmp_path):
    from signalserve.candles import to_rows

    path = tmp_path / "bars.json"
    path.write_text(json.dumps(to_rows(candles(n=bot.BARS + 2))))
    ends = [(len(bars), int(bars.timestamp_ms[-1])) for bars in bot.replay(path)]
    newest = int(candles().timestamp_ms[-1])
    assert ends == [(bot.BARS, newest - 120_000), (bot.BARS, newest - 60_000), (bot.BARS, newest)]


def test_generated_candles_end_with_the_last_closed_bar(bot):
    import time

    bars = next(bot.live(BTC))
    age_s = time.time() - (int(bars.timestamp_ms[-1]) / 1000 + 60)
    assert len(bars) == bot.BARS
    assert 0 <= age_s < 61
