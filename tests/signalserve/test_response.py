"""The JSON that the bot reads: the contract's fields, exactly, and strict JSON always."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import AS_OF, BTC, LAST_BAR_MS, write_model

from signalserve.bundle import Manifest, load_bundle
from signalserve.candles import iso
from signalserve.errors import BadShape, UnknownSymbol
from signalserve.response import ModelAnswer, encode, error_body, prediction
from signalserve.routing import Decision
from signalserve.settings import Pool

FIELDS = [
    "prediction_id",
    "request_id",
    "symbol",
    "as_of",
    "direction",
    "confidence",
    "probabilities",
    "variant",
    "mode",
    "arm",
    "degraded",
    "pool",
    "models",
    "warnings",
]
MODEL_FIELDS = [
    "generation",
    "version",
    "sha256",
    "weight",
    "temperature",
    "clamp",
    "raw_logits",
    "clamped",
    "probabilities",
]
LOG_POOL = Pool(method="log", temperature=1.1)
POOLED = Decision("ensemble", "ab", {"v6_fixed": 0.4, "v8": 0.6}, LOG_POOL, "ensemble", "ensemble")
ALONE = Decision("v8", "v8", {"v8": 1.0}, Pool(), "v8")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = write_model(tmp_path_factory.mktemp("store"), "v8", BTC, temperature=8.0, hidden=2)
    return load_bundle(folder).manifest


def answer(manifest: Manifest, generation: Any = "v8") -> ModelAnswer:
    logits, probabilities = np.array([3.92, -9.24, 8.33]), np.array([0.34, 0.07, 0.59])
    return ModelAnswer(generation, manifest, "ab" * 32, logits, probabilities, clamped=False)


def respond(decision: Decision, answers: list[ModelAnswer], **fields: Any) -> dict[str, Any]:
    given_fields = {
        "prediction_id": "0193",
        "request_id": "bot-7",
        "symbol": BTC,
        "as_of_ms": LAST_BAR_MS + 60_000,
        "probabilities": np.array([0.301, 0.228, 0.471]),
        "warnings": ["clamped"],
        **fields,
    }
    return json.loads(encode(prediction(decision=decision, answers=answers, **given_fields)))


def test_a_pooled_answer_has_the_contracts_fields_in_its_order(manifest: Manifest):
    content = respond(POOLED, [answer(manifest, "v6_fixed"), answer(manifest)])
    assert list(content) == FIELDS
    assert [list(model) for model in content["models"]] == [MODEL_FIELDS, MODEL_FIELDS]
    assert content["pool"] == {"method": "log", "temperature": 1.1}


def test_one_models_answer_has_no_pool(manifest: Manifest):
    content = respond(ALONE, [answer(manifest)])
    assert list(content) == [field for field in FIELDS if field != "pool"]
    assert (content["variant"], content["mode"], content["arm"]) == ("v8", "v8", None)


def test_the_values_are_those_that_went_in(manifest: Manifest):
    content = respond(POOLED, [answer(manifest), answer(manifest, "v6_fixed")])
    assert content["probabilities"] == {"DOWN": 0.301, "NEUTRAL": 0.228, "UP": 0.471}
    assert (content["direction"], content["confidence"], content["as_of"]) == ("UP", 0.471, AS_OF)
    assert content["warnings"] == ["clamped"]
    assert content["models"][0] == {
        "generation": "v8",
        "version": "1",
        "sha256": "ab" * 32,
        "weight": 0.6,
        "temperature": 8.0,
        "clamp": 15.0,
        "raw_logits": [3.92, -9.24, 8.33],
        "clamped": False,
        "probabilities": {"DOWN": 0.34, "NEUTRAL": 0.07, "UP": 0.59},
    }


def test_a_degraded_answer_says_why(manifest: Manifest):
    content = respond(replace(ALONE, degraded="v6_fixed is out since 10:15: clamped"), [answer(manifest)])
    assert content["degraded"] is True
    assert content["degraded_reason"] == "v6_fixed is out since 10:15: clamped"


@pytest.mark.parametrize(("index", "name"), [(0, "DOWN"), (1, "NEUTRAL"), (2, "UP")])
def test_the_direction_is_the_largest_class(manifest: Manifest, index: int, name: str):
    probabilities = np.full(3, 0.2)
    probabilities[index] = 0.6
    content = respond(ALONE, [answer(manifest)], probabilities=probabilities)
    assert (content["direction"], content["confidence"]) == (name, 0.6)


def test_what_the_caller_left_out_is_null(manifest: Manifest):
    content = respond(ALONE, [answer(manifest)], request_id=None, as_of_ms=None)
    assert (content["request_id"], content["as_of"]) == (None, None)


@pytest.mark.parametrize(
    ("time_ms", "words"),
    [
        (1_764_000_060_000, "2025-11-24T16:01:00Z"),
        (1_764_000_060_001, "2025-11-24T16:01:00.001Z"),
        (1_764_000_060_999, "2025-11-24T16:01:00.999Z"),
    ],
)
def test_times_are_written_as_in_the_contract(time_ms: int, words: str):
    assert iso(time_ms) == words


@given(st.integers(946_684_800_000, 4_102_444_800_000))
def test_a_time_survives_being_written(time_ms: int):
    written = datetime.fromisoformat(str(iso(time_ms)))
    assert (written - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == time_ms


def test_one_fault_stands_alone():
    fault = BadShape("features", expected="60 x 72 finite numbers", got="59 x 72")
    assert error_body([fault]) == {
        "error": {
            "code": "bad_shape",
            "instance": 0,
            "field": "features",
            "expected": "60 x 72 finite numbers",
            "got": "59 x 72",
        }
    }


def test_several_faults_are_all_listed_and_the_first_stands_out():
    faults = [BadShape("features", expected="a", got="b", instance=3), UnknownSymbol("symbol", expected="c", got="d")]
    body = error_body(faults)
    assert body["error"] == body["errors"][0]
    assert [(error["code"], error["instance"]) for error in body["errors"]] == [("bad_shape", 3), ("unknown_symbol", 0)]


def test_the_answer_is_strict_json_whatever_the_numbers(manifest: Manifest):
    tiny = np.array([5e-324, 1e-300, 1.0])
    content = respond(ALONE, [answer(manifest)], probabilities=tiny)
    assert content["probabilities"] == {"DOWN": 5e-324, "NEUTRAL": 1e-300, "UP": 1.0}
