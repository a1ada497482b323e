"""Requests on behalf of tenants reach public web servers, and nothing inside."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from jobs import outgoing
from jobs.errors import Discard, Retry
from jobs.outgoing import MAX_RESPONSE_BYTES, is_public, request

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "169.253.255.255",
    "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1", "198.17.255.255",
    "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888",
    "2a00:1450:4001:81b::200e", "2620:fe::fe", "::ffff:8.8.8.8",
]  # fmt: skip

INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.1.2.3", "127.255.255.255", "169.254.0.1",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8",
    "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::2",
    "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
    "::ffff:168.63.129.16", "::ffff:0:127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::127.0.0.1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c::1", "2001:db8::1", "2002:a9fe:a9fe::",
    "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1",
    "febf::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1", "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_address_of_a_public_host_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_address_that_may_lead_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


def send(url: Any, **options: Any) -> dict[str, Any]:
    """Send a request from a loop of its own."""
    given = {"method": "GET", "headers": {}, "body": None} | options
    return asyncio.run(request(url, **given))


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "//example.org/", "/path", "example.org", "file:///etc/passwd",
        "gopher://example.org/", "ftp://example.org/", "javascript:alert(1)", "data:,x",
        "http://user@example.org/", "http://user:password@example.org/", "http://@example.org/",
        "http://exa\tmple.org/", "http://exa\nmple.org/", "http://example.org/ x", " http://a.b/",
        "http://example.org/\r\nHost: x", "http://ex\u00e4mple.org/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://[::1", "http://example.org:x/", "http://example.org:99999/",
        "http://example.org:0/", "http://example.org:22/", "http://example.org:25/",
        "http://example.org\\@127.0.0.1/", None, 5, ["http://example.org/"],
    ],
)  # fmt: skip
def test_address_that_is_none_of_the_web_is_refused(url: Any) -> None:
    with pytest.raises(Discard):
        send(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "0", "[::1]",
        "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "169.254.169.254", "10.0.0.1", "[fe80::1]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("port", ["", ":8080", ":6379"])
def test_host_inside_is_never_connected_to(
    host: str, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing.httpcore, "AnyIOBackend", NoNetwork)
    with pytest.raises(Discard, match="not on the public internet"):
        send(f"http://{host}{port}/")


class NoNetwork:
    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(f"connected to {args}")


class RecordingNetwork:
    """Answers no connection, and keeps what was asked for."""

    asked: list[tuple[Any, ...]] = []

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        self.asked.append(args[:2])
        raise ConnectionRefusedError


def resolve_to(*addresses: str) -> Callable[..., Any]:
    async def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (address, 80)) for address in addresses]

    return getaddrinfo


def test_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve_to("8.8.8.8", "10.0.0.1"))
    monkeypatch.setattr(outgoing.httpcore, "AnyIOBackend", NoNetwork)
    with pytest.raises(Discard, match="not on the public internet"):
        send("http://example.org/")


def test_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve_to("8.8.8.8", "8.8.4.4"))
    monkeypatch.setattr(outgoing.httpcore, "AnyIOBackend", RecordingNetwork)
    monkeypatch.setattr(RecordingNetwork, "asked", [])
    with pytest.raises(ConnectionRefusedError):
        send("http://example.org/")
    assert RecordingNetwork.asked == [("8.8.8.8", 80)]


@pytest.mark.parametrize("method", ["", "TRACE", "CONNECT", "get", "GET\r\n", None, ["GET"]])
def test_unusual_method_is_refused(method: Any) -> None:
    with pytest.raises(Discard):
        send("http://example.org/", method=method)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"},
        {"Connection": "close"}, {"X-A": "b\r\nX-C: d"}, {"X-A\r\n": "b"}, {"X A": "b"},
        {"X:A": "b"}, {"": "b"}, {"X-A": "\u00e4"}, {"X-A": "\0"}, {"X-A": 5}, {"X-A": None},
        ["X-A"], "X-A: b",
    ],
)  # fmt: skip
def test_headers_that_could_change_the_request_are_refused(headers: Any) -> None:
    with pytest.raises(Discard):
        send("http://example.org/", headers=headers)


@dataclass
class LocalServer:
    """A web server on this machine: how it is to answer, and what it was asked."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/path?q=1"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server that the settings allow to be called."""
    state = LocalServer()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            seen = {"method": self.command, "path": self.path, "body": self.rfile.read(length)}
            state.asked.append(seen | {"headers": {k.lower(): v for k, v in self.headers.items()}})
            self.send_response(state.status)
            for name, value in {"Content-Length": len(state.body), **state.headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            try:
                self.wfile.write(state.body)
            except ConnectionError:
                return  # the client had enough

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with override_settings(JOBQUEUE={"webhook_private_hosts": ("127.0.0.1",)}):
            yield state
        http.shutdown()
        thread.join()


def test_answer_has_status_headers_and_body(server: LocalServer) -> None:
    server.headers, server.body = {"X-Answer": "yes"}, "schön\0".encode()
    answer = send(server.url)
    assert (answer["status"], answer["headers"]["x-answer"]) == (200, "yes")
    assert answer["body"] == "schön\ufffd"


def test_private_host_is_called_only_where_the_operator_allows_it(server: LocalServer) -> None:
    with override_settings(JOBQUEUE={}), pytest.raises(Discard):
        send(server.url)
    assert server.asked == []


def test_body_is_sent_as_json_and_text_as_it_is(server: LocalServer) -> None:
    send(server.url, method="POST", body={"a": [1, "ä"]})
    send(server.url, method="PUT", body="plain", headers={"Content-Type": "text/plain"})
    as_json, as_text = server.asked
    assert (as_json["headers"]["content-type"], as_json["body"]) == (
        "application/json", b'{"a": [1, "\\u00e4"]}',
    )  # fmt: skip
    assert (as_text["headers"]["content-type"], as_text["body"]) == ("text/plain", b"plain")
    assert (as_text["method"], as_text["path"]) == ("PUT", "/path?q=1")


def test_own_headers_are_sent(server: LocalServer) -> None:
    send(server.url, headers={"Authorization": "Bearer x", "User-Agent": "mine"})
    sent = server.asked[0]["headers"]
    assert (sent["authorization"], sent["user-agent"]) == ("Bearer x", "mine")
    assert sent["host"] == f"127.0.0.1:{server.port}"


def test_proxy_of_the_environment_is_ignored(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert send(server.url)["status"] == 200


@pytest.mark.parametrize("size", [MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES + 1, 10_000_000])
def test_body_is_cut(server: LocalServer, size: int) -> None:
    server.body = b"x" * size
    assert len(send(server.url)["body"]) == MAX_RESPONSE_BYTES


def test_cookies_are_dropped_and_binary_bodies_are_readable(server: LocalServer) -> None:
    server.headers, server.body = {"Set-Cookie": "secret=1"}, b"\xff\xfe\x00"
    answer = send(server.url)
    assert "set-cookie" not in answer["headers"]
    assert answer["body"] == "\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: LocalServer, status: int) -> None:
    server.status, server.headers = status, {"Location": server.url}
    with pytest.raises(Discard, match=str(status)):
        send(server.url)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_refusal_is_not_tried_again(server: LocalServer, status: int) -> None:
    server.status = status
    with pytest.raises(Discard, match=str(status)):
        send(server.url)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 599])
def test_trouble_is_tried_again(server: LocalServer, status: int) -> None:
    server.status = status
    with pytest.raises(Retry, match=str(status)) as caught:
        send(server.url)
    assert caught.value.after is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("120", 120), ("86401", 86_400), ("1" * 400, 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("-5", None), ("soon", None), ("\u00b2", None),
        ("", None), ("1e3", None), ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400),
    ],
)  # fmt: skip
def test_retry_after_is_honoured_up_to_a_day(
    server: LocalServer, value: str, seconds: float | None
) -> None:
    server.status, server.headers = 503, {"Retry-After": value}
    with pytest.raises(Retry) as caught:
        send(server.url)
    assert caught.value.after == seconds


def test_retry_after_may_be_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(minutes=10)
    seconds = outgoing._retry_after(format_datetime(moment, usegmt=True))
    assert seconds is not None
    assert 590 <= seconds <= 600


@given(st.text() | st.from_regex(r"\A\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\Z"))
def test_no_retry_after_is_an_error(value: str) -> None:
    seconds = outgoing._retry_after(value)
    assert seconds is None or 0 <= seconds <= 86_400


def test_server_that_does_not_answer_is_given_up(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "TOTAL_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        send(f"http://127.0.0.1:{silent.getsockname()[1]}/")


@pytest.mark.parametrize("host", ["a" * 64 + ".org", "a..org"])
def test_name_that_cannot_be_one_is_not_tried_again(host: str) -> None:
    with pytest.raises(Discard):
        send(f"http://{host}/")
