"""What calibrating found -> the sentences for who has to decide: never further than the numbers go."""

from collections.abc import Iterator
from typing import Final

from export.recalibration import ACTED_ON, PERFECT, AtTemperature, Evaluation, Fitted, Recalibration
from export.report.cells import percent_text
from export.report.model import Verdict
from export.scores import Gain
from export.temperature import HIGHEST, LOWEST
from signalserve.intervals import Interval

BOT: Final = ACTED_ON[0]
"""The confidence from which the bot trades."""


def verdict(done: Recalibration) -> Verdict:
    """Passed where the new temperature is calibrated as far as chance lets tell, and the model shown to know something.

    Its figures are the test part's.
    """
    fitted, evaluation = done.fitted, done.evaluation
    now = evaluation.at_temperature(fitted.temperature)
    good = fitted.fit.at_bound is None and now.is_calibrated and evaluation.gains.show_knowledge
    return Verdict(
        level="pass" if good else "warn",
        sentence=f"{_temperature(fitted)}: {_trust(now)}, {_confident(now)}.",
        reasons=list(_reasons(done)),
    )


def temperature_text(value: float) -> str:
    """Two digits after the point, fewer for large ones; none for whole numbers."""
    whole, digits = value == round(value), 2 if value < 10 else 1
    return f"{value:,.0f}" if whole or value >= 100 else f"{value:.{digits}f}"


def interval_text(interval: Interval) -> str:
    """An interval of a temperature; an end where the search ends is none."""
    low = "anything above 0" if interval.low < LOWEST * (1 + 1e-6) else temperature_text(interval.low)
    high = "no upper limit" if interval.high > HIGHEST * (1 - 1e-6) else temperature_text(interval.high)
    return f"{low} … {high}"


def _temperature(fitted: Fitted) -> str:
    new, likeliest = temperature_text(fitted.temperature), temperature_text(fitted.fit.temperature)
    if fitted.target:
        return (
            f"T = {new} was set for the mean confidence asked for and is not the likeliest, {likeliest} "
            f"({interval_text(fitted.interval)})"
        )
    if fitted.fit.at_bound == "upper":
        return f"No temperature helps, the logits know nothing of the labels (T = {new} is where the search ends)"
    if fitted.fit.at_bound == "lower":
        return (
            f"The logits separate the labels of the calibration part as no forecast of prices does; has the model seen "
            f"them? (T = {new} is where the search ends)"
        )
    return f"T = {new} ({interval_text(fitted.interval)}) is the likeliest temperature"


def _trust(now: AtTemperature) -> str:
    scores = now.scores
    errors = (
        f"(calibration error {scores.calibration_error:.3f}; perfect models show {scores.calibration_error_null:.3f}, "
        f"{whole_percent(PERFECT)} of them less than {now.calibration_error_limit:.3f})"
    )
    if now.is_calibrated:
        return f"at it the model is right about as often as it says {errors}"
    return (
        f"at it the model says {percent_text(scores.mean_confidence)} on average and is right in "
        f"{percent_text(scores.accuracy)} {errors}"
    )


def _confident(now: AtTemperature) -> str:
    bot = now.acted_on[0]
    if bot.accuracy is None or bot.interval is None:
        return f"and is never {whole_percent(BOT)} sure or more"
    return (
        f"and where it is {whole_percent(BOT)} sure or more, in {percent_text(bot.coverage)} of its predictions, "
        f"{percent_text(bot.accuracy)} of them come true ({percents(bot.interval)})"
    )


def _reasons(done: Recalibration) -> Iterator[str]:
    """The weightiest first."""
    fitted, evaluation = done.fitted, done.evaluation
    if fitted.target:
        yield from _cost(fitted, evaluation)
    yield _gain(evaluation)
    yield _change(fitted, done.bundle.manifest.calibration.temperature)
    if done.was_fitted_on_test:
        yield "The temperature so far was fitted to bars of this test part: its figures here flatter it."
    yield _wish(fitted, evaluation)


