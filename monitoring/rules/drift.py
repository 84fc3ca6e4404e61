"""Whether predictions are distributed as the reference says.

Limits hold their false-alarm rate on dependent windows already, so that no alert here waits. A ratio of NaN (the window
is not full yet, or no window could pass its limit) is silent, and rightly so: NoDriftReference and DriftNotComputed
tell where it should not be NaN.
"""

from typing import Final

from monitoring.rules.rule import Alert, Group, Record

_SHARES: Final = [
    # Half a count in each bin, as the watcher does it; nothing where nothing was counted
    Record(
        "signalserve:drift_window_share",
        """
(signalserve_drift_window_count + 0.5)
  / on (job, instance, symbol, arm, window, statistic) group_left ()
    (
      (sum without (bin) (signalserve_drift_window_count) > 0)
        + 0.5 * count without (bin) (signalserve_drift_window_count)
    )
""",
    ),
    Record(
        "signalserve:drift_reference_share",
        """
(signalserve_drift_reference_count + 0.5)
  / on (job, instance, symbol, arm, statistic) group_left ()
    (
      (sum without (bin) (signalserve_drift_reference_count) > 0)
        + 0.5 * count without (bin) (signalserve_drift_reference_count)
    )
""",
    ),
]

_PSI: Final = Record(
    # Sum of (p - q) ln(p / q): from 100 predictions on, and only where window and reference have the same bins
    "signalserve:drift_psi",
    """
sum without (bin) (
  (
    signalserve:drift_window_share
      - on (job, instance, symbol, arm, statistic, bin) group_left () signalserve:drift_reference_share
  )
  * ln(
    signalserve:drift_window_share
      / on (job, instance, symbol, arm, statistic, bin) group_left () signalserve:drift_reference_share
  )
)
and sum without (bin) (signalserve_drift_window_count) >= 100
and count without (bin) (signalserve:drift_window_share)
  == on (job, instance, symbol, arm, statistic) group_left ()
    count without (bin) (signalserve:drift_reference_share)
""",
)

_RATIO: Final = Record(
    # Of a limit of 0: infinite and an alarm for any other value, NaN and silent for 0 itself
    "signalserve:drift_ratio",
    "abs(signalserve_drift) / signalserve_drift_limit",
)

_DESIGN_EFFECT: Final = Record(
    # NaN in an empty window
    "signalserve:drift_design_effect",
    "signalserve_drift_n / signalserve_drift_effective_n",
)

_FIGURES: Final = (
    "{value} × its limit: {signalserve_drift(symbol, arm, window, statistic)}, limit "
    "{signalserve_drift_limit(symbol, arm, window, statistic)}, over the last {window} predictions on {instance}, "
    "which are worth {signalserve_drift_effective_n(symbol, arm, window):count} independent ones."
)


def _drifted(name: str, statistic: str, summary: str, meaning: str) -> Alert:
    """One kind of drift; each window that shows it is an alert of its own. statistic: one, or several with |."""
    return Alert(
        name,
        "ticket",
        f'signalserve:drift_ratio{{statistic{"=~" if "|" in statistic else "="}"{statistic}"}} > 1',
        summary,
        f"{_FIGURES} {meaning}",
    )


