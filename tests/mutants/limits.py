"""Guards of limits: what runs is counted under a lock, starts are paced, changes pass the gate."""

from functools import partial

from tests.mutants.mutant import Mutant

_CLAIM = "tests/store/test_claim.py"
_LINES = "tests/store/test_lines.py"
_GUARDS = "tests/store/test_guards.py"
_PACE = "tests/store/test_paces.py"
_OF_JOBS = "tests/jobs/test_limits.py"
_SUBMISSIONS = "tests/store/test_limits.py"
_ONLY_POSTGRESQL = ("postgresql",)

_rooms = partial(Mutant, file="jobs/store/rooms.py")
_place = partial(
    _rooms, tests=(f"{_GUARDS}::TestLastPlace", f"{_GUARDS}::TestLocks"), databases=_ONLY_POSTGRESQL
)
_gate = partial(
    Mutant,
    file="jobs/store/gate.py",
    tests=(f"{_GUARDS}::TestGate",),
    databases=_ONLY_POSTGRESQL,
)
_submissions = partial(Mutant, file="jobs/store/limits.py", tests=(_SUBMISSIONS,))

RUNNING = (
    _place(
        name="rooms: tenants are not locked",
        old="WHERE id = ANY(%(tenants)s) ORDER BY id LOCK SKIPPING ROWS",
        new="WHERE id = ANY(%(tenants)s) ORDER BY id",
    ),
    _place(
        name="rooms: limits that tenants share are not locked",
        old="WHERE id = ANY(%(shared)s) ORDER BY id LOCK SKIPPING ROWS",
        new="WHERE id = ANY(%(shared)s) ORDER BY id",
    ),
    _place(
        name="rooms: claims lock nothing",
        old="if shared else [])] if lock else []",
        new="if shared else [])] if False else []",
    ),
    _place(
        name="rooms: what another has locked is not passed over",
        old="            self._pass_over(tenants.difference(locked[0])",
        new="            lambda: (tenants.difference(locked[0])",
    ),
    _place(
        name="rooms: a shared limit that another has locked is not passed over",
        old="set(shared).difference(*locked[1:])",
        new="set()",
    ),
    _place(
        name="rooms: counted before it is locked",
        old="""for statement in (*locks, *counts, _CLOCKS)]))
        locked = [{key for (key,) in next(found)} for _ in locks]
        used = self._used(*(next(found) for _ in counts))
""",
        new="""for statement in (*counts, *locks, _CLOCKS)]))
        used = self._used(*(next(found) for _ in counts))
        locked = [{key for (key,) in next(found)} for _ in locks]
""",
    ),
    _rooms(
        name="rooms: one more than the limit",
        old="limit.max_running - used",
        new="limit.max_running - used + 1",
        tests=(_CLAIM,),
    ),
    _rooms(
        name="rooms: who is above a lowered limit has places for others",
        old="return max(0, min(running, starts))",
        new="return min(running, starts)",
        tests=(_CLAIM,),
    ),
    _rooms(
        name="rooms: what runs does not count",
        old="limit.max_running - used",
        new="limit.max_running",
        tests=(_CLAIM,),
    ),
    _rooms(
        name="rooms: what runs of a tenant does not count",
        old='for holder in (f"T{tenant_id}", f"L{lane_id}",',
        new='for holder in (f"L{lane_id}",',
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="rooms: what runs in a lane does not count",
        old='for holder in (f"T{tenant_id}", f"L{lane_id}",',
        new='for holder in (f"T{tenant_id}",',
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="rooms: what runs of a task does not count",
        old=', of_task.get((tenant_id, task), "")):',
        new="):",
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="rooms: what runs of a task for all tenants does not count",
        old="        used.update({shared[task]: jobs for task, jobs in of_all})\n",
        new="",
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="rooms: what one lane takes is left for the next",
        old="            self._left[limit.holder] -= taken\n",
        new="            pass\n",
        tests=(_CLAIM,),
    ),
    _rooms(
        name="rooms: taken beyond the limits",
        old="taken = self.within(wanted, *line.limits)",
        new="taken = wanted",
        tests=(_CLAIM,),
    ),
    _rooms(
        name="rooms: only the first limit holds",
        old="return None if places == math.inf else int(places)",
        new="return None if places == math.inf else int(self._left[limits[0].holder]) "
        "if limits[0] else int(places)",
        tests=(_CLAIM, _LINES),
    ),
)

