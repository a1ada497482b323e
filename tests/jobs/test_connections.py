"""A connection that was kept is used again, unless the server has ended it."""

from collections.abc import Iterator
from unittest.mock import patch

import psycopg
import pytest
from django.db import OperationalError, connection, connections
from django.http import HttpRequest, HttpResponse

from jobqueue_project import kept_connections
from jobqueue_project.kept_connections import believe_quiet
from tests.harness import database_url, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connections"),
]


@pytest.fixture(autouse=True)
def connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As under WSGI; a test before may have imported the ASGI application, which keeps none."""
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 600)
    connection.close()
    yield
    connection.close()


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def backend_of_a_request() -> int:
    """Which process of the server answers a request that Django begins as it does each."""
    connection.close_if_unusable_or_obsolete()
    view = believe_quiet(lambda request: HttpResponse(str(backend())))
    return int(view(HttpRequest()).content)


def test_a_quiet_connection_is_not_asked_how_it_is() -> None:
    before = backend()
    with patch.object(connections["default"], "is_usable", side_effect=AssertionError):
        assert backend_of_a_request() == before


def end(process: int) -> None:
    """Have the server end that process, and wait until it is gone."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [process])
        ended = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: not other.execute(ended, [process]).fetchone(), 60)


def test_a_connection_that_the_server_ended_is_replaced() -> None:
    before = backend()
    end(before)
    assert backend_of_a_request() != before


def test_one_that_ended_soon_after_a_look_costs_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_connections, "BELIEVED_SECONDS", 3_600)
    backend()
    before = backend_of_a_request()
    end(before)
    with pytest.raises(OperationalError):
        backend_of_a_request()
    assert backend_of_a_request() != before


def test_without_the_middleware_it_is_asked() -> None:
    """So what the middleware does can be seen at all."""
    backend()
    connection.close_if_unusable_or_obsolete()
    with (
        patch.object(connections["default"], "is_usable", side_effect=AssertionError),
        pytest.raises(AssertionError),
    ):
        backend()


def test_a_busy_connection_is_not_looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    backend()
    before = backend_of_a_request()
    monkeypatch.setattr(kept_connections, "BELIEVED_SECONDS", 3_600)
    with patch.object(kept_connections.select, "poll", side_effect=AssertionError):
        assert backend_of_a_request() == before
