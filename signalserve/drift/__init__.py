"""Do predictions still look as they did on the bars that a bundle was judged on? Statistics, limits, references.

    stream       what predictions of one arm looked like, in time order: live ones or the reference's
    psi, shift, rate, class_share, class_run     one detector each: a reference -> how far a window is from it
    surrogates   the reference stream -> endless streams of the same dependence
    limits       those streams -> limits that a healthy arm passes only so often
    reference    all that is kept of a reference stream, in `reference.json`
    watch        a window and a reference -> every statistic beside its limit

A window is the last WINDOWS predictions, not minutes: what nobody asked for says nothing.
"""

from typing import Final

WINDOWS: Final = (120, 360, 1440)
"""Predictions; of a bot that asks once a minute two hours, six, and a day."""

FEWEST: Final = 100
"""With fewer a share in ten bins is noise: no number is told then."""

DAY: Final = 1440
"""Predictions a day, of one a minute: what days between false alarms are counted in."""

DISTRIBUTIONS: Final = ("confidence_psi", "class_psi", "logit_psi")
STATISTICS: Final = (*DISTRIBUTIONS, "confidence_shift", "clamp_rate", "saturation_rate", "off_scale_rate")
OF_MODELS: Final = frozenset({"logit_psi", "clamp_rate", "off_scale_rate"})
"""What a pool has not: it has no logits and reads no features."""
