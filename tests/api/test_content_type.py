"""A content type that nobody can read is the caller's mistake, whatever serves the request."""

from io import BytesIO
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from jobqueue_project.wsgi import application
from jobs.keys import create_api_key
from jobs.models import Job, Tenant
from tests.api import asgi

UNREADABLE = ["text/plain; charset*=utf-99''x%41", "application/json; charset=a\0b"]


@pytest.fixture
def key(alice: Tenant) -> str:
    """Alice's key."""
    return create_api_key(alice, actor="command:test")[1]


def _posted(key: str, content_type: str, body: bytes) -> tuple[str, bytes]:
    """The status and the body that WSGI answers a submission."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/v1/jobs",
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
    }
    setup_testing_defaults(environ)
    environ["HTTP_HOST"] = "localhost"
    statuses: list[str] = []
    answer = application(environ, lambda status, headers, error=None: statuses.append(status))
    return statuses[0], b"".join(answer)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("content_type", UNREADABLE)
def test_under_wsgi_its_body_is_not_taken_for_json(key: str, content_type: str) -> None:
    status, body = _posted(key, content_type, b'{"payload": 1}')
    assert status.startswith("415 ")
    assert b'"code":"unsupported_media_type"' in body.replace(b": ", b":")
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("content_type", UNREADABLE)
async def test_under_asgi_a_call_without_a_body_is_answered(key: str, content_type: str) -> None:
    answer = await asgi.get("/jobs", key, Content_Type=content_type)
    assert answer.status == 200
