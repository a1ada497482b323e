"""Bad input that the tests of single calls leave out, and good input that looks bad.

Rows 14, 15, 45, 47, 48, 51, 73, 86, 103, 132 and 134 of the bad-input matrix, and its oracle (c):
what was accepted is delivered by everything that shows it.
"""

import json
from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db
lossless = pytest.mark.usefixtures("nothing_lost")

ODD_PAYLOADS = {
    "null": "null",
    "empty text": '""',
    "JSON in a string": '"{\\"a\\": [1]}"',
    "more digits than a double has": "0.1234567890123456789012345678901234567890",
    "larger than any integer of a database": "1" + "0" * 4_000,
    "rounded to zero": "1e-400",
    "deep": "[" * 64 + "]" * 64,
    "keys of other languages": '{"__proto__": 1, "constructor": 2, "$where": 3, "__class__": 4}',
    "markup": '{"<script>alert(1)</script>": "{{ 7*7 }} {% debug %} </pre><!--"}',
    "a spreadsheet's formula": '["=cmd()|A1", "+1", "-1", "@x", "\\t=1"]',
    "a terminal's commands": '"\\u001b[2J\\u0007\\u009b31m"',
    "writing from right to left": '"\\u202eevil\\u200b\\ufeff"',
    "a character in two forms": '["\\u00e9", "e\\u0301", "\U0001f600", "\\ud83d\\ude00"]',
    "line separators": '"\\u2028\\u2029\\r\\n"',
    "50,000 keys": "{" + ",".join(f'"{n}":{n}' for n in range(50_000)) + "}",
}


