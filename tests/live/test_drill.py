"""The drill's own machinery on generated bars: faults that show at once, and none. `make drill` has them all."""

import shutil
import warnings
from dataclasses import replace

import pytest
from live.prometheus import PROGRAM
from live.server import ROOT

from monitoring.drill.faults import FAULTS, SYMBOL, Fault
from monitoring.drill.models import prepare
from monitoring.drill.run import Drill
from monitoring.drill.table import table

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import model_archiver.version  # noqa: F401  # leaves its version file open, which is a warning, and those are errors

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(PROGRAM is None, reason="no program `prometheus` on PATH: apt-get install prometheus"),
]

CLEAN, MINUTES, SPEED = 5, 30, 480.0
"""Under 100 predictions in all: drift needs as many, and is the long drill's."""

SETTINGS = """\
defaults:
  mode: ensemble
  weights: {v6_fixed: 0.4, v8: 0.6}
  pool: {method: linear, temperature: 1.0}
score_all_arms: true
allow_failed_gates: true
"""


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Drill:
    """One symbol, with references of generated bars."""
    folder = tmp_path_factory.mktemp("drill")
    for generation in ("v6_fixed", "v8"):
        shutil.copytree(
            ROOT / "model_store/bundles" / generation / SYMBOL, folder / "models/bundles" / generation / SYMBOL
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signalserve.drift.limits.SIMULATED_DAYS", 40)
        store, feeds = prepare(folder / "models", folder / "store", None, 120, print, reference_days=3)
    settings = folder / "serving.yaml"
    settings.write_text(SETTINGS)
    drill = Drill(folder / "runs", store, feeds, CLEAN, SPEED, settings)
    drill.prefill(lambda _: None)
    return drill


def quick(name: str, expected: frozenset[str] | None = None) -> Fault:
    fault = next(fault for fault in FAULTS if fault.name == name)
    return replace(fault, minutes=MINUTES, expected=fault.expected if expected is None else expected)


@pytest.mark.parametrize(
    "fault",
    [quick("nothing"), quick("scaler-bypassed", frozenset({"NotReady"})), quick("settings-wrong")],
    ids=lambda fault: fault.name,
)
def test_a_fault_raises_exactly_the_alerts_that_are_expected(drill: Drill, fault: Fault) -> None:
    result = drill.run(fault, lambda _: None)
    assert result.is_as_expected, table([result])
    assert result.failures == 0


def test_an_alert_that_nobody_expected_is_told(drill: Drill) -> None:
    result = drill.run(quick("settings-wrong", frozenset({"NoPrediction"})), lambda _: None)
    assert (result.missing, result.unexpected) == (["NoPrediction"], ["ConfigRefused"])
