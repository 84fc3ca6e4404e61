"""The text of serving.yaml with other values in it: what changes, and that nothing else does."""

import difflib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from signalserve.errors import ConfigError
from signalserve.settings import parse_settings
from signalserve.toggles import changes
from signalserve.toggles.edit import edit

SHIPPED = (Path(__file__).parents[3] / "serving.yaml").read_text()
SETTINGS = parse_settings(SHIPPED, "serving.yaml")

FOREIGN = """\
defaults: {mode: ensemble,   weights: {v6_fixed: 0.4,  v8: 0.6}, # inside { }
    pool: {method: linear, temperature: 1.0}}
# before the symbols
symbols:
    BTC-USD:
        mode: 'v8'        # mine

        weights:
          v6_fixed: 0.40
          v8: 6.0e-1  # a number like no other
    # about ETH
    "ETH-USD": {mode: v8}

score_all_arms:   false
experiment:     # none yet
bundles: {}    # the end, without a newline"""


def difference(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            changes.mode("v8", None),
            [
                "-  mode: ensemble                        # v6_fixed | v8 | ensemble | ab",
                "+  mode: v8                              # v6_fixed | v8 | ensemble | ab",
            ],
        ),
        (
            changes.weights(SETTINGS, {"v8": 0.35, "v6_fixed": 0.65}, None),
            [
                "-  weights: {v6_fixed: 0.4, v8: 0.6}     # each generation's share in the pool; sum 1",
                "+  weights: {v6_fixed: 0.65, v8: 0.35}   # each generation's share in the pool; sum 1",
            ],
        ),
        (
            changes.pool("log", 0.67, None),
            [
                "-  pool: {method: linear, temperature: 1.0}   # linear | log",
                "+  pool: {method: log, temperature: 0.67}     # linear | log",
            ],
        ),
        (
            changes.weights(SETTINGS, {"v8": 1.0}, "ETH-USD"),
            [
                "-  ETH-USD: {weights: {v6_fixed: 0.451, v8: 0.549}, pool: {method: linear, temperature: 0.5505}}",
                "+  ETH-USD: {weights: {v6_fixed: 0.0, v8: 1.0}, pool: {method: linear, temperature: 0.5505}}",
            ],
        ),
        (changes.mode("v8", "DOGE-USD"), ["+  DOGE-USD: {mode: v8}"]),
        (
            changes.experiment(SETTINGS, split={"v6_fixed": 0.5, "v8": 0.5}),
            [
                "-  split: {v6_fixed: 0.8, v8: 0.1, ensemble: 0.1}",
                "+  split: {v6_fixed: 0.5, v8: 0.5, ensemble: 0.0}",
            ],
        ),
        (
            changes.experiment(SETTINGS, block_minutes=30, salt="2027-01"),
            [
                "-  block_minutes: 60                     # a symbol keeps its arm for a block of time",
                '-  salt: "2026-11"',
                "+  block_minutes: 30                     # a symbol keeps its arm for a block of time",
                '+  salt: "2027-01"',
            ],
        ),
        (
            changes.shadow(False, 12.5),
            [
                "-score_all_arms: true                    # every arm is computed and recorded, one answers: paired, "
                "and in the shadow",
                "-shadow_budget_ms: 20                    # arms that take longer are dropped and counted",
                "+score_all_arms: false                   # every arm is computed and recorded, one answers: paired, "
                "and in the shadow",
                "+shadow_budget_ms: 12.5                  # arms that take longer are dropped and counted",
            ],
        ),
    ],
)
def test_the_shipped_file_changes_in_the_lines_that_must_change(values, expected):
    assert difference(SHIPPED, edit(SHIPPED, values)) == expected


def test_a_file_of_another_style_keeps_it():
    values = {
        ("defaults", "mode"): "v8",
        ("symbols", "BTC-USD", "mode"): "ensemble",
        ("symbols", "BTC-USD", "weights", "v8"): 0.25,
        ("symbols", "ETH-USD", "pool", "method"): "log",
        ("symbols", "SOL-USD", "mode"): "ab",
        ("experiment", "name"): "first",
        ("experiment", "split", "v8"): 1.0,
        ("score_all_arms",): True,
        ("shadow_budget_ms",): 5.0,
    }
    assert difference(FOREIGN, edit(FOREIGN, values)) == [
        "-defaults: {mode: ensemble,   weights: {v6_fixed: 0.4,  v8: 0.6}, # inside { }",
        "+defaults: {mode: v8,   weights: {v6_fixed: 0.4,  v8: 0.6},       # inside { }",
        "-        mode: 'v8'        # mine",
        "+        mode: 'ensemble'  # mine",
        "-          v8: 6.0e-1  # a number like no other",
        "+          v8: 0.25    # a number like no other",
        '-    "ETH-USD": {mode: v8}',
        '+    "ETH-USD": {mode: v8, pool: {method: log}}',
        "+    SOL-USD: {mode: ab}",
        "-score_all_arms:   false",
        "-experiment:     # none yet",
        "+score_all_arms:   true",
        "+experiment: {name: first, split: {v8: 1.0}} # none yet",
        "+shadow_budget_ms: 5.0",
    ]


