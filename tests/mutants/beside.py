"""Guards beside the walk of a job: steps of bulk actions, what jobs log, and what is due next."""

from functools import partial

from tests.mutants.mutant import Mutant

_STEPS = "tests/jobs/test_operation_steps.py"
_AT_ONCE = "tests/jobs/test_operations_at_once.py"

_bulk = partial(Mutant, file="jobs/store/bulk.py", tests=(_STEPS,))
_log = partial(Mutant, file="jobs/store/log_lines.py", tests=("tests/store/test_log_lines.py",))
_due = partial(Mutant, file="jobs/store/lease.py", tests=("tests/store/test_lease.py::TestDueIn",))

STEPS = (
    _bulk(
        name="steps: of any fence",
        old="AND fence = %(fence)s AND state = '{OperationState.RUNNING}' LOCK ROWS",
        new="AND state = '{OperationState.RUNNING}' LOCK ROWS",
    ),
    _bulk(
        name="steps: of operations that were cancelled",
        old="AND fence = %(fence)s AND state = '{OperationState.RUNNING}' LOCK ROWS",
        new="AND fence = %(fence)s LOCK ROWS",
    ),
    _bulk(
        name="steps: a cancel does not wait for the one under way",
        old="'{OperationState.RUNNING}' LOCK ROWS",
        new="'{OperationState.RUNNING}'",
        tests=(_AT_ONCE,),
        databases=("postgresql",),
    ),
    _bulk(
        name="steps: taken twice under a fence",
        old='held_until = NULL, fence = fence + 1\nWHERE id = %(id)s"""\n\n_END',
        new='held_until = NULL\nWHERE id = %(id)s"""\n\n_END',
    ),
    _bulk(
        name="steps: the fence does not rise",
        old="SET runner = %(runner)s, fence = fence + 1,",
        new="SET runner = %(runner)s,",
    ),
    _bulk(name="steps: before the pace allows it", old="AND next_at <= NOW()\n", new="\n"),
    _bulk(
        name="steps: those that another holds",
        old="AND (held_until IS NULL OR held_until <= NOW()",
        new="AND (TRUE OR held_until <= NOW()",
    ),
    _bulk(
        name="steps: again before their time is over, by anybody",
        old="OR (runner = %(runner)s AND held_until <=",
        new="OR (held_until <=",
    ),
    _bulk(
        name="steps: given up by who was overtaken",
        old='WHERE id = %(id)s AND fence = %(fence)s AND state = \'{OperationState.RUNNING}\'"""',
        new='WHERE id = %(id)s AND state = \'{OperationState.RUNNING}\'"""',
    ),
    _bulk(
        name="steps: given up after the cancel",
        old='WHERE id = %(id)s AND fence = %(fence)s AND state = \'{OperationState.RUNNING}\'"""',
        new='WHERE id = %(id)s AND fence = %(fence)s"""',
    ),
)

LOGS = (
    _log(
        name="log: a fence that was lost meanwhile",
        old="AND fence = %(fence)s AND status || ''",
        new="AND status || ''",
    ),
    _log(
        name="log: attempts that have ended",
        old="AND job.status || '' = '{Status.RUNNING}'",
        new="",
    ),
    _log(
        name="log: attempts that have ended meanwhile",
        old="AND fence = %(fence)s AND status || '' = '{Status.RUNNING}'",
        new="AND fence = %(fence)s",
    ),
)

DUE = (
    _due(
        name="due: failed jobs are not asked for",
        old="WHERE status IN ('{Status.SCHEDULED}', '{Status.FAILED}') ORDER BY run_at LIMIT 1",
        new="WHERE status IN ('{Status.SCHEDULED}') ORDER BY run_at LIMIT 1",
    ),
    _due(
        name="due: the last to come is asked for",
        old="'{Status.FAILED}') ORDER BY run_at LIMIT 1",
        new="'{Status.FAILED}') ORDER BY run_at DESC LIMIT 1",
    ),
)
