"""What the filter box offers behind a word."""

import pytest
from django.test import Client
from django.urls import reverse

from dashboard.queries import filter_values
from jobs.models import Tenant
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def offered(client: Client, word: str, start: str = "", **place: str) -> list[str]:
    asked = {"word": word, "start": start, **place}
    values: list[str] = client.get(reverse("filter-values"), asked).json()["values"]
    return values


def test_statuses_are_those_there_are(ann: Client) -> None:
    assert offered(ann, "status", "d")[:2] == ["DLQ", "DONE"]
    assert offered(ann, "status", "sch") == ["SCHEDULED"]


def test_names_that_begin_so_come_first_as_a_filter_writes_them(ann: Client, alice: Tenant) -> None:
    for queue in ("mail", "email", "a:mail", "other"):
        make_job(alice, queue=queue)
    assert offered(ann, "queue", "MAIL") == ["mail", '"a:mail"', "email"]
    assert offered(ann, "queue") == ['"a:mail"', "email", "mail", "other"]


def test_tasks_and_tags_are_the_tenants(ann: Client, alice: Tenant, mallory: Tenant) -> None:
    make_job(alice, task="sleep", tags=("vip", "eu"))
    make_job(alice, task="sleep", tags=("vip",))
    make_job(mallory, task="echo", queue="theirs", tags=("secret",))
    assert offered(ann, "task") == ["sleep"]
    assert offered(ann, "tag") == ["eu", "vip"]
    assert offered(ann, "queue", "theirs") == []
    assert offered(ann, "tag", tenant="alice") == ["eu", "vip"]


def test_an_operator_is_offered_what_all_have(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    make_job(alice, tags=("a",))
    make_job(mallory, tags=("b",))
    assert offered(operator, "tag") == ["a", "b"]
    assert offered(operator, "tag", tenant="mallory") == ["b"]


def test_few_are_offered_of_many(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_values, "MAX_TAGS", 3)
    make_job(alice, tags=tuple(f"t{n}" for n in range(5)))
    assert offered(ann, "tag") == ["t0", "t1", "t2"]
    for number in range(20):
        make_job(alice, queue=f"q{number:02}")
    assert len(offered(ann, "queue", "q")) == filter_values.OFFERED


@pytest.mark.parametrize("word", ["", "created", "nonsense"])
def test_a_word_without_values_has_none(ann: Client, word: str) -> None:
    assert offered(ann, word) == []


def test_a_stranger_to_the_tenant_is_answered_nothing(stranger: Client, alice: Tenant) -> None:
    answer = stranger.get(reverse("filter-values"), {"word": "queue", "tenant": "alice"})
    assert answer.status_code == 404
