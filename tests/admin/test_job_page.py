"""A job's page shows all there is to know, exactly, to those who may know it."""

from collections.abc import Callable
from html import escape

import pytest
from django.test import Client
from django.urls import reverse

from jobs import services, store
from jobs.models import Job, Tenant
from jobs.statuses import AttemptOutcome, Status
from tests.factories import WORKER, make_job

PAGES = ["job", "deadletter"]


@pytest.mark.parametrize("name", PAGES)
def test_a_payload_is_shown_exactly(operator: Client, alice: Tenant, name: str) -> None:
    payload = b'{"n":123456789012345678901234567890,"x":1.10e400,"h":"<script>alert(1)</script>"}'
    job = make_job(alice, Status.DLQ, payload=payload)
    page = operator.get(_address(job, name)).text
    assert escape('"n": 123456789012345678901234567890,') in page
    assert escape('"x": 1.10e400,') in page
    assert escape('"h": "<script>alert(1)</script>"') in page
    assert "<script>alert" not in page


def test_a_result_is_shown_exactly(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE, result=b'{"total":0.10}')
    assert escape('"total": 0.10') in operator.get(_address(job)).text


def test_the_tags_that_its_worker_needs_are_shown(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, worker_tags=("linux", "gpu"))
    assert '<div class="readonly">gpu,linux</div>' in operator.get(_address(job)).text


@pytest.mark.parametrize("name", PAGES)
def test_payloads_need_a_right_of_their_own(
    staff: Callable[..., Client], alice: Tenant, name: str
) -> None:
    job = make_job(alice, Status.DLQ, payload=b'"top secret"', result=b'"as well"')
    page = staff("view_job").get(_address(job, name)).text
    assert "top secret" not in page
    assert "as well" not in page
    assert "needs the permission" in page


def test_that_right_shows_them(staff: Callable[..., Client], alice: Tenant) -> None:
    job = make_job(alice, payload=b'"top secret"')
    assert "top secret" in staff("view_job", "view_payload").get(_address(job)).text


@pytest.mark.parametrize("name", PAGES)
def test_what_errors_say_needs_that_right_too(
    staff: Callable[..., Client], operator: Client, alice: Tenant, name: str
) -> None:
    job = make_job(
        alice, Status.DLQ, error_type="CardError", error_message="4111 declined", traceback="secret"
    )
    lists = reverse(f"admin:jobs_{name}_changelist")
    looker = staff("view_job", "operate_job")
    for address in (_address(job, name), lists):
        page = looker.get(address).text
        assert ("CardError" in page) or (name, address) == ("job", lists)
        assert "declined" not in page
        assert "secret" not in page
    assert not looker.get(lists, {"q": "4111"}).context["cl"].result_count
    assert operator.get(lists, {"q": "4111"}).context["cl"].result_count == 1
    assert "secret" in operator.get(_address(job, name)).text


def test_a_huge_payload_does_not_make_a_huge_page(operator: Client, alice: Tenant) -> None:
    payload = b"[" * 60 + b"1" + b",1" * 400_000 + b"]" * 60
    page = operator.get(_address(make_job(alice, payload=payload))).text
    assert "cut off here; 800,121 bytes in all" in page
    assert len(page) < 1_000_000


def test_attempts_are_shown_with_tracebacks_newest_first(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED, traceback="first traceback")
    services.retry(job, actor="command:test")
    (claimed,) = store.claim(WORKER, [store.Share(job.lane_id, 1)], lease_seconds=30)
    store.finish(WORKER, [_failed(job, claimed.fence, "second traceback")])
    page = operator.get(_address(job)).text
    assert page.index("second traceback") < page.index("first traceback")


def test_a_job_and_its_dead_letter_lead_to_each_other(operator: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ)
    assert _address(job, "deadletter") in operator.get(_address(job)).text
    assert f"/jobs/{job.pk}" in operator.get(_address(job, "deadletter")).text


def test_lists_do_not_read_payloads(
    operator: Client, alice: Tenant, queries: Callable[..., object]
) -> None:
    make_job(alice, Status.DLQ)
    for name in PAGES:
        with queries(at_most=14) as statements:
            operator.get(f"/admin/jobs/{name}/")
        assert [text for text in statements if '"jobs_job"."payload"' in text] == []


def _failed(job: Job, fence: int, traceback: str) -> store.Outcome:
    return store.Outcome(
        job_id=job.pk,
        fence=fence,
        lane_id=job.lane_id,
        tenant_id=job.tenant_id,
        status=Status.FAILED,
        attempt_outcome=AttemptOutcome.FAILED,
        traceback=traceback,
    )


def _address(job: Job, name: str = "job") -> str:
    return f"/admin/jobs/{name}/{job.pk}/change/"
