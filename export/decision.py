"""What the comparison shows -> which model to serve by its owners' criteria, in words, and the lines that adopt it.

The criteria:
    V6-fixed   its confidence can be brought up honestly, it meets the accuracy gate, and the deployment is urgent
    V8         it passes all gates, and its confidence is naturally 60–85 %
    both       both of them pass, urgent or not, and the fitted pool is better than either
"Honestly" and "naturally" mean at the temperature that likelihood gives: any mean confidence can be had by choosing a
temperature for it, and then says nothing. Where no criterion is met, that is the decision: nothing should trade.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from export.comparison import Contestant
from export.contest import BASE_RATES, BY_HAND, HAND_WEIGHT, V6, V8
from export.paired import Difference, Judged
from export.report.cells import decimal
from signalserve.bundle import Gates
from signalserve.settings import Variant

CONFIDENCE: Final = (0.60, 0.85)
"""The mean confidence that the owners want."""

RANGE: Final = f"{100 * CONFIDENCE[0]:.0f} to {100 * CONFIDENCE[1]:.0f} %"


@dataclass(frozen=True)
class Criterion:
    """One condition. met: None where nobody has judged it, which counts as not met."""

    of: Variant
    condition: str
    found: str
    met: bool | None


@dataclass(frozen=True)
class Decision:
    """choice: who should answer, None where no criterion is met.  fallback: who has the lowest NLL of those that can.

    sentence: the answer.  reasons: what supports it, a sentence each.
    """

    scope: str
    choice: Variant | None
    fallback: Variant
    criteria: tuple[Criterion, ...]
    sentence: str
    reasons: tuple[str, ...]

    @property
    def mode(self) -> Variant:
        """For `serving.yaml`."""
        return self.choice or self.fallback


def decide(judged: Judged, gates: Mapping[str, Gates | None], *, urgent: bool, accuracy: float) -> Decision:
    """Apply the owners' criteria to a symbol, or to all together.

    gates: symbol -> its V8's, None where it was not judged.  urgent: whether the deployment is.  accuracy: the gate.
    """
    criteria = (
        _honest_confidence(judged),
        _accurate(judged, accuracy),
        Criterion("v6_fixed", "the deployment is urgent", "yes" if urgent else "no: --urgent was not given", urgent),
        _passes_gates(gates),
        _natural_confidence(judged),
        _pool_is_better(judged),
    )
    honest, accurate, _, passes, natural, pool_is_better = (criterion.met is True for criterion in criteria)
    v6_passes, v8_passes = honest and accurate, passes and natural
    v6_is_better = judged.difference(V8, V6).better == V6
    choice: Variant | None = None
    if v6_passes and v8_passes and pool_is_better:
        choice = "ensemble"
    elif v8_passes and not (v6_passes and urgent and v6_is_better):
        choice = "v8"
    elif v6_passes and urgent:
        choice = "v6_fixed"
    candidates: dict[Variant, str] = {"v6_fixed": V6, "v8": V8, "ensemble": judged.pool}
    fallback = min(candidates, key=lambda variant: judged.figures[candidates[variant]].nll.value)
    # The pool's own criterion is a difference, which is among those that are told anyway.
    reasons = [
        *_standing(judged, candidates[choice or fallback], chosen=choice is not None),
        *(f"{_label(judged, c.of)}: {c.condition}: {_met(c)} ({c.found})." for c in criteria[:-1] if not c.met),
    ]
    return Decision(judged.scope, choice, fallback, criteria, _sentence(judged.scope, choice), tuple(reasons))


def _honest_confidence(judged: Judged) -> Criterion:
    found = judged.likeliest[V6]
    words = (
        f"{percent(found.mean)} at its likeliest T; calibration error {found.error:.3f}, "
        f"{'within' if found.calibrated else 'above'} the {found.limit:.3f} that chance explains"
    )
    condition = f"its confidence can be brought up honestly, to {RANGE} and calibrated"
    return Criterion("v6_fixed", condition, words, _wanted(found.mean) and found.calibrated)


def _accurate(judged: Judged, gate: float) -> Criterion:
    found = judged.figures[V6].accuracy
    words = (
        f"{percent(found.value)}, 95 % interval {percent(found.interval.low)} to {percent(found.interval.high)}; the "
        f"commonest class alone: {percent(max(judged.base_rates))}"
    )
    return Criterion("v6_fixed", f"its accuracy is at least {percent(gate)}", words, found.value >= gate)


def _passes_gates(gates: Mapping[str, Gates | None]) -> Criterion:
    condition = "it passes all gates"
    failed = {symbol: found.failed for symbol, found in gates.items() if found and found.failed}
    if failed:
        words = "; ".join(f"{symbol} fails {', '.join(names)}" for symbol, names in failed.items())
        return Criterion("v8", condition, words, False)
    unjudged = [symbol for symbol, found in gates.items() if found is None]
    if unjudged:
        return Criterion("v8", condition, f"{', '.join(unjudged)}: run signalserve judge first", None)
    return Criterion("v8", condition, "all passed", True)


def _natural_confidence(judged: Judged) -> Criterion:
    mean = judged.likeliest[V8].mean
    return Criterion("v8", f"its confidence is naturally {RANGE}", f"{percent(mean)} at its likeliest T", _wanted(mean))


def _pool_is_better(judged: Judged) -> Criterion:
    pairs = [judged.difference(judged.pool, name) for name in (V6, V8)]
    better = all(pair.better == judged.pool for pair in pairs)
    found = "; ".join(
        f"NLL {decimal(pair.nll.value, 4)} nats against {_label(judged, pair.second)}, 95 % interval "
        f"{decimal(pair.nll.interval.low, 4)} to {decimal(pair.nll.interval.high, 4)}"
        for pair in pairs
    )
    return Criterion("ensemble", "it is better than either model", found, better)


def _wanted(confidence: float) -> bool:
    return CONFIDENCE[0] <= confidence <= CONFIDENCE[1]


def _met(criterion: Criterion) -> str:
    return "not judged" if criterion.met is None else "not met"


def _sentence(scope: str, choice: Variant | None) -> str:
    if choice == "ensemble":
        return f"{scope}: serve both, pooled: both models pass, and the fitted pool is better than either."
    if choice == "v8":
        return f"{scope}: serve v8: it passes all gates, and its confidence is naturally {RANGE}."
    if choice == "v6_fixed":
        return (
            f"{scope}: serve v6_fixed: its confidence is honestly {RANGE}, it meets the accuracy gate, and the "
            "deployment is urgent."
        )
    return f"{scope}: no criterion is met: neither model should trade, alone or pooled."


def _standing(judged: Judged, name: str, *, chosen: bool) -> list[str]:
    """How the one that is served stands against the other two, and against knowing nothing."""
    if chosen:
        found = []
    else:
        nll = judged.figures[name].nll
        found = [
            f"If one must be served, {_label(judged, name)} has the lowest NLL on the test part: {nll.value:.4f} nats, "
            f"95 % interval {nll.interval.low:.4f} to {nll.interval.high:.4f}."
        ]
    against = [
        d for d in judged.differences if {d.first, d.second} < {V6, V8, judged.pool} and name in (d.first, d.second)
    ]
    return [*found, *(in_words(judged, d) for d in against), in_words(judged, judged.difference(name, BASE_RATES))]


def in_words(judged: Judged, difference: Difference) -> str:
    """A paired difference as a sentence that goes no further than its interval."""
    nll, low, high = difference.nll.value, difference.nll.interval.low, difference.nll.interval.high
    first, second = _label(judged, difference.first), _label(judged, difference.second)
    if difference.better is None:
        words = (
            f"{first} against {second}: no difference can be shown, NLL {decimal(nll, 4)} nats, 95 % interval "
            f"{decimal(low, 4)} to {decimal(high, 4)}."
        )
    else:
        better, worse = (first, second) if difference.better == difference.first else (second, first)
        nearer, farther = sorted((abs(low), abs(high)))
        words = (
            f"{better} is better than {worse}: NLL lower by {abs(nll):.4f} nats, 95 % interval {nearer:.4f} to "
            f"{farther:.4f}."
        )
    return words.replace("the ", "The ", 1) if words.startswith("the ") else words


def percent(share: float) -> str:
    """0.6805 -> "68.1 %", 0.75 -> "75 %"."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _label(judged: Judged, name: str) -> str:
    """A contestant's or a variant's name within a sentence."""
    if name in (judged.pool, "ensemble"):
        return "the fitted pool"
    return "the base rates" if name == BASE_RATES else name


