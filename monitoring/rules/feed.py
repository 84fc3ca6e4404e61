"""Whether predictions are asked for, on bars that move on and are of now."""

from typing import Final

from monitoring.rules.rule import Alert, Group, Record

GROUP: Final = Group(
    "feed",
    records=[
        # NaN before the first prediction, as what it is made of
        Record(
            "signalserve:last_prediction_age_seconds",
            "time() - signalserve_last_prediction_timestamp_seconds",
        ),
    ],
    alerts=[
        Alert(
            # NaN, and thus silent, before a symbol's first prediction. Not in the minutes after a start: the newest
            # prediction of a journal is as old as the service's pause was.
            "NoPrediction",
            "page",
            """
signalserve:last_prediction_age_seconds > $5m
  and on (job, instance) time() - signalserve_watcher_started_seconds > $5m
""",
            "nobody has asked about {symbol} for {value:duration}",
            "The newest prediction for {symbol} on {instance} is {value:duration} old; bots ask every minute. The bot "
            "is down, can't reach the service, or all it sends is refused: look at the bot, then at "
            "signalserve_errors_total by code.",
        ),
        Alert(
            # NoPrediction waits for a first one. The largest is NaN only where all are.
            "NeverAsked",
            "ticket",
            """
max by (job, instance) (signalserve_last_prediction_timestamp_seconds)
    != max by (job, instance) (signalserve_last_prediction_timestamp_seconds)
  and on (job, instance) time() - signalserve_watcher_started_seconds > $15m
""",
            "nobody has ever asked {instance} for a prediction",
            "{instance} has been up for a quarter of an hour, and its journal holds no prediction of any symbol: "
            "freshness, drift and quality are silent. Is the bot's address right? Look at the bot, then at "
            "signalserve_errors_total by code.",
        ),
        Alert(
            # Repeats that come and go, two minutes apart and more, do not count as standing still.
            "AsOfStill",
            "page",
            "signalserve_as_of_still_seconds > $5m",
            "the bars of {symbol} stand still",
            "Predictions for {symbol} on {instance} have kept coming for {value:duration}, none two minutes after the "
            "one before, while the newest bar they are about stayed the same: the feed is frozen, and the bot trades "
            "on an old market. Look at the bot's source of candles.",
        ),
        Alert(
            # By the warning, which knows each model's interval. Every prediction, so that one caller's old bars among
            # live ones do not count; four, so that one sample request does not. 0.95: increase() extrapolates.
            "AsOfLate",
            "page",
            """
sum by (job, instance, endpoint, symbol) (increase(signalserve_warnings_total{kind="stale_input"}[$5m]))
    >= 0.95 * sum by (job, instance, endpoint, symbol) (increase(signalserve_predictions_total[$5m]))
  and sum by (job, instance, endpoint, symbol) (increase(signalserve_predictions_total[$5m])) >= 4
""",
            "the bars of {symbol} are late",
            "All {value:count} predictions for {symbol} on {endpoint} of {instance} within five minutes were about a "
            "bar more than three intervals old. The feed lags, or a clock is wrong: compare as_of in the bot's "
            "requests with the time.",
            compares_as_of_with_now=True,
        ),
    ],
)
