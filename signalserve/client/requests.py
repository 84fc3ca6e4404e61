"""Arguments -> the bytes of a request. No network here: sync and async share it, and `signalserve predict` too.

Named columns and candles go as JSON; an array goes as npy, which is under half the bytes and parses no number, unless
something comes with it that only JSON can hold.
"""

import io
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from signalserve.candles import Candles, last, to_rows
from signalserve.client.errors import InvalidInput
from signalserve.client.responses import (
    Answer,
    read_ping,
    read_prediction,
    read_predictions,
    read_readiness,
    read_tally,
    success,
)
from signalserve.client.results import DIRECTIONS, OutcomeTally, Prediction, Readiness

T = TypeVar("T")

Endpoint = Literal["ensemble", "v6_fixed", "v8"]
Rows = Candles | Sequence[Sequence[float]] | npt.NDArray[Any]
"""Bars, or rows [timestamp_ms, open, high, low, close, volume] as lists or as an (n, 6) array."""
Features = Mapping[str, Sequence[float] | npt.NDArray[Any]] | npt.NDArray[Any]
"""Columns by name, 60 numbers each, or an array (60, F) in the model's own column order."""

SENT_CANDLES: Final = 3000
"""The service reads no more: what came before them is 2e-13 of its longest average, under the last bit of float32."""
TOLD_AT_ONCE: Final = 1000
"""Outcomes in one request, at most."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One prediction to ask for: exactly one of candles and features.

    candles: closed bars, oldest first, at least 1,060; the newest 3,000 are sent.
    features: raw, finite, 60 bars, oldest first: by name, or an array (60, F) by position.
    request_id: at most 128 printable characters.  as_of: aware, closing time of the last bar; follows from candles.
    close: the last bar's close, quote currency, for callers who send features.
    variant ("v6_fixed", "v8", "ensemble") or weights (by generation, sum 1): only on the ensemble endpoint.
    """

    symbol: str
    candles: Rows | None = None
    features: Features | None = None
    request_id: str | None = None
    as_of: datetime | None = None
    close: float | None = None
    variant: str | None = None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one prediction, or of all of a symbol's at one moment; an InvalidInput for what can't be told.

    Either prediction_id, or symbol and as_of (aware: closing time of the window's last bar).
    Either direction ("DOWN", "NEUTRAL", "UP"), or close: the price one horizon of the model after as_of, such as 15
    bars, above 0, in the quote currency.
    """

    prediction_id: str | None = None
    symbol: str | None = None
    as_of: datetime | None = None
    direction: str | None = None
    close: float | None = None

    def __post_init__(self) -> None:
        names = ("prediction_id", "symbol", "as_of")
        given = [name for name in names if getattr(self, name) is not None]
        if given not in (["prediction_id"], ["symbol", "as_of"]):
            expected = "exactly one of prediction_id and (symbol and as_of)"
            raise InvalidInput(f"outcome: expected {expected}, got {' and '.join(given) or 'neither'}")
        if (self.direction is None) == (self.close is None):
            got = "neither" if self.close is None else "both"
            raise InvalidInput(f"outcome: expected exactly one of direction and close, got {got}")
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise InvalidInput(f"direction: expected one of {', '.join(DIRECTIONS)}, got {self.direction!r:.40}")
        if self.close is not None and not (math.isfinite(self.close) and self.close > 0):
            raise InvalidInput(f"close: expected a price above 0, got {self.close}")
        _iso(self.as_of)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and how to read its answer.

    url: a path under base_url, or another server's whole URL.  read: raises a SignalError for what is no result.
    is_retried: False for a question about this very moment.
    """

    method: Literal["GET", "POST"]
    url: str
    read: Callable[[Answer], T]
    request_id: str | None = None
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_retried: bool = True


def single(instance: Instance, endpoint: Endpoint) -> Call[Prediction]:
    """One prediction: as npy where that can hold it, else as JSON. Raises InvalidInput."""
    request_id = _id_or_new(instance.request_id)

    def read(answer: Answer) -> Prediction:
        return read_prediction(answer, instance.symbol)

    headers = _npy_headers(instance, request_id)
    if headers is None:
        content = _json_bytes(_as_json(instance, request_id))
        return Call("POST", _path(endpoint), read, request_id, content, {"Content-Type": "application/json"})
    _require_one_form(instance)
    return Call("POST", _path(endpoint), read, request_id, _npy(instance.features, dimensions=2), headers)


def batch(instances: Sequence[Instance], endpoint: Endpoint, request_id: str | None) -> Call[list[Prediction]]:
    """Many predictions in one JSON request, symbols mixed. request_id: the whole's; an instance may have its own.

    Raises InvalidInput, naming the instance.
    """
    request_id = _id_or_new(request_id)
    ids = [f"{request_id}/{i}" if one.request_id is None else one.request_id for i, one in enumerate(instances)]
    symbols = [instance.symbol for instance in instances]
    content = {"instances": [_as_json(one, id_) for one, id_ in zip(instances, ids, strict=True)]}

    def read(answer: Answer) -> list[Prediction]:
        return read_predictions(answer, symbols)

    headers = {"Content-Type": "application/json"}
    return Call("POST", _path(endpoint), read, request_id, _json_bytes(content), headers)


def windows(
    symbol: str, array: npt.ArrayLike, endpoint: Endpoint, request_id: str | None, variant: str | None
) -> Call[list[Prediction]]:
    """Many windows of one symbol in one npy request. array: (N, 60, F), raw, finite. Raises InvalidInput."""
    request_id = _id_or_new(request_id)
    content = _npy(array, dimensions=3)
    symbols = [symbol] * len(np.asarray(array))
    headers = _npy_headers(Instance(symbol, features=np.empty(0), variant=variant), request_id)
    if headers is None:
        raise InvalidInput("predict_windows: expected a symbol, request_id and variant in printable ASCII")

    def read(answer: Answer) -> list[Prediction]:
        return read_predictions(answer, symbols)

    return Call("POST", _path(endpoint), read, request_id, content, headers)


def outcomes(told: Sequence[Outcome]) -> list[Call[OutcomeTally]]:
    """What became of earlier predictions, in as many requests as it takes; none for none. Raises InvalidInput."""
    return [_outcomes(told[start : start + TOLD_AT_ONCE]) for start in range(0, len(told), TOLD_AT_ONCE)]


def _outcomes(told: Sequence[Outcome]) -> Call[OutcomeTally]:
    content = _json_bytes({"outcomes": [_as_outcome(one) for one in told]})
    return Call("POST", _path("ensemble"), read_tally, None, content, {"Content-Type": "application/json"})


def raw(call: Call[Any]) -> Call[bytes]:
    """The same request, whose result is the answer's bytes as they came."""
    return Call(call.method, call.url, success, call.request_id, call.content, call.headers, call.is_retried)


def ping() -> Call[bool]:
    return Call("GET", "/ping", read_ping, is_retried=False)


def ready(url: str) -> Call[Readiness]:
    return Call("GET", url, read_readiness, is_retried=False)


def _path(endpoint: str) -> str:
    return f"/predictions/{endpoint}"


def _id_or_new(request_id: str | None) -> str:
    return str(uuid.uuid4()) if request_id is None else request_id


# ---- JSON


def _as_json(instance: Instance, request_id: str) -> dict[str, Any]:
    """The contract's request object, without what was not given."""
    _require_one_form(instance)
    content = {
        "symbol": instance.symbol,
        "candles": _sent_rows(instance.candles),
        "features": instance.features,
        "request_id": request_id,
        "as_of": _iso(instance.as_of),
        "close": instance.close,
        "variant": instance.variant,
        "weights": instance.weights,
    }
    return {name: value for name, value in content.items() if value is not None}


def _as_outcome(outcome: Outcome) -> dict[str, Any]:
    content = {**asdict(outcome), "as_of": _iso(outcome.as_of)}
    return {name: value for name, value in content.items() if value is not None}


def _require_one_form(instance: Instance) -> None:
    if (instance.candles is None) == (instance.features is None):
        got = "neither" if instance.candles is None else "both"
        raise InvalidInput(f"{instance.symbol}: expected exactly one of candles and features, got {got}")


def _sent_rows(candles: Rows | None) -> Any:
    if isinstance(candles, Candles):
        return to_rows(last(candles, SENT_CANDLES))
    return None if candles is None else candles[-SENT_CANDLES:]


def _iso(as_of: datetime | None) -> str | None:
    if as_of is None:
        return None
    if as_of.tzinfo is None:
        raise InvalidInput("as_of: expected a time with its zone, such as datetime.now(UTC), got one without")
    return as_of.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _json_bytes(content: object) -> bytes:
    """Strict JSON. Raises InvalidInput that names the first value that JSON can't hold."""
    try:
        return json.dumps(content, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        place, value = next(_not_finite(content, ""), ("the request", "a circle"))
        raise InvalidInput(f"{place}: expected a finite number, got {value}") from None
    except TypeError as error:
        raise InvalidInput(f"the request can't be written as JSON: {error}") from None


def _plain(value: object) -> object:
    """What json does not know: numpy's and pandas' values, and mappings other than dict."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r:.60} is a {type(value).__name__}")


def _not_finite(value: object, place: str) -> Iterator[tuple[str, object]]:
    """The places, such as features.rsi_14[3], of NaN and infinity within a request, in order."""
    if isinstance(value, float):
        if not np.isfinite(value):
            yield place, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _not_finite(inner, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{index}]")
    elif hasattr(value, "tolist"):
        yield from _not_finite(value.tolist(), place)


# ---- npy


def _npy_headers(instance: Instance, request_id: str) -> dict[str, str] | None:
    """The headers beside an npy body; None where this instance needs JSON."""
    by_name_or_none = instance.features is None or isinstance(instance.features, Mapping)
    if by_name_or_none or instance.close is not None or instance.weights is not None:
        return None
    values = {
        "X-Symbol": instance.symbol,
        "X-Request-Id": request_id,
        "X-As-Of": _iso(instance.as_of),
        "X-Variant": instance.variant,
    }
    given = {name: value for name, value in values.items() if value is not None}
    if not all(_fits_a_header(value) for value in given.values()):
        return None
    return {"Content-Type": "application/x-npy", **given}


def _fits_a_header(text: str) -> bool:
    """Whether a header carries these characters unchanged: printable ASCII, no blanks at the ends."""
    return text.isascii() and text.isprintable() and text == text.strip() != ""


def _npy(features: object, *, dimensions: int) -> bytes:
    """An npy file: float32, little-endian, C order. Raises InvalidInput for what is no such array or not finite."""
    shape = "(60, F)" if dimensions == 2 else "(N, 60, F)"
    try:
        given = np.asarray(features)
    except ValueError:  # ragged rows
        raise InvalidInput(f"features: expected an array of shape {shape}, got rows of different lengths") from None
    if given.dtype.kind not in "fiu" or given.ndim != dimensions:
        hint = "; use predict_windows" if (dimensions, given.ndim) == (2, 3) else ""
        got = f"{given.dtype} of shape {given.shape}"
        raise InvalidInput(f"features: expected numbers in an array of shape {shape}, got {got}{hint}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(given, dtype="<f4")
    if not np.isfinite(array).all():
        at = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        place = "".join(f"[{index}]" for index in at)
        raise InvalidInput(f"features{place}: expected a finite float32, got {given[at]}")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
