"""Which windows are compared, who competes on them, and what the figures say, on made-up models."""

from dataclasses import replace

import numpy as np
import pytest
from contests import BAND, BARS, HORIZON, TAUGHT, WINDOW, bundle, contest, output, series, span

from export.bootstrap import mean_interval
from export.comparison import Comparison, chosen_method, compete, measure_costs
from export.contest import (
    BY_HAND,
    EARLIER_SHARES,
    FULL_FIT,
    OWN_SHARES,
    UNCALIBRATED,
    V6,
    V8,
    WEIGHTED,
    check_comparable,
    check_one_horizon,
    parts,
)
from export.decision import candidates_of
from export.dependence import effective_labels
from export.paired import confidence_of, difference_of, figures_of, mean_of, together
from signalserve.bundle import Labels, Spans
from signalserve.engine import Engine, Output
from signalserve.errors import ConfigError, DataError

NO_SPANS = Spans(train=None, calibration=None, test=None)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    """V8 knows more than V6-fixed; together they know most."""
    one = contest()
    return compete(one, (output(one, knows=0.5, seed=1), output(one, knows=1.2, seed=2)))


def cut(manifests: list, fit_share: float | None = None, assume_unseen: bool = False) -> tuple:
    one = series()
    return parts([one, one], [b.manifest for b in manifests], HORIZON, fit_share, assume_unseen)


def test_the_parts_come_after_both_training_spans_and_share_no_bar() -> None:
    late = Spans(train=span(0, 899), calibration=span(900, 2000), test=None)
    calibration, test = cut([bundle(V6), bundle(V8, spans=late)])
    assert calibration.bars.start == 900
    assert calibration.bars.stop == test.bars.start == 2500
    assert test.bars.stop == len(series())


def test_where_no_calibration_is_known_a_share_of_the_windows_fits() -> None:
    spans = Spans(train=span(0, 499), calibration=None, test=None)
    calibration, test = cut([bundle(V6, spans=spans), bundle(V8, spans=spans)])
    assert len(calibration) == round(0.5 * (BARS - 500 - WINDOW - HORIZON + 1))
    assert test.ends[0] - calibration.ends[-1] > WINDOW + HORIZON


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_share_never_brings_the_test_part_before_the_end_of_a_calibration(share: float) -> None:
    calibration, test = cut([bundle(V6), bundle(V8)], share)
    assert len(calibration) == round(share * (BARS - 500 - WINDOW - HORIZON + 1))
    assert test.bars.start >= max(2500, calibration.bars.stop)


def test_models_of_unknown_training_are_refused_unless_the_caller_vouches() -> None:
    unknown = [bundle(V6, spans=NO_SPANS), bundle(V8, spans=NO_SPANS)]
    with pytest.raises(DataError, match="does not say which bars it was trained on"):
        cut(unknown)
    calibration, test = cut(unknown, assume_unseen=True)
    assert calibration.bars.start == 0 < len(test)


