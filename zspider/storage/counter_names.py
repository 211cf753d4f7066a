"""The names of a project's counters."""

from zspider.task import Status

# Tasks now, by status.
GAUGES = {status: status.word for status in Status}
# Ends of runs since the project was made; rules.Finish.counter -> name.
ENDS = {"success": "success", "retry": "retry", "failed": "failed_total"}
NEW = "new"
LATE = "late"  # outcomes of runs that were over
RESULTS = "results"  # stored now
DROPPED = "dropped:"  # ... and why: follows and messages not accepted
MESSAGES = "messages"  # done, since the project was made
CRON_RUNS = "cron"  # of the @every methods, since the project was made
CRON_FAILED = "cron_failed"  # those that an error came out of
# Names that begin with "_" are for ourselves, and not shown.
CRON_TICK = "_cron_tick"  # run of the last @every task that was counted
# Of new tasks: above every run of a task that was deleted, so that nothing of it is heard. Grows with every deletion.
FIRST_RUN = "_first_run"
REMOVING = "_removing"  # the project is being removed; its value is ALL or ALL_BUT_RESULTS
ALL, ALL_BUT_RESULTS = 1, 2
