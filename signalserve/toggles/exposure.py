"""Which arm answers how much under given settings, and where a change gives one more. Pure."""

from collections.abc import Iterator, Sequence

from signalserve.settings import VARIANTS, Defaults, Settings, Variant

EVERY_OTHER = "every other symbol"
"""Stands for the symbols that have nothing of their own; no symbol is called so."""

_SAME = 1e-9  # shares are sums of decimals
_FIELDS = ("mode", "weights", "pool")


def exposure(settings: Settings, symbol: str) -> dict[Variant, float]:
    """The share of a symbol's answers that each arm gives, by the toggles alone; sums to 1.

    A pool in which one generation has all the weight is that generation, as in `routing.decide`.
    """
    own = settings.of(symbol)
    if own.mode == "ab":
        assert settings.experiment is not None  # Settings' own validator
        split = settings.experiment.split
    else:
        split = {own.mode: 1.0}
    shares = dict.fromkeys(VARIANTS, 0.0)
    for arm, share in split.items():
        shares[_resolved(arm, own)] += share
    return shares


def widened(before: Settings, after: Settings, symbols: Sequence[str]) -> list[str]:
    """Where a change lets more be answered by what is not the control, in words; empty where nowhere.

    The control is the experiment's as it was, else v6_fixed.  symbols: those that are served.
    """
    control = before.experiment.control if before.experiment else "v6_fixed"
    words = []
    for symbol in symbols:
        old, new = exposure(before, symbol), exposure(after, symbol)
        words += [
            f"{symbol}: {arm} from {_percent(old[arm])} to {_percent(new[arm])} of the answers"
            for arm in VARIANTS
            if arm != control and new[arm] > old[arm] + _SAME
        ]
        changed = _pool_changes(before.of(symbol), after.of(symbol))
        if changed and min(old["ensemble"], new["ensemble"]) > 0:
            words.append(
                f"{symbol}: the pool behind {_percent(new['ensemble'])} of the answers changes {', '.join(changed)}"
            )
    if before.experiment and after.experiment and after.experiment.control != control:
        words.append(f"experiment: {after.experiment.control} takes {control}'s place where an arm is out")
    if after.allow_failed_gates and not before.allow_failed_gates:
        words.append("allow_failed_gates: models that failed their gates may answer")
    return words


def remarks(before: Settings, after: Settings, symbols: Sequence[str]) -> list[str]:
    """What an operator may not expect of a change, in words."""
    return [
        *_hidden(before, after),
        *_unfitted(before, after, symbols),
        *_unused(before, after),
        *_pinned(before, after),
    ]


def _hidden(before: Settings, after: Settings) -> Iterator[str]:
    """Defaults that changed, and do not reach the symbols that have a value of their own."""
    for field in _FIELDS:
        if getattr(before.defaults, field) != getattr(after.defaults, field):
            keeping = [symbol for symbol, own in after.symbols.items() if getattr(own, field) is not None]
            if keeping:
                yield f"{', '.join(keeping)}: own {field} stays in force; change it with --symbol"


def _unfitted(before: Settings, after: Settings, symbols: Sequence[str]) -> Iterator[str]:
    for symbol in symbols:
        old, new = before.of(symbol), after.of(symbol)
        if _pool_changes(old, new) == ["weights"] and exposure(after, symbol)["ensemble"] > 0:
            yield (
                f"{symbol}: the pool's temperature {new.pool.temperature:g} was fitted to the weights before; "
                "signalserve compare fits it anew"
            )


def _unused(before: Settings, after: Settings) -> Iterator[str]:
    modes = {after.defaults.mode, *(own.mode for own in after.symbols.values())}
    if before.experiment != after.experiment and "ab" not in modes:
        yield "experiment: not in use, since no mode is ab; signalserve toggle mode ab [--symbol SYMBOL]"


def _pinned(before: Settings, after: Settings) -> Iterator[str]:
    if before.bundles != after.bundles:
        yield "bundles: other pins take new archives and a restart: signalserve pack; until then the file is refused"


def _pool_changes(old: Defaults, new: Defaults) -> list[str]:
    """Which of weights, method and temperature differ; a weight of 0 is none."""
    pairs = {
        "weights": (_positive(old), _positive(new)),
        "method": (old.pool.method, new.pool.method),
        "temperature": (old.pool.temperature, new.pool.temperature),
    }
    return [name for name, (one, other) in pairs.items() if one != other]


def _resolved(arm: Variant, own: Defaults) -> Variant:
    answering = list(_positive(own))
    return answering[0] if arm == "ensemble" and len(answering) == 1 else arm


def _positive(own: Defaults) -> dict[Variant, float]:
    return {generation: weight for generation, weight in own.weights.items() if weight > 0}


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