def test_too_few_bars_for_two_parts_are_refused_with_their_number() -> None:
    seen = Spans(train=span(0, BARS - 25), calibration=None, test=None)
    with pytest.raises(DataError, match=r"got 14 windows: 7 before and 0 after; give more bars after the training"):
        cut([bundle(V6, spans=seen), bundle(V8, spans=seen)])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Labels(horizon_bars=15, neutral_band=BAND), r"v6_fixed was taught 1 bars ahead .* v8 15 bars ahead .*no comp"),
        (Labels(horizon_bars=1, neutral_band=0.015), r"band of 0\.0003, v8 1 bars ahead with a band of 0\.015"),
    ],
)
def test_models_that_were_taught_differently_are_refused(other: Labels, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_comparable([bundle(V6), bundle(V8)], [TAUGHT, other])


def test_models_of_different_windows_or_intervals_are_refused() -> None:
    with pytest.raises(DataError, match=r"v6_fixed reads 10 bars of 60 s, v8 10 bars of 300 s"):
        check_comparable([bundle(V6), bundle(V8, interval_ms=300_000)], [TAUGHT, TAUGHT])


@pytest.mark.parametrize("pair", [(V8, V8), ("v7", V8), (V6, "v7")])
def test_other_generations_are_refused_by_name(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"a v6_fixed and a v8 of one symbol, got {pair[0]}/BTC-USD/1"):
        check_comparable([bundle(name) for name in pair], [TAUGHT, TAUGHT])


def test_two_symbols_are_no_pair_and_two_horizons_no_whole() -> None:
    with pytest.raises(ConfigError, match="of one symbol, got v6_fixed/BTC-USD/1 and v8/ETH-USD/1"):
        check_comparable([bundle(V6), bundle(V8, "ETH-USD")], [TAUGHT, TAUGHT])
    other = replace(contest("ETH-USD"), taught=Labels(horizon_bars=5, neutral_band=BAND))
    with pytest.raises(DataError, match="BTC-USD 1 bars of 60 s; ETH-USD 5 bars of 60 s; compare one at a time"):
        check_one_horizon([contest(), other])


def test_nothing_of_the_test_part_touches_a_fit(compared: Comparison) -> None:
    one = compared.contest
    disturbed = []
    for knows, seed in ((0.5, 1), (1.2, 2)):
        clean = output(one, knows=knows, seed=seed)
        noise = output(one, knows=-3, seed=9)
        fitting = np.arange(len(one.ends))[:, None] < len(one.calibration)
        disturbed.append(
            Output(
                np.where(fitting, clean.raw_logits, noise.raw_logits),
                np.where(fitting, clean.probabilities, noise.probabilities),
            )
        )
    labels = one.labels.copy()
    labels[one.test.ends] = 2
    again = compete(replace(one, labels=labels), (disturbed[0], disturbed[1]))
    assert again.contestants == compared.contestants
    assert again.fits == compared.fits
    assert again.temperatures == compared.temperatures
    assert again.calibration_nll == compared.calibration_nll
    assert (again.stream.forecasts[EARLIER_SHARES] == compared.stream.forecasts[EARLIER_SHARES][0]).all()
    assert (again.stream.forecasts[OWN_SHARES] == [0, 0, 1]).all()
    assert difference_of(again.stream, V8, V6).nll.value != difference_of(compared.stream, V8, V6).nll.value


def test_everybody_forecasts_every_window_of_the_test_part(compared: Comparison) -> None:
    names = [V6, V8, *BY_HAND.values(), *WEIGHTED.values(), *FULL_FIT.values(), UNCALIBRATED]
    assert sorted(c.name for c in compared.contestants) == sorted(names)
    for said in compared.stream.forecasts.values():
        assert said.shape == (len(compared.contest.test), 3)
        np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-12)


def test_shares_are_those_of_the_calibration_part_and_in_hindsight_of_the_test_part(compared: Comparison) -> None:
    one, stream = compared.contest, compared.stream
    for name, part in ((EARLIER_SHARES, one.calibration), (OWN_SHARES, one.test)):
        shares = [(one.labels[part.ends] == k).mean() for k in range(3)]
        np.testing.assert_allclose(stream.forecasts[name], np.tile(shares, (len(one.test), 1)), atol=1e-12)
    hindsight, earlier = (figures_of(stream, name, 0.6).nll.value for name in (OWN_SHARES, EARLIER_SHARES))
    assert hindsight < earlier  # the shares that came are the best constant forecast


def test_the_models_are_compared_on_the_calibration_part_too_by_plain_arithmetic(compared: Comparison) -> None:
    one, n = compared.contest, len(compared.contest.calibration)
    labels, said = one.labels[one.calibration.ends], output(one, knows=1.2, seed=2).probabilities[:n]
    expected = -np.log(said[np.arange(n), labels]).mean()
    assert compared.calibration_nll[V8] == pytest.approx(expected)
    fits = {method: replace(fit, n=3 * n) for method, fit in compared.fits.items()}
    longer = replace(compared, contest=contest("ETH-USD"), fits=fits, calibration_nll={V6: 1.0, V8: 2.0})
    both = candidates_of([compared, longer], FULL_FIT["log"])
    assert both.nll[V8] == pytest.approx((expected + 3 * 2.0) / 4)
    assert both.weights.keys() == both.gates.keys() == {"BTC-USD", "ETH-USD"}