def _cost(fitted: Fitted, evaluation: Evaluation) -> Iterator[str]:
    """Of a temperature that was set instead of fitted."""
    wished = evaluation.at_temperature(fitted.temperature).scores
    likeliest = evaluation.at_temperature(fitted.fit.temperature).scores
    yield (
        f"What the wish costs: an NLL of {wished.nll:.4f} instead of {likeliest.nll:.4f} at the likeliest T, and a "
        f"calibration error of {wished.calibration_error:.3f} ({wished.calibration_error_null:.3f} if perfect) instead "
        f"of {likeliest.calibration_error:.3f} ({likeliest.calibration_error_null:.3f} if perfect); it says "
        f"{percent_text(wished.mean_confidence)} on average and is right in {percent_text(wished.accuracy)}."
    )
    yield "Better: leave --target-confidence out, and act from a threshold of the risk–coverage curve."


def _gain(evaluation: Evaluation) -> str:
    """Whether the forecasts know anything of a window: more than shares that were known before, or turned out later."""
    before, hindsight = evaluation.gains.earlier, evaluation.gains.hindsight
    baseline = f"always forecasting the calibration part's class shares ({_gain_text(before)})"
    own = f"the test part's own, the best that knows nothing of a window ({_gain_text(hindsight)})"
    if before.interval.high < 0:
        return f"The forecasts are worse in NLL than {baseline}."
    if before.interval.low <= 0:
        return f"That the forecasts know anything cannot be shown: in NLL they may be no better than {baseline}."
    if hindsight.interval.low <= 0:
        return (
            f"The forecasts are better in NLL than {baseline}, but that they know anything cannot be shown: they may "
            f"be no better than {own}."
        )
    return f"The forecasts know something: they are better in NLL than {baseline}, and than {own}."


def _gain_text(gain: Gain) -> str:
    low, mean, high = (f"{value:.4f}".replace("-", "−") for value in (gain.interval.low, gain.mean, gain.interval.high))
    return f"a gain of {mean} nats, {low} … {high}"


def _change(fitted: Fitted, old: float) -> str:
    """Whether the data asks for another temperature than the one so far."""
    interval = fitted.interval
    so_far, one_is_inside = f"The T so far, {temperature_text(old)},", interval.low <= 1 <= interval.high
    if interval.low <= old <= interval.high:
        also = "; so does T = 1" if one_is_inside and old != 1 else ""
        return f"{so_far} lies within the interval of the likeliest{also}: the data asks for no change."
    if fitted.fit.at_bound:
        return f"{so_far} lies outside the interval of the likeliest, but the data bounds no other to take."
    if one_is_inside:
        return f"{so_far} lies outside the interval of the likeliest, T = 1 within it: the model needs no temperature."
    return f"{so_far} lies outside the interval of the likeliest: the data asks for a change."


def _wish(fitted: Fitted, evaluation: Evaluation) -> str:
    """What became of the threshold for the wished-for accuracy."""
    wish, chosen, found = whole_percent(fitted.accuracy), fitted.threshold, evaluation.threshold
    if chosen is None or found is None:
        return f"No threshold reaches an accuracy of {wish} on the calibration part: none is offered."
    start = f"On the calibration part {wish} come true from a confidence of {chosen.threshold:.3f} on; on the test part"
    if found.accuracy is None or found.interval is None:
        return f"{start} no prediction is so sure."
    shown = f"{percent_text(found.accuracy)} of {found.n:,} predictions do ({percents(found.interval)})"
    if found.interval.low >= fitted.accuracy:
        return f"{start} {shown}: it holds."
    if found.interval.high < fitted.accuracy:
        return f"{start} {shown}: it does not hold."
    return f"{start} {shown}: whether it holds cannot be told."


def whole_percent(share: float) -> str:
    """68 %, and 67.5 % where that is meant."""
    return f"{100 * share:.4g} %"


def percents(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} … {100 * interval.high:.1f} %"
