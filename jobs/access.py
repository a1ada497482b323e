"""Who may see what. Every path from a request to a row begins here."""

import uuid
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.errors import JobNotFound
from jobs.job_rows import find_job
from jobs.models import Job, Tenant


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


def may_operate(user: Any, tenant: Tenant) -> bool:
    """Whether a dashboard user may submit, cancel, redrive, discard and pause for the tenant."""
    return _may(user, tenant, "jobs.operate_job")


def may_view_payload(user: Any, tenant: Tenant) -> bool:
    """Whether a dashboard user may read the tenant's payloads and results."""
    return _may(user, tenant, "jobs.view_payload")


def _may(user: Any, tenant: Tenant, permission: str) -> bool:
    """Superusers may, staff with the permission, and members for their tenant."""
    if user.is_staff or user.is_superuser:
        return bool(user.has_perm(permission))
    return tenants_of_user(user).filter(pk=tenant.pk).exists()


def actor_of(request: HttpRequest) -> str:
    """The logged-in user of the request, in the words of the audit log."""
    return f"user:{request.user.get_username()}"


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
    return text if isinstance(text, uuid.UUID) else uuid.UUID(str(text))


def _not_found() -> JobNotFound:
    return JobNotFound("There is no such job.")
