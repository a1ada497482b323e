"""What waits on a server: long polls of workers and sockets of pages, over asyncio."""

import asyncio
import base64
import json
import os
import struct
from typing import Any

WAIT_SECONDS = 30
RETRY_SECONDS = (1, 2, 4, 8, 16)
_TEXT, _PING, _PONG, _MASKED, _LONG = 0x81, 0x89, 0x8A, 0x80, 126


async def leased(port: int, headers: str) -> list[dict[str, Any]]:
    """The jobs that a worker gets in the end, however often it has to ask."""
    body = json.dumps({"wait_seconds": WAIT_SECONDS, "max_jobs": 1})
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    request = f"POST /api/v1/leases HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}{head}\r\n{body}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        jobs: list[dict[str, Any]] = []
        while not jobs:
            writer.write(request.encode())
            jobs = json.loads(await _body(reader))["jobs"]
        return jobs
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if " 200 " not in head.splitlines()[0]:
        raise ConnectionError(head)
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    return await reader.readexactly(length)


class Page:
    """A socket as the page of a browser has it: answers each message that it gets."""

    def __init__(self, port: int, cookie: str) -> None:
        self._port, self._cookie = port, cookie
        self.changed: set[str] = set()
        self.messages = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen; as browsers do, again where a busy server hung up on the first try."""
        for seconds in RETRY_SECONDS:
            try:
                reader, writer = await self._shake_hands()
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(seconds)
        else:
            raise ConnectionError("The server does not take sockets.")
        self._task = asyncio.create_task(self._listen(reader, writer))

    async def _shake_hands(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        nonce = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws/live HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Origin: http://127.0.0.1:{self._port}\r\nCookie: {self._cookie}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head.decode())
        return reader, writer

    async def close(self) -> None:
        """Hang up. Raises what went wrong with the socket."""
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        elif self._task:
            self._task.result()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind, text = await _frame(reader)
                if kind == _PING:
                    writer.write(_masked(_PONG, text))
                    continue
                if kind != _TEXT:
                    raise ConnectionError(f"closed: {text!r}")
                message = json.loads(text)
                self.messages += 1
                self.changed.update(message["changed"])
                writer.write(_masked(_TEXT, json.dumps({"seen": message["seq"]}).encode()))
        finally:
            writer.close()


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next frame's kind and text (RFC 6455); no longer ones than of 64 kB come."""
    kind, length = await reader.readexactly(2)
    if length == _LONG:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    return kind, await reader.readexactly(length)


def _masked(kind: int, text: bytes) -> bytes:
    """A short frame as clients send it; the mask is of zeros."""
    return bytes([kind, _MASKED | len(text)]) + bytes(4) + text
