"""What a service writes down of each answer, before it gives it."""

import errno
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import (
    AS_OF,
    BTC,
    LAST_BAR_MS,
    candles,
    candles_body,
    raw_window,
    request_body,
    scaler_of,
    write_model,
    write_store,
)
from workers import JSON, SECRET, Worker, broken_v8, lines_of

from signalserve.ensemble import pool
from signalserve.environment import PROBE_HEADER
from signalserve.journal.lines import BundleLine, ClosesLine, ConfigLine, PredictionLine
from signalserve.journal.outcomes import Tally
from signalserve.journal.spool import RETRY_S
from signalserve.outcome_request import OutcomeClaim
from signalserve.service import RawRequest, Service

AS_OF_MS = LAST_BAR_MS + 60_000


def predictions(home: Path) -> list[PredictionLine]:
    return [line for line in lines_of(home) if isinstance(line, PredictionLine)]


def largest_z(window: np.ndarray) -> float:
    mean, scale = map(np.array, scaler_of(BTC))
    return float(np.abs((window.astype(np.float64) - mean) / scale).max())


def settle(worker: Worker) -> None:
    assert worker.service._shadows is not None
    worker.service._shadows.settle()


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(write_store(tmp_path, (BTC,)), tmp_path)


def test_an_answer_stands_in_the_journal_with_every_arm_that_was_computed(worker: Worker, tmp_path: Path):
    answer = worker.ask(request_body(request_id="bot-7", as_of=AS_OF, close=100.5))
    [line] = predictions(tmp_path)
    assert (line.prediction_id, line.request_id, line.symbol) == (answer["prediction_id"], "bot-7", BTC)
    assert (line.as_of_ms, line.close, line.mode, line.assigned) == (AS_OF_MS, 100.5, "ensemble", "ensemble")
    assert (line.override, line.degraded, line.feed) == (False, None, "told")
    assert list(line.arms[2].warnings) == answer["warnings"]
    assert line.config == worker.service._settings.in_force.sha256
    assert [(arm.arm, arm.answered) for arm in line.arms] == [("v6_fixed", False), ("v8", False), ("ensemble", True)]
    for arm, model in zip(line.arms, answer["models"], strict=False):
        assert list(arm.raw_logits or []) == model["raw_logits"]
        assert (list(arm.bundles), arm.temperature) == ([model["sha256"]], model["temperature"])
    parts = np.array([[arm.probabilities] for arm in line.arms[:2]])
    assert line.arms[2].probabilities == pool(parts, np.array([0.5, 0.5]), "linear", 1.0)[0].tolist()
    assert list(answer["probabilities"].values()) == list(line.arms[2].probabilities)


def test_each_model_says_how_far_the_window_was_off_its_own_scale(tmp_path: Path):
    mean, scale = map(np.array, scaler_of(BTC))
    write_model(write_store(tmp_path, (BTC,), ("v6_fixed",)), mean=mean.tolist(), scale=(scale / 4).tolist())
    window = raw_window(BTC)
    window[:, :9] = (mean + 4 * scale)[:9]  # 4 standard deviations for one model, 16 for the other
    Worker(tmp_path, tmp_path).ask({"symbol": BTC, "features": window.tolist()})
    v6, v8, both = predictions(tmp_path)[0].arms
    z = np.abs((window.astype(np.float64) - mean) / scale)
    assert (v6.off_scale, v8.off_scale) == (0.0, 9 / 72)
    assert v6.largest_z == pytest.approx(z.max(), rel=1e-12) and v8.largest_z == pytest.approx(4 * z.max(), rel=1e-12)
    assert (both.off_scale, both.largest_z) == (None, None)


def test_models_and_settings_are_written_before_the_first_prediction(worker: Worker, tmp_path: Path):
    lines = lines_of(tmp_path)
    bundles = [line for line in lines if isinstance(line, BundleLine)]
    assert {line.generation for line in bundles} == {"v6_fixed", "v8"}
    assert {(line.horizon_bars, line.neutral_band) for line in bundles} == {(15, 1e-3)}
    configs = [line for line in lines if isinstance(line, ConfigLine)]
    assert {(line.text, line.error) for line in configs} == {((tmp_path / "serving.yaml").read_text(), None)}


