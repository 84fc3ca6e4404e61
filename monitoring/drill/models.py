"""The models of a drill and the bars they are asked about, which their references have never seen."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from export.archives import build_from, load_in_force
from export.forward import forward
from export.reference_stream import describe_stream
from export.versions import revise
from monitoring.drill.feed import DAY, Feed, read_feeds
from signalserve.bundle import Bundle, Span, load_bundle, newest_bundles
from signalserve.candles import INTERVAL_MS, iso
from signalserve.drift.kept import KeptStream
from signalserve.off_scale import off_scale_shares
from signalserve.settings import load_settings
from tests.live.server import ROOT, copy_store

REFERENCE_DAYS: Final = 7
"""Of generated bars, before those that are replayed."""

Say = Callable[[str], object]


def prepare(
    store: Path, folder: Path, bars: Path | None, minutes: int, say: Say, reference_days: float = REFERENCE_DAYS
) -> tuple[Path, list[Feed]]:
    """A store of the drill's own, with archives, and the feeds. bars: None for generated ones, of which the models get
    references of their own.

    Real bars are the last that no reference saw: those up to the end of the calibration part.
    """
    copy_store(folder, store)
    bundles = [load_bundle(path) for path in newest_bundles(folder / "bundles")]
    symbols = sorted({bundle.manifest.symbol for bundle in bundles})
    if bars is not None:
        feeds = read_feeds(symbols, bars, minutes, min(map(_seen_from, bundles)))
    else:
        before = round(reference_days * DAY)
        long = {feed.symbol: feed for feed in read_feeds(symbols, None, before + minutes, None)}
        for bundle in bundles:
            say(f"a reference of generated bars for {bundle.name}")
            _refer(bundle, long[bundle.manifest.symbol], before, folder / "bundles")
        feeds = [Feed(feed.symbol, feed.candles, feed.features, feed.first + before) for feed in long.values()]
    say("archives")
    build_from(folder, load_in_force(folder, load_settings(ROOT / "serving.yaml")))
    return folder, feeds


def _seen_from(bundle: Bundle) -> int:
    """The first moment, ms, that the reference may know; the embargo before it belongs to nobody."""
    spans = bundle.manifest.spans
    assert spans is not None and spans.calibration is not None, f"{bundle.name}: expected a calibration part"
    return round(datetime.fromisoformat(spans.calibration.end).timestamp() * 1000)


def _refer(bundle: Bundle, feed: Feed, minutes: int, root: Path) -> None:
    """A version whose reference is the feed's first minutes."""
    manifest = bundle.manifest
    ends = np.arange(feed.first, feed.first + minutes)
    rows = feed.features.astype(np.float64)
    opened = feed.candles.timestamp_ms
    kept = KeptStream(
        opened[ends] + INTERVAL_MS,
        forward(bundle, rows, ends).raw_logits,
        off_scale_shares(rows, ends, manifest.window, manifest.scaler),
    )
    span = Span(start=iso(opened[ends[0]]), end=iso(opened[ends[-1]]), bars=minutes)
    reference = describe_stream(kept, manifest.calibration, span, len(manifest.columns))
    revise(bundle, root, command="make drill", reference=reference, kept=kept, gates=manifest.gates)
