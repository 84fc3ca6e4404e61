"""A pass over a series: every window once, in order, whatever runs at once."""

import threading
import time

import numpy as np
import pytest
from stores import raw_window, write_model

from export.forward import BATCH, forward
from export.windows import windows_ending_at
from signalserve.bundle import Bundle, load_bundle
from signalserve.engine import Engine, Output, TorchEngine

ROWS = np.concatenate([raw_window(seed=seed) for seed in range(10)]).astype(np.float64)  # (600, 72)
ENDS = np.arange(599, 58, -1)
"""541 windows, the latest first: some whole batches and a part of one."""


class Counting(Engine):
    """Answers with each window's last value, later batches sooner, and counts the batches."""

    name, device = "counting", "cpu"

    def __init__(self) -> None:
        self.batches = 0
        self._lock = threading.Lock()

    def _run(self, windows: np.ndarray) -> Output:
        with self._lock:
            self.batches += 1
            number = self.batches
        time.sleep(0.02 if number % 2 else 0.0)
        last = np.repeat(windows[:, -1, :1].astype(np.float64), 3, axis=1)
        return Output(last, last)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_model(tmp_path_factory.mktemp("store"), hidden=4, layers=1))


def test_a_pass_is_the_engine_on_every_window_in_the_order_asked_for(bundle: Bundle):
    engine = TorchEngine(bundle, "cpu")
    whole = engine.predict_rows(windows_ending_at(ROWS.astype(np.float32), ENDS, 60))
    for given in (engine, None):
        output = forward(bundle, ROWS, ENDS, engine=given)
        np.testing.assert_allclose(output.raw_logits, whole.raw_logits, atol=1e-5)
        np.testing.assert_allclose(output.probabilities, whole.probabilities, atol=1e-6)


def test_batches_that_end_out_of_order_are_put_in_order(bundle: Bundle):
    output = forward(bundle, ROWS, ENDS, engine=Counting())
    np.testing.assert_array_equal(output.raw_logits[:, 0], ROWS.astype(np.float32)[ENDS, 0])


def test_progress_tells_of_every_window(bundle: Bundle):
    told: list[int] = []
    forward(bundle, ROWS, ENDS, engine=Counting(), progress=told.append)
    assert told == [BATCH] * (len(ENDS) // BATCH) + [len(ENDS) % BATCH]


def test_an_interrupt_keeps_the_remaining_batches_from_running(bundle: Bundle):
    engine = Counting()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    many = np.tile(ENDS, 20)
    with pytest.raises(KeyboardInterrupt):
        forward(bundle, ROWS, many, engine=engine, progress=interrupt)
    assert engine.batches < len(many) / BATCH / 2