def test_only_the_pool_of_untempered_models_cannot_be_served(compared: Comparison) -> None:
    assert [c.name for c in compared.contestants if not c.adoptable] == [UNCALIBRATED]


def test_a_difference_that_is_there_is_shown_with_its_sign(compared: Comparison) -> None:
    found = difference_of(compared.stream, V8, V6)
    assert found.better == V8
    assert found.nll.value < 0 < found.accuracy.value
    assert difference_of(compared.stream, V6, V8).better == V8


def test_identical_models_show_no_difference() -> None:
    one = contest()
    same = output(one, knows=1.0)
    stream = compete(one, (same, same)).stream
    for name in (V6, *WEIGHTED.values(), *BY_HAND.values()):
        found = difference_of(stream, V8, name)
        assert found.better is None
        assert found.nll.value == pytest.approx(0, abs=1e-12)


def test_figures_are_those_of_plain_arithmetic(compared: Comparison) -> None:
    stream = compared.stream
    said, n = stream.forecasts[V8], len(stream.labels)
    found = figures_of(stream, V8, 0.6)
    came = said[np.arange(n), stream.labels]
    assert found.nll.value == pytest.approx(-np.log(came).mean())
    assert found.brier.value == pytest.approx(((said - np.eye(3)[stream.labels]) ** 2).sum(axis=1).mean())
    hits = said.argmax(axis=1) == stream.labels
    sure = said.max(axis=1) >= 0.6
    assert found.accuracy.value == pytest.approx(hits.mean())
    assert (found.acted_on.n, found.acted_on.accuracy) == (sure.sum(), pytest.approx(hits[sure].mean()))
    assert found.confidence.null < found.confidence.limit


def test_a_calibrated_forecast_is_within_chance_and_a_distorted_one_is_not(compared: Comparison) -> None:
    stream = compared.stream
    said = stream.forecasts[UNCALIBRATED]
    uniform = np.random.default_rng(0).random((len(said), 1))
    drawn = replace(stream, labels=(uniform > said.cumsum(axis=1)).sum(axis=1).clip(max=2))
    assert confidence_of(drawn, UNCALIBRATED).calibrated
    sharp = said**4 / (said**4).sum(axis=1, keepdims=True)
    assert not confidence_of(replace(drawn, forecasts={V8: sharp}), V8).calibrated


def test_the_mean_of_a_whole_series_has_the_plain_block_bootstraps_interval(compared: Comparison) -> None:
    values = np.random.default_rng(0).normal(size=len(compared.stream.labels))
    found, plain = mean_of(compared.stream, values).interval, mean_interval(values, HORIZON)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_a_window_that_is_not_judged_leaves_a_gap_in_time(compared: Comparison) -> None:
    stream = compared.stream
    kept = np.arange(len(stream.labels)) % 3 > 0
    fewer = replace(stream, times_ms=stream.times_ms[kept], labels=stream.labels[kept])
    values = np.random.default_rng(0).normal(size=len(stream.labels))[kept]
    found = mean_of(fewer, values)
    assert found.value == pytest.approx(values.mean())
    assert found.interval.low < values.mean() < found.interval.high


def test_labels_share_their_luck_with_as_many_windows_as_stand_in_a_horizon(compared: Comparison) -> None:
    stream = replace(compared.stream, horizon=15)
    assert stream.windows_in_horizon == 15
    moved = np.arange(len(stream.labels)) % 3 > 0
    fewer = replace(stream, times_ms=stream.times_ms[moved], labels=stream.labels[moved])
    assert (fewer.overlap, fewer.windows_in_horizon) == (15, 10)
    assert together([stream, replace(stream, symbols=("ETH-USD",))]).windows_in_horizon == 30


def test_symbols_that_say_the_same_are_one_witness_and_not_two(compared: Comparison) -> None:
    stream = compared.stream
    twice = together([stream, replace(stream, symbols=("ETH-USD",))])
    assert (np.diff(twice.times_ms) >= 0).all()
    one, both = (difference_of(s, V8, V6).nll for s in (stream, twice))
    assert both.value == pytest.approx(one.value)
    assert both.interval.low == pytest.approx(one.interval.low, abs=1e-9)
    assert effective_labels(twice.labels, twice.overlap) == pytest.approx(len(stream.labels), rel=0.25)


