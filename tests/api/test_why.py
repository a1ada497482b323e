"""The API tells why a job waits."""

import pytest

from jobs.models import Tenant
from jobs.services import change_limits
from jobs.store import Share, claim
from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db


def test_the_gates_of_a_job_are_told_with_codes_and_figures(api: Caller, alice: Tenant) -> None:
    api.submit()
    change_limits(alice, actor="command:test", max_running=1, starts_per_minute=1)
    assert len(claim("w", [Share(alice.lanes.get().pk, 1)], lease_seconds=30)) == 1
    answer = api.get(f"/jobs/{api.submit()['id']}/why").json()
    assert answer["status"] == "PENDING"
    assert answer["text"] == answer["gates"][0]["text"]
    told = [(gate["code"], gate["used"], gate["limit"]) for gate in answer["gates"]]
    assert told == [
        ("tenant_limit", 1, 1),
        ("tenant_rate", None, 1),
        ("no_worker", None, None),
        ("in_line", 0, None),
    ]
    assert [gate["opens_at"] is not None for gate in answer["gates"]] == [False, True, False, False]
    assert answer["gates"][1]["opens_at"] > api.submit()["created_at"]


def test_a_gate_of_time_says_when_it_opens(api: Caller) -> None:
    job = api.submit(delay_seconds=60)
    (gate, _) = api.get(f"/jobs/{job['id']}/why").json()["gates"]
    assert (gate["code"], gate["opens_at"]) == ("scheduled", job["run_at"])


def test_a_strangers_job_is_not_explained(api: Caller, stranger: Caller) -> None:
    assert stranger.get(f"/jobs/{api.submit()['id']}/why").status_code == 404
