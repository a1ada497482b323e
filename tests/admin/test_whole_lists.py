"""All dead letters of a list or a group are acted on by an operation, or sent as a file."""

import csv
import io
from collections.abc import Callable
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from jobs.admin.whole_lists import whole_list
from jobs.models import AuditEntry, Tenant
from jobs.statuses import Status
from tests.factories import make_job

LIST = "/admin/jobs/deadletter/"


@pytest.fixture
def dead(alice: Tenant, mallory: Tenant) -> None:
    """Dead letters of two tenants, of two errors."""
    make_job(alice, Status.DLQ)
    make_job(alice, Status.DLQ, error_type="Odd one", task="fetch", tags=("vip",))
    make_job(mallory, Status.DLQ, queue="mail")


def test_a_list_as_it_is_narrowed_leads_to_the_question_of_an_operation(
    operator: Client, dead: None
) -> None:
    page = operator.get(f"{LIST}?tenant=alice&task=fetch")
    whole = page.context["whole"]

    assert parse_qs(urlsplit(whole.redrive).query) == {
        "action": ["redrive"],
        "filter": ['status:DLQ task:"fetch"'],
        "tenant": ["alice"],
    }
    asked = operator.get(whole.redrive)
    assert str(asked.context["count"]) == "1"
    assert unescape(whole.discard) in unescape(page.text)


def test_a_group_is_acted_on_as_a_whole(operator: Client, dead: None) -> None:
    groups = operator.get(LIST).context["groups"]
    odd = next(one for one in groups if one.group.error_type == "Odd one")

    assert str(operator.get(odd.whole.redrive).context["count"]) == "1"
    assert len(_rows(operator, odd.whole.export)) == 1


@pytest.mark.parametrize("parameters", [{"reason": "poison"}, {"q": "text"}])
def test_what_no_filter_can_say_is_not_offered(parameters: dict[str, str]) -> None:
    assert whole_list({"tenant": "alice", **parameters}) is None


def test_the_export_has_what_matches_and_no_more(operator: Client, dead: None) -> None:
    everything = operator.get(LIST).context["whole"].export
    of_alice = operator.get(f"{LIST}?tenant=alice").context["whole"].export

    assert len(_rows(operator, everything)) == 3
    assert {row["task"] for row in _rows(operator, of_alice)} == {"echo", "fetch"}


def test_who_took_an_export_away_is_on_record(operator: Client, dead: None) -> None:
    page = operator.get(f"{LIST}?tenant=alice&task=fetch")
    _rows(operator, page.context["whole"].export)

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.tenant) == ("user:olga", "export", _alice())
    assert entry.details == {"filter": 'status:DLQ task:"fetch"'}


def test_a_head_takes_nothing_away(operator: Client, dead: None) -> None:
    assert operator.head(f"{LIST}export/")["Content-Type"] == "text/csv; charset=utf-8"
    assert not AuditEntry.objects.exists()
    assert len(_rows(operator, f"{LIST}export/")) == 3


def _alice() -> Tenant:
    return Tenant.objects.get(slug="alice")


def _rows(client: Client, address: str) -> list[dict[str, str]]:
    answer = client.get(address)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    content = b"".join(answer.streaming_content)  # type: ignore[arg-type]
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_export_needs_the_right_to_read_payloads(
    staff: Callable[..., Client], dead: None
) -> None:
    client = staff("view_job", "operate_job")

    assert client.get(f"{LIST}export/").status_code == 403
    assert "export/" not in client.get(LIST).text


def test_a_file_of_nobody_or_of_nonsense_is_refused(operator: Client, dead: None) -> None:
    assert operator.get(f"{LIST}export/?tenant=nobody").status_code == 404
    assert operator.get(f"{LIST}export/?filter=quue:x").status_code == 400


@pytest.mark.parametrize(
    ("text", "found"), [("vip", 1), ("mail", 1), ("mallory", 1), ("alice", 2), ("nobody", 0)]
)
def test_a_search_knows_tags_queues_and_tenants(
    operator: Client, dead: None, text: str, found: int
) -> None:
    page = operator.get(LIST, {"q": text})

    assert len(page.context["cl"].result_list) == found
    assert page.context["whole"] is None
