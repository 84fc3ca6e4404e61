"""Bars replayed through the service: each prediction's outcome finds it, and is the label that the bars give."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from live.server import Server, wait_for
from live.windows import JSON

from signalserve.bundle import load_manifests
from signalserve.candles import Candles, to_rows
from signalserve.demo import demo_candles
from signalserve.features import MIN_CANDLES
from signalserve.journal import database_of
from signalserve.labels import classes_of

pytestmark = pytest.mark.live

SYMBOL, ASKED = "ETH-USD", 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, packed: Path):
    running = Server(tmp_path_factory.mktemp("outcomes"), store=packed).start()
    yield running
    running.stop()


def replay(server: Server, bars: Candles, skip: frozenset[int] = frozenset()) -> None:
    """A bot that asks at the end of each of the last bars, but for those it slept through."""
    rows = to_rows(bars)
    with httpx.Client(trust_env=False, timeout=30) as client:
        for end in range(len(rows) - ASKED + 1, len(rows) + 1):
            if end not in skip:
                body = orjson.dumps({"symbol": SYMBOL, "candles": rows[end - MIN_CANDLES : end]})
                response = client.post(f"{server.url}/predictions/ensemble", content=body, headers=JSON)
                assert response.status_code == 200, response.text


def outcomes(server: Server, arm: str, bars: Candles) -> dict[int, int | None]:
    """as_of -> outcome of an arm, over the bars at whose ends it was asked."""
    first_ms, last_ms = (int(bars.timestamp_ms[at]) + 60_000 for at in (-ASKED, -1))
    with closing(sqlite3.connect(f"file:{database_of(server.journal)}?mode=ro", uri=True)) as connection:
        return dict(
            connection.execute(
                "SELECT as_of_ms, outcome FROM predictions WHERE symbol = ? AND arm = ? AND as_of_ms BETWEEN ? AND ?",
                (SYMBOL, arm, first_ms, last_ms),
            ).fetchall()
        )


def labels(server: Server, bars: Candles) -> dict[int, int]:
    """as_of -> label, straight from the bars by the rule that stands in the manifest."""
    [rule] = {m.labels for m in load_manifests(server.store) if m.symbol == SYMBOL}
    assert rule is not None
    later = bars.close[rule.horizon_bars :] / bars.close[: -rule.horizon_bars] - 1
    closed = (bars.timestamp_ms + 60_000).tolist()
    return dict(zip(closed, classes_of(np.asarray(later), rule.neutral_band).tolist(), strict=False))


def require_labels(server: Server, bars: Candles, asked: int) -> None:
    wanted = labels(server, bars)

    def matured(arm: str) -> dict[int, Any]:
        return {time: found for time, found in outcomes(server, arm, bars).items() if found is not None}

    wait_for(lambda: len(matured("ensemble")) >= asked - 15, 20)
    for arm in ("v6_fixed", "v8", "ensemble"):
        assert len(outcomes(server, arm, bars)) == asked
        assert matured(arm) == {time: wanted[time] for time in outcomes(server, arm, bars) if time in wanted}


def test_every_outcome_that_can_be_known_is_the_label_of_the_bars(server: Server) -> None:
    bars = demo_candles(SYMBOL, MIN_CANDLES + ASKED, seed=11)
    replay(server, bars)
    require_labels(server, bars, ASKED)
    name = 'signalserve_live_outcomes{arm="ensemble",symbol="ETH-USD"}'
    wait_for(lambda: server.metrics().get(name) == ASKED - 15, 30)


def test_a_bot_that_slept_brings_the_outcomes_of_what_came_before(server: Server) -> None:
    bars = demo_candles(SYMBOL, MIN_CANDLES + ASKED, seed=12, end_ms=1_700_000_000_000)
    slept = frozenset(range(len(bars) - 60, len(bars) - 20))
    replay(server, bars, slept)
    require_labels(server, bars, ASKED - len(slept))


def test_real_bars_too(server: Server, real_bars: dict[str, Candles]) -> None:
    bars = real_bars[SYMBOL]
    replay(server, bars)
    require_labels(server, bars, ASKED)


def test_told_outcomes_are_joined_once_and_never_contradicted(server: Server) -> None:
    sample = (server.folder / "requests" / "rows.json").read_bytes()
    answer = server.ask("ensemble", {**orjson.loads(sample), "as_of": "2025-11-24T10:00:00Z"}).json()

    def tell(direction: str) -> dict[str, int]:
        claim = {"prediction_id": answer["prediction_id"], "direction": direction}
        return server.ask("ensemble", {"outcomes": [claim]}).json()

    assert tell("UP")["joined"] == 1
    assert tell("UP") == {"joined": 0, "already_known": 1, "unknown": 0, "contradicting": 0, "undecidable": 0}
    assert tell("DOWN")["contradicting"] == 1
    early = server.ask("ensemble", orjson.loads(sample)).json()
    claim = {"prediction_id": early["prediction_id"], "direction": "UP"}
    assert server.ask("ensemble", {"outcomes": [claim]}).json()["undecidable"] == 1  # nobody can know that yet
    unknown = server.ask("ensemble", {"outcomes": [{"prediction_id": "none", "direction": "UP"}]}).json()
    assert unknown["unknown"] == 1
