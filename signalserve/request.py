"""Bytes -> windows, or every fault of the request, each naming its field, what was expected and what came.

A window is float32 from here on, whatever form it came in: the same features give the same bits as JSON and as npy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from signalserve.candles import Candles, as_of_ms, iso, last, parse_candles
from signalserve.errors import (
    BadContentType,
    BadField,
    BadJson,
    BadNpy,
    BadRequest,
    BadShape,
    BadVariant,
    BadWeights,
    ExtraField,
    MissingColumns,
    MissingField,
    NotFinite,
    RequestError,
    SignalserveError,
    TooLarge,
    UnknownColumns,
    UnknownSymbol,
)
from signalserve.features import COLUMNS, MIN_CANDLES, compute_features
from signalserve.npy import read_npy
from signalserve.settings import GENERATIONS, SUM_TOLERANCE, VARIANTS, Generation, Variant
from signalserve.words import is_number, kind, listed, shown

Values = npt.NDArray[np.float32]
T = TypeVar("T")

MAX_INSTANCES_JSON = 64
MAX_INSTANCES_NPY = 256
MAX_LISTED = 20  # surplus fields named in an answer: a caller can send thousands

# what the 200-bar exponential average still knows of its start after this many rows is 2e-13 of it, under the last
# bit of float64 -> float32; rows before these are checked and then left out, which bounds the work of one request
USED_CANDLES = 3000

_FIELDS = {"symbol", "features", "candles", "request_id", "as_of", "close"}
_ENSEMBLE_FIELDS = {"variant", "weights"}
_CONTENT_TYPES = "application/json or application/x-npy"


@dataclass(frozen=True)
class SymbolSchema:
    """What a window of one symbol must hold, for all models that may read it.

    columns: every column that some model reads.  positional: whether all models read them in this very order, so that
    rows without names are unambiguous.  window: bars.  interval_ms: the bars' spacing.
    """

    columns: tuple[str, ...]
    positional: bool
    window: int
    interval_ms: int

    @property
    def shape_words(self) -> str:
        return f"{self.window} x {len(self.columns)} finite numbers"


@dataclass(frozen=True)
class Window:
    """One prediction to make. values: (window, features) float32, raw, finite, in the schema's column order.

    closes: (bars,) of the last bars up to as_of, as far as the caller sent candles.
    """

    symbol: str
    values: Values
    request_id: str | None = None
    as_of_ms: int | None = None
    close: float | None = None
    variant: Variant | None = None
    weights: Mapping[Generation, float] | None = None
    closes: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Request:
    """A request that was read. is_batch: answer with a list, even of one.

    outcomes: the body of a request that tells outcomes and asks for no prediction, not yet read.
    """

    windows: Sequence[Window]
    is_batch: bool
    outcomes: Mapping[str, Any] | None = None


class BadRequests(SignalserveError):
    """A request's faults, at least one. symbols, request_id: what could be told of them all the same."""

    def __init__(
        self, errors: Sequence[RequestError], symbols: Sequence[str] = (), request_id: str | None = None
    ) -> None:
        self.errors = tuple(errors)
        self.symbols = tuple(symbols)
        self.request_id = request_id
        super().__init__("; ".join(str(error) for error in errors))


