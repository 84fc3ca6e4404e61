"""The Prometheus of the benches differs from the one that is shipped in its addresses alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from programs import ProgramError
from prometheus import FOLDER, Prometheus, moved

TARGETS = {"signalserve": "127.0.0.1:1", "torchserve": "127.0.0.1:2", "prometheus": "127.0.0.1:3"}
SHIPPED = yaml.safe_load((FOLDER / "prometheus.yml").read_text())


def test_intervals_and_rules_are_those_that_are_shipped() -> None:
    content = moved(SHIPPED, TARGETS)
    assert content["global"] == SHIPPED["global"]
    assert content["rule_files"] == [str(FOLDER / "rules.yml")]
    assert (FOLDER / "rules.yml").exists()


def test_every_job_scrapes_the_service_that_is_measured() -> None:
    jobs = moved(SHIPPED, TARGETS)["scrape_configs"]
    assert {job["job_name"]: job["static_configs"] for job in jobs} == {
        name: [{"targets": [address]}] for name, address in TARGETS.items()
    }


def test_without_the_program_it_is_said_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    service: Any = SimpleNamespace()
    with pytest.raises(ProgramError, match="apt-get install prometheus"):
        Prometheus(service, tmp_path)
