"""A model that breaks a hard invariant, out of the answer: by a service's own requests and replies."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import BTC, raw_window, request_body, scaler_of, write_model, write_store
from workers import SECRET, Worker, broken_v8, lines_of

from signalserve.environment import PROBE_HEADER
from signalserve.guardrails import LOOK_S
from signalserve.journal import LATCHES
from signalserve.journal.lines import EventLine
from signalserve.latches import clear, read_latches


def test_within_three_requests_over_two_workers_the_control_answers_and_says_why(tmp_path: Path):
    broken_v8(tmp_path)
    workers = [Worker(tmp_path, tmp_path) for _ in range(2)]
    answers = [workers[i % 2].ask(request_body(seed=i)) for i in range(6)]
    assert [answer["degraded"] for answer in answers] == [False, False, True, True, True, True]
    assert [answer["variant"] for answer in answers] == ["ensemble"] * 2 + ["v6_fixed"] * 4
    assert "v8 is out since" in answers[-1]["degraded_reason"] and "clamped" in answers[-1]["degraded_reason"]
    assert "degraded" in answers[-1]["warnings"] and "clamped" not in answers[-1]["warnings"]
    assert answers[-1]["confidence"] == max(answers[-1]["models"][0]["probabilities"].values())


def test_a_model_that_is_out_is_out_for_a_worker_that_starts_later_and_until_it_is_cleared(tmp_path: Path):
    broken_v8(tmp_path)
    before = Worker(tmp_path, tmp_path)
    for seed in range(3):
        before.ask(request_body(seed=seed))
    after = Worker(tmp_path, tmp_path)
    assert after.ask()["degraded"]
    [latch] = read_latches(tmp_path / "journal" / LATCHES)
    assert (latch.symbol, latch.generation, latch.rules) == (BTC, "v8", ("clamped",))
    clear(tmp_path / "journal" / LATCHES, latch)
    time.sleep(LOOK_S)
    assert not after.ask()["degraded"]  # and so it is judged anew
    assert not before.ask()["degraded"]
    assert before.ask()["degraded"]


def test_it_is_written_down_once(tmp_path: Path):
    broken_v8(tmp_path)
    workers = [Worker(tmp_path, tmp_path) for _ in range(2)]
    for i in range(6):
        workers[i % 2].ask(request_body(seed=i, request_id=f"bot-{i}"))
    events = [line for line in lines_of(tmp_path) if isinstance(line, EventLine)]
    assert [(event.event, event.content["request_id"]) for event in events] == [("guardrail_out", "bot-2")]


def test_a_caller_who_asks_for_the_model_that_is_out_gets_the_control_too(tmp_path: Path):
    broken_v8(tmp_path)
    worker = Worker(tmp_path, tmp_path)
    for _ in range(3):
        worker.ask()
    answer = worker.ask(request_body(variant="v8"))
    assert (answer["variant"], answer["degraded"]) == ("v6_fixed", True)


def test_with_all_arms_out_nothing_is_predicted(tmp_path: Path):
    broken_v8(tmp_path, gain=1e4)
    worker = Worker(tmp_path, tmp_path)
    statuses = [worker.send(request_body(seed=seed)).status for seed in range(4)]
    assert statuses == [200, 200, 503, 503]
    error = json.loads(worker.send().body)["error"]
    assert error["code"] == "no_healthy_arm"
    assert "v6_fixed is out since" in error["got"] and "signalserve toggle show" in error["got"]


def test_an_endpoint_of_one_model_has_no_other_arm(tmp_path: Path):
    broken_v8(tmp_path)
    worker = Worker(tmp_path, tmp_path, "v8")
    assert [worker.send().status for _ in range(4)] == [200, 200, 503, 503]
    assert not Worker(tmp_path, tmp_path).ask()["degraded"]  # the ensemble has its own copy of the model


def test_probes_neither_take_out_nor_are_held_up(tmp_path: Path):
    broken_v8(tmp_path)
    worker = Worker(tmp_path, tmp_path)
    for _ in range(5):
        worker.ask(**{PROBE_HEADER: SECRET})
    assert not worker.ask()["degraded"]
    for _ in range(3):
        worker.ask()
    assert worker.ask(request_body(variant="v8"), **{PROBE_HEADER: SECRET})["variant"] == "v8"


def unscaled_v8(root: Path, scale: float = 1.0) -> Path:
    """V8 believes that its features need no scaling, or a little of it."""
    mean, true_scale = scaler_of(BTC)
    write_model(write_store(root, (BTC,), ("v6_fixed",)), "v8", mean=[0.0] * 72, scale=[scale] * 72)
    assert np.median(np.abs(mean)) > 0 and len(true_scale) == 72
    return root


def test_a_model_whose_scaler_is_not_the_features_is_out_though_its_logits_look_well(tmp_path: Path):
    worker = Worker(unscaled_v8(tmp_path), tmp_path)
    answers = [worker.ask(request_body(seed=seed)) for seed in range(5)]
    assert answers[-1]["degraded"] and answers[-1]["variant"] == "v6_fixed"
    [latch] = read_latches(tmp_path / "journal" / LATCHES)
    assert "scaler_off" in latch.rules


def shifted(z: float) -> dict[str, Any]:
    """Half of the columns lie z standard deviations off: no market, and no model's fault."""
    mean, scale = map(np.array, scaler_of(BTC))
    window = raw_window(BTC)
    window[:, :36] = (mean + z * scale)[:36]
    return {"symbol": BTC, "features": window.tolist()}


