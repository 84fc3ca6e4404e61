"""Starting, refusing to start, surviving, and leaving nothing behind."""

import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from live.server import ROOT, Server, copy_store, strict_json, wait_for
from live.windows import last_windows

from launch.ports import Ports
from signalserve.demo import demo_candles

pytestmark = pytest.mark.live

WINDOW = next(last_windows("BTC-USD", demo_candles("BTC-USD", 1_060, seed=3), 1)).by_position()


def ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.watcher}/ready", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_stops_everything_within_ten_seconds(tmp_path: Path, packed: Path, number: signal.Signals) -> None:
    server = Server(tmp_path, store=packed).start()
    assert len(server.processes()) >= 7  # ourselves, Java, four workers, the watcher
    assert server.stop(number) < 10
    assert server.wait_for_end() == 0
    assert server.processes() == []
    assert list(server.temporary.iterdir()) == []  # no socket, no pid file, no folder
    for offset in range(6):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", server.port + offset))


def test_a_signal_during_the_start_leaves_nothing_either(tmp_path: Path, packed: Path) -> None:
    server = Server(tmp_path, store=packed).start(wait=False)
    wait_for(lambda: len(server.processes()) > 2, 60)
    assert server.stop() < 10
    assert server.processes() == [] and list(server.temporary.iterdir()) == []


def test_what_it_prints_is_enough_to_ask_it(server: Server) -> None:
    printed = server.output()
    assert f"{server.url}/predictions/v6_fixed" in printed and f"{server.watcher}/ready" in printed
    assert printed.count("curl -s ") == printed.count("  -> ") == 4
    assert "What the models are worth" in printed and "not measured" not in printed


def refused(server: Server) -> str:
    """The one line that a start which can't succeed prints."""
    server.start(wait=False)
    assert server.wait_for_end(60) == 2
    lines = server.output().strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("signalserve: "), server.output()
    assert server.processes() == []
    return lines[0]


def test_a_taken_port_is_named(server: Server, tmp_path: Path) -> None:
    line = refused(Server(tmp_path, port=server.port, store=server.store))
    assert f"port {server.port} on 127.0.0.1" in line and "make serve" in line


def test_a_broken_serving_yaml_is_named_with_its_line(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "serving.yaml").write_text("defaults:\n  mode: both\n")
    assert "serving.yaml:2: defaults.mode" in refused(Server(tmp_path, store=packed))


def test_a_corrupt_bundle_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path, store=copy_store(tmp_path / "store"))
    weights = next((server.store / "bundles").glob("v8/ETH-USD/*/weights.safetensors"))
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    line = refused(server)
    assert str(weights) in line and "sha256" in line


def test_a_missing_bundle_file_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path, store=copy_store(tmp_path / "store"))
    missing = next((server.store / "bundles").glob("v6_fixed/SOL-USD/*/reference.json"))
    missing.unlink()
    assert str(missing) in refused(server)


def test_an_edited_temperature_is_noticed_before_anything_starts(tmp_path: Path) -> None:
    server = Server(tmp_path, store=copy_store(tmp_path / "store"))
    manifest = next((server.store / "bundles").glob("v8/ETH-USD/*/manifest.json"))
    content = json.loads(manifest.read_text())
    content["calibration"]["temperature"] = 1.0
    manifest.write_text(json.dumps(content))
    assert "golden window: expected probabilities" in refused(server)


