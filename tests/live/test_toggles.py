"""serving.yaml, changed while it runs."""

import time
from collections.abc import Iterator

import pytest
from live.server import Server, wait_for
from live.windows import last_windows

from signalserve.demo import demo_candles

pytestmark = pytest.mark.live

WINDOW = next(last_windows("SOL-USD", demo_candles("SOL-USD", 1_060, seed=3), 1)).by_position()


@pytest.fixture
def settings(server: Server) -> Iterator[Server]:
    """The server, whose serving.yaml is put back afterwards."""
    before = server.settings.read_text()
    yield server
    replace(server, before)
    time.sleep(1)


def replace(server: Server, text: str) -> None:
    """As an editor that is worth its name does it: the new file takes the old one's place as a whole."""
    new = server.settings.with_suffix(".new")
    new.write_text(text)
    new.replace(server.settings)


WHOLE = (
    "allow_failed_gates: true\n"
    "defaults: {mode: %s, weights: {v6_fixed: 0.4, v8: 0.6}, pool: {method: linear, temperature: 1.0}}\n"
)


def variants(server: Server) -> set[str]:
    """What answers now, in every worker: enough requests to meet both."""
    return {server.ask("ensemble", WINDOW).json()["variant"] for _ in range(10)}


def test_a_change_is_in_force_within_a_second_in_every_worker(settings: Server) -> None:
    replace(settings, WHOLE % "ensemble" + "symbols:\n  SOL-USD: {mode: v6_fixed}\n")
    time.sleep(1)
    assert variants(settings) == {"v6_fixed"}


def test_an_experiment_answers_with_its_arm(settings: Server) -> None:
    experiment = "experiment: {name: x, split: {v6_fixed: 0.0, v8: 1.0}, control: v6_fixed, salt: s}\n"
    replace(settings, WHOLE % "ab" + experiment)
    time.sleep(1)
    answer = settings.ask("ensemble", WINDOW).json()
    assert (answer["mode"], answer["arm"], answer["variant"]) == ("ab", "v8", "v8")


@pytest.mark.parametrize("wrong", [WHOLE % "everything", "", WHOLE[: len(WHOLE) // 2], (WHOLE % "v8") * 2])
def test_a_wrong_file_changes_nothing_and_shows_within_a_second(settings: Server, wrong: str) -> None:
    valid = [f'signalserve_config_valid{{endpoint="{endpoint}"}}' for endpoint in ("v6_fixed", "v8", "ensemble")]
    assert [settings.metrics()[name] for name in valid] == [1, 1, 1]
    before = variants(settings)
    replace(settings, wrong)
    time.sleep(1)
    assert [settings.metrics()[name] for name in valid] == [0, 0, 0]
    assert variants(settings) == before
    assert "config_refused" in settings.output()


def test_a_worker_that_starts_while_the_file_is_wrong_serves_by_the_last_good_one(settings: Server) -> None:
    replace(settings, WHOLE % "v6_fixed")
    time.sleep(1)
    replace(settings, WHOLE % "ensembel")
    time.sleep(1)
    for worker in settings.workers("ensemble"):
        worker.kill()
    wait_for(lambda: settings.ask("ensemble", WINDOW).status_code == 200, 60)
    assert variants(settings) == {"v6_fixed"}
    assert settings.metrics()['signalserve_config_valid{endpoint="ensemble"}'] == 0
