"""Guards of what ends or changes a job: fences, statuses, counts, and what people may do."""

from functools import partial

from tests.mutants.mutant import Mutant

_FINISH = "tests/store/test_finish.py"
_LEASE = "tests/store/test_lease.py"
_CONTROL = "tests/store/test_control.py"
_EVERY_STATUS = "tests/store/test_every_status.py"
_GUARDS = "tests/store/test_guards.py"
_ONLY_POSTGRESQL = ("postgresql",)
_ONLY_SQLITE = ("sqlite",)

_finish = partial(Mutant, file="jobs/store/finish.py", tests=(_FINISH,))
_lease = partial(Mutant, file="jobs/store/lease.py", tests=(_LEASE,))
_control = partial(Mutant, file="jobs/store/control.py", tests=(_CONTROL,))
_minutes = partial(Mutant, file="jobs/store/minutes.py", tests=(_FINISH,))

_IS_RUNNING = "\n    AND jobs_job.status || '' = '{Status.RUNNING}'"
_HOLDS_IT = " AND jobs_job.fence = held.fence"
_IS_RUNNING_TOO = _IS_RUNNING.replace("    AND", "        AND")
_RETURNS_A_LANE = "\nRETURNING jobs_job.id, jobs_job.status, jobs_job.lane_id"
_UNDER_FENCE = "WHERE id = %(id)s AND fence = %(fence)s AND status || '' = '{Status.RUNNING}'"

FINISH = (
    _finish(
        name="finish as done: any fence",
        old="jobs_job.id = given.id AND jobs_job.fence = given.fence",
        new="jobs_job.id = given.id",
    ),
    _finish(
        name="finish as done: any status",
        old="= given.fence" + _IS_RUNNING,
        new="= given.fence",
    ),
    _finish(
        name="finish: any fence",
        old="jobs_job.id = ended.id AND jobs_job.fence = ended.fence",
        new="jobs_job.id = ended.id",
    ),
    _finish(
        name="finish: any status",
        old="= ended.fence" + _IS_RUNNING,
        new="= ended.fence",
    ),
    _finish(
        name="finish as done: a batch with a late one is taken for whole",
        old="if are_all := sum(map(_set_done, parts)) == len(outcomes):",
        new="if are_all := sum(map(_set_done, parts)) > 0:",
        tests=(_FINISH, "tests/invariants/test_leases.py"),
        databases=_ONLY_SQLITE,
    ),
    _finish(
        name="finish as done: a batch with a late one is not taken back",
        old="            transaction.set_rollback(True)\n",
        new="            pass\n",
        tests=(_FINISH, "tests/invariants/test_leases.py"),
        databases=_ONLY_SQLITE,
    ),
    _finish(
        name="finish: the last of contrary outcomes holds",
        old="for outcome in reversed(outcomes)}",
        new="for outcome in outcomes}",
    ),
    _finish(
        name="finish: jobs are locked in no order",
        old="[firsts[attempt] for attempt in sorted(firsts)]",
        new="list(firsts.values())",
        tests=("tests/store/test_races.py::TestLocking",),
        databases=_ONLY_POSTGRESQL,
    ),
    _finish(
        name="finish: a failure ignores the wish to cancel",
        old="status = CASE WHEN ended.status = '{Status.FAILED}' AND jobs_job.cancel_requested",
        new="status = CASE WHEN FALSE",
    ),
    _finish(
        name="finish: a retry does not wait",
        old="THEN IN_SECONDS(ended.retry_in) ELSE",
        new="THEN NOW() ELSE",
    ),
    _finish(
        name="finish: the lease goes on",
        old="THEN NULL ELSE NOW() END,\n    lease_expires_at = NULL",
        new="THEN NULL ELSE NOW() END",
        tests=(_FINISH, _EVERY_STATUS),
    ),
    _finish(
        name="finish: losses are not counted",
        old="lost_count = jobs_job.lost_count + ended.lost,",
        new="lost_count = jobs_job.lost_count,",
        tests=(_LEASE,),
    ),
    _finish(
        name="finish: a loss counts twice",
        old="lost_count = jobs_job.lost_count + ended.lost,",
        new="lost_count = jobs_job.lost_count + 2 * ended.lost,",
        tests=(_LEASE,),
    ),
    _finish(
        name="finish: every end is a loss",
        old='"lost": int(outcome.attempt_outcome is AttemptOutcome.LOST)',
        new='"lost": 1',
    ),
    _finish(
        name="finish: lost outcomes are recorded and counted",
        old="recorded = [outcome for outcome in outcomes if _attempt(outcome) in ended]",
        new="recorded, ended = list(outcomes), {_attempt(one): one.status for one in outcomes}",
    ),
    _finish(
        name="finish: no row for a failed attempt",
        old="        _insert_attempts(recorded)\n",
        new="",
    ),
    _finish(
        name="finish as done: nothing is counted (PostgreSQL)",
        old="%(shard)s, count(*), 0, 0,\n        0, count(*), sum(waited)",
        new="%(shard)s, 0, 0, 0,\n        0, 0, sum(waited)",
        databases=_ONLY_POSTGRESQL,
    ),
    _finish(
        name="finish: nothing is counted",
        old="        count_minutes(worker, _by_lane(recorded, ended))\n",
        new="",
    ),
    _minutes(
        name="minutes: done jobs of a minute are forgotten",
        old="done = counter.done + excluded.done,",
        new="done = excluded.done,",
    ),
    _minutes(
        name="minutes: failures are counted twice",
        old="failed = counter.failed + excluded.failed,",
        new="failed = counter.failed + 2 * excluded.failed,",
    ),
    _minutes(
        name="minutes: the last wait is the longest",
        old="THEN counter.max_wait_seconds ELSE excluded.max_wait_seconds END",
        new="THEN excluded.max_wait_seconds ELSE excluded.max_wait_seconds END",
    ),
    _minutes(
        name="minutes: what was cancelled is counted once for a lane",
        old='{"cancelled": jobs}',
        new='{"cancelled": 1}',
        tests=(_CONTROL,),
    ),
)

