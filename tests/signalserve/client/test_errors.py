"""Every way in which a service, TorchServe or a proxy says no, and the class that a bot catches it by."""

import pickle

import httpx
import pytest
from fake_service import Script, ask, ok, prediction, refusal, torchserve

from signalserve import client as signals
from signalserve.client.errors import classes_by_code
from signalserve.errors import RequestError, request_error_codes


def predict(client):
    return client.predict("BTC-USD", candles=[[1, 2, 3, 4, 5, 6]], request_id="bot-7")


def failure(act, kind="sync"):
    with pytest.raises(signals.SignalError) as caught:
        ask(kind, Script(act), predict, retries=0)
    return caught.value


def leaves(cls):
    children = cls.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [cls]


def test_every_code_of_the_service_has_a_class_of_that_name():
    assert sorted(classes_by_code()) == sorted(request_error_codes())
    names = {leaf.code: leaf.__name__ for leaf in leaves(RequestError)}
    assert {code: cls.__name__ for code, cls in classes_by_code().items()} == names


def test_every_class_can_be_imported_from_the_package():
    assert {cls.__name__ for cls in leaves(signals.SignalError)} <= set(signals.__all__)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("code", sorted(classes_by_code()))
def test_a_code_is_raised_as_its_class(kind, code):
    cls = classes_by_code()[code]
    status = 422 if issubclass(cls, signals.RequestRefused) else 503
    error = failure(refusal(code, status), kind)
    assert type(error) is cls
    assert (error.code, error.status, error.request_id) == (code, status, "bot-7")
    assert (error.field, error.expected, error.got) == ("features", "60 x 72 finite numbers", "59 x 72")
    assert str(error) == f"{code} in features: expected 60 x 72 finite numbers, got 59 x 72"


@pytest.mark.parametrize(
    ("act", "cls", "words"),
    [
        (
            torchserve(404, "ModelNotFoundException", "Model not found: v9"),
            signals.EndpointNotFound,
            "Model not found: v9",
        ),
        (torchserve(404, "ResourceNotFoundException", "Requested …"), signals.EndpointNotFound, "HTTP 404"),
        (torchserve(503, "ServiceUnavailableException", "no worker"), signals.NoFreeWorker, "no worker"),
        (
            torchserve(503, "InternalServerException", "Prediction failed"),
            signals.PredictionFailed,
            "Prediction failed",
        ),
        (torchserve(500, "InternalServerException", "Worker died."), signals.WorkerDied, "Worker died"),
        (torchserve(507, "InternalServerException", "Worker died."), signals.WorkerDied, "Worker died"),
        (torchserve(400, "InvalidKeyException", "Token Authorization failed."), signals.NotAuthorised, "Token"),
        (torchserve(405, "MethodNotAllowedException", "Requested method …"), signals.RequestRefused, "HTTP 405"),
        (torchserve(507, "OutOfMemory", "…"), signals.ServiceUnavailable, "HTTP 507"),
        (httpx.Response(413), signals.TooLarge, "max_request_size.* an empty body"),
        (httpx.Response(401, text="<h1>no</h1>"), signals.NotAuthorised, "headers="),
        (httpx.Response(403), signals.NotAuthorised, "headers="),
        (httpx.Response(404, text="<h1>nginx</h1>"), signals.EndpointNotFound, "base_url"),
        (httpx.Response(429), signals.RateLimited, "ask less often"),
        (httpx.Response(400, text="what?"), signals.RequestRefused, "HTTP 400.*'what\\?'"),
        (httpx.Response(502, text="x" * 500), signals.ServiceUnavailable, "HTTP 502.*xxx'…"),
        (httpx.Response(302), signals.MalformedAnswer, "expected HTTP 200 or an error, got HTTP 302"),
        (refusal("a_code_of_tomorrow"), signals.RequestRefused, "a_code_of_tomorrow in features"),
        (refusal("a_code_of_tomorrow", 503), signals.ServiceUnavailable, "a_code_of_tomorrow"),
        (httpx.Response(422, json={"error": "as a string"}), signals.RequestRefused, "HTTP 422"),
        (httpx.Response(503, json=[1]), signals.ServiceUnavailable, "HTTP 503"),
    ],
)
def test_what_others_say_has_a_class_too(act, cls, words):
    error = failure(act)
    assert type(error) is cls
    with pytest.raises(cls, match=words):
        raise error


def test_all_faults_are_told_and_the_first_gives_the_class():
    faults = [
        {"code": "not_finite", "instance": 2, "field": "features[3].rsi_14", "expected": "60 numbers", "got": "null"},
        {"code": "bad_field", "instance": 5, "field": "close", "expected": "a price above 0", "got": "-1"},
    ]
    error = failure(httpx.Response(422, json={"error": faults[0], "errors": faults}))
    assert isinstance(error, signals.NotFinite)
    assert [(fault.code, fault.instance, fault.got) for fault in error.faults] == [
        ("not_finite", 2, "null"),
        ("bad_field", 5, "-1"),
    ]
    assert str(error).endswith("got null (instance 2); and 1 more")
    assert error.instance == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the answer: .* got an empty body"),
        (b"<html>", "Invalid JSON.*<html>"),
        (b'{"confidence": NaN}', "confidence"),
        (b"[]", "the answer"),
        (b"\xff\xfe", "the answer"),
    ],
)
def test_a_200_that_is_no_prediction_is_a_malformed_answer(content, words):
    error = failure(httpx.Response(200, content=content))
    assert isinstance(error, signals.MalformedAnswer)
    with pytest.raises(signals.MalformedAnswer, match=words):
        raise error


def test_an_answer_about_another_symbol_is_none():
    assert "expected predictions of BTC-USD, got ETH-USD" in str(failure(ok(symbol="ETH-USD")))


def test_a_batch_with_an_answer_too_few_is_none():
    act = httpx.Response(200, json={"predictions": [prediction()]})
    instances = [signals.Instance("BTC-USD", candles=[[1]])] * 2
    with pytest.raises(signals.MalformedAnswer, match="expected predictions of BTC-USD, BTC-USD, got BTC-USD"):
        ask("sync", Script(act), lambda c: c.predict_batch(instances))


def test_an_error_survives_a_pickle():
    error = pickle.loads(pickle.dumps(failure(refusal("bad_shape"))))
    assert (type(error), error.got, error.request_id, error.attempts) == (signals.BadShape, "59 x 72", "bot-7", 1)


def test_no_message_carries_the_credentials():
    with pytest.raises(signals.ConnectionFailed) as caught:
        ask("sync", Script(httpx.ConnectError), predict, base_url="https://bot:secret@example.org/signals", retries=0)
    assert "https://example.org/signals/predictions/ensemble: no connection" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(signals.InvalidInput, match=r"got 'example\.org'") as refused:
        signals.SignalClient("ftp://bot:secret@example.org")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost", "http://", "ftp://x", "http://[::1", ""])
def test_a_base_url_that_is_none_is_refused_at_once(url):
    with pytest.raises(signals.InvalidInput, match=r"expected a URL such as http://127\.0\.0\.1:8080"):
        signals.SignalClient(url)
