"""Filters, keyset pages, and a search that ends."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from dashboard.queries import job_list
from jobs import job_search
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

Listed = Callable[..., list[str]]


@pytest.fixture
def listed(ann: Client) -> Listed:
    """The ids in the list for a filter, and a place."""

    def get(text: str = "", **place: str) -> list[str]:
        page = ann.get(reverse("jobs"), {"filter": text, **place}).context["jobs"]["page"]
        return [str(row.pk) for row in page.rows]

    return get


def test_the_newest_job_comes_first(listed: Listed, alice: Tenant) -> None:
    jobs = [make_job(alice) for _ in range(3)]

    assert listed() == [str(job.pk) for job in reversed(jobs)]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.BLOCKED])
def test_a_facet_shows_its_status_alone(listed: Listed, alice: Tenant, status: Status) -> None:
    made = {s: make_job(alice, s, queue=s.lower()) for s in {Status.DONE, Status.DLQ, status}}

    assert listed(f"status:{status}") == [str(made[status].pk)]


def test_filters_narrow_together(listed: Listed, alice: Tenant) -> None:
    wanted = make_job(alice, queue="mail", task="echo", tags=("vip", "eu"))
    make_job(alice, queue="mail", task="sleep", tags=("vip",))
    make_job(alice, queue="other", task="echo", tags=("vip",))

    assert listed("queue:mail task:echo tag:vip -tag:us") == [str(wanted.pk)]
    assert listed("queue:mail task:echo -tag:vip") == []


@pytest.mark.parametrize("cut", [8, 13, 36])
def test_text_finds_the_beginning_of_an_id(listed: Listed, alice: Tenant, cut: int) -> None:
    job = make_job(alice)

    assert listed(str(job.pk)[:cut]) == [str(job.pk)]
    assert listed("ffffffff") == []


@pytest.mark.parametrize("text", ["ech", "MAIL", "KeyErr", "order-12"])
def test_text_finds_task_queue_error_and_key(listed: Listed, alice: Tenant, text: str) -> None:
    job = make_job(
        alice, Status.DLQ, queue="mails", error_type="KeyError", idempotency_key="order-12"
    )
    make_job(alice, task="sleep")

    assert listed(text) == [str(job.pk)]


@pytest.mark.parametrize(
    "query", [{"filter": "\x01"}, {"before": "x"}, {"after": "%"}, {"filter": "x" * 3_000}]
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
    monkeypatch.setattr(job_list, "STEPS", 2)
    monkeypatch.setattr(job_list, "SEARCHING_SECONDS", 60)
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
    wanted = make_job(alice, queue="rare")
    for _ in range(3):
        make_job(alice)

    first = ann.get(reverse("jobs"), {"filter": "queue:rare"}).context["jobs"]["page"]
    assert (list(first.rows), first.older) == ([], None)
    further = {"filter": "queue:rare", "before": str(first.searched_to)}
    second = ann.get(reverse("jobs"), further).context["jobs"]["page"]
    assert [row.pk for row in second.rows] == [wanted.pk]


def test_a_search_that_takes_long_offers_to_look_further(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "SEARCHING_SECONDS", -1)
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
    jobs = [make_job(alice) for _ in range(4)]

    page = ann.get(reverse("jobs"), {"filter": "queue:rare"}).context["jobs"]["page"]

    assert (list(page.rows), page.searched_to) == ([], jobs[-1].pk)


def test_no_match_is_told_from_no_job(ann: Client, alice: Tenant) -> None:
    assert "Nothing yet" in ann.get(reverse("jobs")).content.decode()

    make_job(alice)
    page = ann.get(reverse("jobs"), {"filter": "queue:none-such"}).content.decode()

    assert "Nothing matches" in page
    assert "Clear the filter" in page


def test_the_list_does_not_read_whole_payloads(ann: Client, alice: Tenant) -> None:
    make_job(alice, payload=b'"' + b"x" * 100_000 + b'"')

    row = ann.get(reverse("jobs")).context["jobs"]["page"].rows[0]

    assert len(bytes(row.preview)) == job_list.PREVIEW_BYTES
    assert "payload" in row.get_deferred_fields()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("quue:mail", "did you mean queue?"),
        ("status:DQL", "did you mean DLQ?"),
        ("created:2h", "created:&gt;2h (more than two hours ago)"),
        ('error:"never closed', "says nothing that can be read after error:."),
        ("x" * 3_000, "may have 1000 characters"),
    ],
)
def test_a_mistake_in_the_filter_is_told_with_what_to_write(
    ann: Client, alice: Tenant, text: str, says: str
) -> None:
    job = make_job(alice)

    answer = ann.get(reverse("jobs"), {"filter": text})

    assert answer.status_code == 200
    assert says in answer.text
    assert answer.context["asked"].text == text
    assert 'maxlength="1000"' in answer.text
    assert str(job.pk) not in answer.text


def test_each_condition_can_be_taken_away(ann: Client, alice: Tenant) -> None:
    asked = ann.get(reverse("jobs"), {"filter": ' queue:mail  -error:"a \\" b" late '}).context[
        "asked"
    ]

    assert [(term.source, rest) for term, rest in asked.chips] == [
        ("queue:mail", '-error:"a \\" b" late'),
        ('-error:"a \\" b"', "queue:mail late"),
        ("late", 'queue:mail -error:"a \\" b"'),
    ]


@pytest.mark.parametrize(
    ("text", "facet"),
    [("", ""), ("status:DLQ", "DLQ"), ("status:DLQ,FAILED", None), ("-status:DONE", None)],
)
def test_a_facet_replaces_the_status_and_keeps_the_rest(
    ann: Client, alice: Tenant, text: str, facet: str | None
) -> None:
    asked = ann.get(reverse("jobs"), {"filter": f"{text} queue:mail"}).context["asked"]

    assert asked.facet == facet
    assert asked.facets["RUNNING"] == "status:RUNNING queue:mail"
    assert asked.facets[""] == "queue:mail"


def test_links_of_the_list_keep_the_filter(operator: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail", tags=("vip",))

    page = operator.get(reverse("jobs"), {"filter": "queue:mail", "tenant": "alice"}).text

    assert "?filter=status:RUNNING%20queue:mail&amp;tenant=alice" in page
    assert "?filter=queue:mail%20tag:vip&amp;tenant=alice" in page


def test_pages_lead_to_the_jobs_of_a_queue(operator: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")

    assert f'{reverse("jobs")}?filter=queue:mail&amp;tenant=alice"' in operator.get("/").text


@pytest.mark.parametrize("size", [1, 2, 3])
def test_who_is_in_several_tenants_sees_their_jobs_in_one_order(
    log_in: Callable[..., Client],
    make_tenant: Callable[..., Tenant],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    monkeypatch.setattr(job_list, "PAGE", size)
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
    mine, other = [make_tenant("one"), make_tenant("two")], make_tenant("three")
    made = [make_job(tenant, queue="mail") for tenant in [*mine, other] * 3]
    wanted = [str(job.pk) for job in made if job.tenant_id != other.pk]
    client, place, seen = log_in("maria", *mine), "", []

    for _ in wanted * 2:
        query = {"filter": "queue:mail", "before": place}
        page = client.get(reverse("jobs"), query).context["jobs"]["page"]
        seen += [str(row.pk) for row in page.rows]
        place = str(page.older or page.searched_to or "")
        if not place:
            break

    assert seen == wanted[::-1]


def test_a_tag_is_found_among_all_tenants(operator: Client, alice: Tenant, mallory: Tenant) -> None:
    jobs = [make_job(tenant, tags=("vip",)) for tenant in (alice, mallory)]

    page = operator.get(reverse("jobs"), {"filter": "tag:vip"}).context["jobs"]["page"]

    assert {row.pk for row in page.rows} == {job.pk for job in jobs}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list whose search is never cut short by a slow machine."""
    monkeypatch.setattr(job_list, "SEARCHING_SECONDS", 600)


