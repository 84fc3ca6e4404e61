"""serving.yaml: what it means, how its mistakes are worded, and how it is watched."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from stores import whole, write_settings

from signalserve.errors import ConfigError
from signalserve.settings import Settings, load_settings, parse_settings
from signalserve.watched import EVERY_S, WatchedSettings

AB = """\
defaults:
  mode: ab
experiment:
  name: v8-rollout
  split: {v6_fixed: 0.8, v8: 0.1, ensemble: 0.1}
  control: v6_fixed
  salt: "2026-11"
"""


def test_the_file_in_the_repository_is_right():
    settings = load_settings(Path(__file__).resolve().parents[2] / "serving.yaml")
    assert settings.defaults.weights == {"v6_fixed": 0.4, "v8": 0.6}
    assert settings.of("BTC-USD").mode == "ensemble"


@pytest.mark.parametrize("text", ["", "defaults:\n", "defaults: {mode: v8}", "defaults: {mode: v8, weights: {v8: 1}}"])
def test_a_file_that_may_be_half_written_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"defaults: (expected mode, weights and pool, got no|Input should be)"):
        parse_settings(text, "serving.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: {mode: v8}\ndefaults: {mode: v6_fixed}", "f:2: the key 'defaults' a second time"),
        ("symbols:\n  SOL-USD: {mode: v8}\n  SOL-USD: {mode: v8}", "f:3: the key 'SOL-USD' a second time"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_settings(text, "f")


def test_a_symbol_takes_what_it_leaves_out_from_the_defaults():
    text = "defaults: {mode: v8, pool: {method: log, temperature: 1.1}}\nsymbols: {SOL-USD: {mode: v6_fixed}}"
    settings = parse_settings(whole(text), "f")
    assert settings.of("SOL-USD").mode == "v6_fixed"
    assert settings.of("SOL-USD").pool.temperature == 1.1
    assert settings.of("BTC-USD").mode == "v8"


def test_an_experiment_is_read_whole():
    experiment = parse_settings(whole(AB), "f").experiment
    assert experiment is not None
    assert experiment.split == {"v6_fixed": 0.8, "v8": 0.1, "ensemble": 0.1}
    assert experiment.block_minutes == 60


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults:\n  mode: v7\n", "f:2: defaults.mode: Input should be 'v6_fixed', 'v8', 'ensemble' or 'ab'"),
        ("defaults:\n  mode: v8\n  weights: {v6_fixed: 0.4, v8: 0.7}", "f:3: .*weights must sum to 1, got 1.1"),
        ("defaults:\n  weights:\n    v6_fixed: -0.5\n    v8: 1.5\n", "f:3: defaults.weights.v6_fixed: .*greater than"),
        ("defaults:\n  weights:\n    v6_fixed: .nan\n    v8: 1\n", "f:3: defaults.weights.v6_fixed: .*"),
        ("defaults:\n  weights: {v9: 1}", "f:2: defaults.weights.v9: Input should be 'v6_fixed' or 'v8'"),
        ("\n\ndefault: {}\n", "f:3: default: unknown key; remove it or correct its spelling"),
        ("symbols:\n  BTC-USD:\n    mdoe: v8\n", "f:3: symbols.BTC-USD.mdoe: unknown key"),
        ("defaults: {pool: {temperature: 0}}", "f:1: defaults.pool.temperature: .*greater than 0"),
        ("defaults: {pool: {method: median}}", "f:1: defaults.pool.method: Input should be 'linear' or 'log'"),
        ("defaults: {mode: ab}", "mode ab in defaults needs an `experiment:` section"),
        ("symbols: {SOL-USD: {mode: ab}}", "mode ab in symbols.SOL-USD needs an `experiment:` section"),
        (AB.replace("0.8", "0.7"), "f:3: experiment: split must sum to 1, got 0.9"),
        (AB.replace("control: v6_fixed", "control: v8").replace("v8: 0.1, ", "").replace("0.8", "0.9"), "control 'v8'"),
        (AB + "  block_minutes: 0\n", "f:8: experiment.block_minutes: .*greater than or equal to 1"),
        ("defaults: [", "f:1: not valid YAML"),
        ("a: 1\n  b: 2\n", "f:2: not valid YAML"),
        ("- mode: v8", "the file: .*valid dictionary"),
        ("salt: !!python/object/apply:os.system ['true']", "f:1: not valid YAML: could not determine a constructor"),
    ],
)
def test_a_mistake_is_worded_with_its_line_and_place(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_settings(text, "f")


@pytest.mark.parametrize("text", ["experiment: {salt: 2026-11-31}", "defaults: {mode: 0x_}", "[" * 1000])
def test_what_yaml_itself_trips_over_is_a_config_error_too(text: str):
    # PyYAML takes 2026-11-31 for a date and lets its ValueError through
    with pytest.raises(ConfigError, match="f:"):
        parse_settings(text, "f")


@hypothesis_settings(deadline=None)
@given(st.text() | st.text(alphabet="abdefmosx:{}[]-&*!|>'\"#%@ \n0123456789._~?,"))
def test_any_text_is_settings_or_a_config_error(text: str):
    try:
        assert isinstance(parse_settings(text, "f"), Settings)
    except ConfigError as error:
        assert str(error).startswith("f:")


@pytest.mark.parametrize("split", ["v6_fixed: 0.333333, v8: 0.666667", "v6_fixed: 0.333333, v8: 0.666666"])
def test_shares_of_six_decimals_add_up(split: str):
    # the second is 1e-6 short, which the contract allows, and a hair more than that in binary
    assert parse_settings(whole(f"defaults: {{weights: {{{split}}}}}"), "f").defaults.weights["v6_fixed"] == 0.333333


def test_shares_that_are_more_than_1e_6_short_do_not_add_up():
    with pytest.raises(ConfigError, match=r"weights must sum to 1, got 0\.999998"):
        parse_settings("defaults: {weights: {v6_fixed: 0.333332, v8: 0.666666}}", "f")


@pytest.mark.parametrize("prepare", [lambda path: None, Path.mkdir, lambda path: path.write_bytes(b"\xff")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, prepare: Callable[[Path], object]):
    prepare(tmp_path / "serving.yaml")
    with pytest.raises(ConfigError, match=r"serving\.yaml: (No such file|Is a directory|.*can't decode)"):
        load_settings(tmp_path / "serving.yaml")


# ---- watched


class Desk:
    """A watched file, looked at when told."""

    def __init__(self, folder: Path, text: str = "defaults: {mode: v8}") -> None:
        self.path = folder / "serving.yaml"
        self.last_good = folder / "last-good.yaml"
        self.write(text)
        self.watched = WatchedSettings(self.path, self.last_good)

    def write(self, text: str) -> None:
        """As an editor does: another file takes the place of the old one."""
        fresh = self.path.with_suffix(".new")
        write_settings(fresh, text)
        fresh.replace(self.path)

    def mode(self, looks: int = 2) -> str:
        for _ in range(looks):
            self.watched.look()
        return self.watched.current().defaults.mode


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_change_is_in_force_at_the_second_look_that_shows_it(desk: Desk):
    sha = desk.watched.in_force.sha256
    desk.write("defaults: {mode: v6_fixed}")
    assert desk.mode(looks=1) == "v8"  # it may be half written
    assert desk.mode(looks=1) == "v6_fixed"
    assert desk.watched.in_force.sha256 != sha


def test_a_file_is_not_taken_while_it_changes(desk: Desk):
    for mode in ("v6_fixed", "ensemble", "v6_fixed"):
        desk.write(f"defaults: {{mode: {mode}}}")
        assert desk.mode(looks=1) == "v8"


def test_the_thread_follows_without_being_asked(desk: Desk):
    changed = threading.Event()
    desk.watched.follow(lambda watched: changed.set() if watched.current().defaults.mode == "v6_fixed" else None)
    desk.watched.watch()
    desk.write("defaults: {mode: v6_fixed}")
    assert changed.wait(1.0)


def test_a_process_that_starts_while_the_file_is_wrong_takes_the_last_good_one(desk: Desk):
    desk.watched.follow(on_change=lambda watched: None, keep=True)
    desk.write("defaults: {mode: v6_fixed}")
    desk.mode()
    desk.write("defaults: {mode: v7}")
    late = WatchedSettings(desk.path, desk.last_good)
    assert late.current().defaults.mode == "v6_fixed"
    assert "defaults.mode" in str(late.error)


def test_a_process_whose_check_refuses_the_first_file_takes_the_last_good_one(desk: Desk):
    desk.watched.follow(on_change=lambda watched: None, check=refuse_v6, keep=True)
    desk.write("defaults: {mode: v6_fixed}")
    late = WatchedSettings(desk.path, desk.last_good)
    late.follow(on_change=lambda watched: None, check=refuse_v6, keep=True)
    assert late.current().defaults.mode == "v8"
    assert late.error == "no v6_fixed here"


def test_a_change_in_place_that_keeps_the_size_is_seen(desk: Desk):
    write_settings(desk.path, "defaults: {mode: ab}")
    os.utime(desk.path, ns=(1, 1))
    desk.mode()
    assert "needs an `experiment:` section" in str(desk.watched.error)


@pytest.mark.parametrize("wrong", ["defaults: {mode: v7}", "defaults: [", "salt: 2026-11-31"])
def test_a_wrong_file_keeps_the_last_good_one_and_its_reason(desk: Desk, wrong: str):
    sha = desk.watched.in_force.sha256
    desk.write(wrong)
    assert desk.mode() == "v8"
    assert str(desk.path) in str(desk.watched.error)
    assert desk.watched.in_force.sha256 == sha


@pytest.mark.parametrize("text", ['a: !!float ""', "a: &x {b: *x}", "a: !!bool x", "a: !!timestamp x", "a: !!int ''"])
def test_whatever_yaml_trips_over_is_a_wrong_file(text: str):
    with pytest.raises(ConfigError, match=r"^f:?[0-9]*: not valid YAML"):
        parse_settings(text, "f")


def test_a_disk_that_keeps_no_last_good_one_does_not_stop_the_following(desk: Desk):
    desk.watched.follow(on_change=lambda watched: None, keep=True)
    desk.last_good.unlink()
    desk.last_good.mkdir()
    for mode in ("v6_fixed", "ensemble"):
        desk.write(f"defaults: {{mode: {mode}}}")
        assert desk.mode() == mode


def test_a_defect_in_a_follower_does_not_stop_the_following(desk: Desk):
    seen = threading.Event()

    def follower(watched: WatchedSettings) -> None:
        if watched.current().defaults.mode == "v6_fixed":
            raise RuntimeError("a defect")
        if watched.current().defaults.mode == "ensemble":
            seen.set()

    desk.watched.follow(follower)
    desk.watched.watch()
    desk.write("defaults: {mode: v6_fixed}")
    time.sleep(3 * EVERY_S)
    desk.write("defaults: {mode: ensemble}")
    assert seen.wait(5)


def test_a_file_that_vanishes_keeps_the_last_good_one(desk: Desk):
    desk.path.unlink()
    assert desk.mode() == "v8"
    assert "No such file" in str(desk.watched.error)


def test_a_mended_file_clears_the_error(desk: Desk):
    desk.write("defaults: [")
    desk.mode()
    desk.write("defaults: {mode: ensemble}")
    assert desk.mode() == "ensemble"
    assert desk.watched.error is None


def test_a_file_that_is_wrong_from_the_start_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="not valid YAML"):
        Desk(tmp_path, "defaults: [")


def test_followers_hear_of_every_change_once_and_of_the_first_right_away(desk: Desk):
    heard: list[str | None] = []
    desk.watched.follow(on_change=lambda watched: heard.append(watched.error))
    desk.mode()
    desk.write("defaults: [")
    desk.mode()
    desk.mode()
    assert [error is None for error in heard] == [True, False]


def refuse_v6(settings: Settings) -> None:
    if settings.defaults.mode == "v6_fixed":
        raise ConfigError("no v6_fixed here")


def test_a_file_that_fails_the_check_is_not_taken(desk: Desk):
    desk.watched.follow(on_change=lambda watched: None, check=refuse_v6)
    desk.write("defaults: {mode: v6_fixed}")
    assert desk.mode() == "v8"
    assert desk.watched.error == "no v6_fixed here"


def test_a_first_file_that_fails_the_check_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no v6_fixed here"):
        Desk(tmp_path, "defaults: {mode: v6_fixed}").watched.follow(on_change=lambda watched: None, check=refuse_v6)
