"""Whether confidence means what it says, once outcomes are in.

Gap and limit are NaN, and the alerts silent, under 100 outcomes; OutcomesOverdue tells where outcomes stay away.
"""

from typing import Final

from monitoring.rules.rule import Alert, Group

_MEASURED: Final = (
    "its accuracy, {signalserve_live_accuracy(symbol, arm)} of {signalserve_live_outcomes(symbol, arm):count} outcomes "
    "on {instance}, which are worth {signalserve_live_effective_outcomes(symbol, arm):count} independent ones (limit "
    "{signalserve_live_confidence_gap_limit(symbol, arm)})."
)

GROUP: Final = Group(
    "quality",
    alerts=[
        Alert(
            "Overconfident",
            "page",
            "signalserve_live_confidence_gap > signalserve_live_confidence_gap_limit",
            "{symbol} {arm} is overconfident by {value}",
            "The mean confidence of {arm} for {symbol} lies {value} above "
            f"{_MEASURED} "
            "A threshold such as 0.75 no longer means what it says: stop trading on it, then `signalserve calibrate`, "
            "or go back to another model.",
        ),
        Alert(
            "Underconfident",
            "ticket",
            "-signalserve_live_confidence_gap > signalserve_live_confidence_gap_limit",
            "{symbol} {arm} is underconfident by {value}",
            "The mean confidence of {arm} for {symbol} lies {value} below "
            f"{_MEASURED} "
            "Trades are missed rather than lost: `signalserve calibrate` with newer bars.",
        ),
    ],
)
