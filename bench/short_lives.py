"""Workers that begin, count and end, over and over: what they leave in the folder that the watcher reads.

    PROMETHEUS_MULTIPROC_DIR=… python bench/short_lives.py '{"BTC-USD": ["v6_fixed", "v8"]}'

Each is a process of its own, with the metrics and label sets of a worker of one of the endpoints. Reads from standard
input how many are to live at once, and says when all of them have ended.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Final

from signalserve.metrics import Metrics
from signalserve.service import ENDPOINTS, Endpoint
from signalserve.settings import GENERATIONS, VARIANTS, Generation, Variant

ENSEMBLE: Final = ENDPOINTS[-1]
WORKERS: Final = (*ENDPOINTS, ENSEMBLE)
"""One of each, and the ensemble's second: as config.properties has them."""

Served = Mapping[str, Sequence[Generation]]


def main() -> None:
    served: Served = json.loads(sys.argv[1])
    endpoints = cycle(WORKERS)
    for line in sys.stdin:
        living = [start(next(endpoints), served) for _ in range(int(line))]
        for pid in living:
            os.waitpid(pid, 0)
        print("ended", flush=True)


def start(endpoint: Endpoint, served: Served) -> int:
    """A worker's process; it ends by itself, as one that is killed: nothing is tidied up."""
    pid = os.fork()
    if pid == 0:
        try:
            live(endpoint, served)
        finally:
            os._exit(0)
    return pid


def live(endpoint: Endpoint, served: Served) -> None:
    """What a worker counts from its start to its first answer for each symbol."""
    own: Sequence[Generation] = GENERATIONS if endpoint == ENSEMBLE else [endpoint]
    variants: Sequence[Variant] = VARIANTS if endpoint == ENSEMBLE else [endpoint]
    models = {symbol: [one for one in generations if one in own] for symbol, generations in served.items()}
    metrics = Metrics(endpoint, models, variants)
    metrics.config("0" * 64, valid=True)
    for symbol, generations in models.items():
        for generation in generations:
            metrics.bundle(symbol, generation, "1", "0" * 12, "onnxruntime", "cpu")
            metrics.skill(symbol, generation, 0.0)
            metrics.gates(symbol, generation, 0, judged=True)
            metrics.invariants(symbol, generation, frozenset())
            metrics.logits(symbol, generation, (-1.0, 0.0, 1.0))
        metrics.predicted(symbol, variants[-1], "UP", 0.5, ())
        metrics.took("total", 0.002)
        metrics.batch(1)


if __name__ == "__main__":
    main()