def test_one_callers_garbage_takes_no_model_from_the_others(tmp_path: Path):
    worker = Worker(write_store(tmp_path, (BTC,), gain=300.0), tmp_path)
    answers = [worker.ask(shifted(50)) for _ in range(6)]
    assert {"features_off_scale", "invariant_off_scale"} <= set(answers[-1]["warnings"])
    assert not worker.ask()["degraded"]
    assert read_latches(tmp_path / "journal" / LATCHES) == []


def test_a_single_absurd_value_takes_no_model_out_either(tmp_path: Path):
    worker = Worker(broken_v8(tmp_path), tmp_path, "v8")  # its logits are beyond the clamp whatever it is asked
    answers = [worker.ask(spiky()) for _ in range(6)]
    assert "features_off_scale" in answers[-1]["warnings"]
    assert read_latches(tmp_path / "journal" / LATCHES) == []


def test_where_a_model_gives_nan_the_control_answers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    worker = Worker(write_store(tmp_path, (BTC,)), tmp_path)
    engine = worker.service.models[BTC]["v8"].engine
    real = engine.predict_rows

    def nan(windows: Any) -> Any:
        output = real(windows)
        output.raw_logits[:] = np.nan
        return output

    monkeypatch.setattr(engine, "predict_rows", nan)
    answer = worker.ask()
    assert (answer["variant"], answer["degraded"]) == ("v6_fixed", True)
    monkeypatch.setattr(engine, "predict_rows", real)
    assert worker.ask()["degraded"]  # one is enough, and it stays out


def test_in_a_batch_what_comes_before_the_breach_keeps_its_answer(tmp_path: Path):
    write_store(broken_v8(tmp_path), ("ETH-USD",))
    worker = Worker(tmp_path, tmp_path)
    bodies = [request_body(seed=1), request_body("ETH-USD"), *(request_body(seed=s) for s in (2, 3, 4))]
    predictions = worker.ask({"instances": bodies})["predictions"]
    assert [p["degraded"] for p in predictions] == [False, False, False, True, True]


def spiky() -> dict[str, Any]:
    window = raw_window(BTC)
    window[3, 5] += 2000 * scaler_of(BTC)[1][5]
    return {"symbol": BTC, "features": window.tolist()}