def _numbers(client: Client, text: str, **query: str) -> dict[str, str]:
    facets = client.get(reverse("jobs"), {"filter": text, **query}).context["jobs"]["facets"]
    return {status.value: str(count) for status, _, count in facets if count is None or count}


@pytest.mark.usefixtures("patient")
def test_the_numbers_are_of_what_the_rest_of_the_filter_matches(
    ann: Client, alice: Tenant, mallory: Tenant
) -> None:
    for status in (Status.DLQ, Status.DONE, Status.RUNNING, Status.PENDING):
        make_job(alice, status, queue=status.lower(), tags=("vip",))
    make_job(alice, Status.DLQ)
    make_job(mallory, Status.DLQ, tags=("vip",))

    vip = {"DLQ": "1", "DONE": "1", "RUNNING": "1", "PENDING": "1"}
    assert _numbers(ann, "tag:vip") == vip
    assert _numbers(ann, "tag:vip status:DLQ") == vip
    assert _numbers(ann, "queue:dlq created:<1d") == {"DLQ": "1"}
    assert _numbers(ann, "queue:none") == {}
    assert _numbers(ann, "status:DLQ")["DLQ"] == "2"


@pytest.mark.usefixtures("patient")
def test_what_takes_long_to_count_is_said_to_be_more_or_not_known(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "COUNTED", 1)
    for _ in range(3):
        make_job(alice, Status.DLQ, queue="mail")

    assert _numbers(ann, "queue:mail") == {"DLQ": "1+"}
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
    assert _numbers(ann, "queue:none")["DLQ"] == "None"
    monkeypatch.setattr(job_list, "SEARCHING_SECONDS", -1)
    assert set(_numbers(ann, "queue:mail").values()) == {"None"}
    assert "would take too long" in ann.get(reverse("jobs"), {"filter": "queue:mail"}).text


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("query", "is_said"),
    [({}, True), ({"tenant": "alice"}, False), ({"filter": "status:DLQ"}, False)],
)
def test_of_several_tenants_it_is_said_that_the_numbers_leave_out_the_rest_of_the_filter(
    operator: Client, alice: Tenant, mallory: Tenant, query: dict[str, str], is_said: bool
) -> None:
    make_job(alice, Status.DLQ)
    make_job(alice, Status.DLQ, queue="mail")

    asked = {"filter": "queue:mail"} | query

    assert ("The numbers are of all jobs" in operator.get(reverse("jobs"), asked).text) is is_said
    told = _numbers(operator, asked.pop("filter"), **asked)["DLQ"]
    assert told == ("1" if "tenant" in query else "2")


