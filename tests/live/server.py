"""The real service on free ports: started as `make serve` starts it, stopped by its pid."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]


def strict_json(text: str | bytes) -> Any:
    """JSON as RFC 8259 has it: NaN and Infinity are an error."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def free_ports() -> int:
    """The first of six free ports in a row."""
    for port in range(20000 + os.getpid() % 5000, 60000, 10):
        try:
            for offset in range(6):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
    raise AssertionError("no six free ports in a row")


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    """Until `what` holds; fails when that takes longer than allowed."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def copy_store(folder: Path, store: Path = ROOT / "model_store") -> Path:
    """The bundles of a model store in a folder of our own, where archives may be built."""
    shutil.copytree(store / "bundles", folder / "bundles")
    return folder


def write_config(path: Path, **changes: str) -> Path:
    """config.properties with some batch settings changed, e.g. batchSize="8"."""
    text = (ROOT / "config.properties").read_text()
    for key, value in changes.items():
        text, count = re.subn(rf'"{key}": \d+', f'"{key}": {value}', text)
        assert count == 3, f"{key} stands {count} times in config.properties"
    path.write_text(text)
    return path


class Server:
    """A running service. folder: of its own, for its settings and temporary files.  store: with the models."""

    def __init__(
        self,
        folder: Path,
        *,
        store: Path,
        port: int | None = None,
        config: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = port or free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.watcher = f"http://127.0.0.1:{self.port + 3}"
        self.store = store
        self.journal = folder / "journal"
        self.options = options
        self.settings = folder / "serving.yaml"
        if not self.settings.exists():
            shutil.copy(ROOT / "serving.yaml", self.settings)
        self.config = config or ROOT / "config.properties"
        self.log = folder / "serve.log"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True, **environment: str) -> "Server":
        command = [
            *(sys.executable, "-m", "signalserve.commands.main", "serve"),
            *("--model-store", str(self.store), "--settings", str(self.settings)),
            *("--config", str(self.config), "--samples", str(self.folder / "requests")),
            *("--journal", str(self.journal)),
            *self.options,
        ]
        own = {**os.environ, "PORT": str(self.port), "TMPDIR": str(self.temporary), **environment}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=own, cwd=ROOT)
        if wait:
            self.wait_until_shown()
        return self

    def wait_until_shown(self, seconds: float = 120) -> None:
        """Until it has printed its last line."""
        deadline = time.monotonic() + seconds
        while "Ctrl-C stops everything." not in self.output():
            assert self.process is not None
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output()}"
            assert time.monotonic() < deadline, f"not ready in {seconds} s:\n{self.output()}"
            time.sleep(0.05)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_end(self, seconds: float = 30) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send the signal and wait; returns the seconds it took."""
        assert self.process is not None
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - started

    def processes(self) -> list[psutil.Process]:
        """Every process of this service, told by the temporary folder in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR", "").startswith(str(self.temporary)):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def workers(self, endpoint: str) -> list[psutil.Process]:
        """The TorchServe workers of one endpoint."""
        return [
            process
            for process in self.processes()
            if "model_service_worker.py" in " ".join(process.cmdline()) and self._serves(process, endpoint)
        ]

    @staticmethod
    def _serves(process: psutil.Process, endpoint: str) -> bool:
        return (Path(process.cwd()) / f"{endpoint}.py").exists()

    def ask(self, endpoint: str, content: bytes | object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """One request; content that is not bytes goes as JSON."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            return ask(client, f"{self.url}/predictions/{endpoint}", content, headers)

    def watcher_process(self) -> psutil.Process:
        return next(process for process in self.processes() if "watcher" in process.cmdline())

    def metrics(self) -> dict[str, float]:
        """This project's metrics: 'name{labels}' -> value."""
        text = httpx.get(f"{self.watcher}/metrics", trust_env=False, timeout=30).text
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


def ask(
    client: httpx.Client, url: str, content: bytes | object, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    if not isinstance(content, bytes):
        content, headers = json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})}
    return client.post(url, content=content, headers=dict(headers or {}))
