"""Whether what is answered is written down, and what became of it is learned."""

from typing import Final

from monitoring.rules.rule import Alert, Group

GROUP: Final = Group(
    "journal",
    alerts=[
        Alert(
            "NothingRecorded",
            "ticket",
            'up{job="signalserve"} == 1 unless on (job, instance) signalserve_journal_ok',
            "{instance} keeps no journal",
            "{instance} was started with --journal none: drift, freshness and live quality are not watched, and their "
            "alerts are silent. Start it with a journal.",
            wait="1m",
        ),
        Alert(
            "JournalNotWritten",
            "ticket",
            "signalserve_journal_ok == 0",
            "the journal of {instance} is not written",
            "For a minute the watcher of {instance} could not write the journal. Predictions go on and wait in the "
            "spool; drift and quality stand still. /ready says why: a full disk, rights, a damaged database.",
            wait="1m",
        ),
        Alert(
            # Rows that are too old go a few at a time: half of them at once is a file that was lost, or put away.
            "JournalBegunAnew",
            "ticket",
            "signalserve_journal_rows < 0.5 * max_over_time(signalserve_journal_rows[$1h])",
            "the journal of {instance} has lost most of its rows",
            "The journal of {instance} holds {value:count} rows, under half of what it held within the last hour: "
            "drift, quality and comparisons of arms begin anew. Was it moved, deleted, or damaged and set aside? Look "
            "into its folder and the log.",
        ),
        Alert(
            # 60 is the machine's time, in a drill as well. NaN, before the first time, is as bad once it lasts.
            "StatisticsStale",
            "ticket",
            """
time() - signalserve_statistics_timestamp_seconds > 60
  or signalserve_statistics_timestamp_seconds != signalserve_statistics_timestamp_seconds
""",
            "the statistics of {instance} are not computed",
            "Drift, freshness and live quality of {instance} have not all been computed for over a minute: what is "
            "shown is old or missing, and their alerts are silent. The watcher's log names what failed, and why.",
            wait="1m",
        ),
        Alert(
            "SpoolNotWritable",
            "ticket",
            "signalserve_journal_writable == 0",
            "workers of {endpoint} can't write down what they answer",
            "A worker of {endpoint} on {instance} can't write to the journal's spool: predictions are answered and "
            "lost for the record. Look at the disk's free space and the folder's rights.",
        ),
        Alert(
            "PredictionsLost",
            "ticket",
            "increase(signalserve_journal_lost_total[$15m]) > 0",
            "predictions of {endpoint} that were lost for the record: {value:count}",
            "{endpoint} on {instance} has answered predictions that it could not write down: {value:count} within 15 "
            "minutes. Look at the disk's free space and the folder's rights.",
        ),
        Alert(
            "SpoolLinesRefused",
            "ticket",
            'increase(signalserve_journal_counts_total{what="torn_lines"}[$15m]) > 0',
            "spool lines that the journal of {instance} refused: {value:count}",
            "Lines that workers wrote were set aside: {value:count} within 15 minutes. spool/refused.txt in the "
            "journal's folder holds them and why: torn by a full disk, or of another version.",
        ),
        Alert(
            "SpoolUnreadable",
            "ticket",
            "signalserve_journal_unreadable_spools > 0",
            "spool files of {instance} that can't be read: {value:count}",
            "For five minutes the watcher has passed over spool files: {value:count}. What they hold is missing in the "
            "journal. /ready names them and why; mend their rights.",
            wait="5m",
        ),
        Alert(
            # 60 is the machine's time, in a drill as well: that replays the market faster, not the disk
            "JournalBehind",
            "ticket",
            "signalserve_journal_behind_seconds > 60",
            "the journal of {instance} is {value:duration} behind",
            "What workers write has not all been in the database for {value:duration}: drift and freshness are "
            "computed from an older state. Look at signalserve_journal_waiting_bytes, the disk and the machine's load.",
            wait="1m",
        ),
        Alert(
            # A bot that is switched off leaves one horizon of each stream without outcomes for a week: twice that.
            "OutcomesOverdue",
            "ticket",
            """
signalserve_outcomes_overdue
  > on (job, instance) 2 * 15 * count by (job, instance) (signalserve_live_outcomes)
""",
            "{value:count} predictions of {instance} have no outcome",
            "The bars that decide {value:count} predictions should have come a day ago: what live accuracy is computed "
            "from is older than it looks. Do bots send every bar? `signalserve outcomes import` brings what is "
            "missing.",
            wait="1h",
            compares_as_of_with_now=True,
        ),
        Alert(
            # 0 / 0 where nothing was scored beside an answer is NaN, and silent
            "ShadowsDropped",
            "info",
            """
sum by (job, instance, endpoint) (increase(signalserve_shadows_total{result="dropped"}[$15m]))
  / sum by (job, instance, endpoint) (increase(signalserve_shadows_total[$15m]))
  > 0.1
""",
            "{value:percent} of the shadows of {endpoint} are dropped",
            "The arms beside the answer took longer than shadow_budget_ms in {value:percent} of the windows of "
            "{endpoint} on {instance} within 15 minutes: the comparison of arms loses them. Answers are not touched. "
            "Raise the budget, or give it more cores.",
        ),
        Alert(
            "ShadowsFailed",
            "ticket",
            'increase(signalserve_shadows_total{result="failed"}[$15m]) > 0',
            "shadows of {endpoint} that failed: {value:count}",
            "Scoring the arms beside the answer raised an error on {endpoint} of {instance}; windows within 15 "
            "minutes: {value:count}. Answers are not touched. The log has the error.",
        ),
    ],
)
