"""The two clients side by side, where they send, and over a real socket."""

import asyncio
import inspect
import threading
import time

import httpx
import numpy as np
import pytest
from fake_service import Script, answer_any, ask, ok, serving
from stores import BTC, candles, raw_window

from signalserve.client import (
    AsyncSignalClient,
    ConnectionFailed,
    EndpointNotFound,
    MalformedAnswer,
    Retries,
    ServiceUnavailable,
    SignalClient,
    TimedOut,
)

KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


def predict(client):
    return client.predict(BTC, features=raw_window(), request_id="bot-7")


def public(cls):
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {name: str(inspect.signature(method)) for name, method in methods if name[0] != "_"}


def test_both_clients_take_the_same_arguments():
    sync, asynchronous = public(SignalClient), public(AsyncSignalClient)
    sync["aclose"] = sync.pop("close")
    assert sync == asynchronous


def test_both_send_the_same_and_give_the_same():
    scripts = {kind: Script(ok()) for kind in ("sync", "async")}
    results = [ask(kind, script, predict) for kind, script in scripts.items()]
    assert results[0] == results[1]
    sync, asynchronous = (script.sent for script in scripts.values())
    assert (sync.url, sync.headers, sync.content) == (asynchronous.url, asynchronous.headers, asynchronous.content)


@KINDS
@pytest.mark.parametrize("base_url", ["https://proxy.example/signals", "https://proxy.example/signals/"])
def test_a_path_in_front_stays_in_front(kind, base_url):
    script = Script(ok())
    ask(kind, script, lambda c: c.predict(BTC, features=raw_window(), endpoint="v8"), base_url=base_url)
    assert str(script.sent.url) == "https://proxy.example/signals/predictions/v8"


@KINDS
def test_the_proxys_headers_go_to_it_and_to_nobody_else(kind):
    script = Script(ok(), httpx.Response(200, json={"ready": True}))
    headers = {"Authorization": "Bearer secret"}
    for call in (predict, lambda c: c.ready("http://10.0.0.8:8083/ready")):
        ask(kind, script, call, base_url="https://proxy.example", headers=headers)
    assert [request.headers.get("authorization") for request in script.requests] == ["Bearer secret", None]


@KINDS
def test_the_callers_headers_do_not_replace_what_the_request_needs(kind):
    script = Script(ok())
    ask(kind, script, predict, headers={"X-Tenant": "7", "User-Agent": "my-bot"})
    sent = script.sent.headers
    assert (sent["x-tenant"], sent["user-agent"], sent["content-type"]) == ("7", "my-bot", "application/x-npy")


@KINDS
@pytest.mark.parametrize(
    ("status", "body", "healthy"), [(200, {"status": "Healthy"}, True), (500, {"status": "Unhealthy"}, False)]
)
def test_ping_says_whether_torchserve_is_up(kind, status, body, healthy):
    script = Script(httpx.Response(status, json=body))
    assert ask(kind, script, lambda c: c.ping()) is healthy
    assert script.sent.url.path == "/ping"


def test_a_ping_that_somebody_else_answers_is_no_answer():
    with pytest.raises(MalformedAnswer, match=r"expected .*Healthy"):
        ask("sync", Script(httpx.Response(200, text="pong")), lambda c: c.ping())
    with pytest.raises(EndpointNotFound):
        ask("sync", Script(httpx.Response(404, text="pong")), lambda c: c.ping())


@KINDS
def test_ready_tells_what_is_not(kind):
    not_ready = {"ensemble BTC-USD": "no answer yet"}
    answer = httpx.Response(503, json={"ready": False, "not_ready": not_ready})
    readiness = ask(kind, Script(answer), lambda c: c.ready())
    assert (bool(readiness), readiness.not_ready) == (False, not_ready)
    assert ask(kind, Script(httpx.Response(200, json={"ready": True, "answering": []})), lambda c: c.ready())


def test_a_ready_that_somebody_else_answers_is_an_error():
    with pytest.raises(ServiceUnavailable):
        ask("sync", Script(httpx.Response(503, text="<h1>down</h1>")), lambda c: c.ready())
    with pytest.raises(MalformedAnswer):
        ask("sync", Script(httpx.Response(200, text="<h1>hello</h1>")), lambda c: c.ready())


@pytest.mark.parametrize(
    ("url", "asks_the_environment"),
    [
        ("http://127.0.0.1:1", False),
        ("http://[::1]", False),
        ("http://localhost", False),
        ("http://example.org", True),
    ],
)
def test_no_proxy_of_the_environment_stands_before_this_machine(url, asks_the_environment):
    with SignalClient(url) as client:
        assert client._http.trust_env is asks_the_environment


# ---- over a real socket


def test_calls_share_a_connection():
    with serving(answer_any) as server, SignalClient(server.url) as client:
        for _ in range(5):
            assert client.predict(BTC, candles=candles()).direction == "UP"
        assert server.connections == 1


def test_asynchronous_calls_share_connections_too():
    async def main(url: str) -> list[str]:
        async with AsyncSignalClient(url) as client:
            await client.predict(BTC, candles=candles())
            together = await asyncio.gather(*(client.predict(BTC, candles=candles()) for _ in range(4)))
            return [result.symbol for result in together]

    with serving(answer_any) as server:
        assert asyncio.run(main(server.url)) == [BTC] * 4
        assert server.connections <= 4


@KINDS
def test_a_connection_that_is_dropped_without_an_answer_is_tried_again(kind):
    drops = iter([True, True, False])

    def answer(path, body):
        return None if next(drops) else answer_any(path, body)

    with serving(answer) as server:
        call = lambda client: client.predict(BTC, candles=candles())  # noqa: E731
        assert ask(kind, Script(ok()), call, base_url=server.url, transport=None).direction == "UP"
        assert server.connections == 3


def test_nobody_there_is_a_failed_connection():
    with serving(answer_any) as server:
        url = server.url
    with SignalClient(url, retries=0) as client, pytest.raises(ConnectionFailed, match="is the service running there"):
        client.ping()


def test_a_service_that_hangs_is_left_at_the_deadline():
    released = threading.Event()

    def answer(path, body):
        released.wait(5)

    with serving(answer) as server, SignalClient(server.url, retries=Retries(50, total_s=0.3), timeout=0.1) as client:
        started = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            client.predict(BTC, features=np.zeros((60, 72)))
        assert time.monotonic() - started < 3.0
        assert caught.value.attempts > 1
        released.set()
