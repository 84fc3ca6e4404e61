"""One endpoint, end to end in process: raw requests in, the contract's replies out."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from reference_model import ReferenceModel, pool_of_answer
from stores import (
    AS_OF,
    BTC,
    ETH,
    LAST_BAR_MS,
    SOL,
    as_archive,
    by_name,
    candles,
    candles_body,
    npy_bytes,
    raw_window,
    request_body,
    scaler_of,
    write_model,
    write_settings,
    write_store,
)

import signalserve.service
from signalserve.engine import Engine, Output
from signalserve.environment import LAST_GOOD, PROBE_HEADER
from signalserve.features import compute_features
from signalserve.metrics import Metrics
from signalserve.service import RawRequest, Reply, Service

JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy", "x-symbol": BTC}
SECRET = "a-secret"
NAMES = ("DOWN", "NEUTRAL", "UP")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols of two generations, and as in an archive the exported file of each."""
    return as_archive(write_store(tmp_path_factory.mktemp("store"), (BTC, ETH)))


class Desk:
    """A loaded service, what it counts, and short ways to ask it."""

    def __init__(self, root: Path, folder: Path, patch: pytest.MonkeyPatch, endpoint: Any, settings: Any, engine: str):
        self.registry = CollectorRegistry()
        patch.setattr(signalserve.service, "Metrics", partial(Metrics, registry=self.registry))
        self.settings_path = write_settings(folder / "serving.yaml", settings)
        self.service = Service.load(
            root, endpoint, settings_path=self.settings_path, engine=engine, device="cpu", probe_secret=SECRET
        )

    def send(self, *bodies: object, headers: Mapping[str, str] = JSON) -> list[Reply]:
        raw = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
        return self.service.answer([RawRequest(body, headers) for body in raw])

    def ask(self, body: object, headers: Mapping[str, str] = JSON) -> dict[str, Any]:
        (reply,) = self.send(body, headers=headers)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def refusal(self, body: object, headers: Mapping[str, str] = JSON) -> tuple[int, dict[str, Any]]:
        (reply,) = self.send(body, headers=headers)
        return reply.status, json.loads(reply.body)

    def count(self, name: str, **labels: str) -> float | None:
        labels = {"endpoint": self.service.endpoint, **labels}
        return self.registry.get_sample_value(f"signalserve_{name}", labels)

    def replace_engine(self, symbol: str, generation: Any, engine: Engine) -> None:
        models: Any = self.service.models
        models[symbol][generation] = replace(models[symbol][generation], engine=engine)


Open = Callable[..., Desk]


