"""Guards of the relay: of its one transaction, and of who may take the places that come free."""

from functools import partial

from tests.mutants.mutant import Mutant

_ONLY_POSTGRESQL = ("postgresql",)
_ONLY_SQLITE = ("sqlite",)

_relay = partial(Mutant, file="jobs/store/relay.py", tests=("tests/store/test_relay.py",))
_successors = partial(
    Mutant,
    file="workers/claimer.py",
    tests=("tests/workers/test_relaying.py",),
)

_claimer = partial(Mutant, file="workers/claimer.py", tests=("tests/workers/test_claimer.py",))

RELAYS = (
    _relay(
        name="relay: claimed before the places are free",
        old="found = fetch_all([*first, *at_once(shares, after or {}, lease)])",
        new="granted = fetch_all([*settled(), *at_once(shares, after or {}, lease)])[-1]\n"
        "    found = [*fetch_all(first), granted]",
        databases=_ONLY_POSTGRESQL,
    ),
    _relay(
        name="relay: the gate is not passed",
        old="[*settled(AS_BRIEFLY), done(worker, firsts)]",
        new='[("SELECT 1", {}), done(worker, firsts)]',
        tests=("tests/store/test_guards.py::TestGate",),
        databases=_ONLY_POSTGRESQL,
    ),
    _relay(
        name="relay: two transactions (PostgreSQL)",
        old="found = fetch_all([*first, *at_once(shares, after or {}, lease)])",
        new="found = [*fetch_all(first), *fetch_all(at_once(shares, after or {}, lease))]",
        databases=_ONLY_POSTGRESQL,
    ),
    _relay(
        name="relay: two transactions (SQLite)",
        old="with one_writer():",
        new="if True:",
        databases=_ONLY_SQLITE,
    ),
    _relay(
        name="relay: jobs that need tags suit every worker",
        old="lease_seconds=lease_seconds, unknown=unknown, tags=tags\n",
        new='lease_seconds=lease_seconds, unknown=unknown, tags=["gpu"]\n',
        databases=_ONLY_SQLITE,
    ),
    _relay(
        name="relay: unknown tasks suit every worker",
        old="lease_seconds=lease_seconds, unknown=unknown, tags=tags\n",
        new="lease_seconds=lease_seconds, tags=tags\n",
        databases=_ONLY_SQLITE,
    ),
    _claimer(
        name="claimer: what a lost answer told of is left to the reaper",
        old="self._doubts, self._doubt_at = DOUBTS, 0.0",
        new="pass",
    ),
    _claimer(
        name="claimer: what it runs is taken for lost",
        old="if lease not in held]:",
        new="]:",
    ),
    _claimer(
        name="claimer: jobs of other workers are its own",
        file="jobs/store/lease.py",
        old=' AND worker = %(worker)s"""\n\n\ndef leases_of',
        new='"""\n\n\ndef leases_of',
    ),
    _successors(
        name="relay: to lanes that others have to share",
        old=" and not lane.is_contended\n",
        new="\n",
    ),
    _successors(
        name="relay: contended places are never left",
        old="return now >= self._leave_at",
        new="return False",
    ),
    _successors(
        name="relay: by a look of long ago",
        old="self._seen and time.monotonic() < self._look_again_at + LOOK_SECONDS",
        new="bool(self._seen)",
    ),
    _successors(
        name="relay: not by a look that found no place free",
        old="own={held.job.tenant_id for held in self._held.snapshot()},",
        new="",
    ),
    _successors(
        name="relay: never while the claimer looks",
        old="timeout=PATIENCE_SECONDS if self._is_relaying else 0",
        new="timeout=0",
    ),
    _successors(
        name="relay: heard of others and did not look",
        old="if is_told and not any",
        new="if not is_told and not any",
    ),
    _successors(
        name="relay: before others that have room",
        old="            elif lane.has_room:\n                return []\n",
        new="",
    ),
    _successors(
        name="relay: in a worker that drains",
        old="or self._is_quiet or self._stopping.is_set():",
        new="or self._is_quiet:",
    ),
    _successors(
        name="relay: in a worker that is to be quiet",
        old="or self._is_quiet or self._stopping.is_set():",
        new="or self._stopping.is_set():",
    ),
    _successors(
        name="relay: after an attempt that failed",
        old=" or any(one.status is not Status.DONE for one in outcomes):",
        new=":",
    ),
)
