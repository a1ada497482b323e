"""What workers in any language report: once, and under the fence. Rows 97 to 111."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from jobs import store
from jobs.conf import conf
from jobs.models import Attempt, Job, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.api.lease_steps import LONG_AGO, held, lease, lease_one, report, row, take_away, told
from tests.factories import make_job

pytestmark = pytest.mark.django_db
ACTOR = "command:test"


class TestHeartbeat:
    def test_it_extends_the_lease(self, api: Caller) -> None:
        job = lease_one(api)
        before = row(job).lease_expires_at
        (result,) = report(api, "heartbeat", held(job), lease_seconds=900)
        assert result["ok"]
        assert not result["cancel_requested"]
        after = row(job).lease_expires_at
        assert before and after and after > before + timedelta(minutes=10)

    def test_it_tells_of_a_cancellation_and_a_release_ends_the_job(self, api: Caller) -> None:
        job = lease_one(api)
        assert api.post(f"/jobs/{job['id']}/cancel").status_code == 200
        (result,) = report(api, "heartbeat", held(job))
        assert (result["ok"], result["cancel_requested"]) == (True, True)
        (result,) = report(api, "release", held(job))
        assert result["status"] == "CANCELLED"
        assert told(api, "release", held(job)) == [None]

    def test_a_failure_of_a_cancelled_job_is_its_end(self, api: Caller) -> None:
        job = lease_one(api, max_retries=0)
        api.post(f"/jobs/{job['id']}/cancel")
        (result,) = report(api, "fail", held(job, error={"message": "stopped"}, retryable=False))
        assert result["status"] == "CANCELLED"

    def test_a_lease_that_was_taken_away_is_lost(self, api: Caller) -> None:
        job = lease_one(api)
        take_away(job)
        assert told(api, "heartbeat", held(job)) == ["lease_lost"]

    def test_a_lease_that_ran_out_unnoticed_can_still_be_kept(self, api: Caller) -> None:
        job = lease_one(api)
        Job.objects.filter(pk=job["id"]).update(lease_expires_at=F("created_at"))
        assert told(api, "heartbeat", held(job)) == [None]
        assert store.reap("reaper", lambda losses: 0) == []

    def test_a_job_that_runs_too_long_ends_as_timed_out(self, api: Caller) -> None:
        job = lease_one(api, timeout_seconds=60, max_retries=0)
        assert told(api, "heartbeat", held(job)) == [None]
        Job.objects.filter(pk=job["id"]).update(started_at=F("started_at") - LONG_AGO)
        for call in ("heartbeat", "heartbeat", "ack", "fail"):
            assert told(api, call, held(job)) == ["timed_out"]
        assert row(job).status == Status.DLQ
        assert Attempt.objects.get().outcome == "timed_out"

    def test_a_thousand_are_kept_at_once_and_no_more(self, api: Caller) -> None:
        strange = [{"job_id": str(uuid.uuid4()), "fence": 1} for _ in range(1_001)]
        assert set(told(api, "heartbeat", *strange[:1_000])) == {"not_found"}
        problem(api.post("/leases/heartbeat", {"leases": strange}), 400, "out_of_range")


class TestOutcomes:
    @pytest.mark.parametrize("call", ["heartbeat", "ack", "fail", "release"])
    def test_what_is_said_twice_in_a_call_is_answered_twice_and_counts_once(
        self, api: Caller, call: str
    ) -> None:
        job = lease_one(api)
        assert told(api, call, held(job), held(job)) == [None, None]
        counted = api.get("/usage").json()["total"]
        assert (counted["done"], counted["failed"]) == (call == "ack", call == "fail")
        assert Attempt.objects.count() == (call == "fail")

    @pytest.mark.parametrize("call", ["heartbeat", "ack", "fail", "release"])
    def test_of_two_leases_of_a_job_in_a_call_the_one_that_is_held_counts(
        self, api: Caller, call: str
    ) -> None:
        job = lease_one(api)
        other = held(job) | {"fence": job["fence"] + 1}
        assert told(api, call, other, held(job)) == ["lease_lost", None]

    def test_an_ack_repeated_is_answered_the_same_way(self, api: Caller) -> None:
        job = lease_one(api)
        first = report(api, "ack", held(job, result=[1, 2]))
        assert report(api, "ack", held(job, result=[1, 2])) == first
        assert first[0]["ok"]

    @pytest.mark.parametrize(
        ("call", "more"), [("ack", {"result": 2}), ("fail", {}), ("release", {})]
    )
    def test_another_outcome_after_an_ack_is_refused(
        self, api: Caller, call: str, more: dict[str, Any]
    ) -> None:
        job = lease_one(api)
        report(api, "ack", held(job, result=1))
        before = Job.objects.values().get()
        assert told(api, call, held(job, **more)) == ["already_finished"]
        assert Job.objects.values().get() == before

    def test_a_failure_is_retried_with_its_error_kept(self, api: Caller) -> None:
        job = lease_one(api)
        error = {"type": "IOError", "message": "disk\ufffd full", "traceback": "line 1"}
        (result,) = report(api, "fail", held(job, error=error, retry_in_seconds=600))
        assert result["status"] == "FAILED"
        shown = api.get(f"/jobs/{job['id']}").json()
        assert shown["error"] == {"type": "IOError", "message": "disk\ufffd full"}
        assert shown["attempts"][0]["traceback"] == "line 1"
        assert 590 < (row(job).run_at - row(job).created_at).total_seconds() < 660

    def test_a_failure_repeated_is_answered_the_same_way(self, api: Caller) -> None:
        job = lease_one(api)
        error = {"message": "x" * 5_000}
        first = report(api, "fail", held(job, error=error))
        assert report(api, "fail", held(job, error=error)) == first
        assert first[0]["ok"]
        assert Attempt.objects.count() == 1

    @pytest.mark.parametrize("call", ["ack", "release", "heartbeat"])
    def test_another_outcome_after_a_failure_is_refused(self, api: Caller, call: str) -> None:
        job = lease_one(api)
        report(api, "fail", held(job, error={"message": "no"}))
        expected = "lease_lost" if call == "heartbeat" else "already_finished"
        assert told(api, call, held(job)) == [expected]
        assert told(api, "fail", held(job, error={"message": "other"})) == ["already_finished"]

    def test_what_cannot_be_retried_is_a_dead_letter(self, api: Caller) -> None:
        job = lease_one(api)
        (result,) = report(api, "fail", held(job, retryable=False))
        assert result["status"] == "DLQ"
        assert row(job).reason == "not_retryable"

    def test_the_last_attempt_is_the_last(self, api: Caller) -> None:
        job = lease_one(api, max_retries=0)
        (result,) = report(api, "fail", held(job, retry_in_seconds=1))
        assert (result["status"], row(job).reason) == ("DLQ", "retries_exhausted")

    def test_the_wait_before_a_retry_is_the_usual_one(self, api: Caller) -> None:
        job = lease_one(api)
        report(api, "fail", held(job))
        waits = (row(job).run_at - row(job).created_at).total_seconds()
        assert waits < conf().backoff_base_seconds + 30

    def test_a_long_error_is_cut_and_taken(self, api: Caller) -> None:
        job = lease_one(api)
        error = {"type": "T" * 999, "message": "m" * 999_999, "traceback": "t" * 999_999}
        assert told(api, "fail", held(job, error=error)) == [None]
        attempt = Attempt.objects.get()
        assert len(attempt.message) == conf().max_error_message
        assert len(attempt.traceback) == conf().max_traceback

    def test_a_released_job_is_ready_again_unspent(self, api: Caller) -> None:
        job = lease_one(api)
        assert told(api, "release", held(job)) == [None]
        assert told(api, "release", held(job)) == [None]
        assert told(api, "ack", held(job)) == ["lease_lost"]
        (again,) = lease(api)
        assert (again["attempt"], again["fence"]) == (1, 2)
        assert told(api, "release", held(job)) == ["lease_lost"]

    @pytest.mark.parametrize(
        ("call", "writer"), [("release", "release"), ("fail", "finish"), ("heartbeat", "extend")]
    )
    def test_a_report_that_was_recorded_is_accepted_whoever_has_the_job_now(
        self, api: Caller, monkeypatch: pytest.MonkeyPatch, call: str, writer: str
    ) -> None:
        job = lease_one(api)
        write = getattr(store, writer)

        def overtaken(*arguments: Any, **options: Any) -> Any:
            """Record it, and let another worker be the first to see that."""
            recorded = write(*arguments, **options)
            if call == "heartbeat":
                take_away(job)
            Job.objects.filter(pk=job["id"]).update(run_at=F("created_at"))
            store.promote()
            assert lease(api, worker="other")[0]["fence"] == 2
            return recorded

        monkeypatch.setattr(store, writer, overtaken)
        (result,) = report(api, call, held(job))
        assert (result["ok"], result["status"]) == (True, "RUNNING")
        assert result["lease_expires_at"] is None  # that lease is another worker's

    def test_a_failure_repeated_after_the_job_was_leased_again_is_accepted(
        self, api: Caller
    ) -> None:
        job = lease_one(api)
        same = held(job, error={"message": "no"}, retry_in_seconds=0)
        assert told(api, "fail", same) == [None]
        store.promote()
        (again,) = lease(api)
        before = Job.objects.values().get()
        assert told(api, "fail", same) == [None]
        assert told(api, "fail", held(job)) == ["already_finished"]
        assert told(api, "ack", held(job)) == ["already_finished"]
        assert Job.objects.values().get() == before
        assert told(api, "ack", held(again)) == [None]
        assert told(api, "fail", same) == [None]

    def test_a_failure_of_our_own_worker_is_out_of_reach_under_an_older_fence(
        self, api: Caller, alice: Tenant
    ) -> None:
        job = make_job(alice, Status.FAILED)
        Job.objects.filter(pk=job.pk).update(fence=F("fence") + 1, worker="rest/k/w")
        assert told(api, "fail", {"job_id": str(job.pk), "fence": job.fence}) == ["lease_lost"]

    @pytest.mark.parametrize(
        ("call", "more"), [("release", {}), ("fail", {"retry_in_seconds": 600}), ("ack", {})]
    )
    def test_many_jobs_are_answered_in_as_many_questions_as_one(
        self, api: Caller, call: str, more: dict[str, Any]
    ) -> None:
        jobs = [lease_one(api) for _ in range(5)]
        for questions in (0, 1):  # as it is told first, and repeated
            with CaptureQueriesContext(connection) as seen:
                assert told(api, call, *[held(job, **more) for job in jobs]) == [None] * 5
            texts = [one["sql"] for one in seen if one["sql"].startswith("SELECT")]
            assert sum('FROM "jobs_attempt"' in text for text in texts) == questions
            asked_again = 0 if call == "ack" and not questions else 1  # what is DONE stays so
            assert sum('FROM "jobs_job"' in text for text in texts) == 1 + asked_again

    @pytest.mark.parametrize("call", ["ack", "fail", "release", "heartbeat"])
    @pytest.mark.parametrize("is_leased_again", [False, True])
    def test_who_comes_late_changes_nothing(
        self, api: Caller, call: str, is_leased_again: bool
    ) -> None:
        job = lease_one(api)
        take_away(job)
        store.promote()
        if is_leased_again:
            assert lease(api)[0]["fence"] == 2
        before = Job.objects.values().get()
        assert told(api, call, held(job)) == ["lease_lost"]
        assert Job.objects.values().get() == before

    @pytest.mark.parametrize("call", ["ack", "fail", "release", "heartbeat"])
    @pytest.mark.parametrize("fence", [1, 2, 2**63 - 1])
    def test_a_job_that_was_never_leased_is_nobodys(
        self, api: Caller, call: str, fence: int
    ) -> None:
        job = api.submit(task="remote:x")
        before = Job.objects.values().get()
        assert told(api, call, {"job_id": job["id"], "fence": fence}) == ["lease_lost"]
        assert Job.objects.values().get() == before

    @pytest.mark.parametrize("call", ["ack", "fail", "release", "heartbeat"])
    @pytest.mark.parametrize("status", [Status.RUNNING, Status.DONE, Status.FAILED])
    def test_a_job_of_our_own_workers_is_out_of_reach(
        self, api: Caller, alice: Tenant, call: str, status: Status
    ) -> None:
        job = make_job(alice, status)
        before = Job.objects.values().get()
        item = {"job_id": str(job.pk), "fence": job.fence}
        more = {"result": None} if call == "ack" else {}
        assert told(api, call, item | more) == ["lease_lost"]
        assert Job.objects.values().get() == before

    def test_one_stale_item_does_not_spoil_the_others(self, api: Caller) -> None:
        jobs = [lease_one(api) for _ in range(3)]
        stale = held(jobs[1]) | {"fence": 7}
        stranger = {"job_id": str(uuid.uuid4()), "fence": 1}
        items = [held(jobs[0]), stale, stranger, held(jobs[2])]
        assert told(api, "ack", *items) == [None, "lease_lost", "not_found", None]
        assert [row(job).status for job in jobs] == ["DONE", "RUNNING", "DONE"]

    def test_a_result_that_is_too_large_leaves_the_lease(self, api: Caller) -> None:
        jobs = [lease_one(api), lease_one(api)]
        large = "x" * conf().max_result_bytes
        items = [held(jobs[0], result=large), held(jobs[1], result=1)]
        assert told(api, "ack", *items) == ["too_large", None]
        assert row(jobs[0]).status == Status.RUNNING
        assert told(api, "ack", held(jobs[0], result="small")) == [None]

    @pytest.mark.parametrize(
        ("result", "code"),
        [
            (rb'"\u0000"', "nul_character"),
            (rb'"\ud800"', "invalid_unicode"),
            (b"NaN", "invalid_number"),
            (b"[" * 70 + b"]" * 70, "too_deep"),
            (b'{"a": 1, "a": 2}', "duplicate_key"),
        ],
    )
    def test_a_result_that_cannot_be_kept_leaves_the_lease(
        self, api: Caller, result: bytes, code: str
    ) -> None:
        job = lease_one(api)
        text = b'{"leases": [{"job_id": "%b", "fence": 1, "result": %b}]}'
        body = text % (job["id"].encode(), result)
        problem(api.post("/leases/ack", raw=body), 400, code)
        assert told(api, "ack", held(job)) == [None]

    def test_what_ended_is_counted(self, api: Caller) -> None:
        report(api, "ack", held(lease_one(api)))
        report(api, "fail", held(lease_one(api), retryable=False))
        minutes = api.get("/metrics").json()["throughput"]
        assert sum(minute["done"] for minute in minutes) == 1
        assert sum(minute["dead"] for minute in minutes) == 1
