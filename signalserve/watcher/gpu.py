"""What the GPUs themselves say of their load, memory and temperature, through NVML, the driver's own library.

A driver in trouble can keep a caller waiting for minutes. So let `look` be repeated in a thread: a scrape shows what it
found last.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from signalserve.log import event

SAMPLE_S: Final = 5.0
FRESH_S: Final = 30.0
"""What is older than this says nothing of now: the driver hangs."""


@dataclass(frozen=True)
class _Reading:
    """read: (nvml, handle of a GPU) -> value; raises NVMLError where the driver does not tell."""

    documentation: str
    read: Callable[[Any, Any], float]


_READINGS: Final[Mapping[str, _Reading]] = {
    "utilization_ratio": _Reading(
        "Share of the driver's last sample period in which the GPU computed something, 0 to 1",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    ),
    "memory_used_bytes": _Reading(
        "Memory in use, by whatever process", lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used
    ),
    "memory_total_bytes": _Reading(
        "Memory that the GPU has", lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total
    ),
    "temperature_celsius": _Reading(
        "Temperature of the GPU",
        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
}


@dataclass(frozen=True)
class _Sample:
    """at: the clock's seconds.  values: of each GPU, by the names of _READINGS; NaN where it was not told."""

    at: float
    values: list[dict[str, float]]


class Gpus(Collector):
    """Every GPU that the driver shows to this process, by its index there, whatever CUDA_VISIBLE_DEVICES says.

    No series at all without nvidia-ml-py, a driver or a GPU. What a GPU that was there does not tell is NaN.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: s."""
        self._clock = clock
        self._nvml: Any = None
        self._gpus: list[Any] | None = None
        self._not_told: dict[tuple[int, str], str] = {}
        self._sample: _Sample | None = None

    def look(self) -> None:
        """Ask every GPU once; at the first time, find them."""
        if self._gpus is None:
            self._gpus = self._find()
        values = [
            {name: self._ask(index, gpu, name, reading.read) for name, reading in _READINGS.items()}
            for index, gpu in enumerate(self._gpus)
        ]
        self._sample = _Sample(self._clock(), values)

    def collect(self) -> Iterator[Metric]:
        sample = self._sample
        if sample is None or not sample.values:
            return
        is_fresh = self._clock() - sample.at <= FRESH_S
        for name, reading in _READINGS.items():
            gauge = GaugeMetricFamily(f"signalserve_gpu_{name}", reading.documentation, labels=["gpu"])
            for index, values in enumerate(sample.values):
                gauge.add_metric([str(index)], values[name] if is_fresh else math.nan)
            yield gauge

    def _find(self) -> list[Any]:
        """The handles of the GPUs that there are."""
        try:
            import pynvml
        except ImportError:
            return []
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            event(logging.INFO, "no_gpu", reason=str(error))
            return []

    def _ask(self, index: int, gpu: Any, name: str, read: Callable[[Any, Any], float]) -> float:
        """One value; NaN where the driver does not tell it, which is logged once for each reason."""
        try:
            value = read(self._nvml, gpu)
        except self._nvml.NVMLError as error:
            if self._not_told.get((index, name)) != str(error):
                event(logging.WARNING, "gpu_not_told", gpu=index, what=name, reason=str(error))
            self._not_told[index, name] = str(error)
            return math.nan
        self._not_told.pop((index, name), None)
        return value