def test_a_refused_settings_file_is_written_down_with_its_reason(worker: Worker, tmp_path: Path):
    good = (tmp_path / "serving.yaml").read_text()
    (tmp_path / "serving.yaml").write_text("defaults: {mode: v7}")
    for _ in range(2):
        worker.service._settings.look()
    last = [line for line in lines_of(tmp_path) if isinstance(line, ConfigLine)][-1]
    assert last.text == good and last.error is not None and "defaults.mode" in last.error


def test_what_a_caller_chose_is_marked(worker: Worker, tmp_path: Path):
    worker.ask(request_body(variant="v8"))
    worker.ask(request_body(weights={"v6_fixed": 0.9, "v8": 0.1}))
    first, second = predictions(tmp_path)
    assert first.override and second.override
    assert [(arm.arm, arm.answered) for arm in first.arms] == [("v8", True)]
    assert list(second.arms[-1].weights) == [0.9, 0.1] and first.assigned == "ensemble"


def test_a_warning_stands_on_the_arms_that_it_is_about(tmp_path: Path):
    worker = Worker(broken_v8(tmp_path), tmp_path)
    worker.ask(request_body(as_of=AS_OF))
    [line] = predictions(tmp_path)
    clamped = {arm.arm: "clamped" in arm.warnings for arm in line.arms}
    assert clamped == {"v6_fixed": False, "v8": True, "ensemble": True}
    assert all("stale_input" in arm.warnings for arm in line.arms)


def test_probes_and_refused_requests_leave_no_line(worker: Worker, tmp_path: Path):
    worker.ask(**{PROBE_HEADER: SECRET})
    assert worker.send(request_body("DOGE-USD")).status == 422
    assert worker.send({"instances": [request_body(), request_body(request_id="")]}).status == 422
    assert predictions(tmp_path) == []


def test_a_degraded_answer_says_so_and_who_should_have_answered(tmp_path: Path):
    worker = Worker(broken_v8(tmp_path), tmp_path)
    for seed in range(4):
        worker.ask(request_body(seed=seed))
    last = predictions(tmp_path)[-1]
    assert last.assigned == "ensemble" and last.degraded is not None and "v8 is out" in last.degraded
    assert [(arm.arm, arm.answered, arm.out) for arm in last.arms] == [("v6_fixed", True, False)]
    assert last.arms[0].largest_z == pytest.approx(largest_z(raw_window(BTC, 3)), rel=1e-12)


# ---- arms beside the answer

SHADOWS = {"defaults": {"mode": "v8"}, "score_all_arms": True, "shadow_budget_ms": 5000}


def test_every_other_arm_follows_in_a_second_line(tmp_path: Path):
    worker = Worker(write_store(tmp_path, (BTC,)), tmp_path, settings=SHADOWS)
    answer = worker.ask(request_body(as_of=AS_OF))
    settle(worker)
    first, second = predictions(tmp_path)
    assert first.prediction_id == second.prediction_id == answer["prediction_id"]
    assert [arm.arm for arm in first.arms] == ["v8"]
    assert [(arm.arm, arm.answered) for arm in second.arms] == [("v6_fixed", False), ("ensemble", False)]
    assert [(arm.off_scale, arm.largest_z is None) for arm in second.arms] == [(0.0, False), (None, True)]
    alone = worker.ask(request_body(variant="v6_fixed"))
    assert list(second.arms[0].probabilities) == pytest.approx(list(alone["probabilities"].values()), abs=1e-12)


def test_a_shadow_that_fails_never_touches_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    worker = Worker(write_store(tmp_path, (BTC,)), tmp_path, settings=SHADOWS)

    def fail(_: Any) -> Any:
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(worker.service.models[BTC]["v6_fixed"].engine, "predict_rows", fail)
    answers = [worker.ask(request_body(seed=seed)) for seed in range(3)]
    settle(worker)
    assert [answer["variant"] for answer in answers] == ["v8"] * 3
    assert all(not answer["degraded"] for answer in answers)
    assert [len(line.arms) for line in predictions(tmp_path)] == [1, 1, 1]


def test_without_score_all_arms_and_for_a_callers_choice_there_is_none(tmp_path: Path):
    worker = Worker(write_store(tmp_path, (BTC,)), tmp_path, settings=SHADOWS)
    worker.ask(request_body(variant="v6_fixed"))
    settle(worker)
    assert len(predictions(tmp_path)) == 1


