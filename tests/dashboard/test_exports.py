"""The list of jobs as a file: what the filter finds, for who may read it, and on record."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry, Tenant
from jobs.statuses import Status
from tests.factories import make_job

LIST = "/jobs/"
EXPORT = "/jobs/export"


@pytest.fixture
def jobs(alice: Tenant, mallory: Tenant) -> None:
    """Jobs of two tenants in two queues."""
    make_job(alice, Status.DONE, queue="mail", payload=b'{"order": 1.10}')
    make_job(alice, queue="files")
    make_job(mallory, queue="mail")


def asked(client: Client, form: str = "csv", **query: str) -> Any:
    return client.post(EXPORT, {"format": form}, query_params=query)


def content(client: Client, **query: str) -> str:
    answer: Any = asked(client, **query)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


def rows(client: Client, **query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(client, **query))))


def test_the_list_offers_what_its_filter_finds(ann: Client, jobs: None) -> None:
    page = ann.get(LIST, {"filter": "queue:mail"}).text

    assert f'action="{EXPORT}?filter=queue:mail"' in page
    assert "Export CSV" in page
    assert [row["payload"] for row in rows(ann, filter="queue:mail")] == ['{"order": 1.10}']
    assert len(rows(ann)) == 2


def test_json_lines_keep_the_bytes_of_a_payload(ann: Client, jobs: None) -> None:
    (line,) = content(ann, filter="queue:mail", form="jsonl").splitlines()

    assert json.loads(line)["queue"] == "mail"
    assert '{"order": 1.10}' in line


def test_an_operator_takes_those_of_all_or_of_one(operator: Client, jobs: None) -> None:
    assert len(rows(operator, filter="queue:mail")) == 2
    assert len(rows(operator, filter="queue:mail", tenant="mallory")) == 1


def test_it_is_on_record_who_took_what(ann: Client, alice: Tenant, jobs: None) -> None:
    rows(ann, filter="queue:mail")

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.tenant) == ("user:ann", "export", alice)
    assert entry.details == {"filter": "queue:mail"}
    assert entry.target.startswith("jobs-alice-")


def test_who_may_not_read_payloads_takes_nothing(viewer: Client, jobs: None) -> None:
    assert asked(viewer).status_code == 403
    page = viewer.get(LIST).text
    assert "Export" not in page
    assert "All jobs:" not in page
    assert not AuditEntry.objects.exists()


def test_a_member_of_several_tenants_chooses_one(
    log_in: Callable[..., Client], alice: Tenant, mallory: Tenant, jobs: None
) -> None:
    both = log_in("bo", alice, mallory)

    assert asked(both).status_code == 400
    assert "Export" not in both.get(LIST).text
    assert len(rows(both, tenant="mallory")) == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [({"filter": "quue:x"}, 400), ({"form": "xls"}, 400), ({"tenant": "mallory"}, 404)],
)
def test_what_cannot_be_asked_is_refused(
    ann: Client, jobs: None, query: dict[str, str], status: int
) -> None:
    assert asked(ann, **query).status_code == status
