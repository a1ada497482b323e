"""All mutants, file by file of the store; those of the claimer beside its statements."""

from tests.mutants.beside import DUE, LOGS, STEPS
from tests.mutants.claims import AT_ONCE, GRANTS, LOOKS
from tests.mutants.endings import CONTROL, FINISH, LEASES
from tests.mutants.limits import GATE, PACES, RUNNING, SUBMISSIONS
from tests.mutants.locks import LOCKS
from tests.mutants.purge import PURGE
from tests.mutants.relays import RELAYS
from tests.mutants.submissions import INSERTS, TENANTS

MUTANTS = (
    *(*GRANTS, *AT_ONCE, *RELAYS, *LOOKS),
    *(*RUNNING, *PACES, *GATE),
    *(*FINISH, *LEASES, *CONTROL, *PURGE, *LOCKS),
    *(*SUBMISSIONS, *INSERTS, *TENANTS),
    *(*STEPS, *LOGS, *DUE),
)
