"""The work that real jobs do. Without Django, for processes that know nothing of the queue."""

import asyncio
import hashlib
import http.client
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

ANSWER_SECONDS = 0.01
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def burn(rounds: int) -> str:
    """Arithmetic in Python that holds the interpreter; answers a digest, so that it is not idle."""
    digest = hashlib.sha256()
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 1_000_003
        if number % 1_000 == 0:
            digest.update(str(total).encode())
    return digest.hexdigest()


def call(port: int) -> int:
    """GET / of 127.0.0.1 at the port; answers the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@contextmanager
def slow_server() -> Iterator[int]:
    """A server in a process of its own that takes 10 ms for an answer; answers its port."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(port: Connection) -> None:
    asyncio.run(_serve_forever(port))


async def _serve_forever(port: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(ANSWER_SECONDS)
    writer.write(_ANSWER)
    await writer.drain()
    writer.close()
