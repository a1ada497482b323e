"""Clients of a tenant: of the application in this process, and of a real server."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from jobqueue_client import Client
from jobqueue_project.wsgi import application
from jobs.keys import create_api_key
from jobs.models import Tenant

NOWHERE = "http://queue.invalid"
START_SECONDS = 60


@pytest.fixture
def key_of() -> Callable[..., str]:
    """Makes a key of the tenant; all scopes unless told."""

    def make(tenant: Tenant, *scopes: str) -> str:
        options = {"scopes": scopes} if scopes else {}
        return create_api_key(tenant, actor="command:test", **options)[1]

    return make


@pytest.fixture
def application_transport() -> Iterator[httpx.BaseTransport]:
    """The application itself, without a network, in the transaction of the test."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield httpx.WSGITransport(app=application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def client(
    alice: Tenant, key_of: Callable[..., str], application_transport: httpx.BaseTransport
) -> Iterator[Client]:
    """Alice's client of the application in this process."""
    with Client("http://testserver", key_of(alice), transport=application_transport) as made:
        yield made


@pytest.fixture
def live(server: str, alice: Tenant, key_of: Callable[..., str]) -> Iterator[Client]:
    """Alice's client of the real server."""
    with Client(server, key_of(alice), timeout_seconds=START_SECONDS) as made:
        yield made
