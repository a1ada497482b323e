"""The tenant's own settings: its limits, and those of its tasks.

A tenant may lower its limits, and raise them again to what its operator has set: the `ceilings`.
"""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import services
from jobs.api.parsers import body_of
from jobs.api.schema import INSTANT, TEXT, described, nullable, object_of, page_schema, record
from jobs.api.view import TenantView
from jobs.ceilings import Limited, ceiling
from jobs.errors import InvalidInput, TaskLimitNotFound
from jobs.fields import Field, read_fields
from jobs.instants import instant
from jobs.keys import Scope
from jobs.limit_fields import TASK_LIMITS, TENANT_LIMITS
from jobs.models import TaskLimit, Tenant

NOT_ALLOWED, REFUSED = "queue_not_allowed", "above_ceiling"


def _limits_schema(names: Mapping[str, Field]) -> dict[str, Any]:
    return record(dict.fromkeys(names, nullable("integer")))


TASK_LIMITS_REQUEST = {
    **object_of(TASK_LIMITS, example={"max_running": 3}),
    "anyOf": [
        {"required": [name], "properties": {name: {"type": "integer"}}}
        for name in ("max_running", "starts_per_minute")
    ],
}
TENANT = record(
    {
        "slug": TEXT,
        "is_active": {"type": "boolean"},
        "weight": {"type": "integer"},
        "created_at": INSTANT,
        "limits": _limits_schema(TENANT_LIMITS),
        "ceilings": _limits_schema(TENANT_LIMITS),
    }
)
TASK_LIMIT = record(
    {"task": TEXT, "limits": _limits_schema(TASK_LIMITS), "ceilings": _limits_schema(TASK_LIMITS)}
)


def limits_of(limited: Limited, names: Mapping[str, Field]) -> dict[str, dict[str, int | None]]:
    """The limits in force, and how far the tenant may raise each; null is none."""
    return {
        "limits": {name: getattr(limited, name) for name in names},
        "ceilings": {name: ceiling(limited, name) for name in names},
    }


def changes_of(body: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """What a request wants changed. Raises `InvalidInput` if that is nothing."""
    given = read_fields(body, fields)
    if not given:
        raise InvalidInput(f"Nothing to change is given: some of {', '.join(fields)}.")
    return given


class OwnTenant(TenantView):
    """`/tenant`"""

    scopes = {"GET": Scope.READ, "PATCH": Scope.ADMIN}
    is_of_whole_tenant = True

    @described(
        "get_tenant",
        "The tenant and its limits",
        answers={200: TENANT},
        problems=(NOT_ALLOWED,),
    )
    def get(self, request: Request) -> Response:
        """The limits in force, and the ceilings: how far the tenant may raise them itself."""
        return self._answer(self.tenant)

    @described(
        "change_tenant",
        "Change the tenant's limits",
        request=object_of(TENANT_LIMITS, example={"max_running": 3}, at_least=1),
        answers={200: TENANT},
        problems=(NOT_ALLOWED, REFUSED),
    )
    def patch(self, request: Request) -> Response:
        """Those that are given; in force at the next claim. Null is no limit.

        A tenant may lower what its operator has set, and raise it again as far.
        """
        changes = changes_of(body_of(request), TENANT_LIMITS)
        own = Tenant.objects.get(pk=self.tenant.pk)  # that of the key is everybody's
        services.change_limits(own, actor=self.actor, by_tenant=True, **changes)
        return self._answer(own)

    def _answer(self, tenant: Tenant) -> Response:
        about = {
            "slug": tenant.slug,
            "is_active": tenant.is_active,
            "weight": tenant.weight,
            "created_at": instant(tenant.created_at),
        }
        return Response({**about, **limits_of(tenant, TENANT_LIMITS)})


class TaskLimits(TenantView):
    """`/task-limits`"""

    scopes = {"GET": Scope.READ}
    is_of_whole_tenant = True

    @described(
        "list_task_limits",
        "The tenant's limits of tasks",
        answers={200: page_schema(TASK_LIMIT)},
        problems=(NOT_ALLOWED,),
    )
    def get(self, request: Request) -> Response:
        """All of them, by task. Limits that all tenants share are not among them."""
        limits = _task_limits(self.tenant).order_by("task")
        return Response({"results": [_as_json(limit) for limit in limits], "next": None})


class OneTaskLimit(TenantView):
    """`/task-limits/{task}`"""

    scopes = {"GET": Scope.READ, "PUT": Scope.ADMIN, "DELETE": Scope.ADMIN}
    is_of_whole_tenant = True

    @described(
        "get_task_limit",
        "The limits of a task",
        answers={200: TASK_LIMIT},
        problems=(NOT_ALLOWED,),
    )
    def get(self, request: Request, task: str) -> Response:
        """404 if the tenant has none for it."""
        limit = _task_limits(self.tenant).filter(task=task).first()
        if limit is None:
            raise TaskLimitNotFound("The tenant has no limit for this task.")
        return Response(_as_json(limit))

    @described(
        "set_task_limit",
        "Limit a task",
        request=TASK_LIMITS_REQUEST,
        answers={200: TASK_LIMIT},
        problems=(NOT_ALLOWED, REFUSED, "too_many_limits"),
    )
    def put(self, request: Request, task: str) -> Response:
        """Replaces the limits that it had; in force at the next claim.

        `max_running` or `starts_per_minute` has to be given.
        """
        given = read_fields(body_of(request), TASK_LIMITS)
        limit = services.set_task_limit(
            self.tenant, task, actor=self.actor, by_tenant=True, **given
        )
        return Response(_as_json(limit))

    @described(
        "remove_task_limit",
        "Lift the limits of a task",
        answers={204: None},
        problems=(NOT_ALLOWED, REFUSED),
    )
    def delete(self, request: Request, task: str) -> Response:
        """Those that the tenant has set; what its operator has set stays."""
        if not services.remove_task_limit(self.tenant, task, actor=self.actor, by_tenant=True):
            raise TaskLimitNotFound("The tenant has no limit for this task.")
        return Response(status=204)


def _task_limits(tenant: Tenant) -> QuerySet[TaskLimit]:
    return TaskLimit.objects.filter(tenant=tenant)


def _as_json(limit: TaskLimit) -> dict[str, Any]:
    return {"task": limit.task, **limits_of(limit, TASK_LIMITS)}
