"""Bytes of an answer -> results, or the error that they mean. Knows the service's errors and TorchServe's own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from signalserve.client.errors import (
    EndpointNotFound,
    ErrorAnswer,
    Fault,
    MalformedAnswer,
    NoFreeWorker,
    NotAuthorised,
    PredictionFailed,
    RateLimited,
    RequestRefused,
    ServiceUnavailable,
    SignalError,
    TooLarge,
    WorkerDied,
    classes_by_code,
)
from signalserve.client.results import OutcomeTally, Prediction, Predictions, Readiness, Result

R = TypeVar("R", bound=Result)

_BY_CODE = classes_by_code()

_BY_TORCHSERVE: dict[tuple[int, str], type[ErrorAnswer]] = {
    (400, "InvalidKeyException"): NotAuthorised,
    (500, "InternalServerException"): WorkerDied,
    (503, "InternalServerException"): PredictionFailed,
    (507, "InternalServerException"): WorkerDied,  # what TorchServe 0.12 really sends when a worker is killed
    (503, "ServiceUnavailableException"): NoFreeWorker,
}

_BY_STATUS: dict[int, type[ErrorAnswer]] = {
    401: NotAuthorised,
    403: NotAuthorised,
    404: EndpointNotFound,
    407: NotAuthorised,
    413: TooLarge,
    429: RateLimited,
}

_REMEDIES: dict[type[ErrorAnswer], str] = {
    NotAuthorised: "not authorised; give the proxy's credentials by headers=",
    EndpointNotFound: "no such address here; is base_url the service's?",
    TooLarge: "the body is over the server's limit (max_request_size); send less at once",
    RateLimited: "too many requests; ask less often",
    NoFreeWorker: "its queue is full, or none of the model's workers runs",
    PredictionFailed: "the handler raised; its log has the reason",
}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: all of it that means anything here. TorchServe's content types say nothing."""

    status: int
    content: bytes


def read_prediction(answer: Answer, symbol: str) -> Prediction:
    """The prediction for `symbol`. Raises a SignalError for anything else."""
    prediction = _parse(Prediction, success(answer))
    _check_symbols([prediction], [symbol])
    return prediction


def read_predictions(answer: Answer, symbols: Sequence[str]) -> list[Prediction]:
    """A batch's predictions, in the order of `symbols`. Raises a SignalError for anything else."""
    predictions = list(_parse(Predictions, success(answer)).predictions)
    _check_symbols(predictions, symbols)
    return predictions


def read_tally(answer: Answer) -> OutcomeTally:
    """What became of told outcomes. Raises a SignalError for anything else."""
    return _parse(OutcomeTally, success(answer))


def read_ping(answer: Answer) -> bool:
    """Whether TorchServe's /ping says Healthy."""
    content = _json(answer.content)
    if isinstance(content, dict) and isinstance(content.get("status"), str):
        return answer.status == 200 and content["status"] == "Healthy"
    success(answer)
    raise MalformedAnswer(f'expected {{"status": "Healthy"}}, got {_shown(answer.content)}')


def read_readiness(answer: Answer) -> Readiness:
    """The watcher's /ready, whose 503 is an answer like its 200. Raises the error that any other answer means."""
    try:
        return Readiness.model_validate_json(answer.content)
    except ValidationError as error:
        if answer.status == 200:
            raise _malformed(answer.content, error) from None
        raise failure_of(answer) from None


def success(answer: Answer) -> bytes:
    """The content of an answer of status 200. Raises the error that any other one means."""
    if answer.status != 200:
        raise failure_of(answer)
    return answer.content


def failure_of(answer: Answer) -> SignalError:
    """The error that an answer means: the service's own, TorchServe's, or that of a proxy in front."""
    content = _json(answer.content)
    if isinstance(content, dict):
        if faults := _faults(content):
            return _service_error(answer.status, faults)
        if isinstance(content.get("type"), str) and isinstance(content.get("message"), str):
            return _torchserve_error(answer.status, content["type"], content["message"])
    return _bare_error(answer)


# ---- results


def _parse(model: type[R], content: bytes) -> R:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _malformed(content, error) from None


def _malformed(content: bytes, error: ValidationError) -> MalformedAnswer:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the answer"
    return MalformedAnswer(f"{place}: {first['msg']}, got {_shown(content)}")


def _check_symbols(predictions: Sequence[Prediction], symbols: Sequence[str]) -> None:
    got = [prediction.symbol for prediction in predictions]
    if got != list(symbols):
        raise MalformedAnswer(f"expected predictions of {', '.join(symbols)}, got {', '.join(got) or 'none'}")


# ---- errors


def _service_error(status: int, faults: Sequence[Fault]) -> SignalError:
    """faults: at least one. A code that this client does not know, or not with this status, is told by the status."""
    family = RequestRefused if 400 <= status < 500 else ServiceUnavailable
    cls = _BY_CODE.get(faults[0].code, family)
    if not issubclass(cls, family):
        cls = family
    more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    return cls(f"{faults[0]}{more}", status=status, code=faults[0].code, faults=faults)


def _torchserve_error(status: int, kind: str, message: str) -> SignalError:
    """kind: the Java exception's name, which TorchServe sends as `type`."""
    cls = _BY_TORCHSERVE.get((status, kind)) or _class_of(status)
    said = message.split(". ")[0]  # what follows is advice about its management API, which is off here
    remedy = f"; {_REMEDIES[cls]}" if cls in _REMEDIES else ""
    return cls(f"TorchServe: {said}{remedy} (HTTP {status}, {kind})", status=status, code=kind)


def _bare_error(answer: Answer) -> SignalError:
    """An answer in nobody's form: TorchServe's empty 413, a proxy's page."""
    if not 400 <= answer.status < 600:
        return MalformedAnswer(f"expected HTTP 200 or an error, got HTTP {answer.status}: {_shown(answer.content)}")
    cls = _class_of(answer.status)
    words = _REMEDIES.get(cls, "an error without the service's words")
    return cls(f"HTTP {answer.status}: {words}, got {_shown(answer.content)}", status=answer.status)


def _class_of(status: int) -> type[ErrorAnswer]:
    return _BY_STATUS.get(status) or (RequestRefused if 400 <= status < 500 else ServiceUnavailable)


def _faults(content: dict[str, Any]) -> list[Fault]:
    """The faults of the service's error object, in its order; empty where this is none."""
    listed = content.get("errors") or [content.get("error")]
    try:
        return [Fault.model_validate(entry) for entry in listed]
    except (ValidationError, TypeError):
        return []


# ---- bytes


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None


def _shown(content: bytes) -> str:
    """The start of a body, for messages: one line, printable."""
    if not content:
        return "an empty body"
    text = content[:120].decode("utf-8", errors="replace")
    return repr(text) + ("…" if len(content) > 120 else "")