def read_request(
    body: bytes | bytearray | None,
    headers: Mapping[str, str],
    schemas: Mapping[str, SymbolSchema],
    *,
    is_ensemble: bool,
) -> Request:
    """headers: names in lower case.  schemas: symbol -> what its windows must hold.  Raises BadRequests."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        return _read_json(body or b"", schemas, is_ensemble)
    if content_type == "application/x-npy":
        return _read_npy(body or b"", headers, schemas, is_ensemble)
    got = shown(content_type) if content_type else "no content type; is this a POST with that header?"
    raise BadRequests([BadContentType("content-type", expected=_CONTENT_TYPES, got=got)])


# --- JSON --------------------------------------------------------------------------------------------------------


def _read_json(body: bytes | bytearray, schemas: Mapping[str, SymbolSchema], is_ensemble: bool) -> Request:
    expected = "a JSON object (strict JSON: no NaN, no Infinity)"
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        got = f"{error.msg} at line {error.lineno} column {error.colno}" if body else "an empty body"
        raise BadRequests([BadJson("body", expected=expected, got=got)]) from None
    if not isinstance(content, dict):
        raise BadRequests([BadJson("body", expected=expected, got=kind(content))])
    if is_ensemble and "outcomes" in content:
        return Request([], is_batch=False, outcomes=content)
    if "instances" not in content:
        return Request([_one_or_raise(content, schemas, is_ensemble)], is_batch=False)
    return _read_instances(content, schemas, is_ensemble)


def _read_instances(content: dict[str, Any], schemas: Mapping[str, SymbolSchema], is_ensemble: bool) -> Request:
    surplus = sorted(set(content) - {"instances"})
    if surplus:
        raise BadRequests([_extra(name, "nothing beside instances") for name in surplus[:MAX_LISTED]])
    instances = content["instances"]
    wanted = f"1 to {MAX_INSTANCES_JSON} requests"
    if not isinstance(instances, list) or not instances:
        got = "an empty list" if instances == [] else kind(instances)
        raise BadRequests([BadField("instances", expected=wanted, got=got)])
    if len(instances) > MAX_INSTANCES_JSON:
        raise BadRequests([TooLarge("instances", expected=wanted, got=str(len(instances)))])
    windows: list[Window] = []
    faults: list[RequestError] = []
    symbols: list[str] = []
    request_id = None
    for index, instance in enumerate(instances):
        try:
            windows.append(_one_or_raise(instance, schemas, is_ensemble))
            symbols.append(windows[-1].symbol)
            request_id = request_id or windows[-1].request_id
        except BadRequests as bad:
            for error in bad.errors:
                error.instance = index
            faults.extend(bad.errors)
            symbols.extend(bad.symbols)
            request_id = request_id or bad.request_id
    if faults:
        raise BadRequests(faults, symbols, request_id)
    return Request(windows, is_batch=True)


def _one_or_raise(content: object, schemas: Mapping[str, SymbolSchema], is_ensemble: bool) -> Window:
    if not isinstance(content, dict):
        raise BadRequests([BadField("request", expected="an object", got=kind(content))])
    faults = Faults()
    schema = faults.collect(lambda: _schema_of(content.get("symbol"), "symbol", schemas))
    faults.collect(lambda: _no_surplus(content, is_ensemble))
    request_id = faults.collect(lambda: _request_id(content.get("request_id"), "request_id"))
    as_of = faults.collect(lambda: read_time(content.get("as_of"), "as_of"))
    close = faults.collect(lambda: read_price(content.get("close"), "close"))
    variant: Variant | None = None
    weights: dict[Generation, float] | None = None
    if is_ensemble:
        variant = faults.collect(lambda: _variant(content.get("variant"), "variant"))
        weights = faults.collect(lambda: _weights(content))
    values = closes = None
    if schema is not None:
        candles = faults.collect(lambda: _candles(content, schema))
        if candles is not None:
            as_of = faults.collect(lambda: _same(as_of, as_of_ms(candles, schema.interval_ms), "as_of", iso))
            close = faults.collect(lambda: _same(close, float(candles.close[-1]), "close", str))
            values = faults.collect(lambda: _window_of(candles, schema))
            closes = candles.close[-USED_CANDLES:].astype(np.float64)
        else:
            values = faults.collect(lambda: _features(content, schema))
    if faults.found:
        symbol = content.get("symbol")
        raise BadRequests(faults.found, [symbol] if schema is not None and isinstance(symbol, str) else [], request_id)
    assert values is not None
    return Window(
        content["symbol"],
        values,
        request_id,
        as_of,
        close,
        variant,
        weights,
        closes,
    )


class Faults:
    """Collects the faults of one request, so that the caller learns all of them at once."""

    def __init__(self) -> None:
        self.found: list[RequestError] = []

    def collect(self, read: Callable[[], T | None]) -> T | None:
        """What `read` returns; None, with the fault kept, where it raises one."""
        try:
            return read()
        except BadRequest as fault:
            self.found.append(fault)
        except BadRequests as faults:
            self.found.extend(faults.errors)
        return None


def _schema_of(symbol: object, field: str, schemas: Mapping[str, SymbolSchema]) -> SymbolSchema:
    known = "one of " + ", ".join(sorted(schemas))
    if symbol is None:
        raise MissingField(field, expected=known, got="nothing")
    if not isinstance(symbol, str) or symbol not in schemas:
        raise UnknownSymbol(field, expected=known, got=shown(symbol))
    return schemas[symbol]


def _no_surplus(content: Mapping[str, Any], is_ensemble: bool) -> None:
    allowed = _FIELDS | _ENSEMBLE_FIELDS if is_ensemble else _FIELDS
    surplus = sorted(name for name in content if name not in allowed)
    if surplus:
        raise BadRequests([_extra(name, "only " + ", ".join(sorted(allowed))) for name in surplus[:MAX_LISTED]])


def _extra(name: str, expected: str) -> ExtraField:
    hint = " (only on /predictions/ensemble)" if name in {*_ENSEMBLE_FIELDS, "outcomes"} else ""
    return ExtraField(name[:64], expected=expected, got=f"the field {shown(name)}{hint}")


def _request_id(value: object, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
        raise BadField(field, expected="1 to 128 printable characters", got=shown(value))
    return value


def read_time(value: object, field: str) -> int | None:
    """Milliseconds since the epoch of a time in words, None where none is given. Raises BadField."""
    if value is None:
        return None
    expected = "a time with its offset, such as 2026-11-24T10:15:00Z"
    if not isinstance(value, str):
        raise BadField(field, expected=expected, got=shown(value))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise BadField(field, expected=expected, got=shown(value)) from None
    if moment.tzinfo is None or not 2000 <= moment.year <= 2100:
        raise BadField(field, expected=expected, got=shown(value))
    return round(moment.astimezone(UTC).timestamp() * 1000)


def read_price(value: object, field: str) -> float | None:
    """A price, None where none is given. Raises BadField for anything that is not a finite number above 0."""
    if value is None:
        return None
    if not is_number(value) or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise BadField(field, expected="a price above 0", got=shown(value))
    return float(value)  # type: ignore[arg-type]


def _variant(value: object, field: str) -> Variant | None:
    if value is not None and value not in VARIANTS:
        raise BadVariant(field, expected="one of " + ", ".join(VARIANTS), got=shown(value))
    return value


def _weights(content: Mapping[str, Any]) -> dict[Generation, float] | None:
    weights = content.get("weights")
    if weights is None:
        return None
    expected = f"numbers from 0 to 1 for {' and '.join(GENERATIONS)} that sum to 1"
    if content.get("variant") is not None:
        raise BadWeights("weights", expected="variant or weights, not both", got="both")
    if not isinstance(weights, dict) or not weights:
        raise BadWeights("weights", expected=expected, got="an empty object" if weights == {} else kind(weights))
    unknown = sorted(str(name) for name in weights if name not in GENERATIONS)
    if unknown:
        raise BadWeights("weights", expected=expected, got=f"the name {shown(unknown[0])}")
    for name, share in weights.items():
        if not is_number(share) or not 0 <= share <= 1:  # a NaN fails the comparison too
            raise BadWeights(f"weights.{name}", expected=expected, got=shown(share))
    total = math.fsum(weights.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise BadWeights("weights", expected=expected, got=f"a sum of {total:.10g}")
    return {name: float(share) for name, share in weights.items()}


def _same(given: T | None, derived: T, field: str, show: Callable[[T], str]) -> T:
    if given is not None and given != derived:
        raise BadField(field, expected=f"{show(derived)}, as the candles say, or nothing", got=show(given))
    return derived


# --- windows -----------------------------------------------------------------------------------------------------


def _candles(content: Mapping[str, Any], schema: SymbolSchema) -> Candles | None:
    rows, features = content.get("candles"), content.get("features")
    if rows is not None and features is not None:
        raise ExtraField("candles", expected="exactly one of features and candles", got="both")
    if rows is None and features is None:
        raise MissingField("features", expected="exactly one of features and candles", got="neither")
    if rows is None:
        return None
    unknown = [column for column in schema.columns if column not in COLUMNS]
    if unknown:
        expected = f"features: this symbol's models read columns that candles do not give, such as {unknown[0]}"
        raise BadField("candles", expected=expected, got="candles")
    return parse_candles(rows, interval_ms=schema.interval_ms, minimum=schema.window + MIN_CANDLES - 60)


def _window_of(candles: Candles, schema: SymbolSchema) -> Values:
    """The last window of the features that the candles give, in the schema's order."""
    with np.errstate(all="ignore"):  # absurd prices overflow; what they give is checked below
        features = compute_features(last(candles, USED_CANDLES))[-schema.window :]
        values = np.ascontiguousarray(features[:, _positions(schema.columns)], dtype=np.float32)
    _require_finite(values, "candles", schema)
    return values


