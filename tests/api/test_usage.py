"""What a tenant used: the sums of its counts, in whole steps, bounded, and of nobody else."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from jobs.instants import instant
from jobs.keys import create_api_key
from jobs.models import Lane, LaneMinute, Tenant
from jobs.statuses import Status
from jobs.store.clock import now
from jobs.usage import MAX_STEPS, Step, usage
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def counted(tenant: Tenant, moment: datetime, queue: str = "default", **counts: Any) -> None:
    """A row of counts, as the store writes them."""
    lane, _ = Lane.objects.get_or_create(tenant=tenant, queue=queue)
    minute = moment.replace(second=0, microsecond=0)
    row = {"lane_id": lane.pk, "tenant_id": tenant.pk, "minute": minute}
    shard = LaneMinute.objects.filter(lane_id=lane.pk, minute=minute).count()
    LaneMinute.objects.create(**row, shard=shard, **counts)


def used(caller: Caller, **parameters: str) -> dict[str, Any]:
    response = caller.get(f"/usage?{urlencode(parameters)}")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def test_what_jobs_came_to_is_counted(api: Caller, alice: Tenant) -> None:
    for status in (Status.DONE, Status.DONE, Status.DLQ, Status.FAILED):
        make_job(alice, status, queue=f"q{status}")
    make_job(alice)
    total = used(api)["total"]
    assert (total["started"], total["done"], total["dead"]) == (4, 2, 1)
    assert total["failed"] >= 1
    assert total["run_seconds"] >= 0
    assert total["max_wait_seconds"] >= 0


def test_steps_add_up_to_the_total(api: Caller, alice: Tenant) -> None:
    today = now().replace(minute=30)
    for back in (1, 1, 3, 30):
        counted(alice, today - back * HOUR, done=2, run_seconds=1.5, max_wait_seconds=back)
    answer = used(api)
    assert [row["done"] for row in answer["results"]] == [2, 4]
    assert (answer["total"]["done"], answer["total"]["run_seconds"]) == (6, 4.5)
    assert answer["total"]["max_wait_seconds"] == 3
    assert all(row["at"].endswith(":00:00.000000Z") for row in answer["results"])
    days = used(api, step="day")
    assert days["total"]["done"] == 8
    assert all("T00:00:00" in row["at"] for row in days["results"])


def test_a_range_is_of_whole_steps_and_ends_before_its_end(alice: Tenant) -> None:
    hour = now().replace(minute=0, second=0, microsecond=0) - 5 * HOUR
    for minutes in (-1, 0, 59, 60):
        counted(alice, hour + timedelta(minutes=minutes), done=1)
    found = usage(alice, Step.HOUR, start=hour + timedelta(minutes=20), end=hour + HOUR)
    assert (found.start, found.total["done"]) == (hour, 2)
    assert found.steps[0]["at"] == hour


@pytest.mark.parametrize("step", list(Step))
def test_where_one_answer_ends_the_next_begins(api: Caller, alice: Tenant, step: Step) -> None:
    day = now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    for minutes in range(0, 120, 7):
        counted(alice, day + timedelta(minutes=minutes), done=1)
    cut, end = day + timedelta(minutes=63, seconds=30), day + timedelta(days=1)
    one = used(api, step=step, to=instant(cut), **{"from": instant(day)})
    other = used(api, step=step, to=instant(end), **{"from": instant(cut)})
    assert one["to"] == other["from"]
    assert one["total"]["done"] + other["total"]["done"] == 18


def test_without_an_end_the_step_under_way_is_the_last(api: Caller, alice: Tenant) -> None:
    before = now()
    counted(alice, before, done=1)
    answer = used(api)
    assert answer["total"]["done"] == 1
    assert answer["to"] > instant(before)
    assert answer["to"].endswith(":00:00.000000Z")


def test_one_queue_can_be_asked_for(api: Caller, alice: Tenant) -> None:
    counted(alice, now() - HOUR, "mail", done=1)
    counted(alice, now() - HOUR, "hooks", done=5)
    assert used(api, queue="mail")["total"]["done"] == 1
    assert used(api, queue="none")["total"]["done"] == 0
    mailer = Caller(create_api_key(alice, queues=["mail"], actor="command:test")[1])
    assert used(mailer)["total"]["done"] == 1
    problem(mailer.get("/usage?queue=hooks"), 403, "queue_not_allowed")


def test_a_stranger_used_nothing_of_it(alice: Tenant, stranger: Caller) -> None:
    counted(alice, now() - HOUR, "mail", done=1)
    assert used(stranger)["results"] == []
    assert used(stranger, queue="mail")["total"]["done"] == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("step=week", "invalid_choice"),
        ("from=yesterday", "invalid_time"),
        ("from=2030-01-01T00:00:00", "timezone_required"),
        ("since=2030-01-01T00:00:00Z", "unknown_parameter"),
        ("queue=a%00b", "invalid_name"),
        ("step=minute&from=2020-01-01T00:00:00Z", "out_of_range"),
        ("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z&step=day", "out_of_range"),
    ],
)
def test_what_cannot_be_answered_is_refused(api: Caller, query: str, code: str) -> None:
    problem(api.get(f"/usage?{query}"), 400, code)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "1999-12-31T23:59:59Z"])
@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("step", ["minute", "hour", "day"])
def test_a_time_before_there_was_any_usage_is_refused(
    api: Caller, name: str, at: str, step: str
) -> None:
    answer = problem(api.get(f"/usage?step={step}&{name}={at}"), 400, "out_of_range")
    assert "2000-01-01" in answer["detail"]


def test_the_last_times_that_there_are_can_be_asked_about(api: Caller) -> None:
    for step in Step:
        assert used(api, step=step, to="9999-12-31T23:59:59Z")["results"] == []


def test_steps_are_no_finer_than_what_is_kept(alice: Tenant) -> None:
    answer = Caller(create_api_key(alice, actor="command:test")[1])
    for step, days in (("minute", 3), ("hour", 15)):
        start = (now() - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        end = (now() - timedelta(days=days) + HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
        old = urlencode({"step": step, "from": start, "to": end})
        problem(answer.get(f"/usage?{old}"), 400, "out_of_range")
    assert used(answer, step="day", **{"from": "2024-01-01T00:00:00Z"})["results"] == []


def test_an_answer_has_a_bounded_number_of_steps(alice: Tenant) -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)
    start = end - timedelta(days=MAX_STEPS)
    assert usage(alice, Step.DAY, start=start, end=end).steps == []
    problem(
        Caller(create_api_key(alice, actor="command:test")[1]).get(
            "/usage?step=day&from=2010-01-01T00:00:00Z&to=2030-01-01T00:00:00Z"
        ),
        400,
        "out_of_range",
    )


def test_an_empty_range_is_empty(api: Caller) -> None:
    answer = used(api, **{"from": "2030-01-02T00:00:00Z", "to": "2030-01-01T00:00:00Z"})
    assert answer["results"] == []
