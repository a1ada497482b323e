"""What a request is about: its user, the tenants that user sees, and the one it is narrowed to."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest

from jobs import access
from jobs.errors import JobNotFound
from jobs.models import Job, Tenant


@dataclass(frozen=True)
class PageScope:
    """The tenants of a page. `chosen` is the one it is narrowed to, None for all that are seen."""

    user: Any
    tenants: tuple[Tenant, ...]
    chosen: Tenant | None

    @property
    def is_operator(self) -> bool:
        """Whether the user looks after the installation, and so sees its machines."""
        return bool(self.user.is_staff)

    @cached_property
    def shown(self) -> tuple[Tenant, ...]:
        """The tenants that the page is about."""
        return (self.chosen,) if self.chosen else self.tenants

    @cached_property
    def ids(self) -> list[int]:
        """Their ids."""
        return [tenant.pk for tenant in self.shown]

    @cached_property
    def slugs(self) -> dict[int, str]:
        """Their slugs by id."""
        return {tenant.pk: tenant.slug for tenant in self.tenants}

    @property
    def searched(self) -> tuple[Tenant | None, ...]:
        """Whose jobs to search one after the other; None stands for those of everybody."""
        return (None,) if self.chosen is None and self.is_operator else self.shown

    @property
    def names_tenants(self) -> bool:
        """Whether rows need to say whose they are."""
        return len(self.shown) > 1

    @cached_property
    def operable(self) -> frozenset[int]:
        """The ids of the tenants for which the user may act."""
        return access.allowed(self.user, access.OPERATE, self.tenants)

    @cached_property
    def administrable(self) -> frozenset[int]:
        """The ids of the tenants whose keys, limits and members' roles the user may change."""
        return access.allowed(self.user, access.ADMINISTER, self.tenants)

    @cached_property
    def audited(self) -> frozenset[int]:
        """The ids of the tenants whose audit log the user may read."""
        return access.allowed(self.user, access.VIEW_AUDIT, self.tenants)

    @cached_property
    def readable(self) -> frozenset[int]:
        """The ids of the tenants whose payloads and results the user may read."""
        return access.allowed(self.user, access.VIEW_PAYLOAD, self.tenants)

    @cached_property
    def is_readable(self) -> bool:
        """Whether the user may read the payloads of everything that the page is about."""
        return self.readable.issuperset(self.ids)

    def reads(self, tenant_id: int | None) -> bool:
        """Whether the user may read payloads of the tenant; without one, of all in scope."""
        return self.is_readable if tenant_id is None else tenant_id in self.readable

    @property
    def is_operable(self) -> bool:
        """Whether the user may act on everything that the page is about."""
        return self.operable.issuperset(self.ids)

    def require_operable(self, tenant_ids: Iterable[int]) -> None:
        """Raise `PermissionDenied` unless the user may act for each of these tenants."""
        if not self.operable.issuperset(tenant_ids):
            raise PermissionDenied("This needs the role of an operator.")

    def require_administrable(self, tenant: Tenant) -> None:
        """Raise `PermissionDenied` unless the user may change the tenant's settings."""
        if tenant.pk not in self.administrable:
            raise PermissionDenied("This needs the role of an admin.")

    def jobs(self) -> QuerySet[Job]:
        """The jobs that the page is about."""
        if self.chosen:
            return access.jobs_of_tenant(self.chosen)
        return access.jobs_of_user(self.user)

    def job(self, job_id: object) -> Job:
        """A job that the user may see and act on, whatever the page is narrowed to, or a 404."""
        try:
            return access.get_job(access.jobs_of_user(self.user), str(job_id))
        except JobNotFound as error:
            raise Http404(error.detail) from error

    def tenant(self, slug: str) -> Tenant:
        """A tenant that the user sees, or a 404."""
        return _find(self.tenants, slug)

    def narrowed_to(self, slug: str) -> "PageScope":
        """The same for one of the tenants that the user sees, or a 404."""
        return replace(self, chosen=self.tenant(slug))


def scope_of(request: HttpRequest) -> PageScope:
    """The scope of a request: `?tenant=slug` narrows it. A tenant that is not seen is a 404."""
    tenants = tuple(access.tenants_of_user(request.user))
    slug = request.GET.get("tenant", "")
    only = tenants[0] if len(tenants) == 1 and not request.user.is_staff else None
    return PageScope(request.user, tenants, _find(tenants, slug) if slug else only)


def _find(tenants: tuple[Tenant, ...], slug: str) -> Tenant:
    for tenant in tenants:
        if tenant.slug == slug:
            return tenant
    raise Http404("There is no such tenant.")
