"""Golden probes: requests whose right answer is known, sent to each endpoint for each symbol all the time.

A TorchServe with no model loaded, or in a crash loop, still says Healthy on /ping; only a right answer proves anything.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson

from signalserve import CLASSES
from signalserve.bundle import Manifest
from signalserve.ensemble import pool
from signalserve.environment import PROBE_HEADER
from signalserve.golden import golden_mismatch, golden_window

EVERY_S = 1.5
"""Between two probes of one endpoint and symbol: three chances within the five seconds that /ready looks back on."""
FRESH_S = 5.0
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Probe:
    """One request with a known answer. body: JSON, made once."""

    endpoint: str
    symbol: str
    manifest: Manifest
    body: bytes

    @property
    def name(self) -> str:
        generation = f" ({self.manifest.generation})" if self.endpoint == "ensemble" else ""
        return f"{self.endpoint} {self.symbol}{generation}"

    def fault_of(self, answer: Mapping[str, Any]) -> str | None:
        """What is wrong with an answer, in words; None where it is right."""
        try:
            models = {model["generation"]: model for model in answer["models"]}
            model = models[self.manifest.generation]
            known = [logit for logit in model["raw_logits"] if logit is not None]
            fault = golden_mismatch(self.manifest, known, _by_class(model["probabilities"]))
            return fault or _pool_fault(answer)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            return f"an answer that is not the contract's: {error!r}"


def make_probes(manifests: Sequence[Manifest]) -> Iterator[Probe]:
    """For each bundle one probe of its own endpoint and one of the ensemble, which must show that model's answer."""
    for manifest in manifests:
        peers = [other for other in manifests if other.symbol == manifest.symbol]
        request: dict[str, Any] = {"symbol": manifest.symbol, "features": _golden_features(manifest, [manifest])}
        yield Probe(manifest.generation, manifest.symbol, manifest, orjson.dumps(request))
        request["features"] = _golden_features(manifest, peers)
        if len(peers) > 1:  # a share for each, whatever serving.yaml says: the toggles are no reason not to be ready
            request["weights"] = {peer.generation: 1 / len(peers) for peer in peers}
        else:
            request["variant"] = manifest.generation
        yield Probe("ensemble", manifest.symbol, manifest, orjson.dumps(request))


def _golden_features(manifest: Manifest, readers: Sequence[Manifest]) -> dict[str, list[float]]:
    """Columns by name: the golden window of one model, and the peers' own where they read others."""
    features: dict[str, list[float]] = {}
    for reader in (*readers, manifest):  # the last one written is the model that is asked about
        window = golden_window(reader.scaler, reader.window)
        features |= {column: window[:, i].tolist() for i, column in enumerate(reader.columns)}
    return features


def _by_class(probabilities: Mapping[str, float]) -> list[float]:
    return [probabilities[name] for name in CLASSES]


def _pool_fault(answer: Mapping[str, Any]) -> str | None:
    models = answer["models"]
    if len(models) < 2:
        return None
    parts = np.array([[_by_class(model["probabilities"])] for model in models])  # (models, 1, classes)
    weights = np.array([model["weight"] for model in models])
    expected = pool(parts, weights, answer["pool"]["method"], answer["pool"]["temperature"])[0]
    got = _by_class(answer["probabilities"])
    if np.abs(expected - got).max() > 1e-9:
        return f"pool: expected {expected.tolist()} from its own models and weights, got {got}"
    return None


@dataclass
class Standing:
    """How a probe last went. at: the clock's seconds of the last right answer, None before the first."""

    at: float | None = None
    fault: str | None = "no answer yet"
    seconds: float = float("nan")


class Prober:
    """Sends the probes in turn, for ever, and remembers how each went."""

    def __init__(
        self,
        probes: Sequence[Probe],
        inference_url: str,
        secret: str,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.probes = probes
        self._clock = clock
        self._url = inference_url
        self._headers = {"content-type": "application/json", PROBE_HEADER: secret}
        self._transport = transport
        self.standings = {probe.name: Standing() for probe in probes}

    async def run(self) -> None:
        """Each probe every EVERY_S; until the first right answer, four times a second."""
        async with httpx.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=TIMEOUT_S, transport=self._transport, trust_env=False
        ) as client:
            await asyncio.gather(*(self._repeat(probe, client) for probe in self.probes))

    async def _repeat(self, probe: Probe, client: httpx.AsyncClient) -> None:
        while True:
            await self.ask(probe, client)
            waiting = self.standings[probe.name].at is None
            await asyncio.sleep(0.25 if waiting else EVERY_S)

    async def ask(self, probe: Probe, client: httpx.AsyncClient) -> None:
        standing = self.standings[probe.name]
        started = self._clock()
        try:
            response = await client.post(f"/predictions/{probe.endpoint}", content=probe.body)
            standing.seconds = self._clock() - started
            standing.fault = _fault(probe, response)
        except httpx.HTTPError as error:
            standing.fault = f"no answer: {type(error).__name__}"
        if standing.fault is None:
            standing.at = self._clock()

    def not_ready(self) -> dict[str, str]:
        """Which probes had no right answer within FRESH_S, or a wrong one since, and why; empty when all is well."""
        now = self._clock()
        faults = {}
        for name, standing in self.standings.items():
            if standing.fault is not None and standing.at is None:
                faults[name] = standing.fault
            elif standing.at is None or now - standing.at > FRESH_S:
                faults[name] = standing.fault or "no right answer for 5 s"
            elif standing.fault is not None and not standing.fault.startswith("no answer"):
                faults[name] = standing.fault
        return faults


def _fault(probe: Probe, response: httpx.Response) -> str | None:
    if response.status_code != 200:
        return f"HTTP {response.status_code}: {response.text[:300]}"
    try:
        return probe.fault_of(response.json())
    except ValueError:
        return "an answer that is not JSON"
