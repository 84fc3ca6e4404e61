"""What is measured over HTTP: this project's service and its peers, one class each. A new peer is a new class here."""

import abc
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
from load import HttpRequest
from programs import ROOT, Program, ProgramError, free_ports
from subject import WEIGHTS, Form, Subject

from signalserve.journal import spool_of
from signalserve.journal.reading import open_journal, waiting_bytes

START_S = 180.0
SETTLE_S = 60.0
AGREEMENT = 1e-5  # of a probability: the contract's bound for float32


class Server(abc.ABC):
    """A program that answers. Used as a context manager: leaving it stops it.

    name: as the tables call it.  note: what one should know of it to judge the figures.  ports: where it listens.
    """

    name: str
    note: str = ""
    ports: Sequence[int]
    program: Program

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.program.__exit__(*exception)

    @abc.abstractmethod
    def wait(self) -> float:
        """Until it answers; seconds from its start."""

    @abc.abstractmethod
    def request(self, form: Form) -> HttpRequest | None:
        """How to ask it in this form; None where it cannot be asked so."""

    @abc.abstractmethod
    def role(self, process: psutil.Process) -> str:
        """What one of its processes does."""

    def process(self, role: str) -> psutil.Process:
        """The first of its processes that does this."""
        return next(one for one in self.program.processes() if self.role(one) == role)

    def answer(self, form: Form) -> Mapping[str, Any] | None:
        """Its answer to one request; None where it refuses, or is not there."""
        request = self.request(form)
        assert request is not None
        url = f"http://{request.host}:{request.port}{request.path}"
        try:
            response = httpx.post(
                url, content=request.body.read_bytes(), headers=dict(request.headers), timeout=5.0, trust_env=False
            )
        except httpx.HTTPError:
            return None
        return response.json() if response.status_code == 200 else None


class Signalserve(Server):
    """The whole service as `make serve` starts it: frontend, four workers, watcher and its golden probes.

    journal: the folder it keeps beside its settings, None where nothing is recorded.
    """

    def __init__(
        self,
        model_store: Path,
        settings: Path,
        name: str = "signalserve",
        *,
        records: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        """options: more of `signalserve serve`."""
        self.name = name
        self.journal = settings.parent / "journal" if records else None
        first = free_ports()
        self.ports = range(first, first + 6)
        self.url = f"http://127.0.0.1:{first}"
        self.watcher_url = f"http://127.0.0.1:{first + 3}"
        command = [sys.executable, "-m", "signalserve.commands.main", "serve"]
        command += ["--model-store", str(model_store.resolve()), "--settings", str(settings.resolve())]
        command += ["--port", str(first), "--samples", str(settings.parent / "samples")]
        command += ["--journal", str(self.journal or "none"), *options]
        self.program = Program(name, command)

    def wait(self) -> float:
        """Until every endpoint has answered every symbol's golden window correctly."""
        return self.program.wait_until(self.is_ready, START_S)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.watcher_url}/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def settle(self) -> None:
        """Until the watcher has stored what the workers wrote. Raises ProgramError where that takes SETTLE_S."""
        if self.journal is None:
            return
        deadline = time.monotonic() + SETTLE_S
        with closing(open_journal(self.journal)) as connection:
            while waiting := waiting_bytes(connection, spool_of(self.journal)):
                if time.monotonic() > deadline:
                    raise ProgramError(f"{self.name}: {waiting:,} bytes still wait\n{self.program.log_tail()}")
                time.sleep(0.05)

    def request(self, form: Form) -> HttpRequest:
        sample = form.sample
        return HttpRequest(self.ports[0], f"/predictions/{sample.endpoint}", sample.path, sample.headers)

    def role(self, process: psutil.Process) -> str:
        command = " ".join(process.cmdline())
        if "org.pytorch.serve.ModelServer" in command:
            return "frontend (JVM)"
        if "model_service_worker" in command:  # it works in its extracted archive, whose manifest names the model
            manifest = json.loads((Path(process.cwd()) / "MAR-INF" / "MANIFEST.json").read_text())
            return f"worker of {manifest['model']['modelName']}"
        return "watcher" if " watcher " in command else "launcher"


class FastApi(Server):
    """A plain service of the same models (`peer_fastapi.py`), with as many processes as the ensemble has workers."""

    name = "FastAPI"

    def __init__(self, subject: Subject, workers: int = 2) -> None:
        self._subject = subject
        self.ports = [free_ports()]
        quick = [module for module in ("uvloop", "httptools") if importlib.util.find_spec(module)]
        with_what = " and ".join(quick) or "neither uvloop nor httptools (not installed)"
        self.note = f"uvicorn, {workers} workers, with {with_what}"
        manifest = subject.manifest
        models = [{"path": str(subject.onnx(generation)), "weight": share} for generation, share in WEIGHTS.items()]
        served = {"symbol": manifest.symbol, "window": [manifest.window, len(manifest.columns)], "models": models}
        command = [sys.executable, str(ROOT / "bench" / "peer_uvicorn.py"), "peer_fastapi:app"]
        command += ["--port", str(self.ports[0]), "--workers", str(workers)]
        environment = {"PEER_MODELS": json.dumps(served), "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
        self.program = Program(self.name, command, environment)

    def wait(self) -> float:
        form = self._subject.forms["npy"]
        return self.program.wait_until(lambda: self.answer(form) is not None, START_S)

    def request(self, form: Form) -> HttpRequest | None:
        return HttpRequest(self.ports[0], "/predict", form.sample.path, form.sample.headers) if form.is_plain else None

    def role(self, process: psutil.Process) -> str:
        command = " ".join(process.cmdline())
        if "resource_tracker" in command:
            return "resource tracker"
        return "worker" if "spawn_main" in command else "parent"


def largest_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Between two answers, of any class's probability."""
    pairs = zip(one["probabilities"].values(), other["probabilities"].values(), strict=True)
    return max(abs(a - b) for a, b in pairs)


PEERS: Sequence[Callable[[Subject], Server]] = (FastApi,)
"""What the service is measured beside, in the order of the tables."""
