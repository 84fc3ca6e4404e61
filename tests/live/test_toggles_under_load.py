"""serving.yaml, changed 200 times under load: no request fails, and every answer is one configuration's."""

import itertools
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from live.server import Server, wait_for
from live.test_toggles import replace
from live.traffic import Traffic
from live.windows import last_windows
from stores import candles

from signalserve.journal import database_of
from signalserve.routing import decide
from signalserve.settings import parse_settings

pytestmark = pytest.mark.live

TOGGLES = 200
SPLITS = ({"v6_fixed": 0.8, "v8": 0.1, "ensemble": 0.1}, {"v6_fixed": 0.2, "v8": 0.5, "ensemble": 0.3}, {"v8": 1.0})


def configurations() -> list[dict[str, Any]]:
    """200 that differ in who answers, the pool and the experiment, so that half of one beside half of another shows."""
    found = []
    modes = itertools.cycle(["ab", "ensemble", "ab", "v8", "v6_fixed"])
    for number, mode in zip(range(TOGGLES), modes, strict=False):
        share = 0.1 + 0.004 * number
        found.append(
            {
                "defaults": {
                    "mode": mode,
                    "weights": {"v6_fixed": share, "v8": 1 - share},
                    "pool": {"method": "log", "temperature": 1 + share},
                },
                "experiment": {
                    "name": f"x{number}",
                    "split": SPLITS[number % 3],
                    "control": "v8",
                    "block_minutes": 1,
                    "salt": "s",
                },
                "allow_failed_gates": True,
                "score_all_arms": number % 2 == 0,
            }
        )
    return found


@pytest.fixture
def server(tmp_path: Path, packed: Path):
    running = Server(tmp_path, store=packed).start()
    yield running
    running.stop()


def rows(server: Server) -> list[tuple[Any, ...]]:
    """(prediction_id, symbol, as_of_ms, mode, assigned, arm that answered, text of serving.yaml) of every answer."""
    with closing(sqlite3.connect(f"file:{database_of(server.journal)}?mode=ro", uri=True)) as connection:
        return connection.execute(
            "SELECT prediction_id, symbol, as_of_ms, mode, assigned, arm, text FROM predictions "
            "JOIN configs USING (config_id) WHERE answered"
        ).fetchall()


def test_no_request_fails_and_the_journals_arms_are_those_of_the_hash(server: Server) -> None:
    wanted = [json.dumps(configuration) for configuration in configurations()]
    case = next(last_windows("BTC-USD", candles("BTC-USD", 1060), 1))
    with Traffic(server.url, case, connections=16) as traffic:
        traffic.after(50)
        for text in wanted:
            replace(server, text)
            time.sleep(0.3)  # a change is taken at the second look, 0.2 s apart
        traffic.after(50)
    assert traffic.failures == []
    wait_for(lambda: len(rows(server)) >= len(traffic.answers), 30)
    journal = {row[0]: row[1:] for row in rows(server)}
    assert len(journal) == len(traffic.answers) > 2000
    settings = {text: parse_settings(text, "serving.yaml") for text in {row[-1] for row in journal.values()}}
    assert len(settings.keys() & set(wanted)) > TOGGLES / 2
    for answer in traffic.answers:
        symbol, as_of_ms, mode, assigned, arm, text = journal[answer["prediction_id"]]
        decision = decide(settings[text], symbol, as_of_ms)
        assert (mode, assigned, arm) == (decision.mode, decision.assigned, decision.variant)
        assert (answer["mode"], answer["arm"], answer["variant"]) == (decision.mode, decision.arm, decision.variant)
        shares = {model["generation"]: model["weight"] for model in answer["models"]}
        assert shares == {generation: decision.weights[generation] for generation in decision.generations}
        if decision.variant == "ensemble":
            assert answer["pool"] == {"method": decision.pool.method, "temperature": decision.pool.temperature}
