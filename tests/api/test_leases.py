"""Workers in any language: which jobs they get, and how they are known. Rows 91 to 96."""

from datetime import timedelta

import pytest
from django.db.models import F

from jobs import leases, services
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from jobs.why import explain
from tests.api.conftest import Caller, problem
from tests.api.lease_steps import LONG_AGO, held, lease, lease_one, report, row, told
from tests.factories import make_job

pytestmark = pytest.mark.django_db
ACTOR = "command:test"


class TestGranting:
    def test_a_job_of_a_task_that_nobody_here_knows_is_leased_and_done(self, api: Caller) -> None:
        job = lease_one(api, payload={"exact": 1.10}, queue="pictures")
        assert (job["status"], job["attempt"], job["fence"]) == ("RUNNING", 1, 1)
        assert job["lease_expires_at"]
        (result,) = report(api, "ack", held(job, result={"width": 640}))
        assert (result["ok"], result["status"]) == (True, "DONE")
        assert api.get(f"/jobs/{job['id']}").json()["result"] == {"width": 640}

    def test_payload_and_result_keep_their_bytes(self, api: Caller) -> None:
        body = b'{"task": "remote:x", "payload": {"b": 1.10,  "a": 12345678901234567890123}}'
        assert api.post("/jobs", raw=body).status_code == 201
        answer = api.post("/leases", {})
        assert b'{"b": 1.10,  "a": 12345678901234567890123}' in answer.content
        (job,) = answer.json()["jobs"]
        text = b'{"leases": [{"job_id": "%b", "fence": 1, "result": [1.50, 1e2]}]}'
        assert api.post("/leases/ack", raw=text % job["id"].encode()).status_code == 200
        assert bytes(row(job).result or b"") == b"[1.50, 1e2]"

    def test_the_best_come_first_and_no_more_than_asked_for(self, api: Caller) -> None:
        low, high, normal = (
            api.submit(task="remote:x", priority=priority)["id"]
            for priority in ("low", "high", "normal")
        )
        assert [job["id"] for job in lease(api, max_jobs=2)] == [high, normal]
        assert [job["id"] for job in lease(api, max_jobs=100)] == [low]
        assert lease(api) == []

    def test_only_queues_tasks_and_tags_that_the_worker_names(self, api: Caller) -> None:
        here = api.submit(task="remote:a", queue="here")["id"]
        other = api.submit(task="remote:b", queue="here")["id"]
        tagged = api.submit(task="remote:a", queue="here", worker_tags=["gpu", "linux"])["id"]
        there = api.submit(task="remote:a", queue="there")["id"]
        wish = {"queues": ["here", "unheard-of"], "tasks": ["remote:a"], "max_jobs": 10}
        assert lease(api, queues=["unheard-of"]) == []
        assert [job["id"] for job in lease(api, **wish)] == [here]
        assert lease(api, **wish, tags=["gpu"]) == []
        assert [job["id"] for job in lease(api, **wish, tags=["gpu", "linux", "x"])] == [tagged]
        assert {job["id"] for job in lease(api, max_jobs=10)} == {other, there}

    def test_tasks_that_tenants_may_call_can_be_leased_too(self, api: Caller) -> None:
        job = api.submit(task="echo", payload=1)["id"]
        assert lease(api, tasks=["remote:x", "sleep"]) == []
        assert [job["id"] for job in lease(api)] == [job]

    def test_tasks_that_only_python_may_call_are_never_leased(
        self, api: Caller, alice: Tenant
    ) -> None:
        make_job(alice, task="tests.workers.tasks.add")
        assert lease(api, max_jobs=10) == []

    def test_two_workers_never_get_the_same_job(self, api: Caller, alice: Tenant) -> None:
        for _ in range(6):
            make_job(alice, task="remote:x")
        got = [job["id"] for _ in range(3) for job in lease(api, max_jobs=2)]
        assert len(got) == len(set(got)) == 6

    def test_queues_take_turns(self, api: Caller, alice: Tenant) -> None:
        for queue in ("a", "b"):
            for _ in range(4):
                make_job(alice, task="remote:x", queue=queue)
        queues = [job["queue"] for _ in range(4) for job in lease(api)]
        assert sorted(queues) == ["a", "a", "b", "b"]

    def test_too_much_for_one_answer_stays_in_the_queue(
        self, api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.leases.MAX_PAYLOADS_BYTES", 25)
        for _ in range(3):
            make_job(alice, task="remote:x", payload=b'"0123456789"')
        assert len(lease(api, max_jobs=3)) == 2
        left = Job.objects.get(status=Status.PENDING)
        assert (left.attempt, left.worker) == (0, "")

    def test_a_poll_without_waiting_is_told_when_to_come_again(self, api: Caller) -> None:
        response = api.post("/leases", {"wait_seconds": 3_600})
        assert response.json() == {"jobs": [], "poll_after_seconds": 1, "reason": None}
        assert response["Retry-After"] == "1"

    def test_the_lease_lasts_as_long_as_asked_for(self, api: Caller) -> None:
        api.submit(task="remote:x")
        (job,) = lease(api, lease_seconds=600)
        lasts = row(job).lease_expires_at - row(job).started_at
        assert 590 < lasts.total_seconds() < 610


class TestLimits:
    def test_a_tenants_limit_holds(self, api: Caller, alice: Tenant) -> None:
        services.change_limits(alice, actor=ACTOR, max_running=2)
        for _ in range(4):
            make_job(alice, task="remote:x")
        first, second = lease(api, max_jobs=3)
        assert lease(api, max_jobs=3) == []
        report(api, "ack", held(first))
        assert len(lease(api, max_jobs=3)) == 1
        report(api, "release", held(second))
        assert len(lease(api, max_jobs=3)) == 1

    def test_the_limit_of_a_task_holds(self, api: Caller, alice: Tenant) -> None:
        services.set_task_limit(alice, "remote:x", actor=ACTOR, max_running=1)
        for task in ("remote:x", "remote:x", "remote:y"):
            make_job(alice, task=task)
        assert sorted(job["task"] for job in lease(api, max_jobs=3)) == ["remote:x", "remote:y"]

    def test_a_pace_holds(self, api: Caller, alice: Tenant) -> None:
        services.change_limits(alice, actor=ACTOR, starts_per_minute=1, start_burst=2)
        for _ in range(3):
            make_job(alice, task="remote:x")
        assert len(lease(api, max_jobs=3)) == 2
        assert lease(api, max_jobs=3) == []

    def test_a_paused_queue_starts_nothing(self, api: Caller, alice: Tenant) -> None:
        make_job(alice, task="remote:x")
        services.set_queue_paused(alice, "default", paused=True, actor=ACTOR)
        assert lease(api) == []
        services.set_queue_paused(alice, "default", paused=False, actor=ACTOR)
        assert len(lease(api)) == 1

    def test_a_worker_whose_queues_are_all_paused_is_told(self, api: Caller, alice: Tenant) -> None:
        for queue in ("a", "b"):
            make_job(alice, task="remote:x", queue=queue)
        pause = {"paused": True, "actor": ACTOR}
        services.set_queue_paused(alice, "a", **pause)

        def reason(**wish: object) -> object:
            told = api.post("/leases", {"tasks": ["remote:y"], **wish}).json()
            assert told["jobs"] == []
            return told["reason"]

        assert reason(queues=["a"]) == "queue_paused"
        assert [reason(), reason(queues=["a", "b"]), reason(queues=["a", "new"])] == [None] * 3
        services.set_queue_paused(alice, "b", **pause)
        assert [reason(), reason(queues=["a", "b"])] == ["queue_paused"] * 2
        assert reason(queues=["new"]) is None

    def test_a_tenant_that_is_switched_off_gets_nothing_and_may_finish(
        self, api: Caller, alice: Tenant
    ) -> None:
        job = lease_one(api)
        services.change_limits(alice, actor=ACTOR, is_active=False)
        problem(api.post("/leases", {}), 403, "tenant_inactive")
        assert told(api, "heartbeat", held(job)) == [None]
        assert told(api, "ack", held(job)) == [None]


class TestWorkers:
    def test_a_worker_that_polls_is_known_for_its_tasks(self, api: Caller, alice: Tenant) -> None:
        lease(api, worker="gpu-1", tasks=["remote:x"], tags=["gpu"], max_jobs=3)
        worker = Worker.objects.get()
        assert worker.pk.endswith("/gpu-1")
        assert (worker.tenant, worker.tasks, worker.tags) == (alice, ["remote:x"], ["gpu"])
        assert (worker.slots, worker.running) == (3, 0)
        job = make_job(alice, task="remote:x", worker_tags=("gpu",))
        assert [gate.code for gate in explain(job).gates] == ["in_line"]
        strange = make_job(alice, task="remote:y", worker_tags=("gpu",))
        assert explain(strange).gates[0].code == "no_worker_for_task"

    def test_a_worker_without_tasks_is_known_for_all_that_tenants_may_run(
        self, api: Caller, alice: Tenant
    ) -> None:
        lease(api)
        assert [gate.code for gate in explain(make_job(alice, task="remote:x")).gates] == [
            "in_line"
        ]
        internal = make_job(alice, task="tests.workers.tasks.add")
        assert explain(internal).gates[0].code == "no_worker_for_task"

    def test_a_job_is_on_the_worker_that_leased_it(self, api: Caller) -> None:
        api.submit(task="remote:x")
        (job,) = lease(api, worker="gpu-1", max_jobs=2)
        assert job["worker"] == Worker.objects.get().pk
        worker = Worker.objects.get()
        assert (worker.slots, worker.running) == (2, 1)
        assert job["worker"] in explain(row(job)).text

    def test_a_worker_keeps_its_row_and_heartbeats_keep_it_alive(self, api: Caller) -> None:
        api.submit(task="remote:x")
        (job,) = lease(api, worker="a")
        lease(api, worker="a", queues=["q"])
        Worker.objects.update(seen_at=F("seen_at") - LONG_AGO)
        leases._noted.clear()
        report(api, "heartbeat", held(job))
        worker = Worker.objects.get()
        assert worker.seen_at > worker.started_at - timedelta(minutes=30)

    def test_a_heartbeat_counts_what_a_busy_worker_runs(
        self, api: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leases, "COUNTED_EVERY_SECONDS", 600)
        for _ in range(2):
            api.submit(task="remote:x")
        first, second = (lease(api)[0] for _ in range(2))
        assert Worker.objects.get().running == 1  # each seemed to take the place of the one before
        leases._noted.clear()
        report(api, "heartbeat", held(first), held(second))
        worker = Worker.objects.get()
        assert (worker.running, worker.slots) == (2, 2)

    def test_names_are_bounded_and_forgotten(
        self, api: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.leases.MAX_WORKERS", 2)
        for name in ("a", "b"):
            lease(api, worker=name)
        job = api.submit(task="remote:x")
        problem(api.post("/leases", {"worker": "c"}), 409, "too_many_workers")
        assert row(job).status == "PENDING"
        Worker.objects.filter(pk__endswith="/a").update(seen_at=F("seen_at") - 2 * LONG_AGO)
        lease(api, worker="c")
        assert sorted(worker.pk[-1] for worker in Worker.objects.all()) == ["b", "c"]

    def test_jobs_that_cannot_be_handed_out_go_back(
        self, alice: Tenant, api: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: object, **options: object) -> None:
            raise RuntimeError("in the middle")

        job = api.submit(task="remote:x")
        monkeypatch.setattr(leases, "_note", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            leases.lease(leases.Wish(tenant=alice, worker="rest/key/w"))
        assert (row(job).status, row(job).attempt, row(job).fence) == ("PENDING", 0, 1)
