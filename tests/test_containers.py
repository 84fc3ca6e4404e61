"""The container files by what can be told without an engine: nothing here builds or starts a container."""

import argparse
import fnmatch
import functools
import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

from launch import command, supervisor
from launch.ports import Ports, parse_port
from signalserve.journal import default_folder

REPO = Path(__file__).resolve().parent.parent
TARGETS = ("cpu", "gpu")
OURS = ("signalserve", "signalserve-gpu")
WATCHING = ("prometheus", "grafana")
PORTS = Ports(8080)


# --- reading the files -----------------------------------------------------------------------------------------------


@functools.cache
def compose() -> dict[str, Any]:
    return yaml.safe_load((REPO / "docker-compose.yml").read_text())


def services() -> dict[str, dict[str, Any]]:
    return compose()["services"]


@functools.cache
def compose_schema() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((REPO / "tests/schemas/compose-spec.json").read_text()))


class Step(NamedTuple):
    """One instruction of the Dockerfile. stage: the name of the stage it belongs to, "" before the first."""

    stage: str
    name: str
    value: str


@functools.cache
def dockerfile() -> tuple[Step, ...]:
    lines = [line for line in (REPO / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    steps, stage = [], ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "FROM":
            stage = value.partition(" AS ")[2]
        if name:
            steps.append(Step(stage, name, value.strip()))
    return tuple(steps)


def lineage(stage: str) -> list[str]:
    """A stage and those it is built on, up to the first."""
    bases = {step.stage: step.value.partition(" AS ")[0] for step in dockerfile() if step.name == "FROM"}
    names = []
    while stage in bases:
        names.append(stage)
        stage = bases[stage]
    return names


def in_force(target: str, name: str) -> str:
    """The last value of an instruction that holds once for an image, such as USER."""
    for stage in lineage(target):
        values = [step.value for step in dockerfile() if (step.stage, step.name) == (stage, name)]
        if values:
            return values[-1]
    return ""


def image_environment(target: str) -> dict[str, str]:
    stages = reversed(lineage(target))
    lines = [step.value for stage in stages for step in dockerfile() if (step.stage, step.name) == (stage, "ENV")]
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def copied_from_the_repo() -> list[str]:
    return [
        source
        for step in dockerfile()
        if step.name == "COPY" and not step.value.startswith("--from")
        for source in shlex.split(step.value)[:-1]
    ]


def is_ignored(path: str) -> bool:
    """As Docker reads .dockerignore: the last pattern that matches the path or a folder above it decides."""
    ignored = False
    for line in (REPO / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            anywhere = line.removeprefix("!").startswith("**/")
            parts = PurePosixPath(path).parts
            starts = range(len(parts)) if anywhere else [0]
            candidates = ["/".join(parts[start:end]) for start in starts for end in range(start + 1, len(parts) + 1)]
            depth = pattern.count("/")
            if any(fnmatch.fnmatch(name, pattern) for name in candidates if name.count("/") == depth):
                ignored = not line.startswith("!")
    return ignored


def parse_serve(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(arguments)


def health_check(target: str) -> list[str]:
    return json.loads(in_force(target, "HEALTHCHECK").partition("CMD ")[2])


def published() -> Iterator[tuple[str, int, int]]:
    """(host address, host port, container port) of every port that the compose file publishes."""
    for service in services().values():
        for port in service.get("ports", []):
            host, host_port, container_port = re.fullmatch(r"(.+):(\d+):(\d+)", port).groups()
            yield host, int(host_port), int(container_port)


# --- the compose file ------------------------------------------------------------------------------------------------


def test_the_compose_file_follows_the_compose_specification() -> None:
    assert [error.message for error in compose_schema().iter_errors(compose())] == []


def test_the_schema_would_notice_a_misspelt_key() -> None:
    misspelt = {**compose(), "services": {"signalserve": {**services()["signalserve"], "read_onyl": True}}}
    assert "read_onyl" in "".join(error.message for error in compose_schema().iter_errors(misspelt))


def test_every_port_is_published_on_the_hosts_loopback_only() -> None:
    assert {host for host, _, _ in published()} == {"127.0.0.1"}


def test_services_can_run_side_by_side() -> None:
    taken = [host_port for _, host_port, _ in published()]
    assert len(taken) == len(set(taken))


def test_only_predictions_metrics_and_readiness_are_published() -> None:
    ours = {container_port for name in OURS for container_port in _container_ports(services()[name])}
    assert ours == {PORTS.inference, PORTS.metrics, PORTS.watcher}


def _container_ports(service: Mapping[str, Any]) -> list[int]:
    return [int(port.rpartition(":")[2]) for port in service["ports"]]


def test_no_image_is_whatever_happens_to_be_the_latest() -> None:
    named = [service["image"] for service in services().values()]
    named += [step.value.partition("=")[2] for step in dockerfile() if step.name == "ARG" and not step.stage]
    for image in named:
        tag = image.rpartition("/")[2].partition(":")[2]
        assert tag and not tag.startswith("latest"), image


def journal_of(name: str) -> Path:
    """Where a service of the compose file keeps its journal."""
    service = services()[name]
    environment = image_environment(service["build"]["target"]) | service.get("environment", {})
    assert parse_serve(service["command"]).journal is None  # an option would hide it from `signalserve journal`
    return default_folder(environment)


def test_services_side_by_side_write_a_journal_each() -> None:
    assert len({journal_of(name) for name in OURS}) == len(OURS)


@pytest.mark.parametrize("name", OURS)
class TestOurService:
    def test_has_no_root_and_no_privilege(self, name: str) -> None:
        service = services()[name]
        assert service["user"] == "10001:10001"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"}

    def test_writes_to_nothing_but_a_bounded_tmp_and_its_journal(self, name: str) -> None:
        service = services()[name]
        assert service["read_only"] is True
        writable = [volume for volume in service["volumes"] if not volume.get("read_only")]
        assert writable == [{"type": "volume", "source": "journal", "target": "/var/lib/signalserve"}]
        [tmpfs] = service["tmpfs"]
        assert tmpfs.startswith("/tmp:") and "size=" in tmpfs

    def test_may_load_the_frontends_native_library_from_tmp(self, name: str) -> None:
        [tmpfs] = services()[name]["tmpfs"]
        assert "exec" in tmpfs.partition(":")[2].split(",")

    def test_keeps_the_model_store_of_its_image(self, name: str) -> None:
        targets = [PurePosixPath(volume["target"]) for volume in services()[name]["volumes"]]
        store = PurePosixPath(in_force("cpu", "WORKDIR"), "model_store")
        assert not any(store.is_relative_to(target) or target.is_relative_to(store) for target in targets)

    def test_sees_a_toggles_file_that_was_replaced_by_another(self, name: str) -> None:
        [volume] = [one for one in services()[name]["volumes"] if one["type"] == "bind"]
        settings = parse_serve(services()[name]["command"]).settings
        assert settings.parent == Path(volume["target"])  # a mounted file would stay the old one
        default = re.fullmatch(r"\$\{\w+:-(.+)\}", volume["source"])[1]
        assert (REPO / default / settings.name).is_file()

    def test_keeps_its_journal_in_a_volume_that_outlives_the_container(self, name: str) -> None:
        [volume] = [one for one in services()[name]["volumes"] if one["type"] == "volume"]
        assert volume["source"] in compose()["volumes"]
        assert journal_of(name).parent == Path(volume["target"])

    def test_asks_ready_as_its_image_does(self, name: str) -> None:
        service = services()[name]
        assert service["healthcheck"]["test"] == ["CMD", *health_check(service["build"]["target"])]

    def test_starts_a_command_that_serve_accepts(self, name: str) -> None:
        arguments = parse_serve(services()[name]["command"])
        assert arguments.host == "0.0.0.0"
        assert parse_port(arguments.port) == PORTS.inference

    def test_has_time_to_stop_and_bounds(self, name: str) -> None:
        service = services()[name]
        assert int(service["stop_grace_period"].removesuffix("s")) > 2 * supervisor.PATIENCE_S  # two children
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}

    def test_is_built_here_from_a_target_of_the_dockerfile(self, name: str) -> None:
        service = services()[name]
        assert service["build"]["target"] in TARGETS
        assert service["pull_policy"] == "build"


def test_only_the_gpu_service_reserves_a_gpu_and_it_takes_no_cpu_instead() -> None:
    cpu, gpu = (services()[name] for name in OURS)
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert gpu["profiles"] == ["gpu"]
    assert parse_serve(gpu["command"]).device == "cuda:0"
    assert "reservations" not in cpu["deploy"]["resources"]
    assert parse_serve(cpu["command"]).device == "cpu"


@pytest.mark.parametrize("name", WATCHING)
class TestWatching:
    def test_has_no_root_and_no_privilege(self, name: str) -> None:
        service = services()[name]
        assert not service["user"].startswith("0:")
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"}

    def test_writes_to_nothing_but_its_own_volume(self, name: str) -> None:
        service = services()[name]
        [writable] = [volume for volume in service["volumes"] if not volume.get("read_only")]
        assert service["read_only"] is True
        assert writable["type"] == "volume" and writable["source"] == name
        assert name in compose()["volumes"]

    def test_reads_what_monitoring_holds(self, name: str) -> None:
        sources = [Path(volume["source"]) for volume in services()[name]["volumes"] if volume["type"] == "bind"]
        assert sources and all(source.parts[0] == "monitoring" for source in sources)
        assert all((REPO / source).is_dir() for source in sources)

    def test_is_started_without_a_profile(self, name: str) -> None:
        assert "profiles" not in services()[name]

    def test_asks_itself_on_loopback_whether_it_is_healthy(self, name: str) -> None:
        program, *_, address = services()[name]["healthcheck"]["test"][1:]
        [port] = _container_ports(services()[name])
        assert program == "wget" and address.startswith(f"http://127.0.0.1:{port}/")

    def test_has_bounds(self, name: str) -> None:
        service = services()[name]
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_prometheus_and_grafana_are_published_where_people_look_for_them() -> None:
    ports = {name: _container_ports(services()[name]) for name in WATCHING}
    assert ports == {"prometheus": [9090], "grafana": [3000]}


def test_prometheus_reads_the_configuration_that_is_mounted() -> None:
    [mount] = [volume for volume in services()["prometheus"]["volumes"] if volume["type"] == "bind"]
    [config] = [word.partition("=")[2] for word in services()["prometheus"]["command"] if "--config.file" in word]
    assert (REPO / mount["source"] / PurePosixPath(config).relative_to(mount["target"])).is_file()


def test_prometheus_bounds_what_it_keeps() -> None:
    options = {word.partition("=")[0] for word in services()["prometheus"]["command"]}
    assert {"--storage.tsdb.retention.time", "--storage.tsdb.retention.size"} <= options


def test_prometheus_scrapes_services_and_ports_that_exist() -> None:
    config = yaml.safe_load((REPO / "monitoring/prometheus/prometheus.yml").read_text())
    found = {
        job["job_name"]: {(name, one["port"]) for one in job.get("dns_sd_configs", ()) for name in one["names"]}
        for job in config["scrape_configs"]
    }
    assert {name for name, _ in found["signalserve"]} == {name for name, _ in found["torchserve"]} == set(OURS)
    for name, port in set().union(*found.values()):
        assert port in _container_ports(services()[name]), name


def test_prometheus_misses_no_service_that_was_never_started() -> None:
    config = yaml.safe_load((REPO / "monitoring/prometheus/prometheus.yml").read_text())
    fixed = {
        target for job in config["scrape_configs"] for one in job.get("static_configs", ()) for target in one["targets"]
    }
    assert fixed == {"localhost:9090"}


def test_grafana_lets_everybody_look_and_nobody_change() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def grafana_password(given: str, folder: Path) -> str:
    """The password with which the compose file's entry point starts Grafana, which a script stands in for."""
    program, option, script = services()["grafana"]["entrypoint"]
    started = folder / "run.sh"
    started.write_text('#!/bin/sh\nprintf %s "$GF_SECURITY_ADMIN_PASSWORD"\n')
    started.chmod(0o755)
    command = [program, option, script.replace("$$", "$").replace("/run.sh", str(started))]
    environment = {"PATH": os.environ["PATH"], "GRAFANA_ADMIN_PASSWORD": given}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_grafanas_admin_has_the_password_that_was_given(tmp_path: Path) -> None:
    assert services()["grafana"]["environment"]["GRAFANA_ADMIN_PASSWORD"] == "${GRAFANA_ADMIN_PASSWORD:-}"
    assert grafana_password("pass word", tmp_path) == "pass word"


def test_grafanas_admin_has_a_password_that_nobody_knows_where_none_was_given(tmp_path: Path) -> None:
    first, second = grafana_password("", tmp_path), grafana_password("", tmp_path)
    assert first != second and len(first) == len(second) == 32


def test_grafana_opens_on_the_verdict() -> None:
    grafana = services()["grafana"]
    home = PurePosixPath(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    [source] = [v["source"] for v in grafana["volumes"] if v["target"] == str(home.parent)]
    assert (REPO / source / home.name).is_file()


# --- the Dockerfile --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
class TestTarget:
    def test_exists_on_python_3_11(self, target: str) -> None:
        assert lineage(target)[-1] == "base"
        assert "ARG PYTHON_IMAGE=python:3.11-slim" in (REPO / "Dockerfile").read_text().splitlines()

    def test_runs_as_a_fixed_user_that_is_not_root(self, target: str) -> None:
        assert in_force(target, "USER") == "10001:10001"

    def test_starts_a_command_that_serve_accepts(self, target: str) -> None:
        assert json.loads(in_force(target, "ENTRYPOINT")) == ["signalserve"]
        arguments = parse_serve(json.loads(in_force(target, "CMD")))
        assert arguments.host == "0.0.0.0"
        assert arguments.settings == Path("/config/serving.yaml")

    def test_is_stopped_by_the_signal_that_the_supervisor_takes(self, target: str) -> None:
        assert in_force(target, "STOPSIGNAL") == "SIGTERM"

    def test_builds_the_archives_before_it_gives_up_root(self, target: str) -> None:
        names = [(step.name, step.value) for step in dockerfile() if step.stage == target]
        built = next(i for i, (_, value) in enumerate(names) if "signalserve pack" in value)
        assert built < names.index(("USER", "10001:10001"))

    def test_writes_no_bytecode_when_it_runs(self, target: str) -> None:
        environment = " ".join(step.value for step in dockerfile() if step.name == "ENV" and step.stage == "base")
        assert "PYTHONDONTWRITEBYTECODE=1" in environment

    def test_holds_exactly_one_onnxruntime(self, target: str) -> None:
        [source] = re.findall(r"--from=(libraries-\w+)", " ".join(s.value for s in dockerfile() if s.stage == target))
        [lock] = [s.value.split()[0] for s in dockerfile() if s.stage == source and s.name == "COPY"]
        found = re.findall(r"^onnxruntime[\w-]*(?===)", (REPO / lock).read_text(), re.MULTILINE)
        assert found == [{"cpu": "onnxruntime", "gpu": "onnxruntime-gpu"}[target]]

    def test_owns_the_folder_whose_volume_takes_over_its_owner(self, target: str) -> None:
        assert default_folder(image_environment(target)) == Path("/var/lib/signalserve/journal")
        made = [step.value for step in dockerfile() if step.stage in lineage(target) and "install --dir" in step.value]
        assert len(made) == 1 and made[0].endswith("--owner 10001 --group 10001 /var/lib/signalserve")

    def test_exposes_what_the_compose_file_publishes(self, target: str) -> None:
        exposed = {int(port) for port in in_force(target, "EXPOSE").split()}
        assert exposed == {PORTS.inference, PORTS.metrics, PORTS.watcher}


def test_an_index_named_at_build_time_stays_out_of_the_images() -> None:
    named = {step.stage for step in dockerfile() if step.name == "ARG" and step.value.startswith("PIP_ARGS")}
    assert named and not named & {stage for target in TARGETS for stage in lineage(target)}


def test_what_is_copied_is_there_and_enters_the_build() -> None:
    sources = copied_from_the_repo()
    assert {source for source in sources if not (REPO / source).exists()} == set()
    assert {source for source in sources if is_ignored(source)} == set()


@pytest.mark.parametrize(
    "path",
    [
        ".git/HEAD",
        ".venv/bin/python",
        ".env",
        "var/requests/rows.json",
        "shared/contract.md",
        "tests/conftest.py",
        "model_store/v8.mar",
        "model_store/archives.json",
        "signalserve/__pycache__/bundle.cpython-311.pyc",
        "signalserve.egg-info/PKG-INFO",
        "build/lib/signalserve/bundle.py",
    ],
)
def test_what_an_image_must_not_hold_never_enters_the_build(path: str) -> None:
    assert is_ignored(path)


def test_an_installed_package_brings_its_files_that_are_not_python() -> None:
    setup = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = {f"{package}/{glob}" for package, globs in setup.get("package-data", {}).items() for glob in globs}
    files = [path for package in setup["packages"]["find"]["include"] for path in REPO.glob(f"{package[:-1]}/**/*.*")]
    names = [str(path.relative_to(REPO)) for path in files if path.suffix not in {".py", ".pyc"}]
    assert [name for name in names if not any(fnmatch.fnmatch(name, glob) for glob in packed)] == []


# --- the health check, run -------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server on a free port that answers every GET with this status; its port and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def run_health_check(port: int) -> int:
    program, *arguments = health_check("cpu")
    assert program == "python" and str(PORTS.watcher) in arguments[-1]
    arguments[-1] = arguments[-1].replace(str(PORTS.watcher), str(port))
    environment = {"http_proxy": "http://192.0.2.1:9"}  # a proxy must not be asked about loopback
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, timeout=20).returncode


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_ready_and_believes_its_status(status: int, is_healthy: bool) -> None:
    with answering(status) as (port, asked):
        assert (run_health_check(port) == 0) is is_healthy
    assert asked == ["/ready"]


def test_the_health_check_fails_where_nobody_listens() -> None:
    with answering(200) as (port, _):
        pass
    assert run_health_check(port) == 1


# --- the hooks before a commit ---------------------------------------------------------------------------------------


def test_hooks_are_the_make_targets_that_ci_runs() -> None:
    repos = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    called = [re.fullmatch(r"make (\S+)", hook["entry"])[1] for hook in repos[0]["hooks"]]
    check = re.search(r"^check: ([^#]+)", (REPO / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert called == check
