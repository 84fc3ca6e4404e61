"""What the comparison shows -> which model to serve by its owners' criteria, in words, and the lines that adopt it.

The criteria:
    V6-fixed   its confidence can be brought up honestly, it meets the accuracy gate, and the deployment is urgent
    V8         it passes all gates, with the limits that the owners have set, and its confidence is naturally 60–85 %
    both       both of them pass, urgent or not, and the fitted pool is better than either
"Honestly" and "naturally" mean at the temperature that likelihood gives: any mean confidence can be had by choosing a
temperature for it, and then says nothing. Where no criterion is met, that is the decision: nothing should trade.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from export.comparison import Comparison, Contestant
from export.contest import BASE_RATES, BY_HAND, EARLIER_SHARES, HAND_WEIGHT, V6, V8
from export.gates import GATES, GateSettings
from export.paired import Difference, Estimate, Judged
from export.report.cells import decimal
from signalserve.bundle import Gates
from signalserve.settings import Generation, Variant

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
class Candidates:
    """What is known of both models and their pools without the test part.

    gates: symbol -> its V8's, None where it was not judged.  weights: symbol -> V6-fixed's in its fitted pool.
    nll: of each model as served, on the calibration part, nats.
    """

    gates: Mapping[str, Gates | None]
    weights: Mapping[str, float]
    nll: Mapping[str, float]

    @property
    def likelier(self) -> Generation:
        return min((V6, V8), key=lambda model: self.nll[model])

    @property
    def no_pools(self) -> dict[str, Generation]:
        """Symbol -> the model that has all the weight in what was fitted as a pool."""
        return {symbol: V6 if weight else V8 for symbol, weight in self.weights.items() if not is_pool(weight)}


@dataclass(frozen=True)
class Decision:
    """choice: who should answer, None where no criterion is met.  fallback: who answers best if somebody must.

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


def candidates_of(comparisons: Sequence[Comparison], pool: str) -> Candidates:
    """Of one symbol, or of several together. pool: the fitted pool's name."""
    windows = [comparison.fits["linear"].n for comparison in comparisons]
    return Candidates(
        gates={c.contest.symbol: c.contest.bundles[1].manifest.gates for c in comparisons},
        weights={c.contest.symbol: c.contestant(pool).weight or 0.0 for c in comparisons},
        nll={
            model: sum(c.calibration_nll[model] * n for c, n in zip(comparisons, windows, strict=True)) / sum(windows)
            for model in (V6, V8)
        },
    )


def is_pool(weight: float) -> bool:
    """Whether two models have a weight: with one of them alone, nothing is pooled."""
    return 0 < weight < 1


