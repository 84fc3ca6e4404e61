"""What a diagnosis found wrong, in words, the weightiest first, each with its figure and what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Final

from export.diagnosis import Diagnosis, OnBars
from export.diagnosis_features import ColumnFit, tiny_scales, was_constant
from export.diagnosis_predictions import Stage
from export.gates import GateSettings
from export.report.model import Verdict
from signalserve import CLASSES
from signalserve.off_scale import OVERFLOW_BEYOND

GATES: Final = GateSettings()
"""The owners' limits, where there is one."""

MOSTLY: Final = 0.5
"""Of the windows: what holds for more of them is what the model does, not an exception."""

ONE_SIDED: Final = 0.95
"""Of the predictions: a model that nearly always says one class tells nobody anything."""

FOLLOWS: Final = "Mend what stands above first: this may follow from it."
"""Advice on what a model says while its weights or its features are wrong."""


@dataclass(frozen=True)
class Fault:
    """name: for programs.  grave: whether the model is of no use as it is; else it needs a look.  sentence: what is
    wrong, with its figure.  advice: what to do."""

    name: str
    grave: bool
    sentence: str
    advice: str


def faults_of(diagnosis: Diagnosis) -> list[Fault]:
    """The grave ones first, and each kind in the order in which the data flows: the first is likely to cause others."""
    found = [*_of_the_model(diagnosis)]
    if diagnosis.on_bars is not None:
        found += _of_features(diagnosis, diagnosis.on_bars)
        causes = any(fault.grave for fault in found)
        effects = _of_predictions(diagnosis, diagnosis.on_bars)
        found += (replace(fault, advice=FOLLOWS) if causes else fault for fault in effects)
    return sorted(found, key=lambda fault: not fault.grave)


def verdict(diagnosis: Diagnosis, faults: Sequence[Fault]) -> Verdict:
    """Passed where nothing was found; no promise about what was not looked at, nor about accuracy."""
    if not faults:
        return Verdict(level="pass", sentence=_sane(diagnosis), reasons=_limits(diagnosis))
    first, *others = faults
    more = f" And {len(others)} more fault{'s' * (len(others) > 1)}." if others else ""
    return Verdict(
        level="fail" if first.grave else "warn",
        sentence=first.sentence + more,
        reasons=[first.advice, *(f"{fault.sentence} {fault.advice}" for fault in others), *_limits(diagnosis)],
    )


def _sane(diagnosis: Diagnosis) -> str:
    if diagnosis.on_bars is None:
        golden = " and the golden answer" if diagnosis.is_bundle else ""
        return f"Nothing is wrong with the weights, the scaler's numbers{golden}; nothing else was looked at."
    scaled = "features come scaled" if diagnosis.is_unscaled else "the scaler belongs to these bars"
    return (
        f"Sane: {scaled}, and on {diagnosis.on_bars.windows:,} windows the logits, the "
        "confidence and the classes show nothing wrong."
    )


def _limits(diagnosis: Diagnosis) -> list[str]:
    """What the figures do not say."""
    if diagnosis.on_bars is None:
        return ["Without bars nobody can tell what it predicts: give --bars or --features."]
    return ["Whether it is any good is another question: ask signalserve judge."]


# ---- the model alone


def _of_the_model(diagnosis: Diagnosis) -> Iterator[Fault]:
    weights, manifest = diagnosis.weights, diagnosis.bundle.manifest
    if weights.not_finite:
        where = [tensor.name for tensor in weights.tensors if tensor.nan + tensor.infinite]
        yield Fault(
            "weights_not_finite",
            True,
            f"{weights.not_finite:,} of its {weights.numbers:,} weights are NaN or infinite, in {in_words(where)}.",
            "Nothing that it says means anything: take an earlier checkpoint.",
        )
    if diagnosis.golden:
        yield Fault(
            "golden",
            True,
            f"It does not answer as its manifest says: {diagnosis.golden}.",
            "The manifest was changed by hand, or the weights are not its own: restore the folder or remove the "
            "version; the service refuses it.",
        )
    if tiny := tiny_scales(manifest.scaler, manifest.columns):
        yield Fault(
            "tiny_scale",
            True,
            f"The scaler divides {in_words(tiny)} by next to nothing, so that rounding becomes large numbers.",
            "The column was dead when the scaler was fitted: fit it again (signalserve fix), or set the scale to 1.",
        )
    if diagnosis.is_unscaled and diagnosis.on_bars is None:
        yield Fault(
            "no_scaler",
            False,
            "It has no scaler: its features must arrive scaled.",
            "Give --bars or --features to see whether they do.",
        )
    if weights.unread:
        yield Fault(
            "unread_columns",
            False,
            f"No weight reads {in_words(weights.unread)}: {'they are' if len(weights.unread) > 1 else 'it is'} dead.",
            "What these columns hold changes nothing; were they all in use when the network was trained?",
        )
    if weights.dead_units:
        where = [tensor.name for tensor in weights.tensors if tensor.dead_units]
        yield Fault(
            "dead_units",
            False,
            f"{weights.dead_units:,} units have only zeros as weights, in {in_words(where)}.",
            "They answer the same to every input: part of the network was pruned, or never trained.",
        )


