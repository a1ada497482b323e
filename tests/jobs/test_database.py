"""Connections to PostgreSQL wait for nothing for ever."""

from threading import Event, Thread

import pytest
from django.db import OperationalError, connection, transaction

from jobqueue_project.settings import bounded_waits
from jobs import store
from jobs.store.dialect import is_postgresql


def setting(name: str) -> str:
    """A setting of the server, as it is for this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        (value,) = cursor.fetchone()
    return str(value)


def test_what_the_installation_gives_wins_and_the_rest_stays() -> None:
    options = bounded_waits({"connect_timeout": "3", "options": "-c lock_timeout=1s"})
    assert options["connect_timeout"] == "3"
    assert options["keepalives_idle"] == 10
    assert str(options["options"]).endswith("session_timeout=60s -c lock_timeout=1s")


@pytest.mark.django_db
def test_server_ends_long_waits_of_our_connections() -> None:
    if not is_postgresql():
        pytest.skip("SQLite has a timeout of its own")
    waits = {"lock_timeout": "10s", "idle_in_transaction_session_timeout": "1min"}
    assert {name: setting(name) for name in waits} == waits


@pytest.mark.django_db
def test_server_compiles_no_statement_of_our_connections() -> None:
    """It guesses what a search costs, and would take longer to compile it than to run it."""
    if not is_postgresql():
        pytest.skip("SQLite has no compiler")
    assert setting("jit") == "off"


@pytest.mark.django_db(transaction=True)
def test_lock_that_cannot_be_had_is_an_operational_error() -> None:
    """Which a role takes as a reason to try again, and the API answers with 503."""
    if not is_postgresql():
        pytest.skip("SQLite has one writer at a time")
    held, done = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            store.pass_gate_alone()
            held.set()
            done.wait(30)
        connection.close()

    holder = Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        with pytest.raises(OperationalError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '50ms'")
            store.pass_gate_alone()
    finally:
        done.set()
        holder.join()
