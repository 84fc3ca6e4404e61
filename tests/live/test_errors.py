"""Everything a caller can do wrong, over HTTP: alone, and in a batch beside good requests."""

import asyncio

import httpx
import pytest
from live.bad_requests import Bad, bad_requests
from live.server import Server, strict_json
from live.windows import Case, last_windows

from signalserve.demo import demo_candles

pytestmark = pytest.mark.live

END_MS = 1_764_000_000_000
GOOD = [next(last_windows(s, demo_candles(s, 1_060, end_ms=END_MS), 1)) for s in ("BTC-USD", "ETH-USD", "SOL-USD")]
BAD = list(bad_requests(GOOD[0]))


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_wrong_request_is_refused_in_the_contracts_words(server: Server, bad: Bad) -> None:
    response = server.ask("ensemble", bad.body, bad.headers)
    assert (response.status_code, response.headers["content-type"]) == (bad.status, "application/json")
    error = strict_json(response.content)["error"]
    assert error["code"] == bad.code
    assert set(error) == {"code", "instance", "field", "expected", "got"}
    assert error["expected"] and error["got"] and len(response.content) < 20_000


def test_the_fields_of_the_ensemble_are_refused_elsewhere(server: Server) -> None:
    response = server.ask("v8", GOOD[0].by_position() | {"variant": "v6_fixed"})
    assert strict_json(response.content)["error"]["code"] == "extra_field"
    assert "/predictions/ensemble" in response.text


def test_every_fault_of_every_instance_is_listed(server: Server) -> None:
    content = {"instances": [GOOD[0].by_position(), {"symbol": "X", "close": -1}, {"symbol": "BTC-USD", "weights": {}}]}
    got = strict_json(server.ask("ensemble", content).content)
    found = {(error["instance"], error["code"]) for error in got["errors"]}
    assert found == {(1, "unknown_symbol"), (1, "bad_field"), (2, "bad_weights"), (2, "missing_field")}


def test_the_whole_of_a_large_answer_arrives(server: Server) -> None:
    """TorchServe closes the connection after an error, and loses the end of an answer that is too long for it."""
    features = GOOD[0].by_name()["features"]
    short = {name: column[1:] for name, column in features.items()}
    instance = {"symbol": "BTC-USD", "features": short, "close": -1, "request_id": "", "leverage": 1}
    response = server.ask("ensemble", {"instances": [instance] * 64})
    errors = strict_json(response.content)["errors"]
    assert (response.status_code, len(errors), strict_json(response.content)["omitted"]) == (422, 200, 56)
    assert "59 numbers in 72 columns" in response.text


def test_a_body_over_the_limit_gets_torchserves_own_413(server: Server) -> None:
    try:
        response = server.ask("ensemble", b" " * 20_000_000, {"Content-Type": "application/json"})
    except httpx.TransportError:  # it may close the connection before the body is through
        pass
    else:
        assert response.status_code == 413
    assert server.ask("ensemble", GOOD[0].by_position()).status_code == 200


def test_errors_are_counted_by_their_code(server: Server) -> None:
    name = 'signalserve_errors_total{code="unknown_symbol",endpoint="v8"}'
    before = server.metrics()[name]
    server.ask("v8", GOOD[0].by_position() | {"symbol": "DOGE-USD"})
    assert server.metrics()[name] == before + 1


def test_good_neighbours_of_every_wrong_request_keep_their_bits(batching_server: Server) -> None:
    """Batches of six: three good ones and their copies, then each wrong one in the place of a copy."""

    async def run() -> None:
        limits = httpx.Limits(max_connections=6)
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
            await together(client, None)  # empties what the probes had left in the queue
            expected = await together(client, None)
            same_batch = []
            for bad in BAD:
                got = await together(client, bad)
                assert got[3].status_code == bad.status, bad.name
                for place in (1, 2, 4, 5):
                    assert bits(got[place]) == bits(expected[place]), f"{bad.name} changed its neighbour {place}"
                assert confidence(got[0]) == pytest.approx(confidence(expected[0]), abs=1e-6), bad.name
                if bits(got[0]) == bits(expected[0]):
                    same_batch.append(bad.name)
            # what names no symbol that can be told leaves the other BTC window alone in its batch: 1e-6 instead of bits
            unreadable = {bad.name for bad in BAD if bad.status == 400 and not bad.name.startswith("npy")}
            assert set(same_batch) >= {bad.name for bad in BAD if names_btc(bad)} - unreadable

    async def together(client: httpx.AsyncClient, bad: Bad | None) -> list[httpx.Response]:
        requests = [good_request(case) for case in (*GOOD, *GOOD)]
        if bad is not None:
            requests[3] = (bad.body, bad.headers)
        url = f"{batching_server.url}/predictions/ensemble"
        return await asyncio.gather(*(client.post(url, content=body, headers=headers) for body, headers in requests))

    asyncio.run(run())


def good_request(case: Case) -> tuple[bytes, dict[str, str]]:
    return case.npy()


def names_btc(bad: Bad) -> bool:
    """Whether the service can tell that this wrong request asked for BTC-USD."""
    if bad.headers.get("X-Symbol"):
        return bad.headers["X-Symbol"] == "BTC-USD"
    return bad.body.startswith(b'{"symbol": "BTC-USD"')


def confidence(response: httpx.Response) -> float:
    return float(strict_json(response.content)["confidence"])


def bits(response: httpx.Response) -> object:
    """Everything of an answer but its id: equal only when every number has the same bits."""
    assert response.status_code == 200, response.text
    return {key: value for key, value in strict_json(response.content).items() if key != "prediction_id"}
