"""Guards of what is deleted, and of what is added up."""

from functools import partial

from tests.mutants.mutant import Mutant

_purge = partial(Mutant, file="jobs/store/purge.py", tests=("tests/store/test_purge.py",))
_minutes = partial(Mutant, file="jobs/store/minutes.py", tests=("tests/store/test_minutes.py",))
_waits = partial(Mutant, file="jobs/store/waits.py", tests=("tests/store/test_waits.py",))

PURGE = (
    _purge(
        name="purge: whatever its status",
        old="status IN ('{Status.DONE}', '{Status.CANCELLED}') AND finished_at",
        new="finished_at",
    ),
    _purge(
        name="purge: jobs of other tenants",
        old="WHERE tenant_id = %(tenant)s AND id > %(after)s",
        new="WHERE id > %(after)s",
    ),
    _purge(
        name="purge: dead letters that were sent back",
        old="WHERE id = ANY(%(ids)s) AND {_IS_OLD} LOCK SKIPPING ROWS",
        new="WHERE id = ANY(%(ids)s) LOCK SKIPPING ROWS",
    ),
    _purge(name="purge: nothing is counted", old="    count_purged(lanes)\n", new=""),
    _minutes(
        name="sum up: rows that somebody else adds up",
        old='minutes.order_by("minute", "pk").select_for_update()',
        new='minutes.order_by("minute", "pk")',
        databases=("postgresql",),
    ),
    _minutes(
        name="sum up: young minutes",
        old="minute__lt=Now() - OPEN_FOR",
        new="minute__lt=Now()",
    ),
    _minutes(
        name="sum up: rows of other tenants",
        old="LaneMinute.objects.filter(tenant_id=tenant_id, minute",
        new="LaneMinute.objects.filter(minute",
    ),
    _minutes(
        name="sum up: what is in the sums is replaced",
        old="done = counter.done + excluded.done",
        new="done = excluded.done",
    ),
    _minutes(
        name="sum up: minutes stay beside their sums",
        old="for statement in (_SUM_UP, _FORGET)",
        new="for statement in (_SUM_UP,)",
    ),
    _waits(
        name="waits: of other tenants",
        old="WaitMinute.objects.filter(tenant_id=tenant_id)",
        new="WaitMinute.objects.all()",
    ),
    _waits(
        name="waits: the last that were written are all",
        old="counter.attempts + excluded.attempts",
        new="excluded.attempts",
        times=2,
    ),
    _waits(
        name="waits: rows are written in any order",
        old="ORDER BY tenant_id DESC, minute, bucket",
        new="ORDER BY random()",
        databases=("postgresql",),
    ),
)
