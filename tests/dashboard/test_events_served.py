"""Streams and waits through a real server, from the first byte to the last."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from jobs import services
from jobs.keys import create_api_key
from jobs.models import ApiKey, Job, Tenant
from tests.factories import make_job
from tests.live_server import live_server

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_SECONDS = 60


@contextmanager
def answered(address: str, path: str, **headers: str) -> Iterator[HTTPResponse]:
    """What a GET is answered, while it comes."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", f"/api/v1{path}", headers=headers)
        yield connection.getresponse()
    finally:
        connection.close()


def lines_until(response: HTTPResponse, wanted: bytes) -> list[bytes]:
    """The lines of the stream, until one begins like that."""
    lines: list[bytes] = []
    while not lines or not lines[-1].startswith(wanted):
        line = response.readline()
        assert line, lines
        lines.append(line)
    return lines


def test_a_server_streams_what_changes_and_holds_back_what_is_waited_for(alice: Tenant) -> None:
    key = create_api_key(alice, actor="command:test")[1]
    bearer = {"Authorization": f"Bearer {key}"}
    with live_server() as (address, _), answered(address, "/events", **bearer) as stream:
        assert stream.getheader("Content-Type") == "text/event-stream"
        lines_until(stream, b"event: reset")
        job = make_job(alice)
        lines_until(stream, b"event: changed")

        with answered(address, f"/jobs/{job.pk}", **bearer) as first:
            tag = str(first.getheader("ETag"))
            first.read()
        wait = {"If-None-Match": tag, "Prefer": "wait=60"}
        request = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
        request.request("GET", f"/api/v1/jobs/{job.pk}", headers={**bearer, **wait})
        services.cancel(Job.objects.get(), actor="command:test")
        answer = request.getresponse()
        assert json.loads(answer.read())["status"] == "CANCELLED"
        assert answer.getheader("Preference-Applied") == "wait=60"
        request.close()

        ApiKey.objects.filter(tenant=alice).delete()
        assert lines_until_end(stream)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(f"{address}/api/v1/jobs", headers=bearer))


def lines_until_end(response: HTTPResponse) -> bool:
    """Whether the stream ends by itself."""
    while response.readline():
        continue
    return True
