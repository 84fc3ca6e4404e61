"""What each arm is held against: the bundle's own, or a pool's, which a child makes once and the next start reads."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import BTC, write_model

from signalserve.bundle import Bundle, load_bundle
from signalserve.drift.reference import Reference
from signalserve.journal.reading import Maker, Model
from signalserve.watcher import references as module
from signalserve.watcher.references import CHILD_S, FOLDER, KEPT_S, References, model_references

DAYS = 20


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    root = tmp_path_factory.mktemp("store")
    return [load_bundle(write_model(root, generation, referenced=True)) for generation in ("v6_fixed", "v8")]


@pytest.fixture
def references(bundles: list[Bundle], tmp_path: Path) -> Iterator[References]:
    made = opened(bundles, tmp_path)
    yield made
    made.close()


def opened(bundles: list[Bundle], folder: Path) -> References:
    return References(model_references(bundles), folder / FOLDER, simulated_days=DAYS)


def alone(bundle: Bundle) -> Maker:
    return Maker((Model(bundle.sha256, None, None, 1.0, None),), None, 2.0, True)


def pool(bundles: list[Bundle], weights: tuple[float, ...] = (0.4, 0.6), method: str = "log") -> Maker:
    models = tuple(Model(one.sha256, None, None, weight, None) for one, weight in zip(bundles, weights, strict=True))
    return Maker(models, method, 1.1, True)


def awaited(references: References, maker: Maker) -> Reference:
    """Asked for again and again, as the watcher does."""
    deadline = time.monotonic() + 60
    while (found := references.of(maker)) is None:
        assert time.monotonic() < deadline, "not made within a minute"
        time.sleep(0.05)
    return found


class Child:
    """In place of the process: ends when it is told to."""

    def __init__(self, command: list[str], returncode: int | None = None, said: bytes = b"") -> None:
        import io

        self.file, self.returncode, self.stderr = Path(command[4]), returncode, io.BytesIO(said)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.returncode is not None, "nobody waits for what was not ended"

    def kill(self) -> None:
        self.returncode = -9

    def poll(self) -> int | None:
        return self.returncode


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    started: list[Child] = []
    monkeypatch.setattr(module.subprocess, "Popen", lambda command, **_: started.append(Child(command)) or started[-1])
    return started


# ---- of a model


def test_a_model_is_held_against_what_its_bundle_brings(references: References, bundles: list[Bundle]):
    found = references.of(alone(bundles[1]))
    assert found is not None
    assert found.to_json() == bundles[1].reference["drift"]
    assert references.clamp_of(alone(bundles[1])) == 15.0


def test_a_model_without_a_reference_or_of_another_store_has_none(bundles: list[Bundle], tmp_path: Path):
    bare = load_bundle(write_model(tmp_path, "v8", BTC))
    references = opened([bare], tmp_path)
    assert references.of(alone(bare)) is None
    assert references.clamp_of(alone(bare)) == 15.0
    assert references.of(alone(bundles[0])) is None
    assert references.clamp_of(alone(bundles[0])) is None


def test_a_reference_that_nobody_can_read_is_logged_and_is_none(
    bundles: list[Bundle], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = write_model(tmp_path, "v8", BTC)
    broken = Bundle(folder, load_bundle(folder).manifest, {}, {"drift": {"n": 3}}, "a" * 64)
    with caplog.at_level(logging.ERROR, "signalserve"):
        [found] = model_references([broken]).values()
    assert found.reference is None
    assert [record.getMessage() for record in caplog.records] == ["reference_unreadable"]
    assert caplog.records[0].fields["bundle"] == "v8/BTC-USD/1"


# ---- of a pool


def test_a_pool_is_given_its_reference_by_a_child_and_a_next_start_reads_it(
    references: References, bundles: list[Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert references.of(pool(bundles)) is None
    made = awaited(references, pool(bundles))
    assert made.n == bundles[0].reference["drift"]["n"]
    assert made.largest_logit is None
    assert references.clamp_of(pool(bundles)) is None
    [file] = (tmp_path / FOLDER).iterdir()
    assert Reference.from_json(json.loads(file.read_text())).to_json() == made.to_json()
    monkeypatch.setattr(module.subprocess, "Popen", None)  # nobody may start one
    again = opened(bundles, tmp_path).of(pool(bundles))
    assert again is not None and again.to_json() == made.to_json()


def test_a_pool_of_a_model_without_reference_has_none(bundles: list[Bundle], tmp_path: Path, children: list[Child]):
    bare = load_bundle(write_model(tmp_path, "v8", BTC))
    assert opened([bundles[0], bare], tmp_path).of(pool([bundles[0], bare])) is None
    assert children == []


def test_one_is_made_at_a_time_and_each_recipe_once(
    bundles: list[Bundle], references: References, children: list[Child]
):
    first, second = pool(bundles), pool(bundles, (0.5, 0.5))
    for _ in range(3):
        assert references.of(first) is None
        assert references.of(second) is None
    assert len(children) == 1
    children[0].returncode = 0
    children[0].file.parent.mkdir()
    children[0].file.write_text(json.dumps(bundles[0].reference["drift"]))
    assert references.of(second) is None
    assert references.of(first) is not None
    assert len(children) == 2
    assert children[0].file != children[1].file
    children[1].returncode = 0
    children[1].file.write_text(json.dumps(bundles[1].reference["drift"]))
    assert references.of(second) is not None


def test_the_order_of_members_is_no_other_recipe(bundles: list[Bundle], tmp_path: Path, children: list[Child]):
    for number, maker in enumerate((pool(bundles), pool(bundles[::-1], (0.6, 0.4)), pool(bundles, method="linear"))):
        opened(bundles, tmp_path / str(number)).of(maker)
    assert children[0].file.name == children[1].file.name != children[2].file.name


def test_what_failed_is_said_once_and_not_tried_again_at_once(
    references: References, bundles: list[Bundle], children: list[Child], caplog: pytest.LogCaptureFixture
):
    references.of(pool(bundles))
    children[0].returncode, children[0].stderr = 1, Child([""] * 5, said=b"members share no bar\n").stderr
    with caplog.at_level(logging.ERROR, "signalserve"):
        assert [references.of(pool(bundles)) for _ in range(3)] == [None] * 3
    assert len(children) == 1
    [record] = caplog.records
    assert (record.getMessage(), record.fields["reason"]) == ("reference_failed", "members share no bar")


def test_the_childs_own_words_are_the_reason(bundles: list[Bundle], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    damaged = load_bundle(write_model(tmp_path, "v8", BTC, referenced=True))
    references = opened([bundles[0], damaged], tmp_path)
    (damaged.path / "stream.safetensors").write_bytes(b"damaged")
    maker, deadline = pool([bundles[0], damaged]), time.monotonic() + 60
    with caplog.at_level(logging.ERROR, "signalserve"):
        while not caplog.records:
            assert references.of(maker) is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    reason = caplog.records[0].fields["reason"]
    assert reason.startswith(f"{damaged.path / 'stream.safetensors'}: sha256")
    assert "Traceback" not in reason


def test_a_machine_that_can_start_no_child_is_said_once(
    references: References, bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(module.subprocess, "Popen", refuse)
    with caplog.at_level(logging.ERROR, "signalserve"):
        assert [references.of(pool(bundles)) for _ in range(2)] == [None, None]
    assert [record.fields["reason"] for record in caplog.records] == ["Cannot allocate memory"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"n": 3}'])
def test_a_broken_file_is_made_anew(
    content: str,
    references: References,
    bundles: list[Bundle],
    tmp_path: Path,
    children: list[Child],
    caplog: pytest.LogCaptureFixture,
):
    opened(bundles, tmp_path).of(pool(bundles))
    file = children[0].file
    file.parent.mkdir()
    file.write_text(content)
    with caplog.at_level(logging.WARNING, "signalserve"):
        assert references.of(pool(bundles)) is None
    assert [record.getMessage() for record in caplog.records] == ["reference_unreadable"]
    assert (len(children), children[1].file) == (2, file)
    assert not file.exists()
    children[1].returncode = 0
    file.write_text(json.dumps(bundles[0].reference["drift"]))
    assert references.of(pool(bundles)) is not None


def test_what_is_broken_as_soon_as_it_is_made_is_given_up(
    references: References, bundles: list[Bundle], children: list[Child], caplog: pytest.LogCaptureFixture
):
    references.of(pool(bundles))
    children[0].returncode = 0
    with caplog.at_level(logging.ERROR, "signalserve"):
        assert [references.of(pool(bundles)) for _ in range(2)] == [None, None]
    assert [record.getMessage() for record in caplog.records] == ["reference_failed"]
    assert len(children) == 1


def test_closing_ends_what_is_being_made(references: References, bundles: list[Bundle], monkeypatch: Any):
    processes: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen
    monkeypatch.setattr(
        module.subprocess, "Popen", lambda *of, **options: processes.append(real(*of, **options)) or processes[-1]
    )
    references.of(pool(bundles))
    references.close()
    [process] = processes
    assert process.returncode is not None
    references.close()  # and once more, when there is nothing to end


# ---- what goes wrong and is mended


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(bundles: list[Bundle], tmp_path: Path, clock: Clock) -> References:
    return References(model_references(bundles), tmp_path / FOLDER, simulated_days=DAYS, clock=clock)


def test_what_failed_is_tried_again_ever_more_seldom(
    timed: References, bundles: list[Bundle], children: list[Child], clock: Clock
):
    for wait_s in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        timed.of(pool(bundles))
        tried = len(children)
        children[-1].returncode = 1
        timed.of(pool(bundles))
        clock.seconds += wait_s - 1
        timed.of(pool(bundles))
        assert len(children) == tried
        clock.seconds += 1
    timed.of(pool(bundles))
    assert len(children) == 9
    children[-1].returncode = 0
    children[-1].file.parent.mkdir()
    children[-1].file.write_text(json.dumps(bundles[0].reference["drift"]))
    assert timed.of(pool(bundles)) is not None


def test_a_child_that_hangs_is_ended_and_said(
    timed: References, bundles: list[Bundle], children: list[Child], clock: Clock, caplog: pytest.LogCaptureFixture
):
    timed.of(pool(bundles))
    clock.seconds = CHILD_S - 1
    timed.of(pool(bundles))
    assert children[0].returncode is None
    clock.seconds = CHILD_S
    with caplog.at_level(logging.ERROR, "signalserve"):
        timed.of(alone(bundles[0]))
    assert children[0].returncode == -9
    assert "15 min" in caplog.records[0].fields["reason"]


def test_what_nobody_asks_for_any_more_makes_room_for_what_is_wanted(
    references: References, bundles: list[Bundle], children: list[Child]
):
    before, after = pool(bundles), pool(bundles, (0.5, 0.5))
    references.of(before)
    references.of(after)
    assert len(children) == 1
    references.of(after)
    assert [child.returncode for child in children] == [-9, None]


def test_old_references_and_leftovers_are_deleted_at_the_start_and_what_is_read_stays(
    bundles: list[Bundle], tmp_path: Path, children: list[Child]
):
    opened(bundles, tmp_path).of(pool(bundles))
    used, old, left = children[0].file, tmp_path / FOLDER / "old.json", tmp_path / FOLDER / "used.7.new"
    used.parent.mkdir()
    used.write_text(json.dumps(bundles[0].reference["drift"]))
    old.touch()
    left.touch()
    for file, age_s in ((used, KEPT_S - 3600), (old, KEPT_S + 3600)):
        os.utime(file, (time.time() - age_s,) * 2)
    again = opened(bundles, tmp_path)
    assert [*used.parent.iterdir()] == [used]
    assert again.of(pool(bundles)) is not None
    assert time.time() - used.stat().st_mtime < 3600


def test_only_models_of_the_archives_are_in_force(references: References, bundles: list[Bundle]):
    assert references.in_force(alone(bundles[0])) and references.in_force(pool(bundles))
    gone = Model("0" * 64, None, None, 0.5, None)
    assert not references.in_force(Maker((*pool(bundles).models[:1], gone), "log", 1.1, True))
