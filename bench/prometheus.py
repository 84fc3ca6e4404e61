"""A Prometheus beside a service: the project's own configuration and rules, its targets moved to free ports."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import yaml
from programs import ROOT, Program, ProgramError, free_ports
from servers import Signalserve

FOLDER: Final = ROOT / "monitoring" / "prometheus"
START_S: Final = 60.0


class Prometheus:
    """Used as a context manager: leaving it stops it."""

    name = "Prometheus"

    def __init__(self, service: Signalserve, folder: Path) -> None:
        """folder: for its configuration and data. Raises ProgramError where it is not installed."""
        program = shutil.which("prometheus")
        if program is None:
            raise ProgramError("expected a program `prometheus` on PATH: apt-get install prometheus")
        address = f"127.0.0.1:{free_ports()}"
        self._url = f"http://{address}"
        self._client = httpx.Client(base_url=self._url, trust_env=False, timeout=10)
        inference = service.ports[0]
        targets = {
            "signalserve": service.watcher_url.removeprefix("http://"),
            "torchserve": f"127.0.0.1:{inference + 2}",
            "prometheus": address,
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(moved(yaml.safe_load((FOLDER / path.name).read_text()), targets)))
        self.program = Program(
            self.name,
            [
                program,
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
        )

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()
        self.program.__exit__(*exception)

    def wait(self) -> float:
        """Until it has scraped every target; seconds from its start."""
        return self.program.wait_until(lambda: self._is_ready() and not self.faults(), START_S)

    def process(self) -> psutil.Process:
        return self.program.processes()[0]

    def faults(self) -> list[str]:
        """Targets that it could not scrape and rules that it could not evaluate the last time, in words."""
        targets = self._get("targets")["activeTargets"]
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return [
            *(
                f"Prometheus: {one['scrapePool']} is {one['health']}: {one['lastError']}"
                for one in targets
                if one["health"] != "up"
            ),
            *(f"Prometheus: rule {one['name']}: {one['lastError']}" for one in rules if one.get("lastError")),
        ]

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def _get(self, what: str) -> Any:
        return self._client.get(f"/api/v1/{what}").raise_for_status().json()["data"]


def moved(content: Mapping[str, Any], targets: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with its intervals, rules and jobs. targets: job -> host:port, in place of what it names."""
    return {
        **content,
        "rule_files": [str(FOLDER / name) for name in content["rule_files"]],
        "scrape_configs": [
            {"job_name": job["job_name"], "static_configs": [{"targets": [targets[job["job_name"]]]}]}
            for job in content["scrape_configs"]
        ],
    }
