"""The dashboard without its cache: slower, and there."""

from collections.abc import Callable

import pytest
from django.core.cache import caches
from django.test import Client
from django.urls import reverse

from jobs.models import Tenant
from tests.factories import make_job

PAGES = ("/", "/?range=7d", "/jobs/", "/dead/", "/queues/", "/tenants/", "/tenants/alice/")


@pytest.fixture(params=[ConnectionError("refused"), TimeoutError(), RuntimeError("redis says no")])
def away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the cache is asked, it raises."""

    def fail(*args: object, **options: object) -> None:
        raise request.param

    for method in ("add", "incr", "get", "set"):
        monkeypatch.setattr(type(caches["default"]), method, fail)


def test_pages_are_shown_while_the_cache_is_away(
    operator: Client, alice: Tenant, away: None
) -> None:
    make_job(alice)
    assert {path: operator.get(path).status_code for path in PAGES} == dict.fromkeys(PAGES, 200)


def test_people_log_in_while_the_cache_is_away(
    client: Client, log_in: Callable[..., Client], away: None
) -> None:
    log_in("ann")
    answer = client.post(reverse("login"), {"username": "ann", "password": "a secret"})
    assert answer.status_code == 302
