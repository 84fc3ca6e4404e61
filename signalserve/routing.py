"""Who answers: (settings, symbol, time, what the caller asked for) -> Decision. Pure: no clock, no state, no chance."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from signalserve.settings import GENERATIONS, VARIANTS, Defaults, Experiment, Generation, Mode, Pool, Settings, Variant

DEFAULT_CONTROL: Variant = "v6_fixed"
"""Who stands in for a model that is out where no experiment names a control."""


@dataclass(frozen=True)
class Decision:
    """How one prediction is to be made.

    variant: what answers.  mode: what `serving.yaml` says for the symbol.  arm: the experiment's arm where mode is ab.
    weights: the generations to run, with their shares; one of weight 1 where a single model answers.
    assigned: who answers by the toggles alone: the mode, or the experiment's arm.
    override: the caller chose; such answers stay out of the statistics.
    calibrated: the pool's temperature was fitted for these weights.
    degraded: why another answers than the one that should, else None.
    """

    variant: Variant
    mode: Mode
    weights: Mapping[Generation, float]
    pool: Pool
    assigned: Variant
    arm: Variant | None = None
    override: bool = False
    calibrated: bool = True
    degraded: str | None = None

    @property
    def generations(self) -> tuple[Generation, ...]:
        """The generations to run: those with a share above 0."""
        return tuple(generation for generation in GENERATIONS if self.weights.get(generation, 0.0) > 0)


def decide(
    settings: Settings,
    symbol: str,
    time_ms: int,
    variant: Variant | None = None,
    weights: Mapping[Generation, float] | None = None,
) -> Decision:
    """The decision for one request. time_ms: its as_of, else its receipt, in ms since the epoch.

    variant, weights: the caller's override; at most one of them is given.
    """
    own = settings.of(symbol)
    arm = None
    if own.mode == "ab":
        assert settings.experiment is not None  # Settings' own validator
        arm = assign(settings.experiment, symbol, time_ms)
    answering: Variant = arm if arm is not None else own.mode  # type: ignore[assignment]
    override = variant is not None or weights is not None
    shares = weights if weights is not None else _shares(variant or answering, own)
    return _decision(shares, own, answering, arm, override)


def fall_back(
    decision: Decision,
    settings: Settings,
    symbol: str,
    available: Collection[Generation],
    out: Mapping[Generation, str],
) -> Decision | None:
    """The decision where models are out: itself if none of its own is, else the control's, else another arm's.

    available: the symbol's models.  out: those that must not answer, with the reason in words.
    None where no arm is left.
    """
    reasons = [out[generation] for generation in decision.generations if generation in out]
    if not reasons:
        return decision
    control = settings.experiment.control if settings.experiment else DEFAULT_CONTROL
    own = settings.of(symbol)
    for arm in (control, *VARIANTS):
        other = _decision(_shares(arm, own), own, decision.assigned, decision.arm, decision.override)
        if all(generation in available and generation not in out for generation in other.generations):
            return replace(other, degraded="; ".join(reasons))
    return None


def _shares(variant: Variant, own: Defaults) -> Mapping[Generation, float]:
    return own.weights if variant == "ensemble" else {variant: 1.0}


def _decision(
    shares: Mapping[Generation, float], own: Defaults, assigned: Variant, arm: Variant | None, override: bool
) -> Decision:
    answers = [generation for generation, share in shares.items() if share > 0]
    if len(answers) == 1:  # alone, whatever it is called: its own temperature applies, and no pool's
        return Decision(answers[0], own.mode, {answers[0]: 1.0}, own.pool, assigned, arm, override)
    calibrated = all(abs(shares.get(g, 0.0) - own.weights.get(g, 0.0)) <= 1e-9 for g in GENERATIONS)
    return Decision("ensemble", own.mode, shares, own.pool, assigned, arm, override, calibrated)


def assign(experiment: Experiment, symbol: str, time_ms: int) -> Variant:
    """The arm that a symbol has in the block of time that holds time_ms.

    A keyed hash gives the block a point in [0, 1); the arms lie on that line in the order of their names, so that a
    change of the split moves only the blocks between an old border and its new place.
    """
    block = time_ms // (experiment.block_minutes * 60_000)
    key = f"{experiment.name}\x1f{symbol}\x1f{block}".encode()
    salt = hashlib.blake2b(experiment.salt.encode(), digest_size=16).digest()
    point = int.from_bytes(hashlib.blake2b(key, key=salt, digest_size=8).digest()) / 2**64
    border = 0.0
    arms = sorted(arm for arm, share in experiment.split.items() if share > 0)
    for arm in arms:
        border += experiment.split[arm]
        if point < border:
            return arm
    return arms[-1]  # the shares may sum to a hair under 1
