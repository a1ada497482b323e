"""What tests of leases over REST are made of."""

from datetime import timedelta
from typing import Any

from django.db.models import F

from jobs import store
from jobs.models import Job
from tests.api.conftest import Caller

LONG_AGO = timedelta(hours=1)


def lease(caller: Caller, **fields: Any) -> list[dict[str, Any]]:
    """The jobs that the caller gets."""
    response = caller.post("/leases", fields)
    assert response.status_code == 200, response.content
    jobs: list[dict[str, Any]] = response.json()["jobs"]
    return jobs


def lease_one(caller: Caller, **fields: Any) -> dict[str, Any]:
    """Submit a job of a remote task and lease it."""
    submitted = caller.submit(**{"task": "remote:resize"} | fields)
    (job,) = lease(caller)
    assert job["id"] == submitted["id"]
    return job


def held(job: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The job as a report names it."""
    return {"job_id": job["id"], "fence": job["fence"], **more}


def report(caller: Caller, call: str, *items: dict[str, Any], **fields: Any) -> list[Any]:
    """What the caller is told of each."""
    response = caller.post(f"/leases/{call}", {"leases": list(items), **fields})
    assert response.status_code == 200, response.content
    results: list[Any] = response.json()["results"]
    return results


def told(caller: Caller, call: str, *items: dict[str, Any]) -> list[str | None]:
    """The code of each, None where it is accepted."""
    results = report(caller, call, *items)
    assert all(result["ok"] is (result["code"] is None) for result in results)
    return [result["code"] for result in results]


def take_away(job: dict[str, Any]) -> None:
    """Let the lease run out, and the reaper come."""
    Job.objects.filter(pk=job["id"]).update(lease_expires_at=F("lease_expires_at") - LONG_AGO)
    assert [str(taken) for taken in store.reap("reaper", lambda losses: 0)] == [job["id"]]


def row(job: dict[str, Any]) -> Job:
    return Job.objects.get(pk=job["id"])