def test_a_first_experiment_is_a_section_of_its_own():
    values = changes.experiment(
        parse_settings("defaults: {mode: v8, weights: {v8: 1}, pool: {}}", "f"),
        name="x", split={"v6_fixed": 0.9, "v8": 0.1}, control="v6_fixed", salt="on",
    )  # fmt: skip
    section = "\nexperiment:\n  name: x\n  split: {v6_fixed: 0.9, v8: 0.1}\n  control: v6_fixed\n  salt: 'on'\n"
    assert edit("defaults: {mode: v8}", values) == f"defaults: {{mode: v8}}{section}"


@pytest.mark.parametrize("text", ["symbols: {}\n", "{symbols: {}}", '{"symbols": {}}\n', "{}"])
def test_an_empty_section_is_filled(text):
    assert yaml.safe_load(edit(text, changes.mode("v8", "BTC-USD")))["symbols"] == {"BTC-USD": {"mode": "v8"}}


def test_a_text_in_lines_is_replaced_whole():
    assert edit("a:\n  salt: |\n    one\n    two\n  b: 1\n", {("a", "salt"): "three"}) == "a:\n  salt: three\n  b: 1\n"


def test_a_value_that_is_right_already_keeps_its_spelling():
    assert edit(FOREIGN, {("symbols", "BTC-USD", "weights", "v8"): 0.6}) == FOREIGN


@pytest.mark.parametrize(
    "text",
    [
        "defaults: &all {mode: v8}\nsymbols:\n  BTC-USD: *all\n",
        "defaults: {mode: &m v8}\nsymbols: {BTC-USD: {mode: *m}}\n",
    ],
)
def test_what_stands_in_two_places_is_left_to_a_person(text):
    with pytest.raises(ConfigError, match=r"defaults.mode: expected a place of its own.* by hand"):
        edit(text, {("defaults", "mode"): "ensemble"})


def test_an_alias_is_not_changed_where_it_leads():
    text = "defaults: {pool: &p {method: linear}}\nsymbols: {BTC-USD: {pool: *p}}\n"
    with pytest.raises(ConfigError, match=r"symbols.BTC-USD.pool.method: expected a place of its own"):
        edit(text, {("symbols", "BTC-USD", "pool", "method"): "log"})


# ---- for any file and any change

MODES = st.sampled_from(["v6_fixed", "v8", "ensemble", "ab"])
SYMBOLS = st.sampled_from(["BTC-USD", "ETH-USD", "NO-1", "1INCH-USD"])
WORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
TEMPERATURES = st.floats(1e-6, 1e6)
SHARES = st.integers(0, 10_000).map(lambda n: {"v6_fixed": n / 10_000, "v8": (10_000 - n) / 10_000})

CHANGES = st.one_of(
    st.builds(lambda mode, symbol: ("mode", mode, symbol), MODES, SYMBOLS | st.none()),
    st.builds(lambda shares, symbol: ("weights", shares, symbol), SHARES, SYMBOLS | st.none()),
    st.builds(lambda t, symbol: ("pool", t, symbol), TEMPERATURES, SYMBOLS | st.none()),
    st.builds(
        lambda name, shares, control, salt: ("experiment", name, shares, control, salt),
        WORDS, SHARES, st.sampled_from(["v6_fixed", "v8"]), WORDS,
    ),
    st.builds(lambda on, ms: ("shadow", on, ms), st.booleans(), st.none() | st.floats(0.001, 9e3)),
)  # fmt: skip


def wished(content, change):
    """What the file should mean after a change, by changing its meaning and not its text; and the change's values."""
    settings = parse_settings(yaml.safe_dump(content), "f")
    match change:
        case "mode", mode, symbol:
            owner_of(content, symbol)["mode"] = mode
            return changes.mode(mode, symbol)
        case "weights", shares, symbol:
            owner_of(content, symbol)["weights"] = shares
            return changes.weights(settings, shares, symbol)
        case "pool", temperature, symbol:
            owner_of(content, symbol)["pool"] = {"method": "log", "temperature": temperature}
            return changes.pool("log", temperature, symbol)
        case "experiment", name, shares, control, salt:
            before = content.get("experiment") or {}
            split = {**dict.fromkeys(before.get("split", {}), 0.0), **shares}
            content["experiment"] = {**before, "name": name, "split": split, "control": control, "salt": salt}
            return changes.experiment(settings, name=name, split=shares, control=control, salt=salt)
        case _, on, budget:
            content["score_all_arms"] = on
            if budget is not None:
                content["shadow_budget_ms"] = budget
            return changes.shadow(on, budget)


def owner_of(content, symbol):
    return content["defaults"] if symbol is None else content["symbols"].setdefault(symbol, {})


def comments_of(text):
    return re.findall(r"(?:^|\s)(# .*)$", text, re.MULTILINE)


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.sampled_from([SHIPPED, FOREIGN]), st.lists(CHANGES, min_size=1, max_size=4))
def test_any_changes_mean_what_they_say_and_lose_no_comment(text, wanted):
    content = yaml.safe_load(text)
    for change in wanted:
        assume(change[1] != "ab" or content.get("experiment"))
        values = wished(content, change)
        after = edit(text, values)
        assert parse_settings(after, "f") == parse_settings(yaml.safe_dump(content), "f")
        assert comments_of(after) == comments_of(text)
        replaced = [line for line in difference(text, after) if line.startswith("-")]
        assert len(replaced) <= len(values)
        text = after
