"""The client of the API's benchmark counts what was answered, and a scenario of it runs."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from django.db import connection

from bench import service, service_leases, service_lists, service_waiting
from bench.scenario import BenchError, Settings
from bench.service_client import ClientError, Load, apply, request
from jobs.models import Job, Tenant
from jobs.statuses import Status

SHORT = 0.1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = {"/good": 200, "/missing": 404}.get(self.path)
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that knows three addresses: /good, /missing, and any other, where it hangs up."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = False
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def load(port: int, *paths: str, connections: int = 2) -> Load:
    requests = [request("GET", path) for path in paths]
    return Load(port=port, requests=requests, connections=connections, seconds=SHORT)


def test_each_answer_is_counted_with_its_time(port: int) -> None:
    answers = apply(load(port, "/good"))
    assert answers.statuses == {"200": len(answers.waits)}
    assert len(answers.waits) >= 2
    assert all(0 < wait < answers.seconds for wait in answers.waits)
    assert answers.seconds >= SHORT
    assert 0 < answers.busy <= 1.1
    assert not answers.refusal


def test_requests_are_sent_in_turns(port: int) -> None:
    answers = apply(load(port, "/good", "/missing"))
    assert abs(answers.statuses["200"] - answers.statuses["404"]) <= 1
    assert answers.refusal.startswith("HTTP/1.1 404")


def test_server_that_hangs_up_is_an_error(port: int) -> None:
    with pytest.raises(ClientError, match="hung up"):
        apply(load(port, "/nowhere"))


def test_other_answers_than_expected_make_it_void(port: int) -> None:
    with pytest.raises(BenchError, match=r"Not all was answered 200: .*404"):
        service.apply(load(port, "/good", "/missing"), "200")


def test_client_that_fails_makes_it_void(port: int) -> None:
    with pytest.raises(BenchError, match="hung up"):
        service.apply(load(port, "/nowhere"), "200")


def test_body_is_announced() -> None:
    text = request("POST", "/jobs", headers={"X-A": "1"}, body="{}")
    head, body = text.split("\r\n\r\n")
    assert head.startswith("POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: 1\r\n")
    assert "Content-Length: 2" in head
    assert body == "{}"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is measured there alone")
@pytest.mark.django_db(transaction=True)
def test_submissions_are_measured_beside_bare_inserts() -> None:
    (sample,) = service.submit(Settings(runs=1, scale=SHORT))
    assert sample["POST /jobs"].value > 0
    assert sample["POST /jobs"].floor
    assert Job.objects.filter(task="echo", idempotency_key=None).count() > 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is measured there alone")
@pytest.mark.django_db(transaction=True)
def test_lists_are_measured_in_a_history() -> None:
    (sample,) = service_lists.lists(Settings(runs=1, scale=0.002))
    assert sample["slowest list, p95"].value > 0
    assert Job.objects.count() > 10 * Tenant.objects.count()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is measured there alone")
@pytest.mark.django_db(transaction=True)
def test_leases_are_measured_to_the_last_job() -> None:
    (sample,) = service_leases.leases(Settings(runs=1, scale=0.02))
    assert all(figure.value > 0 for figure in sample.values())
    assert not Job.objects.exclude(status=Status.DONE).exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is measured there alone")
@pytest.mark.django_db(transaction=True)
def test_all_that_wait_are_told() -> None:
    (sample,) = service_waiting.waiting(Settings(runs=1, scale=0.01))
    assert sample["resident"].value > sample["resident before"].value / 2
    assert Job.objects.filter(status=Status.RUNNING).count() == 10
