"""docs/worker-protocol.md tells the truth: each of its calls is made, and answered as it shows."""

import json
import re
from typing import Any

import pytest

from jobs.keys import create_api_key
from jobs.leases_reported import Refusal
from jobs.leases_requested import LEASE_FIELDS
from jobs.models import Job, Tenant
from tests.api.conftest import Caller
from tests.factories import make_job
from tests.harness import ROOT

pytestmark = pytest.mark.django_db
TEXT = (ROOT / "docs/worker-protocol.md").read_text()
CALLS = ("heartbeat", "ack", "fail", "release")


def section(title: str) -> str:
    """What stands below a heading."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def api(alice: Tenant) -> Caller:
    """Alice calls with a new key."""

    return Caller(create_api_key(alice, actor="command:test")[1])


def ask_for_jobs(api: Caller) -> Any:
    """The call that the page begins with, but for the wait."""
    body = section("POST /api/v1/leases").partition("application/json\n\n")[2].partition("\n")[0]
    return api.post("/leases", {**json.loads(body), "wait_seconds": 0}).json()


def test_the_submission_is_taken_and_leased_as_shown(api: Caller) -> None:
    submission = re.search(r"-d '(\{.*\})'", section("Tasks of your own"))
    assert submission
    job = api.submit(**json.loads(submission[1]))
    answer = ask_for_jobs(api)
    assert [leased["id"] for leased in answer["jobs"]] == [job["id"]]
    shown = section("POST /api/v1/leases").partition("200 OK\n\n")[2].partition("```")[0]
    members = set(re.findall(r'"(\w+)":', shown)) - {"image", "width"}
    assert members <= {*answer, *answer["jobs"][0]}
    assert answer["jobs"][0]["payload"] == {"image": 17, "width": 640}


@pytest.mark.parametrize("call", CALLS)
def test_a_report_is_answered_as_shown(api: Caller, alice: Tenant, call: str) -> None:
    make_job(alice, task="remote:resize", queue="pictures")
    (leased,) = ask_for_jobs(api)["jobs"]
    request, answer = re.findall(r"```json\n(.*?)```", section(f"POST /api/v1/leases/{call}"), re.S)
    body = json.loads(request)
    body["leases"][0]["job_id"] = leased["id"]
    (result,) = api.post(f"/leases/{call}", body).json()["results"]
    (shown,) = json.loads(answer)["results"]
    changing = {"job_id", "lease_expires_at"}
    assert {k: v for k, v in result.items() if k not in changing} == {
        k: v for k, v in shown.items() if k not in changing
    }
    assert (result["lease_expires_at"] is None) == (shown["lease_expires_at"] is None)
    assert Job.objects.get().status == shown["status"]


def test_every_member_and_every_code_is_explained() -> None:
    asked = re.findall(r"^\| `(\w+)` \|", section("POST /api/v1/leases"), re.M)
    assert set(asked) == set(LEASE_FIELDS)
    codes = re.findall(r"^\| `(\w+)` \|", section("What a result's code says"), re.M)
    assert set(codes) == set(Refusal)
