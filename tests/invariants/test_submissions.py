"""What was accepted: it is kept, whole, once, and can be read by everybody who may."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from jobqueue_project.settings import DATABASES
from jobs import services
from jobs.errors import IdempotencyMismatch
from jobs.keys import create_api_key
from jobs.models import Job, JobTag, Lane, SubmissionSecond, Tenant
from jobs.statuses import Status
from jobs.store.dialect import is_postgresql
from jobs.submission import NewJob
from tests.api.conftest import Caller
from tests.harness import ProjectProcess, environment, wait_until
from tests.invariants.dying_submitter import BATCH
from tests.postgres import Server
from tests.store.steps import claim, finish, lane_of, together

pytestmark = pytest.mark.django_db(transaction=True)


def accepted(path: Path) -> list[list[str]]:
    """The ids and keys that a client was told of; it may have been killed in mid-line."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line.split() for line in lines if line.endswith("\n")]


@pytest.fixture
def submitting(alice: Tenant, tmp_path: Path) -> Iterator[Callable[[str], tuple[Path, Callable]]]:
    """Starts clients; answers where each notes what was accepted, and how to kill it."""
    with ExitStack() as stack:

        def start(name: str) -> tuple[Path, Callable[[], None]]:
            path = tmp_path / name
            command = ("-m", "tests.invariants.submitter", alice.slug, str(path))
            process = stack.enter_context(ProjectProcess(*command, env=environment()))
            return path, process.kill

        yield start


def assert_kept(paths: list[Path]) -> None:
    told = [line for path in paths for line in accepted(path)]
    kept = dict(Job.objects.values_list("pk", "idempotency_key"))
    found = {str(job_id): key for job_id, key in kept.items()}
    assert {job_id: found.get(job_id) for job_id, _ in told} == dict(told)
    assert Counter(kept.values()).most_common(1)[0][1] == 1


def test_S1_what_a_killed_client_was_told_is_kept(submitting: Callable) -> None:
    clients = [submitting(f"client-{n}") for n in range(3)]
    chance = random.Random(1)
    for path, kill in clients:
        wait_until(lambda p=path: len(accepted(p)) > chance.randint(20, 200), 30)
        kill()
    assert_kept([path for path, _ in clients])


def test_S1_nothing_accepted_is_lost_in_a_crash_of_the_server(
    submitting: Callable, postgres_server: Server
) -> None:
    clients = [submitting(f"client-{n}") for n in range(2)]
    for _ in range(2):
        before = [len(accepted(path)) for path, _ in clients]
        wait_until(lambda b=before: all_more(clients, b), 30, "clients submit")
        connection.close()
        postgres_server.stop(immediate=True)
        time.sleep(0.3)  # the outage itself
        postgres_server.start()
    before = [len(accepted(path)) for path, _ in clients]
    wait_until(lambda: all_more(clients, before), 30, "clients submit again")
    for _, kill in clients:
        kill()
    assert_kept([path for path, _ in clients])


def all_more(clients: list, before: list[int]) -> bool:
    return all(len(accepted(c[0])) > n + 30 for c, n in zip(clients, before, strict=True))


def test_S1_a_submission_is_on_the_disk_when_it_is_answered() -> None:
    as_in_production = connection.copy()
    as_in_production.settings_dict["OPTIONS"] = DATABASES["default"]["OPTIONS"]
    with closing(as_in_production), as_in_production.cursor() as cursor:
        if is_postgresql():
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
        else:
            cursor.execute("SELECT * FROM pragma_journal_mode, pragma_synchronous")
            assert cursor.fetchone() == ("wal", 2)


def test_S2_a_batch_is_whole_or_not_there_wherever_its_process_is_killed(
    make_tenant: Callable[..., Tenant],
) -> None:
    make_tenant("batches", submissions_per_minute=10_000, max_pending=10_000)
    command = ("-m", "tests.invariants.dying_submitter", "batches")
    with ProjectProcess(*command, env=environment()) as process:
        assert process.wait(timeout=120) == 0, process.output
        *killed, lived = map(int, process.output.split())
    assert len(killed) >= 10
    assert set(killed) <= {0, BATCH}, "never a part of the batch"
    assert killed[0] == 0
    assert lived == BATCH
    assert JobTag.objects.count() == BATCH
    assert sum(SubmissionSecond.objects.values_list("submitted", flat=True)) == BATCH


