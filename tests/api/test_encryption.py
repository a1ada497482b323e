"""A tenant that is encrypted at rest, over REST: plaintext for it, nothing of it in any table."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from jobs import services, store, tenant_keys
from jobs.fingerprint import fingerprint
from jobs.models import AuditEntry, Job, Line, Tenant, TenantKey
from tests.api.conftest import Caller, problem
from tests.encrypted import ACTOR, CANARY, FIRST, SECOND, encrypted, stored_text

pytestmark = pytest.mark.django_db
SECRET = {"card": CANARY}


@pytest.fixture(autouse=True)
def first_key(environment_holds: Callable[..., None]) -> None:
    """The environment has a key."""
    environment_holds(FIRST)


@pytest.fixture
def sealed(alice: Tenant) -> Tenant:
    """Alice, encrypted from the first job on."""
    return encrypted(alice)


def submit(api: Caller, **fields: Any) -> dict[str, Any]:
    """A job for a worker over REST."""
    return api.submit(**{"task": "remote:pay", "payload": SECRET, "tags": ["pay"]} | fields)


def leased(api: Caller) -> dict[str, Any]:
    """The one job that there is to lease."""
    (job,) = api.post("/leases", {"worker": "w"}).json()["jobs"]
    return dict(job)


def report(api: Caller, how: str, job: dict[str, Any], **fields: Any) -> Any:
    """What the worker is told about its report."""
    lease = {"job_id": job["id"], "fence": job["fence"], **fields}
    return api.post(f"/leases/{how}", {"leases": [lease]})


def bury(api: Caller, text: str = CANARY, **fields: Any) -> dict[str, Any]:
    """A dead letter whose error says this."""
    job = submit(api, **fields)
    error = {"type": "Refused", "message": f"{text} 17", "traceback": f"at {text}"}
    assert report(api, "fail", leased(api), error=error, retryable=False).status_code == 200
    found: dict[str, Any] = api.get(f"/jobs/{job['id']}").json()
    return found


def test_what_a_job_carries_is_told_and_is_in_no_table(api: Caller, sealed: Tenant) -> None:
    job = submit(api, idempotency_key="k1")
    assert job["payload"] == SECRET
    assert leased(api)["payload"] == SECRET
    api.post("/jobs", {"task": "remote:pay", "payload": [CANARY], "queue": "second"})
    second = leased(api)
    assert report(api, "ack", second, result={"paid": CANARY}).json()["results"][0]["ok"]
    assert api.get(f"/jobs/{second['id']}").json()["result"] == {"paid": CANARY}
    dead = bury(api, queue="third")
    assert dead["error"] == {"type": "Refused", "message": f"{CANARY} 17"}
    assert dead["attempts"][0]["error"]["message"] == f"{CANARY} 17"
    assert dead["attempts"][0]["traceback"] == f"at {CANARY}"
    assert dead["unreadable"] is None
    assert CANARY not in stored_text()


def test_canary_would_be_seen(api: Caller, alice: Tenant) -> None:
    submit(api)
    assert CANARY in stored_text()


def test_log_lines_are_sealed_and_told(api: Caller, sealed: Tenant) -> None:
    submit(api)
    job = leased(api)
    store.keep_log([logged(job)])
    (line,) = api.get(f"/jobs/{job['id']}/logs").json()["results"]
    assert line["message"] == f"charged {CANARY}"
    assert CANARY not in stored_text()
    tenant_keys.erase(sealed, actor=ACTOR)
    assert "erased" in api.get(f"/jobs/{job['id']}/logs").json()["results"][0]["message"]


def logged(job: dict[str, Any]) -> store.Logged:
    """A line of its attempt."""
    return store.Logged(
        job_id=uuid.UUID(job["id"]),
        fence=job["fence"],
        attempt=1,
        number=1,
        at=datetime.now(UTC),
        level=20,
        message=f"charged {CANARY}",
    )


def test_bulk_submissions_are_sealed_each_for_its_job(api: Caller, sealed: Tenant) -> None:
    jobs = [{"task": "remote:pay", "payload": [CANARY, n]} for n in range(5)]
    ids = api.post("/jobs/bulk", {"jobs": jobs}).json()["ids"]
    assert [api.get(f"/jobs/{one}").json()["payload"][1] for one in ids] == list(range(5))
    assert CANARY not in stored_text()


def test_lists_exports_and_dead_letters_show_plaintext(api: Caller, sealed: Tenant) -> None:
    bury(api)
    assert api.get("/jobs?tag=pay").json()["results"][0]["payload"] == SECRET
    assert CANARY in api.get("/dlq").json()["results"][0]["error"]["message"]
    export = b"".join(api.get("/jobs/export?format=csv").streaming_content)
    assert export.count(CANARY.encode()) == 2


def test_idempotency_holds_over_sealed_hashes_and_a_rotation(api: Caller, sealed: Tenant) -> None:
    body = {"task": "remote:pay", "payload": 1, "idempotency_key": "order"}
    job = api.submit(**body)
    assert api.post("/jobs", body).json()["id"] == job["id"]
    tenant_keys.rotate(sealed, actor=ACTOR)
    assert api.post("/jobs", body).json()["id"] == job["id"]
    problem(api.post("/jobs", {**body, "payload": 2}), 422, "idempotency_mismatch")
    assert Job.objects.get().request_hash != ""
    assert len(Job.objects.get().request_hash) <= 64


def test_repeat_that_cannot_be_compared_is_not_told_that_it_differs(
    api: Caller, sealed: Tenant, environment_holds: Callable[..., None]
) -> None:
    body = {"task": "remote:pay", "payload": 1, "idempotency_key": "order"}
    job = api.submit(**body)
    environment_holds(SECOND, FIRST)
    tenant_keys.rotate(sealed, actor=ACTOR)
    environment_holds(SECOND)
    problem(api.post("/jobs", body), 503, "encryption_key_missing")
    environment_holds(SECOND, FIRST)
    assert api.post("/jobs", body).json()["id"] == job["id"]
    tenant_keys.erase(sealed, actor=ACTOR)
    encrypted(sealed)
    told = problem(api.post("/jobs", body), 409, "encryption_key_erased")
    assert "idempotency key" in told["detail"]


def test_repeated_reports_are_answered_as_before(api: Caller, sealed: Tenant) -> None:
    submit(api)
    job = leased(api)
    for _ in range(2):
        assert report(api, "ack", job, result=[CANARY]).json()["results"][0]["ok"]
    other = report(api, "ack", job, result=[0]).json()["results"][0]
    assert (other["ok"], other["code"]) == (False, "already_finished")


def test_error_texts_are_not_searched_but_their_kinds_are_found(
    api: Caller, sealed: Tenant
) -> None:
    first, second = bury(api), bury(api, queue="other")
    for part in (CANARY, "a", "encrypted", ":"):
        assert api.get(f'/jobs?filter=error:"{part}"').json()["results"] == []
    (kind,) = {fingerprint(stored) for stored in _messages()}
    found = api.get(f'/jobs?filter=message:"{kind}"').json()["results"]
    assert {job["id"] for job in found} == {first["id"], second["id"]}
    assert api.get("/jobs?filter=error:refused").json()["results"] != []


@pytest.mark.parametrize("text", [f"error:{CANARY}", "error:other", CANARY, 'message:"other #"'])
def test_of_what_is_not_known_to_match_neither_a_text_nor_its_negation_is_found(
    api: Caller, sealed: Tenant, text: str
) -> None:
    bury(api)
    for wanted in (text, f"-{text} status:DLQ"):
        asked = {"action": "discard", "filter": wanted, "dry_run": True}
        assert api.post("/operations", asked).json()["count"] == 0


def test_dead_letters_that_could_never_run_stay_dead(api: Caller, sealed: Tenant) -> None:
    bury(api)
    tenant_keys.erase(sealed, actor=ACTOR)
    encrypted(sealed)
    lives = bury(api)
    moved = api.post("/dlq/redrive", {"queue": "default"}).json()
    assert moved["ids"] == [lives["id"]]


def test_a_dead_letter_whose_key_was_erased_says_why_it_is_not_retried(
    api: Caller, sealed: Tenant
) -> None:
    dead = bury(api)
    tenant_keys.erase(sealed, actor=ACTOR)
    told = problem(api.post(f"/jobs/{dead['id']}/retry"), 409, "encryption_key_erased")
    assert "never run" in told["detail"]
    problem(api.post(f"/jobs/{dead['id']}/cancel"), 409, "status_conflict")
    assert api.call("DELETE", f"/dlq/{dead['id']}").status_code == 204


def _messages() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT error_message FROM jobs_job")
        return [message for (message,) in cursor.fetchall()]


def test_swapped_values_are_refused(api: Caller, sealed: Tenant) -> None:
    mine, other = submit(api, payload="mine"), submit(api, payload="other")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_job SET payload = (SELECT payload FROM jobs_job WHERE id = %s)"
            " WHERE id = %s",
            [_id(other), _id(mine)],
        )
    shown = api.get(f"/jobs/{mine['id']}").json()
    assert (shown["payload"], shown["unreadable"]) == (None, "seal_broken")
    jobs = api.post("/leases", {"max_jobs": 5, "worker": "w"}).json()["jobs"]
    assert [job["id"] for job in jobs] == [other["id"]]
    dead = api.get(f"/jobs/{mine['id']}").json()
    assert (dead["status"], dead["error"]["type"]) == ("DLQ", "seal_broken")


def test_plain_payload_in_place_of_a_sealed_one_is_not_handed_out(
    api: Caller, sealed: Tenant
) -> None:
    job = submit(api)
    Job.objects.update(payload=b'"forged"')
    assert api.post("/leases", {"worker": "w"}).json()["jobs"] == []
    dead = api.get(f"/jobs/{job['id']}").json()
    assert (dead["status"], dead["error"]["type"]) == ("DLQ", "seal_broken")


def _id(job: dict[str, Any]) -> str:
    found = uuid.UUID(job["id"])
    return found.hex if connection.vendor == "sqlite" else str(found)


def test_job_waits_unspent_while_the_environment_lacks_its_key(
    api: Caller, sealed: Tenant, environment_holds: Callable[..., None]
) -> None:
    job = submit(api)
    environment_holds(SECOND)
    problem(api.post("/jobs", {"task": "remote:pay"}), 503, "encryption_key_missing")
    assert api.post("/leases", {"worker": "w"}).json()["jobs"] == []
    shown = api.get(f"/jobs/{job['id']}").json()
    assert (shown["status"], shown["attempt"]) == ("PENDING", 0)
    assert (shown["payload"], shown["unreadable"]) == (None, "encryption_key_missing")
    gates = api.get(f"/jobs/{job['id']}/why").json()["gates"]
    assert gates[0]["code"] == "encryption_key_missing"
    assert "'first'" in gates[0]["text"]
    environment_holds(SECOND, FIRST)
    assert leased(api)["payload"] == SECRET


def test_job_whose_last_error_alone_cannot_be_read_is_leased(api: Caller, alice: Tenant) -> None:
    job = submit(api)
    first = leased(api)
    encrypted(alice)
    error = {"type": "Refused", "message": CANARY}
    assert report(api, "fail", first, error=error, retry_in_seconds=0).status_code == 200
    tenant_keys.erase(alice, actor=ACTOR)
    encrypted(alice)
    services.retry(Job.objects.get(), actor=ACTOR)
    again = leased(api)
    assert (again["id"], again["payload"], again["attempt"]) == (job["id"], SECRET, 2)


def test_result_is_reported_when_the_key_is_back(
    api: Caller, sealed: Tenant, environment_holds: Callable[..., None]
) -> None:
    submit(api)
    job = leased(api)
    environment_holds()
    for how in ("ack", "fail"):
        answer = report(api, how, job)
        problem(answer, 503, "encryption_key_missing")
        assert answer.headers["Retry-After"]
    assert report(api, "heartbeat", job).json()["results"][0]["ok"]
    environment_holds(FIRST)
    assert report(api, "ack", job, result=1).json()["results"][0]["ok"]


def test_erased_key_erases_what_it_sealed_and_breaks_nothing(api: Caller, sealed: Tenant) -> None:
    dead, job = bury(api), submit(api, queue="later")
    tenant_keys.erase(sealed, actor=ACTOR)
    shown = api.get(f"/jobs/{dead['id']}").json()
    assert (shown["payload"], shown["unreadable"]) == (None, "encryption_key_erased")
    assert "erased" in shown["error"]["message"]
    assert "erased" in shown["attempts"][0]["traceback"]
    assert api.get("/jobs").json()["results"][0]["unreadable"] == "encryption_key_erased"
    problem(api.post("/jobs", {"task": "remote:pay"}), 409, "encryption_key_erased")
    assert api.post("/leases", {"worker": "w"}).json()["jobs"] == []
    (gate, *_) = api.get(f"/jobs/{job['id']}/why").json()["gates"]
    assert gate["code"] == "encryption_key_erased"
    assert "only be cancelled" in gate["text"]
    assert api.post(f"/jobs/{job['id']}/cancel").json()["status"] == "CANCELLED"
    export = b"".join(api.get("/jobs/export?format=jsonl").streaming_content)
    assert b"encryption_key_erased" in export
    assert TenantKey.objects.get().wrapped == b""


def test_erased_tenant_can_begin_anew(api: Caller, sealed: Tenant) -> None:
    lost = submit(api)
    tenant_keys.erase(sealed, actor=ACTOR)
    encrypted(sealed)
    job = submit(api)
    assert leased(api)["id"] == job["id"]
    assert api.get(f"/jobs/{lost['id']}").json()["status"] == "PENDING"
    assert api.get(f"/jobs/{lost['id']}").json()["unreadable"] == "encryption_key_erased"


def test_edited_redrive_is_sealed_with_the_present_key(api: Caller, sealed: Tenant) -> None:
    from_before = bury(api)
    tenant_keys.erase(sealed, actor=ACTOR)
    encrypted(sealed)
    job = Job.objects.get(pk=from_before["id"])
    services.redrive([job.pk], actor=ACTOR, tenant=sealed, payload=b'["mended"]')
    assert leased(api)["payload"] == ["mended"]
    assert "mended" not in stored_text()


def test_rotation_seals_anew_while_jobs_run(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    dead, waiting = bury(api), submit(api)
    running = leased(api)
    store.keep_log([logged(running)])
    submit(api, payload=[CANARY, "waits"], idempotency_key="k")
    assert CANARY in stored_text()
    encrypted(alice)
    progress = tenant_keys.seal_earlier(alice)
    assert (progress.total, progress.running, progress.unreadable) == (3, 1, 0)
    assert CANARY not in stored_text()
    assert report(api, "ack", running, result=[CANARY]).json()["results"][0]["ok"]
    old = alice.key_id
    tenant_keys.rotate(alice, actor=ACTOR)
    assert tenant_keys.seal_earlier(alice).unreadable == 0
    TenantKey.objects.filter(pk=old).delete()
    environment = api.get(f"/jobs/{dead['id']}").json()
    assert environment["attempts"][0]["traceback"] == f"at {CANARY}"
    assert api.get(f"/jobs/{waiting['id']}").json()["result"] == [CANARY]
    assert leased(api)["payload"] == [CANARY, "waits"]
    assert CANARY not in stored_text()
    assert set(Line.objects.filter(job__isnull=False).values_list("key_id", flat=True)) == {
        alice.key_id
    }


def test_sealing_again_finds_nothing_to_do(
    api: Caller, sealed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    bury(api)
    assert tenant_keys.seal_earlier(sealed).sealed == 0


def test_keys_and_what_was_done_to_them_are_in_the_audit_log(api: Caller, sealed: Tenant) -> None:
    tenant_keys.rotate(sealed, actor=ACTOR)
    tenant_keys.erase(sealed, actor=ACTOR)
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"encrypt_tenant", "rotate_tenant_key", "erase_tenant_key"} <= actions


def test_other_tenants_are_as_before(api: Caller, stranger: Caller, sealed: Tenant) -> None:
    job = submit(stranger)
    assert leased(stranger)["payload"] == SECRET
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM jobs_job")
        assert [bytes(payload)[:1] for (payload,) in cursor.fetchall()] == [b"{"]
    problem(api.get(f"/jobs/{job['id']}"), 404, "not_found")