GROUP: Final = Group(
    "drift",
    records=[*_SHARES, _PSI, _RATIO, _DESIGN_EFFECT],
    alerts=[
        _drifted(
            "ConfidenceDrift",
            "confidence_psi",
            "{symbol} {arm}: its confidence is distributed otherwise than in the reference, over {window} predictions",
            "The market, the features or the model are not those of the reference: compare the bins, then ask what "
            "changed.",
        ),
        _drifted(
            "ClassDrift",
            "class_psi",
            "{symbol} {arm}: it says DOWN, NEUTRAL and UP in other shares than in the reference, over {window} "
            "predictions",
            "Compare the class shares with the reference's, then ask whether the market does that too.",
        ),
        _drifted(
            "LogitDrift",
            "logit_psi",
            "{symbol} {arm}: its raw logits are distributed otherwise than in the reference, over {window} predictions",
            "The network itself answers differently, before any calibration: suspect its input first, then its "
            "weights.",
        ),
        _drifted(
            "ConfidenceShift",
            "confidence_shift",
            "{symbol} {arm}: its mean confidence is not the reference's, over {window} predictions",
            "Above 0 it is surer than it was, below 0 less sure: compare temperature and input with the reference's "
            "days.",
        ),
        _drifted(
            "RateDrift",
            "clamp_rate|saturation_rate|off_scale_rate",
            "{symbol} {arm}: {statistic} is not the reference's, over {window} predictions",
            "Clamped logits and columns off scale mean input that the scaler does not know; saturation means a "
            "confidence that is no longer tempered.",
        ),
        Alert(
            "NoDriftReference",
            "ticket",
            """
signalserve_drift_reference == 0
  and on (job, instance, symbol, arm) signalserve_drift_n{window="1440"} > 0
""",
            "{symbol} {arm} answers without a reference: its drift can't be seen",
            "What answers as {arm} for {symbol} on {instance} has no reference with limits, so that no drift alert of "
            "it can fire. A model's comes with its bundle: `signalserve calibrate --reference-only`. A pool's is made "
            "by itself from its models', about half a minute of computing each, one after another; the log says "
            "`reference_failed` and why.",
            wait="15m",  # for several pools, on a busy machine
        ),
        Alert(
            # A NaN that hides something: comparisons with it are false, but for != with itself. Of the value alone: a
            # limit is rightly NaN.
            "DriftNotComputed",
            "ticket",
            """
(signalserve_drift{statistic=~"confidence_psi|class_psi"} != signalserve_drift{statistic=~"confidence_psi|class_psi"})
  and on (job, instance, symbol, arm, window) signalserve_drift_n >= 100
  and on (job, instance, symbol, arm) signalserve_drift_reference == 1
""",
            "{symbol} {arm}: {statistic} over {window} predictions is not a number",
            "{instance} has {signalserve_drift_n(symbol, arm, window):count} predictions in the window and a reference "
            "for what answers, and still no {statistic}: its drift alerts are silent. The watcher's log has the "
            "reason.",
            wait="2m",
        ),
        Alert(
            # Two computations of one number, from one scrape
            "DriftMiscomputed",
            "ticket",
            'abs(signalserve:drift_psi - signalserve_drift{statistic=~".+_psi"}) > 1e-6',
            "{symbol} {arm}: two computations of {statistic} over {window} predictions differ by {value}",
            "What the watcher of {instance} says and what Prometheus computes from its bin counts must be the same to "
            "1e-6: one of them is wrong, or their versions differ. Write the rules anew with `make monitoring`.",
            wait="2m",
        ),
        Alert(
            # NaN, and silent, under 1,440 predictions and where the class's absence for a day is unknown or usual
            "ClassVanished",
            "page",
            "signalserve_class_share < signalserve_class_share_floor",
            "{symbol} {arm} hardly says {direction} any more",
            "{value:percent} of the last 1,440 predictions of {arm} for {symbol} on {instance} say {direction}, under "
            "an eighth of its reference share (floor {signalserve_class_share_floor(symbol, arm, direction):percent}). "
            "Do not trade on it before the cause is known: look at ClassDrift, the input and the weights.",
        ),
        Alert(
            "ClassRun",
            "page",
            "signalserve_class_run > signalserve_class_run_limit",
            "{symbol} {arm} has said the same {value:count} times on end",
            "{arm} for {symbol} on {instance} has said one class {value:count} times on end, limit "
            "{signalserve_class_run_limit(symbol, arm):count}: half as long again as the longest run of its reference. "
            "Do not trade on it before the cause is known: is the feed moving, are its features the right ones?",
        ),
        Alert(
            # Not where there is no reference, of which no bin holds anything
            "ReferenceNeverNeutral",
            "ticket",
            """
signalserve_drift_reference_count{statistic="class_psi", bin="NEUTRAL"} == 0
  and on (job, instance, symbol, arm)
    sum without (bin) (signalserve_drift_reference_count{statistic="class_psi"}) > 0
""",
            "{symbol} {arm} never says NEUTRAL, not even in its reference",
            "The reference of {arm} for {symbol} on {instance} holds no NEUTRAL: the model always tells the bot to "
            "trade, and that it does is no drift. Train one that knows it, or trade only above a confidence from the "
            "risk–coverage curve.",
        ),
    ],
)
