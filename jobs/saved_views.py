"""Saved views: filters of the list of jobs that people keep by a name, and may share."""

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from jobs.errors import InvalidInput
from jobs.job_filters import written
from jobs.models import SavedView, Tenant

MAX_NAME = 60
MAX_VIEWS = 50
"""So many a user may keep."""


def visible_views(user: Any, tenants: Collection[Tenant]) -> QuerySet[SavedView]:
    """The user's own views, and those shared in the tenants that the user sees."""
    of_seen = Q(tenant__in=tenants)
    own = Q(user=user.pk) & (of_seen | Q(tenant=None))
    return SavedView.objects.filter(own | of_seen & Q(is_shared=True)).select_related("tenant")


def save_view(
    user: Any, tenant: Tenant | None, name: str, filter_text: str, *, is_shared: bool
) -> SavedView:
    """Keep a filter; one of the same name, of the same tenant, is replaced. Raises `InvalidInput`.

    Only a view of one tenant can be shared.
    """
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(f"A view needs a name of up to {MAX_NAME} characters.")
    try:
        has_terms = bool(written(filter_text))
    except InvalidInput as error:
        raise InvalidInput(f"The filter {error.detail}", code=error.field_code) from None
    if not has_terms:
        raise InvalidInput("A view needs a filter.")
    if is_shared and tenant is None:
        raise InvalidInput("A view can be shared within one tenant: choose it first.")
    with transaction.atomic():
        view, is_new = SavedView.objects.update_or_create(
            user_id=user.pk,
            tenant=tenant,
            name=name,
            defaults={"filter": filter_text, "is_shared": is_shared},
        )
        if is_new and SavedView.objects.filter(user=user.pk).count() > MAX_VIEWS:
            raise InvalidInput(f"You have {MAX_VIEWS} views; delete one first.")
    return view


def delete_view(view: SavedView) -> None:
    """Forget a view; its filter's address goes on working."""
    view.delete()
