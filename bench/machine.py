"""Where and when something was measured."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

QUIET = 0.5
PACKAGES = ("signalserve", "torchserve", "onnxruntime", "numpy", "fastapi", "uvicorn")


@dataclass(frozen=True)
class Machine:
    """load: the average of the last minute, before anything was started; above QUIET something else was running."""

    time: str
    cores: int
    processor: str
    load: float
    packages: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        info = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(": ")[2] for line in info if line.startswith("model name")]
        return cls(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            cores=len(os.sched_getaffinity(0)),
            processor=names[0] if names else platform.machine(),
            load=os.getloadavg()[0],
            packages={name: version(name) for name in PACKAGES},
        )

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        busy = "" if self.load <= QUIET else ": SOMETHING ELSE WAS RUNNING, trust the ratios at most"
        where = f"{self.time}, {self.cores} cores of {self.processor}, load {self.load:.2f} before the start{busy}"
        return f"{where}\n{packages}"