def test_another_callers_garbage_in_between_keeps_no_broken_model_in(tmp_path: Path):
    worker = Worker(broken_v8(tmp_path), tmp_path)
    for seed in range(3):
        worker.ask(request_body(seed=seed))
        for _ in range(5):
            worker.ask(spiky())
    assert worker.ask()["degraded"]


def test_another_symbols_prices_take_no_model_out(tmp_path: Path):
    """A quarter of the columns far off, for both models: the mistake that `features_off_scale` warns of."""
    worker = Worker(write_store(tmp_path, (BTC,), gain=100.0), tmp_path)
    mean, scale = map(np.array, scaler_of(BTC))
    window = raw_window(BTC)
    window[:, :18] = (mean + 40 * scale)[:18]
    for _ in range(6):
        assert "features_off_scale" in worker.ask({"symbol": BTC, "features": window.tolist()})["warnings"]
    assert read_latches(tmp_path / "journal" / LATCHES) == []


def test_scalers_that_differ_a_little_are_no_proof_against_either(tmp_path: Path):
    mean, scale = scaler_of(BTC)
    write_model(write_store(tmp_path, (BTC,), ("v6_fixed",)), "v8", scale=[0.95 * each for each in scale])
    worker = Worker(tmp_path, tmp_path)
    window = raw_window(BTC)
    window[:, :36] = (np.array(mean) + 9.7 * np.array(scale))[:36]  # beyond 10 for one of them
    for _ in range(6):
        worker.ask({"symbol": BTC, "features": window.tolist()})
    assert read_latches(tmp_path / "journal" / LATCHES) == []


def test_a_model_that_is_well_again_when_it_is_cleared_stays_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Shadows go on scoring a model that is out: what it did meanwhile must not count against it afterwards."""
    settings = {"defaults": {"mode": "v6_fixed"}, "score_all_arms": True, "shadow_budget_ms": 5000}
    worker = Worker(write_store(tmp_path, (BTC,)), tmp_path, settings=settings)
    engine = worker.service.models[BTC]["v8"].engine
    real = engine.predict_rows

    def hot(windows: Any) -> Any:
        output = real(windows)
        output.raw_logits[:] = [4e6, -4e6, 0]
        return output

    assert worker.service._shadows is not None
    monkeypatch.setattr(engine, "predict_rows", hot)
    for seed in range(8):
        worker.ask(request_body(seed=seed))
        worker.service._shadows.settle()
    [latch] = read_latches(tmp_path / "journal" / LATCHES)
    monkeypatch.setattr(engine, "predict_rows", real)
    clear(tmp_path / "journal" / LATCHES, latch)
    time.sleep(LOOK_S)
    assert not any(worker.ask(request_body(seed=seed, variant="v8"))["degraded"] for seed in range(6))


def blocked(tmp_path: Path) -> Path:
    """A file stands where the folder of the latches should be."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / LATCHES).write_text("in the way")
    return tmp_path / "journal" / LATCHES


def test_where_the_folder_fails_no_worker_answers_with_the_broken_model(tmp_path: Path):
    broken_v8(tmp_path)
    in_the_way = blocked(tmp_path)
    workers = [Worker(tmp_path, tmp_path) for _ in range(2)]
    degraded = [workers[i % 2].ask(request_body(seed=i))["degraded"] for i in range(8)]
    assert degraded == [False, False, True, True, True, True, True, True]
    in_the_way.unlink()
    time.sleep(LOOK_S)
    workers[0].ask()
    [latch] = read_latches(in_the_way)  # told as soon as that works, and so can be cleared
    assert latch.generation == "v8"


def test_a_folder_that_is_gone_for_a_moment_lets_nobody_back_in(tmp_path: Path):
    broken_v8(tmp_path)
    worker = Worker(tmp_path, tmp_path)
    for seed in range(3):
        worker.ask(request_body(seed=seed))
    folder = tmp_path / "journal" / LATCHES
    folder.rename(folder.with_name("away"))
    time.sleep(LOOK_S)
    assert worker.ask()["degraded"]
    folder.with_name("away").rename(folder)
    assert worker.ask()["degraded"]
