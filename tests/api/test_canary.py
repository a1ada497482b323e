"""Secrets are put in at every entrance; nothing that comes out anywhere holds one.

Neither a log line, whatever its level, nor an error, nor a page shown to somebody who may not read
payloads. A canary is looked for as it is, in hexadecimal and in base64.
"""

import base64
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs import services
from jobs.keys import create_api_key
from jobs.logs import StructuredFormatter
from jobs.models import AuditEntry, Job, Tenant
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.api import canary_tasks
from tests.api.conftest import Caller
from tests.factories import make_job
from tests.harness import running_workers, wait_until

PAYLOAD, RESULT, HEADER = "canary-of-payload", "canary-of-result", "canary-of-header"
NUMBER = "314159265358979323846"
SPILLING = ["spill", "spill_and_break", "spill_unprintably", "spill_in_loop", "spill_in_child"]


def forms(canary: str) -> list[str]:
    """How a text could be written."""
    source = canary.encode()
    starts = [base64.b64encode(b"x" * n + source)[4:-4].decode() for n in range(3)]
    return [canary, source.hex(), *starts]


def assert_silent(where: str, text: str, *canaries: str) -> None:
    for canary in canaries:
        for form in forms(canary):
            assert form not in text, f"{canary} in {where}: {text[:2_000]}"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged meanwhile, whatever the level: our lines, and what others would write."""
    stream = io.StringIO()

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line, plain = StructuredFormatter().format(record), logging.Formatter().format(record)
            stream.write(f"{line} {plain} {record.args}\n")

    handler = Everything(logging.NOTSET)
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    levels = [(logger, logger.level) for logger in loggers]
    logging.getLogger().addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield stream
    logging.getLogger().removeHandler(handler)
    for logger, level in levels:
        logger.setLevel(level)


REFUSED: list[dict[str, Any]] = [
    {"raw": f'{{"payload": "{PAYLOAD}"'.encode()},
    {"raw": f'{{"payload": "{PAYLOAD}\\u0000"}}'.encode()},
    {"raw": f'{{"payload": ["{PAYLOAD}", {{"a": 1, "a": 2}}]}}'.encode()},
    {"raw": f'{{"payload": ["{PAYLOAD}", NaN]}}'.encode()},
    {"raw": b'{"payload": ' + NUMBER.encode() + b"e999}"},
    {"raw": b'{"payload": "' + PAYLOAD.encode() + b'\xff"}'},
    {"raw": f'{{"payload": "{PAYLOAD}"}} {PAYLOAD}'.encode()},
    {"body": {"task": "sleep", "payload": PAYLOAD}},
    {"body": {"task": "sleep", "payload": {"seconds": PAYLOAD, "x": PAYLOAD}}},
    {"body": {"payload": PAYLOAD, "unknown": PAYLOAD}},
    {"body": {"payload": PAYLOAD * 100_000}},
    {"body": {"payload": PAYLOAD, "queue": "a b"}},
    {"body": {"payload": PAYLOAD, "run_at": PAYLOAD}},
    {"body": {"payload": PAYLOAD}, "content_type": "text/plain"},
    {"body": {"payload": PAYLOAD, "idempotency_key": "used"}},
]


@pytest.mark.django_db
def test_no_refusal_and_no_log_line_of_it_repeats_what_was_sent(
    api: Caller, log: io.StringIO
) -> None:
    api.submit(idempotency_key="used", payload="other")
    for path in ("/jobs", "/jobs/bulk"):
        for request in REFUSED:
            answer = api.post(path, **request)
            assert 400 <= answer.status_code < 500, request
            assert_silent(
                "an error", answer.content.decode() + str(answer.headers), PAYLOAD, NUMBER
            )
    assert_silent("the log", log.getvalue(), PAYLOAD, NUMBER)


@pytest.mark.django_db
def test_credentials_come_out_nowhere(
    api: Caller, alice: Tenant, nobody: Caller, log: io.StringIO
) -> None:
    key, text = create_api_key(alice, actor="command:test")
    secret = text.rpartition("_")[2]
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    headers = {"Cookie": f"sessionid={HEADER}", "X-Secret": HEADER, "Idempotency-Key": "é" + HEADER}
    answers = [
        nobody.get("/jobs", headers={"Authorization": f"Bearer {wrong}"}),
        nobody.get("/jobs", headers={"Authorization": f"Basic {text}"}),
        nobody.get(f"/jobs?key={text}&access_token={HEADER}"),
        api.post("/jobs", {}, headers=headers),
        api.get("/jobs", headers=headers),
        Caller(text).get("/jobs"),
        Caller(text).get("/jobs?cursor=" + HEADER),
        Caller(text).get(f"/jobs?unknown={HEADER}"),
        Caller(text).get("/keys"),
        Caller(text).get(f"/keys/{key.prefix}"),
    ]
    assert [answer.status_code for answer in answers[:4]] == [401, 401, 401, 400]
    for answer in answers:
        assert_silent("an answer", answer.content.decode() + str(answer.headers), secret, HEADER)
    audit = str(list(AuditEntry.objects.values()))
    assert_silent("the log", log.getvalue() + audit, secret, secret[:-6], HEADER)


@pytest.mark.django_db
def test_a_failure_of_ours_tells_no_payload(
    api: Caller, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tenant: Tenant, job: NewJob, **options: Any) -> None:
        secrets = job.payload.decode()
        raise RuntimeError(f"{len(secrets)} characters are too odd")

    monkeypatch.setattr(services, "submit", fail)
    api.client.raise_request_exception = False
    answer = api.post("/jobs", {"payload": PAYLOAD}, headers={"Idempotency-Key": HEADER})
    assert answer.status_code == 500
    assert_silent("an error", answer.content.decode(), PAYLOAD, HEADER)
    assert "too odd" in log.getvalue()
    assert_silent("the log", log.getvalue(), PAYLOAD, HEADER)


@pytest.fixture
def onlooker(db: None) -> Client:
    """Staff who may see all there is but payloads."""
    user = User.objects.create_user("oscar", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    user.user_permissions.remove(Permission.objects.get(codename="view_payload"))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
def test_pages_without_the_right_to_read_show_no_payload(
    alice: Tenant, onlooker: Client, nobody: Caller, log: io.StringIO
) -> None:
    payload, result = (json.dumps({"a": [text]}).encode() for text in (PAYLOAD, RESULT))
    jobs = [
        make_job(alice, Status.DONE, queue="a", payload=payload, result=result),
        make_job(alice, Status.DLQ, queue="b", payload=payload),
        make_job(alice, Status.FAILED, queue="c", payload=payload),
        make_job(alice, Status.PENDING, queue="d", payload=payload),
    ]
    pages = ["/", "/jobs/", "/dead/", "/metrics", "/admin/", "/admin/jobs/job/"]
    pages += ["/admin/jobs/deadletter/", "/admin/jobs/auditentry/", f"/jobs/?text={PAYLOAD[:6]}"]
    pages += [reverse("job", args=[job.pk]) for job in jobs]
    pages += [f"/admin/jobs/job/{job.pk}/change/" for job in jobs]
    pages += [f"/admin/jobs/deadletter/{jobs[1].pk}/change/"]
    for page in pages:
        answer = onlooker.get(page, follow=True)
        assert answer.status_code == 200, page
        assert_silent(page, answer.content.decode(), PAYLOAD, RESULT)
    for part in ("payload", "result"):
        answer = onlooker.get(reverse("stored-json", args=[jobs[0].pk, part]))
        assert answer.status_code in {403, 404}
        assert_silent(part, answer.content.decode(), PAYLOAD, RESULT)
    assert_silent("the log", log.getvalue(), PAYLOAD, RESULT)


@pytest.mark.django_db(transaction=True)
def test_workers_log_no_payload_however_a_job_ends(alice: Tenant) -> None:
    tasks = [f"{canary_tasks.__name__}.{name}" for name in (*SPILLING, "keep")]
    payload = json.dumps({"secret": PAYLOAD}).encode()
    new = [NewJob(task=task, payload=payload, max_retries=int("break" in task)) for task in tasks]
    jobs = [one.job_id for one in services.submit_many(alice, new)]
    with running_workers() as (worker,):
        wait_until(lambda: ended(jobs), 60, "the jobs end")
        output = worker.output
    assert output.count("dead letter") >= len(SPILLING) - 1
    assert_silent("the workers' log", output, PAYLOAD)


def ended(jobs: list[Any]) -> bool:
    """None of them waits or runs any more; one that could not be concluded may be tried again."""
    left = {Status.PENDING, Status.RUNNING}
    return not Job.objects.filter(pk__in=jobs, status__in=left).exists()
