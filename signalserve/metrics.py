"""What the workers count, and its one table.

In the service prometheus_client runs in multiprocess mode: each worker writes to its own mmapped file in
PROMETHEUS_MULTIPROC_DIR (1 µs a counter), and the watcher adds the files up. Without that variable the same code counts
in memory. Every label set exists at 0 from the start: `increase()` misses a series first seen at 1.

Label values come from closed sets: no ids, no prices.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from signalserve import CLASSES
from signalserve.errors import request_error_codes
from signalserve.invariants import RULES
from signalserve.response import WARNINGS
from signalserve.settings import Generation, Variant

CONFIDENCE_EDGES = (0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.99, 1.00)
"""For people to look at; 0.75 (where the bot trades) and 0.95 are exact. Statistics use the bundle's own bins."""

LOGIT_EDGES = (-1e6, -1e4, -1e3, -100, -30, -15, -10, -3, -1, 0, 1, 3, 10, 15, 30, 100, 1e3, 1e4, 1e6)
"""Symmetric and logarithmic: V6's unscaled logits reached 4 million, a healthy one stays within the clamp of 15."""

LATENCY_EDGES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

SHADOW_RESULTS = ("recorded", "dropped", "failed")
STAGES = ("read", "model", "respond", "total")


C = TypeVar("C", Counter, Gauge, Histogram)


def _children(metric: C) -> Callable[..., C]:
    """Label values -> the metric's series, looked up once: prometheus_client checks and locks for each look-up."""
    return cache(metric.labels)


