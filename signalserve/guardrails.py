"""Guardrails: a model that breaks a hard invariant is out of the answer, in every worker, until an operator clears it.

Watched are models, not arms: where V8 is out, so is every arm that V8 takes part in.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from signalserve.candles import iso
from signalserve.invariants import TAKES_OUT, broken
from signalserve.journal.lines import EventLine, new_event
from signalserve.latches import Latch, Latches, latch_name
from signalserve.log import event
from signalserve.models import Models
from signalserve.recent import Recent
from signalserve.settings import Generation

Record = Callable[[EventLine], None]


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
        keys = [(symbol, generation) for symbol, by in models.items() for generation in by]
        self._recent = Recent(keys, shared / f"recent-{endpoint}.bin" if shared else None)
        self._own: dict[str, Latch] = {}  # by file name too, where the folder can't be used
        self._latches: Latches | None = None
        if latches is not None:
            try:
                self._latches = Latches(latches)
            except OSError as error:
                event(logging.ERROR, "latches_not_shared", endpoint=endpoint, reason=str(error))

    def out(self, symbol: str) -> Mapping[Generation, str]:
        """The symbol's models that must not answer, each with the reason in words."""
        latches = self._all()
        if not latches:
            return {}
        found = {generation: latches.get(self._name(symbol, generation)) for generation in self._models[symbol]}
        return {
            generation: f"{generation} is out since {iso(latch.at_ms)}: {', '.join(latch.rules)}"
            for generation, latch in found.items()
            if latch is not None
        }

    def observe(
        self, symbol: str, generation: Generation, signs: frozenset[str], request_id: str | None
    ) -> frozenset[str]:
        """Take in what one prediction showed; returns the rules now broken, of which most take the model out."""
        rules = broken(self._recent.observe((symbol, generation), signs))
        fatal = rules & TAKES_OUT
        if fatal and generation not in self.out(symbol):
            self._take_out(symbol, generation, fatal, request_id)
        return rules

    def _name(self, symbol: str, generation: Generation) -> str:
        return latch_name(self._endpoint, symbol, generation, self._models[symbol][generation].bundle.sha256)

    def _all(self) -> Mapping[str, Latch]:
        if self._latches is not None:
            try:
                return self._latches.all()
            except OSError as error:
                self._go_alone(error)
        return self._own

    def _take_out(self, symbol: str, generation: Generation, rules: frozenset[str], request_id: str | None) -> None:
        latch = Latch(
            self._endpoint,
            symbol,
            generation,
            self._models[symbol][generation].bundle.sha256,
            tuple(sorted(rules)),
            time.time_ns() // 1_000_000,
            request_id,
        )
        first = True
        if self._latches is not None:
            try:
                first = self._latches.trip(latch)
            except OSError as error:
                self._go_alone(error)
        if self._latches is None:
            self._own[latch.file_name] = latch
        if first:
            self._recent.forget((symbol, generation))  # once cleared, it is judged by what it does then
            event(logging.ERROR, "guardrail_out", **asdict(latch))
            self._record(new_event("guardrail_out", "guardrail", ", ".join(latch.rules), asdict(latch)))

    def _go_alone(self, error: OSError) -> None:
        """The folder is gone or can't be written: from now on this worker keeps its own, which no other sees."""
        event(logging.ERROR, "latches_not_shared", endpoint=self._endpoint, reason=str(error))
        self._latches = None
