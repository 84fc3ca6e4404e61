"""Every window through every endpoint and every form, against float64 numpy that shares no code with the package."""

import httpx
import numpy as np
import pytest
import yaml
from live.server import ROOT, Server, ask, strict_json
from live.windows import Case, last_windows, npy_of
from reference_model import ReferenceModel, pool

from signalserve import CLASSES
from signalserve.candles import Candles
from signalserve.demo import demo_candles

pytestmark = pytest.mark.live

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
GENERATIONS = ("v6_fixed", "v8")
TOGGLES = yaml.safe_load((ROOT / "serving.yaml").read_text())["symbols"]
BOUND = 1e-5


@pytest.fixture(scope="module")
def references() -> dict[tuple[str, str], ReferenceModel]:
    newest = {}
    for path in sorted((ROOT / "model_store" / "bundles").glob("*/*/*/manifest.json"), key=lambda p: int(p.parts[-2])):
        newest[path.parts[-4], path.parts[-3]] = ReferenceModel(path.parent)
    return newest


def test_the_last_200_windows_of_the_real_bars(
    server: Server, real_bars: dict[str, Candles], references: dict[tuple[str, str], ReferenceModel]
) -> None:
    for symbol in SYMBOLS:
        check(server, references, list(last_windows(symbol, real_bars[symbol], 200)))


def test_windows_of_generated_candles(server: Server, references: dict[tuple[str, str], ReferenceModel]) -> None:
    for symbol in SYMBOLS:
        check(server, references, list(last_windows(symbol, demo_candles(symbol, 1_100, seed=7), 20)))


def check(server: Server, references: dict[tuple[str, str], ReferenceModel], cases: list[Case]) -> None:
    """All forms and endpoints for windows of one symbol."""
    symbol = cases[0].symbol
    windows = np.stack([case.values for case in cases])
    expected = {generation: references[generation, symbol].answer(windows)[1] for generation in GENERATIONS}
    weights = np.array([TOGGLES[symbol]["weights"][generation] for generation in GENERATIONS])
    expected["ensemble"] = pool(
        np.array([expected[g] for g in GENERATIONS]),
        weights,
        TOGGLES[symbol]["pool"]["method"],
        TOGGLES[symbol]["pool"]["temperature"],
    )
    with httpx.Client(trust_env=False, timeout=30) as client:
        for endpoint in (*GENERATIONS, "ensemble"):
            url = f"{server.url}/predictions/{endpoint}"
            forms = [answers_by_form(client, url, case) for case in cases]
            batch = batch_answers(client, url, cases)
            for form in forms[0]:
                compare([answers[form] for answers in forms], expected[endpoint], endpoint)
            for answers in batch:
                compare(answers, expected[endpoint], endpoint)
            spread = [np.ptp([probabilities(answer) for answer in answers.values()], axis=0).max() for answers in forms]
            assert max(spread) <= 1e-6, "the forms disagree"


def answers_by_form(client: httpx.Client, url: str, case: Case) -> dict[str, dict]:
    return {name: answer(ask(client, url, body, headers)) for name, (body, headers) in case.forms.items()}


def batch_answers(client: httpx.Client, url: str, cases: list[Case]) -> list[list[dict]]:
    """The same windows as one npy array, and as lists of instances."""
    headers = {"Content-Type": "application/x-npy", "X-Symbol": cases[0].symbol}
    whole = answer(ask(client, url, npy_of(np.stack([case.values for case in cases])), headers))["predictions"]
    instances = []
    for start in range(0, len(cases), 50):
        content = {"instances": [case.by_position() for case in cases[start : start + 50]]}
        instances += answer(ask(client, url, content))["predictions"]
    return [whole, instances]


def answer(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return strict_json(response.content)


def probabilities(answer: dict) -> list[float]:
    return [answer["probabilities"][name] for name in CLASSES]


def compare(answers: list[dict], expected: np.ndarray, endpoint: str) -> None:
    got = np.array([probabilities(answer) for answer in answers])
    assert np.abs(got - expected).max() <= BOUND
    assert np.abs(got.sum(axis=1) - 1).max() <= 1e-6
    for one, row in zip(answers, got, strict=True):
        assert one["variant"] == endpoint
        assert one["direction"] == CLASSES[int(row.argmax())]
        assert one["confidence"] == row.max()


def test_candles_bring_their_own_as_of_and_old_ones_are_called_stale(server: Server) -> None:
    case = next(last_windows("BTC-USD", demo_candles("BTC-USD", 1_060, end_ms=1_764_000_000_000), 1))
    got = answer(server.ask("ensemble", case.candles()))
    assert got["as_of"] == "2025-11-24T16:01:00Z"
    assert "stale_input" in got["warnings"]


def test_fresh_candles_carry_no_warning_of_age(server: Server) -> None:
    case = next(last_windows("BTC-USD", demo_candles("BTC-USD", 1_060), 1))
    assert "stale_input" not in answer(server.ask("ensemble", case.candles()))["warnings"]


def test_a_caller_chooses_the_variant_and_the_weights(server: Server) -> None:
    case = next(last_windows("ETH-USD", demo_candles("ETH-USD", 1_060), 1))
    alone = answer(server.ask("ensemble", case.by_position() | {"variant": "v8"}))
    assert alone["variant"] == "v8" and [m["generation"] for m in alone["models"]] == ["v8"] and "pool" not in alone
    direct = answer(server.ask("v8", case.by_position()))
    assert alone["probabilities"] == direct["probabilities"]
    weighted = answer(server.ask("ensemble", case.by_position() | {"weights": {"v6_fixed": 0.9, "v8": 0.1}}))
    assert [m["weight"] for m in weighted["models"]] == [0.9, 0.1]
    assert "uncalibrated_weights" in weighted["warnings"]


def test_a_batch_may_mix_symbols_and_keeps_its_order(server: Server) -> None:
    cases = [next(last_windows(symbol, demo_candles(symbol, 1_060), 1)) for symbol in SYMBOLS * 2]
    alone = [answer(server.ask("ensemble", case.by_position())) for case in cases]
    content = {"instances": [case.by_name() | {"request_id": f"r{i}"} for i, case in enumerate(cases)]}
    together = answer(server.ask("ensemble", content))["predictions"]
    assert [one["symbol"] for one in together] == list(SYMBOLS * 2)
    assert [one["request_id"] for one in together] == [f"r{i}" for i in range(6)]
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(probabilities(one), probabilities(other), atol=1e-6)
