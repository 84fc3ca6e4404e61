"""One endpoint: raw requests -> replies. What a handler calls, and what `signalserve predict` runs in process.

    read -> decide who answers -> run each model once over its windows of the whole batch -> pool -> respond -> record
                 ▲                                    │ a model breaks an invariant
                 └──────── another answers ◀──────────┘

A request that is wrong never reaches a model: its place is taken by a neutral window, so that the batch keeps its size
and the neighbours keep their bits.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import uuid_utils

from signalserve.candles import CLOCK_SKEW_MS, iso
from signalserve.environment import LAST_GOOD, PROBE_HEADER
from signalserve.errors import (
    BadCandles,
    BadField,
    BadVariant,
    BadWeights,
    NotReady,
    RequestError,
)
from signalserve.guardrails import Guardrails
from signalserve.item import Call, Item, arm_lines
from signalserve.journal import LATCHES
from signalserve.journal.lines import EventLine, PredictionLine
from signalserve.log import event
from signalserve.metrics import Metrics
from signalserve.models import Models, check_gates, check_pins, check_settings, load_models
from signalserve.outcome_request import read_outcomes
from signalserve.recorder import Recorder
from signalserve.request import BadRequests, SymbolSchema, Window, read_request
from signalserve.response import encode, error_body, prediction
from signalserve.routing import Decision, decide
from signalserve.scoring import Scorer
from signalserve.settings import GENERATIONS, VARIANTS, Generation, Settings, Variant
from signalserve.shadows import Job, Shadows
from signalserve.watched import InForce, WatchedSettings
from signalserve.watcher_link import WatcherLink

Endpoint = Literal["v6_fixed", "v8", "ensemble"]
ENDPOINTS: tuple[Endpoint, ...] = ("v6_fixed", "v8", "ensemble")

STALE_INTERVALS = 3

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RawRequest:
    """One HTTP request. body: None where none came.  headers: names in lower case."""

    body: bytes | bytearray | None
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What to send back; the body is always JSON."""

    status: int
    body: bytes


