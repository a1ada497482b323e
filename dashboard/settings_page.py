"""What this browser is set to, what its user may do, and what the installation runs with."""

import platform
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import django
from django.contrib.auth.decorators import login_required
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from dashboard.pages import plain_page
from dashboard.scope import PageScope, scope_of
from jobs.conf import Conf, conf
from jobs.models import Tenant

PACKAGES = ("djangorestframework", "channels", "daphne", "psycopg")
LIMITS = ("max_running", "submissions_per_minute", "starts_per_minute", "max_pending", "weight")
"""Of a new tenant, unless somebody says otherwise."""
GROUPS = {
    "Kept": ("keep_finished_days", "keep_dead_days", "worker_retention_seconds"),
    "Leases": ("lease_seconds", "heartbeat_seconds", "reap_interval_seconds", "max_lost"),
    "What a task gets that says nothing": (
        *("default_max_retries", "default_timeout_seconds"),
        *("backoff_base_seconds", "backoff_max_seconds"),
    ),
}
"""The tunables that people ask about; the rest follows them."""


@require_safe
@login_required
def settings(request: HttpRequest) -> HttpResponse:
    """The settings; what concerns the machines is for those who look after them."""
    scope = scope_of(request)
    installation = _installation() if scope.is_operator else {}
    return plain_page(request, scope, "settings", rights=_rights(scope), **installation)


def _rights(scope: PageScope) -> list[dict[str, Any]]:
    """What the user may do for each tenant in scope."""
    return [
        {
            "tenant": tenant,
            "operates": tenant.pk in scope.operable,
            "administers": tenant.pk in scope.administrable,
            "reads": tenant.pk in scope.readable,
        }
        for tenant in scope.shown
    ]


def _installation() -> dict[str, Any]:
    return {
        "versions": {
            "Python": platform.python_version(),
            "Django": django.get_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
            connection.display_name: _database_version(),
        },
        "limits": {name: _words(getattr(Tenant(), name)) for name in LIMITS},
        "tunables": _tunables(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _database_version() -> str:
    return ".".join(str(part) for part in connection.get_database_version())


class Tunable(NamedTuple):
    """A number that the installation runs with."""

    name: str
    meaning: str
    value: str
    is_default: bool


def _tunables() -> dict[str, list[Tunable]]:
    """The tunables in groups. Numbers alone: a text may be a secret."""
    now, default = conf(), Conf()
    known = {
        f.name: Tunable(f.name, f.metadata["meaning"], _words(value), value == f.default)
        for f in fields(default)
        if isinstance(value := getattr(now, f.name), int | float | None)
    }
    grouped = {title: [known.pop(name) for name in names] for title, names in GROUPS.items()}
    return {**grouped, "All others": list(known.values())}


def _words(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else "no limit"
