"""What each arm is held against: a model's own reference, or one that is made for the pool in force.

A toggle can set any weights, so a pool's reference is made when it is first asked for: twenty seconds of drawing, in a
process of its own and out of everybody's way, kept beside the journal for the next start.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signalserve.bundle import Bundle
from signalserve.drift.limits import SIMULATED_DAYS, VERSION
from signalserve.drift.reference import Reference
from signalserve.journal.reading import Maker
from signalserve.log import event

FOLDER: Final = "references"
"""In the journal's folder."""


@dataclass(frozen=True)
class ModelReference:
    """What a model brings. reference: None where its bundle has none."""

    folder: Path
    clamp: float
    reference: Reference | None


def model_references(bundles: Sequence[Bundle]) -> dict[str, ModelReference]:
    """sha256 of the manifest -> what it brings. A `drift` that nobody can read is logged, and is none."""
    return {
        bundle.sha256: ModelReference(bundle.path, bundle.manifest.calibration.clamp, _own(bundle))
        for bundle in bundles
    }


def _own(bundle: Bundle) -> Reference | None:
    content = bundle.reference.get("drift")
    if content is None:
        return None
    try:
        return Reference.from_json(content)
    except ValueError as error:
        event(logging.ERROR, "reference_unreadable", bundle=bundle.name, reason=str(error))
        return None


class References:
    """`of` is asked by one thread; `close` ends what is being made."""

    def __init__(
        self, models: Mapping[str, ModelReference], folder: Path, *, simulated_days: int = SIMULATED_DAYS
    ) -> None:
        """folder: where the pools' are kept; made when the first is.  simulated_days: for their limits."""
        self._models = models
        self._folder = folder
        self._simulated_days = simulated_days
        self._pools: dict[str, Reference] = {}
        self._failed: set[str] = set()
        self._making: tuple[str, subprocess.Popen[bytes]] | None = None

    def of(self, maker: Maker) -> Reference | None:
        """The reference of what made a prediction; None where there is none, or it is still being made."""
        if maker.method is None:
            model = self._models.get(maker.models[0].sha256)
            return model.reference if model else None
        if any(self._reference(model.sha256) is None for model in maker.models):
            return None
        recipe = json.dumps(
            {
                "members": sorted((model.sha256, model.weight) for model in maker.models),
                "method": maker.method,
                "temperature": maker.temperature,
                "simulated_days": self._simulated_days,
                "arithmetic": VERSION,
            }
        )
        name = hashlib.sha256(recipe.encode()).hexdigest()[:16]
        if name not in self._pools:
            self._read_or_make(name, maker)
        return self._pools.get(name)

    def clamp_of(self, maker: Maker) -> float | None:
        model = self._models.get(maker.models[0].sha256)
        return model.clamp if model and maker.method is None else None

    def close(self) -> None:
        if self._making:
            with self._making[1] as process:
                process.kill()
            self._making = None

    def _reference(self, sha256: str) -> Reference | None:
        model = self._models.get(sha256)
        return model.reference if model else None

    def _read_or_make(self, name: str, maker: Maker) -> None:
        self._look_after_making()
        if name in self._pools or name in self._failed or (self._making and self._making[0] == name):
            return
        try:
            self._pools[name] = self._read(name)
            return
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            file = self._file(name)
            event(logging.WARNING, "reference_unreadable", file=str(file), reason=str(error), then="made anew")
            with suppress(OSError):
                file.unlink()
        if self._making is None:
            self._make(name, maker)

    def _make(self, name: str, maker: Maker) -> None:
        members = [f"{model.weight!r}={self._models[model.sha256].folder}" for model in maker.models]
        recipe = [str(maker.method), repr(maker.temperature), str(self._simulated_days), *members]
        command = [sys.executable, "-m", "signalserve.watcher.make_reference", str(self._file(name)), *recipe]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        except OSError as error:
            self._give_up(name, str(error))
        else:
            self._making = name, process

    def _look_after_making(self) -> None:
        if self._making is None or self._making[1].poll() is None:
            return
        name, process = self._making
        self._making = None
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read().decode(errors="replace").strip()
        if process.returncode:
            self._give_up(name, said[-500:] or f"it ended with {process.returncode}")
            return
        try:
            self._pools[name] = self._read(name)
        except (OSError, ValueError) as error:
            self._give_up(name, str(error))

    def _give_up(self, name: str, reason: str) -> None:
        """Until the next start: a recipe that failed once would fail every ten seconds."""
        event(logging.ERROR, "reference_failed", reference=name, reason=reason)
        self._failed.add(name)

    def _read(self, name: str) -> Reference:
        return Reference.from_json(json.loads(self._file(name).read_bytes()))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"
