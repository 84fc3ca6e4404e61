"""How often to ask again, and how long to wait before: exponential back-off with full jitter, under a deadline.

Asking twice for a prediction is safe: it changes nothing but counters, and the service's statistics count a repeated
(symbol, as_of) once. What is never asked again is a request that was refused (4xx): it would be refused again.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Retries:
    """`count` further attempts after the first, all within `total_s` seconds; `Retries(0)` asks once.

    first_wait_s: upper bound of the first wait; each further one's is twice the last's, up to longest_wait_s.
    total_s: seconds for the whole call, waits included: no attempt begins after them, and no phase of one (connecting,
    sending, waiting for the next bytes) may take longer than what is left. None has no deadline.
    Raises ValueError for negative numbers, and a total_s of 0.
    """

    count: int = 3
    first_wait_s: float = 0.1  # a worker's ordinary pause is under this; a dead one is back in 2 s
    longest_wait_s: float = 2.0
    total_s: float | None = 10.0  # well inside a one-minute bar

    def __post_init__(self) -> None:
        if self.count < 0 or not (self.first_wait_s >= 0 and self.longest_wait_s >= 0):
            raise ValueError(f"retries: expected a count and waits of 0 or more, got {self}")
        if self.total_s is not None and not self.total_s > 0:
            raise ValueError(f"retries: expected a total_s above 0 or None, got {self.total_s}")

    def bound_s(self, retry: int) -> float:
        """The longest wait before the retry-th retry (from 1), seconds."""
        doublings = min(retry - 1, 60)  # 2**1024 would overflow, and longest_wait_s holds long before
        return min(self.longest_wait_s, self.first_wait_s * 2.0**doublings)

    def wait_s(self, retry: int, draw: float) -> float:
        """The wait before the retry-th retry (from 1): anything from 0 to its bound. draw: uniform in [0, 1).

        Full jitter spreads clients that failed together best. Source: Brooker 2015, Exponential Backoff And Jitter.
        """
        return draw * self.bound_s(retry)
