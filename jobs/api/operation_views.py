"""Operations: bulk actions on a filter, begun, watched and cancelled."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import operations
from jobs.api.authentication import HasScope
from jobs.api.pages import page_of_rows, read_page
from jobs.api.parsers import body_of
from jobs.api.schema import (
    COUNT,
    FILTER,
    ID,
    INSTANT,
    MAYBE_INSTANT,
    TEXT,
    described,
    list_parameters,
    location,
    nullable,
    object_of,
    page_schema,
    record,
)
from jobs.api.view import TenantView
from jobs.errors import IdempotencyMismatch, InsufficientScope, InvalidInput
from jobs.fields import Field, bounded, flag, number, read_fields, text
from jobs.filters import READABLE, spelled
from jobs.instants import instant
from jobs.job_filters import searches_messages, without_messages, written
from jobs.job_request import key_in_header
from jobs.keys import Scope, allows
from jobs.models import ApiKey, Operation
from jobs.statuses import BulkAction, OperationState

SCOPES: Mapping[BulkAction, Scope] = {
    BulkAction.CANCEL: Scope.SUBMIT,
    BulkAction.RETRY: Scope.SUBMIT,
    BulkAction.REDRIVE: Scope.ADMIN,
    BulkAction.DISCARD: Scope.ADMIN,
}
"""What an action needs of a key, as on a single job."""


def _action(value: Any) -> BulkAction:
    try:
        return BulkAction(text(value))
    except ValueError:
        raise InvalidInput(f"is one of {', '.join(BulkAction)}.", code="invalid_choice") from None


def _filter(value: Any) -> str:
    if not written(text(value)):
        raise InvalidInput("must have a condition, such as queue:email.", code="invalid_filter")
    return str(value)


RATE = bounded(
    number, operations.MIN_RATE, operations.MAX_RATE, or_null=True, description="Jobs per second."
)
_NOT_BLANK = rf"^{READABLE}*[^\s\x00-\x1f\x7f-\x9f]{READABLE}*$"
_ACTION = {"type": "string", "enum": [action.value for action in BulkAction]}
OPERATION_FIELDS: Mapping[str, Field] = {
    "action": Field(_action, _ACTION),
    "filter": Field(_filter, {**FILTER, "pattern": _NOT_BLANK}),
    "dry_run": Field(flag, {"type": "boolean", "default": False}),
    "rate_per_second": RATE,
}
_EXAMPLE = {"action": "redrive", "filter": "queue:hooks error:timeout", "rate_per_second": 50}

OPERATION = record(
    {
        "id": ID,
        "action": _ACTION,
        "filter": TEXT,
        "state": {"type": "string", "enum": [state.value for state in OperationState]},
        "reason": nullable("string", description="Why it is FAILED."),
        "rate_per_second": nullable("number"),
        "expected": nullable("integer", minimum=0),
        "expected_is_capped": nullable("boolean"),
        "matched": COUNT,
        "done": COUNT,
        "skipped": COUNT,
        "actor": TEXT,
        "created_at": INSTANT,
        "finished_at": MAYBE_INSTANT,
    }
)
PREVIEW = record(
    {
        "action": _ACTION,
        "filter": TEXT,
        "count": COUNT,
        "count_is_capped": {"type": "boolean"},
        "sample": {"type": "array", "items": ID},
    }
)


def operation_as_json(operation: Operation, key: ApiKey) -> dict[str, Any]:
    """The operation and how far it came; what was counted, for a key that may read.

    To others the filter of somebody else does not tell what errors say.
    """
    may_count = allows(key, Scope.READ)
    may_know = may_count or operation.actor == f"key:{key.prefix}"
    return {
        "id": str(operation.pk),
        "action": operation.action,
        "filter": operation.filter if may_know else without_messages(operation.filter),
        "state": operation.state,
        "reason": operation.reason or None,
        "rate_per_second": operation.rate_per_second,
        "expected": operation.expected if may_count else None,
        "expected_is_capped": operation.is_expected_capped if may_count else None,
        "matched": operation.matched,
        "done": operation.done,
        "skipped": operation.skipped,
        "actor": operation.actor,
        "created_at": instant(operation.created_at),
        "finished_at": instant(operation.finished_at),
    }


def accepted(operation: Operation, key: ApiKey) -> Response:
    """202 with the operation, and with its address."""
    where = reverse("api-operation", args=[operation.pk])
    return Response(operation_as_json(operation, key), status=202, headers={"Location": where})


def narrowed(key: ApiKey, wanted: str) -> str:
    """The filter, within the queues that the key may use."""
    return f"{spelled('queue', *key.queues)} {wanted}" if key.queues else wanted


class MayLook(HasScope):
    """Lets a key that can begin operations look at those, too, without the scope `read`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the call may go on. Raises `InsufficientScope` with what is missing."""
        can_begin = isinstance(request.auth, ApiKey) and allows(request.auth, Scope.SUBMIT)
        if can_begin and request.method in {"GET", "HEAD"}:
            return True
        return super().has_permission(request, view)


class MayCount(MayLook):
    """Leaves a POST to the view: what that needs of the key stands in the body."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the call may go on. Raises `InsufficientScope` with what would do."""
        if request.method != "POST" or not isinstance(request.auth, ApiKey):
            return super().has_permission(request, view)
        if not any(allows(request.auth, scope) for scope in (Scope.SUBMIT, Scope.READ)):
            raise InsufficientScope(
                "This needs a key with the scope 'submit' to cancel or retry, 'admin' to redrive "
                "or discard, or 'read' with dry_run."
            )
        return True


