"""What every page says besides its content: nothing may be framed, sniffed, kept or run in it."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import URLResolver, get_resolver, reverse

from jobs.models import Tenant
from jobs.statuses import Status
from tests.factories import make_job

pytestmark = pytest.mark.django_db

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LISTS = ("overview", "jobs", "dead", "workers", "admin:jobs_job_changelist", "admin:index")


def addresses(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[str]:
    """Every address of the project that has no parameters."""
    resolver = resolver or get_resolver()
    for name in resolver.reverse_dict:
        for possibilities, *_ in resolver.reverse_dict.getlist(name):
            yield from (
                prefix + template for template, parameters in possibilities if not parameters
            )
    for inner_prefix, inner in resolver.namespace_dict.values():
        yield from addresses(inner, prefix + inner_prefix)


@pytest.fixture
def root(db: None) -> Client:
    """Somebody who may see everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def of_a_job(alice: Tenant) -> list[str]:
    """The pages of a dead letter."""
    job = make_job(alice, Status.DLQ)
    own = [reverse("job", args=[job.pk]), reverse("stored-json", args=[job.pk, "payload"])]
    return [*own, *(f"/admin/jobs/{model}/{job.pk}/change/" for model in ("job", "deadletter"))]


def test_every_page_is_safe(root: Client, of_a_job: list[str]) -> None:
    seen = {*of_a_job, *addresses()}
    assert len(seen) > 30
    for path in seen:
        answer = root.get(path)
        assert {name: answer.get(name) for name in SAFE} == SAFE, path
        policy = answer["Content-Security-Policy"]
        assert re.search(r"default-src '(self|none)'", policy), path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "*" not in policy, path


def test_what_shows_jobs_is_kept_by_no_cache(root: Client, of_a_job: list[str]) -> None:
    for path in [*of_a_job, *map(reverse, LISTS)]:
        answer = root.get(path)
        assert answer.status_code == 200
        assert re.search("no-store|private", answer.get("Cache-Control", "")), path


@override_settings(SESSION_COOKIE_SECURE=True, CSRF_COOKIE_SECURE=True)
def test_cookies_are_for_this_site_alone(client: Client) -> None:
    User.objects.create_user("ann", password="a secret")
    answer = client.post(reverse("login"), {"username": "ann", "password": "a secret"})
    session = answer.cookies["sessionid"]
    assert (session["httponly"], session["samesite"], session["secure"]) == (True, "Lax", True)
    csrf = client.get(reverse("submit"), follow=True).cookies["csrftoken"]
    assert (csrf["samesite"], csrf["secure"]) == ("Lax", True)
