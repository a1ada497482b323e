"""Who works in the admin: an operator with every right, and staff with some."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext


@pytest.fixture
def operator(db: None) -> Client:
    """The browser of a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    return client


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Makes the browser of a staff user with these permissions of the project."""

    def make(*permissions: str) -> Client:
        user = User.objects.create_user("sam", is_staff=True)
        wanted = Permission.objects.filter(codename__in=permissions)
        assert {permission.codename for permission in wanted} == set(permissions)
        user.user_permissions.set(wanted)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def queries() -> Callable[..., object]:
    """Records the statements of a block."""

    @contextmanager
    def record(at_most: int) -> Iterator[list[str]]:
        statements: list[str] = []
        with CaptureQueriesContext(connection) as captured:
            yield statements
        statements += [query["sql"] for query in captured.captured_queries]
        assert len(statements) <= at_most, "\n".join(statements)

    return record