def test_S2_one_wrong_job_refuses_its_batch(alice: Tenant) -> None:
    services.submit(alice, NewJob(task="echo", idempotency_key="used", request_hash="a"))
    batch = [NewJob(task="echo") for _ in range(50)]
    batch.insert(30, NewJob(task="echo", idempotency_key="used", request_hash="another"))
    with pytest.raises(IdempotencyMismatch):
        services.submit_many(alice, batch)
    assert Job.objects.count() == 1


def test_S3_one_key_is_one_job_for_all_who_race(alice: Tenant) -> None:
    keys, threads = [f"key-{n}" for n in range(60)], 8
    barrier = threading.Barrier(threads)

    def race(caller: int) -> list[object]:
        answers: list[object] = []
        for key in keys:
            barrier.wait(timeout=60)
            request = "other" if caller == 0 else "one"
            new = NewJob(task="echo", idempotency_key=key, request_hash=request)
            try:
                answers.append(services.submit(alice, new))
            except IdempotencyMismatch as refusal:
                answers.append(refusal)
        return answers

    rounds = list(zip(*together([partial(race, n) for n in range(threads)]), strict=True))
    assert len(rounds) == len(keys) == Job.objects.count()
    for answers in rounds:
        refused = [a for a in answers if isinstance(a, IdempotencyMismatch)]
        given = [a for a in answers if not isinstance(a, IdempotencyMismatch)]
        assert [a.created for a in given].count(True) == 1
        assert len({a.job_id for a in given}) == 1
        # Either the odd one came first and all others are refused, or it is refused itself.
        assert len(refused) in {1, threads - 1}


STRANGE = [
    b"null",
    b'"\\ud83d\\ude00 \\u202e \\u0007 <script>alert(1)</script> {{7*7}} {% x %}"',
    b"1" + b"0" * 400,
    b"-0.0",
    b"1e308",
    b"[" * 64 + b"]" * 64,
    b'{"__proto__": 1, "": {"": [null]}, "a.b": "%s %(x)s \\\\ \' \\""}',
    b'{"args": 1, "kwargs": []}',
    b'"' + b"x" * 200_000 + b'"',
    b'"\\\\ud800 is text about escapes"',
    '"Z̷̢͝a̶l̵g̴o é é"'.encode(),
]
PATHS = [
    "/jobs/{}",
    "/jobs/{}/why",
    "/jobs",
    "/jobs?status={status}",
    "/dlq",
    "/queues",
    "/metrics",
]
PAGES = [
    "/", "/jobs/", "/jobs/{}/", "/jobs/{}/payload.json", "/dead/", "/admin/jobs/job/",
    "/admin/jobs/job/{}/change/", "/admin/jobs/deadletter/", "/metrics",
]  # fmt: skip


@pytest.mark.parametrize("status", [Status.PENDING, Status.DONE, Status.DLQ])
def test_S21_no_accepted_job_breaks_a_read(alice: Tenant, status: Status) -> None:
    api, admin = Caller(create_api_key(alice, actor="command:test")[1]), Client()
    admin.force_login(User.objects.create_superuser("root", password="a secret"))
    bodies = [b'{"payload": %s, "tags": ["a.b:c"], "queue": "q:1"}' % each for each in STRANGE]
    answers = [api.post("/jobs", raw=body) for body in bodies]
    assert {answer.status_code for answer in answers} == {201}
    if status is not Status.PENDING:
        end_all(lane_of(alice, "q:1"), status)
    assert Job.objects.filter(status=status).count() == len(STRANGE)
    ids = [answer.json()["id"] for answer in answers]
    for path in PATHS:
        for job_id in ids if "{}" in path else ids[:1]:
            assert api.get(path.format(job_id, status=status)).status_code == 200, path
    for page in PAGES:
        for job_id in ids if "{}" in page else ids[:1]:
            assert admin.get(page.format(job_id)).status_code == 200, page


def end_all(lane: Lane, status: Status) -> None:
    """Workers get what was sent, and report errors that no database likes."""
    odd = "\0 \ud800 <b>%s</b> {}\n" + "y" * 5_000
    texts = dict.fromkeys(("error_type", "error_message", "traceback"), odd)
    jobs = claim(lane)
    assert sorted(job.payload for job in jobs) == sorted(STRANGE)
    for job in jobs:
        finish(job, status, result=job.payload, **texts if status is Status.DLQ else {})
