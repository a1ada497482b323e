"""Bulk actions on the jobs that match a filter: counted beforehand, carried out in the background.

A worker takes a step at a time (`step`), and any worker takes the next. An operation walks over
ids, upwards, and comes to no job twice: one that is redriven and dies again stays a dead letter.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.text import Truncator

from jobs import wakeup
from jobs.audit import audit
from jobs.conf import conf
from jobs.errors import (
    IdempotencyMismatch,
    InvalidInput,
    OperationNotFound,
    StatusConflict,
    TooManyOperations,
)
from jobs.filters import Filter, Term, parse
from jobs.job_filters import without_messages
from jobs.job_search import Search
from jobs.models import AuditAction, AuditEntry, Operation, Tenant
from jobs.statuses import ACTED_ON, BulkAction, OperationState
from jobs.store import bulk
from jobs.uuid7 import read_id

MIN_RATE, MAX_RATE = 0.001, 100_000
"""The paces that an operation may have, in jobs per second."""
COUNTED_AT_MOST = 10_000
COUNTED_STEPS = 10
COUNTING_SECONDS = 1.0
"""After so long no more steps are counted."""
AUDITED_CHARACTERS = 600
"""So much of a filter goes into the audit log, which is kept for good; it may name 1,000 ids."""
SAMPLE = 10
BATCH = 500
SECONDS_A_STEP = 0.5
"""A pace is kept in steps of so long, so that a slow one is even."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an operation would be about: so many jobs, or that many at least, the oldest first."""

    count: int
    is_capped: bool
    sample: list[uuid.UUID]


def preview(
    tenant: Tenant | None, action: BulkAction, text: str, *, seconds: float = COUNTING_SECONDS
) -> Preview:
    """Count the jobs of the tenant (None: of all) that match, without looking at too many.

    A step that has begun is ended; after so many seconds there is no other. Raises `InvalidInput`
    for a filter that cannot be read or has no condition.
    """
    search = Search(tenant, _read(text) & _acted_on(action), oldest_first=True)
    ids: list[uuid.UUID] = []
    rest: uuid.UUID | None = None
    until = time.monotonic() + seconds
    for _ in range(COUNTED_STEPS):
        found, rest = search.step(rest, size=COUNTED_AT_MOST - len(ids))
        ids += found
        if rest is None or len(ids) == COUNTED_AT_MOST or time.monotonic() > until:
            break
    return Preview(len(ids), rest is not None, ids[:SAMPLE])


def start(
    tenant: Tenant | None,
    action: BulkAction,
    text: str,
    *,
    actor: str,
    rate_per_second: float | None = None,
    idempotency_key: str | None = None,
) -> Operation:
    """Begin a bulk action on the jobs of the tenant (None: of all) that match and are there now.

    With an idempotency key that was used before for the same, the earlier one, however it stands.
    Raises `InvalidInput`, `TooManyOperations`, `IdempotencyMismatch`.
    """
    same = {"action": action, "filter": text, "rate_per_second": rate_per_second}
    if earlier := _find_earlier(tenant, idempotency_key, same):
        return earlier
    expected = preview(tenant, action, text)
    try:
        return _begin(tenant, actor, same, expected, idempotency_key)
    except IntegrityError:  # the same request, at the same time
        if earlier := _find_earlier(tenant, idempotency_key, same):
            return earlier
        raise


def _find_earlier(
    tenant: Tenant | None, idempotency_key: str | None, same: Mapping[str, object]
) -> Operation | None:
    if idempotency_key is None:
        return None
    used = Operation.objects.filter(tenant=tenant, idempotency_key=idempotency_key)
    earlier = used.first()
    if earlier and any(getattr(earlier, name) != value for name, value in same.items()):
        raise IdempotencyMismatch(
            "This idempotency key was used before with another request; use a new key."
        )
    return earlier


def _begin(
    tenant: Tenant | None,
    actor: str,
    asked: Mapping[str, Any],
    expected: Preview,
    idempotency_key: str | None,
) -> Operation:
    with transaction.atomic():
        _refuse_too_many(tenant, actor)
        operation = Operation.objects.create(
            tenant=tenant,
            **asked,
            idempotency_key=idempotency_key,
            expected=expected.count,
            is_expected_capped=expected.is_capped,
            actor=actor,
            created_at=Now(),
            next_at=Now(),
        )
        _audit(operation, "start_operation", actor, rate_per_second=operation.rate_per_second)
        transaction.on_commit(wakeup.signal)
    operation.refresh_from_db()
    return operation


