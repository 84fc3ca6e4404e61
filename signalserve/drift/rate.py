"""How often something happens that should hardly ever: a logit at the clamp, a saturated confidence, columns off scale.

No test against chance, as the distributions' is: what the reference never did has no dependence to measure. The limit
lies a margin above the reference's own rate, so that single spikes pass and a habit does not.
"""

from typing import Final

MARGIN: Final = 0.05
"""Of the predictions: one in twenty. One in five breaks an invariant only sometimes, and this always."""


class Rate:
    """
    >>> Rate(0.0).limit
    0.05
    """

    def __init__(self, reference: float, margin: float = MARGIN) -> None:
        """reference: its own rate, 0 … 1.  margin: above it, > 0. Raises ValueError for any other."""
        if not (0 <= reference <= 1 and margin > 0):
            raise ValueError(f"expected a rate of 0 to 1 and a margin above 0, got {reference} and {margin}")
        self.reference = reference
        self.limit = reference + margin
