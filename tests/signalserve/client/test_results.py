"""What a bot gets: typed, frozen, forward compatible, and never an answer that contradicts itself."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from fake_service import prediction
from pydantic import ValidationError

from signalserve import CLASSES
from signalserve.client import DIRECTIONS, Prediction, explain
from signalserve.client.explanations import EXPLANATIONS
from signalserve.response import WARNINGS


def parsed(**fields) -> Prediction:
    return Prediction.model_validate_json(json.dumps(prediction(**fields)))


def test_every_field_of_the_contract_is_there():
    result = parsed(warnings=["clamped"])
    assert (result.prediction_id, result.request_id, result.symbol) == ("0193", "bot-7", "BTC-USD")
    assert result.as_of == datetime(2025, 11, 24, 16, 1, tzinfo=UTC)
    assert (result.direction, result.confidence, result.probabilities["DOWN"]) == ("UP", 0.471, 0.301)
    assert (result.variant, result.mode, result.arm, result.degraded) == ("ensemble", "ab", "ensemble", False)
    assert (result.pool.method, result.pool.temperature, result.warnings) == ("log", 1.1, ("clamped",))
    [model] = result.models
    assert (model.generation, model.weight, model.raw_logits) == ("v6_fixed", 0.4, (3.92, -9.24, 8.33))


def test_a_newer_service_does_not_stop_an_older_bot():
    newer = prediction(shadow={"v9": [1]}, variant="v9", warnings=["a_warning_of_tomorrow"])
    newer["models"][0] |= {"generation": "v9", "latency_ms": 3}
    result = Prediction.model_validate_json(json.dumps(newer))
    assert (result.variant, result.warnings) == ("v9", ("a_warning_of_tomorrow",))


def test_a_single_models_answer_has_no_pool():
    content = {name: value for name, value in prediction(as_of=None, arm=None).items() if name != "pool"}
    result = Prediction.model_validate_json(json.dumps(content))
    assert (result.pool, result.as_of, result.age()) == (None, None, None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"direction": "DOWN"}, "largest probability, 0.471"),
        ({"confidence": 0.9}, "largest probability, 0.471"),
        ({"direction": "SIDEWAYS"}, "DOWN"),
        ({"probabilities": {"DOWN": 0.3, "UP": 0.7}, "confidence": 0.7}, "probabilities of DOWN, NEUTRAL, UP"),
        ({"probabilities": {"DOWN": 0.3, "NEUTRAL": 0.3, "UP": 0.471}}, "sum to 1, got 1.071"),
        ({"probabilities": {"DOWN": -0.1, "NEUTRAL": 0.629, "UP": 0.471}}, "greater than or equal to 0"),
        ({"as_of": "2025-11-24T16:01:00"}, "timezone"),
        ({"models": None}, "models"),
    ],
)
def test_an_answer_that_contradicts_itself_is_none(fields, words):
    with pytest.raises(ValidationError, match=words):
        parsed(**fields)


def test_results_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        parsed().confidence = 0.99


def test_age_is_told_from_the_bars_close():
    result = parsed()
    assert result.age(datetime(2025, 11, 24, 16, 4, tzinfo=UTC)) == timedelta(minutes=3)
    assert result.age() > timedelta(0)


def test_the_order_of_classes_is_the_one_used_everywhere():
    assert DIRECTIONS == CLASSES


@pytest.mark.parametrize("warning", WARNINGS)
def test_every_warning_of_the_service_is_explained(warning):
    assert explain(warning) != warning
    assert warning in EXPLANATIONS or warning.startswith("invariant_")


def test_an_unknown_warning_is_passed_on():
    assert explain("a_warning_of_tomorrow") == "a_warning_of_tomorrow"
