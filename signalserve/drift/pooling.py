"""The reference of a pool: what it would have said on the bars that all its members' references share."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from signalserve.drift.stream import Stream
from signalserve.ensemble import PoolMethod, pool


def pooled(members: Sequence[Stream], weights: Sequence[float], method: PoolMethod, temperature: float) -> Stream:
    """members: at least one, each with times in ascending order.  weights: one each, sum 1.  temperature: of the pool.

    Raises ValueError where the members share no bar: their models were judged on different ones.
    """
    shared = reduce(np.intersect1d, (member.time_ms for member in members))
    if not len(shared):
        raise ValueError("expected members whose reference streams share bars, got none in common")
    chosen = [member.probabilities[np.searchsorted(member.time_ms, shared)] for member in members]
    return Stream(shared, pool(np.stack(chosen), np.asarray(weights), method, temperature), None, None)
