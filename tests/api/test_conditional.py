"""A job that is fetched again: not sent twice, and waited for without a thread or a connection."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from jobs import services, store
from jobs.api import conditional, door, held
from jobs.api.conditional import job_watch
from jobs.keys import create_api_key, revoke_api_key
from jobs.models import ApiKey, Job, Tenant
from jobs.statuses import Status
from tests.api.asgi import PATIENCE_SECONDS, asked, get, in_database
from tests.api.conftest import Caller, problem
from tests.factories import WORKER, make_job

FOREVER = str(PATIENCE_SECONDS)


@pytest.mark.django_db
class TestConditional:
    """What no wait is needed for."""

    def test_what_has_not_changed_is_not_sent_again(self, api: Caller, alice: Tenant) -> None:
        job = make_job(alice)
        first = api.get(f"/jobs/{job.pk}")
        tag = first["ETag"]
        assert tag.startswith('"')
        for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = api.get(f"/jobs/{job.pk}", headers={"If-None-Match": known})
            assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
        other = api.get(f"/jobs/{job.pk}", headers={"If-None-Match": '"other"'})
        assert other.json() == first.json()

    @pytest.mark.parametrize("nonsense", ["", "x", '"', "W/", "é", '"a","b'])
    def test_a_tag_that_is_none_matches_nothing(
        self, api: Caller, alice: Tenant, nonsense: str
    ) -> None:
        path = f"/jobs/{make_job(alice).pk}"
        assert api.get(path, headers={"If-None-Match": nonsense}).status_code == 200

    def test_every_change_of_the_answer_changes_the_tag(self, api: Caller, alice: Tenant) -> None:
        job = make_job(alice, Status.RUNNING)
        tags = [api.get(f"/jobs/{job.pk}")["ETag"]]
        extended = job.lease_expires_at + timedelta(seconds=5)
        for change in (
            {"lease_expires_at": extended},
            {"cancel_requested": True},
            {"priority": 7},
        ):
            Job.objects.filter(pk=job.pk).update(**change)
            tags.append(api.get(f"/jobs/{job.pk}")["ETag"])
        assert len(set(tags)) == 4
        assert tags[0].split("-")[0] == tags[1].split("-")[0] != tags[2].split("-")[0]

    def test_an_absent_job_is_absent_whatever_the_client_has(self, stranger: Caller) -> None:
        path = "/jobs/0197f3c2-5a7b-7c1e-9d3f-2b6a8e4c1d05"
        headers = {"If-None-Match": "*", "Prefer": "wait=60"}
        problem(stranger.get(path, headers=headers), 404, "not_found")

    def test_without_a_loop_nobody_waits_and_nobody_says_so(
        self, api: Caller, alice: Tenant
    ) -> None:
        job = make_job(alice)
        answer = api.get(f"/jobs/{job.pk}", headers={"Prefer": f"wait={FOREVER}"})
        assert answer.status_code == 200
        assert "Preference-Applied" not in answer

    @pytest.mark.parametrize(
        ("prefer", "applied"),
        [
            ("wait=5", "wait=5"),
            ("respond-async, wait=5", "wait=5"),
            ("WAIT = 5", "wait=5"),
            ("wait=3600", "wait=60"),
            ("wait=-1", None),
            ("wait=soon", None),
            ("await=5", None),
            ("wait=5, wait=9", "wait=5"),
            ("wait=soon, wait=5", None),  # of those of a name the first counts
            ('wait="5"', "wait=5"),
            ("wait=5; note=1", "wait=5"),
            ('wait="5', None),
            ('note="x, wait=5", wait=7', "wait=7"),
            ('note="x, wait=5"', None),
            ("note; wait=5", None),  # what another preference says more closely
            ("", None),
        ],
    )
    def test_a_preference_is_bounded_and_what_is_none_is_ignored(
        self, api: Caller, alice: Tenant, prefer: str, applied: str | None
    ) -> None:
        job = make_job(alice, Status.DONE)  # which nobody waits for
        answer = api.get(f"/jobs/{job.pk}", headers={"Prefer": prefer})
        assert answer.headers.get("Preference-Applied") == applied


@pytest.mark.django_db(transaction=True)
class TestWaiting:
    """What is waited for, on a loop."""

    @pytest.fixture(autouse=True)
    def leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Nobody waits any more, and nobody is counted."""
        monkeypatch.setattr(door, "IDLE_SECONDS", 0.1)
        yield
        assert len(job_watch) == 0
        assert not held._held

    @pytest.fixture
    def key(self, alice: Tenant) -> str:
        """Alice's key."""
        return create_api_key(alice, actor="command:test")[1]

    @pytest.fixture
    def job(self, alice: Tenant) -> Job:
        """One that is ready."""
        return make_job(alice)

    async def test_an_answer_waits_for_the_jobs_end(
        self, key: str, alice: Tenant, job: Job
    ) -> None:
        async with asked(f"/jobs/{job.pk}", key, Prefer=f"wait={FOREVER}") as (exchange, task):
            await watched(1)
            await in_database(claim)(job)
            await asyncio.sleep(2 * conditional.WATCH_SECONDS)
            assert not task.done()  # that it runs is no end
            await in_database(finish)(job)
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert exchange.json()["status"] == "DONE"
        assert exchange.headers["preference-applied"] == f"wait={FOREVER}"

    async def test_with_a_tag_it_waits_for_any_change(self, key: str, job: Job) -> None:
        tag = (await get(f"/jobs/{job.pk}", key)).headers["etag"]
        wishes = {"Prefer": f"wait={FOREVER}", "If_None_Match": tag}
        async with asked(f"/jobs/{job.pk}", key, **wishes) as (exchange, task):
            await watched(1)
            await in_database(claim)(job)
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert (exchange.status, exchange.json()["status"]) == (200, "RUNNING")
        assert exchange.headers["etag"] != tag

    async def test_what_has_changed_meanwhile_is_answered_at_once(self, key: str, job: Job) -> None:
        tag = (await get(f"/jobs/{job.pk}", key)).headers["etag"]
        await in_database(claim)(job)
        wishes = {"Prefer": f"wait={FOREVER}", "If_None_Match": tag}
        assert (await get(f"/jobs/{job.pk}", key, **wishes)).json()["status"] == "RUNNING"

    async def test_an_extended_lease_ends_no_wait(self, key: str, job: Job) -> None:
        await in_database(claim)(job)
        tag = (await get(f"/jobs/{job.pk}", key)).headers["etag"]
        wishes = {"Prefer": f"wait={FOREVER}", "If_None_Match": tag}
        async with asked(f"/jobs/{job.pk}", key, **wishes) as (exchange, task):
            await watched(1)
            await in_database(extend)(job)
            await asyncio.sleep(2 * conditional.WATCH_SECONDS)
            assert not task.done()
        assert exchange.status == 0

    async def test_a_wait_ends_with_what_there_is_then(self, key: str, job: Job) -> None:
        tag = (await get(f"/jobs/{job.pk}", key)).headers["etag"]
        wishes = {"Prefer": "wait=1", "If_None_Match": tag}
        same = await get(f"/jobs/{job.pk}", key, **wishes)
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
        assert (await get(f"/jobs/{job.pk}", key, Prefer="wait=1")).json()["status"] == "PENDING"

    async def test_a_deleted_job_ends_the_wait(self, key: str, alice: Tenant) -> None:
        dead = await in_database(make_job)(alice, Status.DLQ)
        tag = (await get(f"/jobs/{dead.pk}", key)).headers["etag"]
        wishes = {"Prefer": f"wait={FOREVER}", "If_None_Match": tag}
        ended = await get(f"/jobs/{dead.pk}", key, **wishes)
        assert ended.status == 304  # nobody waits for what has ended
        job = await in_database(make_job)(alice)
        async with asked(f"/jobs/{job.pk}", key, Prefer=f"wait={FOREVER}") as (exchange, task):
            await watched(1)
            await in_database(Job.objects.filter(pk=job.pk).delete)()
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert exchange.status == 404

    async def test_a_key_that_is_revoked_meanwhile_gets_no_answer(self, key: str, job: Job) -> None:
        async with asked(f"/jobs/{job.pk}", key, Prefer=f"wait={FOREVER}") as (exchange, task):
            await watched(1)
            own = await in_database(ApiKey.objects.get)()
            await in_database(revoke_api_key)(own, actor="command:test")
            await in_database(services.cancel)(job, actor="command:test")
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert exchange.status == 401

    async def test_many_wait_with_one_read_and_a_client_that_leaves_is_forgotten(
        self, key: str, alice: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = [await in_database(make_job)(alice, queue=f"q{n}") for n in range(10)]
        reads: list[int] = []
        read = job_watch._read
        monkeypatch.setattr(job_watch, "_read", lambda ids: (reads.append(len(ids)), read(ids))[1])
        async with asyncio.timeout(PATIENCE_SECONDS):
            exchanges = [asked(f"/jobs/{one.pk}", key, Prefer="wait=60") for one in jobs]
            for exchange in exchanges:
                await exchange.__aenter__()
            await watched(10)
            while reads[-1:] != [10]:
                await asyncio.sleep(0.01)
            for exchange in exchanges:
                await exchange.__aexit__(None, None, None)

    async def test_a_tenant_has_so_many_waits_and_no_more(
        self, key: str, job: Job, settings: Any
    ) -> None:
        settings.JOBQUEUE = {"max_held_per_tenant": 1}
        async with asked(f"/jobs/{job.pk}", key, Prefer="wait=60"):
            await watched(1)
            second = await get(f"/jobs/{job.pk}", key, Prefer="wait=60")
            assert second.status == 200
            assert "preference-applied" not in second.headers


async def watched(count: int) -> None:
    """Wait until so many are waited for."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(job_watch) != count:
            await asyncio.sleep(0.01)


def claim(job: Job) -> None:
    assert store.claim(WORKER, [store.Share(job.lane_id, 1)], lease_seconds=30)


def extend(job: Job) -> None:
    job.refresh_from_db()
    store.extend([store.Lease(job.pk, job.fence)], lease_seconds=3_600)


def finish(job: Job) -> None:
    job.refresh_from_db()
    fate = {"lane_id": job.lane_id, "tenant_id": job.tenant_id, "status": Status.DONE}
    outcome = store.Outcome(job_id=job.pk, fence=job.fence, result=b"1", **fate)
    assert store.finish(WORKER, [outcome])
