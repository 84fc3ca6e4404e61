"""python -m signalserve.watcher.make_reference PARENT FILE METHOD TEMPERATURE DAYS WEIGHT=BUNDLE …

Makes a pool's reference. Started by `references.py`, of pid PARENT, and ended with it. Writes FILE whole or not at all.
DAYS: to simulate for its limits.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from signalserve.errors import OperatorError
from signalserve.parent_death import stop_with

NICE = 19


def main(arguments: Sequence[str]) -> None:
    from signalserve.bundle import load_bundle
    from signalserve.drift.kept import read_kept
    from signalserve.drift.limits import simulate_limits
    from signalserve.drift.pooling import pooled
    from signalserve.drift.reference import make_reference
    from signalserve.ensemble import PoolMethod

    os.nice(NICE)  # predictions come first
    file, method, temperature, days, *members = arguments
    streams, weights = [], []
    for member in members:
        weight, _, folder = member.partition("=")
        bundle = load_bundle(Path(folder))
        kept = read_kept(bundle)
        if kept is None:
            raise SystemExit(f"{bundle.name}: keeps no stream; run signalserve calibrate --reference-only on it")
        streams.append(kept.stream(bundle.manifest.calibration))
        weights.append(float(weight))
    stream = pooled(streams, weights, cast(PoolMethod, method), float(temperature))
    reference = make_reference(stream, simulate_limits(stream, simulated_days=int(days)), clamp=None, columns=None)
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(f".{os.getpid()}.new")
    staged.write_text(json.dumps(reference.to_json(), allow_nan=False))
    staged.replace(path)


if __name__ == "__main__":
    try:
        stop_with(int(sys.argv[1]))
        main(sys.argv[2:])
    except (OperatorError, ValueError) as error:
        raise SystemExit(str(error)) from None
