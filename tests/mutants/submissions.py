"""Guards of submissions: whose jobs, keys and queues they are, and that a batch is whole."""

from functools import partial

from tests.mutants.mutant import Mutant

_INSERT = "tests/store/test_insert.py"
_GUARDS = "tests/store/test_guards.py"
_KEYS = "tests/jobs/test_key_in_force.py"
_ONLY_POSTGRESQL = ("postgresql",)
_ONLY_SQLITE = ("sqlite",)

_insert = partial(Mutant, file="jobs/store/insert.py", tests=(_INSERT,))
_services = partial(
    Mutant, file="jobs/services.py", tests=("tests/jobs/test_services.py", f"{_GUARDS}")
)

INSERTS = (
    _insert(
        name="insert: what is later is ready now",
        old="CASE WHEN run_at > NOW() THEN '{Status.SCHEDULED}' ELSE '{Status.PENDING}' END",
        new="'{Status.PENDING}'",
    ),
    _insert(
        name="insert: due before it was there",
        old="CASE WHEN run_at > NOW() THEN run_at ELSE NOW() END",
        new="run_at",
    ),
    _insert(
        name="insert: lanes of other tenants (PostgreSQL)",
        old="ON lane.tenant_id = %(tenant_id)s\n        AND lane.queue",
        new="ON lane.queue",
        databases=_ONLY_POSTGRESQL,
    ),
    _insert(
        name="insert: lanes of other tenants (SQLite)",
        old="WHERE lane.tenant_id = %(tenant_id)s AND lane.queue",
        new="WHERE lane.queue",
        databases=_ONLY_SQLITE,
    ),
    _insert(
        name="insert: sealed with a key that the tenant no longer has",
        old="ON line.lane_id = lane.id AND line.key_id = tenant.key_id",
        new="ON line.lane_id = lane.id",
        tests=(_KEYS,),
    ),
    _insert(
        name="insert: several sealed with a key that the tenant no longer has",
        old=" AND tenant.key_id = line.key_id",
        new="",
        tests=(_KEYS,),
        databases=_ONLY_POSTGRESQL,
    ),
    _insert(
        name="insert: another request's key is no mismatch",
        old="mismatch=not is_same)",
        new="mismatch=False)",
    ),
    _insert(
        name="insert: keys of other tenants",
        old="WHERE tenant_id = %(tenant_id)s AND idempotency_key = ANY(%(keys)s)",
        new="WHERE idempotency_key = ANY(%(keys)s)",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
    _insert(
        name="insert: an earlier job that is gone is answered with",
        old="if x.id not in inserted and x.job.idempotency_key not in earlier",
        new="if x.id not in inserted and x.job.idempotency_key is None",
    ),
    _insert(
        name="insert: keys are locked in no order",
        old="ORDER BY idempotency_key, id\n",
        new="ORDER BY id\n",
        tests=(f"{_GUARDS}::TestSubmissions",),
        databases=_ONLY_POSTGRESQL,
    ),
    _insert(
        name="insert: any number of queues",
        old="if new and lanes.count() + len(new) > most:",
        new="if False:",
    ),
    _insert(
        name="insert: one queue too many",
        old="if new and lanes.count() + len(new) > most:",
        new="if new and lanes.count() + len(new) > most + 1:",
    ),
    _insert(
        name="insert: any number of lines",
        old="if new and lines.count() + len(new) > most:",
        new="if False:",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
    _insert(
        name="insert: tags of jobs that were there before",
        old="[row for row in rows if row.id in inserted]",
        new="rows",
    ),
    _services(
        name="submit: a batch is not one transaction",
        old="with nullcontext() if is_plain and not has_limits else transaction.atomic():",
        new="with nullcontext():",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
    _services(
        name="submit: a mismatch is no error",
        old="        _refuse_mismatches(submitted)\n",
        new="",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
    _services(
        name="submit: limits are not respected",
        old="        _respect_limits(tenant, created=sum(s.created for s in submitted))\n",
        new="",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
    _services(
        name="pause: answered without the gate",
        old="        store.pass_gate_alone()\n        lanes = Lane",
        new="        lanes = Lane",
        tests=(f"{_GUARDS}::TestGate",),
        databases=_ONLY_POSTGRESQL,
    ),
    _services(
        name="limits of tenants and lanes: changed without the gate",
        old="        store.pass_gate_alone()\n        target.refresh_from_db",
        new="        target.refresh_from_db",
        tests=(f"{_GUARDS}::TestGate",),
        databases=_ONLY_POSTGRESQL,
    ),
    _services(
        name="limits of tasks: changed without the gate",
        old="        store.pass_gate_alone()\n        limit = find_task_limit(tenant, task) or",
        new="        limit = find_task_limit(tenant, task) or",
        tests=(f"{_GUARDS}::TestGate",),
        databases=_ONLY_POSTGRESQL,
    ),
)

TENANTS = (
    Mutant(
        name="forget a tenant: with jobs",
        file="jobs/store/tenants.py",
        old="        if not has_jobs:\n",
        new="        if True:\n",
        tests=(f"{_GUARDS}::TestForgottenTenant",),
    ),
    Mutant(
        name="forget a tenant: while a job is submitted",
        file="jobs/store/tenants.py",
        old="        if is_postgresql():\n",
        new="        if False:\n",
        tests=("tests/store/test_races.py::TestDeletedTenant",),
        databases=_ONLY_POSTGRESQL,
    ),
    Mutant(
        name="forget a tenant: what was counted of others",
        file="jobs/store/tenants.py",
        old="DELETE FROM jobs_submissionsecond WHERE tenant_id = %(tenant_id)s",
        new="DELETE FROM jobs_submissionsecond",
        tests=(f"{_GUARDS}::TestForgottenTenant",),
    ),
)