PACES = (
    _rooms(
        name="paces: starts are not limited",
        old="if limit.holder in self._paces else math.inf",
        new="if False else math.inf",
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="paces: the burst is ignored",
        old="return math.floor(self._burst - self._ahead",
        new="return math.floor(1 - self._ahead",
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="paces: one more than the burst",
        old="self._ahead / self.seconds_each + 1e-6)",
        new="self._ahead / self.seconds_each + 1)",
        tests=(_OF_JOBS,),
    ),
    _rooms(
        name="paces: time without starts adds to the burst",
        old="self._ahead = max(0.0, paid_off_at - now)",
        new="self._ahead = paid_off_at - now",
        tests=(_PACE,),
    ),
    _rooms(
        name="paces: starts are paid from where the clock stood",
        old="ELSE LATER(clock.paid_off_at, MOMENT()) END + %(seconds)s",
        new="ELSE clock.paid_off_at END + %(seconds)s",
        tests=(_PACE,),
    ),
    _rooms(
        name="paces: what was paid before is forgotten",
        old="ELSE LATER(clock.paid_off_at, MOMENT()) END + %(seconds)s",
        new="ELSE MOMENT() END + %(seconds)s",
        tests=(_PACE, _OF_JOBS),
    ),
    _rooms(
        name="paces: a clock of before the database's was set back is paid on",
        old="> MOMENT() + %(latest)s THEN MOMENT()",
        new="> MOMENT() + %(latest)s THEN clock.paid_off_at",
        tests=(_PACE,),
    ),
    _rooms(
        name="paces: a claim pays one start",
        old='"seconds": jobs * self._paces[holder].seconds_each',
        new='"seconds": self._paces[holder].seconds_each',
        tests=(_PACE,),
    ),
    _rooms(
        name="paces: said to open a start too early",
        old="self._ahead - (self._burst - 1) * self.seconds_each",
        new="self._ahead - self._burst * self.seconds_each",
        tests=(f"{_LINES}::TestLook",),
    ),
)

GATE = (
    _gate(
        name="gate: claims do not hold it",
        old="SELECT pg_advisory_xact_lock_shared({_GATE}),",
        new="SELECT 1,",
    ),
    _gate(
        name="gate: claims hold it alone",
        old="SELECT pg_advisory_xact_lock_shared({_GATE}),",
        new="SELECT pg_advisory_xact_lock({_GATE}),",
    ),
    _gate(
        name="gate: changes pass it with others",
        old="SELECT pg_advisory_xact_lock({_GATE})",
        new="SELECT pg_advisory_xact_lock_shared({_GATE})",
    ),
    _gate(
        name="gate: changes do not wait for it",
        old="        if is_last:\n            raise\n        return False\n",
        new="        return True\n",
    ),
    _gate(
        name="gate: passed outside of a transaction",
        old="    if not connection.in_atomic_block:",
        new="    if False:",
    ),
)

SUBMISSIONS = (
    _submissions(
        name="submissions: one more than the limit",
        old="over = sum(submitted for _, submitted, _ in window) + count - limit\n",
        new="over = sum(submitted for _, submitted, _ in window) + count - limit - 1\n",
    ),
    _submissions(
        name="submissions: what was submitted before does not count",
        old="over = sum(submitted for _, submitted, _ in window) + count - limit\n",
        new="over = count - limit\n",
    ),
    _submissions(
        name="submissions: the window is a second short",
        old="AND second >= EPOCH() - {WINDOW_SECONDS}",
        new="AND second > EPOCH() - {WINDOW_SECONDS}",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
    _submissions(
        name="submissions: told to come back a second too early",
        old="return second + WINDOW_SECONDS + 1 - now",
        new="return second + WINDOW_SECONDS - now",
    ),
    _submissions(
        name="submissions: another tenant's count",
        old="WHERE tenant_id = %(tenant_id)s AND second >= EPOCH()",
        new="WHERE second >= EPOCH()",
    ),
    _submissions(
        name="submissions: refused ones are counted",
        old="    if wait == 0:\n",
        new="    if True:\n",
    ),
    _submissions(
        name="submissions: those of the same second are forgotten",
        old="DO UPDATE SET submitted = jobs_submissionsecond.submitted + excluded.submitted",
        new="DO UPDATE SET submitted = excluded.submitted",
    ),
    _submissions(
        name="submissions: a limited tenant's do not wait for each other",
        old='        fetch(_LOCK, {"tenant_id": tenant_id})\n',
        new="        pass\n",
        tests=(f"{_GUARDS}::TestSubmissions",),
        databases=_ONLY_POSTGRESQL,
    ),
    _submissions(
        name="waiting jobs: those to be tried again do not count",
        old="IN ('{Status.SCHEDULED}', '{Status.BLOCKED}', '{Status.FAILED}')",
        new="IN ('{Status.SCHEDULED}', '{Status.BLOCKED}')",
    ),
    _submissions(
        name="waiting jobs: another tenant's count",
        old="WHERE tenant_id = %(tenant_id)s\n            AND status IN",
        new="WHERE status IN",
    ),
    _submissions(
        name="waiting jobs: counted to the last",
        old=") AS waiting LIMIT %(at_most)s",
        new=") AS waiting",
    ),
    Mutant(
        name="waiting jobs: one more than the cap",
        file="jobs/services.py",
        old="store.count_waiting(tenant.pk, at_most=cap + 1) > cap:",
        new="store.count_waiting(tenant.pk, at_most=cap + 1) > cap + 1:",
        tests=(f"{_GUARDS}::TestSubmissions",),
    ),
)