def _positions(columns: tuple[str, ...]) -> list[int] | slice:
    return slice(None) if columns == COLUMNS else [COLUMNS.index(column) for column in columns]


def _features(content: Mapping[str, Any], schema: SymbolSchema) -> Values | None:
    features = content.get("features")
    if content.get("candles") is not None or features is None:
        return None  # _candles has reported that fault
    if isinstance(features, dict):
        return _features_by_name(features, schema)
    if isinstance(features, list):
        return _features_by_position(features, schema)
    expected = f"an object column -> {schema.window} numbers, or {schema.window} rows"
    raise BadField("features", expected=expected, got=kind(features))


def _features_by_name(features: dict[str, Any], schema: SymbolSchema) -> Values:
    faults: list[RequestError] = []
    expected = f"the {len(schema.columns)} columns of the model"
    missing = [column for column in schema.columns if column not in features]
    if missing:
        faults.append(MissingColumns("features", expected=expected, got=f"none of {listed(missing)}"))
    if len(features) > len(schema.columns) - len(missing):
        known = set(schema.columns)
        unknown = sorted(column for column in features if column not in known)
        faults.append(UnknownColumns("features", expected=expected, got=f"also {listed(unknown)}"))
    wrong: dict[str, list[str]] = {}  # what came -> the columns where it did: a short window is one mistake, not 72
    for name in schema.columns:
        column = features.get(name, ())
        if name in features and (not isinstance(column, list) or len(column) != schema.window):
            wrong.setdefault(f"{len(column)} numbers" if isinstance(column, list) else kind(column), []).append(name)
    for got, names in wrong.items():
        also = f" in {len(names)} columns: {listed(names)}" if len(names) > 1 else ""
        faults.append(BadShape(f"features.{names[0]}", expected=f"{schema.window} finite numbers", got=got + also))
    if faults:
        raise BadRequests(faults)
    columns = [features[name] for name in schema.columns]
    return np.ascontiguousarray(_numbers(columns, schema, by_name=True).T)


