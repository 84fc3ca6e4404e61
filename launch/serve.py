"""The service in the foreground: TorchServe and the watcher, ready when their golden windows were answered rightly."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx

from export.archives import build_from, load_in_force
from launch import journal, torchserve
from launch.liveness import Answers
from launch.ports import Ports, parse_port
from launch.samples import write_samples
from launch.supervisor import Child, Died, Stopped, Supervisor
from signalserve.bundle import Bundle, Manifest
from signalserve.engine import check_device
from signalserve.environment import LAST_GOOD, LOAD_FAILED, METRICS_VARIABLE, PROBE_HEADER
from signalserve.models import check_gates, check_settings, gate_words, symbol_words
from signalserve.settings import load_settings, read_text
from signalserve.skill import skill_words
from signalserve.watched import keep_text

READY_TIMEOUT_S = 120.0


def serve(args: argparse.Namespace) -> int:
    """Runs until a signal (returns 0) or until TorchServe ends by itself (returns 1). Raises OperatorError."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="signalserve-"))
    try:
        with Supervisor(say) as supervisor:
            try:
                _serve(args, folder, supervisor, started)
            except Stopped as signal:
                say(f"stopping on {signal}")
                return 0
            except Died as death:
                say(f"signalserve: {death}")
                return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def say(line: str) -> None:
    print(line, flush=True)


def _serve(args: argparse.Namespace, folder: Path, supervisor: Supervisor, started: float) -> None:
    ports = Ports(parse_port(args.port), args.host)
    ports.require_free()
    check_device(args.device)
    kept_in = journal.prepare(args.journal, {**os.environ, "PORT": str(ports.inference)}, say)
    manifests = _prepare(args)
    keep_text(folder / LAST_GOOD, read_text(args.settings))
    secret = secrets.token_hex(16)
    environment = torchserve.environment(
        folder, args, secret, os.environ, journal=kept_in, watcher_url=ports.reach(ports.watcher)
    )
    Path(environment[METRICS_VARIABLE]).mkdir()
    properties = torchserve.read_properties(args.config) | ports.properties()
    torchserve.write_properties(folder / "config.properties", properties)
    frontend = torchserve.command(
        folder, folder / "config.properties", args.model_store.resolve(), properties.get("vmargs", "")
    )
    supervisor.start(Child("TorchServe", frontend, environment))
    answers = Answers(ports.reach(ports.watcher), "/ready")
    supervisor.start(Child("the watcher", _watcher(args, ports), environment, restart=True, alive=answers))
    _wait_until_ready(ports, supervisor, folder / LOAD_FAILED)
    say(
        "signalserve answers correctly on every endpoint and symbol, "
        f"{time.monotonic() - started:.1f} s after its start\n"
    )
    _show(args, ports, manifests, folder, kept_in, secret)
    while True:
        supervisor.pause(0.5)


def _prepare(args: argparse.Namespace) -> list[Manifest]:
    """Everything that can be wrong before a process is started: settings, bundles, archives. Raises OperatorError."""
    settings = load_settings(args.settings)
    bundles = load_in_force(args.model_store, settings)
    check_gates(bundles, settings)
    available: dict[str, dict[str, Bundle]] = {}
    for bundle in bundles:
        available.setdefault(bundle.manifest.symbol, {})[bundle.manifest.generation] = bundle
    check_settings(settings, available)
    if build_from(args.model_store, bundles):
        say(f"built the archives in {args.model_store} from {len(bundles)} bundles")
    return [bundle.manifest for bundle in bundles]


def _watcher(args: argparse.Namespace, ports: Ports) -> list[str]:
    return [
        *(sys.executable, "-m", "signalserve.commands.main", "watcher"),
        *("--host", ports.host, "--port", str(ports.watcher)),
        *("--inference-url", ports.reach(ports.inference), "--model-store", str(args.model_store)),
        *("--keep-days", str(args.keep_days), "--keep-gb", str(args.keep_gb)),
        *("--days-between-false-alarms", str(args.days_between_false_alarms)),
        *("--statistics-every", str(args.statistics_every)),
    ]


def _wait_until_ready(ports: Ports, supervisor: Supervisor, load_failed: Path) -> None:
    """Raises Died with a worker's reason why it can't load, or with what is not ready after READY_TIMEOUT_S."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    waiting_for = "the watcher did not answer"
    with httpx.Client(base_url=ports.reach(ports.watcher), timeout=1.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            supervisor.pause(0.05)
            if load_failed.exists():
                raise Died(load_failed.read_text())
            try:
                response = client.get("/ready")
            except httpx.HTTPError:
                continue
            if response.status_code == 200:
                return
            waiting_for = "; ".join(f"{name}: {why}" for name, why in response.json()["not_ready"].items())
    raise Died(f"not ready after {READY_TIMEOUT_S:.0f} s: {waiting_for}")


def _show(
    args: argparse.Namespace,
    ports: Ports,
    manifests: list[Manifest],
    folder: Path,
    kept_in: Path | None,
    secret: str,
) -> None:
    """Where it listens, one curl for each way to ask with the answer it just got, and what the models are worth."""
    url = ports.reach(ports.inference)
    watcher, own = ports.reach(ports.watcher), ports.reach(ports.metrics)
    say(f"  predictions  {url}/predictions/v6_fixed   …/v8   …/ensemble")
    say(f"  readiness    {watcher}/ready")
    say(f"  metrics      {watcher}/metrics   TorchServe's own: {own}/metrics")
    kept = f"signalserve journal tail --journal {kept_in}" if kept_in else "none: nothing is recorded"
    say(f"  journal      {kept}\n")
    try:
        samples = write_samples(args.samples, manifests[0])
    except OSError:  # a read-only image
        samples = write_samples(folder / "requests", manifests[0])
    with httpx.Client(timeout=10.0, trust_env=False) as client:
        for sample in samples:
            # as a probe: generated prices have no place in the journal of a market
            headers = {**sample.headers, PROBE_HEADER: secret}
            response = client.post(
                f"{url}/predictions/{sample.endpoint}", content=sample.path.read_bytes(), headers=headers
            )
            say(f"{sample.title}\n  {sample.curl(url)}\n  {_short(response)}\n")
    say("What the models are worth, on bars they had not seen:")
    for manifest in manifests:
        say(f"  {skill_words(manifest)}")
    gates = [words for words in map(gate_words, manifests) if words]
    if gates:
        say("\nNot passed by their gates, so that every response of theirs warns failed_gates:")
    for words in gates:
        say(f"  {words}")
    by_symbol = {one.symbol: [other for other in manifests if other.symbol == one.symbol] for one in manifests}
    for words in (words for of_symbol in by_symbol.values() for words in symbol_words(of_symbol)):
        say(f"\n{words}")
    say("\nCtrl-C stops everything.")


def _short(response: httpx.Response) -> str:
    if response.status_code != 200:
        return f"HTTP {response.status_code} {response.text}"
    answer = response.json()
    shares = ", ".join(f"{name} {share:.3f}" for name, share in answer["probabilities"].items())
    warnings = f"  warnings: {', '.join(answer['warnings'])}" if answer["warnings"] else ""
    return f"-> {answer['direction']} {answer['confidence']:.3f}  ({shares})  by {answer['variant']}{warnings}"
