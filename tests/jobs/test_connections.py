"""A connection that was kept is used again, unless the server has ended it."""

from unittest.mock import patch

import psycopg
import pytest
from django.db import connection, connections

from tests.harness import database_url, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no connections"),
]


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def begin_a_request() -> None:
    """As Django does it for kept connections."""
    connection.close_if_unusable_or_obsolete()


def test_a_quiet_connection_is_not_asked_how_it_is() -> None:
    before = backend()
    begin_a_request()
    with patch.object(connections["default"], "is_usable", side_effect=AssertionError):
        assert backend() == before


def test_a_connection_that_the_server_ended_is_replaced() -> None:
    before = backend()
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [before])
        ended = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: not other.execute(ended, [before]).fetchone(), 60)
    begin_a_request()
    assert backend() != before
