"""Jobs come into being: all of them or none, once for each idempotency key."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import override_settings

from jobs import services, store
from jobs.backend import recent_tenants
from jobs.errors import InvalidInput, TenantInactive, TryAgain
from jobs.models import Job, JobTag, Lane, Tenant
from jobs.statuses import Status
from jobs.store import insert
from jobs.submission import NewJob
from jobs.tasks import echo
from tests.store.steps import database_time, job_in, lane_of, row, submit

pytestmark = pytest.mark.django_db


def test_ids_come_in_the_order_of_the_jobs(alice: Tenant) -> None:
    jobs = [NewJob(task=f"task-{n}") for n in range(50)]
    ids = [one.job_id for one in store.insert_jobs(alice.pk, jobs)]
    assert ids == sorted(ids)
    assert [row(job_id)["task"] for job_id in ids] == [job.task for job in jobs]


def test_nothing_to_insert_is_answered_with_nothing(alice: Tenant) -> None:
    assert store.insert_jobs(alice.pk, []) == []


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b'{"b": 1,  "a": 1.0}',
        b"123456789012345678901234567890",
        b'"nul \\u0000, half a pair \\ud800"',
        '"\N{SNOWMAN} e\u0301"'.encode(),
        b"[1e400]",
    ],
)
def test_payload_is_kept_byte_for_byte(alice: Tenant, payload: bytes) -> None:
    (job_id,) = submit(alice, payload=payload)
    assert row(job_id)["payload"] == payload


def test_every_option_is_kept(alice: Tenant) -> None:
    given = {
        "task": "resize", "queue": "images", "priority": -7, "max_retries": 9, "has_args": True,
        "timeout_seconds": 2.5, "idempotency_key": "k", "request_hash": "h",
    }  # fmt: skip
    (job_id,) = submit(alice, tags=("red", "blue"), **given)
    kept = row(job_id)
    assert {name: kept[name] for name in given} == given
    assert kept["tags"] == ["red", "blue"]
    assert (kept["attempt"], kept["fence"], kept["lost_count"]) == (0, 0, 0)


def test_job_is_ready_from_the_moment_it_was_submitted(alice: Tenant) -> None:
    before = database_time()
    (job_id,) = submit(alice)
    kept = row(job_id)
    assert kept["status"] == Status.PENDING
    assert before <= kept["created_at"] <= kept["run_at"] <= database_time()


@pytest.mark.parametrize("seconds", [60, 60.5, 366 * 86_400])
def test_delay_counts_from_now_by_the_databases_clock(alice: Tenant, seconds: float) -> None:
    before = database_time()
    (job_id,) = submit(alice, delay_seconds=seconds)
    kept = row(job_id)
    assert kept["status"] == Status.SCHEDULED
    delay = timedelta(seconds=seconds)
    assert before + delay <= kept["run_at"] <= database_time() + delay


def test_delay_of_nothing_is_now(alice: Tenant) -> None:
    (job_id,) = submit(alice, delay_seconds=0)
    assert row(job_id)["status"] == Status.PENDING


def test_time_ahead_is_kept_to_the_microsecond(alice: Tenant) -> None:
    moment = datetime(2100, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    (job_id,) = submit(alice, run_at=moment)
    assert (row(job_id)["status"], row(job_id)["run_at"]) == (Status.SCHEDULED, moment)


def test_time_ahead_may_be_given_with_any_offset(alice: Tenant) -> None:
    moment = datetime.fromisoformat("2100-01-02T03:04:05+05:30")
    (job_id,) = submit(alice, run_at=moment)
    assert row(job_id)["run_at"] == moment


def test_time_that_has_passed_is_now(alice: Tenant) -> None:
    before = database_time()
    (job_id,) = submit(alice, run_at=datetime(2001, 1, 1, tzinfo=UTC))
    assert row(job_id)["status"] == Status.PENDING
    assert row(job_id)["run_at"] >= before


def test_jobs_of_one_call_may_differ_in_everything(alice: Tenant) -> None:
    jobs = [
        NewJob(task="plain"),
        NewJob(task="late", delay_seconds=60.5, timeout_seconds=30),
        NewJob(task="later", run_at=datetime(2100, 1, 1, tzinfo=UTC), timeout_seconds=0.5),
        NewJob(task="elsewhere", queue="other", tags=("a",), idempotency_key="k", priority=100),
    ]
    ids = [one.job_id for one in store.insert_jobs(alice.pk, jobs)]
    kept = [row(job_id) for job_id in ids]
    assert [one["timeout_seconds"] for one in kept] == [None, 30, 0.5, None]
    assert [one["status"] for one in kept] == ["PENDING", "SCHEDULED", "SCHEDULED", "PENDING"]


def test_lanes_are_made_on_the_way(alice: Tenant) -> None:
    submit(alice, queue="first")
    store.insert_jobs(alice.pk, [NewJob(task="echo", queue=q) for q in ("first", "b", "a", "b")])
    lanes = Lane.objects.filter(tenant=alice)
    assert {lane.queue for lane in lanes} == {"first", "a", "b"}
    for job in Job.objects.all():
        assert (job.lane.queue, job.lane.tenant_id) == (job.queue, alice.pk)


def test_lane_belongs_to_one_tenant(alice: Tenant, mallory: Tenant) -> None:
    submit(mallory, queue="shared")
    (job_id,) = submit(alice, queue="shared")
    assert row(job_id)["lane_id"] == lane_of(alice, "shared").pk


def test_tenant_may_have_so_many_queues_and_go_on_using_them(
    alice: Tenant, mallory: Tenant
) -> None:
    with override_settings(JOBQUEUE={"max_queues_per_tenant": 2}):
        for queue in ("a", "b"):
            submit(alice, queue=queue)
        with pytest.raises(InvalidInput) as caught:
            submit(alice, queue="c")
        assert caught.value.field_code == "too_many_queues"
        submit(alice, queue="a", idempotency_key="k")
        assert not store.insert_jobs(
            alice.pk, [NewJob(task="echo", queue="b", idempotency_key="k")]
        )[0].created
        submit(mallory, queue="c")
    assert Lane.objects.filter(tenant=alice).count() == 2


def test_tags_can_be_searched_and_a_repeated_one_is_found_once(alice: Tenant) -> None:
    (job_id,) = submit(alice, tags=("red", "blue", "red"))
    found = JobTag.objects.filter(job_id=job_id).values_list("tenant_id", "tag")
    assert sorted(found) == [(alice.pk, "blue"), (alice.pk, "red")]


def test_same_key_and_request_is_the_same_job(alice: Tenant) -> None:
    new = NewJob(task="echo", idempotency_key="k", request_hash="same", tags=("red",))
    (first,) = store.insert_jobs(alice.pk, [new])
    (second,) = store.insert_jobs(alice.pk, [new])
    assert (first.created, first.mismatch) == (True, False)
    assert (second.created, second.mismatch) == (False, False)
    assert first.job_id == second.job_id
    assert (Job.objects.count(), JobTag.objects.count()) == (1, 1)


def test_same_key_with_another_request_is_a_mismatch(alice: Tenant) -> None:
    keyed = {"task": "echo", "idempotency_key": "k"}
    (first,) = store.insert_jobs(alice.pk, [NewJob(**keyed, request_hash="one")])
    (second,) = store.insert_jobs(alice.pk, [NewJob(**keyed, request_hash="other")])
    assert (second.job_id, second.created, second.mismatch) == (first.job_id, False, True)


def test_same_key_within_one_call_is_one_job(alice: Tenant) -> None:
    keyed = {"task": "echo", "idempotency_key": "k"}
    one = NewJob(**keyed, request_hash="one")
    first, repeated, other = store.insert_jobs(
        alice.pk, [one, one, NewJob(**keyed, request_hash="other")]
    )
    assert [first.created, repeated.created, other.created] == [True, False, False]
    assert [first.mismatch, repeated.mismatch, other.mismatch] == [False, False, True]
    assert {first.job_id, repeated.job_id, other.job_id} == {first.job_id}


def test_key_of_a_job_that_is_deleted_meanwhile_makes_a_new_one(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = job_in(Status.DLQ, alice, idempotency_key="k")
    find = insert._find_earlier

    def find_too_late(*args: Any) -> Any:
        store.discard([dead])
        return find(*args)

    monkeypatch.setattr(insert, "_find_earlier", find_too_late)
    (new,) = store.insert_jobs(alice.pk, [NewJob(task="echo", idempotency_key="k", tags=("t",))])
    assert (new.created, new.job_id != dead, JobTag.objects.count()) == (True, True, 1)


def test_key_whose_job_cannot_be_found_is_to_be_tried_again(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = NewJob(task="echo", idempotency_key="k")
    store.insert_jobs(alice.pk, [new])
    monkeypatch.setattr(insert, "_find_earlier", lambda *args: {})
    with pytest.raises(TryAgain):
        store.insert_jobs(alice.pk, [new])


def test_key_of_another_tenant_does_not_count(alice: Tenant, mallory: Tenant) -> None:
    new = NewJob(task="echo", idempotency_key="k", request_hash="h")
    (hers,) = store.insert_jobs(alice.pk, [new])
    (theirs,) = store.insert_jobs(mallory.pk, [new])
    assert theirs.created
    assert hers.job_id != theirs.job_id


def test_new_and_repeated_jobs_of_one_call_are_told_apart(alice: Tenant) -> None:
    def keyed(key: str, queue: str = "default") -> NewJob:
        return NewJob(task="echo", idempotency_key=key, queue=queue)

    (first,) = store.insert_jobs(alice.pk, [keyed("a")])
    new, repeated, in_new_lane = store.insert_jobs(
        alice.pk, [keyed("b"), keyed("a"), keyed("c", "other")]
    )
    assert [new.created, repeated.created, in_new_lane.created] == [True, False, True]
    assert repeated.job_id == first.job_id


@pytest.mark.django_db(transaction=True)
def test_call_that_fails_leaves_nothing(make_tenant: Callable[..., Tenant]) -> None:
    jobs = [NewJob(task="echo", queue=f"queue-{n}", tags=("t",)) for n in range(5)]
    object.__setattr__(jobs[-1], "payload", None)  # past its own check, refused by the table
    with pytest.raises(IntegrityError), transaction.atomic():
        store.insert_jobs(make_tenant("alice").pk, jobs)
    assert (Job.objects.count(), JobTag.objects.count(), Lane.objects.count()) == (0, 0, 0)


def test_ids_are_uuids_of_version_7(alice: Tenant) -> None:
    (job_id,) = submit(alice)
    assert isinstance(job_id, uuid.UUID)
    assert job_id.version == 7


def test_ids_follow_the_clock_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has the clock of its machine")
    told: list[float] = []
    monkeypatch.setattr(insert, "follow", told.append)
    monkeypatch.setattr(insert, "_asked_at", -insert.CLOCK_IS_ASKED_EVERY)
    before = database_time().timestamp()
    for _ in range(2):
        insert._let_ids_follow(connection)
    (moment,) = told
    assert before <= moment <= database_time().timestamp()


def test_a_connection_that_stays_asks_for_the_clock_again(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has the clock of its machine")
    told: list[float] = []
    monkeypatch.setattr(insert, "follow", told.append)
    monkeypatch.setattr(insert, "_asked_at", time.monotonic() - insert.CLOCK_IS_ASKED_EVERY)
    submit(alice)
    submit(alice)
    assert len(told) == 1


CALLS: dict[str, Callable[[Tenant], object]] = {
    "submit": lambda tenant: services.submit(tenant, NewJob(task="echo")),
    "submit with a key": lambda tenant: services.submit(
        tenant, NewJob(task="echo", idempotency_key="k")
    ),
    "enqueue": lambda tenant: echo.using(tenant=tenant.slug).enqueue(1),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("limit", [None, 10])
def test_tenant_that_is_gone_is_refused_as_one_that_is_switched_off(
    make_tenant: Callable[..., Tenant], limit: int | None, call: str
) -> None:
    tenant = make_tenant("gone", submissions_per_minute=limit)
    recent_tenants[tenant.slug] = (time.monotonic(), tenant)
    with connection.cursor() as cursor:  # another process does it
        cursor.execute("DELETE FROM jobs_tenant WHERE id = %s", [tenant.pk])
    with pytest.raises(TenantInactive):
        CALLS[call](tenant)
