"""What predictions of one arm looked like, in time order: the last of a live one, or those of its reference."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """One prediction a bar.

    time_ms: (n,), ascending.  probabilities: (n, 3).  largest_logit: (n,), the largest |raw logit| of each.
    off_scale: (n,), share of the columns off scale; NaN where nobody recorded it.  Both None of a pool.
    """

    time_ms: Integers
    probabilities: Floats
    largest_logit: Floats | None
    off_scale: Floats | None

    def __post_init__(self) -> None:
        n = len(self.time_ms)
        shapes = (
            self.probabilities.shape,
            *(part.shape for part in (self.largest_logit, self.off_scale) if part is not None),
        )
        if shapes[0] != (n, 3) or any(shape != (n,) for shape in shapes[1:]):
            raise ValueError(f"expected (n, 3) probabilities and (n,) of all else for n = {n} times, got {shapes}")

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def confidence(self) -> Floats:
        """The largest probability of each, (n,)."""
        largest: Floats = self.probabilities.max(axis=1, initial=0.0)
        return largest

    @property
    def classes(self) -> Integers:
        """What each said, (n,), 0 … 2."""
        classes: Integers = self.probabilities.argmax(axis=1)
        return classes

    def last(self, n: int) -> "Stream":
        return Stream(
            self.time_ms[-n:],
            self.probabilities[-n:],
            None if self.largest_logit is None else self.largest_logit[-n:],
            None if self.off_scale is None else self.off_scale[-n:],
        )