def test_the_pools_method_is_the_likelier_on_all_calibration_parts_together(compared: Comparison) -> None:
    totals = {method: fit.best.nll for method, fit in compared.fits.items()}
    assert chosen_method([compared]) == min(totals, key=totals.__getitem__)


@pytest.mark.parametrize("outputs", [(1, 1), (1, 3), (3, 1)])
def test_models_without_neutral_are_compared_where_the_close_moved(outputs: tuple[int, int]) -> None:
    one = contest(outputs=outputs)
    said = tuple(
        output(one, knows=k, seed=i, outputs=n) for i, (k, n) in enumerate(zip((0.4, 1.2), outputs, strict=True))
    )
    found = compete(one, said)
    assert set(found.stream.labels) == {0, 2}
    assert len(found.stream.labels) == (one.labels[one.test.ends] != 1).sum()
    assert all(forecast[:, 1].max() == 0 for forecast in found.stream.forecasts.values())
    assert difference_of(found.stream, V8, V6).better == V8


def test_beside_a_model_without_neutral_the_other_is_tempered_given_a_move() -> None:
    one = contest(outputs=(1, 3))
    said = output(one, knows=0.8, seed=3)
    fit = compete(one, (output(one, knows=0.4, outputs=1), said)).temperatures[V8]
    moved = one.labels[one.calibration.ends] != 1
    logits, labels = said.raw_logits[: len(moved)][moved], one.labels[one.calibration.ends][moved]
    margins = np.where(labels == 2, 1, -1) * (logits[:, 2] - logits[:, 0]) / fit.temperature
    assert fit.nll_after == pytest.approx(np.log1p(np.exp(-margins)).mean(), abs=1e-9)


def test_too_few_labels_to_fit_to_are_refused_with_their_number_and_the_remedy() -> None:
    one = contest(spans=Spans(train=span(0, 499), calibration=span(500, 900), test=None))
    words = r"at least 1,000 effective labels to fit pools of BTC-USD, got \d+ from 391 .*--fit-share .*calibrate"
    with pytest.raises(DataError, match=words):
        compete(one, (output(one, knows=1), output(one, knows=1)))


def test_too_few_labels_to_judge_on_are_refused_with_their_number_and_the_remedy() -> None:
    one = contest(spans=Spans(train=span(0, 499), calibration=span(500, 2949), test=None))
    words = r"at least 300 effective labels to judge BTC-USD on, got \d\d from 90 .*later.* a smaller --fit-share"
    with pytest.raises(DataError, match=words):
        compete(one, (output(one, knows=1), output(one, knows=1)))


def test_logits_that_are_not_finite_are_refused_with_the_model_and_the_number() -> None:
    one = contest()
    broken = output(one, knows=1)
    broken.raw_logits[5] = np.nan
    with pytest.raises(DataError, match=r"v8/BTC-USD/1: expected finite logits, got NaN or infinity on 1 of 2,5\d\d"):
        compete(one, (output(one, knows=1), broken))


def test_a_fit_that_fails_is_told_with_the_optimisers_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("temperature: the search stopped after 3 evaluations: no luck")

    monkeypatch.setattr("export.comparison.fit_pool", fail)
    one = contest()
    with pytest.raises(DataError, match="BTC-USD: temperature: the search stopped after 3 evaluations: no luck"):
        compete(one, (output(one, knows=1), output(one, knows=1)))


class CountingEngine(Engine):
    name, device = "counting", "cpu"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def _run(self, windows: np.ndarray) -> Output:
        self.batches.append(len(windows))
        return Output(np.zeros((len(windows), 3)), np.zeros((len(windows), 3)))


def test_costs_are_measured_alone_and_in_a_batch_for_both_models() -> None:
    engines = [CountingEngine(), CountingEngine()]
    costs = measure_costs(engines, [np.zeros((8, 2, 1), np.float32)] * 2)
    assert engines[0].batches == engines[1].batches
    assert set(engines[0].batches) == {1, 8}
    assert all(cost.single_ms > 0 < cost.batch_ms and cost.batch == 8 for cost in costs)
