"""Which bars may judge a model: those after everything that its manifest says it has seen."""

from datetime import datetime

import numpy as np

from export.series import Series
from export.split import Part
from signalserve.bundle import Manifest, Span
from signalserve.errors import DataError


def all_ends(series: Series, window: int, horizon: int) -> Part:
    """Every window of settled rows whose label is known. horizon: bars; 0 where no labels are needed.

    Raises DataError where there is none.
    """
    first, last = series.first_row + window - 1, len(series) - 1 - horizon
    if last < first:
        raise DataError(
            f"{series.path}: expected at least {first + horizon + 1} bars for one window, got {len(series)}"
        )
    return Part(np.arange(first, last + 1), window, horizon)


def unseen(
    series: Series, manifest: Manifest, horizon: int, *, by_calibration_too: bool, assume_unseen: bool = False
) -> Part:
    """The windows that share no bar with those that taught weights and scaler (and, if asked, the temperature).

    A span of the manifest holds its windows' and its labels' bars, so that a window that begins after it shares
    nothing with it.  assume_unseen: the caller vouches for all bars where the manifest names no training span.
    Raises DataError where nobody knows what the model was trained on, or nothing is left.
    """
    spans = manifest.spans
    known = [spans.train, spans.scaler, *([spans.calibration] if by_calibration_too else [])]
    if spans.train is None and not assume_unseen:
        raise DataError(
            f"{manifest.generation} of {manifest.symbol} does not say which bars it was trained on, so that no figure "
            "could be trusted; import it again with --trained START END, or pass --assume-unseen if it has seen none "
            "of these bars"
        )
    part = all_ends(series, manifest.window, horizon)
    seen = [span for span in known if span is not None]
    if not seen:
        return part
    last_seen_ms = max(_ms(span.end) for span in seen)
    first_unseen = int(np.searchsorted(series.times(), last_seen_ms, side="right"))
    ends = part.ends[part.ends >= first_unseen + manifest.window - 1]
    if not len(ends):
        raise DataError(
            f"{series.path}: the model has seen bars up to {max(span.end for span in seen)}, and these end at "
            f"{series.span_of(part).end}; give later bars"
        )
    return Part(ends, manifest.window, horizon)


def overlaps(span: Span | None, other: Span) -> bool:
    """Whether two stretches of bars share one."""
    return span is not None and _ms(span.start) <= _ms(other.end) and _ms(other.start) <= _ms(span.end)


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
