"""Guards of the claim: its grants, the lines it looks at, and the conditions of a claim at once."""

from functools import partial

from tests.mutants.mutant import Mutant

_CLAIM = "tests/store/test_claim.py"
_LINES = "tests/store/test_lines.py"
_GUARDS = "tests/store/test_guards.py"
_ONLY_POSTGRESQL = ("postgresql",)
_ONLY_SQLITE = ("sqlite",)

_claim = partial(Mutant, file="jobs/store/claim.py")
_at_once = partial(
    _claim,
    databases=_ONLY_POSTGRESQL,
    tests=(f"{_LINES}::test_what_came_up_since_the_look_holds_the_claim_back",),
)
_lines = partial(Mutant, file="jobs/store/lines.py")
_look = partial(Mutant, file="jobs/store/look.py", tests=(_LINES, _CLAIM))

GRANTS = (
    _claim(
        name="claim: the fence does not rise",
        old="fence = jobs_job.fence + 1,",
        new="fence = jobs_job.fence,",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: the attempt is not counted",
        old="attempt = jobs_job.attempt + 1,",
        new="attempt = jobs_job.attempt,",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: the lease begins without an end",
        old="lease_expires_at = IN_SECONDS(%(lease)s)",
        new="lease_expires_at = NULL",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: jobs in any status are ready",
        old="AND line_id = {line} AND status = '{Status.PENDING}' {behind}",
        new="AND line_id = {line} {behind}",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: as many as there are",
        old="ORDER BY priority * -1, run_at, id LIMIT {quota}",
        new="ORDER BY priority * -1, run_at, id LIMIT {quota} + 1",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: in no order of priority",
        old="ORDER BY priority * -1, run_at, id LIMIT",
        new="ORDER BY run_at, id LIMIT",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: in no order of due times",
        old="ORDER BY priority * -1, run_at, id LIMIT",
        new="ORDER BY priority * -1, id LIMIT",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: the answer is in no order",
        old="sorted(jobs, key=lambda job: (-job.priority, job.run_at, job.id.int))",
        new="list(jobs)[::-1]",
        tests=(_CLAIM,),
    ),
    _claim(
        name="claim: jobs are not locked",
        old="{_READY_POSTGRESQL} FOR UPDATE SKIP LOCKED)",
        new="{_READY_POSTGRESQL})",
        tests=(f"{_GUARDS}::TestLocks", "tests/invariants/test_leases.py"),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim: waits for the jobs that another holds",
        old="FOR UPDATE SKIP LOCKED) AS ready",
        new="FOR UPDATE) AS ready",
        tests=(f"{_GUARDS}::TestLocks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim: a start before its job was due",
        old="started_at = LATER(STATEMENT_TIME(), jobs_job.run_at)",
        new="started_at = STATEMENT_TIME()",
        tests=("tests/store/test_races.py::TestClaimers",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim: no transaction around looking and granting",
        old="    with one_writer():\n        found = lines_of",
        new="    if True:\n        found = lines_of",
        tests=(f"{_GUARDS}::TestLastPlace",),
    ),
    _claim(
        name="claim at once: the gate is not passed",
        old="for statement in gate()]",
        new="for statement in ('SELECT 1',)]",
        tests=(f"{_GUARDS}::TestGate",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim line by line: the gate is not passed",
        old="lines_of(of_lanes, before=gate())",
        new="lines_of(of_lanes)",
        tests=(f"{_GUARDS}::TestGate",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim at once: although a lane's line is not known",
        old="if is_postgresql() and all(share.only_line for share in shares):",
        new="if is_postgresql() and any(share.only_line for share in shares):",
        tests=(_LINES,),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim at once: a mark is not behind itself",
        old="(priority * -1, run_at, id) > (share.rank,",
        new="(priority * -1, run_at, id) >= (share.rank,",
        tests=(f"{_LINES}::TestMarks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim: marks are ignored",
        old='"share.quota", "ctid", _BEHIND_MARK)',
        new='"share.quota", "ctid")',
        tests=(f"{_LINES}::TestMarks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim: the best of a lane are chosen without their marks",
        old="return fetch(_HEADS, _shares(quotas, after))",
        new="return fetch(_HEADS, _shares(quotas, {}))",
        tests=(f"{_LINES}::TestMarks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _claim(
        name="claim: the lines of a lane are taken one after the other",
        old="sorted(_heads(",
        new="list(_heads(",
        tests=(f"{_LINES}::TestSeveralLines",),
    ),
    _claim(
        name="claim: starts are not paid",
        old="rooms.pay({lines[line_id]: count for line_id, count in started.items()})",
        new="rooms.pay({})",
        tests=(_LINES,),
    ),
    _claim(
        name="claim: every worker suits every line",
        old="for line in found if line.suits(unknown, tags)}",
        new="for line in found}",
        tests=(_CLAIM, _LINES),
    ),
)

AT_ONCE = (
    _at_once(
        name="claim at once: a pause is ignored",
        old="WHERE NOT lane.is_paused AND tenant.is_active",
        new="WHERE tenant.is_active",
    ),
    _at_once(
        name="claim at once: an inactive tenant is served",
        old="WHERE NOT lane.is_paused AND tenant.is_active",
        new="WHERE NOT lane.is_paused",
    ),
    _at_once(
        name="claim at once: the limit of a lane is ignored",
        old="CASE WHEN lane.max_running IS NULL AND tenant.max_running IS NULL THEN",
        new="CASE WHEN tenant.max_running IS NULL THEN",
    ),
    _at_once(
        name="claim at once: the limit of a tenant is ignored",
        old="CASE WHEN lane.max_running IS NULL AND tenant.max_running IS NULL THEN",
        new="CASE WHEN lane.max_running IS NULL THEN",
    ),
    _at_once(
        name="claim at once: limits need no lock",
        old="    WHEN {_IS_LOCKED} THEN greatest",
        new="    WHEN TRUE THEN greatest",
        tests=(f"{_GUARDS}::TestLastPlace", f"{_GUARDS}::TestLocks"),
    ),
    _at_once(
        name="claim at once: who did not get the lock goes on",
        old="    ELSE 0 END",
        new="    ELSE given.quota END",
    ),
    _at_once(
        name="claim at once: waits for a tenant that another has locked",
        old="ORDER BY id LOCK SKIPPING ROWS\n) AS locked",
        new="ORDER BY id FOR NO KEY UPDATE\n) AS locked",
        tests=(f"{_GUARDS}::TestLocks",),
    ),
    _at_once(
        name="claim at once: running jobs of a lane are not counted",
        old="SELECT count(*) FROM jobs_job WHERE {_IS_RUNNING} AND lane_id = lane.id)",
        new="SELECT 0)",
        tests=(_LINES,),
    ),
    _at_once(
        name="claim at once: running jobs of a tenant are not counted",
        old="tenant.max_running - (SELECT count(*) FROM jobs_job WHERE {_IS_RUNNING})",
        new="tenant.max_running",
        tests=(_LINES,),
    ),
    _at_once(
        name="claim at once: each lane of a tenant has all of its places",
        old="ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)",
        new="ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) * 0, 0)",
        tests=(_LINES,),
    ),
    _at_once(
        name="claim at once: tenants take each other's places",
        old="PARTITION BY tenant.id ORDER BY line.id",
        new="ORDER BY line.id",
        tests=(f"{_LINES}::test_tenants_claimed_at_once_take_none_of_each_others_places",),
    ),
    _at_once(
        name="claim at once: the pace of a lane is ignored",
        old="AND lane.starts_per_minute IS NULL AND",
        new="AND",
    ),
    _at_once(
        name="claim at once: the pace of a tenant is ignored",
        old="IS NULL AND tenant.starts_per_minute IS NULL",
        new="IS NULL",
    ),
    _at_once(
        name="claim at once: limits of a tenant's tasks are ignored",
        old="(task_limit.tenant_id IS NULL OR task_limit.tenant_id = tenant.id)",
        new="task_limit.tenant_id IS NULL",
    ),
    _at_once(
        name="claim at once: limits of all tenants' tasks are ignored",
        old="(task_limit.tenant_id IS NULL OR task_limit.tenant_id = tenant.id)",
        new="task_limit.tenant_id = tenant.id",
    ),
    _at_once(
        name="claim at once: limits of another tenant's tasks count",
        old="AND (task_limit.tenant_id IS NULL OR task_limit.tenant_id = tenant.id))",
        new=")",
        tests=(_LINES,),
    ),
    _at_once(
        name="claim at once: limits of other tasks count",
        old="WHERE task_limit.task = line.task\n                AND (",
        new="WHERE (",
        tests=(_LINES,),
    ),
)

LOOKS = (
    _lines(
        name="lines: a pause is ignored",
        old="ON lane.id = line.lane_id AND NOT lane.is_paused",
        new="ON lane.id = line.lane_id",
        tests=(_CLAIM,),
    ),
    _lines(
        name="lines: an inactive tenant is served",
        old="ON tenant.id = lane.tenant_id AND tenant.is_active",
        new="ON tenant.id = lane.tenant_id",
        tests=(_CLAIM,),
    ),
    _lines(
        name="lines: a tenant's limit of a task is another's too",
        old="ON own.tenant_id = tenant.id AND own.task = line.task",
        new="ON own.task = line.task",
        tests=("tests/jobs/test_limits.py", _LINES),
    ),
    _lines(
        name="lines: a limit of all tenants is for every task",
        old="ON shared.tenant_id IS NULL AND shared.task = line.task",
        new="ON shared.tenant_id IS NULL",
        tests=("tests/jobs/test_limits.py", _LINES),
    ),
    _lines(
        name="lines: unknown tasks are claimed",
        old="        if self.task in unknown:\n            return False\n",
        new="",
        tests=(_CLAIM,),
    ),
    _lines(
        name="lines: tags are ignored",
        old='return not self.worker_tags or set(self.worker_tags.split(",")).issubset(tags)',
        new="return True",
        tests=(f"{_LINES}::TestTags",),
    ),
    _lines(
        name="lines: one of the tags is enough",
        old='set(self.worker_tags.split(",")).issubset(tags)',
        new='not set(self.worker_tags.split(",")).isdisjoint(tags)',
        tests=(f"{_LINES}::TestTags",),
    ),
    _lines(
        name="look: a mark is not behind itself",
        old="AND (priority * -1, run_at, id) > (\n",
        new="AND (priority * -1, run_at, id) >= (\n",
        tests=(f"{_LINES}::TestMarks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _lines(
        name="look: a line without a mark is not seen",
        old="coalesce(mark.rank, -1000)",
        new="mark.rank",
        tests=(f"{_LINES}::TestMarks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _lines(
        name="look: marks are ignored",
        old="    elif after:\n",
        new="    elif not after:\n",
        tests=(f"{_LINES}::TestMarks",),
        databases=_ONLY_POSTGRESQL,
    ),
    _lines(
        name="look: a lane without ready jobs is offered (SQLite)",
        old="WHERE lane_id = line.lane_id AND line_id = line.id AND status = '{Status.PENDING}')\"",
        new='WHERE lane_id = line.lane_id AND line_id = line.id)"',
        tests=(_CLAIM,),
        databases=_ONLY_SQLITE,
    ),
    _look(
        name="look: queues that were not asked for",
        old="(not queues or line.queue in queues) and line.suits",
        new="line.suits",
    ),
    _look(
        name="look: every worker suits every line",
        old="and line.suits(unknown, tags):",
        new=":",
    ),
    _look(
        name="look: lanes without room are offered",
        old="if x.opens_in or x.has_room or x.is_contended or x.tenant_id in own]",
        new="]",
    ),
    _look(
        name="look: a lane that waits for its pace is forgotten",
        old="if x.opens_in or x.has_room",
        new="if x.has_room",
    ),
    _look(
        name="look: a line with paces is for claims at once",
        old="return not (is_paced or",
        new="return not (",
    ),
    _look(
        name="look: a line of a limited task is for claims at once",
        old="return not (is_paced or line.task_limit or line.shared_limit)",
        new="return not is_paced",
    ),
    _look(
        name="look: one of several lines is for claims at once",
        old="if len(lines) == 1 and is_simple(first) else None",
        new="if is_simple(first) else None",
    ),
    _look(
        name="look: the room of a lane is that of its tasks",
        old="return total if of_lane is None else min(of_lane, total)",
        new="return total",
    ),
)
