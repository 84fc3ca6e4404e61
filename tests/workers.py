"""Services as the workers of one endpoint run them, in this process, with a journal and guardrails that they share."""

import json
from pathlib import Path
from typing import Any

from stores import BTC, request_body, write_model, write_settings, write_store

from signalserve.journal import spool_of
from signalserve.journal.lines import Line, decode_line
from signalserve.service import RawRequest, Reply, Service

JSON = {"content-type": "application/json"}
SECRET = "a-secret"


class Worker:
    """One of the workers of an endpoint; those of one folder share what a real one's share."""

    def __init__(self, root: Path, home: Path, endpoint: Any = "ensemble", settings: Any = "", **options: Any) -> None:
        path = write_settings(home / "serving.yaml", settings)
        self.service = Service.load(
            *(root, endpoint),
            **{"settings_path": path, "engine": "torch", "device": "cpu", "probe_secret": SECRET, **options},
            run_folder=home,
            journal=home / "journal",
        )

    def send(self, body: Any = None, **headers: str) -> Reply:
        body = request_body() if body is None else body
        [reply] = self.service.answer([RawRequest(json.dumps(body).encode(), {**JSON, **headers})])
        return reply

    def ask(self, body: Any = None, **headers: str) -> dict[str, Any]:
        reply = self.send(body, **headers)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)


def lines_of(home: Path) -> list[Line]:
    files = sorted(spool_of(home / "journal").glob("*.ndjson"))
    return [decode_line(raw) for file in files for raw in file.read_bytes().splitlines()]


def broken_v8(root: Path, **v6_fixed: Any) -> Path:
    """V8's logits lie far beyond the clamp, as where a scaler was forgotten; V6-fixed is well unless the test says."""
    write_model(write_store(root, (BTC,), ("v6_fixed",), **v6_fixed), "v8", gain=1e4)
    return root
