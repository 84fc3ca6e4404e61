"""What each arm is held against: a model's own reference, or one that is made for the pool in force.

A toggle can set any weights, so a pool's reference is made when it is first asked for: half a minute of computing, in a
process of its own and out of everybody's way, kept beside the journal for the next start.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from signalserve.bundle import Bundle
from signalserve.drift.limits import SIMULATED_DAYS, VERSION
from signalserve.drift.reference import Reference
from signalserve.journal.reading import Maker
from signalserve.log import event

FOLDER: Final = "references"
"""In the journal's folder."""

CHILD_S: Final = 15 * 60.0
"""What a child may take: forty times what it usually does, on a machine that is busy."""

RETRY_S: Final = 60.0
"""After the first failure of a recipe; twice as long after each further one, RETRY_MOST_S at most."""

RETRY_MOST_S: Final = 3600.0

KEPT_S: Final = 90 * 86_400.0
"""How long a pool's reference is kept that nobody reads."""


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


@dataclass(frozen=True)
class _Making:
    """A child at work. wanted: other recipes that were asked for since this one last was."""

    name: str
    process: subprocess.Popen[bytes]
    deadline: float
    wanted: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Failure:
    times: int
    retry_at: float


class References:
    """`of` is asked by one thread, again and again; `close` ends what is being made."""

    def __init__(
        self,
        models: Mapping[str, ModelReference],
        folder: Path,
        *,
        simulated_days: int = SIMULATED_DAYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """folder: where the pools' are kept; made when the first is.  simulated_days: for their limits.  clock: s."""
        self._models = models
        self._folder = folder
        self._simulated_days = simulated_days
        self._clock = clock
        self._pools: dict[str, Reference] = {}
        self._failures: dict[str, _Failure] = {}
        self._making: _Making | None = None
        self._tidy()

    def in_force(self, maker: Maker) -> bool:
        """Whether every model that took part is one of the archives'."""
        return all(model.sha256 in self._models for model in maker.models)

    def of(self, maker: Maker) -> Reference | None:
        """The reference of what made a prediction; None where there is none, or it is still being made."""
        self._look_after_making()
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
        self._end_making()

    def _reference(self, sha256: str) -> Reference | None:
        model = self._models.get(sha256)
        return model.reference if model else None

    def _read_or_make(self, name: str, maker: Maker) -> None:
        failure = self._failures.get(name)
        if failure and self._clock() < failure.retry_at:
            return
        if self._making and self._making.name == name:
            self._making.wanted.clear()
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
        if self._making and name in self._making.wanted:  # asked for twice, and what is being made not once: a toggle
            self._end_making()
        if self._making:
            self._making.wanted.add(name)
        else:
            self._make(name, maker)

    def _make(self, name: str, maker: Maker) -> None:
        members = [f"{model.weight!r}={self._models[model.sha256].folder}" for model in maker.models]
        recipe = [str(maker.method), repr(maker.temperature), str(self._simulated_days), *members]
        module = [sys.executable, "-m", "signalserve.watcher.make_reference", str(os.getpid())]
        try:
            process = subprocess.Popen(
                [*module, str(self._file(name)), *recipe],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        except OSError as error:
            self._failed(name, str(error))
        else:
            self._making = _Making(name, process, self._clock() + CHILD_S)

    def _look_after_making(self) -> None:
        if self._making is None:
            return
        name, process = self._making.name, self._making.process
        if process.poll() is None:
            if self._clock() >= self._making.deadline:
                self._end_making()
                self._failed(name, f"it was not done after {CHILD_S / 60:.0f} min, and was ended")
            return
        self._making = None
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read().decode(errors="replace").strip()
        if process.returncode:
            self._failed(name, said[-500:] or f"it ended with {process.returncode}")
            return
        try:
            self._pools[name] = self._read(name)
        except (OSError, ValueError) as error:
            self._failed(name, str(error))

    def _end_making(self) -> None:
        if self._making:
            with self._making.process as process:
                process.kill()
            self._making = None

    def _failed(self, name: str, reason: str) -> None:
        """To be tried again, ever more seldom: a full disk is mended, and a defect fails each time."""
        times = self._failures[name].times + 1 if name in self._failures else 1
        wait_s = min(RETRY_S * 2 ** (times - 1), RETRY_MOST_S)
        self._failures[name] = _Failure(times, self._clock() + wait_s)
        event(logging.ERROR, "reference_failed", reference=name, reason=reason, again_in_s=wait_s)

    def _read(self, name: str) -> Reference:
        file = self._file(name)
        reference = Reference.from_json(json.loads(file.read_bytes()))
        self._failures.pop(name, None)
        with suppress(OSError):  # its age tells only how long nobody has read it
            os.utime(file)
        return reference

    def _tidy(self) -> None:
        """Delete what nobody has read for KEPT_S, and what a child that was killed has left."""
        oldest = time.time() - KEPT_S
        for file in [*self._folder.glob("*.json"), *self._folder.glob("*.new")]:
            with suppress(OSError):
                if file.suffix == ".new" or file.stat().st_mtime < oldest:
                    file.unlink()

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"
