"""Who may see what. Every path from a request to a row begins here."""

import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from jobs.errors import JobNotFound
from jobs.job_rows import find_job
from jobs.models import Job, Membership, Role, Tenant
from jobs.uuid7 import read_id

MAX_ACTOR = 150
"""Characters that columns with an actor have; a name may have as many by itself."""


def tenants_of_user(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Tenant]:
    """The tenants a dashboard user sees: all for staff, otherwise those they are a member of."""
    if not user.is_authenticated:
        return Tenant.objects.none()
    if getattr(user, "is_staff", False):
        return Tenant.objects.all()
    return Tenant.objects.filter(members=user.pk)


def jobs_of_tenant(tenant: Tenant) -> QuerySet[Job]:
    """The jobs of one tenant."""
    return Job.objects.filter(tenant_id=tenant.pk)


def jobs_of_user(user: Any) -> QuerySet[Job]:
    """The jobs a dashboard user sees."""
    if getattr(user, "is_staff", False) and user.is_authenticated:
        return Job.objects.all()
    return Job.objects.filter(tenant_id__in=tenants_of_user(user).values("pk"))


class Right(NamedTuple):
    """What it takes to do something: this permission for staff, such a membership for others."""

    permission: str
    membership: Q


OPERATE = Right("jobs.operate_job", Q(role__in=[Role.OPERATOR, Role.ADMIN]))
ADMINISTER = Right("jobs.change_tenant", Q(role=Role.ADMIN))
VIEW_AUDIT = Right("jobs.view_auditentry", Q(role=Role.ADMIN))
VIEW_PAYLOAD = Right("jobs.view_payload", Q(sees_payloads=True))


def allowed(user: Any, right: Right, tenants: Iterable[Tenant]) -> frozenset[int]:
    """The ids of those of the tenants for which a dashboard user has the right.

    Staff have it for all of them or for none, whatever tenants they are members of.
    """
    ids = frozenset(tenant.pk for tenant in tenants)
    if user.is_staff or user.is_superuser:
        return ids if user.has_perm(right.permission) else frozenset()
    held = Membership.objects.filter(right.membership, user_id=user.pk, tenant_id__in=ids)
    return frozenset(held.values_list("tenant_id", flat=True))


def may_administer(user: Any, tenant: Tenant) -> bool:
    """Whether a dashboard user may change its keys, its limits and its members' roles."""
    return bool(allowed(user, ADMINISTER, [tenant]))


def may_ask_workers(user: Any) -> bool:
    """Whether a dashboard user may have worker processes stop, or take no more jobs."""
    return bool(user.is_staff and user.has_perm("jobs.change_worker"))


def actor_of(request: HttpRequest) -> str:
    """The logged-in user of the request, in the words of the audit log."""
    return f"user:{request.user.get_username()}"[:MAX_ACTOR]


def get_job(visible: QuerySet[Job], job_id: str | uuid.UUID) -> Job:
    """The job of that id among the visible ones.

    Raises `JobNotFound` alike for a malformed id, an unknown one and a stranger's.
    """
    try:
        return visible.get(pk=_as_id(job_id))
    except (ValueError, Job.DoesNotExist):
        raise _not_found() from None


def get_job_of_tenant(tenant: Tenant, job_id: str | uuid.UUID) -> Job:
    """As `get_job` among the jobs of one tenant, in a third of the time."""
    try:
        job = find_job(tenant.pk, _as_id(job_id))
    except ValueError:
        raise _not_found() from None
    if job is None:
        raise _not_found()
    return job


def _as_id(text: str | uuid.UUID) -> uuid.UUID:
    return text if isinstance(text, uuid.UUID) else read_id(str(text))


def _not_found() -> JobNotFound:
    return JobNotFound("There is no such job.")