def test_a_broken_model_is_out_before_it_ever_answers(tmp_path: Path):
    settings = {**SHADOWS, "defaults": {"mode": "v6_fixed"}}
    worker = Worker(broken_v8(tmp_path), tmp_path, settings=settings)
    for seed in range(4):
        assert not worker.ask(request_body(seed=seed))["degraded"]
        settle(worker)
    shadows = [arm for line in predictions(tmp_path) for arm in line.arms if arm.arm == "v8"]
    assert [arm.out for arm in shadows] == [False, False, True, True]
    assert worker.ask(request_body(variant="v8"))["degraded"]


# ---- closing prices


def closes(home: Path) -> list[ClosesLine]:
    return [line for line in lines_of(home) if isinstance(line, ClosesLine)]


def test_candles_bring_their_closes_once(worker: Worker, tmp_path: Path):
    for _ in range(2):
        worker.ask(candles_body())
    [line] = closes(tmp_path)
    assert (line.symbol, line.interval_ms, line.last_ms) == (BTC, 60_000, AS_OF_MS)
    assert line.feed.startswith("ensemble-")
    assert list(line.closes) == candles(BTC).close.tolist()


def test_features_bring_a_close_where_the_caller_says_when(worker: Worker, tmp_path: Path):
    worker.ask(request_body(as_of=AS_OF, close=100.5))
    worker.ask(request_body(close=100.5))
    assert [(list(line.closes), line.last_ms) for line in closes(tmp_path)] == [([100.5], AS_OF_MS)]


# ---- outcomes


class Watcher:
    def __init__(self) -> None:
        self.told: list[OutcomeClaim] = []

    def tell(self, claims: Sequence[OutcomeClaim]) -> dict[str, int]:
        self.told.extend(claims)
        return vars(Tally(joined=len(claims)))


OUTCOMES = {"outcomes": [{"symbol": BTC, "as_of": AS_OF, "direction": "UP"}]}


def test_outcomes_go_to_the_watcher_and_its_answer_comes_back(worker: Worker):
    worker.service._watcher = watcher = Watcher()  # type: ignore[assignment]
    assert worker.ask(OUTCOMES)["joined"] == 1
    assert watcher.told == [OutcomeClaim(None, BTC, AS_OF_MS, 2, None)]


def test_wrong_outcomes_are_refused_in_words(worker: Worker):
    reply = worker.send({"outcomes": [{"symbol": BTC, "as_of": AS_OF, "direction": "SIDEWAYS"}]})
    assert reply.status == 422 and json.loads(reply.body)["error"]["field"] == "direction"


def test_a_service_without_a_watcher_takes_none_and_says_so(worker: Worker):
    reply = worker.send(OUTCOMES)
    assert reply.status == 503 and json.loads(reply.body)["error"]["code"] == "not_ready"


def test_an_endpoint_of_one_model_takes_no_outcomes(tmp_path: Path):
    worker = Worker(write_store(tmp_path, (BTC,)), tmp_path, "v8")
    assert json.loads(worker.send(OUTCOMES).body)["error"]["code"] == "missing_field"


# ---- a disk that gives out


def test_a_full_disk_loses_rows_loudly_and_no_prediction(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    before = len(predictions(tmp_path))
    with monkeypatch.context() as patch:

        def full(*_: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "write", full)
        for seed in range(3):
            worker.ask(request_body(seed=seed))
        worker.ask(candles_body())
    assert len(predictions(tmp_path)) == before
    time.sleep(RETRY_S)
    worker.ask(candles_body(n=1062))
    assert [len(line.closes) for line in closes(tmp_path)] == [1062]  # with what was lost
    lost = [record for record in caplog.records if record.message == "journal_lost"]
    assert len(lost) == 1 and "No space left" in str(lost[0].fields)  # type: ignore[attr-defined]


def test_without_a_journal_nothing_is_written(tmp_path: Path):
    root = write_store(tmp_path / "store", (BTC,))
    (tmp_path / "serving.yaml").write_text(Worker(root, tmp_path).service._settings.in_force.text)
    service = Service.load(root, "ensemble", settings_path=tmp_path / "serving.yaml", engine="torch", device="cpu")
    before = lines_of(tmp_path)
    assert service.answer([RawRequest(json.dumps(request_body()).encode(), JSON)])[0].status == 200
    assert lines_of(tmp_path) == before