class OperationsView(TenantView):
    """What every call about operations needs."""

    permission_classes = (MayLook,)

    def require(self, scope: Scope) -> None:
        """Raise `InsufficientScope` unless the key has this scope."""
        if not allows(self.key, scope):
            raise InsufficientScope(f"This needs a key with the scope {scope.value!r}.")

    def require_visible(self, begun: Operation) -> None:
        """Raise `IdempotencyMismatch` for an earlier operation that this key may not see."""
        if begun.actor != self.actor and not self.readable.filter(pk=begun.pk).exists():
            raise IdempotencyMismatch(
                "This idempotency key was used before, by another API key; use a new one."
            )

    def as_json(self, operation: Operation) -> dict[str, Any]:
        """The operation as the key may see it."""
        return operation_as_json(operation, self.key)

    @property
    def visible(self) -> QuerySet[Operation]:
        """Those of the tenant; a key that is limited to some queues sees its own."""
        own = Operation.objects.filter(tenant=self.tenant)
        return own.filter(actor=self.actor) if self.key.queues else own

    @property
    def readable(self) -> QuerySet[Operation]:
        """Of the visible ones, those that the key began if it may not read."""
        may_read = allows(self.key, Scope.READ)
        return self.visible if may_read else self.visible.filter(actor=self.actor)


class Operations(OperationsView):
    """`/operations`"""

    scopes = {"POST": Scope.SUBMIT, "GET": Scope.READ}
    permission_classes = (MayCount,)
    query = None

    @described(
        "start_operation",
        "Act on all jobs that match a filter, in the background",
        request=object_of(OPERATION_FIELDS, "action", "filter", example=_EXAMPLE),
        answers={200: PREVIEW, 202: OPERATION},
        parameters=[location(202)],
        problems=("missing_field", "too_many_operations", "idempotency_mismatch"),
        takes_idempotency_key=True,
    )
    def post(self, request: Request) -> Response:
        """202 and the operation's address; with `dry_run` 200 and how many jobs would be acted on.

        It is about jobs that are there now, in a status that allows the action, and comes to each
        of them once. A count stops at 10,000, or where too many jobs had to be looked at; then it
        is capped. Redriving and discarding need the scope `admin`. `dry_run` needs `read` alone;
        without that scope `expected` is null. An idempotency key that was used before for the same
        is answered with the earlier operation as it stands now, for as long as that is kept.
        """
        given = read_fields(body_of(request), OPERATION_FIELDS)
        for name in ("action", "filter"):
            if name not in given:
                raise InvalidInput(f"{name} is missing.", code="missing_field", pointer=name)
        action, wanted = given["action"], narrowed(self.key, given["filter"])
        key = request.headers.get("Idempotency-Key")
        idempotency_key = None if key is None else key_in_header(key)
        self.require(Scope.READ if given.get("dry_run") else SCOPES[action])
        if searches_messages(written(given["filter"])):  # its count would tell what errors say
            self.require(Scope.READ)
        if given.get("dry_run"):
            return Response(_preview_as_json(action, wanted, self))
        begun = operations.start(
            self.tenant,
            action,
            wanted,
            actor=self.actor,
            rate_per_second=given.get("rate_per_second"),
            idempotency_key=idempotency_key,
        )
        self.require_visible(begun)
        return accepted(begun, self.key)

    @described(
        "list_operations",
        "List operations, newest first",
        answers={200: page_schema(OPERATION)},
        parameters=list_parameters({}),
    )
    def get(self, request: Request) -> Response:
        """A page of the tenant's operations, also of those that have ended.

        A key with the scope `submit` alone sees those that it began.
        """
        page = read_page(request, self.tenant, {})
        return Response(page_of_rows(request, page, self.readable, self.as_json))


class OneOperation(OperationsView):
    """`/operations/{id}`"""

    scopes = {"GET": Scope.READ}

    @described("get_operation", "One operation and how far it came", answers={200: OPERATION})
    def get(self, request: Request, operation_id: str) -> Response:
        """`matched` is the sum of `done` and `skipped`: the latter had changed meanwhile."""
        return Response(self.as_json(operations.get_operation(self.readable, operation_id)))


class CancelOperation(OperationsView):
    """`/operations/{id}/cancel`"""

    scopes = {"POST": Scope.SUBMIT}

    @described(
        "cancel_operation",
        "Let an operation act on no more jobs",
        answers={200: OPERATION},
        problems=("status_conflict",),
    )
    def post(self, request: Request, operation_id: str) -> Response:
        """On none once this has answered; what was done stays done."""
        operation = operations.get_operation(self.visible, operation_id)
        self.require(SCOPES[BulkAction(operation.action)])
        return Response(self.as_json(operations.cancel(operation, actor=self.actor)))


def _preview_as_json(action: BulkAction, wanted: str, view: OperationsView) -> dict[str, Any]:
    found = operations.preview(view.tenant, action, wanted)
    return {
        "action": action,
        "filter": wanted,
        "count": found.count,
        "count_is_capped": found.is_capped,
        "sample": [str(job_id) for job_id in found.sample],
    }
