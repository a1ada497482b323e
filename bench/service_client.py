"""A load generator: keep-alive connections, each with one request under way at a time.

`python -m bench.service_client` reads a `Load` as JSON from standard input and prints an `Answers`.
Sockets and a selector and nothing else, in a process of its own: about 20 µs a request, so that
what is measured is the server.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import cycle

PATIENCE_SECONDS = 30
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to send: requests, as text, in turns over so many connections for so many seconds."""

    port: int
    requests: list[str]
    connections: int
    seconds: float


@dataclass(kw_only=True)
class Answers:
    """What came back: how many of each status, and the seconds until each was complete.

    `seconds` is the time from the first request to the last answer, `busy` the part of it in which
    this process ran, and `refusal` the first answer that was none of success.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0
    busy: float = 0
    refusal: str = ""


class ClientError(Exception):
    """The server hung up, answered nothing, or in a form that is not read here."""


class _Connection:
    """One connection and what has come of the answer that it waits for."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._received = b""

    def send(self, request: bytes) -> None:
        self._received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """The whole answer, None while some of it is to come."""
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise ClientError(f"The server hung up after {self._received[:200]!r}.")
        self._received += piece
        head = self._received.find(_END_OF_HEAD)
        if head < 0:
            return None
        is_complete = len(self._received) >= head + len(_END_OF_HEAD) + _length(
            self._received[:head]
        )
        return self._received if is_complete else None


def _length(head: bytes) -> int:
    at = head.lower().find(_LENGTH)
    if at < 0:
        raise ClientError(f"No length in {head[:200]!r}.")
    return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])


def apply(load: Load) -> Answers:
    """Send for the given time and wait for the last answers. Raises `ClientError`."""
    connections = [_Connection(load.port) for _ in range(load.connections)]
    requests = cycle([request.encode() for request in load.requests])
    try:
        return _exchange(connections, requests, load.seconds)
    finally:
        for connection in connections:
            connection.socket.close()


def _exchange(connections: list[_Connection], requests: Iterator[bytes], seconds: float) -> Answers:
    answers, statuses = Answers(), Counter[str]()
    started, ran = time.perf_counter(), time.process_time()
    for connection, answer in _answered(connections, requests, started + seconds):
        answers.waits.append(time.perf_counter() - connection.sent_at)
        status = answer[9:12].decode()
        statuses[status] += 1
        if status >= "300" and not answers.refusal:
            answers.refusal = answer.decode()
    answers.seconds = time.perf_counter() - started
    answers.busy = (time.process_time() - ran) / answers.seconds
    answers.statuses = dict(statuses)
    return answers


def _answered(
    connections: list[_Connection], requests: Iterator[bytes], deadline: float
) -> Iterator[tuple[_Connection, bytes]]:
    """Each answer as it is complete; until the deadline the next request follows it."""
    with selectors.DefaultSelector() as waiting:
        for connection in connections:
            connection.send(next(requests))
            waiting.register(connection.socket, selectors.EVENT_READ, connection)
        while waiting.get_map():
            ready = waiting.select(PATIENCE_SECONDS)
            if not ready:
                raise ClientError(f"No answer within {PATIENCE_SECONDS} seconds.")
            for key, _ in ready:
                connection = key.data
                if (answer := connection.answer()) is None:
                    continue
                yield connection, answer
                if time.perf_counter() < deadline:
                    connection.send(next(requests))
                else:
                    waiting.unregister(connection.socket)


def request(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, body: str = ""
) -> str:
    """The text of a request, as `Load` takes it. The body is ASCII."""
    lines = {"Host": "127.0.0.1", **(headers or {})}
    if body:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(apply(Load(**json.loads(sys.stdin.read()))))))