def _features_by_position(rows: list[Any], schema: SymbolSchema) -> Values:
    if not schema.positional:
        expected = "features by name: this symbol's models read their columns in different orders"
        raise BadField("features", expected=expected, got="rows without names")
    widths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(rows) != schema.window or widths != {len(schema.columns)}:
        raise BadShape("features", expected=schema.shape_words, got=_shape_of(rows, widths))
    return _numbers(rows, schema, by_name=False)


def _shape_of(rows: list[Any], widths: set[int]) -> str:
    if -1 in widths:
        row = next(i for i, row in enumerate(rows) if not isinstance(row, list))
        return f"{kind(rows[row])} as row {row}"
    if len(widths) > 1:
        first = len(rows[0])
        row = next(i for i, row in enumerate(rows) if len(row) != first)
        return f"ragged rows: row 0 has {first} numbers, row {row} has {len(rows[row])}"
    return f"{len(rows)} x {widths.pop() if widths else 0}"


def _numbers(rows: list[list[Any]], schema: SymbolSchema, *, by_name: bool) -> Values:
    """A rectangle of JSON numbers as float32 of the same shape. by_name: rows are columns (for the error's words)."""
    kinds: set[type] = set()
    for row in rows:
        kinds.update(map(type, row))
    if not kinds <= {int, float}:
        i, j, value = next((i, j, v) for i, row in enumerate(rows) for j, v in enumerate(row) if not is_number(v))
        place = _place(schema, *((j, i) if by_name else (i, j)))
        fault = NotFinite if value is None else BadField
        raise fault(f"features{place}", expected=schema.shape_words, got=shown(value))
    try:
        values = np.array(rows, dtype=np.float64)
    except OverflowError:  # an integer beyond float64
        raise NotFinite("features", expected=schema.shape_words, got="an integer beyond 1e308") from None
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    _require_finite(narrow.T if by_name else narrow, "features", schema)
    return narrow


