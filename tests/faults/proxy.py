"""A TCP proxy that can do to connections what networks do. It stands before PostgreSQL.

Its faults are plain attributes and methods, which any thread may use:

    refusing      new connections are reset
    delay         seconds that everything takes longer
    stalled       nothing passes, and nobody is told
    drop_every    of so many COMMITs one is done by the server and its answer never comes: the
                  connection is reset instead; 0 for none
    cut()         all connections are reset
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""A message of PostgreSQL's protocol: a simple query of so many bytes."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that lets a close throw away what was not sent and reset the connection."""
LOOK_SECONDS = 0.02
CHUNK = 65_536


class Proxy:
    """Listens on `port` of 127.0.0.1 within its `with` block and passes on to `target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.refusing = False
        self.delay = 0.0
        self.stalled = False
        self.drop_every = 0
        self.dropped = 0
        self._commits = 0
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> int:
        """Reset all connections; answers how many there were."""
        return self._do(self._cut())

    def heal(self) -> None:
        """Pass on everything again, at once."""
        self.refusing = self.stalled = False
        self.delay = self.drop_every = 0

    def _do(self, what: Coroutine[Any, Any, int]) -> int:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> int:
        self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return 0

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        if self.refusing:
            link.reset()
            return
        self._links.add(link)
        try:
            answers, requests = await asyncio.open_connection(HOST, self.target)
            link.add(requests)
            await asyncio.gather(
                self._pass_on(link, reader, requests, is_request=True),
                self._pass_on(link, answers, writer, is_request=False),
            )
        except (OSError, asyncio.CancelledError):
            pass  # one of the two ends is gone, or we are: so is the other, below
        finally:
            link.reset()
            self._links.discard(link)

    async def _pass_on(
        self,
        link: "_Link",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_request: bool,
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._hold_up()
            if is_request and self._is_to_be_dropped(data):
                link.is_doomed = True
            elif link.is_doomed and not is_request:
                self.dropped += 1
                break
            writer.write(data)
            await writer.drain()
        # An end is passed on as an end only where all is well: it may be all that is wrong.
        link.reset()

    async def _hold_up(self) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        while self.stalled:
            await asyncio.sleep(LOOK_SECONDS)

    def _is_to_be_dropped(self, data: bytes) -> bool:
        if not self.drop_every or COMMIT not in data:
            return False
        self._commits += 1
        return self._commits % self.drop_every == 0


class _Link:
    """The two connections of a client: to us, and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self._ends = [client]
        self.is_doomed = False

    def add(self, server: asyncio.StreamWriter) -> None:
        """The connection to the server stands."""
        self._ends.append(server)

    def reset(self) -> None:
        """End both as a network does that lost them: with a reset, and without what was on its way.

        A link that has been reset stays as it is.
        """
        for end in self._ends:
            if not end.transport.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.transport.abort()
