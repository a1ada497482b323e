"""The settings tell what runs here to those who run it, and never a secret."""

import re
from collections.abc import Callable

import django
from django.conf import settings
from django.test import Client, override_settings
from django.urls import reverse

from jobs.models import Tenant


def test_operators_see_versions_limits_and_tunables(operator: Client, alice: Tenant) -> None:
    with override_settings(JOBQUEUE={"lease_seconds": 45}):
        page = operator.get(reverse("settings")).text

    assert django.get_version() in page
    assert re.search(
        r"lease_seconds</code><small>[^<]+</small></dt><dd>45 <span[^>]*>set here", page
    )
    assert re.search(r"heartbeat_seconds</code><small>[^<]+</small></dt><dd>3</dd>", page)


def test_members_see_their_rights_and_nothing_of_the_machines(
    ann: Client, viewer: Client, alice: Tenant
) -> None:
    page = ann.get(reverse("settings")).text

    assert rights_in(page) == [alice.slug, "yes", "yes", "yes", "yes"]
    assert "lease_seconds" not in page
    assert rights_in(viewer.get(reverse("settings")).text)[:3] == [alice.slug, "yes", "no"]


def rights_in(page: str) -> list[str]:
    return re.findall(r"<td[^>]*>(?:<b>)?([^<]+)", page)


def test_no_secret_is_shown(operator: Client, alice: Tenant) -> None:
    with override_settings(JOBQUEUE={"webhook_private_hosts": ["a-secret-host"]}):
        page = operator.get(reverse("settings")).text

    database = settings.DATABASES["default"]
    secrets = [settings.SECRET_KEY, "a-secret-host", database.get("PASSWORD") or "a-secret-host"]
    assert not [secret for secret in secrets if secret in page]


def test_somebody_without_a_tenant_has_settings_too(log_in: Callable[..., Client]) -> None:
    assert "not a member of any tenant" in log_in("new").get(reverse("settings")).text