def serving_lines(decisions: Sequence[Decision], pools: Mapping[str, Contestant]) -> list[str]:
    """What `serving.yaml` must say to adopt the decisions: lines that validate as they stand, however they are wrapped.

    decisions: of each symbol; all in one mode decide the default's too, of symbols that are not named.  pools: symbol
    -> its fitted pool.
    """
    modes = {decision.mode for decision in decisions}
    mode = decisions[0].mode if len(modes) == 1 < len(decisions) else "ensemble"
    symbols = ",\n".join(
        f"{decision.scope}: {_settings(decision.mode, pools[decision.scope])}" for decision in decisions
    )
    by_hand = Contestant(BY_HAND["linear"], "", "linear", HAND_WEIGHT)
    return f"defaults: {_settings(mode, by_hand)}\nsymbols: {{{symbols}}}".splitlines()


def _settings(mode: Variant, pool: Contestant) -> str:
    """A mapping in YAML's flow style, in which indentation means nothing."""
    assert pool.weight is not None, "every pool has a weight"
    weights = f"{{{V6}: {pool.weight:.4g}, {V8}: {1 - pool.weight:.4g}}}"
    return f"{{mode: {mode}, weights: {weights}, pool: {{method: {pool.method}, temperature: {pool.temperature:.4g}}}}}"