# ---- the features


def _of_features(diagnosis: Diagnosis, on_bars: OnBars) -> Iterator[Fault]:
    features, manifest = on_bars.features, diagnosis.bundle.manifest
    worst = features.farthest
    if worst.largest > OVERFLOW_BEYOND and worst.name not in tiny_scales(manifest.scaler, manifest.columns):
        yield Fault(
            "overflow",
            True,
            f"{worst.name} is {worst.largest:.0e} standard deviations off at {on_bars.farthest}: no network can work "
            "with such a value.",
            f"Mend that bar and diagnose again. The service refuses its {manifest.window} windows, and what was found "
            "of them here means nothing.",
        )
    if features.is_foreign and diagnosis.is_unscaled:
        yield _unscaled(on_bars)
    elif features.displaced:
        yield _swapped(on_bars)
    elif features.is_foreign:
        yield _foreign(on_bars)
    elif features.misfits:
        yield Fault(
            "off_scale",
            False,
            f"{len(features.misfits)} of {len(features.columns)} columns do not fit the scaler: "
            f"{_examples(features.misfits)}.",
            "Are these columns computed as they were for the training? The others fit.",
        )
    yield from _lifeless(diagnosis, on_bars)
    if on_bars.training and on_bars.training.beyond and not features.is_foreign and not features.displaced:
        training, fitted_on = on_bars.training, manifest.spans.scaler_fit
        yield Fault(
            "training_bars",
            False,
            f"The scaler is not that of the bars it was fitted on: scaled, {training.beyond} of {training.columns} "
            f"columns have a mean beyond ±{GATES.feature_mean:g} or a deviation beyond 1 ± {GATES.feature_deviation:g} "
            f"there, {training.mean_column} a mean of {training.mean:.2g}.",
            f"Was it fitted on other bars than {fitted_on and fitted_on.start[:10]} on? It fails gate 1.",
        )


def _unscaled(on_bars: OnBars) -> Fault:
    reach = on_bars.served.reach if on_bars.served else None
    reached = f"logits reach ±{_count(reach)}" if reach is not None else "no window is answered by finite numbers"
    return Fault(
        "unscaled",
        True,
        f"Features go in unscaled: {reached}.",
        "Import it with the scaler it was trained with (--scaler), or make one of these bars: signalserve fix.",
    )


def _swapped(on_bars: OnBars) -> Fault:
    features = on_bars.features
    pairs = [f"{one.column} has that of {one.holds}" for one in features.displaced]
    return Fault(
        "swapped_columns",
        True,
        f"The scaler stands in another order than the features: {len(pairs)} of {len(features.columns)} columns look "
        f"swapped ({'; '.join(pairs[:3])}{'; …' if len(pairs) > 3 else ''}).",
        "Import it with the columns in the order in which it was trained. Columns of one scale, such as ema_10 "
        "and sma_10, cannot be told apart, so that more may be swapped.",
    )


def _foreign(on_bars: OnBars) -> Fault:
    features = on_bars.features
    worst = [column for column in features.misfits if column.is_foreign] or features.misfits
    sentence = (
        f"This scaler was not fitted on these prices: {len(features.misfits)} of {len(features.columns)} columns do "
        f"not fit it ({_examples(worst)})."
    )
    if on_bars.training and not on_bars.training.beyond:
        advice = "It does fit the bars that it was trained on: prices have moved far since. Train again on later bars."
    elif on_bars.fits:
        advice = f"It fits the bars of {on_bars.fits}, another symbol's. Import the model with its own (--scaler)."
    else:
        advice = "Import it with the scaler it was trained with (--scaler), or fit one on these bars: signalserve fix."
    return Fault("foreign_scaler", True, sentence, advice)


def _examples(misfits: Sequence[ColumnFit]) -> str:
    """The worst column of each kind of contradiction, in figures."""
    elsewhere = [column for column in misfits if column.misfit == "elsewhere"]
    others = [column for column in misfits if column.misfit != "elsewhere" and column.width]
    worst = [
        *([max(elsewhere, key=lambda column: abs(column.median))] if elsewhere else []),
        *([max(others, key=lambda column: abs(log(column.width or 1)))] if others else []),
    ]
    return "; ".join(map(misfit_words, worst))