LEASES = (
    _lease(
        name="extend: any fence (PostgreSQL)",
        old=_HOLDS_IT + _IS_RUNNING_TOO,
        new=_IS_RUNNING_TOO,
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="extend: any status (PostgreSQL)",
        old=_HOLDS_IT + _IS_RUNNING_TOO,
        new=_HOLDS_IT,
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="extend: any fence (SQLite)",
        old=_UNDER_FENCE + "\nRETURNING id, cancel_requested",
        new="WHERE id = %(id)s AND status = '{Status.RUNNING}'\nRETURNING id, cancel_requested",
        databases=_ONLY_SQLITE,
    ),
    _lease(
        name="extend: any status (SQLite)",
        old=_UNDER_FENCE + "\nRETURNING id, cancel_requested",
        new="WHERE id = %(id)s AND fence = %(fence)s\nRETURNING id, cancel_requested",
        databases=_ONLY_SQLITE,
    ),
    _lease(
        name="release: any fence (PostgreSQL)",
        old=_HOLDS_IT + _IS_RUNNING + _RETURNS_A_LANE,
        new=_IS_RUNNING + _RETURNS_A_LANE,
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="release: any status (PostgreSQL)",
        old=_IS_RUNNING + _RETURNS_A_LANE,
        new=_RETURNS_A_LANE,
        tests=(_EVERY_STATUS,),
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="release: any fence (SQLite)",
        old=_UNDER_FENCE + "\nRETURNING id, status",
        new="WHERE id = %(id)s AND status = '{Status.RUNNING}'\nRETURNING id, status",
        databases=_ONLY_SQLITE,
    ),
    _lease(
        name="release: any status (SQLite)",
        old=_UNDER_FENCE + "\nRETURNING id, status",
        new="WHERE id = %(id)s AND fence = %(fence)s\nRETURNING id, status",
        tests=(_EVERY_STATUS,),
        databases=_ONLY_SQLITE,
    ),
    _lease(
        name="release: the attempt stays spent",
        old="attempt = jobs_job.attempt - 1,",
        new="attempt = jobs_job.attempt,",
    ),
    _lease(
        name="release: the wish to cancel is ignored",
        old="    status = CASE WHEN jobs_job.cancel_requested\n",
        new="    status = CASE WHEN FALSE\n",
    ),
    _lease(
        name="release: a cancelled job is not counted",
        old="for _, s, *of in rows if s == Status.CANCELLED)",
        new="for _, s, *of in rows if False)",
    ),
    _lease(
        name="reap: leases in force are taken",
        old="AND lease_expires_at < NOW()\n    AND HAD_TIME(started_at, %(lease)s)\nLIMIT",
        new="AND HAD_TIME(started_at, %(lease)s)\nLIMIT",
    ),
    _lease(
        name="reap: no time after a start of the server",
        old="AND lease_expires_at < NOW()\n    AND HAD_TIME(started_at, %(lease)s)\nLIMIT",
        new="AND lease_expires_at < NOW()\nLIMIT",
        tests=(f"{_GUARDS}::TestServerThatHasJustStarted",),
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="reap: the look gives no time after a start of the server",
        old="AND lease_expires_at < NOW()\n        AND HAD_TIME(started_at, %(lease)s))",
        new="AND lease_expires_at < NOW())",
        tests=(f"{_GUARDS}::TestServerThatHasJustStarted",),
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="reap: waits for jobs that another holds",
        old='LIMIT %(limit)s LOCK SKIPPING ROWS"""\n\n\n_HAS_EXPIRED',
        new='LIMIT %(limit)s LOCK ROWS"""\n\n\n_HAS_EXPIRED',
        tests=(f"{_GUARDS}::TestLocks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _lease(
        name="reap: beyond its limit",
        old='LIMIT %(limit)s LOCK SKIPPING ROWS"""\n\n\n_HAS_EXPIRED',
        new='LOCK SKIPPING ROWS"""\n\n\n_HAS_EXPIRED',
    ),
    _lease(
        name="lost: poison is tried again",
        old="if losses >= conf().max_lost:",
        new="if losses > conf().max_lost:",
    ),
    _lease(
        name="lost: one attempt too many",
        old="elif job.attempt > job.max_retries:",
        new="elif job.attempt > job.max_retries + 1:",
    ),
    _lease(
        name="lost: one attempt too few",
        old="elif job.attempt > job.max_retries:",
        new="elif job.attempt >= job.max_retries:",
    ),
    _lease(
        name="lost: its losses are not told",
        old="losses = job.lost_count + 1",
        new="losses = 1",
    ),
    _lease(
        name="lose a worker: jobs of others too",
        old="WHERE status = '{Status.RUNNING}' AND worker = %(worker)s LOCK",
        new="WHERE status = '{Status.RUNNING}' LOCK",
    ),
    _lease(
        name="lose a worker: what it had not started is charged",
        old="charged = [job for job in held if Lease(job.id, job.fence) in started]",
        new="charged = list(held)",
    ),
    _lease(
        name="promote: before their time",
        old="AND run_at <= (SELECT NOW())\n",
        new="\n",
    ),
    _lease(
        name="promote: blocked jobs too",
        old="WHERE status IN ('{Status.SCHEDULED}', '{Status.FAILED}') AND run_at",
        new="WHERE status IN ('{Status.SCHEDULED}', '{Status.FAILED}', '{Status.BLOCKED}')"
        " AND run_at",
        tests=(_EVERY_STATUS,),
    ),
    _lease(
        name="promote: whatever ended",
        old="WHERE status IN ('{Status.SCHEDULED}', '{Status.FAILED}') AND run_at",
        new="WHERE status != '{Status.RUNNING}' AND run_at",
        tests=(_EVERY_STATUS,),
    ),
    _lease(
        name="promote: the longest due come last",
        old="ORDER BY run_at LIMIT %(limit)s LOCK SKIPPING ROWS",
        new="ORDER BY run_at DESC LIMIT %(limit)s LOCK SKIPPING ROWS",
    ),
    _lease(
        name="promote: waits for jobs that another holds",
        old="ORDER BY run_at LIMIT %(limit)s LOCK SKIPPING ROWS",
        new="ORDER BY run_at LIMIT %(limit)s LOCK ROWS",
        tests=(f"{_GUARDS}::TestLocks",),
        databases=_ONLY_POSTGRESQL,
    ),
)

CONTROL = (
    _control(
        name="cancel: what ended too",
        old="IN ({_sources(Move.CANCEL)}, '{Status.RUNNING}')",
        new="IN ({_sources(Move.CANCEL)}, '{Status.RUNNING}', '{Status.DONE}', '{Status.DLQ}')",
        tests=(_EVERY_STATUS,),
    ),
    _control(
        name="cancel: running jobs at once",
        old="    status = CASE WHEN status = '{Status.RUNNING}' THEN status\n",
        new="    status = CASE WHEN FALSE THEN status\n",
    ),
    _control(
        name="cancel: counted again while it runs",
        old="for _, status, *of in rows if status != Status.RUNNING)",
        new="for _, status, *of in rows)",
    ),
    _control(
        name="retry: what waits for its time too",
        old="WHERE id = ANY(%(ids)s) AND status IN ({_sources(Move.RETRY)})",
        new="WHERE id = ANY(%(ids)s) AND status IN ('{Status.SCHEDULED}', '{Status.FAILED}')",
        tests=(_EVERY_STATUS,),
    ),
    _control(
        name="retry: dead letters too",
        old="WHERE id = ANY(%(ids)s) AND status IN ({_sources(Move.RETRY)})",
        new="WHERE id = ANY(%(ids)s) AND status IN ('{Status.DLQ}', '{Status.FAILED}')",
        tests=(_EVERY_STATUS,),
    ),
    _control(
        name="redrive: whatever ended",
        old="AND status IN ({_sources(Move.REDRIVE)})",
        new="AND finished_at IS NOT NULL",
        tests=(_EVERY_STATUS,),
    ),
    _control(
        name="redrive: attempts stay spent",
        old="    attempt = 0, lost_count = 0,",
        new="    lost_count = 0,",
    ),
    _control(
        name="redrive: losses are kept",
        old="attempt = 0, lost_count = 0,",
        new="attempt = 0,",
    ),
    _control(
        name="redrive: the wish to cancel is kept",
        old="    cancel_requested = FALSE, started_at",
        new="    started_at",
    ),
    _control(
        name="discard: jobs that are not dead",
        old="AND status = '{Status.DLQ}' LOCK SKIPPING ROWS",
        new="LOCK SKIPPING ROWS",
        tests=(_EVERY_STATUS,),
    ),
    _control(
        name="discard: attempts of other jobs",
        file="jobs/store/purge.py",
        old='"DELETE FROM jobs_attempt WHERE job_id = ANY(%(ids)s)"',
        new='"DELETE FROM jobs_attempt WHERE job_id = ANY(%(ids)s) OR TRUE"',
    ),
    _control(
        name="control: jobs are locked in no order",
        old="ORDER BY id LOCK ROWS",
        new="ORDER BY md5(id::text) LOCK ROWS",
        tests=("tests/store/test_races.py::TestLocking",),
        databases=_ONLY_POSTGRESQL,
    ),
)
