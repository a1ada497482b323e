"""A log of what the store does, written by the database in the transactions that do it.

The engine knows nothing of it: triggers on the table of jobs write a row at each change of status
or fence. So the log has what happened, and not what the engine thinks that happened.
"""

from collections.abc import Iterator
from uuid import UUID

from django.db import connection

from jobs.models import Attempt, Job, Tenant
from jobs.store.minutes import total
from tests.faults.history import Event

ENDS = ("done", "dead", "cancelled")
_TABLE = """
CREATE TABLE faults_move (
    seq {serial}, at {time}, job_id {uuid}, tenant_id bigint, lane_id bigint, task varchar(128),
    fence bigint, source varchar(9), target varchar(9), run_at {time}, lost boolean)"""

_ROW = """
INSERT INTO faults_move
    (at, job_id, tenant_id, lane_id, task, fence, source, target, run_at, lost)
VALUES ({now}, NEW.id, NEW.tenant_id, NEW.lane_id, NEW.task, NEW.fence, OLD.status, NEW.status,
    NEW.run_at, NEW.lost_count > OLD.lost_count);"""

_TRIGGER = """
CREATE TRIGGER faults_log AFTER UPDATE ON jobs_job FOR EACH ROW
WHEN (OLD.status <> NEW.status OR OLD.fence <> NEW.fence) """

_ON_POSTGRESQL = (
    _TABLE.format(serial="bigserial PRIMARY KEY", time="timestamptz", uuid="uuid"),
    "CREATE FUNCTION faults_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    + _ROW.format(now="clock_timestamp()")
    + " RETURN NULL; END $$",
    _TRIGGER + "EXECUTE FUNCTION faults_log()",
)
_ON_SQLITE = (
    _TABLE.format(serial="integer PRIMARY KEY AUTOINCREMENT", time="text", uuid="text"),
    _TRIGGER + "BEGIN " + _ROW.format(now="strftime('%Y-%m-%d %H:%M:%f', 'now')") + " END",
)

_READ = """
SELECT move.seq, {at}, {run_at}, move.job_id, tenant.slug, tenant.slug || '/' || lane.queue,
    move.task, move.fence, move.source, move.target, move.lost
FROM faults_move AS move
JOIN jobs_tenant AS tenant ON tenant.id = move.tenant_id
JOIN jobs_lane AS lane ON lane.id = move.lane_id"""

_NAMES = (
    *("seq", "at", "run_at", "job", "tenant", "lane", "task", "fence", "source", "target", "lost"),
)


def install() -> None:
    """Begin to log."""
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        for statement in _ON_POSTGRESQL if is_postgresql else _ON_SQLITE:
            cursor.execute(statement)


def events() -> Iterator[Event]:
    """The moves that were logged, and what the database has in the end."""
    yield from _moves()
    jobs = Job.objects.values_list(
        "id", "idempotency_key", "tenant__slug", "status", "reason", "max_retries"
    )
    for job, *rest in jobs.iterator():
        names = ("key", "tenant", "status", "reason", "max_retries")
        yield {"event": "job", "job": str(job), **dict(zip(names, rest, strict=True))}
    slugs = dict(Job.objects.values_list("tenant_id", "tenant__slug").distinct())
    for tenant_id, slug in slugs.items():
        figures = dict(zip(ENDS, total(ENDS, [tenant_id]), strict=True))
        yield {"event": "counted", "tenant": slug, **figures}


def ended() -> int:
    """How many jobs have come to an end."""
    return sum(total(ENDS, list(Tenant.objects.values_list("pk", flat=True))))


def errors() -> set[str]:
    """What the attempts that failed say they failed of."""
    return set(Attempt.objects.order_by().values_list("error_type", flat=True).distinct())


def _moves() -> Iterator[Event]:
    if connection.vendor == "postgresql":
        seconds = "extract(epoch FROM move.{})::float8"
    else:
        seconds = "(julianday(move.{}) - 2440587.5) * 86400.0"
    statement = _READ.format(at=seconds.format("at"), run_at=seconds.format("run_at"))
    with connection.cursor() as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(10_000):
            for row in rows:
                move = dict(zip(_NAMES, row, strict=True))
                yield {"event": "move", **move, "job": str(UUID(str(move["job"])))}
