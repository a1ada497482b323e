"""daphne's requests without what stops a process that serves many, its log without what is secret.

Of daphne 4.2.3 with Twisted 26.10.
"""

import re
from typing import Any

from daphne import access, cli, http_protocol

_WITH_HOST = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)


class Request(http_protocol.WebRequest):
    """A request that does not hold up those of others."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """Without the forms: Twisted would read them on the event loop, before anybody has looked
        at the key, and for seconds where there are megabytes. Django reads those that it wants.
        """
        super().__init__(*given, parsePOSTFormSubmission=False, **named)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """With the host that a target names (RFC 9112, section 3.2.2), and without it there."""
        if named := _WITH_HOST.match(path):
            self.requestHeaders.setRawHeaders(b"host", [named[1]])
            rest = path[named.end() :]
            path = rest if rest.startswith(b"/") else b"/" + rest
        super().requestReceived(command, path, version)

    def handle_exception(self, exception: BaseException) -> None:
        """Cut an answer off that has begun: an end would say that it is whole.

        daphne would begin another one, fail at that, and never again clean up after any request.
        """
        if not self._response_started:
            super().handle_exception(exception)
        elif self.channel is not None:
            self.transport.abortConnection()


class _WithoutQueries(access.AccessLogGenerator):
    """daphne's access log without queries: keys and texts of filters stand there."""

    def write_entry(self, host: str, date: Any, request: str, *rest: Any, **more: Any) -> None:
        super().write_entry(host, date, request.partition("?")[0], *rest, **more)


def install() -> None:
    """Let daphne make its requests of this kind from now on, and log no queries."""
    http_protocol.WebRequest = Request
    cli.AccessLogGenerator = _WithoutQueries