def test_what_is_shown_of_an_id_finds_its_job(ann: Client, listed: Listed, alice: Tenant) -> None:
    jobs = [str(make_job(alice).pk) for _ in range(3)]

    shown = re.findall(r'class="id-start"[^>]*>([^<]+)<', ann.get(reverse("jobs")).text)

    assert [listed(one) for one in shown] == [[job] for job in reversed(jobs)]


def test_the_name_of_a_function_stands_out_from_its_module(ann: Client, alice: Tenant) -> None:
    make_job(alice, task="shop.tasks.send")
    make_job(alice, task="echo")
    page = ann.get("/jobs/").text

    assert '<b><small class="module">shop.tasks.</small>send</b>' in page
    assert '<b><small class="module"></small>echo</b>' in page


def test_blocked_is_offered_where_it_has_jobs_or_is_chosen(ann: Client, alice: Tenant) -> None:
    job = make_job(alice)
    assert "BLOCKED" not in _facets(ann, "")
    assert "BLOCKED" in _facets(ann, "status:BLOCKED")

    Job.objects.filter(pk=job.pk).update(status=Status.BLOCKED)
    assert "BLOCKED" in _facets(ann, "")


def _facets(client: Client, text: str) -> str:
    page = client.get("/jobs/", {"filter": text}).text
    return page.partition('class="facets"')[2].partition("</nav>")[0]


def test_where_nothing_matches_numbers_without_the_filter_are_said_to_be_that(
    operator: Client, ann: Client, alice: Tenant, mallory: Tenant
) -> None:
    make_job(alice)
    of_all = operator.get("/jobs/", {"filter": "queue:none"}).text
    of_one = ann.get("/jobs/", {"filter": "queue:none"}).text

    assert "The numbers of the statuses are those without it." in of_all
    assert "The numbers of the statuses" not in of_one
