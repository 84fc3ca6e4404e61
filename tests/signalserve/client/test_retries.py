"""When the client asks again, how long it waits, and when it must not."""

import uuid

import httpx
import numpy as np
import pytest
from fake_service import Clock, Script, ask, ok, refusal, torchserve
from hypothesis import given, settings
from hypothesis import strategies as st

from signalserve.client import (
    ConnectionFailed,
    ErrorAnswer,
    InvalidInput,
    ModelOutputNotFinite,
    NoFreeWorker,
    Retries,
    SignalError,
    TimedOut,
)

KINDS = pytest.mark.parametrize("kind", ["sync", "async"])
WINDOW = np.zeros((60, 72), dtype=np.float32)
BUSY = torchserve(503, "ServiceUnavailableException", 'Model "ensemble" has no worker to serve inference request.')


def predict(client):
    return client.predict("BTC-USD", features=WINDOW)


@KINDS
@pytest.mark.parametrize("status", range(400, 500))
def test_a_refusal_is_never_asked_again(kind, status):
    script = Script(httpx.Response(status))
    with pytest.raises(ErrorAnswer) as caught:
        ask(kind, script, predict)
    assert (len(script.requests), caught.value.attempts) == (1, 1)


@KINDS
@pytest.mark.parametrize("code", ["not_ready", "no_healthy_arm"])
def test_not_even_where_a_4xx_carries_a_code_that_passes(kind, code):
    script = Script(refusal(code, 422))
    with pytest.raises(ErrorAnswer):
        ask(kind, script, predict)
    assert len(script.requests) == 1


@KINDS
@pytest.mark.parametrize(
    "act",
    [
        BUSY,
        torchserve(503, "InternalServerException", "Prediction failed"),
        torchserve(500, "InternalServerException", "Worker died."),
        torchserve(507, "InternalServerException", "Worker died."),
        refusal("not_ready", 503),
        refusal("no_healthy_arm", 503),
        httpx.Response(502, text="<h1>Bad gateway</h1>"),
        httpx.Response(504),
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ReadError,
        httpx.ReadTimeout,
        httpx.WriteError,
        httpx.WriteTimeout,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.ProxyError,
    ],
)
def test_what_passes_is_asked_again_until_it_has(kind, act):
    script = Script(act, act, ok())
    assert ask(kind, script, predict).direction == "UP"
    assert len(script.requests) == 3


@KINDS
def test_the_last_error_is_raised_when_the_retries_are_used_up(kind):
    script = Script(httpx.ConnectError, BUSY)
    with pytest.raises(NoFreeWorker, match="no worker to serve") as caught:
        ask(kind, script, predict, retries=2)
    assert (len(script.requests), caught.value.attempts) == (3, 3)


@KINDS
def test_0_retries_ask_once(kind):
    script = Script(httpx.ConnectError)
    with pytest.raises(ConnectionFailed):
        ask(kind, script, predict, retries=0)
    assert len(script.requests) == 1


@KINDS
def test_the_same_window_gives_the_same_nan_so_that_is_not_asked_again(kind):
    script = Script(refusal("model_output_not_finite", 503))
    with pytest.raises(ModelOutputNotFinite):
        ask(kind, script, predict)
    assert len(script.requests) == 1


@KINDS
@pytest.mark.parametrize("call", [lambda c: c.ping(), lambda c: c.ready()], ids=["ping", "ready"])
def test_a_question_about_now_is_asked_once(kind, call):
    script = Script(httpx.ConnectError)
    with pytest.raises(ConnectionFailed):
        ask(kind, script, call)
    assert len(script.requests) == 1


@KINDS
@pytest.mark.parametrize("candles", [None, [[1, 2, 3, 4, 5, 6]]], ids=["npy", "json"])
def test_every_attempt_is_the_same_request(kind, candles):
    script = Script(BUSY)
    features = None if candles else WINDOW
    with pytest.raises(NoFreeWorker) as caught:
        ask(kind, script, lambda c: c.predict("BTC-USD", candles=candles, features=features))
    assert len({(request.content, str(request.headers)) for request in script.requests}) == 1
    assert uuid.UUID(caught.value.request_id).version == 4
    first = script.requests[0]
    assert caught.value.request_id in (first.headers.get("x-request-id") or first.content.decode())


