"""Bars of a market: what a candle is, what a usable series of them is."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from signalserve.errors import BadCandles

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

INTERVAL_MS: Final = 60_000
"""The reference models' bar: one minute."""

CLOCK_SKEW_MS: Final = 5_000
"""An exchange's clock, or a bot's, may be this much ahead of ours."""

FIELDS: Final = ("timestamp_ms", "open", "high", "low", "close", "volume")
"""A row of the request form, and the arrays of `Candles`, in this order."""

# Outside these a number is not milliseconds since the epoch: seconds read as such fall into January 1970,
# microseconds into the year 50,000 and beyond.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01
TIMESTAMPS: Final = "timestamps in whole milliseconds since 1970, from the years 2000 to 2099"
# No market comes near either, and between them every feature stays finite in float64.
LARGEST: Final = 10**18
SMALLEST_PRICE: Final = 1e-15
NUMBERS: Final = "finite numbers under 1e18"
POSITIVE: Final = "positive prices (1e-15 or more)"
ROW_FORM: Final = "rows [timestamp_ms, open, high, low, close, volume]"


@dataclass(frozen=True)
class Candles:
    """n closed bars, oldest first; every array has shape (n,).

    timestamp_ms: int64, the bar's opening time in milliseconds since the epoch, UTC.
    open, high, low, close: float64, in the quote currency.  volume: float64, in base units.
    """

    timestamp_ms: npt.NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.timestamp_ms)


def parse_candles(rows: object, *, interval_ms: int, minimum: int) -> Candles:
    """Read the request's `candles`: what JSON gave, into checked bars.

    rows: a list of `[timestamp_ms, open, high, low, close, volume]`, oldest first, one bar each interval_ms.
    Raises BadCandles, naming the first row at fault, for anything else, and for fewer than `minimum` rows.
    """
    if not isinstance(rows, list):
        raise _bad(f"a list of {ROW_FORM}", _kind(rows))
    _check_count(len(rows), minimum)
    candles = from_table(_table(rows))
    check_candles(candles, interval_ms, minimum)
    return candles


def check_candles(candles: Candles, interval_ms: int, minimum: int) -> None:
    """Raise BadCandles unless these are at least `minimum` bars that a market could have made.

    That is: finite numbers; opening times in order, interval_ms apart and on its multiples; positive prices;
    a volume of 0 or more; low <= open, close <= high.
    """
    _check_count(len(candles), minimum)
    _check_finite(candles)
    _check_times(candles.timestamp_ms, interval_ms)
    _check_prices(candles)


def as_of_ms(candles: Candles, interval_ms: int) -> int:
    """When the last bar closed, in milliseconds since the epoch: the `as_of` of a prediction from these bars.

    Raises IndexError for no bars.
    """
    return int(candles.timestamp_ms[-1]) + interval_ms


def last(candles: Candles, n: int) -> Candles:
    """The newest n bars (all of them where there are fewer), as views."""
    start = max(len(candles) - n, 0)
    return Candles(**{name: getattr(candles, name)[start:] for name in FIELDS})


def to_rows(candles: Candles) -> list[list[int | float]]:
    """The request's form of these bars, oldest first: what `parse_candles` reads."""
    columns = [getattr(candles, name).tolist() for name in FIELDS]
    return [list(row) for row in zip(*columns, strict=True)]


def from_table(table: Floats) -> Candles:
    """Columns of a (6, n) table, in the order of FIELDS, as bars; not checked beyond the timestamps.

    Raises BadCandles for a timestamp that is not a whole number of milliseconds in this century.
    """
    times = table[0]
    # Also where it is NaN or infinite: no comparison holds for NaN. float64 holds every millisecond exactly.
    wrong = ~((times >= EARLIEST_MS) & (times < LATEST_MS) & (times == np.floor(times)))
    if (row := _first(wrong)) is not None:
        raise _bad(TIMESTAMPS, f"row {row} with timestamp {_number(times[row])}")
    return Candles(times.astype(np.int64), *table[1:])


def iso(timestamp_ms: int | np.int64) -> str:
    """A time in words, such as 2025-05-04T15:33:00Z; milliseconds only where there are any."""
    # Adding to 1970 reaches every year from 1 to 9999 exactly; fromtimestamp goes through a float.
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(timestamp_ms))
    precision = "milliseconds" if time.microsecond else "seconds"
    return time.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


# ---- from JSON's lists to a table


def _table(rows: list[object]) -> Floats:
    """(6, n) float64 from n lists of 6 numbers; raises BadCandles naming the first row that is not one."""
    # Types are looked at in bulk: numpy would take true for 1, "7" for 7 and null for NaN without a word.
    if set(map(type, rows)) <= {list}:
        lists = cast(list[list[object]], rows)
        types = set(map(type, chain.from_iterable(lists)))
        if set(map(len, lists)) <= {len(FIELDS)} and types <= {int, float}:
            with suppress(OverflowError):  # an integer of more than 308 digits: worded below
                return _floats(cast(list[list[float]], rows))
    raise next(_faulty_rows(rows))


