"""GPU metrics, by a driver's library that the test plays."""

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from signalserve.watcher.gpu import FRESH_S, Gpus

Values = dict[tuple[str, str], float]


class NVMLError(Exception):
    pass


class Driver(SimpleNamespace):
    """What the tests need of pynvml: GPUs by their index, as (busy percent, bytes in use, °C)."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *gpus: tuple[int, int, int]) -> None:
        super().__init__(gpus=gpus, faults={})

    def nvmlInit(self) -> None:  # noqa: N802
        self._answer("init")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        self._answer("utilization")
        return SimpleNamespace(gpu=self.gpus[handle][0], memory=1)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        self._answer("memory")
        return SimpleNamespace(total=80 * 2**30, used=self.gpus[handle][1], free=0)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        self._answer("temperature")
        return int(self.gpus[handle][2])

    def _answer(self, question: str) -> None:
        if question in self.faults:
            raise self.faults[question]


def shown(gpus: Gpus) -> Values:
    """(metric, gpu) -> value."""
    return {
        (sample.name.removeprefix("signalserve_gpu_"), sample.labels["gpu"]): sample.value
        for metric in gpus.collect()
        for sample in metric.samples
    }


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver((37, 5 * 2**30, 61), (0, 0, 30))
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


def looked(**options: Any) -> Gpus:
    gpus = Gpus(**options)
    gpus.look()
    return gpus


def test_every_gpu_shows_its_load_memory_and_temperature(driver: Driver):
    assert shown(looked()) == {
        ("utilization_ratio", "0"): 0.37,
        ("utilization_ratio", "1"): 0.0,
        ("memory_used_bytes", "0"): 5 * 2**30,
        ("memory_used_bytes", "1"): 0,
        ("memory_total_bytes", "0"): 80 * 2**30,
        ("memory_total_bytes", "1"): 80 * 2**30,
        ("temperature_celsius", "0"): 61,
        ("temperature_celsius", "1"): 30,
    }


def test_without_the_library_there_is_no_series(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it fails
    assert list(looked().collect()) == []


def test_without_a_driver_there_is_no_series_and_the_reason_is_logged(driver: Driver, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    driver.faults["init"] = NVMLError("NVML Shared Library Not Found")
    assert list(looked().collect()) == []
    assert [record.fields for record in caplog.records] == [{"reason": "NVML Shared Library Not Found"}]  # type: ignore[attr-defined]


def test_without_a_device_there_is_no_series(driver: Driver):
    driver.gpus = ()
    assert list(looked().collect()) == []


def test_before_the_first_answer_there_is_no_series(driver: Driver):
    assert list(Gpus().collect()) == []


def test_what_a_gpu_does_not_tell_is_no_number_and_logged_once(driver: Driver, caplog: pytest.LogCaptureFixture):
    gpus = looked()
    driver.faults["utilization"] = NVMLError("Not Supported")
    for _ in range(3):
        gpus.look()
    values = shown(gpus)
    assert {key for key, value in values.items() if math.isnan(value)} == {
        *(("utilization_ratio", "0"), ("utilization_ratio", "1"))
    }
    assert [record.fields["gpu"] for record in caplog.records] == [0, 1]  # type: ignore[attr-defined]
    del driver.faults["utilization"]
    gpus.look()
    assert shown(gpus)["utilization_ratio", "0"] == 0.37


def test_a_gpu_that_is_lost_breaks_no_scrape(driver: Driver):
    gpus = looked()
    driver.faults = dict.fromkeys(("utilization", "memory", "temperature"), NVMLError("GPU is lost"))
    gpus.look()
    assert len(shown(gpus)) == 8 and all(math.isnan(value) for value in shown(gpus).values())


def test_a_driver_that_hangs_leaves_no_old_number_behind(driver: Driver):
    seconds = 0.0
    gpus = looked(clock=lambda: seconds)
    seconds = FRESH_S
    assert shown(gpus)["temperature_celsius", "0"] == 61
    seconds = FRESH_S + 0.1
    assert len(shown(gpus)) == 8 and all(math.isnan(value) for value in shown(gpus).values())
