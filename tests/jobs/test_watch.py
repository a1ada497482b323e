"""A watch reads rows on one connection, and is there again after the database was away."""

import asyncio
import threading
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.signals import connection_created

from jobs.models import Tenant
from jobs.watch import Watch

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def connected() -> Iterator[list[str]]:
    """The threads that connected, once for each connection."""
    made: list[str] = []

    def note(**kwargs: Any) -> None:
        made.append(threading.current_thread().name.partition("_")[0])

    connection_created.connect(note)
    yield made
    connection_created.disconnect(note)


class Reader:
    """Reads nothing new a few times, then a change. Fails at the reads that it is told."""

    def __init__(self, *, fails_at: Collection[int] = ()) -> None:
        self.reads = 0
        self._fails_at = fails_at

    def __call__(self, keys: Collection[int]) -> dict[int, object]:
        self.reads += 1
        assert Tenant.objects.count() == 0
        if self.reads in self._fails_at:
            raise OperationalError("the server is gone")
        return dict.fromkeys(keys, self.reads >= 5)


async def test_many_reads_take_one_connection(connected: list[str]) -> None:
    reader = Reader()
    await asyncio.wait_for(Watch("test-watch", reader, seconds=0.01).changed(1, False), 60)
    assert reader.reads == 5
    assert connected.count("test-watch") == 1


async def test_a_connection_that_may_be_broken_is_not_used_again(connected: list[str]) -> None:
    reader = Reader(fails_at=[2])
    await asyncio.wait_for(Watch("test-watch", reader, seconds=0.01).changed(1, False), 60)
    assert reader.reads == 5
    assert connected.count("test-watch") == 2
