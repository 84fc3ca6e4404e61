"""A prediction's warnings in words, for logs and tables."""

from typing import Final

EXPLANATIONS: Final = {
    "clamped": "a raw logit lay beyond the clamp and was cut: the network is surer than it ever should be",
    "clamp_tie": "two classes lie at the clamp, so which one is largest is arbitrary: do not trade on the direction",
    "features_off_scale": "more than a sixth of the columns are beyond 10 standard deviations, or a value beyond 1,000",
    "stale_input": "the last bar closed more than three bars ago: this is about the past",
    "uncalibrated_weights": "the pool's temperature was fitted for other weights: the confidence is not calibrated",
    "failed_gates": "a model that did not pass its quality gates answered",
    "degraded": "another model answered than the one that should have, which broke a rule and is out",
}

_INVARIANT: Final = "invariant_"
_INVARIANTS: Final = {
    "not_finite": "NaN or infinity",
    "clamped": "logits beyond the clamp",
    "clamp_tie": "ties at the clamp",
    "saturated": "a confidence of 0.99 and more, every time",
    "off_scale": "features off scale",
    "scaler_off": "features off scale for it, and for no other model of the symbol: its scaler is not theirs",
}


def explain(warning: str) -> str:
    """What a warning means, in one clause; a warning that this version does not know is given back as it is."""
    rule = warning.removeprefix(_INVARIANT)
    if rule != warning:
        return f"the model's last five predictions showed {_INVARIANTS.get(rule, rule)}: it is out of order"
    return EXPLANATIONS.get(warning, warning)
