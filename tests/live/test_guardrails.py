"""The accident, again: a network gets its features unscaled, over HTTP, with two workers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from live.server import ROOT, Server, wait_for
from stores import BTC, request_body
from workers import broken_v8

from signalserve.journal import LATCHES
from signalserve.latches import read_latches

pytestmark = pytest.mark.live


@pytest.fixture
def server(tmp_path: Path):
    """A service whose V8 has logits of thousands, as one whose scaler is bypassed; its golden window says the same."""
    (tmp_path / "serving.yaml").write_text(
        "defaults: {mode: v8, weights: {v6_fixed: 0.5, v8: 0.5}, pool: {method: linear, temperature: 1.0}}\n"
    )
    running = Server(tmp_path, store=broken_v8(tmp_path / "store")).start()
    yield running
    running.stop()


def toggle(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "signalserve.commands.main", "toggle", *arguments]
    places = ["--settings", str(server.settings), "--journal", str(server.journal), "--model-store", str(server.store)]
    return subprocess.run([*command, *places], capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_it_is_out_within_five_requests_the_control_answers_and_an_operator_clears_it(server: Server) -> None:
    answers = [server.ask("ensemble", request_body(seed=seed)).json() for seed in range(8)]
    wrong = [answer for answer in answers if not answer["degraded"]]
    assert len(wrong) < 5 and not any(answer["degraded"] for answer in answers[: len(wrong)])
    assert {answer["variant"] for answer in answers[len(wrong) :]} == {"v6_fixed"}
    assert "clamped" in answers[-1]["degraded_reason"]

    [latch] = read_latches(server.journal / LATCHES)
    assert (latch.endpoint, latch.symbol, latch.generation) == ("ensemble", BTC, "v8")
    wait_for(
        lambda: server.metrics()['signalserve_model_out{endpoint="ensemble",generation="v8",symbol="BTC-USD"}'] == 1, 5
    )
    shown = json.loads(toggle(server, "show", "--json").stdout)
    assert "v8" in json.dumps(shown)

    refused = toggle(server, "clear", BTC, "v8")  # nobody at a terminal, and no --yes
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert toggle(server, "clear", BTC, "v8", "--yes", "--why", "drill").returncode == 0
    after = [server.ask("ensemble", request_body(seed=seed)).json()["degraded"] for seed in range(8)]
    assert after[0] is False and after[-1] is True and sum(not degraded for degraded in after) < 5


def test_with_both_models_broken_nothing_is_predicted(tmp_path: Path) -> None:
    (tmp_path / "serving.yaml").write_text(
        "defaults: {mode: ensemble, weights: {v6_fixed: 0.5, v8: 0.5}, pool: {method: linear, temperature: 1.0}}\n"
    )
    server = Server(tmp_path, store=broken_v8(tmp_path / "store", gain=1e4)).start()
    try:
        responses = [server.ask("ensemble", request_body(seed=seed)) for seed in range(6)]
        assert responses[-1].status_code == 503
        assert responses[-1].json()["error"]["code"] == "no_healthy_arm"
    finally:
        server.stop()
