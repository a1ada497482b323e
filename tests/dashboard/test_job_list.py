"""Filters, keyset pages, and a search that ends."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from dashboard.queries import job_list
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

Listed = Callable[..., list[str]]


@pytest.fixture
def listed(ann: Client) -> Listed:
    """The ids in the list for a query."""

    def get(**query: str) -> list[str]:
        page = ann.get(reverse("jobs"), query).context["jobs"]["page"]
        return [str(row.pk) for row in page.rows]

    return get


def test_the_newest_job_comes_first(listed: Listed, alice: Tenant) -> None:
    jobs = [make_job(alice) for _ in range(3)]

    assert listed() == [str(job.pk) for job in reversed(jobs)]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.BLOCKED])
def test_a_facet_shows_its_status_alone(listed: Listed, alice: Tenant, status: Status) -> None:
    made = {s: make_job(alice, s, queue=s.lower()) for s in {Status.DONE, Status.DLQ, status}}

    assert listed(status=status) == [str(made[status].pk)]


def test_filters_narrow_together(listed: Listed, alice: Tenant) -> None:
    wanted = make_job(alice, queue="mail", task="echo", tags=("vip", "eu"))
    make_job(alice, queue="mail", task="sleep", tags=("vip",))
    make_job(alice, queue="other", task="echo", tags=("vip",))

    assert listed(queue="mail", task="echo", tag="vip") == [str(wanted.pk)]
    assert listed(queue="mail", task="echo", tag="us") == []


@pytest.mark.parametrize("cut", [8, 13, 36])
def test_text_finds_the_beginning_of_an_id(listed: Listed, alice: Tenant, cut: int) -> None:
    job = make_job(alice)

    assert listed(text=str(job.pk)[:cut]) == [str(job.pk)]
    assert listed(text="ffffffff") == []


@pytest.mark.parametrize("text", ["ech", "MAIL", "KeyErr", "order-12"])
def test_text_finds_task_queue_error_and_key(listed: Listed, alice: Tenant, text: str) -> None:
    job = make_job(
        alice, Status.DLQ, queue="mails", error_type="KeyError", idempotency_key="order-12"
    )
    make_job(alice, task="sleep")

    assert listed(text=text) == [str(job.pk)]


@pytest.mark.parametrize(
    "query", [{"status": "nonsense"}, {"before": "x"}, {"after": "%"}, {"tag": "'"}]
)
def test_nonsense_in_the_address_is_no_error(
    ann: Client, alice: Tenant, query: dict[str, str]
) -> None:
    assert ann.get(reverse("jobs"), query).status_code == 200


def test_pages_lead_to_the_end_and_back(
    listed: Listed, ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "PAGE", 2)
    newest_first = [str(make_job(alice).pk) for _ in range(5)][::-1]

    seen, query = [], {}
    while True:
        page = ann.get(reverse("jobs"), query).context["jobs"]["page"]
        seen.append([str(row.pk) for row in page.rows])
        if page.older is None:
            break
        query = {"before": str(page.older)}

    assert seen == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert listed(after=newest_first[4]) == newest_first[2:4]
    assert listed(after=newest_first[2]) == newest_first[:2]


def test_a_job_submitted_meanwhile_moves_no_page(listed: Listed, alice: Tenant) -> None:
    jobs = [make_job(alice) for _ in range(3)]
    before = str(jobs[2].pk)
    first = listed(before=before)

    make_job(alice)

    assert listed(before=before) == first


def test_a_search_looks_at_a_window_and_offers_to_look_further(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "WINDOW", 2)
    wanted = make_job(alice, queue="rare")
    for _ in range(3):
        make_job(alice)

    first = ann.get(reverse("jobs"), {"queue": "rare"}).context["jobs"]["page"]
    assert (first.rows, first.older) == ([], None)
    further = {"queue": "rare", "before": str(first.searched_to)}
    second = ann.get(reverse("jobs"), further).context["jobs"]["page"]
    assert [row.pk for row in second.rows] == [wanted.pk]


def test_no_match_is_told_from_no_job(ann: Client, alice: Tenant) -> None:
    assert "Nothing yet" in ann.get(reverse("jobs")).content.decode()

    make_job(alice)
    page = ann.get(reverse("jobs"), {"queue": "none-such"}).content.decode()

    assert "Nothing matches" in page
    assert "Clear the filters" in page


def test_the_list_does_not_read_whole_payloads(ann: Client, alice: Tenant) -> None:
    make_job(alice, payload=b'"' + b"x" * 100_000 + b'"')

    row = ann.get(reverse("jobs")).context["jobs"]["page"].rows[0]

    assert len(bytes(row.preview)) == job_list.PREVIEW_BYTES
    assert "payload" in row.get_deferred_fields()


def test_links_of_the_list_keep_the_filter(operator: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")

    page = operator.get(reverse("jobs"), {"queue": "mail", "tenant": "alice"}).content.decode()

    assert "?queue=mail&amp;tenant=alice&amp;status=RUNNING" in page
    assert Job.objects.count() == 1
