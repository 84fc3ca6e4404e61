"""Running the models over the windows of a batch, and what guardrails make of what they say.

Each model runs once over all its windows. Where a model is out, or drops out by what it says now, another arm answers,
which may need another model to run.
"""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from signalserve.engine import not_finite
from signalserve.errors import FeaturesOffScale, NoHealthyArm, RequestError
from signalserve.guardrails import Guardrails, Standing
from signalserve.invariants import signs_of
from signalserve.item import Call, Item
from signalserve.log import event
from signalserve.metrics import Metrics
from signalserve.models import Model, Models
from signalserve.off_scale import Verdict
from signalserve.response import ModelAnswer
from signalserve.routing import fall_back
from signalserve.settings import GENERATIONS, Generation, Settings

Floats = npt.NDArray[np.float64]


class Scorer:
    """The models of one endpoint, run and watched."""

    def __init__(self, endpoint: str, models: Models, guardrails: Guardrails, metrics: Metrics) -> None:
        self._endpoint = endpoint
        self._models = models
        self._guardrails = guardrails
        self._metrics = metrics
        self._broken: dict[tuple[str, Generation], frozenset[str]] = {}

    def run(self, calls: Sequence[Call], settings: Settings) -> None:
        """Run the models that answer, and others in their place where one is out or drops out now."""
        asked = [(item, call) for call in calls if not call.is_probe for item in call.items]
        for item, _ in asked:
            item.out = self._guardrails.out(item.window.symbol)
            self._reroute(item, settings)
        self._run_models(calls)
        for item, call in asked:
            # ends: a model that could not be used for this window, or has answered it, is not run again
            while item.unusable and self._reroute(item, settings):
                self._run_missing(item, call)

    def run_others(self, items: Sequence[Item]) -> None:
        """Run the models that have not answered these windows yet, but for those that can't."""
        call = Call(is_probe=False)
        queues: dict[tuple[str, Generation], list[tuple[Item | None, Call]]] = {}
        for item in items:
            item.out = self._guardrails.out(item.window.symbol)
            missing = [g for g in self._models[item.window.symbol] if g not in item.answers and g not in item.unusable]
            if self.scale_fault(item, missing) is None:
                for generation in missing:
                    if generation not in item.unusable:
                        queues.setdefault((item.window.symbol, generation), []).append((item, call))
        for (symbol, generation), queue in queues.items():
            self._run_model(symbol, generation, queue)

    def scale_fault(self, item: Item, generations: Sequence[Generation]) -> RequestError | None:
        """Note what the window's scale says of these models; the fault where it is nothing that a market could be."""
        symbol = item.window.symbol
        verdicts = {generation: self._scale_of(item, generation) for generation in generations}
        item.scales |= verdicts
        if not any(verdict.off_scale for verdict in verdicts.values()):
            return None
        item.warnings.append("features_off_scale")
        # a second opinion: of the symbol's other models, if they read the same columns
        columns = {tuple(model.bundle.manifest.columns) for model in self._models[symbol].values()}
        comparable = len(self._models[symbol]) > 1 and len(columns) == 1
        all_of = {g: verdicts.get(g) or self._scale_of(item, g) for g in self._models[symbol]} if comparable else {}
        everywhere = bool(all_of) and all(verdict.off_scale for verdict in all_of.values())
        item.input_off = everywhere or any(verdict.spike for verdict in verdicts.values())
        on_scale = [g for g, verdict in all_of.items() if not verdict.off_scale and self._is_calm(item, g)]
        for generation, verdict in verdicts.items():
            if verdict.by_many:
                item.scale_signs[generation] = "scaler_off" if on_scale else "off_scale"
            if verdict.no_market is not None:
                if not on_scale:
                    expected = f"raw features of {symbol} in their own units; the service scales"
                    return FeaturesOffScale("features", expected=expected, got=f"{verdict.no_market} ({generation})")
                item.unusable[generation] = f"{generation} sees {verdict.no_market} where {on_scale[0]} sees a market"
                self._observe(item, generation, frozenset({"scaler_off"}))  # though it must not even be run
        return None

    def _scale_of(self, item: Item, generation: Generation) -> Verdict:
        model = self._models[item.window.symbol][generation]
        return model.scale_check.judge(item.window.values[:, model.order])

    def _is_calm(self, item: Item, generation: Generation) -> bool:
        model = self._models[item.window.symbol][generation]
        return model.scale_check.is_calm(item.window.values[:, model.order])

    def _reroute(self, item: Item, settings: Settings) -> bool:
        """Give the answer to another arm where a model of this one is out; True where models may have to be run."""
        out = {**item.out, **item.unusable}
        if not out or item.fault is not None:
            return False
        symbol = item.window.symbol
        decision = fall_back(item.asked, settings, symbol, self._models[symbol], out)
        if decision is None:
            item.fault = not_finite() if item.gave_nothing else _no_healthy_arm(symbol, list(out.values()))
            return False
        new = [generation for generation in decision.generations if generation not in item.decision.generations]
        item.decision = decision
        if new:
            item.fault = self.scale_fault(item, new)
        return bool(new) and item.fault is None

    def _run_models(self, calls: Sequence[Call]) -> None:
        """Run each model once over all its windows of the batch."""
        queues: dict[tuple[str, Generation], list[tuple[Item | None, Call]]] = {}
        for call in calls:
            for item in call.items:
                for generation in item.decision.generations if item.fault is None else ():
                    queues.setdefault((item.window.symbol, generation), []).append((item, call))
            for symbol in call.stand_ins:
                for generation in self._models.get(symbol, {}):
                    queues.setdefault((symbol, generation), []).append((None, call))
        # in the order of the generations, so that nobody's neighbours decide in which order its models are pooled
        for (symbol, generation), queue in sorted(queues.items(), key=lambda entry: GENERATIONS.index(entry[0][1])):
            if any(item is not None for item, _ in queue):
                self._run_model(symbol, generation, queue)

    def _run_missing(self, item: Item, call: Call) -> None:
        for generation in item.decision.generations:
            if generation not in item.answers:
                self._run_model(item.window.symbol, generation, [(item, call)])

    def _run_model(self, symbol: str, generation: Generation, queue: Sequence[tuple[Item | None, Call]]) -> None:
        model = self._models[symbol][generation]
        rows = [model.neutral if item is None else item.window.values[:, model.order] for item, _ in queue]
        batch = rows[0][None] if len(rows) == 1 else np.stack(rows)  # (batch, window, features)
        output = model.engine.predict_rows(np.ascontiguousarray(batch))
        finite = output.finite
        for row, (item, call) in enumerate(queue):
            if item is None:
                continue
            if finite[row]:
                self._take(item, call, generation, model, output.raw_logits[row], output.probabilities[row])
            elif call.is_probe:
                item.fault = not_finite()
            else:
                item.gave_nothing = True
                item.unusable[generation] = f"{generation} gives no finite answer to this window"
                self._observe(item, generation, frozenset({"not_finite"}))

    def _take(
        self, item: Item, call: Call, generation: Generation, model: Model, raw_logits: Floats, probabilities: Floats
    ) -> None:
        manifest = model.bundle.manifest
        clamp = manifest.calibration.clamp
        logits = raw_logits.tolist()
        signs = signs_of(logits, clamp, max(probabilities.tolist()), scale=item.scale_signs.get(generation))
        clamped = "clamped" in signs
        item.answers[generation] = ModelAnswer(
            generation, manifest, model.bundle.sha256, raw_logits, probabilities, clamped
        )
        item.warnings_of[generation] = [sign for sign in ("clamped", "clamp_tie") if sign in signs]
        if not model.bundle.passed_gates:
            item.warnings_of[generation].append("failed_gates")
        if not call.is_probe:
            self._metrics.logits(item.window.symbol, generation, logits)
            standing = self._observe(item, generation, signs)
            item.warnings_of[generation].extend(f"invariant_{rule}" for rule in standing.broken)
            if standing.out is not None:  # by this very answer, or by one before it in the batch
                item.unusable[generation] = standing.out

    def _observe(self, item: Item, generation: Generation, signs: frozenset[str]) -> Standing:
        """Take the prediction into the last five of its model."""
        symbol = item.window.symbol
        standing = self._guardrails.observe(symbol, generation, signs, item.window.request_id, input_off=item.input_off)
        if standing.broken:
            self._metrics.breaks(symbol, generation)
        before = self._broken.get((symbol, generation), frozenset())
        if standing.broken != before:
            self._broken[symbol, generation] = standing.broken
            self._metrics.invariants(symbol, generation, standing.broken)
            level = logging.ERROR if standing.broken else logging.WARNING
            event(
                level,
                "invariants_changed",
                endpoint=self._endpoint,
                symbol=symbol,
                generation=generation,
                broken=sorted(standing.broken),
                request_id=item.window.request_id,
            )
        return standing


def _no_healthy_arm(symbol: str, reasons: Sequence[str]) -> RequestError:
    got = "; ".join(reasons) + "; signalserve toggle show says more, toggle clear lets a model answer again"
    return NoHealthyArm("model", expected=f"an arm of {symbol} that may answer", got=got)