class Metrics:
    """The metrics of one endpoint's worker, or of a process that predicts without a server.

    models: symbol -> the generations this endpoint serves.  variants: what may answer on it.
    """

    def __init__(
        self,
        endpoint: str,
        models: Mapping[str, Iterable[Generation]],
        variants: Iterable[Variant],
        registry: CollectorRegistry | None = None,
    ) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self._endpoint = endpoint
        self._starts = _children(
            Counter(
                "signalserve_worker_starts",
                "How often a worker of the endpoint began, the dead ones included",
                ["endpoint"],
                registry=registry,
            )
        )
        self._predictions = _children(
            Counter(
                "signalserve_predictions",
                "Predictions answered, by what answered and the direction it said",
                ["endpoint", "symbol", "variant", "direction"],
                registry=registry,
            )
        )
        self._confidence = _children(
            Histogram(
                "signalserve_confidence",
                "Confidence of the answer: the largest probability, from 1/3 to 1",
                ["endpoint", "symbol", "variant"],
                buckets=CONFIDENCE_EDGES,
                registry=registry,
            )
        )
        self._logit = _children(
            Histogram(
                "signalserve_raw_logit",
                "Raw logits of each model, before the clamp, all classes",
                ["endpoint", "symbol", "generation"],
                buckets=LOGIT_EDGES,
                registry=registry,
            )
        )
        self._errors = _children(
            Counter(
                "signalserve_errors",
                "Requests answered by an error, once for each code that the answer holds",
                ["endpoint", "code"],
                registry=registry,
            )
        )
        self._warnings = _children(
            Counter(
                "signalserve_warnings",
                "Predictions that carried a warning, by its kind",
                ["endpoint", "symbol", "kind"],
                registry=registry,
            )
        )
        self._latency = _children(
            Histogram(
                "signalserve_latency_seconds",
                "Time in the worker, by stage; total is the whole of a batch",
                ["endpoint", "stage"],
                buckets=LATENCY_EDGES,
                registry=registry,
            )
        )
        self._batch = _children(
            Histogram(
                "signalserve_batch_size",
                "Windows computed together, over all requests of a batch",
                ["endpoint"],
                buckets=BATCH_EDGES,
                registry=registry,
            )
        )
        self._broken = _children(
            Gauge(
                "signalserve_invariant_broken",
                "1 while a hard invariant is broken over the last five predictions of a model",
                ["endpoint", "symbol", "generation", "invariant"],
                registry=registry,
                multiprocess_mode="livemax",
            )
        )
        self._breaks = _children(
            Counter(
                "signalserve_invariant_breaks",
                "Predictions after which a model breaks a hard invariant, newly or still",
                ["endpoint", "symbol", "generation"],
                registry=registry,
            )
        )
        self._bundle = _children(
            Gauge(
                "signalserve_bundle_info",
                "1 for each bundle in force; sha256 of its manifest, and the engine and device that run it",
                ["endpoint", "symbol", "generation", "version", "sha256", "engine", "device"],
                registry=registry,
                multiprocess_mode="livemax",
            )
        )
        self._skill = _children(
            Gauge(
                "signalserve_model_accuracy_over_majority",
                "Accuracy on unseen bars when the bundle was made, less the share of their commonest class",
                ["symbol", "generation"],
                registry=registry,
                multiprocess_mode="livemax",
            )
        )
        self._failed_gates = _children(
            Gauge(
                "signalserve_failed_gates",
                "Quality gates that the bundle in force failed; 0 also where it was never judged",
                ["symbol", "generation"],
                registry=registry,
                multiprocess_mode="livemax",
            )
        )
        self._gates_judged = _children(
            Gauge(
                "signalserve_gates_judged",
                "1 where the gates of the bundle in force were judged, 0 where nobody knows whether it passes them",
                ["symbol", "generation"],
                registry=registry,
                multiprocess_mode="livemin",
            )
        )
        self._shadows = _children(
            Counter(
                "signalserve_shadows",
                "Windows whose other arms were scored beside the answer, by what became of them",
                ["endpoint", "result"],
                registry=registry,
            )
        )
        self._journal_lost = _children(
            Counter(
                "signalserve_journal_lost",
                "Predictions that were answered and could not be written to the journal",
                ["endpoint"],
                registry=registry,
            )
        )
        self._journal_writable = _children(
            Gauge(
                "signalserve_journal_writable",
                "0 while a worker cannot write to the journal's spool",
                ["endpoint"],
                registry=registry,
                multiprocess_mode="livemin",
            )
        )
        self._config_valid = _children(
            Gauge(
                "signalserve_config_valid",
                "0 while serving.yaml does not validate and the last good one is in force",
                ["endpoint"],
                registry=registry,
                multiprocess_mode="livemin",
            )
        )
        self._config_hash = _children(
            Gauge(
                "signalserve_config_hash",
                "The first 48 bits of the sha256 of the serving.yaml in force: all endpoints must agree",
                ["endpoint"],
                registry=registry,
                multiprocess_mode="livemax",
            )
        )
        self._start_at_zero(models, tuple(variants))
        self._starts(endpoint).inc()  # a worker has one of these

    def _start_at_zero(self, models: Mapping[str, Iterable[Generation]], variants: tuple[Variant, ...]) -> None:
        for symbol, generations in models.items():
            for variant in variants:
                self._confidence(self._endpoint, symbol, variant)
                for direction in CLASSES:
                    self._predictions(self._endpoint, symbol, variant, direction)
            for generation in generations:
                self._logit(self._endpoint, symbol, generation)
                self._breaks(self._endpoint, symbol, generation)
                for rule in RULES:
                    self._broken(self._endpoint, symbol, generation, rule)
            for kind in WARNINGS:
                self._warnings(self._endpoint, symbol, kind)
        for code in request_error_codes():
            self._errors(self._endpoint, code)
        for stage in STAGES:
            self._latency(self._endpoint, stage)
        self._batch(self._endpoint)
        for result in SHADOW_RESULTS:
            self._shadows(self._endpoint, result)
        self._journal_lost(self._endpoint)
        self._journal_writable(self._endpoint).set(1)

    def predicted(
        self, symbol: str, variant: Variant, direction: str, confidence: float, warnings: Iterable[str]
    ) -> None:
        self._predictions(self._endpoint, symbol, variant, direction).inc()
        self._confidence(self._endpoint, symbol, variant).observe(confidence)
        for kind in warnings:
            self._warnings(self._endpoint, symbol, kind).inc()

    def logits(self, symbol: str, generation: Generation, raw_logits: Iterable[float]) -> None:
        histogram = self._logit(self._endpoint, symbol, generation)
        for logit in raw_logits:
            histogram.observe(logit)

    def invariants(self, symbol: str, generation: Generation, broken: frozenset[str]) -> None:
        for rule in RULES:
            self._broken(self._endpoint, symbol, generation, rule).set(rule in broken)

    def breaks(self, symbol: str, generation: Generation) -> None:
        """Once for each prediction that finds a hard invariant broken: the gauge may be back before it is scraped."""
        self._breaks(self._endpoint, symbol, generation).inc()

    def shadows(self, result: str, windows: int) -> None:
        self._shadows(self._endpoint, result).inc(windows)

    def lost(self, predictions: int) -> None:
        self._journal_lost(self._endpoint).inc(predictions)

    def journal(self, *, ok: bool) -> None:
        self._journal_writable(self._endpoint).set(ok)

    def failed(self, code: str) -> None:
        self._errors(self._endpoint, code).inc()

    def took(self, stage: str, seconds: float) -> None:
        self._latency(self._endpoint, stage).observe(seconds)

    def batch(self, windows: int) -> None:
        self._batch(self._endpoint).observe(windows)

    def bundle(self, symbol: str, generation: Generation, version: str, sha256: str, engine: str, device: str) -> None:
        self._bundle(self._endpoint, symbol, generation, version, sha256, engine, device).set(1)

    def skill(self, symbol: str, generation: Generation, accuracy_over_majority: float) -> None:
        self._skill(symbol, generation).set(accuracy_over_majority)

    def gates(self, symbol: str, generation: Generation, failed: int, *, judged: bool) -> None:
        self._failed_gates(symbol, generation).set(failed)
        self._gates_judged(symbol, generation).set(judged)

    def config(self, sha256: str, *, valid: bool) -> None:
        self._config_valid(self._endpoint).set(valid)
        self._config_hash(self._endpoint).set(int(sha256[:12], 16))
