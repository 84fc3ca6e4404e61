"""What must always hold of the models, and what their owners know of them."""

from typing import Final

from monitoring.rules.rule import Alert, Group

GROUP: Final = Group(
    "models",
    alerts=[
        Alert(
            "InvariantBroken",
            "page",
            # The count knows what the gauge showed between two scrapes, and not which rule it was.
            """
signalserve_invariant_broken == 1
  or on (job, instance, endpoint, symbol, generation)
    label_replace(
      increase(signalserve_invariant_breaks_total[$5m]) > 0, "invariant", "one that holds again", "", ""
    )
""",
            "{symbol} {generation} breaks a hard rule: {invariant}",
            "The last five predictions of {generation} for {symbol} on {endpoint} of {instance}, or five within the "
            "last five minutes, break a hard rule: {invariant}. off_scale is the caller's input, all else the model, "
            "which is then out (ModelOut). Do not trade on it; compare the last requests with the ones before.",
        ),
        Alert(
            "ModelOut",
            "page",
            "signalserve_model_out == 1",
            "{symbol} {generation} is out on {endpoint}",
            "A guardrail has taken {generation} for {symbol} out of every answer of {endpoint} on {instance}; the "
            "control answers, marked degraded, or nobody. `signalserve toggle show` says since when and why; mend the "
            "cause before `signalserve toggle clear {symbol} {generation}`.",
        ),
        Alert(
            "BundleNotIntact",
            "page",
            "signalserve_bundle_intact == 0",
            "the bundle of {symbol} {generation} on disk is not what its manifest says",
            "A file of the bundle of {generation} for {symbol} on {instance} is missing or has another sha256. Workers "
            "load from the archives and go on, but a start of the whole service would refuse the bundle. /ready names "
            "the file; bring it back before the service is restarted.",
        ),
        Alert(
            "FailedGates",
            "info",
            "signalserve_failed_gates > 0",
            "{symbol} {generation} failed {value:count} of its quality gates",
            "{generation} for {symbol} answers on {instance} though it failed {value:count} gates of `signalserve "
            "judge`, because serving.yaml says allow_failed_gates. Its manifest names them.",
        ),
        Alert(
            "NeverJudged",
            "info",
            "signalserve_gates_judged == 0",
            "nobody knows whether {symbol} {generation} passes its gates",
            "{generation} for {symbol} answers on {instance} and was never judged, or was calibrated anew since. "
            "Run `signalserve judge {generation}/{symbol}`.",
        ),
    ],
)
