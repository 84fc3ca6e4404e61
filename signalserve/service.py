"""One endpoint: raw requests -> replies. What a handler calls, and what `signalserve predict` runs in process.

    read -> decide who answers -> run each model once over its windows of the whole batch -> pool -> respond

A request that is wrong never reaches a model: its place is taken by a neutral window, so that the batch keeps its size
and the neighbours keep their bits.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import uuid_utils

from signalserve.candles import iso
from signalserve.engine import not_finite
from signalserve.ensemble import pool
from signalserve.errors import BadCandles, BadField, BadVariant, BadWeights, FeaturesOffScale, RequestError
from signalserve.invariants import Observation, signs_of
from signalserve.log import event
from signalserve.metrics import Metrics
from signalserve.models import Model, Models, check_gates, check_pins, check_settings, load_models
from signalserve.request import BadRequests, SymbolSchema, Window, read_request
from signalserve.response import ModelAnswer, encode, error_body, prediction
from signalserve.routing import Decision, decide
from signalserve.settings import GENERATIONS, VARIANTS, Generation, Settings, Variant
from signalserve.watched import WatchedSettings

Endpoint = Literal["v6_fixed", "v8", "ensemble"]
ENDPOINTS: tuple[Endpoint, ...] = ("v6_fixed", "v8", "ensemble")

PROBE_HEADER = "x-signalserve-probe"
STALE_INTERVALS = 3
CLOCK_SKEW_MS = 5_000  # an exchange's clock, or a bot's, may be a little ahead of ours

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


@dataclass
class _Item:
    """One window on its way to an answer."""

    window: Window
    decision: Decision
    off_scale: frozenset[Generation] = frozenset()  # the models for which more than a third of the columns are
    answers: list[ModelAnswer] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fault: RequestError | None = None


@dataclass
class _Call:
    """One request on its way to a reply."""

    is_probe: bool
    request_id: str | None = None
    is_batch: bool = False
    items: list[_Item] = field(default_factory=list)
    faults: tuple[RequestError, ...] = ()
    stand_ins: Sequence[str] = ()  # symbols of a wrong request's windows


class Service:
    """Answers for one endpoint. `Service.load` is the way in."""

    def __init__(
        self,
        endpoint: Endpoint,
        models: Models,
        schemas: Mapping[str, SymbolSchema],
        settings: WatchedSettings | None,
        metrics: Metrics,
        probe_secret: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint
        self.models = models
        self.schemas = schemas
        self._settings = settings
        self._metrics = metrics
        self._probe_secret = probe_secret
        self._now = now
        self._broken: dict[tuple[str, Generation], frozenset[str]] = {}

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
        last_good: Path | None = None,
        watch: bool = False,
    ) -> Self:
        """Read and verify the bundles under root, and answer each one's golden window.

        settings_path: serving.yaml.  last_good: what was last in force, should that be wrong now.  watch: follow its
        changes from a thread.

        Raises BundleError, ConfigError or EngineError: a service that loads has proved that it can answer.
        """
        generations: tuple[Generation, ...] = GENERATIONS if endpoint == "ensemble" else (endpoint,)
        settings = WatchedSettings(settings_path, last_good)
        models, schemas = load_models(root, generations, settings.current(), engine=engine, device=device)
        variants: tuple[Variant, ...] = VARIANTS if endpoint == "ensemble" else (endpoint,)
        metrics = Metrics(endpoint, {symbol: tuple(by) for symbol, by in models.items()}, variants)

        def check(new: Settings) -> None:
            check_gates((model.bundle for by in models.values() for model in by.values()), new)
            check_pins(new, models)
            if endpoint == "ensemble":  # the only endpoint that routes, and the one that knows all models
                check_settings(new, models)

        settings.follow(_reporter(metrics, endpoint), check, keep=endpoint == "ensemble")
        _report_models(metrics, endpoint, models)
        if watch:
            settings.watch()
        return cls(endpoint, models, schemas, settings, metrics, probe_secret)

    def answer(self, requests: Sequence[RawRequest]) -> list[Reply]:
        """Replies in the order of the requests. Never raises for a caller's mistake."""
        started = time.perf_counter()
        settings = self._settings.current() if self._settings else Settings()
        calls = [self._read(raw, settings) for raw in requests]
        read = time.perf_counter()
        windows = self._run_models(calls)
        modelled = time.perf_counter()
        replies = [self._reply(call) for call in calls]
        if not all(call.is_probe for call in calls):
            done = time.perf_counter()
            self._metrics.took("read", read - started)
            self._metrics.took("model", modelled - read)
            self._metrics.took("respond", done - modelled)
            self._metrics.took("total", done - started)
            self._metrics.batch(windows)
        return replies

    # --- read and decide -----------------------------------------------------------------------------------------

    def _read(self, raw: RawRequest, settings: Settings) -> _Call:
        call = _Call(is_probe=self._is_probe(raw.headers))
        try:
            request = read_request(raw.body, raw.headers, self.schemas, is_ensemble=self.endpoint == "ensemble")
        except BadRequests as bad:
            call.faults, call.stand_ins, call.request_id = bad.errors, bad.symbols, bad.request_id
            return call
        call.is_batch = request.is_batch
        call.request_id = request.windows[0].request_id
        faults = []
        for index, window in enumerate(request.windows):
            item = _Item(window, self._decide(window, settings))
            fault = self._missing_model(item) or self._time_fault(window) or self._scale_fault(item, call)
            if fault is not None:
                fault.instance = index
                faults.append(fault)
            call.items.append(item)
        if faults:
            call.faults = tuple(faults)
            call.stand_ins = [item.window.symbol for item in call.items]
            call.items = []
        return call

    def _is_probe(self, headers: Mapping[str, str]) -> bool:
        given = headers.get(PROBE_HEADER)
        return bool(given and self._probe_secret and hmac.compare_digest(given.encode(), self._probe_secret.encode()))

    def _decide(self, window: Window, settings: Settings) -> Decision:
        if self.endpoint != "ensemble":
            return Decision(
                self.endpoint, settings.of(window.symbol).mode, {self.endpoint: 1.0}, settings.defaults.pool
            )
        time_ms = window.as_of_ms if window.as_of_ms is not None else self._now_ms()
        return decide(settings, window.symbol, time_ms, window.variant, window.weights)

    def _missing_model(self, item: _Item) -> RequestError | None:
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
        if window.from_candles:
            return BadCandles("candles", expected="closed bars only", got=got)
        return BadField("as_of", expected="the closing time of a bar that has closed", got=got)

    def _scale_fault(self, item: _Item, call: _Call) -> RequestError | None:
        """Marks the models for which this window is off scale; the fault where it is nothing that a market could be."""
        if call.is_probe:
            return None
        off_scale = []
        for generation in item.decision.generations:
            model = self.models[item.window.symbol][generation]
            verdict = model.scale_check.judge(item.window.values[:, model.order])
            if verdict.no_market is not None:
                expected = f"raw features of {item.window.symbol} in their own units; the service scales"
                return FeaturesOffScale("features", expected=expected, got=f"{verdict.no_market} ({generation})")
            if verdict.off_scale:
                item.warnings.append("features_off_scale")
            if verdict.by_many:
                off_scale.append(generation)
        item.off_scale = frozenset(off_scale)
        return None

    # --- run -----------------------------------------------------------------------------------------------------

    def _run_models(self, calls: Sequence[_Call]) -> int:
        """Run each model once over all its windows of the batch; returns how many windows that were."""
        queues: dict[tuple[str, Generation], list[tuple[_Item | None, _Call]]] = {}
        for call in calls:
            for item in call.items:
                for generation in item.decision.generations:
                    queues.setdefault((item.window.symbol, generation), []).append((item, call))
            for symbol in call.stand_ins:
                for generation in self.models.get(symbol, {}):
                    queues.setdefault((symbol, generation), []).append((None, call))
        # in the order of the generations, so that nobody's neighbours decide in which order its models are pooled
        for (symbol, generation), queue in sorted(queues.items(), key=lambda entry: GENERATIONS.index(entry[0][1])):
            if any(item is not None for item, _ in queue):
                self._run_model(symbol, generation, queue)
        return sum(max(1, len(call.items)) for call in calls if not call.is_probe)

    def _run_model(self, symbol: str, generation: Generation, queue: Sequence[tuple[_Item | None, _Call]]) -> None:
        model = self.models[symbol][generation]
        rows = [model.neutral if item is None else item.window.values[:, model.order] for item, _ in queue]
        batch = rows[0][None] if len(rows) == 1 else np.stack(rows)  # (batch, window, features)
        output = model.engine.predict_rows(np.ascontiguousarray(batch))
        finite = output.finite
        for row, (item, call) in enumerate(queue):
            if item is None:
                continue
            if finite[row]:
                self._take(item, call, generation, model, output.raw_logits[row], output.probabilities[row])
            else:
                item.fault = not_finite()
                self._watch(item, call, generation, model, frozenset({"not_finite"}))

    def _take(
        self, item: _Item, call: _Call, generation: Generation, model: Model, raw_logits: Floats, probabilities: Floats
    ) -> None:
        manifest = model.bundle.manifest
        clamp = manifest.calibration.clamp
        off_scale = generation in item.off_scale
        logits = raw_logits.tolist()
        signs = signs_of(logits, clamp, max(probabilities.tolist()), off_scale=off_scale)
        item.answers.append(
            ModelAnswer(
                generation,
                manifest,
                model.bundle.sha256,
                item.decision.weights[generation],
                raw_logits,
                probabilities,
                clamped="clamped" in signs,
            )
        )
        item.warnings.extend(sign for sign in ("clamped", "clamp_tie") if sign in signs)
        if not model.bundle.passed_gates:
            item.warnings.append("failed_gates")
        if not call.is_probe:
            self._metrics.logits(item.window.symbol, generation, logits)
        item.warnings.extend(f"invariant_{rule}" for rule in self._watch(item, call, generation, model, signs))

    def _watch(
        self, item: _Item, call: _Call, generation: Generation, model: Model, signs: frozenset[str]
    ) -> Sequence[str]:
        """Take the prediction into the last five of its model; the rules now broken, in the order of their names."""
        if call.is_probe:
            return ()
        symbol = item.window.symbol
        broken = model.watch.observe(Observation(signs, item.window.as_of_ms))
        before = self._broken.get((symbol, generation), frozenset())
        if broken != before:
            self._broken[symbol, generation] = broken
            self._metrics.invariants(symbol, generation, broken)
            level = logging.ERROR if broken else logging.WARNING
            event(
                level,
                "invariants_changed",
                endpoint=self.endpoint,
                symbol=symbol,
                generation=generation,
                broken=sorted(broken),
                request_id=item.window.request_id,
            )
        return sorted(broken)

    # --- respond -------------------------------------------------------------------------------------------------

    def _reply(self, call: _Call) -> Reply:
        faults = list(call.faults)
        for index, item in enumerate(call.items):
            if item.fault is not None:
                item.fault.instance = index
                faults.append(item.fault)
        if faults:
            return self._refuse(call, faults)
        predictions = [self._prediction(item, call) for item in call.items]
        return Reply(200, encode({"predictions": predictions} if call.is_batch else predictions[0]))

    def _refuse(self, call: _Call, faults: Sequence[RequestError]) -> Reply:
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

    def _prediction(self, item: _Item, call: _Call) -> dict[str, object]:
        window, decision = item.window, item.decision
        probabilities = _pooled(item)
        if window.as_of_ms is not None:
            age_ms = self._now_ms() - window.as_of_ms
            if age_ms > STALE_INTERVALS * self.schemas[window.symbol].interval_ms:
                item.warnings.append("stale_input")
        if not decision.calibrated:
            item.warnings.append("uncalibrated_weights")
        warnings = sorted(set(item.warnings))
        content = prediction(
            prediction_id=str(uuid_utils.uuid7()),
            request_id=window.request_id,
            symbol=window.symbol,
            as_of_ms=window.as_of_ms,
            decision=decision,
            probabilities=probabilities,
            answers=item.answers,
            warnings=warnings,
        )
        if not call.is_probe:
            confidence = content["confidence"]
            self._metrics.predicted(window.symbol, decision.variant, content["direction"], confidence, warnings)
        return content

    def _now_ms(self) -> int:
        return round(self._now() * 1000)


def _pooled(item: _Item) -> Floats:
    """The answer's probabilities (classes,): a single model's own, else the pool of all."""
    if len(item.answers) == 1:
        return item.answers[0].probabilities
    probabilities = np.stack([answer.probabilities for answer in item.answers])[:, None]  # (models, 1, classes)
    weights = np.array([answer.weight for answer in item.answers])
    pooled: Floats = pool(probabilities, weights, item.decision.pool.method, item.decision.pool.temperature)[0]
    return pooled


def _reporter(metrics: Metrics, endpoint: Endpoint) -> Callable[[WatchedSettings], None]:
    def report(watched: WatchedSettings) -> None:
        metrics.config(watched.sha256, valid=watched.error is None)
        if watched.error is not None:
            event(logging.ERROR, "config_refused", endpoint=endpoint, reason=watched.error)
        else:
            event(logging.INFO, "config_in_force", endpoint=endpoint, sha256=watched.sha256[:12])

    return report


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
