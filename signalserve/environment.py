"""The environment variables by which the service's processes find each other. `signalserve serve` sets all of them."""

from collections.abc import Mapping
from pathlib import Path

SETTINGS_VARIABLE = "SIGNALSERVE_SETTINGS"
"""Where serving.yaml is."""

RUN_VARIABLE = "SIGNALSERVE_RUN_FOLDER"
"""The folder of one run of the service, deleted at its end."""

LAST_GOOD = "last-good-serving.yaml"
"""In the run folder: the serving.yaml last in force, for a worker that starts while the file is wrong."""

LOAD_FAILED = "load-failed"
"""In the run folder: why a worker could not load, for the launcher to say."""

PROBE_VARIABLE = "SIGNALSERVE_PROBE_SECRET"
"""What marks a request as a golden probe, or as one of the service's own processes; made anew at each start."""

PROBE_HEADER = "x-signalserve-probe"
"""The HTTP header that carries it."""

JOURNAL_VARIABLE = "SIGNALSERVE_JOURNAL"
"""The journal's folder; without it nothing is recorded, and guardrails forget at the end of a run."""

WATCHER_VARIABLE = "SIGNALSERVE_WATCHER"
"""Address of the watcher, such as http://127.0.0.1:8083, to which workers hand outcomes."""

ENGINE_VARIABLE = "SIGNALSERVE_ENGINE"
"""auto, torch or onnxruntime."""

DEVICE_VARIABLE = "SIGNALSERVE_DEVICE"
"""auto (the GPU that TorchServe gives a worker, else the CPU), cpu or cuda:N."""

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
"""ONNX Runtime's own name: from its import on it reports to its makers and keeps files at home, unless this is set."""

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers count, one file a process; the name is prometheus_client's."""


def default_settings(environ: Mapping[str, str]) -> Path:
    """The serving.yaml that is meant where nobody names one: $SIGNALSERVE_SETTINGS, else the one in this folder."""
    return Path(environ.get(SETTINGS_VARIABLE) or "serving.yaml")
