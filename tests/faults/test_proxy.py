"""The proxy does to connections what it says."""

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from tests.faults.proxy import COMMIT, HOST, Proxy
from tests.harness import wait_until


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that repeats what it is told; answers its port."""
    listener = socket.create_server((HOST, 0))
    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(1_000):
                    client.sendall(data)
            except OSError:
                return  # it was reset, as some tests do

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=[client], daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in [accepting, *threads]:
        thread.join(5)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, proxy.port), timeout=5) as client:
        yield client


def ask(client: socket.socket, text: bytes = b"hello") -> bytes:
    client.sendall(text)
    return client.recv(1_000)


def is_served(client: socket.socket) -> bool:
    try:
        return ask(client) == b"hello"
    except OSError:
        return False


def test_it_passes_everything_on(client: socket.socket) -> None:
    assert ask(client) == b"hello"
    assert ask(client, COMMIT) == COMMIT


def test_a_cut_resets_every_connection(proxy: Proxy, client: socket.socket) -> None:
    ask(client)
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        ask(client)


def test_while_it_refuses_a_new_connection_is_reset(proxy: Proxy) -> None:
    proxy.refusing = True
    with socket.create_connection((HOST, proxy.port)) as refused:
        assert not is_served(refused)
    proxy.heal()
    with socket.create_connection((HOST, proxy.port)) as accepted:
        assert is_served(accepted)


def test_what_is_stalled_arrives_when_it_is_healed(proxy: Proxy, client: socket.socket) -> None:
    proxy.stalled = True
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ask(client)
    proxy.heal()
    client.settimeout(5)
    assert client.recv(1_000) == b"hello"


def test_a_delay_holds_up_both_ways(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay = 0.1
    began = time.monotonic()
    assert ask(client) == b"hello"
    assert time.monotonic() - began >= 0.2


def test_the_end_of_one_side_ends_the_other(echo: int, proxy: Proxy) -> None:
    client = socket.create_connection((HOST, proxy.port))
    ask(client)
    client.close()
    wait_until(lambda: proxy.cut() == 0, what="the proxy has let go of it")


def test_a_commit_can_be_done_without_an_answer(proxy: Proxy, client: socket.socket) -> None:
    proxy.drop_every = 2
    assert ask(client, COMMIT) == COMMIT
    assert ask(client, b"SELECT") == b"SELECT"
    with pytest.raises(ConnectionResetError):
        ask(client, COMMIT)
    assert proxy.dropped == 1


@pytest.mark.django_db(transaction=True)
def test_a_commit_without_an_answer_has_been_done() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("is about PostgreSQL's protocol")
    database = connection.settings_dict
    login = {
        name: database[name.upper()] for name in ("user", "password")
    } | {"dbname": database["NAME"], "host": HOST}  # fmt: skip
    with Proxy(int(database["PORT"])) as proxy:
        proxy.drop_every = 1
        doomed = psycopg.connect(**login, port=proxy.port)
        doomed.execute("CREATE TABLE proof_of_commit (n int)")
        with pytest.raises(psycopg.OperationalError):
            doomed.commit()
        doomed.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE proof_of_commit")
