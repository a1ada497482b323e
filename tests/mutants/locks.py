"""Guards of rows that somebody holds: nobody waits long, and who is frozen is thrown out."""

from functools import partial

from tests.mutants.mutant import Mutant

_LOCKED = "tests/store/test_locked_rows.py"

_locks = partial(Mutant, tests=(_LOCKED,), databases=("postgresql",))
_heartbeat = partial(_locks, file="jobs/store/lease.py", tests=(f"{_LOCKED}::TestHeartbeat",))

LOCKS = (
    _heartbeat(
        name="extend: waits for a job that another writes",
        old="FOR NO KEY UPDATE OF jobs_job SKIP LOCKED",
        new="FOR NO KEY UPDATE OF jobs_job",
    ),
    _heartbeat(
        name="extend: a job that another writes is lost",
        old="SELECT jobs_job.id, NULL {_HELD_JOBS}",
        new="SELECT jobs_job.id, NULL {_HELD_JOBS} WHERE FALSE",
    ),
    _locks(
        name="control: who is frozen is not thrown out",
        file="jobs/store/control.py",
        old='fetch(_LOCK, {"ids": parameters["ids"]}, before=unless_frozen())',
        new='fetch(_LOCK, {"ids": parameters["ids"]})',
    ),
    _locks(
        name="batches: who is frozen is not thrown out",
        file="jobs/store/dialect.py",
        old='fetch(f"{BY_KEY}, {frozen_timeout()}", {})',
        new="fetch(BY_KEY, {})",
    ),
    _locks(
        name="waits: what another process holds is lost",
        file="jobs/store/waits.py",
        old="was_held_up(error) and",
        new="False and",
    ),
    _locks(
        name="submissions: the tenant's lock comes after the insert",
        file="jobs/services.py",
        old="            store.hold_submissions(tenant.pk)\n        yield\n",
        new="            pass\n        yield\n        store.hold_submissions(tenant.pk)\n",
    ),
)
