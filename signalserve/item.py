"""One request and each of its windows on the way to an answer, and what arms follow from the models that ran."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from signalserve.ensemble import pool
from signalserve.errors import RequestError
from signalserve.journal.lines import ArmLine, PredictionLine
from signalserve.off_scale import Verdict
from signalserve.request import Window
from signalserve.response import ModelAnswer
from signalserve.routing import Decision
from signalserve.settings import GENERATIONS, Defaults, Generation, Pool

Floats = npt.NDArray[np.float64]


@dataclass
class Item:
    """asked: who should answer.  decision: who does, another where a model is out.

    scales: how far the window is off each model's scale, of every model that may run.  scale_signs: what that says of
    the model, as names of invariants.  input_off: the window is what is
    wrong, and says nothing about any model.  out: the models that guardrails had taken out before the window came.
    unusable: those that must not answer this window for what they make of it, with the reason.  gave_nothing: a model
    that ran gave NaN or infinity.  answers: of the models that ran.  warnings: of the prediction; warnings_of: those
    that hold only if that model answers.  recorded: the arms that stand in the journal already.
    """

    window: Window
    asked: Decision
    decision: Decision
    input_off: bool = False
    scales: dict[Generation, Verdict] = field(default_factory=dict)
    scale_signs: dict[Generation, str] = field(default_factory=dict)
    out: Mapping[Generation, str] = field(default_factory=dict)
    unusable: dict[Generation, str] = field(default_factory=dict)
    gave_nothing: bool = False
    answers: dict[Generation, ModelAnswer] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    warnings_of: dict[Generation, list[str]] = field(default_factory=dict)
    fault: RequestError | None = None
    prediction_id: str = ""
    feed: str | None = None
    recorded: frozenset[str] = frozenset()

    def all_warnings(self, generations: Iterable[Generation]) -> list[str]:
        """What there is to say of an answer by these models."""
        return sorted({*self.warnings, *(each for one in generations for each in self.warnings_of.get(one, ()))})

    @property
    def answering(self) -> list[ModelAnswer]:
        """The answers that make the prediction, in the order of the generations."""
        return [self.answers[generation] for generation in self.decision.generations]

    @cached_property
    def probabilities(self) -> Floats:
        """Of the prediction, (classes,): the one model's own, else the pool's. Not before all of them have run."""
        return pooled(self.answers, self.decision.weights, self.decision.pool)

    def line(
        self,
        endpoint: str,
        config: str,
        received_ms: int,
        latency_ms: float,
        arms: Sequence[ArmLine],
    ) -> PredictionLine:
        """The journal's line. config: sha256 of the settings in force."""
        window, decision = self.window, self.decision
        return PredictionLine(
            self.prediction_id,
            window.request_id,
            endpoint,
            window.symbol,
            window.as_of_ms,
            received_ms,
            window.close,
            self.feed,
            config,
            decision.mode,
            decision.assigned,
            decision.override,
            decision.degraded,
            latency_ms,
            arms,
        )


@dataclass
class Call:
    """One request. stand_ins: symbols of a wrong request's windows, whose places neutral ones take.

    content: the answer of a request that asks for no prediction.
    """

    is_probe: bool
    request_id: str | None = None
    is_batch: bool = False
    items: list[Item] = field(default_factory=list)
    faults: tuple[RequestError, ...] = ()
    stand_ins: Sequence[str] = ()
    content: object = None


def pooled(answers: Mapping[Generation, ModelAnswer], weights: Mapping[Generation, float], how: Pool) -> Floats:
    """Probabilities (classes,) of the models with a weight above 0; a single model's are its own."""
    parts = [answers[g] for g in GENERATIONS if weights.get(g, 0.0) > 0]
    if len(parts) == 1:
        return parts[0].probabilities
    probabilities = np.stack([part.probabilities for part in parts])[:, None]  # (models, 1, classes)
    shares = np.array([weights[part.generation] for part in parts])
    together: Floats = pool(probabilities, shares, how.method, how.temperature)[0]
    return together


def arm_lines(item: Item, own: Defaults, *, answered: bool) -> list[ArmLine]:
    """Every arm that follows from the models that ran. own: the symbol's settings.  answered: mark what answered."""
    decision, out = item.decision, {**item.out, **item.unusable}
    lines = [
        _single(item, answer, answered=answered and decision.variant == generation, out=generation in out)
        for generation, answer in item.answers.items()
    ]
    if answered and decision.variant == "ensemble":
        lines.append(_pool(item, decision.weights, decision.pool, item.probabilities, out, answered=True))
    else:
        members = [generation for generation in GENERATIONS if own.weights.get(generation, 0.0) > 0]
        if len(members) > 1 and all(generation in item.answers for generation in members):
            together = pooled(item.answers, own.weights, own.pool)
            lines.append(_pool(item, own.weights, own.pool, together, out, answered=False))
    return lines


def _single(item: Item, answer: ModelAnswer, *, answered: bool, out: bool) -> ArmLine:
    scale = item.scales[answer.generation]
    return ArmLine(
        answer.generation,
        answered,
        out,
        answer.probabilities.tolist(),
        answer.raw_logits.tolist(),
        answer.manifest.calibration.temperature,
        [answer.sha256],
        [1.0],
        None,
        item.all_warnings([answer.generation]),
        off_scale=scale.share,
        largest_z=scale.largest,
    )


def _pool(
    item: Item,
    weights: Mapping[Generation, float],
    how: Pool,
    probabilities: Floats,
    out: Mapping[Generation, str],
    *,
    answered: bool,
) -> ArmLine:
    members: Sequence[Generation] = [generation for generation in GENERATIONS if weights.get(generation, 0.0) > 0]
    return ArmLine(
        "ensemble",
        answered,
        any(generation in out for generation in members),
        probabilities.tolist(),
        None,
        how.temperature,
        [item.answers[generation].sha256 for generation in members],
        [weights[generation] for generation in members],
        how.method,
        item.all_warnings(members),
    )