@pytest.fixture
def open_desk(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    def open_(endpoint: str = "ensemble", settings: Any = "", *, root: Path = store, engine: str = "torch") -> Desk:
        return Desk(root, tmp_path, monkeypatch, endpoint, settings, engine)

    return open_


@pytest.fixture
def desk(open_desk: Open) -> Desk:
    return open_desk()


def numbers(probabilities: Mapping[str, float]) -> list[float]:
    return [probabilities[name] for name in NAMES]


def without_id(reply: Reply | dict[str, Any]) -> dict[str, Any]:
    content = dict(reply if isinstance(reply, dict) else json.loads(reply.body))
    content.pop("prediction_id")
    return content


# ---- right answers


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("symbol", [BTC, ETH])
def test_every_number_agrees_with_the_float64_reference(open_desk: Open, store: Path, symbol: str, engine: str):
    weights, pool = {"v6_fixed": 0.3, "v8": 0.7}, {"method": "log", "temperature": 1.3}
    desk = open_desk(settings={"defaults": {"weights": weights, "pool": pool}}, engine=engine)
    answer = desk.ask(request_body(symbol, seed=5))
    for model in answer["models"]:
        reference = ReferenceModel(store / "bundles" / model["generation"] / symbol / "1")
        raw_logits, probabilities = reference.answer(raw_window(symbol, seed=5)[None])
        assert numbers(model["probabilities"]) == pytest.approx(probabilities[0].tolist(), abs=1e-5)
        assert model["raw_logits"] == pytest.approx(raw_logits[0].tolist(), abs=1e-3)
        assert sum(numbers(model["probabilities"])) == pytest.approx(1, abs=1e-6)
    assert [model["weight"] for model in answer["models"]] == [0.3, 0.7]
    assert answer["pool"] == pool
    assert numbers(answer["probabilities"]) == pytest.approx(pool_of_answer(answer).tolist(), abs=1e-9)
    assert answer["confidence"] == max(numbers(answer["probabilities"]))


@pytest.mark.parametrize("endpoint", ["v6_fixed", "v8"])
def test_an_endpoint_of_one_generation_answers_by_it(open_desk: Open, endpoint: str):
    answer = open_desk(endpoint).ask(request_body())
    assert (answer["variant"], answer["mode"], answer["arm"]) == (endpoint, "ensemble", None)
    assert [model["generation"] for model in answer["models"]] == [endpoint]
    assert answer["probabilities"] == answer["models"][0]["probabilities"]
    assert answer["models"][0]["weight"] == 1.0
    assert "pool" not in answer


def test_an_endpoint_and_the_ensemble_say_the_same_of_one_model(open_desk: Open):
    alone, together = open_desk("v8").ask(request_body()), open_desk().ask(request_body())
    (model,) = [model for model in together["models"] if model["generation"] == "v8"]
    assert numbers(model["probabilities"]) == pytest.approx(numbers(alone["probabilities"]), abs=1e-6)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_candles_names_rows_and_npy_of_the_same_bars_give_one_prediction(open_desk: Open, engine: str):
    desk = open_desk(engine=engine)
    window = compute_features(candles())[-60:].astype(np.float32)
    answers = [
        desk.ask(candles_body()),
        desk.ask({"symbol": BTC, "features": by_name(window)}),
        desk.ask({"symbol": BTC, "features": window.tolist()}),
        desk.ask(npy_bytes(window), headers=NPY),
    ]
    first = numbers(answers[0]["probabilities"])
    assert all(numbers(answer["probabilities"]) == pytest.approx(first, abs=1e-6) for answer in answers)
    assert answers[0]["as_of"] == AS_OF


def test_models_of_one_symbol_may_read_different_columns(open_desk: Open, tmp_path: Path):
    columns = {"v6_fixed": ("ema_10", "rsi_14"), "v8": ("returns", "ema_10")}
    for generation, names in columns.items():
        write_model(tmp_path, generation, BTC, columns=names)
    window = dict(
        zip(("rsi_14", "returns", "ema_10"), raw_window(columns=("rsi_14", "returns", "ema_10")).T, strict=True)
    )
    answer = open_desk(root=tmp_path).ask({"symbol": BTC, "features": {name: v.tolist() for name, v in window.items()}})
    for model in answer["models"]:
        reference = ReferenceModel(tmp_path / "bundles" / model["generation"] / BTC / "1")
        own = np.stack([window[name] for name in columns[model["generation"]]], axis=1)
        expected = reference.answer(own[None])[1][0].tolist()
        assert numbers(model["probabilities"]) == pytest.approx(expected, abs=1e-5)


def test_the_mode_of_each_symbol_says_who_answers(open_desk: Open):
    desk = open_desk(settings={"symbols": {ETH: {"mode": "v6_fixed"}}})
    assert desk.ask(request_body(ETH))["variant"] == "v6_fixed"
    assert desk.ask(request_body(BTC))["variant"] == "ensemble"


def test_in_mode_ab_the_bars_time_decides_the_arm(open_desk: Open):
    experiment = {"name": "n", "split": {"v6_fixed": 0.5, "v8": 0.5}, "control": "v6_fixed", "salt": "s"}
    desk = open_desk(settings={"defaults": {"mode": "ab"}, "experiment": experiment})
    times = [f"2025-11-24T{hour:02}:15:00Z" for hour in range(24)]
    answers = [desk.ask(request_body(as_of=as_of)) for as_of in times]
    assert all(answer["variant"] == answer["arm"] and answer["mode"] == "ab" for answer in answers)
    assert {answer["arm"] for answer in answers} == {"v6_fixed", "v8"}
    assert [desk.ask(request_body(as_of=as_of))["arm"] for as_of in times] == [answer["arm"] for answer in answers]


def test_a_caller_may_choose_the_variant(desk: Desk):
    answer = desk.ask(request_body(variant="v8"))
    assert (answer["variant"], answer["mode"], len(answer["models"])) == ("v8", "ensemble", 1)


def test_every_prediction_has_an_id_of_its_own_in_the_order_of_time(desk: Desk):
    ids = [desk.ask(request_body())["prediction_id"] for _ in range(5)]
    assert len(set(ids)) == 5
    assert ids == sorted(ids)


def test_a_batch_is_answered_in_its_order(desk: Desk):
    bodies = [request_body(ETH, seed=1), request_body(BTC, seed=2), request_body(ETH, seed=3)]
    batch = desk.ask({"instances": bodies})["predictions"]
    alone = [desk.ask(body) for body in bodies]
    assert [answer["symbol"] for answer in batch] == [ETH, BTC, ETH]
    for one, other in zip(batch, alone, strict=True):
        assert numbers(one["probabilities"]) == pytest.approx(numbers(other["probabilities"]), abs=1e-6)


def test_an_npy_batch_is_answered_as_a_batch(desk: Desk):
    windows = np.stack([raw_window(seed=seed) for seed in range(3)])
    batch = desk.ask(npy_bytes(windows), headers={**NPY, "x-request-id": "bot"})["predictions"]
    assert [answer["request_id"] for answer in batch] == ["bot/0", "bot/1", "bot/2"]


# ---- a wrong request and its neighbours


def no_market() -> dict[str, Any]:
    mean, scale = map(np.array, scaler_of(BTC))
    return {"symbol": BTC, "features": np.tile(mean + 2000 * scale, (60, 1)).tolist()}


WRONG = {
    "shape": {"symbol": BTC, "features": [[0.0]]},
    "cell": {"symbol": BTC, "features": [[None] * 72] * 60},
    "both": request_body(variant="v8", weights={"v8": 1}),
    "off scale": no_market(),
    "huge": {"symbol": BTC, "features": [[3e38] * 72] * 60},
    "candles": {"symbol": BTC, "candles": []},
}


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_leaves_its_neighbours_every_bit(open_desk: Open, wrong: dict[str, Any], engine: str):
    desk = open_desk(engine=engine)
    left, right = request_body(seed=1), request_body(seed=2)
    usual = desk.send(left, request_body(seed=9), right)
    beside = desk.send(left, wrong, right)
    assert [reply.status for reply in beside] == [200, 422, 200]
    assert without_id(beside[0]) == without_id(usual[0])
    assert without_id(beside[2]) == without_id(usual[2])


class Recording(Engine):
    """Runs a real engine and keeps what it was given."""

    name, device = "fake", "cpu"

    def __init__(self, engine: Engine) -> None:
        self.real = engine
        self.batches: list[np.ndarray] = []

    def _run(self, windows: np.ndarray) -> Output:
        self.batches.append(windows.copy())
        return self.real.predict_rows(windows)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_never_reaches_a_model_and_the_mean_takes_its_place(desk: Desk, wrong: dict[str, Any]):
    engine = Recording(desk.service.models[BTC]["v8"].engine)
    desk.replace_engine(BTC, "v8", engine)
    desk.send(request_body(seed=1), wrong, request_body(seed=2))
    (batch,) = engine.batches
    neutral = np.tile(np.array(scaler_of(BTC)[0], dtype=np.float32), (60, 1))
    assert np.array_equal(batch, np.stack([raw_window(seed=1), neutral, raw_window(seed=2)]))


def test_wrong_requests_alone_run_no_model(desk: Desk):
    engine = Recording(desk.service.models[BTC]["v8"].engine)
    desk.replace_engine(BTC, "v8", engine)
    desk.send(*WRONG.values())
    assert engine.batches == []


@pytest.mark.parametrize("unreadable", [b"", b"{", json.dumps(request_body(symbol="DOGE-USD")).encode()])
def test_a_request_of_no_known_symbol_leaves_its_neighbours_as_they_are(desk: Desk, unreadable: bytes):
    alone, beside = desk.ask(request_body(seed=1)), desk.send(request_body(seed=1), unreadable)
    assert numbers(json.loads(beside[0].body)["probabilities"]) == pytest.approx(
        numbers(alone["probabilities"]), abs=1e-6
    )
    assert beside[1].status in {400, 422}


def test_a_neighbour_that_chose_one_model_does_not_reorder_the_others(desk: Desk):
    usual = desk.send(request_body(seed=3), request_body(seed=1))[1]
    beside = desk.send(request_body(seed=3, variant="v8"), request_body(seed=1))[1]
    order = [model["generation"] for model in json.loads(usual.body)["models"]]
    assert [model["generation"] for model in json.loads(beside.body)["models"]] == order == ["v6_fixed", "v8"]


def test_one_wrong_instance_refuses_the_batch_and_lists_every_fault(desk: Desk):
    bad = request_body(request_id="", as_of="soon")
    status, content = desk.refusal({"instances": [request_body(), bad, request_body("DOGE-USD"), WRONG["off scale"]]})
    assert status == 422
    listed = [(error["instance"], error["code"]) for error in content["errors"]]
    assert listed[:3] == [(1, "bad_field"), (1, "bad_field"), (2, "unknown_symbol")]
    assert content["error"] == content["errors"][0]
    assert "predictions" not in content


def test_instances_that_no_market_could_be_are_all_listed(desk: Desk):
    _, content = desk.refusal({"instances": [request_body(), no_market(), no_market()]})
    assert [(error["instance"], error["code"]) for error in content["errors"]] == [
        (1, "features_off_scale"),
        (2, "features_off_scale"),
    ]


class Failing(Engine):
    """Runs a real engine, and gives NaN for windows that begin with 13."""

    name, device = "fake", "cpu"

    def __init__(self, engine: Engine) -> None:
        self.real = engine

    def _run(self, windows: np.ndarray) -> Output:
        output = self.real.predict_rows(windows)
        raw_logits = output.raw_logits.copy()
        raw_logits[windows[:, 0, 0] == 13] = np.nan
        return Output(raw_logits, output.probabilities)


def unlucky(seed: int = 0) -> dict[str, Any]:
    window = raw_window(seed=seed)
    window[0, 0] = 13
    return {"symbol": BTC, "features": window.tolist()}


@pytest.fixture
def failing(open_desk: Open) -> Desk:
    """An ensemble whose v8 fails on an unlucky window."""
    desk = open_desk()
    desk.replace_engine(BTC, "v8", Failing(desk.service.models[BTC]["v8"].engine))
    return desk


def test_where_a_model_gives_nan_the_control_answers_that_window_and_all_later_requests(failing: Desk):
    usual = failing.send(request_body(seed=1), request_body(seed=7), request_body(seed=2))
    before, at, after = failing.send(request_body(seed=1), unlucky(), request_body(seed=2))
    assert without_id(before) == without_id(usual[0])
    assert [json.loads(reply.body)["degraded"] for reply in (before, at, after)] == [False, True, True]
    assert json.loads(at.body)["variant"] == "v6_fixed"
    assert failing.ask(request_body(seed=2))["degraded"]


def test_where_no_other_model_is_left_nan_fails_its_batch_and_names_the_instance(open_desk: Open):
    desk = open_desk("v8")
    desk.replace_engine(BTC, "v8", Failing(desk.service.models[BTC]["v8"].engine))
    status, content = desk.refusal({"instances": [request_body(), unlucky()]})
    assert (status, content["error"]["code"], content["error"]["instance"]) == (503, "model_output_not_finite", 1)
    assert desk.count("predictions_total", symbol=BTC, variant="v8", direction="UP") == 0


def test_a_model_that_gives_nan_breaks_an_invariant_at_once(failing: Desk):
    failing.send(unlucky())
    labels = {"symbol": BTC, "invariant": "not_finite"}
    assert failing.count("invariant_broken", generation="v8", **labels) == 1
    assert failing.count("invariant_broken", generation="v6_fixed", **labels) == 0


def test_a_variant_without_the_failing_model_is_answered(failing: Desk):
    assert failing.ask({**unlucky(), "variant": "v6_fixed"})["variant"] == "v6_fixed"


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("columns", [1, 2, 10, 24])
def test_features_beyond_float32_once_scaled_are_refused_or_answered_as_in_float64(
    open_desk: Open, store: Path, columns: int, engine: str
):
    # too few columns to be off scale; as scaled float32 they are infinite: ONNX Runtime makes plausible numbers of them
    window = raw_window()
    window[:, :columns] = 1e38 * np.where(np.arange(columns) % 2, 1, -1)
    (reply,) = open_desk("v8", engine=engine).send({"symbol": BTC, "features": window.tolist()})
    assert reply.status in {200, 422}, reply.body  # and no 503: it is the caller's fault
    if reply.status == 200:
        expected = ReferenceModel(store / "bundles" / "v8" / BTC / "1").answer(window[None])[1][0].tolist()
        assert numbers(json.loads(reply.body)["probabilities"]) == pytest.approx(expected, abs=1e-5)


# ---- a generation that a symbol does not have


@pytest.fixture
def lopsided(open_desk: Open, tmp_path: Path) -> Desk:
    """SOL-USD has v6_fixed only."""
    write_store(tmp_path, (BTC,))
    write_model(tmp_path, "v6_fixed", SOL)
    return open_desk(settings={"symbols": {SOL: {"mode": "v6_fixed"}}}, root=tmp_path)


def test_a_variant_that_a_symbol_does_not_have_is_refused_in_words(lopsided: Desk):
    status, content = lopsided.refusal(request_body(SOL, variant="v8"))
    assert (status, content["error"]["code"], content["error"]["field"]) == (422, "bad_variant", "variant")
    assert content["error"]["expected"] == "v6_fixed for SOL-USD"
    assert lopsided.ask(request_body(SOL))["variant"] == "v6_fixed"


def test_weights_that_a_symbol_cannot_have_are_refused_by_their_field(lopsided: Desk):
    status, content = lopsided.refusal(request_body(SOL, weights={"v6_fixed": 0.5, "v8": 0.5}))
    assert (status, content["error"]["field"]) == (422, "weights")


# ---- warnings


def at(desk: Desk, now_s: float) -> Service:
    """The desk's service at another time."""
    service = desk.service
    metrics = Metrics(service.endpoint, {}, [], CollectorRegistry())
    return Service(service.endpoint, service.models, service.schemas, service._settings, metrics, now=lambda: now_s)


@pytest.mark.parametrize(("age_ms", "warned"), [(0, False), (180_000, False), (180_001, True), (-5_000, False)])
def test_input_older_than_three_intervals_is_stale(desk: Desk, age_ms: int, warned: bool):
    service = at(desk, (LAST_BAR_MS + 60_000 + age_ms) / 1000)
    (reply,) = service.answer([RawRequest(json.dumps(request_body(as_of=AS_OF)).encode(), JSON)])
    assert ("stale_input" in json.loads(reply.body)["warnings"]) == warned


@pytest.mark.parametrize(
    ("body", "code"),
    [(request_body(as_of=AS_OF), "bad_field"), (candles_body(), "bad_candles")],
    ids=["features", "candles"],
)
def test_a_bar_that_has_not_closed_is_refused(desk: Desk, body: dict, code: str):
    service = at(desk, (LAST_BAR_MS + 60_000 - 6_000) / 1000)
    (reply,) = service.answer([RawRequest(json.dumps(body).encode(), JSON)])
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (422, code)
    assert "closes at 2025-11-24T16:01:00Z, and it is 2025-11-24T16:00:54Z here" in error["got"]


def test_input_without_a_time_is_never_stale(desk: Desk):
    assert desk.ask(request_body())["warnings"] == []


@pytest.mark.parametrize(
    ("weights", "warnings"),
    [
        ({"v6_fixed": 0.4, "v8": 0.6}, []),
        ({"v6_fixed": 0.5, "v8": 0.5}, ["uncalibrated_weights"]),
        ({"v8": 1}, []),  # alone, by its own temperature
    ],
)
def test_weights_other_than_the_configured_ones_are_uncalibrated(open_desk: Open, weights: dict, warnings: list[str]):
    desk = open_desk(settings={"defaults": {"weights": {"v6_fixed": 0.4, "v8": 0.6}}})
    answer = desk.ask(request_body(weights=weights))
    assert answer["warnings"] == warnings
    assert {model["generation"]: model["weight"] for model in answer["models"]} == weights


def shifted(z: float, columns: int) -> dict[str, Any]:
    """The first columns lie z standard deviations above their means."""
    mean, scale = map(np.array, scaler_of(BTC))
    window = raw_window()
    window[:, :columns] = (mean + z * scale)[:columns]
    return {"symbol": BTC, "features": window.tolist()}


def test_many_columns_off_scale_are_a_warning(desk: Desk):
    assert "features_off_scale" in desk.ask(shifted(11, columns=13))["warnings"]
    assert "features_off_scale" not in desk.ask(shifted(11, columns=12))["warnings"]
    assert desk.count("warnings_total", symbol=BTC, kind="features_off_scale") == 1


def test_features_that_no_market_could_give_are_an_error(desk: Desk):
    status, content = desk.refusal(shifted(1001, columns=72))
    assert (status, content["error"]["code"], content["error"]["field"]) == (422, "features_off_scale", "features")
    assert "raw features of BTC-USD in their own units" in content["error"]["expected"]
    assert "100% of the columns beyond 1000 standard deviations" in content["error"]["got"]
    assert desk.count("errors_total", code="features_off_scale") == 1


def hot(tmp_path: Path, **options: Any) -> Path:
    """A store whose logits lie far beyond the clamp."""
    return write_store(tmp_path, (BTC,), **{"gain": 1e4, **options})


def test_a_clamped_logit_is_a_warning_and_shown(open_desk: Open, tmp_path: Path):
    answer = open_desk("v8", root=hot(tmp_path)).ask(request_body())
    assert "clamped" in answer["warnings"]
    assert answer["models"][0]["clamped"] is True
    assert max(map(abs, answer["models"][0]["raw_logits"])) > answer["models"][0]["clamp"] == 15.0


def test_a_tie_at_the_clamp_is_a_warning(open_desk: Open, tmp_path: Path):
    def tie(weights: dict[str, Any]) -> None:
        weights["head.weight"].zero_()
        weights["head.bias"].copy_(type(weights["head.bias"])([40.0, 0.0, 20.0]))

    answer = open_desk("v8", root=write_store(tmp_path, (BTC,), edit=tie)).ask(request_body(), headers=PROBE)
    assert {"clamped", "clamp_tie"} <= set(answer["warnings"])
    assert answer["probabilities"]["DOWN"] == answer["probabilities"]["UP"]


FAILED = {"passed": ["finite"], "failed": ["accuracy", "balance"], "report": {}}


@pytest.mark.parametrize("body", [request_body(), request_body(variant="v8"), request_body(weights={"v8": 1.0})])
def test_failed_gates_that_are_allowed_are_a_warning_in_every_answer(open_desk: Open, tmp_path: Path, body: Any):
    write_store(tmp_path, (BTC,), gates=FAILED)
    desk = open_desk(root=tmp_path, settings={"allow_failed_gates": True})
    assert "failed_gates" in desk.ask(body)["warnings"]
    assert desk.count("warnings_total", symbol=BTC, kind="failed_gates") == 1


def test_only_answers_of_the_failed_model_warn(open_desk: Open, tmp_path: Path):
    write_model(write_store(tmp_path, (BTC,), ("v6_fixed",)), "v8", gates=FAILED)
    desk = open_desk(root=tmp_path, settings={"allow_failed_gates": True})
    assert desk.ask(request_body())["warnings"] == ["failed_gates"]  # one of the pool
    assert desk.ask(request_body(variant="v6_fixed"))["warnings"] == []


def test_failed_and_unjudged_gates_are_shown_and_logged(
    open_desk: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    write_model(write_store(tmp_path, (BTC,), ("v6_fixed",), gates=None), "v8", gates=FAILED)
    desk = open_desk(root=tmp_path, settings={"allow_failed_gates": True})
    assert desk.ask(request_body(variant="v6_fixed"))["warnings"] == ["failed_gates"]
    shown = generate_latest(desk.registry).decode()
    for name, v6_fixed, v8 in (("failed_gates", 0, 2), ("gates_judged", 0, 1)):
        assert f'signalserve_{name}{{generation="v6_fixed",symbol="BTC-USD"}} {v6_fixed}.0' in shown
        assert f'signalserve_{name}{{generation="v8",symbol="BTC-USD"}} {v8}.0' in shown
    [logged] = [record.fields for record in caplog.records if record.message == "gates_not_passed"]  # type: ignore[attr-defined]
    assert logged["failed"] == {"v8/BTC-USD/1": ("accuracy", "balance")}
    assert logged["not_judged"] == ["v6_fixed/BTC-USD/1"]


def test_a_settings_file_that_no_longer_allows_what_is_served_changes_nothing_and_shows(
    open_desk: Open, tmp_path: Path
):
    write_store(tmp_path, (BTC,), gates=FAILED)
    desk = open_desk(root=tmp_path, settings={"allow_failed_gates": True})
    write_settings(desk.settings_path, {"allow_failed_gates": False})
    look_twice(desk)
    assert desk.ask(request_body())["warnings"] == ["failed_gates"]
    assert desk.count("config_valid") == 0
    assert "failed its gates (accuracy, balance)" in str(desk.service._settings.error)


def test_a_worker_started_again_after_that_still_answers(tmp_path: Path):
    write_store(tmp_path, (BTC,), gates=FAILED)
    now = write_settings(tmp_path / "serving.yaml")
    write_settings(tmp_path / LAST_GOOD, {"allow_failed_gates": True})
    service = Service.load(tmp_path, "v8", settings_path=now, engine="torch", device="cpu", run_folder=tmp_path)
    [reply] = service.answer([RawRequest(json.dumps(request_body()).encode(), JSON)])
    assert (reply.status, json.loads(reply.body)["warnings"]) == (200, ["failed_gates"])


def test_an_invariant_breaks_at_the_third_clamped_prediction(open_desk: Open, tmp_path: Path):
    desk = open_desk("v8", root=hot(tmp_path))
    labels = {"symbol": BTC, "generation": "v8", "invariant": "clamped"}
    shown = [(desk.send(request_body(seed=seed)), desk.count("invariant_broken", **labels))[1] for seed in range(3)]
    assert shown == [0, 0, 1]


def test_a_break_that_is_over_before_a_scrape_remains_counted(open_desk: Open):
    desk = open_desk("v8")
    for _ in range(4):
        desk.send(shifted(11, columns=30))
    for seed in range(5):
        desk.send(request_body(seed=seed))
    labels = {"symbol": BTC, "generation": "v8"}
    assert desk.count("invariant_broken", **labels, invariant="off_scale") == 0
    assert desk.count("invariant_breaks_total", **labels) == 4  # the third, the fourth, and two with three behind them


# ---- what is counted, and what leaves no trace


def test_a_prediction_is_counted_by_what_answered(desk: Desk):
    answer = desk.ask(request_body())
    labels = {"symbol": BTC, "variant": "ensemble"}
    assert desk.count("predictions_total", **labels, direction=answer["direction"]) == 1
    assert desk.count("confidence_sum", **labels) == pytest.approx(answer["confidence"])
    assert desk.count("raw_logit_count", symbol=BTC, generation="v8") == 3
    assert desk.count("latency_seconds_count", stage="total") == 1


def test_every_fault_of_a_request_is_counted_by_its_code(desk: Desk):
    desk.send(request_body("DOGE-USD", request_id=""), b"{")
    assert [desk.count("errors_total", code=code) for code in ("unknown_symbol", "bad_field", "bad_json")] == [1, 1, 1]
    assert desk.count("predictions_total", symbol=BTC, variant="ensemble", direction="UP") == 0


PROBE = {**JSON, PROBE_HEADER: SECRET}


def test_a_probe_is_answered_and_leaves_no_trace(desk: Desk):
    before = generate_latest(desk.registry)
    assert desk.ask(request_body(), headers=PROBE)["variant"] == "ensemble"
    assert desk.send(b"{", headers=PROBE)[0].status == 400
    assert desk.send(shifted(2000, columns=72), headers=PROBE)[0].status in {200, 422}
    assert generate_latest(desk.registry) == before


def test_a_probe_leaves_the_invariants_alone(open_desk: Open, tmp_path: Path):
    desk = open_desk("v8", root=hot(tmp_path))
    for _ in range(5):
        desk.ask(request_body(), headers=PROBE)
    desk.ask(request_body())
    assert desk.count("invariant_broken", symbol=BTC, generation="v8", invariant="clamped") == 0


@pytest.mark.parametrize("secret", ["", "a-secre", "a-secret2", "A-SECRET", "\u00fc"])
def test_whoever_does_not_know_the_secret_is_a_caller_like_any_other(desk: Desk, secret: str):
    answer = desk.ask(request_body(), headers={**JSON, PROBE_HEADER: secret})
    assert desk.count("predictions_total", symbol=BTC, variant="ensemble", direction=answer["direction"]) == 1


def test_without_a_secret_nobody_is_a_probe(desk: Desk):
    known = desk.service
    service = Service("ensemble", known.models, known.schemas, known._settings, known._metrics)
    service.answer([RawRequest(json.dumps(request_body()).encode(), {**JSON, PROBE_HEADER: "None"})])
    assert desk.count("latency_seconds_count", stage="total") == 1


def test_a_refusal_is_logged_with_its_id_and_without_its_payload(desk: Desk, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("WARNING", "signalserve"):
        desk.send({"instances": [], "secret-payload" * 100: 1}, request_body(request_id="bot-7", close=-123456.75))
    fields = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert [entry["codes"] for entry in fields] == [["extra_field"], ["bad_field"]]
    assert all(len(json.dumps(entry)) < 500 for entry in fields)
    assert "123456" not in json.dumps(fields)


# ---- toggles


def look_twice(desk: Desk) -> None:
    """What the watching thread of a worker does within half a second."""
    for _ in range(2):
        desk.service._settings.look()


def test_a_changed_settings_file_is_in_force_once_seen(open_desk: Open):
    desk = open_desk(settings="defaults: {mode: v8}")
    assert desk.ask(request_body())["variant"] == "v8"
    write_settings(desk.settings_path, "defaults: {mode: v6_fixed}")
    look_twice(desk)
    assert desk.ask(request_body())["variant"] == "v6_fixed"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("defaults: {mode: v7}", "defaults.mode"),
        ("symbols: {BTCUSD: {mode: v8}}", "expected symbols among BTC-USD, ETH-USD, got BTCUSD"),
        ('bundles: {BTC-USD: {v8: "7"}}', "pins v8 version 7, and version 1 is packed"),
    ],
)
def test_a_wrong_settings_file_changes_nothing_and_shows(open_desk: Open, wrong: str, reason: str):
    desk = open_desk(settings="defaults: {mode: v8}")
    hash_before = desk.count("config_hash")
    write_settings(desk.settings_path, wrong)
    look_twice(desk)
    assert desk.ask(request_body())["variant"] == "v8"
    assert desk.count("config_valid") == 0
    assert desk.count("config_hash") == hash_before
    assert reason in str(desk.service._settings.error)


# ---- whatever comes


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Two models that read one column: as little as there can be."""
    root = write_store(tmp_path_factory.mktemp("small"), columns=("rsi_14",), hidden=1, layers=1)
    settings_path = write_settings(root / "serving.yaml")
    options = {"settings_path": settings_path, "engine": "torch", "device": "cpu", "probe_secret": SECRET}
    return Service.load(root, "ensemble", **options)


def test_an_empty_batch_has_no_replies(small: Service):
    assert small.answer([]) == []


bodies = (
    st.none()
    | st.binary(max_size=40)
    | st.lists(st.floats(width=32), min_size=60, max_size=60).map(
        lambda column: json.dumps({"symbol": BTC, "features": {"rsi_14": column}}).encode()
    )
    | st.sampled_from([3e38, -3e38, 0.0]).map(lambda cell: npy_bytes(np.full((2, 60, 1), cell, np.float32)))
)
headers = st.fixed_dictionaries(
    {"content-type": st.sampled_from(["application/json", "application/x-npy"]) | st.text(max_size=9)},
    optional={"x-symbol": st.just(BTC), PROBE_HEADER: st.just(SECRET) | st.text(max_size=9)},
)


@hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(bodies, headers), max_size=4))
def test_whatever_comes_every_request_has_a_strict_json_reply(small: Service, requests: Sequence[tuple[Any, Any]]):
    replies = small.answer([RawRequest(body, given_headers) for body, given_headers in requests])
    assert len(replies) == len(requests)
    for reply in replies:
        assert reply.status in {200, 400, 413, 422}
        content = json.loads(reply.body, parse_constant=lambda name: pytest.fail(name))
        for prediction in content.get("predictions", [content] if reply.status == 200 else []):
            assert sum(numbers(prediction["probabilities"])) == pytest.approx(1)  # orjson writes a NaN as null