class Service:
    """Answers for one endpoint. `Service.load` is the way in."""

    def __init__(
        self,
        endpoint: Endpoint,
        models: Models,
        schemas: Mapping[str, SymbolSchema],
        settings: WatchedSettings,
        metrics: Metrics,
        *,
        guardrails: Guardrails | None = None,
        recorder: Recorder | None = None,
        watcher: WatcherLink | None = None,
        probe_secret: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """recorder: without one nothing is kept.  watcher: without one no outcomes are taken."""
        self.endpoint = endpoint
        self.models = models
        self.schemas = schemas
        self._settings = settings
        self._metrics = metrics
        self._recorder = recorder
        self._watcher = watcher
        self._probe_secret = probe_secret
        self._now = now
        self._scorer = Scorer(endpoint, models, guardrails or Guardrails(endpoint, models), metrics)
        self._shadows = Shadows(self._score, recorder.write, metrics.shadows) if recorder else None

    @classmethod
    def load(
        cls,
        root: Path,
        endpoint: Endpoint,
        *,
        settings_path: Path,
        engine: str = "auto",
        device: str = "auto",
        probe_secret: str | None = None,
        run_folder: Path | None = None,
        journal: Path | None = None,
        watcher_url: str | None = None,
    ) -> Self:
        """Read and verify the bundles under root, and answer each one's golden window.

        settings_path: serving.yaml.  run_folder: what the workers of one run share, of which there is none where a
        process predicts by itself; there the settings last in force are kept, and changes of the file are followed
        from a thread.  journal: where predictions are recorded and guardrails remembered.  watcher_url: who takes
        outcomes.

        Raises BundleError, ConfigError or EngineError: a service that loads has proved that it can answer.
        """
        generations: tuple[Generation, ...] = GENERATIONS if endpoint == "ensemble" else (endpoint,)
        settings = WatchedSettings(settings_path, run_folder / LAST_GOOD if run_folder else None)
        models, schemas = load_models(root, generations, settings.current(), engine=engine, device=device)
        variants: tuple[Variant, ...] = VARIANTS if endpoint == "ensemble" else (endpoint,)
        metrics = Metrics(endpoint, {symbol: tuple(by) for symbol, by in models.items()}, variants)
        recorder = Recorder(endpoint, journal, models, settings, metrics) if journal else None

        def check(new: Settings) -> None:
            check_gates((model.bundle for by in models.values() for model in by.values()), new)
            check_pins(new, models)
            if endpoint == "ensemble":  # the only endpoint that routes, and the one that knows all models
                check_settings(new, models)

        def report(watched: WatchedSettings) -> None:
            _report_settings(metrics, endpoint, watched)
            if recorder:
                recorder.config(watched)

        settings.follow(report, check, keep=endpoint == "ensemble")
        _report_models(metrics, endpoint, models)
        if run_folder:
            settings.watch()

        def record(line: EventLine) -> None:
            if recorder:
                recorder.event(line)

        home = journal or run_folder
        return cls(
            endpoint,
            models,
            schemas,
            settings,
            metrics,
            guardrails=Guardrails(
                endpoint, models, shared=run_folder, latches=home / LATCHES if home else None, record=record
            ),
            recorder=recorder,
            watcher=WatcherLink(watcher_url, probe_secret) if watcher_url and probe_secret else None,
            probe_secret=probe_secret,
        )

    def answer(self, requests: Sequence[RawRequest]) -> list[Reply]:
        """Replies in the order of the requests. Never raises for a caller's mistake."""
        started = time.perf_counter()
        received_ms = self._now_ms()
        force = self._settings.in_force  # one for the whole batch, whatever changes meanwhile
        calls = [self._read(raw, force.settings, received_ms) for raw in requests]
        read = time.perf_counter()
        self._scorer.run(calls, force.settings)
        modelled = time.perf_counter()
        replies = [self._reply(call) for call in calls]
        self._record(calls, force, received_ms, started)
        if not all(call.is_probe for call in calls):
            done = time.perf_counter()
            self._metrics.took("read", read - started)
            self._metrics.took("model", modelled - read)
            self._metrics.took("respond", done - modelled)
            self._metrics.took("total", done - started)
            self._metrics.batch(_windows(calls))
        self._submit_shadows(calls, force, received_ms)
        return replies

    # --- read and decide -----------------------------------------------------------------------------------------

    def _read(self, raw: RawRequest, settings: Settings, received_ms: int) -> Call:
        call = Call(is_probe=self._is_probe(raw.headers))
        try:
            request = read_request(raw.body, raw.headers, self.schemas, is_ensemble=self.endpoint == "ensemble")
            if request.outcomes is not None:
                call.content = self._tell(request.outcomes)
                return call
        except BadRequests as bad:
            call.faults, call.stand_ins, call.request_id = bad.errors, bad.symbols, bad.request_id
            return call
        except NotReady as not_ready:
            call.faults = (not_ready,)
            return call
        call.is_batch = request.is_batch
        call.request_id = request.windows[0].request_id
        faults: list[RequestError] = []
        for index, window in enumerate(request.windows):
            decision = self._decide(window, settings, received_ms)
            item = Item(window, decision, decision)
            fault = self._missing_model(item) or self._time_fault(window)
            if fault is None and not call.is_probe:
                fault = self._scorer.scale_fault(item, decision.generations)
            if fault is not None:
                fault.instance = index
                faults.append(fault)
            call.items.append(item)
        if faults:
            call.faults = tuple(faults)
            call.stand_ins = [item.window.symbol for item in call.items]
            call.items = []
        return call

    def _tell(self, content: Mapping[str, object]) -> object:
        """Outcomes, to the one process that writes them down. Raises BadRequests and NotReady."""
        claims = read_outcomes(content)
        if self._watcher is None:
            raise NotReady("outcomes", expected="a service that keeps a journal", got="one started without")
        return self._watcher.tell(claims)

    def _is_probe(self, headers: Mapping[str, str]) -> bool:
        given = headers.get(PROBE_HEADER)
        return bool(given and self._probe_secret and hmac.compare_digest(given.encode(), self._probe_secret.encode()))

    def _decide(self, window: Window, settings: Settings, received_ms: int) -> Decision:
        if self.endpoint != "ensemble":
            own = settings.of(window.symbol)
            return Decision(self.endpoint, own.mode, {self.endpoint: 1.0}, own.pool, self.endpoint)
        time_ms = window.as_of_ms if window.as_of_ms is not None else received_ms
        return decide(settings, window.symbol, time_ms, window.variant, window.weights)

    def _missing_model(self, item: Item) -> RequestError | None:
        available = self.models[item.window.symbol]
        missing = [generation for generation in item.decision.generations if generation not in available]
        if not missing:
            return None
        expected = f"{' or '.join(available)} for {item.window.symbol}"
        if item.window.weights is not None:
            return BadWeights("weights", expected=expected, got=f"a share for {missing[0]}")
        return BadVariant("variant", expected=expected, got=f"{item.decision.variant}, which needs {missing[0]}")

    def _time_fault(self, window: Window) -> RequestError | None:
        """The fault of a window whose last bar has not closed: half a bar is not what the models learned from."""
        if window.as_of_ms is None or window.as_of_ms <= self._now_ms() + CLOCK_SKEW_MS:
            return None
        got = f"a last bar that closes at {iso(window.as_of_ms)}, and it is {iso(self._now_ms())} here"
        if window.closes is not None:
            return BadCandles("candles", expected="closed bars only", got=got)
        return BadField("as_of", expected="the closing time of a bar that has closed", got=got)

    # --- respond -------------------------------------------------------------------------------------------------

    def _reply(self, call: Call) -> Reply:
        faults = list(call.faults)
        for index, item in enumerate(call.items):
            if item.fault is not None:
                item.fault.instance = index
                faults.append(item.fault)
        if faults:
            return self._refuse(call, faults)
        if call.content is not None:
            return Reply(200, encode(call.content))
        predictions = [self._prediction(item, call) for item in call.items]
        return Reply(200, encode({"predictions": predictions} if call.is_batch else predictions[0]))

    def _refuse(self, call: Call, faults: Sequence[RequestError]) -> Reply:
        if not call.is_probe:
            codes = sorted({fault.code for fault in faults})
            for code in codes:
                self._metrics.failed(code)
            event(
                logging.WARNING,
                "request_refused",
                endpoint=self.endpoint,
                request_id=call.request_id,
                status=faults[0].status,
                codes=codes,
            )
        return Reply(faults[0].status, encode(error_body(faults)))

    def _prediction(self, item: Item, call: Call) -> dict[str, object]:
        window, decision = item.window, item.decision
        if window.as_of_ms is not None:
            age_ms = self._now_ms() - window.as_of_ms
            if age_ms > STALE_INTERVALS * self.schemas[window.symbol].interval_ms:
                item.warnings.append("stale_input")
        if not decision.calibrated:
            item.warnings.append("uncalibrated_weights")
        if decision.degraded is not None:
            item.warnings.append("degraded")
        warnings = item.all_warnings(decision.generations)
        item.prediction_id = str(uuid_utils.uuid7())
        content = prediction(
            prediction_id=item.prediction_id,
            request_id=window.request_id,
            symbol=window.symbol,
            as_of_ms=window.as_of_ms,
            decision=decision,
            probabilities=item.probabilities,
            answers=item.answering,
            warnings=warnings,
        )
        if not call.is_probe:
            confidence = content["confidence"]
            self._metrics.predicted(window.symbol, decision.variant, content["direction"], confidence, warnings)
        return content

    # --- record --------------------------------------------------------------------------------------------------

    def _record(self, calls: Sequence[Call], force: InForce, received_ms: int, started: float) -> None:
        """One write, before the reply: nothing of it may be lost with this process."""
        if self._recorder is None:
            return
        latency_ms = (time.perf_counter() - started) * 1000

        def line(item: Item) -> PredictionLine:
            arms = arm_lines(item, force.settings.of(item.window.symbol), answered=True)
            item.recorded = frozenset(arm.arm for arm in arms)
            return item.line(self.endpoint, force.sha256, received_ms, latency_ms, arms)

        self._recorder.predictions(_answered(calls), line, self.schemas)

    def _submit_shadows(self, calls: Sequence[Call], force: InForce, received_ms: int) -> None:
        if self._shadows is None or self.endpoint != "ensemble" or not force.settings.score_all_arms:
            return
        items = [
            item
            for item in _answered(calls)
            if not item.decision.override and len(item.answers) < len(self.models[item.window.symbol])
        ]
        if items:
            self._shadows.submit(Job(items, force, received_ms, time.perf_counter()))

    def _score(self, job: Job) -> list[PredictionLine]:
        """What arms the models that have not answered these windows give."""
        started = time.perf_counter()
        self._scorer.run_others(job.items)
        latency_ms = (time.perf_counter() - started) * 1000
        lines = []
        for item in job.items:
            own = job.force.settings.of(item.window.symbol)
            arms = [arm for arm in arm_lines(item, own, answered=False) if arm.arm not in item.recorded]
            if arms:
                lines.append(item.line(self.endpoint, job.force.sha256, job.received_ms, latency_ms, arms))
        return lines

    def _now_ms(self) -> int:
        return round(self._now() * 1000)


def _answered(calls: Sequence[Call]) -> list[Item]:
    """The windows that got a prediction, but for golden ones."""
    return [item for call in calls if not call.is_probe and not call.faults for item in call.items if _all_well(call)]


def _windows(calls: Sequence[Call]) -> int:
    """How many windows the batch holds; what stands in for a wrong request counts as one."""
    return sum(max(1, len(call.items)) for call in calls if not call.is_probe and call.content is None)


def _all_well(call: Call) -> bool:
    return all(item.fault is None for item in call.items)


def _report_settings(metrics: Metrics, endpoint: Endpoint, watched: WatchedSettings) -> None:
    sha256 = watched.in_force.sha256
    metrics.config(sha256, valid=watched.error is None)
    if watched.error is not None:
        event(logging.ERROR, "config_refused", endpoint=endpoint, reason=watched.error)
    else:
        event(logging.INFO, "config_in_force", endpoint=endpoint, sha256=sha256[:12])


def _report_models(metrics: Metrics, endpoint: Endpoint, models: Models) -> None:
    for symbol, by_generation in models.items():
        for generation, model in by_generation.items():
            manifest, engine = model.bundle.manifest, model.engine
            metrics.bundle(symbol, generation, manifest.version, model.bundle.sha256[:12], engine.name, engine.device)
            skill = manifest.accuracy_over_majority
            if skill is not None:
                metrics.skill(symbol, generation, skill)
            metrics.gates(symbol, generation, len(model.bundle.failed_gates), judged=manifest.gates is not None)
    loaded = [model for by_generation in models.values() for model in by_generation.values()]
    failed = {model.bundle.name: model.bundle.failed_gates for model in loaded if model.bundle.failed_gates}
    not_judged = [model.bundle.name for model in loaded if model.bundle.manifest.gates is None]
    if failed or not_judged:
        event(logging.WARNING, "gates_not_passed", endpoint=endpoint, failed=failed, not_judged=not_judged)
    event(
        logging.INFO,
        "models_loaded",
        endpoint=endpoint,
        bundles={model.bundle.name: model.bundle.sha256[:12] for model in loaded},
        engines=sorted({f"{model.engine.name} on {model.engine.device}" for model in loaded}),
    )
