"""Files of a service that nobody runs, and an operator who answers as told, for the tests of toggles."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signalserve.toggles.change import Files, Outcome, Plan, Rewritten, change
from signalserve.toggles.edit import edit
from signalserve.toggles.history import Author

TEXT = """\
defaults:
  mode: {:<10}# who answers
  weights: {{v6_fixed: 0.4, v8: 0.6}}
  pool: {{method: linear, temperature: 1.0}}
"""
SOMEBODY = Author("somebody", "a test")


class Answers:
    """An operator. yes: to what is asked.  plans, reasons: what was."""

    def __init__(self, yes: bool = True, unrecorded: bool = True) -> None:
        self._yes = yes
        self._unrecorded = unrecorded
        self.plans: list[Plan] = []
        self.reasons: list[str] = []

    def approve(self, plan: Plan) -> bool:
        self.plans.append(plan)
        return self._yes

    def approve_unrecorded(self, reason: str) -> bool:
        self.reasons.append(reason)
        return self._unrecorded

    def approve_clear(self, latches: object) -> bool:
        return self._yes


def files_in(folder: Path, mode: str = "v6_fixed") -> Files:
    """A right serving.yaml; the journal and the model store are not there."""
    settings = folder / "serving.yaml"
    settings.write_text(TEXT.format(mode))
    return Files(settings, folder / "journal", folder / "model_store")


def to_mode(files: Files, mode: str, operator: Answers | None = None) -> Outcome:
    """Change the defaults' mode, as `toggle mode` does."""

    def rewrite(text: str) -> Rewritten:
        return Rewritten(edit(text, {("defaults", "mode"): mode}))

    return change(files, f"mode {mode}", rewrite, SOMEBODY, operator or Answers())


NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, who may do everything; as they are, for everybody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
