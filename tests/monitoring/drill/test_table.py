"""What a drill concludes of what has fired, and how it tells it."""

from monitoring.drill.faults import FAULTS, Fault
from monitoring.drill.run import Fired, Result, Watch
from monitoring.drill.table import table, unseen
from monitoring.rules.written import GROUPS
from tests.live.prometheus import Alert

FAULT = Fault(
    "feed-frozen", "a bar for ever", frozenset({"AsOfStill"}), "repeats count once", 60, frozenset({"BTC-USD"})
)


def result(*names: str, minutes: int = 20, symbol: str = "BTC-USD") -> Result:
    where = frozenset({(symbol, "v8", "", "", "")})
    return Result(FAULT, [Fired(name, "page", minutes, 60, where) for name in names], 0, 60, 240.0, 240.0)


def alert(name: str, **labels: str) -> Alert:
    return Alert({"alertname": name, "severity": "page", **labels}, {}, "firing", "")


def test_the_expected_set_and_no_other_is_right() -> None:
    assert result("AsOfStill").is_as_expected
    assert result().missing == ["AsOfStill"]
    assert result("AsOfStill", "ClassRun").unexpected == ["ClassRun"]


def test_an_alert_of_a_symbol_without_the_fault_is_unexpected() -> None:
    assert result("AsOfStill", symbol="SOL-USD").unexpected == ["AsOfStill of SOL-USD"]


def test_an_alert_before_the_fault_is_unexpected() -> None:
    assert result("AsOfStill", minutes=-3).unexpected == ["AsOfStill before the fault"]


def test_what_fires_without_any_fault_is_left_out() -> None:
    watch = Watch()
    watch.see([alert("FailedGates"), alert("ClassRun", symbol="BTC-USD", arm="v8")], 5, 15)
    watch.see([alert("ClassRun", symbol="ETH-USD", arm="v8")], 9, 27)
    [fired] = watch.fired()
    assert (fired.name, fired.minutes, fired.predictions, len(fired.where)) == ("ClassRun", 5, 15, 2)


def test_the_table_shows_when_each_alert_came_and_what_is_wrong() -> None:
    assert "AsOfStill of v8: page, 60 (20) | yes |" in table([result("AsOfStill")])
    assert "none in 60 minutes | **no**: missing: AsOfStill |" in table([result()])


def test_what_cannot_be_seen_is_listed_with_its_reason() -> None:
    blind = Fault("neighbours-swapped", "two columns swapped", frozenset(), "both are alike", 60)
    listed = unseen([Result(blind, [], 0, 60, 240.0, 240.0), result("AsOfStill")])
    assert listed == "- `neighbours-swapped`: two columns swapped. Both are alike.\n"


def test_only_alerts_that_there_are_are_expected() -> None:
    known = {alert.name for group in GROUPS for alert in group.alerts}
    assert {name for fault in FAULTS for name in fault.expected} <= known
