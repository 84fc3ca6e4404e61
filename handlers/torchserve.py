"""Between TorchServe and a Service: its context and rows in, its statuses and bodies out.

`ts` itself is never imported: a context is what it does, so that the tests need no server and another server can take
TorchServe's place.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from signalserve.environment import (
    DEVICE_VARIABLE,
    ENGINE_VARIABLE,
    JOURNAL_VARIABLE,
    LOAD_FAILED,
    PROBE_VARIABLE,
    RUN_VARIABLE,
    WATCHER_VARIABLE,
    default_settings,
)
from signalserve.log import event, log_to_stderr
from signalserve.service import Endpoint, RawRequest, Reply, Service
from signalserve.watched import keep_text


class Context(Protocol):
    """What TorchServe 0.12 hands a handler, as far as it is used here."""

    system_properties: Mapping[str, Any]

    def get_all_request_header(self, idx: int) -> Mapping[str, Any]: ...
    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...
    def set_response_content_type(self, idx: int, value: str) -> None: ...


def load_service(context: Context, endpoint: Endpoint) -> Service:
    """The service of the archive that TorchServe extracted. Raises where it cannot answer correctly."""
    # every line that `ts` logs at info crosses a pipe to the frontend, several a request, and is dropped there
    logging.getLogger().setLevel(logging.WARNING)
    log_to_stderr()  # TorchServe passes a worker's stderr on to its model log
    run_folder = Path(os.environ[RUN_VARIABLE]) if RUN_VARIABLE in os.environ else None
    try:
        return Service.load(
            Path(context.system_properties["model_dir"]),
            endpoint,
            settings_path=default_settings(os.environ),
            engine=os.environ.get(ENGINE_VARIABLE, "auto"),
            device=device_of(context),
            probe_secret=os.environ.get(PROBE_VARIABLE),
            run_folder=run_folder,
            journal=Path(os.environ[JOURNAL_VARIABLE]) if JOURNAL_VARIABLE in os.environ else None,
            watcher_url=os.environ.get(WATCHER_VARIABLE),
        )
    except Exception as error:
        # TorchServe says only "Worker died", and tries again for ever
        event(logging.ERROR, "load_failed", endpoint=endpoint, reason=str(error), kind=type(error).__name__)
        if run_folder:
            keep_text(run_folder / LOAD_FAILED, f"{endpoint}: {error}")
        raise


def device_of(context: Context) -> str:
    """'auto' becomes the GPU that TorchServe gave this worker, or the CPU where it gave none."""
    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted != "auto":
        return wanted
    gpu = context.system_properties.get("gpu_id")
    return f"cuda:{gpu}" if gpu is not None else "cpu"


def read_rows(rows: Sequence[Mapping[str, Any]], context: Context) -> list[RawRequest]:
    """One RawRequest a row. A request without a content type arrives without a body."""
    return [
        RawRequest(
            row.get("body", row.get("data")),
            {name.lower(): v for name, v in context.get_all_request_header(i).items() if isinstance(v, str)},
        )
        for i, row in enumerate(rows)
    ]


def write_replies(replies: Sequence[Reply], context: Context) -> list[bytes]:
    """Set each row's status and content type; returns the bodies."""
    for index, reply in enumerate(replies):
        context.set_response_status(reply.status, "OK" if reply.status == 200 else "Refused", index)
        context.set_response_content_type(index, "application/json")
    return [reply.body for reply in replies]