def _require_finite(values: Values, field: str, schema: SymbolSchema) -> None:
    """values: (window, features)."""
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        got = "NaN" if np.isnan(values[row, column]) else "infinity, or a number beyond float32 (3.4e38)"
        raise NotFinite(f"{field}{_place(schema, row, column)}", expected=schema.shape_words, got=got)


def _place(schema: SymbolSchema, row: int, column: int) -> str:
    return f"[{row}].{schema.columns[column]}"


# --- npy ---------------------------------------------------------------------------------------------------------


def _read_npy(
    body: bytes | bytearray, headers: Mapping[str, str], schemas: Mapping[str, SymbolSchema], is_ensemble: bool
) -> Request:
    faults = Faults()
    symbol = headers.get("x-symbol")
    schema = faults.collect(lambda: _schema_of(symbol, "X-Symbol", schemas))
    request_id = faults.collect(lambda: _request_id(headers.get("x-request-id"), "X-Request-Id"))
    as_of = faults.collect(lambda: read_time(headers.get("x-as-of"), "X-As-Of"))
    variant: Variant | None = faults.collect(lambda: _variant_header(headers, is_ensemble))
    arrays = faults.collect(lambda: _npy_windows(body, schema)) if schema is not None else None
    if faults.found:
        raise BadRequests(faults.found, [symbol] if schema is not None and symbol is not None else [], request_id)
    assert arrays is not None and symbol is not None
    batch, is_batch = arrays
    ids = [request_id] if len(batch) == 1 else [f"{request_id}/{i}" if request_id else None for i in range(len(batch))]
    windows = [Window(symbol, values, ids[i], as_of, None, variant) for i, values in enumerate(batch)]
    return Request(windows, is_batch)


def _variant_header(headers: Mapping[str, str], is_ensemble: bool) -> Variant | None:
    value = headers.get("x-variant")
    if value is not None and not is_ensemble:
        raise ExtraField("X-Variant", expected="no X-Variant but on /predictions/ensemble", got=shown(value))
    return _variant(value, "X-Variant")


def _npy_windows(body: bytes | bytearray, schema: SymbolSchema) -> tuple[Values, bool]:
    """The windows (N, window, features) of an npy body, and whether the caller sent a batch."""
    shape, data = read_npy(body)
    wanted = (schema.window, len(schema.columns))
    expected = f"({wanted[0]}, {wanted[1]}) or (N, {wanted[0]}, {wanted[1]})"
    if not schema.positional:
        raise BadNpy(
            "body", expected="JSON features by name: the models read their columns in different orders", got="npy"
        )
    if len(shape) not in (2, 3) or shape[-2:] != wanted or shape[0] == 0:
        raise BadShape("body", expected=expected, got=str(shape))
    is_batch = len(shape) == 3
    if is_batch and shape[0] > MAX_INSTANCES_NPY:
        raise TooLarge("body", expected=f"at most {MAX_INSTANCES_NPY} windows", got=str(shape[0]))
    size = 4 * math.prod(shape)
    if len(data) != size:
        raise BadNpy("body", expected=f"{size} bytes of data for shape {shape}", got=f"{len(data)} bytes")
    values = np.frombuffer(data, dtype=np.float32).reshape(-1, *wanted)
    finite = np.isfinite(values).all(axis=(1, 2))
    if not finite.all():
        at = int(np.argmin(finite))
        try:
            _require_finite(values[at], "body", schema)
        except NotFinite as fault:
            fault.instance = at
            raise
    return values, is_batch
