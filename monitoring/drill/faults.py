"""The table of faults: what is done, which alerts that must raise, and why these and no others.

What is expected was computed beforehand, from what the fault does to the models' outputs on these bars; where a run
showed another set, the reason stands in `why`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from monitoring.drill import plants
from monitoring.drill.feed import DAY, Change, frozen, shuffled, swapped, volatile
from tests.live.server import Server

SYMBOL: Final = "BTC-USD"
"""Where one symbol alone has the fault."""

BASELINE: Final[Mapping[str, str]] = {
    "Watchdog": "it always fires, to show that alerts arrive",
    "FailedGates": "the reference models fail their gates, whatever is planted",
    "NeverJudged": "a reference made for generated bars is a new version, which nobody has judged",
}
"""Alerts that are there without any fault, with the reason."""


@dataclass(frozen=True)
class Fault:
    """words: what is done.  expected: alerts by name.  why: these and no others.  minutes: replayed ones in which they
    must fire.  symbols: whose alerts these may be, None: every symbol's.

    How it is planted, at least one: prepare: what is done to the model store before the service starts, so that
    the fault is there from the first minute.  change: what the bot sends from then on.  deed: what is done to the
    running service.
    """

    name: str
    words: str
    expected: frozenset[str]
    why: str
    minutes: int
    symbols: frozenset[str] | None = None
    prepare: Callable[[Path], None] | None = None
    change: Change | None = None
    deed: Callable[[Server], None] | None = None

    @property
    def is_there_from_the_start(self) -> bool:
        """Or it is planted in a service that runs."""
        return self.prepare is not None and self.deed is None and self.change is None

    @property
    def is_seen(self) -> bool:
        """False for what no alert can tell from health."""
        return bool(self.expected)


_BTC: Final = frozenset({SYMBOL})
_INPUT: Final = frozenset({"ConfidenceDrift", "ClassDrift", "LogitDrift", "ClassRun"})
"""Of networks that are driven out of the range they know: they answer with nearly the same, for ever."""

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "nothing",
        "nothing at all, for a day",
        frozenset(),
        "whatever fires is a false alarm",
        DAY,
    ),
    Fault(
        "scaler-bypassed",
        "the ensemble's archive has a handler that undoes the scaler; manifests and hashes are whole",
        _INPUT | {"NotReady", "ConfidenceShift"},
        "golden windows are answered wrongly at once. LSTMs saturate, so that logits stay small: no invariant breaks, "
        "and only drift sees it in the predictions themselves",
        360,
        prepare=plants.bypass_scaler,
        deed=plants.raise_flag,
    ),
    Fault(
        "temperature-1-v6",
        "a version of V6-fixed with temperature 1 instead of 48, and the old reference",
        frozenset({"ConfidenceDrift", "ConfidenceShift", "Overconfident", "InvariantBroken", "ModelOut"}),
        "its mean confidence doubles; five answers on end over 99 % take the model out. Raw logits and classes are "
        "those of the reference: no LogitDrift, no ClassDrift",
        720,
        _BTC,
        prepare=partial(plants.untemper, generation="v6_fixed", symbol=SYMBOL),
    ),
    Fault(
        "temperature-1-v8",
        "a version of V8 with temperature 1 instead of 1.08, and the old reference",
        frozenset(),
        "1.08 is nearly 1: mean confidence moves from 0.383 to 0.388",
        360,
        _BTC,
        prepare=partial(plants.untemper, generation="v8", symbol=SYMBOL),
    ),
    Fault(
        "same-version",
        "a version of V6-fixed that differs in its number alone",
        frozenset(),
        "windows begin anew with a version, and must not cry wolf before they are full",
        360,
        _BTC,
        prepare=partial(plants.rewrite, generation="v6_fixed", symbol=SYMBOL),
    ),
    Fault(
        "columns-swapped",
        "the bot swaps volatility_50 and rsi_30, which matter most to V8 and to V6-fixed (permutation importance)",
        _INPUT | {"RateDrift"},
        "a column that is usually 0.001 is 50 now: one of 72 columns off scale is far under the invariant's third, and "
        "over the rate's half a column once it is so in half of a window",
        360,
        change=swapped("volatility_50", "rsi_30"),
    ),
    Fault(
        "neighbours-swapped",
        "the bot swaps volatility_50 and volatility_20, first and third of what matters to V8",
        frozenset(),
        "both are on one scale and move together: classes and confidence change by less than they do from day to day",
        360,
        change=swapped("volatility_50", "volatility_20"),
    ),
    Fault(
        "features-shuffled",
        "the bot sends all columns in another order",
        _INPUT | {"InvariantBroken", "RateDrift", "ConfidenceShift"},
        "more than a third of the columns is off scale for every model, which is the caller's fault: no model is out",
        360,
        change=shuffled,
    ),
    Fault(
        "feed-frozen",
        "the bot asks about the same bar of one symbol for ever",
        frozenset({"AsOfStill"}),
        "repeats count once, so that drift does not move",
        120,
        _BTC,
        change=frozen,
    ),
    Fault(
        "volatility-tripled",
        "every return of every symbol is three times what it was",
        frozenset({"ConfidenceDrift", "ClassDrift", "LogitDrift", "ConfidenceShift"}),
        "a market that the models do not know, on no column's scale: nothing is broken, and drift takes hours",
        720,
        change=volatile,
    ),
    Fault(
        "v8-is-v6",
        "a version of V8 with V6-fixed's weights, and V8's scaler, temperature and reference",
        frozenset({"ConfidenceShift", "Overconfident", "InvariantBroken", "ModelOut"}),
        "at V8's temperature V6's logits are confidences of 0.7, and five on end over 99 % take it out before the "
        "distributions show it: V8's own are so dependent that 360 predictions are worth three, and PSI needs a day",
        720,
        _BTC,
        prepare=partial(plants.replace_weights, generation="v8", by="v6_fixed", symbol=SYMBOL),
    ),
    Fault(
        "worker-killed",
        "one of the ensemble's two workers is killed",
        frozenset({"WorkerRestarted"}),
        "the other answers meanwhile",
        120,
        deed=plants.kill_worker,
    ),
    Fault(
        "settings-wrong",
        "serving.yaml asks for a mode that there is not",
        frozenset({"ConfigRefused"}),
        "the last good one stays in force: predictions go on as they were",
        60,
        deed=plants.write_wrong_settings,
    ),
    Fault(
        "bundle-corrupted",
        "a bit of a bundle's weights on disk is another",
        frozenset({"BundleNotIntact"}),
        "what runs is in memory",
        120,
        deed=plants.corrupt_bundle,
    ),
)
