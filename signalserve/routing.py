"""Who answers: (settings, symbol, time, what the caller asked for) -> Decision. Pure: no clock, no state, no chance."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from signalserve.settings import GENERATIONS, Experiment, Generation, Mode, Pool, Settings, Variant


@dataclass(frozen=True)
class Decision:
    """How one prediction is to be made.

    variant: what answers.  mode: what `serving.yaml` says for the symbol.  arm: the experiment's arm where mode is ab.
    weights: the generations to run, with their shares; one of weight 1 where a single model answers.
    override: the caller chose; such answers stay out of the statistics.
    calibrated: the pool's temperature was fitted for these weights.
    """

    variant: Variant
    mode: Mode
    weights: Mapping[Generation, float]
    pool: Pool
    arm: Variant | None = None
    override: bool = False
    calibrated: bool = True

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
    chosen = variant or answering
    shares: Mapping[Generation, float] = {chosen: 1.0} if chosen != "ensemble" else own.weights
    shares = weights if weights is not None else shares
    answers = [generation for generation, share in shares.items() if share > 0]
    if len(answers) == 1:  # alone, whatever it is called: its own temperature applies, and no pool's
        return Decision(answers[0], own.mode, {answers[0]: 1.0}, own.pool, arm, override=bool(variant or weights))
    calibrated = all(abs(shares.get(g, 0.0) - own.weights.get(g, 0.0)) <= 1e-9 for g in GENERATIONS)
    return Decision(
        "ensemble", own.mode, shares, own.pool, arm, override=bool(variant or weights), calibrated=calibrated
    )


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