def misfit_words(column: ColumnFit) -> str:
    """How a column contradicts its scaler."""
    if column.misfit == "elsewhere":
        median = column.scaler_mean + column.median * column.scaler_scale
        return (
            f"{column.name} stands at {_number(median)} and the scaler expects {_number(column.scaler_mean)} ± "
            f"{_number(column.scaler_scale)}"
        )
    assert column.width is not None
    if column.misfit == "too wide":
        return f"{column.name} spreads {column.width:,.0f} times as far as the scaler expects"
    return f"{column.name} spreads 1/{1 / column.width:,.0f} as far as the scaler expects"


def _lifeless(diagnosis: Diagnosis, on_bars: OnBars) -> Iterator[Fault]:
    scaler, names = diagnosis.bundle.manifest.scaler, diagnosis.bundle.manifest.columns
    once = set(was_constant(scaler, names))
    still = [column.name for column in on_bars.features.columns if column.constant]
    if new := [name for name in still if name not in once]:
        yield Fault(
            "constant_columns",
            False,
            f"{in_words(new)} never {'change' if len(new) > 1 else 'changes'} on these bars.",
            "The model was taught on columns that vary: is the data whole?",
        )
    if woken := [name for name in names if name in once and name not in still]:
        yield Fault(
            "was_constant",
            False,
            f"The scaler has a scale of exactly 1 for {in_words(woken)}, as of a column that never varied where it was "
            "fitted; here it does.",
            "Such a column goes in as large as it is, and the network was never taught what it means: fit the scaler "
            "again, or train again without the column.",
        )


# ---- the predictions


def _of_predictions(diagnosis: Diagnosis, on_bars: OnBars) -> Iterator[Fault]:
    if on_bars.not_finite:
        yield Fault(
            "outputs_not_finite",
            True,
            f"{on_bars.not_finite:,} of {on_bars.windows:,} windows are answered by NaN or infinity.",
            "The service answers these with 503: mend the weights or the scaler first.",
        )
    served = on_bars.served
    if served is None:
        return
    if served.ties:
        yield Fault(
            "clamp_ties",
            True,
            f"In {share_words(served.ties)} of the windows the largest logits tie at the clamp of ±{served.clamp:g}: "
            "the direction is then arbitrary.",
            "A tie is a breach, not a prediction; whatever makes logits so large must be mended.",
        )
    if served.beyond:
        yield Fault(
            "beyond_clamp",
            served.beyond > MOSTLY,
            f"{share_words(served.beyond)} of the windows have a raw logit beyond the clamp of ±{served.clamp:g}; the "
            f"largest is {_count(served.reach)}.",
            "The clamp hides how sure the network is of them: look at its input first.",
        )
    yield from _sure(served)
    yield from _silent(diagnosis, served)


def _sure(served: Stage) -> Iterator[Fault]:
    for limit, allowed in (("0.99", GATES.share_over_99), ("0.9", GATES.share_over_90)):
        if served.confident[limit] >= allowed:
            yield Fault(
                "saturated",
                served.confident[limit] > MOSTLY and limit == "0.99",
                f"{share_words(served.confident[limit])} of the predictions are over {100 * float(limit):g} % sure.",
                "No forecast of prices earns that: fit the temperature (signalserve calibrate).",
            )
            return


def _silent(diagnosis: Diagnosis, served: Stage) -> Iterator[Fault]:
    known = CLASSES if diagnosis.bundle.manifest.knows_neutral else (CLASSES[0], CLASSES[-1])
    said = served.windows - served.not_finite
    if never := [name for name in known if not served.classes[name]]:
        yield Fault(
            "class_never_said",
            False,
            f"{in_words(never)} {'are' if len(never) > 1 else 'is'} never predicted in {said:,} windows.",
            "A temperature cannot change that: was the network taught that class, and are the features right?",
        )
        return
    commonest = max(known, key=served.classes.__getitem__)
    if served.classes[commonest] >= ONE_SIDED:
        yield Fault(
            "one_sided",
            False,
            f"{commonest} is predicted in {share_words(served.classes[commonest])} of {said:,} windows.",
            "It says next to nothing else; a temperature cannot change that.",
        )


# ---- words


def in_words(names: Sequence[str], most: int = 4) -> str:
    """a and b; a, b, c, d and 3 more."""
    rest = len(names) - most
    shown = [*names[:most], *([f"{rest} more"] if rest > 0 else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def share_words(share: float) -> str:
    """12.3 %, and never 0.0 % of something that is there."""
    if share == 1:
        return "100 %"
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return "nearly 100 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")
