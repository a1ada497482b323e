"""The only writer of job state. Two databases, one semantics.

Every statement stands above the function that runs it and is written once, in PostgreSQL's words
with the few tokens of `dialect`; only the claim, the insert and the finish have two forms. Time is
the database's. Every write about a running job names its fence: zero rows means that the lease was
lost, which is an answer and not an error.
"""

from jobs.store.chores import keep_turn, take_turn
from jobs.store.claim import ClaimedJob, Share, claim
from jobs.store.control import cancel, discard, redrive, redrive_edited, retry
from jobs.store.dialect import was_held_up
from jobs.store.finish import Outcome, finish
from jobs.store.gate import pass_gate_alone
from jobs.store.insert import insert_jobs
from jobs.store.lease import (
    Lease,
    beat,
    due_in,
    extend,
    has_expired,
    leases_of,
    lose_worker,
    lost,
    promote,
    reap,
    release,
)
from jobs.store.limits import (
    count_waiting,
    forget_submissions,
    hold_submissions,
    submission_window,
    submissions_wait,
    take_submissions,
)
from jobs.store.lines import Mark, Marks
from jobs.store.log_lines import Logged, keep_log
from jobs.store.look import ReadyLane, ready_lanes
from jobs.store.minutes import sum_up
from jobs.store.purge import FIRST_ID, Ages, find_old, horizon, purge
from jobs.store.relay import relay
from jobs.store.reseal import Resealed, reseal, transactions_before, transactions_mark
from jobs.store.tenants import forget_tenant
from jobs.store.waits import Waits, next_with_waits, sum_up_waits

__all__ = [
    "FIRST_ID",
    "Ages",
    "ClaimedJob",
    "Lease",
    "Logged",
    "Mark",
    "Marks",
    "Outcome",
    "ReadyLane",
    "Resealed",
    "Share",
    "Waits",
    "beat",
    "cancel",
    "claim",
    "count_waiting",
    "discard",
    "due_in",
    "extend",
    "find_old",
    "finish",
    "forget_submissions",
    "forget_tenant",
    "has_expired",
    "hold_submissions",
    "horizon",
    "insert_jobs",
    "keep_log",
    "keep_turn",
    "leases_of",
    "lose_worker",
    "lost",
    "next_with_waits",
    "pass_gate_alone",
    "promote",
    "purge",
    "ready_lanes",
    "reap",
    "redrive",
    "redrive_edited",
    "relay",
    "release",
    "reseal",
    "retry",
    "submission_window",
    "submissions_wait",
    "sum_up",
    "sum_up_waits",
    "take_submissions",
    "take_turn",
    "transactions_before",
    "transactions_mark",
    "was_held_up",
]