@pytest.fixture
def root(db: None) -> Client:
    """Somebody who may see everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("name", ODD_PAYLOADS)
def test_what_is_accepted_is_delivered_by_everything(api: Caller, root: Client, name: str) -> None:
    source = ODD_PAYLOADS[name].encode()
    body = b'{"task": "remote:x", "payload": ' + source + b"}"
    job_id = api.post("/jobs", raw=body).json()["id"]
    shown = b'"payload": ' + source + b', "result"'
    for answer in (api.get(f"/jobs/{job_id}"), api.get("/jobs"), api.post("/leases", {})):
        assert answer.status_code == 200
        assert shown in answer.content
    result = b'{"leases": [{"job_id": "%s", "fence": %d, "result": %s}]}'
    fence = Job.objects.get().fence
    done = api.post("/leases/ack", raw=result % (job_id.encode(), fence, source))
    assert done.json()["results"][0]["ok"]
    assert b'"result": ' + source + b', "error"' in api.get(f"/jobs/{job_id}").content
    for page in (reverse("job", args=[job_id]), reverse("jobs"), "/admin/jobs/job/"):
        assert root.get(page).status_code == 200
    admin_page = root.get(f"/admin/jobs/job/{job_id}/change/")
    assert admin_page.status_code == 200
    assert b"<script>alert(1)" not in admin_page.content


LENGTHS = {"longer than the body": 40, "negative": -1, "no number": "ten", "beyond any": 10**30}


@lossless
@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_that_lies_is_refused(api: Caller, name: str) -> None:
    sent = {"CONTENT_LENGTH": str(LENGTHS[name]), "wsgi.input": BytesIO(b'{"payload": [1, 2')}
    response = api.client.generic(
        "POST", "/api/v1/jobs", b"{}", content_type="application/json", headers=api.headers, **sent
    )
    assert response.status_code in {400, 413}
    problem(response, response.status_code, response.json()["code"])


@lossless
@pytest.mark.parametrize("path", ["/jobs", "/jobs/bulk", "/dlq/redrive", "/leases/ack"])
def test_a_body_said_to_be_too_large_is_refused(api: Caller, path: str) -> None:
    problem(api.post(path, raw=b"[" * 5_000_001), 413, "too_large")


@lossless
@pytest.mark.parametrize("body", [b'{"reason": "x"}', b"[]", b"null", b"x", b"\xff", b'{"a": 1'])
@pytest.mark.parametrize("call", ["GET /jobs", "POST /queues/default/resume", "DELETE /dlq/x"])
def test_a_call_that_takes_no_body_ignores_none(api: Caller, call: str, body: bytes) -> None:
    method, path = call.split()
    problem(api.call(method, f"/api/v1{path}", raw=body), 400, "unknown_field")


def test_an_empty_object_says_nothing(api: Caller) -> None:
    job = api.submit()["id"]
    assert api.post(f"/jobs/{job}/cancel", raw=b" {}\n", content_type="x").status_code == 200


@pytest.mark.parametrize("spell", ["{{{0}}}", "urn:uuid:{0}", "{1}", "-{0}", "{0}\n", " {0}"])
def test_an_id_is_written_in_one_way(api: Caller, spell: str) -> None:
    job = api.submit(task="remote:odd")["id"]
    odd = spell.format(job, job.replace("-", ""))
    problem(api.get(f"/jobs/{quote(odd)}"), 404, "not_found")
    problem(api.post("/dlq/redrive", {"ids": [odd]}), 400, "invalid_id")
    held = {"leases": [{"job_id": odd, "fence": 1}]}
    problem(api.post("/leases/heartbeat", held), 400, "invalid_id")
    assert api.get(f"/jobs/{job.upper()}").json()["id"] == job


TOO_MUCH = {
    "10,001 tags": ({"tags": [f"t{n}" for n in range(10_001)]}, 400, "invalid_input"),
    "a tag of a megabyte": ({"worker_tags": ["x" * 1_000_000]}, 400, "invalid_name"),
    "a name of a megabyte": ({"queue": "x" * 1_000_000}, 400, "invalid_name"),
    "a payload above the limit": ({"payload": "x" * 1_000_000}, 413, "too_large"),
    "a task's name of a megabyte": ({"task": "x" * 1_000_000}, 400, "unknown_task"),
    "a key of a megabyte": ({"idempotency_key": "x" * 1_000_000}, 400, "invalid_input"),
    "a field's name of a megabyte": ({"x" * 1_000_000: 1}, 400, "unknown_field"),
    "100,000 unknown fields": ({f"f{n}": n for n in range(100_000)}, 400, "unknown_field"),
}


@lossless
@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_of_anything_is_refused_in_few_words(api: Caller, name: str) -> None:
    body, status, code = TOO_MUCH[name]
    problem(api.post("/jobs", body), status, code)
    bulk = problem(api.post("/jobs/bulk", {"jobs": [{}, body]}), status, code)
    assert bulk["status"] == status


@lossless
def test_above_the_number_of_queues_nothing_is_stored(api: Caller, settings: Any) -> None:
    settings.JOBQUEUE = {"max_queues_per_tenant": 1}
    problem(api.post("/jobs", {"queue": "other"}), 409, "too_many_queues")
    problem(api.post("/jobs/bulk", {"jobs": [{}, {"queue": "other"}]}), 409, "too_many_queues")


@lossless
@pytest.mark.parametrize("value", ["a\tb", "a\x7fb", "\x00", "ключ", "a, b", "x" * 100_000])
def test_a_header_that_is_no_key_is_refused(api: Caller, value: str) -> None:
    problem(api.post("/jobs", {}, headers={"Idempotency-Key": value}), 400, "invalid_input")


WRONG_KEYS = [
    "Bearer " + "x" * 10_000_000,
    "Bearer \x00",
    "Bearer ключ",
    "Bearer jq_\ud7ff_x",
    "Bearer ",
]


@lossless
@pytest.mark.parametrize("value", WRONG_KEYS, ids=range(len(WRONG_KEYS)))
def test_a_header_that_is_no_authorization_is_refused(nobody: Caller, value: str) -> None:
    problem(nobody.get("/jobs", headers={"Authorization": value}), 401, "authentication_failed")


@pytest.mark.parametrize("result", ["NaN", '"\\u0000"', '"\\ud800"', "[" * 65 + "]" * 65, "1e999"])
def test_a_bad_result_leaves_the_lease_as_it_is(api: Caller, result: str) -> None:
    api.submit(task="remote:x")
    (job,) = api.post("/leases", {}).json()["jobs"]
    item = json.dumps({"job_id": job["id"], "fence": job["fence"]})[:-1]
    body = f'{{"leases": [{item}, "result": {result}}}]}}'
    assert api.post("/leases/ack", raw=body.encode()).status_code == 400
    done = {"job_id": job["id"], "fence": job["fence"], "result": "smaller"}
    assert api.post("/leases/ack", {"leases": [done]}).json()["results"][0]["ok"]


SEARCHES = ["%", "_", "\\", "'", '"', "%%%", "a' OR 1=1 --", "x" * 10_000, "😀", "\u202e", "(", "*"]


@pytest.mark.parametrize("page", ["job", "deadletter", "tenant", "apikey", "auditentry"])
def test_no_search_of_the_admin_fails(root: Client, alice: Tenant, page: str) -> None:
    make_job(alice, Status.DLQ)
    for text in SEARCHES:
        answer = root.get(reverse(f"admin:jobs_{page}_changelist"), {"q": text})
        assert answer.status_code in {200, 302}, text


@lossless
def test_a_form_from_another_site_is_refused(alice: Tenant) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    token = client.get(reverse("submit")).cookies["csrftoken"].value
    form = {"csrfmiddlewaretoken": token, "tenant": alice.slug, "task": "echo", "payload": "1"}
    answer = client.post(reverse("submit"), form, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