def _floats(rows: list[list[float]]) -> Floats:
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=len(rows) * len(FIELDS))
    return np.ascontiguousarray(flat.reshape(-1, len(FIELDS)).T)  # (n, 6) -> (6, n)


def _faulty_rows(rows: list[object]) -> Iterator[BadCandles]:
    """What is wrong with each row that is not a list of 6 numbers, in order."""
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            yield _bad(ROW_FORM, f"row {index} is {_kind(row)}")
        elif len(row) != len(FIELDS):
            yield _bad(ROW_FORM, f"row {index} with {len(row)} values")
        else:
            for name, value in zip(FIELDS, row, strict=True):
                if type(value) not in (int, float):
                    yield _bad("numbers only", f"row {index} with {name} {_kind(value)}")
                elif isinstance(value, int) and abs(value) >= LARGEST:
                    yield _bad(NUMBERS, f"row {index} with {name} of {len(str(abs(value))):,} digits")


def _kind(value: object) -> str:
    """What JSON calls a value, short enough for an error message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{value[:20]}"' if len(value) <= 20 else f'a string starting "{value[:20]}"'
    names = {list: "a list", dict: "an object", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")


# ---- what a series must hold


def _check_count(rows: int, minimum: int) -> None:
    if rows < minimum:
        raise _bad(f"at least {_rows(minimum)}", _rows(rows))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _check_finite(candles: Candles) -> None:
    for name in FIELDS[1:]:
        values = getattr(candles, name)
        if (row := _first(~(np.abs(values) < LARGEST))) is not None:  # NaN is under nothing
            raise _bad(NUMBERS, f"row {row} with {name} {values[row]}")


def _check_times(times: npt.NDArray[np.int64], interval_ms: int) -> None:
    """Opening times one interval apart, on its multiples; the words say which way they are not."""
    steps = np.diff(times)
    if np.any(steps != interval_ms):
        raise _wrong_step(times, steps, interval_ms)
    if len(times) and times[0] % interval_ms:
        raise _bad(f"opening times on multiples of {_seconds(interval_ms)}", f"row 0 at {iso(times[0])}")


def _wrong_step(times: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], interval_ms: int) -> BadCandles:
    """The most telling words for steps between bars that are not all the interval."""
    if (back := _first(steps < 0)) is not None:
        return _bad(
            "rows sorted by time, oldest first",
            f"row {back + 1} at {iso(times[back + 1])} after row {back} at {iso(times[back])}",
        )
    if (same := _first(steps == 0)) is not None:
        return _bad("one row a bar", f"rows {same} and {same + 1} both at {iso(times[same])}")
    apart, usual = f"bars {_seconds(interval_ms)} apart", int(np.median(steps))
    if usual != interval_ms:
        return _bad(apart, f"bars {_seconds(usual)} apart")
    step = int((steps != interval_ms).argmax())
    where = f"between row {step} at {iso(times[step])} and row {step + 1} at {iso(times[step + 1])}"
    if steps[step] < interval_ms:
        return _bad(apart, f"{_seconds(int(steps[step]))} {where}")
    return _bad(f"{apart} without gaps", f"a gap of {_seconds(int(steps[step]))} {where}")


def _check_prices(candles: Candles) -> None:
    open_, high, low, close = candles.open, candles.high, candles.low, candles.close
    rules: tuple[tuple[Mask, str, tuple[str, ...]], ...] = (
        (open_ < SMALLEST_PRICE, POSITIVE, ("open",)),
        (high < SMALLEST_PRICE, POSITIVE, ("high",)),
        (low < SMALLEST_PRICE, POSITIVE, ("low",)),
        (close < SMALLEST_PRICE, POSITIVE, ("close",)),
        (candles.volume < 0, "a volume of 0 or more", ("volume",)),
        (high < low, "high at or above low", ("high", "low")),
        (high < np.maximum(open_, close), "high at or above open and close", ("open", "high", "close")),
        (low > np.minimum(open_, close), "low at or below open and close", ("open", "low", "close")),
    )
    for broken, expected, names in rules:
        if (row := _first(broken)) is not None:
            values = ", ".join(f"{name} {_number(getattr(candles, name)[row])}" for name in names)
            raise _bad(expected, f"row {row} with {values}")


def _first(mask: Mask) -> int | None:
    """The index of the first True, None without one."""
    return int(mask.argmax()) if mask.any() else None


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.15g} s"


def _number(value: float) -> str:
    """A number as a person would write it: 1748964660000, not 1.74896466e+12."""
    return f"{value:.15g}"


def _bad(expected: str, got: str) -> BadCandles:
    return BadCandles("candles", expected=expected, got=got)
