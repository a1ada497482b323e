"""Bad input of workers, and what they try on strangers' jobs. Rows 91 to 113."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from jobs.keys import create_api_key
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from jobs.why import explain
from tests.api.conftest import Caller, problem
from tests.api.lease_steps import held, lease, lease_one, report, row, told
from tests.factories import make_job

pytestmark = pytest.mark.django_db
ACTOR = "command:test"


BAD_WISHES = [
    ({"max_jobs": 0}, "out_of_range"),
    ({"max_jobs": -1}, "out_of_range"),
    ({"max_jobs": 1_000_000}, "out_of_range"),
    ({"max_jobs": True}, "invalid_type"),
    ({"lease_seconds": 0}, "out_of_range"),
    ({"lease_seconds": 864_000}, "out_of_range"),
    ({"lease_seconds": "30"}, "invalid_type"),
    ({"wait_seconds": -1}, "out_of_range"),
    ({"wait_seconds": 1e300}, "out_of_range"),
    ({"queues": "default"}, "invalid_type"),
    ({"queues": ["a b"]}, "invalid_name"),
    ({"queues": [f"q{n}" for n in range(101)]}, "out_of_range"),
    ({"tasks": ["resize"]}, "unknown_task"),
    ({"tasks": ["remote:"]}, "unknown_task"),
    ({"tasks": ["jobs.tasks.echo"]}, "unknown_task"),
    ({"tags": [1]}, "invalid_type"),
    ({"worker": "a/b"}, "invalid_name"),
    ({"worker": "x" * 51}, "invalid_name"),
    ({"max": 1}, "unknown_field"),
]
SOME = "0197f3c2-5a7b-7c1e-9d3f-2b6a8e4c1d05"
BAD_ITEMS = [
    ("ack", {"fence": 1}, "missing_field", "/leases/0/job_id"),
    ("ack", {"job_id": SOME}, "missing_field", "/leases/0/fence"),
    ("ack", {"job_id": "1", "fence": 1}, "invalid_id", "/leases/0/job_id"),
    ("ack", {"job_id": SOME, "fence": 0}, "out_of_range", "/leases/0/fence"),
    ("ack", {"job_id": SOME, "fence": 2**63}, "out_of_range", "/leases/0/fence"),
    ("ack", {"job_id": SOME, "fence": "1"}, "invalid_type", "/leases/0/fence"),
    ("ack", {"job_id": SOME, "fence": 1, "error": {}}, "unknown_field", "/leases/0/error"),
    ("ack", [SOME, 1], "not_an_object", "/leases/0"),
    ("heartbeat", {"job_id": SOME, "fence": 1, "result": 1}, "unknown_field", "/leases/0/result"),
    ("fail", {"job_id": SOME, "fence": 1, "retry_in_seconds": -5}, "out_of_range", None),
    ("fail", {"job_id": SOME, "fence": 1, "retry_in_seconds": 3e8}, "out_of_range", None),
    ("fail", {"job_id": SOME, "fence": 1, "retry_in_seconds": "soon"}, "invalid_type", None),
    ("fail", {"job_id": SOME, "fence": 1, "retryable": 1}, "invalid_type", None),
    ("fail", {"job_id": SOME, "fence": 1, "error": "bad"}, "not_an_object", "/leases/0/error"),
    ("fail", {"job_id": SOME, "fence": 1, "error": {"x": 1}}, "unknown_field", None),
]


class TestBadInput:
    @pytest.mark.parametrize(("wish", "code"), BAD_WISHES, ids=range(len(BAD_WISHES)))
    def test_an_impossible_wish_is_refused(
        self, api: Caller, wish: dict[str, Any], code: str
    ) -> None:
        job = api.submit(task="remote:x")
        found = problem(api.post("/leases", wish), 400, code)
        assert found["errors"][0]["pointer"].startswith(f"/{next(iter(wish))}")
        assert row(job).status == Status.PENDING

    @pytest.mark.usefixtures("nothing_lost")
    @pytest.mark.parametrize(
        ("call", "item", "code", "pointer"), BAD_ITEMS, ids=range(len(BAD_ITEMS))
    )
    def test_an_item_that_cannot_be_read_is_pointed_at(
        self, api: Caller, call: str, item: Any, code: str, pointer: str | None
    ) -> None:
        found = problem(api.post(f"/leases/{call}", {"leases": [item]}), 400, code)
        if pointer:
            assert found["errors"][0]["pointer"] == pointer

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "invalid_type"),
            ({"leases": {}}, "invalid_type"),
            ({"leases": []}, "out_of_range"),
            ({"leases": [{"job_id": SOME, "fence": 1}], "tenant": 1}, "unknown_field"),
        ],
    )
    @pytest.mark.parametrize("call", ["heartbeat", "ack", "fail", "release"])
    def test_a_body_that_reports_nothing_is_refused(
        self, api: Caller, call: str, body: dict[str, Any], code: str
    ) -> None:
        problem(api.post(f"/leases/{call}", body), 400, code)

    @pytest.mark.parametrize(
        ("call", "first", "second"),
        [("ack", {"result": 1}, {"result": 2}), ("fail", {}, {"retryable": False})],
    )
    def test_two_outcomes_of_a_lease_are_refused_as_a_whole(
        self, api: Caller, call: str, first: dict[str, Any], second: dict[str, Any]
    ) -> None:
        job, other = lease_one(api), lease_one(api)
        items = [held(other), held(job, **first), held(job, **second)]
        found = problem(api.post(f"/leases/{call}", {"leases": items}), 400, "repeated_job")
        assert found["errors"][0]["pointer"] == "/leases/2/job_id"
        assert (row(job).status, row(other).status) == ("RUNNING", "RUNNING")

    @pytest.mark.parametrize("path", ["", "/heartbeat", "/ack", "/fail", "/release"])
    @pytest.mark.parametrize("scopes", [("read", "submit")])
    def test_a_key_needs_the_scope(
        self,
        alice: Tenant,
        caller_of: Callable[..., Caller],
        path: str,
        scopes: tuple[str, ...],
    ) -> None:
        problem(caller_of(alice, *scopes).post(f"/leases{path}", {}), 403, "insufficient_scope")
        assert caller_of(alice, "work").post(f"/leases{path}", {}).status_code in {200, 400}

    def test_a_submitted_remote_name_is_checked(self, api: Caller) -> None:
        for task in ("remote:a b", "remote:", "remote:" + "x" * 128):
            response = api.post("/jobs", {"task": task})
            assert response.status_code == 400, task
            assert response.json()["errors"][0]["pointer"] == "/task"


class TestTenants:
    @pytest.mark.parametrize("call", ["heartbeat", "ack", "fail", "release"])
    def test_a_strangers_lease_is_as_absent_as_a_random_one(
        self, api: Caller, stranger: Caller, call: str
    ) -> None:
        job = lease_one(api)
        before = Job.objects.values().get()
        random = {"job_id": str(uuid.uuid4()), "fence": 1}
        foreign, absent = report(stranger, call, held(job), random)
        assert foreign | {"job_id": ""} == absent | {"job_id": ""}
        assert foreign["code"] == "not_found"
        assert Job.objects.values().get() == before
        assert told(api, "ack", held(job)) == [None]

    def test_everybody_leases_their_own(
        self, api: Caller, stranger: Caller, alice: Tenant, mallory: Tenant
    ) -> None:
        mine, theirs = make_job(alice, task="remote:x"), make_job(mallory, task="remote:x")
        assert [job["id"] for job in lease(stranger, max_jobs=10)] == [str(theirs.pk)]
        assert [job["id"] for job in lease(api, max_jobs=10)] == [str(mine.pk)]

    def test_a_name_of_a_worker_is_not_shared(self, api: Caller, stranger: Caller) -> None:
        lease(api, worker="w")
        lease(stranger, worker="w", queues=["other"])
        assert Worker.objects.filter(tenant__slug="alice").get().queues == []
        assert Worker.objects.count() == 2

    def test_a_strangers_worker_explains_nothing(
        self, api: Caller, stranger: Caller, alice: Tenant
    ) -> None:
        job = make_job(alice, task="remote:x")
        lease(stranger, tasks=["remote:x"])
        assert [gate.code for gate in explain(job).gates] == ["no_worker", "in_line"]


class TestKeysOfSomeQueues:
    @pytest.fixture
    def mailer(self, alice: Tenant) -> Caller:
        """A key for the queue `mail` alone."""
        key = create_api_key(alice, scopes=["work"], queues=["mail"], actor=ACTOR)[1]
        return Caller(key)

    def test_it_leases_from_its_queues_alone(self, mailer: Caller, alice: Tenant) -> None:
        make_job(alice, task="remote:x", queue="other")
        own = make_job(alice, task="remote:x", queue="mail")
        problem(mailer.post("/leases", {"queues": ["mail", "other"]}), 403, "queue_not_allowed")
        assert [job["id"] for job in lease(mailer, max_jobs=10)] == [str(own.pk)]
        assert Worker.objects.get().queues == ["mail"]

    @pytest.mark.parametrize("call", ["heartbeat", "ack", "fail", "release"])
    def test_a_lease_in_another_queue_is_absent(
        self, api: Caller, mailer: Caller, call: str
    ) -> None:
        job = lease_one(api, queue="other")
        assert told(mailer, call, held(job)) == ["not_found"]
        assert row(job).status == Status.RUNNING
