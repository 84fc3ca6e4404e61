"""Whether the service is there, ready, whole, and of one mind about its settings."""

from typing import Final

from monitoring.rules.rule import Alert, Group
from signalserve.errors import ServiceFault

SERVICE_FAULTS: Final = "|".join(sorted(fault.code for fault in ServiceFault.__subclasses__()))

GROUP: Final = Group(
    "service",
    alerts=[
        Alert(
            # Who waits for it learns where it stops that no other alert would arrive either.
            "Watchdog",
            "info",
            "vector(1)",
            "alerts arrive",
            "This one always fires. Where it stops arriving, Prometheus, Alertmanager or the way between them is "
            "broken, and no other alert arrives either: look at Prometheus first.",
        ),
        Alert(
            "RulesFailing",
            "ticket",
            "increase(prometheus_rule_evaluation_failures_total[$5m]) > 0",
            "rules of {rule_group} can't be evaluated",
            "Prometheus could not evaluate rules of {rule_group} within five minutes, {value:count} times: their "
            "alerts are silent. Its page of rules has the error; are the rules of the service's version?",
        ),
        Alert(
            "WatcherDown",
            "page",
            'up{job="signalserve"} == 0',
            "{instance} can't be scraped",
            "Prometheus has had no answer from the watcher at {instance} for a minute: nobody knows whether "
            "predictions are right, and every other alert about it is silent. Ask /ready there, then the service's "
            "log.",
            wait="1m",
        ),
        Alert(
            "WatcherAbsent",
            "page",
            'absent(up{job="signalserve"})',
            "Prometheus watches no signalserve at all",
            "No target of the job signalserve has existed for a minute: nothing is watched, and every other alert is "
            "silent. Is a service running? Look at its container, at Prometheus's own page of targets, then at "
            "prometheus.yml.",
            wait="1m",
        ),
        Alert(
            # Who is found by a name has no `up` once it is gone, nor ever where it was not started.
            "WatcherGone",
            "ticket",
            """
max_over_time(up{job="signalserve"}[$1h]) == 1
  unless on (job, instance) up{job="signalserve"}
""",
            "{instance} was there and is gone",
            "{instance} was scraped within the last hour, and its name leads nowhere now. Stopped on purpose: this "
            "ends by itself within the hour. Else ask for its container's state and log.",
            wait="1m",
        ),
        Alert(
            "WatcherRestarting",
            "ticket",
            "changes(signalserve_watcher_started_seconds[$30m]) > 2",
            "the watcher at {instance} starts again and again",
            "{instance} was started {value:count} times within half an hour. What it computes begins anew each time. "
            "Look for its last words in the service's log.",
        ),
        Alert(
            "NotReady",
            "page",
            "signalserve_ready == 0",
            "/predictions/{endpoint} does not answer {symbol} ({generation}) correctly",
            "The golden window of {symbol}, of which the right answer is known, has had none from {generation} on the "
            "endpoint {endpoint} of {instance} for a minute. /ready says what came instead.",
            wait="1m",
        ),
        Alert(
            "NothingProbed",  # NotReady has nothing to fire on then
            "page",
            'up{job="signalserve"} == 1 unless on (job, instance) signalserve_ready',
            "{instance} proves nothing: it sends no golden probes",
            "{instance} answers scrapes and has no signalserve_ready: no model is in force, or that address is not a "
            "watcher's. Ask /ready there.",
            wait="1m",
        ),
        Alert(
            "WorkerRestarted",
            "ticket",
            # Not in the minutes after a start, when the first workers begin one by one, within three minutes of the
            # watcher: 13 is their time and the range, in which they must not be any more. A crash loop outlasts them.
            """
increase(signalserve_worker_starts_total[$10m]) > 0
  and on (job, instance) time() - signalserve_watcher_started_seconds > $13m
""",
            "a worker of {endpoint} was started again",
            "Workers of {endpoint} on {instance} that began within ten minutes in which the service itself did not: "
            "{value:count}. TorchServe replaced what died. Look in the log for why: a kill for memory, a time-out, an "
            "exception.",
        ),
        Alert(
            "ServiceFaults",
            "page",
            f'increase(signalserve_errors_total{{code=~"{SERVICE_FAULTS}"}}[$5m]) > 0',
            "{endpoint} answers 503 {code}",
            "Requests to {endpoint} of {instance} that were answered 503 {code} within five minutes: {value:count}. "
            "Nothing was predicted, by no mistake of the caller. Look for ModelOut and NotReady beside this, then into "
            "the log.",
        ),
        Alert(
            "TorchServeErrors",
            "ticket",
            # A count that TorchServe shows only once it is 1 has no increase: it counts where it was not there before.
            """
increase(Requests5XX{job="torchserve"}[$5m]) > 0
  or (Requests5XX{job="torchserve"} > 0
    unless on (job, instance) Requests5XX{job="torchserve"} offset $5m
    and on (job, instance) up{job="torchserve"} offset $5m == 1)
""",
            "TorchServe at {instance} answers with its own errors",
            "Requests to {instance} that got a 5xx within five minutes: {value:count}. The queue was full, a worker "
            "died or took too long, or it was the service's own 503 (ServiceFaults tells that). Look into TorchServe's "
            "log.",
        ),
        Alert(
            "TorchServeMetricsDown",
            "ticket",
            'up{job="torchserve"} == 0',
            "TorchServe's metrics at {instance} can't be scraped",
            "TorchServe's own counts are missing, and with them TorchServeErrors. If predictions fail as well, "
            "NotReady says so. Ask for /metrics at {instance}.",
            wait="1m",
        ),
        Alert(
            # A quarter of the probe's time-out: a bound relative to its own past cries wolf whenever a quiet machine
            # gets other work.
            "ProbesSlow",
            "ticket",
            "quantile_over_time(0.5, signalserve_probe_seconds[$10m]) > 0.5",
            "/predictions/{endpoint} takes {value:duration} for one window",
            "Half of the golden windows of {symbol} ({generation}) on {endpoint} of {instance} took over half a second "
            "for ten minutes; after two seconds NotReady follows. Look at the machine's load and the requests a "
            "second.",
        ),
        Alert(
            "ConfigRefused",
            "ticket",
            "signalserve_config_valid == 0",
            "serving.yaml is refused",
            "The serving.yaml that lies there does not validate, and {endpoint} of {instance} goes on with the last "
            "good one. `signalserve toggle show` names the line; mend it, or `signalserve toggle rollback`.",
            wait="30s",
        ),
        Alert(
            "ConfigsDiffer",
            "ticket",
            """
max by (job, instance) (signalserve_config_hash)
  != min by (job, instance) (signalserve_config_hash)
""",
            "the endpoints of {instance} answer by different settings",
            "For a minute the endpoints of {instance} have had different texts of serving.yaml in force. Compare "
            "signalserve_config_hash by endpoint; a worker that hangs keeps the old one.",
            wait="1m",
        ),
    ],
)
