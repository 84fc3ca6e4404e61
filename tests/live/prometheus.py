"""A real Prometheus on a free port, with rules of one's own; stopped by its pid."""

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import yaml

PROGRAM = shutil.which("prometheus")


class Sample(NamedTuple):
    labels: dict[str, str]
    value: float


class Alert(NamedTuple):
    """labels: alertname and severity among them.  state: pending or firing.  active_at: as RFC 3339 has it."""

    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    active_at: str


class Prometheus:
    """Scrapes one target. Used as a context manager, or by start() and stop().

    folder: of its own, for its configuration, data and log.  target: host:port of a /metrics.  rules: rule files.
    interval: between scrapes, and between evaluations of rules that name none, as Prometheus writes durations.
    job: the label of the target's series.
    """

    def __init__(
        self, folder: Path, target: str, rules: Sequence[Path] = (), interval: str = "1s", job: str = "signalserve"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = folder / "prometheus.log"
        self.url = f"http://127.0.0.1:{_free_port()}"
        self.process: subprocess.Popen[bytes] | None = None
        self._config = folder / "prometheus.yml"
        content = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(path.resolve()) for path in rules],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [target]}]}],
        }
        self._config.write_text(yaml.safe_dump(content))

    def start(self) -> Self:
        """Until it is ready. Raises AssertionError with its log where it is not within 30 s."""
        assert PROGRAM is not None, "expected a program `prometheus` on PATH: apt-get install prometheus"
        command = [
            PROGRAM,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 30
        while not self._is_ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output()}"
            assert time.monotonic() < deadline, f"not ready within 30 s:\n{self.output()}"
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Ask it to end, and wait; a second call does nothing."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """The samples of an instant query. at: seconds since the epoch, else now. Raises ValueError for bad PromQL."""
        moment = {} if at is None else {"time": str(at)}
        data = self._get("query", query=expression, **moment)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in data["result"]]

    def query_range(self, expression: str, start: float, end: float, step: str = "15s") -> list[list[float]]:
        """The values of each series over a span of seconds since the epoch. Raises ValueError for bad PromQL."""
        data = self._get("query_range", query=expression, start=str(start), end=str(end), step=step)
        return [[float(value) for _, value in one["values"]] for one in data["result"]]

    def alerts(self, state: str = "firing") -> list[Alert]:
        """The alerts in a state."""
        found = [
            Alert(one["labels"], one["annotations"], one["state"], one["activeAt"])
            for one in self._get("alerts")["alerts"]
        ]
        return [alert for alert in found if alert.state == state]

    def rule_faults(self) -> dict[str, str]:
        """Rule -> why its last evaluation failed; nothing where all is well."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")}

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def _get(self, what: str, **parameters: str) -> Any:
        response = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, trust_env=False, timeout=30)
        answer = response.json()
        if answer["status"] != "success":
            raise ValueError(f"{parameters}: {answer['errorType']}: {answer['error']}")
        return answer["data"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
