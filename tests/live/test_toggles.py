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


def variants(server: Server) -> set[str]:
    """What answers now, in every worker: enough requests to meet both."""
    return {server.ask("ensemble", WINDOW).json()["variant"] for _ in range(10)}


def test_a_change_is_in_force_within_a_second_in_every_worker(settings: Server) -> None:
    replace(settings, "defaults: {mode: ensemble}\nsymbols:\n  SOL-USD: {mode: v6_fixed}\n")
    time.sleep(1)
    variants(settings)  # a worker that was idle reads the file with its next request
    assert variants(settings) == {"v6_fixed"}


def test_an_experiment_answers_with_its_arm(settings: Server) -> None:
    replace(
        settings,
        "defaults: {mode: ab}\nexperiment: {name: x, split: {v6_fixed: 0.0, v8: 1.0}, control: v6_fixed, salt: s}\n",
    )
    time.sleep(1)
    variants(settings)
    answer = settings.ask("ensemble", WINDOW).json()
    assert (answer["mode"], answer["arm"], answer["variant"]) == ("ab", "v8", "v8")


def test_a_wrong_file_changes_nothing_and_shows(settings: Server) -> None:
    valid = 'signalserve_config_valid{endpoint="ensemble"}'
    assert settings.metrics()[valid] == 1
    before = variants(settings)
    replace(settings, "defaults: {mode: everything}\n")
    time.sleep(1)
    assert variants(settings) == before
    wait_for(lambda: settings.metrics()[valid] == 0, 5)
    assert "defaults.mode" in settings.output()
