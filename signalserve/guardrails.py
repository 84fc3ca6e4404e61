"""Guardrails: a model that breaks a hard invariant is out of the answer, in every worker, until an operator clears it.

Watched are models, not arms: where V8 is out, so is every arm that V8 takes part in.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from signalserve.candles import iso
from signalserve.invariants import RULES, TAKES_OUT, broken
from signalserve.journal.lines import EventLine, new_event
from signalserve.latches import Latch, Latches, latch_name
from signalserve.log import event
from signalserve.models import Models
from signalserve.recent import Recent
from signalserve.settings import Generation

LOOK_S: Final = 0.1
"""Between two looks at the folder where no worker has told of anything: a system call is 1 % of an answer."""

Record = Callable[[EventLine], None]


class Standing(NamedTuple):
    """A model after one more prediction. broken: the rules that it breaks.  out: why it must not answer, else None."""

    broken: frozenset[str]
    out: str | None


class Guardrails:
    """What one worker knows of its models' health, shared with its fellow workers by two folders."""

    def __init__(
        self,
        endpoint: str,
        models: Models,
        *,
        shared: Path | None = None,
        latches: Path | None = None,
        record: Record = lambda _: None,
    ) -> None:
        """shared: the folder of this run of the service, for the last observations.  latches: the folder that outlives
        it.  Without them all stays in this process.  record: takes the events for the journal.
        """
        self._endpoint = endpoint
        self._models = models
        self._record = record
        keys = [
            key for symbol, by in models.items() for g in by for key in (_of_model(symbol, g), _of_input(symbol, g))
        ]
        self._recent = Recent(keys, shared / f"recent-{endpoint}.bin" if shared else None)
        self._latches = Latches(latches) if latches else None
        self._known: Mapping[str, Latch] = {}  # as last seen: what is out stays so while the folder can't be read
        self._unshared: dict[str, Latch] = {}  # what the folder did not take yet
        self._fault: str | None = None
        self._news, self._look_at = -1, 0.0

    def out(self, symbol: str) -> Mapping[Generation, str]:
        """The symbol's models that must not answer, each with the reason in words."""
        latches = self._all()
        if not latches:
            return {}
        found = {generation: latches.get(self._name(symbol, generation)) for generation in self._models[symbol]}
        return {generation: _words(latch) for generation, latch in found.items() if latch is not None}

    def observe(
        self,
        symbol: str,
        generation: Generation,
        signs: frozenset[str],
        request_id: str | None,
        *,
        input_off: bool = False,
    ) -> Standing:
        """Take in what one prediction showed, and take the model out where that breaks a rule which does.

        input_off: the window is what is wrong: it neither speaks against the model nor for it.
        """
        off_scale = broken(self._recent.observe(_of_input(symbol, generation), signs & {"off_scale"}))
        latch = self._all().get(self._name(symbol, generation))
        if latch is None:  # once cleared, a model is judged by what it does then
            ring = _of_model(symbol, generation)
            fatal = broken(self._recent.seen(ring) if input_off else self._recent.observe(ring, signs & TAKES_OUT))
            if not fatal:
                return Standing(off_scale, None)
            latch = self._take_out(symbol, generation, fatal, request_id)
        return Standing(off_scale | (frozenset(latch.rules) & RULES.keys()), _words(latch))

    def _name(self, symbol: str, generation: Generation) -> str:
        return latch_name(self._endpoint, symbol, generation, self._models[symbol][generation].bundle.sha256)

    def _all(self) -> Mapping[str, Latch]:
        """Every latch that counts; where the folder fails, what was last seen there and what it did not take.

        A model that another worker takes out is seen at once, one that an operator clears within LOOK_S.
        """
        news, now = self._recent.news(), time.monotonic()
        if self._latches is not None and (news != self._news or now >= self._look_at):
            self._news, self._look_at = news, now + LOOK_S
            try:
                for latch in list(self._unshared.values()):
                    self._share(latch)
                self._known = self._latches.all()
                self._works()
            except OSError as error:
                self._fails(error)
        return {**self._known, **self._unshared} if self._unshared else self._known

    def _take_out(self, symbol: str, generation: Generation, rules: frozenset[str], request_id: str | None) -> Latch:
        latch = Latch(
            self._endpoint,
            symbol,
            generation,
            self._models[symbol][generation].bundle.sha256,
            tuple(sorted(rules)),
            time.time_ns() // 1_000_000,
            request_id,
        )
        event(logging.ERROR, "guardrail_out", **asdict(latch))
        self._unshared[latch.file_name] = latch
        if self._latches is not None:
            try:
                self._share(latch)
            except OSError as error:
                self._fails(error)
        else:
            self._recent.forget(_of_model(symbol, generation))
        return latch

    def _share(self, latch: Latch) -> None:
        """Tell all workers. Raises OSError where the folder does not take it: then each finds out by itself, from what
        they all have seen, which is forgotten only now."""
        assert self._latches is not None
        first = self._latches.trip(latch)
        self._unshared.pop(latch.file_name, None)
        self._known = {**self._known, latch.file_name: latch}
        self._recent.tell()
        if first:
            self._recent.forget(_of_model(latch.symbol, latch.generation))
            self._record(new_event("guardrail_out", "guardrail", ", ".join(latch.rules), asdict(latch)))

    def _fails(self, error: OSError) -> None:
        if self._fault != str(error):
            self._fault = str(error)
            event(logging.ERROR, "latches_not_shared", endpoint=self._endpoint, reason=self._fault)

    def _works(self) -> None:
        if self._fault is not None:
            self._fault = None
            event(logging.WARNING, "latches_shared_again", endpoint=self._endpoint)


def _words(latch: Latch) -> str:
    return f"{latch.generation} is out since {iso(latch.at_ms)}: {', '.join(latch.rules)}"


def _of_model(symbol: str, generation: str) -> str:
    return f"{symbol} {generation}"


def _of_input(symbol: str, generation: str) -> str:
    return f"{symbol} {generation} input"
