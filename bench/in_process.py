"""The same predictions without a server, in plain processes: what serving costs is the difference."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from load import Summary, Tally
from subject import WEIGHTS, Form, Subject

if TYPE_CHECKING:
    from signalserve.service import Service


class InProcess:
    """Processes that predict by themselves, as many as the ensemble has workers.

    form: what to repeat. None: both models on an array that is there already, and the pool of their answers.
    A form: Service.answer, from the body's bytes to the answer's.
    """

    def __init__(self, subject: Subject, settings: Path, processes: int = 2) -> None:
        self._subject, self._settings = subject, settings
        # one executor each: two tasks given to one executor may both go to the same process
        self._executors = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(processes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._executors:
            executor.shutdown(cancel_futures=True)

    def measure(self, form: Form | None, seconds: float) -> Summary:
        """In one process."""
        return self._run(form, seconds, self._executors[:1])[0]

    def measure_together(self, form: Form | None, seconds: float) -> Summary:
        """In all processes at the same time: predictions a second of all of them, latencies of one."""
        summaries = self._run(form, seconds, self._executors)
        return replace(summaries[0], per_second=sum(summary.per_second for summary in summaries))

    def _run(self, form: Form | None, seconds: float, executors: Sequence[ProcessPoolExecutor]) -> list[Summary]:
        warm_up = [executor.submit(_repeat, self._subject, self._settings, form, 0.1) for executor in executors]
        for future in warm_up:
            future.result()
        futures = [executor.submit(_repeat, self._subject, self._settings, form, seconds) for executor in executors]
        return [future.result() for future in futures]


def _repeat(subject: Subject, settings: Path, form: Form | None, seconds: float) -> Summary:
    service = _service(subject.archive, settings)
    once = _models_alone(service, subject) if form is None else _whole_answer(service, form)
    tally = Tally()
    gc.disable()  # as in the generator
    processor = time.process_time()
    began = now = time.perf_counter()
    while now < began + seconds:
        once()
        done = time.perf_counter()
        tally.add(done - now)
        now = done
    count = len(tally.latencies_us)
    return tally.summary(now - began, answered=count, cpu_ms=(time.process_time() - processor) * 1000 / count)


@cache
def _service(archive: Path, settings: Path) -> "Service":
    from signalserve.environment import METRICS_VARIABLE

    folder = archive.parent / "metrics" / str(os.getpid())
    folder.mkdir(parents=True)
    os.environ[METRICS_VARIABLE] = str(folder)  # read when prometheus_client is imported: counting costs what it does
    from signalserve.service import Service

    return Service.load(archive, "ensemble", settings_path=settings, engine="onnxruntime", device="cpu")


def _models_alone(service: "Service", subject: Subject) -> Callable[[], object]:
    from signalserve.ensemble import pool

    models = service.models[subject.manifest.symbol]
    windows = np.load(subject.forms["npy"].sample.path)[None]  # (1, window, features)
    weights = np.array([WEIGHTS[generation] for generation in models])

    def once() -> object:
        return pool(
            np.stack([m.engine.predict(windows).probabilities for m in models.values()]), weights, "linear", 1.0
        )

    return once


def _whole_answer(service: "Service", form: Form) -> Callable[[], object]:
    from signalserve.service import RawRequest

    headers = {name.lower(): value for name, value in form.sample.headers.items()}
    raw = [RawRequest(bytearray(form.sample.path.read_bytes()), headers)]
    if service.answer(raw)[0].status != 200:
        raise RuntimeError(f"{form.name}: {service.answer(raw)[0].body.decode()}")
    return lambda: service.answer(raw)
