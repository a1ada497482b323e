"""The page of queues: what it tells of each, and how one is paused and limited there."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard.queries import lanes
from dashboard.queries.history import sparks
from dashboard.queries.lanes import PAGE, SPARK_BARS, SPARK_STEP, STATES
from jobs import services
from jobs.models import AuditEntry, Lane, LaneMinute, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

ACTOR = "user:olga"
REASON = "the provider is <b>down</b>"


def queues(client: Client, **query: str) -> list[str]:
    """The names of the queues that the page shows, in its order."""
    rows = client.get(reverse("queues"), query).context["queue_list"]["rows"]
    return [row.lane.queue for row, _ in rows]


def live_worker(**fields: object) -> Worker:
    now = timezone.now()
    given = {"id": "w", "host": "h", "pid": 1, "slots": 4, "started_at": now, "seen_at": now}
    return Worker.objects.create(**given | fields)


def test_a_pause_needs_a_reason_which_everybody_reads(
    ann: Client, viewer: Client, alice: Tenant
) -> None:
    job = make_job(alice, queue="mail")
    address = reverse("pause-queue", args=["alice", "mail"])
    assert "reason" in ann.get(address).text
    assert ann.post(address, {"reason": " "}).status_code == 400
    assert not Lane.objects.get().is_paused
    ann.post(address, {"reason": REASON})
    lane = Lane.objects.get()
    assert (lane.is_paused, lane.paused_by, lane.pause_reason) == (True, "user:ann", REASON)
    assert lane.paused_at
    entry = AuditEntry.objects.get()
    after = {"paused": True, "reason": REASON}
    assert (entry.action, entry.details["after"]) == ("pause", after)
    for page in (reverse("queues"), reverse("overview"), reverse("job", args=[job.pk])):
        shown = viewer.get(page).text
        assert "the provider is &lt;b&gt;down&lt;/b&gt;" in shown
        assert "user:ann" in shown


def test_a_resumed_queue_forgets_its_pause(ann: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    services.set_queue_paused(alice, "mail", paused=True, actor=ACTOR, reason=REASON)
    ann.post(reverse("resume-queue", args=["alice", "mail"]))
    lane = Lane.objects.get()
    kept = (lane.is_paused, lane.paused_at, lane.paused_by, lane.pause_reason)
    assert kept == (False, None, "", "")


def test_a_pause_that_is_repeated_without_a_reason_keeps_the_first(alice: Tenant) -> None:
    make_job(alice, queue="mail")
    services.set_queue_paused(alice, "mail", paused=True, actor=ACTOR, reason=REASON)
    lane = services.set_queue_paused(alice, "mail", paused=True, actor="key:x")
    assert (lane.paused_by, lane.pause_reason) == (ACTOR, REASON)


def test_a_form_is_a_row_of_the_table_for_a_script_and_else_a_page(
    ann: Client, alice: Tenant
) -> None:
    make_job(alice, queue="mail")
    for name in ("pause-queue", "queue-limits"):
        address = reverse(name, args=["alice", "mail"])
        row = ann.get(address, headers={"HX-Request": "true"}).text
        page = ann.get(address).text
        assert row.lstrip().startswith(f'<tr id="lane-{Lane.objects.get().pk}"')
        assert "<html" in page
        for text in (row, page):
            assert f'action="{address}"' in text


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_a_form_never_leads_to_another_site(ann: Client, alice: Tenant, wanted: str) -> None:
    make_job(alice, queue="mail")
    address = reverse("pause-queue", args=["alice", "mail"])
    assert wanted not in ann.get(address, {"next": wanted}).text
    answer = ann.post(address, {"reason": "x", "next": wanted})
    assert answer["Location"] == reverse("queues")


LIMITS = {"max_running": "", "starts_per_minute": "", "start_burst": "1", "weight": "1"}


def test_limits_are_changed_in_place_and_on_record(ann: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    address = reverse("queue-limits", args=["alice", "mail"])
    ann.post(address, LIMITS | {"max_running": "3", "weight": "7"})
    lane = Lane.objects.get()
    assert (lane.max_running, lane.weight, lane.starts_per_minute) == (3, 7, None)
    details = AuditEntry.objects.get(action="change_limits").details
    assert details["after"] == {"max_running": 3, "weight": 7}
    ann.post(address, LIMITS | {"max_running": "3", "weight": "7"})
    assert AuditEntry.objects.count() == 1  # nothing was changed


def test_limits_that_cannot_be_are_told_in_the_row_that_asked(ann: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    address, htmx = reverse("queue-limits", args=["alice", "mail"]), {"HX-Request": "true"}
    refused = ann.post(address, LIMITS | {"max_running": "-3"}, headers=htmx)
    assert refused.status_code == 200, "htmx shows nothing else"
    assert refused.text.lstrip().startswith("<tr")
    assert "greater than or equal to 1" in refused.text
    taken = ann.post(address, LIMITS | {"max_running": "3"}, headers=htmx)
    assert taken["HX-Redirect"] == reverse("queues")
    assert Lane.objects.get().max_running == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_running", bad) for bad in ("0", "-1", "1.5", "x", str(2**31))),
        *(("weight", bad) for bad in ("0", "1001", "")),
        ("start_burst", ""),
    ],
)
def test_what_rest_refuses_the_page_refuses(
    ann: Client, alice: Tenant, field: str, value: str
) -> None:
    make_job(alice, queue="mail")
    answer = ann.post(reverse("queue-limits", args=["alice", "mail"]), LIMITS | {field: value})
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [field]
    assert not AuditEntry.objects.exists()


def test_a_tenants_admin_stays_below_what_the_operator_has_set(
    ann: Client, operator: Client, alice: Tenant
) -> None:
    make_job(alice, queue="mail")
    services.change_limits(Lane.objects.get(), actor=ACTOR, max_running=5)
    address = reverse("queue-limits", args=["alice", "mail"])
    assert "up to 5, set by your operator" in ann.get(address).text
    answer = ann.post(address, LIMITS | {"max_running": "6"})
    assert answer.status_code == 400
    assert "max_running may be 5 at most" in answer.text
    assert Lane.objects.get().max_running == 5


def test_queues_are_found_by_name_and_state_and_sorted(ann: Client, alice: Tenant) -> None:
    for queue, jobs in {"alpha": 1, "beta": 3, "gamma": 2}.items():
        for _ in range(jobs):
            make_job(alice, queue=queue)
    make_job(alice, Status.DONE, queue="idle")
    services.set_queue_paused(alice, "gamma", paused=True, actor=ACTOR)
    live_worker(queues=["alpha", "idle"])
    assert queues(ann) == ["alpha", "beta", "gamma", "idle"]
    assert queues(ann, sort="waiting") == ["beta", "gamma", "alpha", "idle"]
    assert queues(ann, name="ET") == ["beta"]
    assert queues(ann, state="paused") == ["gamma"]
    assert queues(ann, state="waiting") == ["alpha", "beta", "gamma"]
    assert queues(ann, state="no worker") == ["beta"]
    assert queues(ann, state="nonsense", sort="nonsense") == ["alpha", "beta", "gamma", "idle"]
    assert queues(ann, name="none") == []


@pytest.mark.parametrize("state", STATES)
def test_nothing_matches_differs_from_nothing_yet(ann: Client, alice: Tenant, state: str) -> None:
    assert "/api/v1/jobs" in ann.get(reverse("queues")).text
    Lane.objects.create(tenant=alice, queue="mail")
    page = ann.get(reverse("queues"), {"state": state, "name": "xyz"}).text
    assert "Nothing matches" in page
    assert "/api/v1/jobs" not in page


def test_a_queue_without_a_worker_names_the_command(operator: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    command = "runworkers --queues mail"
    assert command in operator.get(reverse("queues")).text
    live_worker(is_draining=True)
    assert command in operator.get(reverse("queues")).text
    Worker.objects.update(is_draining=False)
    assert command not in operator.get(reverse("queues")).text


def test_a_worker_of_another_tenant_serves_nothing_here(
    ann: Client, alice: Tenant, mallory: Tenant
) -> None:
    make_job(alice, queue="mail")
    live_worker(tenant=mallory)
    (row, _), *_ = ann.get(reverse("queues")).context["queue_list"]["rows"]
    assert row.workers == 0


def test_the_last_hour_is_drawn_by_steps(alice: Tenant) -> None:
    lane = Lane.objects.create(tenant=alice, queue="mail")
    now = timezone.now().replace(second=30, microsecond=0)
    for minutes, done in {0: 1, 30: 10, 57: 100, 65: 1_000}.items():
        minute = (now - timedelta(minutes=minutes)).replace(second=0)
        LaneMinute.objects.create(lane_id=lane.pk, tenant_id=alice.pk, minute=minute, done=done)
    bars = sparks([lane.pk], now, step=SPARK_STEP, bars=SPARK_BARS)[lane.pk]
    assert len(bars) == SPARK_BARS
    assert bars[-1].done == 1
    assert sum(bar.done for bar in bars) == 111


def test_a_viewer_is_offered_nothing(viewer: Client, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    for name in ("queues", "overview"):
        page = viewer.get(reverse(name)).text
        for address in ("pause", "resume", "limits"):
            assert f"/queues/alice/mail/{address}" not in page


@pytest.mark.parametrize("sort", ["queue", "waiting"])
def test_the_list_has_pages_and_a_form_leads_back_to_its_own(
    ann: Client, alice: Tenant, sort: str
) -> None:
    for number in range(PAGE + 1):
        make_job(alice, queue=f"q{number:03d}")
    first = ann.get(reverse("queues"), {"sort": sort, "name": "q"})
    assert f"1 to {PAGE} of {PAGE + 1}" in first.text
    assert "?sort=" + sort + "&amp;name=q&amp;page=2" in first.text
    assert "Previous" not in first.text
    second = ann.get(reverse("queues"), {"sort": sort, "name": "q", "page": "2"})
    assert f"{PAGE + 1} to {PAGE + 1} of {PAGE + 1}" in second.text
    assert f"/alice/q{PAGE:03d}/pause" in second.text
    assert "page%3D2" in second.text
    assert "Next" not in second.text
    for beyond, same in (("3", second), ("0", second), ("x", first), ("", first)):
        answer = ann.get(reverse("queues"), {"sort": sort, "name": "q", "page": beyond})
        rows = [row.lane.queue for row, _ in answer.context["queue_list"]["rows"]]
        assert rows == [row.lane.queue for row, _ in same.context["queue_list"]["rows"]]


def test_no_others_than_those_shown_are_counted_where_names_decide(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "PAGE", 1)
    for queue in ("beta", "alpha", "gamma"):
        make_job(alice, queue=queue)
    ids = dict(Lane.objects.values_list("queue", "pk"))
    for query, counted in (({}, ["alpha"]), ({"sort": "waiting"}, ["alpha", "beta", "gamma"])):
        with patch.object(lanes, "lanes_with_counts", wraps=lanes.lanes_with_counts) as count:
            answer = ann.get(reverse("queues"), query).context["queue_list"]
        (asked,) = count.call_args.args
        assert sorted(asked.values_list("pk", flat=True)) == sorted(ids[one] for one in counted)
        assert [row.lane.queue for row, _ in answer["rows"]] == ["alpha"]
        assert (answer["page"].paginator.count, answer["total"]) == (3, 3)