def decide(judged: Judged, candidates: Candidates, *, urgent: bool, accuracy: float) -> Decision:
    """Apply the owners' criteria to a symbol, or to all together.

    urgent: whether the deployment is.  accuracy: the gate.  Where no criterion is met, the calibration part names the
    model to fall back on, since the best of several on the test part looks better there than it is. The pool, which
    costs both models, takes its place only where the test part shows it to be better.
    """
    criteria = (
        _honest_confidence(judged),
        _accurate(judged, accuracy),
        Criterion("v6_fixed", "the deployment is urgent", "yes" if urgent else "no: --urgent was not given", urgent),
        _passes_gates(candidates.gates),
        _natural_confidence(judged),
        _pool_is_better(judged, candidates),
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
    pool_beats_likelier = judged.difference(judged.pool, candidates.likelier).better == judged.pool
    fallback: Variant = "ensemble" if pool_beats_likelier and not candidates.no_pools else candidates.likelier
    reasons = [
        *_standing(judged, candidates, choice, fallback),
        # The pool's own criterion is a difference, and differences are told already.
        *_unmet(criteria[:-1]),
    ]
    return Decision(judged.scope, choice, fallback, criteria, sentence(judged.scope, choice), tuple(reasons))


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
    """Met where every gate was required and passed, with the owners' limits."""
    condition = "it passes all gates"
    failed = {symbol: found.failed for symbol, found in gates.items() if found and found.failed}
    if failed:
        words = "; ".join(f"{symbol} fails {', '.join(names)}" for symbol, names in failed.items())
        return Criterion("v8", condition, words, False)
    open_questions = {symbol: words for symbol, found in gates.items() if (words := _unjudged(found))}
    if open_questions:
        words = "; ".join(f"{symbol}: {words}" for symbol, words in open_questions.items())
        return Criterion("v8", condition, words, None)
    return Criterion("v8", condition, "all passed", True)


def _unjudged(gates: Gates | None) -> str:
    """What is missing for a verdict on all gates, and what to do; empty where nothing is."""
    if gates is None:
        return "run signalserve judge first"
    left_out = [gate for gate in GATES if gate not in gates.passed]
    if left_out:
        return f"{', '.join(left_out)} not required; run signalserve judge without --gates"
    told = gates.report.get("settings")
    if not isinstance(told, dict):
        return "it is not known with which limits; run signalserve judge again"
    owners = GateSettings().model_dump(mode="json", exclude={"required"})
    other = [f"{name} {told.get(name)} for {value}" for name, value in owners.items() if told.get(name) != value]
    return (
        f"other settings than the owners' ({', '.join(other)}); run signalserve judge without --gates" if other else ""
    )


def _natural_confidence(judged: Judged) -> Criterion:
    mean = judged.likeliest[V8].mean
    return Criterion("v8", f"its confidence is naturally {RANGE}", f"{percent(mean)} at its likeliest T", _wanted(mean))


def _pool_is_better(judged: Judged, candidates: Candidates) -> Criterion:
    pairs = [judged.difference(judged.pool, name) for name in (V6, V8)]
    better = all(pair.better == judged.pool for pair in pairs) and not candidates.no_pools
    found = [f"{in_nats(pair.nll)} against {pair.second}" for pair in pairs]
    return Criterion("ensemble", "it is better than either model", "; ".join([*found, *_no_pools(candidates)]), better)


def _no_pools(candidates: Candidates) -> list[str]:
    return [f"the fitted pool of {symbol} is {model} alone" for symbol, model in candidates.no_pools.items()]


def _wanted(confidence: float) -> bool:
    return CONFIDENCE[0] <= confidence <= CONFIDENCE[1]


def sentence(scope: str, choice: Variant | None) -> str:
    """The answer. scope: a symbol, or several."""
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


def _standing(judged: Judged, candidates: Candidates, choice: Variant | None, fallback: Variant) -> list[str]:
    """How the one that is served stands against the other two, and against knowing nothing."""
    names: dict[Variant, str] = {"v6_fixed": V6, "v8": V8, "ensemble": judged.pool}
    name, told, found = names[choice or fallback], set[str](), []
    if choice is None:
        told = {judged.pool, candidates.likelier}
        found = [_last_resort(judged, candidates, fallback)]
    against = [
        d
        for d in judged.differences
        if {d.first, d.second} < set(names.values()) and name in (d.first, d.second) and {d.first, d.second} != told
    ]
    return [*found, *(in_words(judged, d) for d in against), _against_base_rates(judged, name)]


def _last_resort(judged: Judged, candidates: Candidates, fallback: Variant) -> str:
    """Who answers where nobody should, and why."""
    likelier = candidates.likelier
    other = V8 if likelier == V6 else V6
    against = in_nats(judged.difference(judged.pool, likelier).nll)
    on_calibration = (
        f"on the calibration part ({candidates.nll[likelier]:.4f} against {candidates.nll[other]:.4f} nats)"
    )
    if fallback == "ensemble":
        return (
            f"If one must be served, the fitted pool: on the test part it is better than {likelier} ({against}), which "
            f"is likelier than {other} {on_calibration}."
        )
    no_pools = " and ".join(_no_pools(candidates))
    reason = no_pools or f"the fitted pool is not shown to be better on the test part ({against})"
    return f"If one must be served, {likelier}: it is likelier than {other} {on_calibration}, and {reason}."


def _against_base_rates(judged: Judged, name: str) -> str:
    """Better than knowing nothing of a window, whichever class shares one goes by."""
    earlier, own = (judged.difference(name, shares) for shares in BASE_RATES)
    if earlier.better == own.better == name:
        verdict = "is better than"
    elif earlier.better == EARLIER_SHARES:
        verdict = "is worse than"
    else:
        verdict = "is not shown to be better than"
    return _capital(
        f"{_label(judged, name)} {verdict} the base rates: {in_nats(earlier.nll)} against the calibration part's class "
        f"shares, and {in_nats(own.nll)} against the test part's own, known in hindsight."
    )


def _unmet(criteria: Sequence[Criterion]) -> list[str]:
    """A sentence for each model that lacks something. What was found stands in the table of criteria."""
    lacking = {
        model: [
            c.condition + (" (not judged)" if c.met is None else "") for c in criteria if c.of == model and not c.met
        ]
        for model in (V6, V8)
    }
    return [f"Not met for {model}: {'; '.join(conditions)}." for model, conditions in lacking.items() if conditions]


def in_words(judged: Judged, difference: Difference) -> str:
    """A paired difference as a sentence that goes no further than its interval."""
    first, second = _label(judged, difference.first), _label(judged, difference.second)
    if difference.better is None:
        return _capital(f"{first} against {second}: no difference can be shown, {in_nats(difference.nll)}.")
    better, worse = (first, second) if difference.better == difference.first else (second, first)
    nearer, farther = sorted((abs(difference.nll.interval.low), abs(difference.nll.interval.high)))
    return _capital(
        f"{better} is better than {worse}: NLL lower by {abs(difference.nll.value):.4f} nats, 95 % interval "
        f"{nearer:.4f} to {farther:.4f}."
    )


def in_nats(nll: Estimate) -> str:
    low, high = decimal(nll.interval.low, 4), decimal(nll.interval.high, 4)
    return f"NLL {decimal(nll.value, 4)} nats, 95 % interval {low} to {high}"


def _capital(words: str) -> str:
    """Of a sentence that may begin with a contestant's name, which keeps its letters."""
    return words.replace("the ", "The ", 1) if words.startswith("the ") else words


def percent(share: float) -> str:
    """0.6805 -> "68.1 %", 0.75 -> "75 %"."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _label(judged: Judged, name: str) -> str:
    """A contestant's name within a sentence."""
    return "the fitted pool" if name == judged.pool else name


def serving_lines(decisions: Sequence[Decision], pools: Mapping[str, Contestant], *, whole: bool) -> list[str]:
    """What `serving.yaml` must say to adopt the decisions: lines that validate as they stand, however they are wrapped.

    decisions: of each symbol.  pools: symbol -> its fitted pool.  whole: whether these are all symbols that are served;
    else only their own entries are given, for what others have must stay.
    """
    entries = [f"{decision.scope}: {_settings(decision.mode, pools[decision.scope])}" for decision in decisions]
    if not whole:
        return ["# put under symbols:", *entries]
    modes = {decision.mode for decision in decisions}
    mode: Variant = decisions[0].mode if len(modes) == 1 else "ensemble"
    by_hand = Contestant(BY_HAND["linear"], "", "linear", HAND_WEIGHT)
    symbols = ",\n".join(entries)
    return f"defaults: {_settings(mode, by_hand)}\nsymbols: {{{symbols}}}".splitlines()


def _settings(mode: Variant, pool: Contestant) -> str:
    """A mapping in YAML's flow style, in which indentation means nothing."""
    assert pool.weight is not None, "every pool has a weight"
    if not is_pool(pool.weight):
        return f"{{mode: {mode}}}"
    weights = f"{{{V6}: {pool.weight:.4g}, {V8}: {1 - pool.weight:.4g}}}"
    return f"{{mode: {mode}, weights: {weights}, pool: {{method: {pool.method}, temperature: {pool.temperature:.4g}}}}}"
