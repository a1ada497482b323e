"""The people who log in, and their groups: Django's own pages, and all that is done there is in the
audit log, as it decides who may see and do what."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from jobs.access import actor_of
from jobs.audit import audit
from jobs.models import AuditAction, Membership

ACTIONS: dict[type[User | Group], tuple[AuditAction, AuditAction, AuditAction]] = {
    User: ("create_user", "change_user", "delete_user"),
    Group: ("create_group", "change_group", "delete_group"),
}


class Audited(admin.ModelAdmin):
    """Notes what somebody could do before, and can now."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Remember what was before; groups and permissions are saved later."""
        form.rights_before = rights_of(self.model.objects.get(pk=obj.pk)) if change else None
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save these, and write down what it all came to."""
        super().save_related(request, form, formsets, change)
        whom, before = form.instance, form.rights_before
        create, alter, _ = ACTIONS[self.model]
        details = {"before": before, "after": rights_of(whom)}
        audit(actor_of(request), alter if change else create, None, str(whom), **details)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one."""
        _, _, delete = ACTIONS[self.model]
        audit(actor_of(request), delete, None, str(obj), before=rights_of(obj))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete those that were chosen in the list."""
        with transaction.atomic():
            for one in queryset:
                self.delete_model(request, one)


# A project with a user model of its own has no page for Django's.
admin.site.unregister([model for model in (User, Group) if admin.site.is_registered(model)])


@admin.register(User)
class AuditedUserAdmin(Audited, UserAdmin):
    """Who logs in."""

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Give somebody another password, or none."""
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            if request.method == "POST" and answer.status_code == 302:
                whom = str(User.objects.get(pk=id))
                audit(actor_of(request), "change_user", None, whom, changed=["password"])
        return answer


@admin.register(Group)
class AuditedGroupAdmin(Audited, GroupAdmin):
    """What several of them may do."""


def rights_of(whom: User | Group) -> dict[str, Any]:
    """What a user or a group may do."""
    if isinstance(whom, Group):
        return {"name": whom.name, "permissions": _names(whom.permissions.all())}
    memberships = Membership.objects.filter(user=whom).order_by("tenant__slug")
    flags = ("username", "is_active", "is_staff", "is_superuser")
    return {
        **{name: getattr(whom, name) for name in flags},
        "groups": [group.name for group in whom.groups.order_by("name")],
        "permissions": _names(whom.user_permissions.all()),
        "tenants": {x.tenant.slug: x.role for x in memberships.select_related("tenant")},
    }


def _names(permissions: QuerySet[Permission]) -> list[str]:
    return sorted(f"{x.content_type.app_label}.{x.codename}" for x in permissions)
