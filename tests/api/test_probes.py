"""Health and Prometheus: no key, no limit, 503 when it is so."""

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from jobs import store
from jobs.api import health_views
from jobs.models import Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forget_that_migrations_are_applied() -> None:
    health_views._require_migrations.cache_clear()


def test_a_live_process_says_so_without_the_database(
    nobody: Caller, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert nobody.get("/health/live").json() == {"status": "live"}


def test_a_probe_may_accept_anything(nobody: Caller) -> None:
    assert nobody.get("/health/ready", headers={"Accept": "text/plain"}).status_code == 200


def test_a_migrated_database_is_ready_and_asked_little_afterwards(
    nobody: Caller, django_assert_num_queries: Any
) -> None:
    assert nobody.get("/health/ready").json() == {"status": "ready"}
    with django_assert_num_queries(1):
        assert nobody.get("/health/ready").status_code == 200


def test_missing_migrations_are_not_ready(nobody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    class Executor(health_views.MigrationExecutor):
        def migration_plan(self, *args: Any, **kwargs: Any) -> Any:
            return [("jobs.0009", False)]

    monkeypatch.setattr(health_views, "MigrationExecutor", Executor)
    problem(nobody.get("/health/ready"), 503, "not_ready")


def test_a_database_that_is_away_is_not_ready(
    nobody: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "cursor", away)
    problem(nobody.get("/health/ready"), 503, "unavailable")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health/live", 200), ("/health/ready", 200), ("/metrics", 200), ("/api/v1/metrics", 301)],
)
def test_probes_are_answered_without_https(settings: Any, path: str, status: int) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get(path).status_code == status


def test_a_wrong_key_does_not_matter_to_probes(nobody: Caller) -> None:
    for path in ("/health/live", "/health/ready"):
        assert nobody.get(path, headers={"Authorization": "Bearer x"}).status_code == 200


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_every_tenant(nobody: Caller, alice: Tenant, mallory: Tenant) -> None:
    for status in (Status.DLQ, Status.DONE, Status.DONE, Status.RUNNING, Status.PENDING):
        make_job(alice, status, queue="mail")
    make_job(mallory, Status.SCHEDULED)
    response = nobody.client.get("/metrics")
    assert response["Content-Type"].startswith("text/plain")
    found = samples(response.content.decode())
    by_label = {frozenset(key): value for key, value in found.items()}
    for status in ("DLQ", "RUNNING", "PENDING"):
        assert by_label[frozenset({"jobqueue_jobs", "alice", "mail", status})] == 1
    assert by_label[frozenset({"jobqueue_jobs", "mallory", "default", "SCHEDULED"})] == 1
    assert by_label[frozenset({"jobqueue_finished_total", "alice", "mail", "done"})] == 2
    assert by_label[frozenset({"jobqueue_finished_total", "alice", "mail", "dead"})] == 1
    assert by_label[frozenset({"jobqueue_oldest_waiting_seconds", "alice", "mail"})] >= 0
    assert by_label[frozenset({"jobqueue_workers"})] == 0


def test_prometheus_counts_what_was_deleted_apart_from_what_ended(
    nobody: Caller, alice: Tenant
) -> None:
    store.discard([make_job(alice, Status.DLQ).pk])
    found = samples(nobody.client.get("/metrics").content.decode())
    by_label = {frozenset(key): value for key, value in found.items()}
    assert by_label[frozenset({"jobqueue_purged_total", "alice", "default"})] == 1
    assert by_label[frozenset({"jobqueue_finished_total", "alice", "default", "dead"})] == 1


def test_an_empty_installation_can_be_scraped(nobody: Caller) -> None:
    assert samples(nobody.client.get("/metrics").content.decode())
