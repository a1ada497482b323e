"""What every answer of the API says besides its body, also where there is nothing to answer."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize("path", ["/jobs", "/jobs/none", "/nowhere", "/jobs?what=1"])
def test_answers_are_no_pages(api: Caller, path: str) -> None:
    answer = api.get(path)
    assert {name: answer[name] for name in SAFE} == SAFE
    assert "Set-Cookie" not in answer
    assert "Cookie" not in answer.get("Vary", "")


def test_a_session_is_no_key(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert client.get("/api/v1/jobs").status_code == 401
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, */*;q=0.1", None])
def test_json_is_answered_to_who_takes_it(api: Caller, accept: str | None) -> None:
    answer = api.get("/jobs", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


def test_nothing_else_is_answered(api: Caller) -> None:
    assert api.get("/jobs", headers={"Accept": "text/html"}).status_code == 406