def test_a_damaged_archive_is_built_again(tmp_path: Path, packed: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(packed, store)
    (store / "v8.mar").write_bytes((store / "v8.mar").read_bytes()[:100_000])
    server = Server(tmp_path, store=store).start()
    assert "built the archives" in server.output()
    server.stop()


@pytest.mark.parametrize(("device", "words"), [("gpu", "expected auto, cpu or cuda:N"), ("cuda:7", "torch sees")])
def test_a_device_that_is_not_here_is_named(tmp_path: Path, packed: Path, device: str, words: str) -> None:
    assert words in refused(Server(tmp_path, store=packed, options=["--device", device]))


def test_a_port_that_is_none_is_named(tmp_path: Path, packed: Path) -> None:
    server = Server(tmp_path, store=packed)
    server.port = "abc"  # type: ignore[assignment]
    assert "PORT: expected a number from 1024 to 65530" in refused(server)


def test_a_store_without_bundles_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert "found none" in refused(Server(tmp_path, store=tmp_path / "store"))


def test_two_run_side_by_side(server: Server, tmp_path: Path, packed: Path) -> None:
    other = Server(tmp_path, store=packed).start()
    try:
        answers = [one.ask("ensemble", WINDOW).json()["probabilities"] for one in (server, other)]
        assert answers[0] == answers[1]
    finally:
        other.stop()
    assert server.ask("ensemble", WINDOW).status_code == 200


def test_a_killed_worker_comes_back_and_its_counts_stay(server: Server) -> None:
    name = 'signalserve_predictions_total{direction="%s",endpoint="v8",symbol="BTC-USD",variant="v8"}'
    for _ in range(3):
        answer = server.ask("v8", WINDOW).json()
    before = server.metrics()[name % answer["direction"]]
    server.workers("v8")[0].kill()
    wait_for(lambda: server.ask("v8", WINDOW).status_code == 200, 60)
    assert server.metrics()[name % answer["direction"]] >= before + 1
    wait_for(lambda: ready(server), 30)


def test_a_killed_watcher_is_started_again_and_predictions_go_on(server: Server) -> None:
    killed = server.watcher_process()
    started = "signalserve_watcher_started_seconds"
    before = server.metrics()[started]
    killed.kill()
    killed.wait(5)  # gone, whoever reaps it
    answers = 0
    while not ready(server):
        assert server.ask("ensemble", WINDOW).status_code == 200
        answers += 1
    assert answers > 0
    assert server.watcher_process().pid != killed.pid
    assert server.metrics()[started] > before


def test_a_watcher_that_hangs_is_replaced_and_holds_no_predictions_up(server: Server) -> None:
    wait_for(lambda: ready(server), 30)
    told = {"outcomes": [{"prediction_id": "none", "direction": "UP"}]}
    hung = server.watcher_process()
    hung.suspend()
    refusals = []
    while hung.is_running():
        outcome = server.ask("ensemble", told)
        assert outcome.status_code == 503
        refusals.append(outcome.json()["error"]["got"])
        assert server.ask("ensemble", WINDOW).status_code == 200
    waited = sum("timed out" in words for words in refusals)
    assert 0 < waited < len(refusals) / 2  # most were refused at once, and kept no prediction waiting
    assert "the watcher runs but does not answer any more; killing it" in server.output()
    wait_for(lambda: ready(server), 30)
    wait_for(lambda: server.ask("ensemble", told).status_code == 200, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_killed_launcher_leaves_no_process_and_the_ports_free(tmp_path: Path, packed: Path) -> None:
    server = Server(tmp_path, store=packed).start()
    server.stop(signal.SIGKILL)
    wait_for(lambda: server.processes() == [], 20)
    Ports(server.port).require_free()


def test_a_second_service_on_the_same_journal_is_refused(server: Server, tmp_path: Path) -> None:
    wait_for(lambda: ready(server), 30)
    wait_for(lambda: server.metrics()["signalserve_journal_ok"] == 1, 10)
    second = Server(tmp_path, store=server.store)
    second.journal = server.journal
    line = refused(second)
    assert str(server.journal) in line and "another watcher keeps this journal" in line


def test_a_service_that_records_nothing_says_so(tmp_path: Path, packed: Path) -> None:
    server = Server(tmp_path, store=packed, options=["--journal", "none"]).start()
    try:
        assert "journal      none: nothing is recorded" in server.output()
        assert server.ask("ensemble", WINDOW).status_code == 200
        assert not server.journal.exists()
    finally:
        server.stop()


def test_readiness_is_lost_within_seconds_when_the_frontend_hangs(server: Server) -> None:
    java = next(p for p in server.processes() if "org.pytorch.serve.ModelServer" in p.cmdline())
    java.suspend()
    try:
        wait_for(lambda: not ready(server), 10)

        def faults() -> dict[str, str]:
            answer: dict[str, str] = httpx.get(f"{server.watcher}/ready", trust_env=False).json()["not_ready"]
            return answer

        wait_for(lambda: len(faults()) == 12, 10)  # each probe has its own moment
        assert "v8 SOL-USD" in faults()
    finally:
        java.resume()
    wait_for(lambda: ready(server), 30)


def test_a_death_of_torchserve_ends_the_service_with_a_word(tmp_path: Path, packed: Path) -> None:
    server = Server(tmp_path, store=packed).start()
    next(p for p in server.processes() if "org.pytorch.serve.ModelServer" in p.cmdline()).kill()
    assert server.wait_for_end() == 1
    assert "TorchServe ended by itself" in server.output()
    assert server.processes() == []


def test_the_readmes_curls_work_as_they_stand(server: Server) -> None:
    curls = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("curl ")]
    assert len(curls) == 6
    for curl in curls:
        here = curl.replace("var/requests", str(server.folder / "requests"))
        here = here.replace(":8080/", f":{server.port}/").replace(":8083/", f":{server.port + 3}/")
        answer = subprocess.run(shlex.split(here), capture_output=True, check=True).stdout
        if "/metrics" in curl:
            assert b"signalserve_predictions_total" in answer
        else:
            assert strict_json(answer).get("direction") in {"DOWN", "NEUTRAL", "UP", None}
            assert b'"error"' not in answer and b'"not_ready"' not in answer