def cancel(operation: Operation, *, actor: str) -> Operation:
    """Let it act on no more jobs: on none once this has returned.

    Cancelling it again changes nothing. Raises `StatusConflict` if it has ended.
    """
    running = Operation.objects.filter(pk=operation.pk, state=OperationState.RUNNING)
    with transaction.atomic():
        was_running = running.update(state=OperationState.CANCELLED, finished_at=Now())
        operation.refresh_from_db()
        if was_running:
            _audit(operation, "cancel_operation", actor)
    if operation.state != OperationState.CANCELLED:
        raise StatusConflict("The operation has ended; nothing is left to cancel.")
    return operation


def get_operation(visible: QuerySet[Operation], operation_id: str) -> Operation:
    """The operation of that id among the visible ones. Raises `OperationNotFound`."""
    try:
        return visible.get(pk=read_id(operation_id))
    except (ValueError, Operation.DoesNotExist):
        raise OperationNotFound("There is no such operation.") from None


def step(runner: str) -> float:
    """Take a step of an operation, if one is due; answers the seconds until another may be.

    Infinity if no operation runs.
    """
    wait = bulk.step_in(runner, conf().lease_seconds)
    if wait > 0:
        return wait
    held = bulk.hold_operation(runner, conf().lease_seconds)
    if held is not None:
        operation = Operation.objects.select_related("tenant").get(pk=held.operation_id)
        try:
            _carry_out(operation, held)
        except InvalidInput as error:  # a filter that an earlier version took
            _give_up(operation, held, error.detail)
    return 0


def _carry_out(operation: Operation, held: bulk.Held) -> None:
    search = Search(operation.tenant, _wanted(operation), oldest_first=True)
    with bulk.one_state():
        found = search.step(operation.position, size=_batch(operation))
    with transaction.atomic():
        was_ours = bulk.take_step(
            held,
            BulkAction(operation.action),
            found.ids,
            position=found.rest,
            seconds_per_job=1 / operation.rate_per_second if operation.rate_per_second else 0.0,
        )
        if was_ours and found.rest is None:
            operation.refresh_from_db()
            _audit(operation, "end_operation", operation.actor)
    if found.ids:
        wakeup.signal()


def _give_up(operation: Operation, held: bulk.Held, reason: str) -> None:
    with transaction.atomic():
        if bulk.give_up(held, reason):
            operation.refresh_from_db()
            _audit(operation, "fail_operation", operation.actor, reason=reason)


def _batch(operation: Operation) -> int:
    rate = operation.rate_per_second
    return BATCH if rate is None else max(1, min(BATCH, int(rate * SECONDS_A_STEP)))


def _read(text: str) -> Filter:
    wanted = parse(text)
    if not wanted:
        raise InvalidInput("must have a condition, such as queue:email.", code="invalid_filter")
    return wanted


def _wanted(operation: Operation) -> Filter:
    """What it acts on. Its ages are counted from when it was made; later jobs are none of it.

    Nor are jobs that die later: nobody has looked at those dead letters.
    """
    action = BulkAction(operation.action)
    are_dead = action in {BulkAction.REDRIVE, BulkAction.DISCARD}
    words = ("created", "finished") if are_dead else ("created",)
    earlier = Filter(tuple(Term(word, (operation.created_at,), "<=") for word in words))
    return parse(operation.filter).at(operation.created_at) & earlier & _acted_on(action)


def _acted_on(action: BulkAction) -> Filter:
    return Filter((Term("status", tuple(sorted(ACTED_ON[action]))),))


def _refuse_too_many(tenant: Tenant | None, actor: str) -> None:
    """Counted by one after the other: each holds its tenant's row until its operation is there.

    Keys, people and commands count apart: what a program began keeps nobody from mending things.
    """
    kind = actor.partition(":")[0]
    if tenant is not None:
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    most = conf().max_operations_per_tenant
    running = Operation.objects.filter(tenant=tenant, state=OperationState.RUNNING)
    if running.filter(actor__startswith=f"{kind}:").count() >= most:
        raise TooManyOperations(f"{most} operations are running; wait for one, or cancel it.")


def details_of(entry: AuditEntry, *, may_read: bool) -> dict[str, Any]:
    """What else an entry of the audit log tells; to who may not read errors, nothing of those."""
    found = dict(entry.details)
    if isinstance(text := found.get("filter"), str) and not may_read:
        found["filter"] = without_messages(text)
    return found


def target_of(operation: Operation) -> str:
    """What the audit log calls it."""
    return f"{operation.action} {operation.pk}"


def _audit(operation: Operation, action: AuditAction, actor: str, **details: object) -> None:
    has_begun = action != "start_operation"
    counts = {"count": operation.done if has_begun else operation.expected}
    if has_begun:
        counts |= {"matched": operation.matched, "skipped": operation.skipped}
    text = Truncator(operation.filter).chars(AUDITED_CHARACTERS)
    audit(
        actor, action, operation.tenant_id, target_of(operation), filter=text, **counts, **details
    )
