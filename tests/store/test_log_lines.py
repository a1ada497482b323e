"""What attempts log is kept under their fences, and goes with their jobs."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings

from jobs import store
from jobs.models import LogLine, Tenant
from jobs.statuses import Status
from jobs.store import Ages, ClaimedJob, Lease, Logged, keep_log, log_lines
from tests.store.steps import WORKER, claim, claim_one, lane_of, outcome

pytestmark = pytest.mark.django_db

AT = datetime(2030, 1, 1, 12, tzinfo=UTC)


def logged(job: ClaimedJob, number: int = 1, **fields: Any) -> Logged:
    """A line of the job."""
    usual = {"fence": job.fence, "attempt": job.attempt, "at": AT, "level": 20, "message": "so far"}
    return Logged(job_id=job.id, number=number, **usual | fields)


def finish(job: ClaimedJob, status: Status) -> None:
    assert store.finish(WORKER, [outcome(job, status)]) == {job.id}


def test_lines_of_a_running_attempt_are_kept_with_all_that_they_say(alice: Tenant) -> None:
    job = claim_one(alice)
    keep_log([logged(job), logged(job, 2, level=40, logger="shop.mail", message="no answer")])
    first, second = LogLine.objects.order_by("number")
    assert (first.job_id, first.fence, first.attempt) == (job.id, job.fence, 1)
    assert (first.at, first.level, first.logger, first.message) == (AT, 20, "", "so far")
    assert (second.number, second.level, second.logger) == (2, 40, "shop.mail")


def test_lines_under_an_old_fence_are_passed_over_and_others_kept(alice: Tenant) -> None:
    job, other = claim_one(alice), claim_one(alice, queue="other")
    keep_log([logged(job, fence=job.fence - 1), logged(job, fence=job.fence + 1), logged(other)])
    assert [line.job_id for line in LogLine.objects.all()] == [other.id]


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED])
def test_lines_after_the_outcome_are_passed_over(alice: Tenant, status: Status) -> None:
    job = claim_one(alice)
    finish(job, status)
    assert keep_log([logged(job)]) == set(), "its worker is told"
    assert not LogLine.objects.exists()


def test_lines_kept_twice_are_kept_once(alice: Tenant) -> None:
    job = claim_one(alice)
    keep_log([logged(job, 1, message="as it was")])
    keep_log([logged(job, 1, message="again"), logged(job, 2)])
    assert list(LogLine.objects.order_by("number").values_list("number", "message")) == [
        (1, "as it was"),
        (2, "so far"),
    ]


def test_many_lines_are_kept_at_once(alice: Tenant) -> None:
    job = claim_one(alice)
    keep_log([logged(job, number) for number in range(1, 1_202)])
    assert LogLine.objects.count() == 1_201


@pytest.mark.parametrize("text", ["nul \0", "half \ud800 of a pair", "\udcff", "a\nb\r\n\x1b[31m"])
def test_any_text_can_be_kept(alice: Tenant, text: str) -> None:
    job = claim_one(alice)
    keep_log([logged(job, message=text, logger=text), logged(job, 2)])
    assert LogLine.objects.count() == 2


@override_settings(JOBQUEUE={"max_log_message": 10})
def test_a_long_line_is_cut_and_says_so(alice: Tenant) -> None:
    keep_log([logged(claim_one(alice), message="0123456789" + "x" * 5_000, logger="y" * 500)])
    line = LogLine.objects.get()
    assert line.message == "0123456789 … 5,000 more characters"
    assert len(line.logger) == 100


@pytest.mark.parametrize(("given", "kept"), [(0, 10), (10, 10), (25, 20), (31, 30), (99, 50)])
def test_levels_are_the_five_that_everybody_knows(alice: Tenant, given: int, kept: int) -> None:
    keep_log([logged(claim_one(alice), level=given)])
    assert LogLine.objects.get().level == kept


def test_discarded_dead_letters_take_their_lines_along(alice: Tenant) -> None:
    job, other = claim_one(alice), claim_one(alice, queue="other")
    keep_log([logged(job), logged(other)])
    finish(job, Status.DLQ)
    assert store.discard([job.id]) == [job.id]
    assert [line.job_id for line in LogLine.objects.all()] == [other.id]


def test_purged_jobs_take_their_lines_along(alice: Tenant) -> None:
    job = claim_one(alice)
    keep_log([logged(job)])
    finish(job, Status.DONE)
    assert store.purge([job.id], Ages(-1, None)) == 1
    assert not LogLine.objects.exists()


def give_away(job: ClaimedJob) -> None:
    store.release([Lease(job.id, job.fence)])
    (successor,) = claim(lane_of(Tenant.objects.get(pk=job.tenant_id)))
    assert successor.fence > job.fence


def be_done(job: ClaimedJob) -> None:
    finish(job, Status.DONE)


@pytest.mark.parametrize("lose", [give_away, be_done])
def test_line_of_a_lease_that_is_lost_meanwhile_is_passed_over(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch, lose: Callable[[ClaimedJob], None]
) -> None:
    job, other = claim_one(alice), claim_one(alice, queue="other")
    openable = log_lines.openable

    def lose_the_lease(keys: set[int]) -> set[int]:
        lose(job)
        return openable(keys)

    monkeypatch.setattr(log_lines, "openable", lose_the_lease)
    keep_log([logged(job), logged(other)])
    assert [line.job_id for line in LogLine.objects.all()] == [other.id]
