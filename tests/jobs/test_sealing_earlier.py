"""What a tenant had before its key is sealed beside all that goes on, and nothing is missed."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from jobs import store, tenant_keys
from jobs.data_keys import DataKey, key_of
from jobs.errors import EncryptionKeyErased, StatusConflict
from jobs.models import Job, LogLine, Tenant
from jobs.statuses import Status
from jobs.store.dialect import is_postgresql
from jobs.store.insert import line_with_key
from jobs.store.reseal import PAGE
from tests.encrypted import ACTOR, CANARY, FIRST, encrypted, stored_text
from tests.factories import make_job
from tests.store.steps import submit

SECONDS = 60
ROWS = 30_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, environment_holds: Callable[..., None]) -> None:
    """No other process has to learn of a key."""
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    environment_holds(FIRST)


@contextmanager
def strangers_transaction(work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Somebody has done this work and has not committed it; to be called for its commit."""
    has_worked, may_commit = threading.Event(), threading.Event()

    def stranger() -> None:
        try:
            with transaction.atomic():
                work()
                has_worked.set()
                assert may_commit.wait(SECONDS)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        ended: Future[None] = pool.submit(stranger)
        try:
            assert has_worked.wait(SECONDS)
            yield lambda: commit(may_commit, ended)
        finally:
            may_commit.set()
            ended.result(SECONDS)


def commit(may_commit: threading.Event, ended: Future[None]) -> None:
    may_commit.set()
    ended.result(SECONDS)


def require_unlocked(job: Job) -> None:
    """Another connection can lock the job at once."""

    def lock() -> None:
        try:
            with transaction.atomic():
                Job.objects.select_for_update(nowait=True).get(pk=job.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lock).result(SECONDS)


def only_on_postgresql() -> None:
    if not is_postgresql():
        pytest.skip("SQLite has one writer at a time")


@pytest.mark.django_db(transaction=True)
def test_line_that_somebody_else_makes_holds_nobody_up_and_is_sealed_later(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_on_postgresql()
    job = make_job(alice, payload=f'"{CANARY}"'.encode())
    key = key_of(encrypted(alice).key_id)

    def look_and_make(line_id: int, key_id: int) -> int:
        require_unlocked(job)
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("500ms",)
        return line_with_key(line_id, key_id)

    monkeypatch.setitem(store.reseal.__globals__, "line_with_key", look_and_make)
    with strangers_transaction(lambda: line_with_key(job.line_id, key.id)) as commit:
        done = store.reseal(key, store.FIRST_ID)
        assert (done.left, done.values) == (1, 0)
        commit()
    done = store.reseal(key, store.FIRST_ID)
    assert (done.left, done.values) == (0, 1)
    assert CANARY not in stored_text()


@pytest.mark.django_db(transaction=True)
def test_job_of_a_transaction_from_before_is_waited_for_and_else_told(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_on_postgresql()
    monkeypatch.setattr(tenant_keys, "PATIENCE_SECONDS", 0)
    work = lambda: make_job(alice, payload=f'"{CANARY}"'.encode())  # noqa: E731
    with strangers_transaction(work) as commit:
        with pytest.raises(CommandError, match="1 transactions go on"):
            call_command("tenants", "encrypt", "alice")
        look = store.transactions_before

        def end_and_look(mark: str) -> int:
            before = look(mark)
            commit()
            return before

        monkeypatch.setattr(tenant_keys, "PATIENCE_SECONDS", SECONDS)
        monkeypatch.setattr(store, "transactions_before", end_and_look)
        call_command("tenants", "rotate-key", "alice", "--resume")
    assert CANARY not in stored_text()


@pytest.mark.django_db
def test_what_is_sealed_is_neither_read_again_nor_locked(alice: Tenant) -> None:
    make_all_that_is_sealed(alice)
    key = key_of(encrypted(alice).key_id)
    assert store.reseal(key, store.FIRST_ID).values == 6
    assert CANARY not in stored_text()
    with CaptureQueriesContext(connection) as queries:
        assert store.reseal(key, store.FIRST_ID).values == 0
    statements = [query["sql"] for query in queries]
    assert any("FROM jobs_attempt" in one for one in statements)
    assert not [one for one in statements if "UPDATE" in one or " result," in one]
    assert not [one for one in statements if "SELECT id, job_id" in one]


def make_all_that_is_sealed(tenant: Tenant) -> None:
    """A dead letter with each value that is sealed."""
    text = f'"{CANARY}"'
    stored = {"payload": text.encode(), "result": text.encode()}
    job = make_job(tenant, Status.DLQ, **stored, error_message=text, traceback=text)
    said = {"at": job.created_at, "level": 20, "message": text}
    LogLine.objects.create(job=job, attempt=1, fence=1, number=1, **said)


@pytest.mark.django_db
def test_sealing_with_a_key_that_is_not_the_tenants_any_more_ends(alice: Tenant) -> None:
    make_job(alice)
    encrypted(alice)
    ours = Tenant.objects.get(pk=alice.pk)
    with pytest.raises(StatusConflict, match="another key"):
        tenant_keys.seal_earlier(ours, lambda _: rotate(alice))


def rotate(tenant: Tenant) -> None:
    tenant_keys.rotate(tenant, actor=ACTOR)


@pytest.mark.django_db
def test_sealing_with_a_key_that_is_erased_meanwhile_says_so(alice: Tenant) -> None:
    make_job(alice)
    encrypted(alice)
    ours = Tenant.objects.get(pk=alice.pk)
    with pytest.raises(EncryptionKeyErased):
        tenant_keys.seal_earlier(ours, lambda _: erase(alice))


def erase(tenant: Tenant) -> None:
    tenant_keys.erase(tenant, actor=ACTOR)


@pytest.mark.django_db
def test_rows_of_jobs_are_found_by_their_jobs_among_many(alice: Tenant) -> None:
    only_on_postgresql()
    make_all_that_is_sealed(alice)
    submit(alice, PAGE - 1)
    key = key_of(encrypted(alice).key_id)
    outcome = "outcome, error_type, message, traceback, worker, finished_at"
    for table, columns in (
        ("jobs_attempt", f"number, {outcome}"),
        ("jobs_logline", "number, attempt, at, level, logger, message"),
    ):
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (job_id, fence, {columns}) SELECT md5((n / 50)::text)::uuid,"
                f" n, {columns} FROM {table}, generate_series(1, {ROWS}) AS n"
            )
            cursor.execute(f"ANALYZE {table}")
    plans = plans_of_sealing(key)
    assert len(plans) == 4
    for plan in plans:
        assert "Index Cond" in plan
        assert "Rows Removed by Filter" not in plan


def plans_of_sealing(key: DataKey) -> list[str]:
    """How the statements about attempts and log lines are carried out."""
    plans = []

    def explain_first(execute, statement, params, many, context):  # type: ignore[no-untyped-def]
        if statement.startswith("SELECT id") and "FROM jobs_job" not in statement:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN ANALYZE {statement}", params)
                plans.append("\n".join(line for (line,) in cursor.fetchall()))
        return execute(statement, params, many, context)

    with connection.execute_wrapper(explain_first):
        assert store.reseal(key, store.FIRST_ID).jobs == PAGE
    return plans