@KINDS
def test_two_calls_have_two_ids(kind):
    script = Script(ok())
    for _ in range(2):
        ask(kind, script, predict)
    assert len({request.headers["x-request-id"] for request in script.requests}) == 2


@KINDS
def test_waits_double_up_to_the_longest(kind):
    clock = Clock()
    with pytest.raises(NoFreeWorker):
        ask(kind, Script(BUSY), predict, clock, draw=lambda: 1.0, retries=Retries(6, 0.1, 1.0, None))
    assert clock.sleeps == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@given(st.integers(1, 5000), st.floats(0, 10), st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_jittered_over_the_whole_of_its_bound(retry, first_s, longest_s, draw):
    retries = Retries(first_wait_s=first_s, longest_wait_s=longest_s)
    bound = retries.bound_s(retry)
    assert 0 <= retries.wait_s(retry, draw) <= bound <= longest_s
    assert retries.wait_s(retry, 0.0) == 0
    assert bound <= retries.bound_s(retry + 1) <= max(2 * bound, longest_s)


@settings(deadline=None)  # of an example; a busy machine is no defect
@given(
    total_s=st.floats(0.5, 60),
    attempt_s=st.floats(0, 10),
    late_s=st.floats(0, 3),
    draw=st.floats(0, 1, exclude_max=True),
    act=st.sampled_from([BUSY, httpx.ReadTimeout]),
)
def test_no_attempt_begins_after_the_deadline_nor_may_outlast_it(total_s, attempt_s, late_s, draw, act):
    clock = Clock(late_s)
    begun: list[float] = []

    def pass_time() -> None:
        begun.append(clock.now)
        limits = script.requests[-1].extensions["timeout"].values()
        assert all(0 < limit <= deadline - clock.now + 1e-9 for limit in limits)
        clock.now += attempt_s

    deadline = clock.now + total_s
    script = Script(act, on_request=pass_time)
    with pytest.raises(SignalError):
        ask("sync", script, predict, clock, draw=lambda: draw, retries=Retries(50, total_s=total_s))
    assert all(moment < deadline for moment in begun)
    assert not clock.sleeps or clock.now < deadline + late_s + attempt_s


@KINDS
def test_a_wait_that_would_end_after_the_deadline_is_not_begun(kind):
    clock = Clock()
    with pytest.raises(NoFreeWorker):
        ask(kind, Script(BUSY), predict, clock, retries=Retries(5, 10.0, 10.0, total_s=2.0))
    assert clock.sleeps == []


@KINDS
def test_without_a_deadline_the_timeouts_stay_as_they_were_given(kind):
    script = Script(ok())
    ask(kind, script, predict, timeout=7.0, retries=Retries(total_s=None))
    assert script.sent.extensions["timeout"] == {"connect": 7.0, "read": 7.0, "write": 7.0, "pool": 7.0}


@KINDS
def test_a_deadline_holds_where_no_timeout_was_given(kind):
    script = Script(ok())
    ask(kind, script, predict, timeout=httpx.Timeout(None), retries=Retries(total_s=3.0))
    assert set(script.sent.extensions["timeout"].values()) == {3.0}


@KINDS
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (httpx.ConnectTimeout, "no connection in time"),
        (httpx.PoolTimeout, "no connection in time"),
        (httpx.ReadTimeout, "no answer in time"),
        (httpx.WriteTimeout, "no answer in time"),
    ],
)
def test_a_timeout_says_which(kind, act, words):
    with pytest.raises(TimedOut, match=rf"^http://127.0.0.1:8080/predictions/ensemble: {words} \({act.__name__}\)"):
        ask(kind, Script(act), predict)


@KINDS
@pytest.mark.parametrize("act", [httpx.LocalProtocolError, httpx.UnsupportedProtocol])
def test_what_can_not_be_sent_is_the_callers_mistake(kind, act):
    with pytest.raises(InvalidInput, match="can't be sent"):
        ask(kind, Script(act), predict)


@pytest.mark.parametrize("wrong", [{"count": -1}, {"first_wait_s": -1}, {"longest_wait_s": -1.0}, {"total_s": 0}])
def test_retries_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="retries: expected"):
        Retries(**wrong)
