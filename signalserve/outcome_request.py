"""`{"outcomes": [...]}` -> what a caller says became of earlier predictions, or every fault of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from signalserve import CLASSES
from signalserve.errors import BadField, ExtraField, MissingField, RequestError, TooLarge
from signalserve.request import MAX_LISTED, BadRequests, Faults, read_price, read_time
from signalserve.words import kind, shown

MAX_OUTCOMES: Final = 1000

_FIELDS: Final = ("prediction_id", "symbol", "as_of", "direction", "close")
_WHICH: Final = "exactly one of prediction_id and (symbol and as_of)"
_WHAT: Final = "exactly one of direction and close"


@dataclass(frozen=True)
class OutcomeClaim:
    """What a caller says became of a prediction, or of everything predicted of a symbol at a moment.

    Either prediction_id, or symbol and as_of_ms (closing time of the window's last bar, ms since the epoch).
    Either direction (0 DOWN, 1 NEUTRAL, 2 UP), or close: the price one horizon after as_of, quote currency, above 0.
    """

    prediction_id: str | None
    symbol: str | None
    as_of_ms: int | None
    direction: int | None
    close: float | None


def read_outcomes(content: Mapping[str, Any]) -> list[OutcomeClaim]:
    """The claims of a JSON object that holds `outcomes`, in its order.

    Raises BadRequests with all faults of all of them. Symbols may be any: the journal knows some that are no longer
    served.
    """
    surplus = sorted(set(content) - {"outcomes"})
    if surplus:
        raise BadRequests(_surplus(surplus, "nothing beside outcomes"))
    outcomes = content.get("outcomes")
    wanted = f"1 to {MAX_OUTCOMES:,} outcomes"
    if not isinstance(outcomes, list) or not outcomes:
        got = "an empty list" if outcomes == [] else kind(outcomes)
        raise BadRequests([BadField("outcomes", expected=wanted, got=got)])
    if len(outcomes) > MAX_OUTCOMES:
        raise BadRequests([TooLarge("outcomes", expected=wanted, got=str(len(outcomes)))])
    claims: list[OutcomeClaim] = []
    found: list[RequestError] = []
    for index, outcome in enumerate(outcomes):
        try:
            claims.append(_claim(outcome))
        except BadRequests as bad:
            for fault in bad.errors:
                fault.instance = index
            found.extend(bad.errors)
    if found:
        raise BadRequests(found)
    return claims


def _claim(content: object) -> OutcomeClaim:
    if not isinstance(content, dict):
        raise BadRequests([BadField("outcome", expected="an object", got=kind(content))])
    faults = Faults()
    faults.collect(lambda: _no_surplus(content))
    faults.collect(lambda: _one_form(content))
    claim = OutcomeClaim(
        prediction_id=faults.collect(lambda: _name(content, "prediction_id")),
        symbol=faults.collect(lambda: _name(content, "symbol")),
        as_of_ms=faults.collect(lambda: read_time(content.get("as_of"), "as_of")),
        direction=faults.collect(lambda: _direction(content)),
        close=faults.collect(lambda: read_price(content.get("close"), "close")),
    )
    if faults.found:
        raise BadRequests(faults.found)
    return claim


def _no_surplus(content: Mapping[str, Any]) -> None:
    surplus = sorted(set(content) - set(_FIELDS))
    if surplus:
        raise BadRequests(_surplus(surplus, "only " + ", ".join(_FIELDS)))


def _surplus(names: list[str], expected: str) -> list[RequestError]:
    return [ExtraField(name[:64], expected=expected, got=f"the field {shown(name)}") for name in names[:MAX_LISTED]]


def _one_form(content: Mapping[str, Any]) -> None:
    """Whether it is said once which prediction, and once what became of it."""
    given = {name for name in _FIELDS if content.get(name) is not None}
    faults: list[RequestError] = []
    moment = given & {"symbol", "as_of"}
    if "prediction_id" in given and moment:
        faults.append(ExtraField("prediction_id", expected=_WHICH, got="both"))
    elif "prediction_id" not in given and len(moment) < 2:
        missing = "as_of" if "symbol" in given else "symbol" if "as_of" in given else "prediction_id"
        faults.append(MissingField(missing, expected=_WHICH, got=f"{moment.pop()} alone" if moment else "neither"))
    if {"direction", "close"} <= given:
        faults.append(ExtraField("direction", expected=_WHAT, got="both"))
    elif not {"direction", "close"} & given:
        faults.append(MissingField("direction", expected=_WHAT, got="neither"))
    if faults:
        raise BadRequests(faults)


def _name(content: Mapping[str, Any], field: str) -> str | None:
    value = content.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
        raise BadField(field, expected="1 to 128 printable characters", got=shown(value))
    return value


def _direction(content: Mapping[str, Any]) -> int | None:
    value = content.get("direction")
    if value is None:
        return None
    if value not in CLASSES:
        raise BadField("direction", expected="one of " + ", ".join(CLASSES), got=shown(value))
    return CLASSES.index(value)
