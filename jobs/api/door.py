"""The door of an ASGI server: a wrong key is refused here, before its request costs much.

In Django a request takes a thread and a connection of its own and some milliseconds: a few thousand
wrong keys a minute would keep a process from serving good ones. Here one thread looks at all keys
that are not known yet, on one connection. A key that was good passes; Django verifies it as ever.
"""

import asyncio
import logging
import queue
import threading
from io import BytesIO

from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.asgi import Application, AsgiScope, Receive, Send
from jobs.api.authentication import BearerAuthentication
from jobs.api.problems import problem_response, request_id
from jobs.api.renderers import RawJSONRenderer
from jobs.errors import TooManyFailures
from jobs.keys import was_good

VERDICT_SECONDS = 10.0
"""After so long without a verdict, a request passes, and Django decides."""
IDLE_SECONDS = 1.0
"""After so long without a key to look at, the thread and its connection end."""
PREFIX = "/api/v1/"

_log = logging.getLogger(__name__)


class Door:
    """An ASGI application around another."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._doorman = _Doorman()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Refuse a wrong key; pass on all the rest."""
        text = _key_in(scope)
        refusal = None if text is None or was_good(text) else await self._doorman.look_at(scope)
        if refusal is None:
            await self._application(scope, receive, send)
            return
        headers = [(k.lower().encode(), v.encode()) for k, v in refusal.items()]
        await send(
            {"type": "http.response.start", "status": refusal.status_code, "headers": headers}
        )
        body = b"" if scope["method"] == "HEAD" else refusal.content
        await send({"type": "http.response.body", "body": body})


def _key_in(scope: AsgiScope) -> str | None:
    """What a request of the API calls its key, as Django reads it; None where it has none."""
    if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
        return None
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return str(b",".join(found).decode("latin-1").partition(" ")[2].strip()) if found else None


class _Doorman:
    """The thread, while there are keys to look at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[AsgiScope, asyncio.Future[Response | None]]]
        self._queue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def look_at(self, scope: AsgiScope) -> Response | None:
        """The refusal of the request; None if it may pass."""
        verdict: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._queue.put((scope, verdict))
            if self._thread is None or not self._thread.is_alive():  # it does not live on in a fork
                self._thread = threading.Thread(target=self._serve, name="door", daemon=True)
                self._thread.start()
        try:
            return await asyncio.wait_for(verdict, VERDICT_SECONDS)
        except TimeoutError:
            _log.warning("the door is slow: Django verifies the key")
            return None

    def _serve(self) -> None:
        try:
            while True:
                try:
                    scope, verdict = self._queue.get(timeout=IDLE_SECONDS)
                except queue.Empty:
                    if self._is_over():
                        return
                else:
                    _settle(verdict, _refusal_of(scope))
        finally:
            connections.close_all()

    def _is_over(self) -> bool:
        with self._lock:
            if self._queue.empty():
                self._thread = None
            return self._thread is None


def _settle(verdict: asyncio.Future[Response | None], refusal: Response | None) -> None:
    def settle() -> None:
        if not verdict.done():  # its client may be gone
            verdict.set_result(refusal)

    try:
        verdict.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # its loop has ended, and its client with it
        _log.debug("a client at the door was gone")


def _refusal_of(scope: AsgiScope) -> Response | None:
    """What a wrong key is answered; None for a good one, and where only Django can tell."""
    try:
        return _verified(Request(ASGIRequest({**scope, "headers": _headers(scope)}, BytesIO())))
    except Exception:  # this thread looks for all; Django meets the same, and says so
        connections.close_all()  # that one may be broken
        _log.warning("the door cannot verify keys", exc_info=True)
        return None


def _headers(scope: AsgiScope) -> list[tuple[bytes, bytes]]:
    """Without the content type: Django raises for some, and no key is in it."""
    return [(name, value) for name, value in scope["headers"] if name != b"content-type"]


def _verified(request: Request) -> Response | None:
    authentication = BearerAuthentication()
    try:
        authentication.authenticate(request)
    except (AuthenticationFailed, TooManyFailures) as error:
        if isinstance(error, AuthenticationFailed):
            error.auth_header = authentication.authenticate_header(request)  # type: ignore[attr-defined]
        return _rendered(problem_response(error, {"request": request, "view": None}), request)
    return None


def _rendered(response: Response, request: Request) -> Response:
    response["X-Request-Id"] = request_id(request)
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    response.accepted_renderer = RawJSONRenderer()
    response.accepted_media_type = "application/json"
    response.renderer_context = {}  # type: ignore[attr-defined]
    response.render()
    response["Content-Length"] = str(len(response.content))
    return response
