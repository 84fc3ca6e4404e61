"""Texts of alerts."""

import doctest

import pytest

from monitoring.rules import timescale, words


def test_labels_and_values_become_prometheus_templates() -> None:
    assert words.template("{symbol} by {value:count}") == '{{ $labels.symbol }} by {{ $value | printf "%.0f" }}'


def test_another_series_is_looked_up_for_the_same_service_and_labels() -> None:
    text = words.template("{signalserve_drift_n(symbol, arm):count}")
    assert "signalserve_drift_n{job='%s',instance='%s',symbol='%s',arm='%s'}" in text
    assert "$labels.job $labels.instance $labels.symbol $labels.arm | query" in text


def test_what_is_not_found_is_said_to_be_unknown() -> None:
    assert words.template("{up(job)}").endswith("{{ else }}unknown{{ end }}")


def test_a_text_tells_which_series_and_labels_it_needs() -> None:
    text = "{symbol} {value} {signalserve_drift_n(symbol, window)}"
    assert words.series_named(text) == {"signalserve_drift_n"}
    assert words.labels_named(text) == {"symbol", "window", "job", "instance"}


def test_a_form_that_is_none_is_refused() -> None:
    with pytest.raises(KeyError, match="roman"):
        words.template("{value:roman}")


@pytest.mark.parametrize("module", [words, timescale], ids=lambda module: module.__name__)
def test_examples_run(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
