"""Operations that begin at the same moment are counted one after the other."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest
from django.db import connections, transaction
from django.test import override_settings

from jobs.errors import TooManyOperations
from jobs.models import Operation, Tenant
from jobs.operations import start
from jobs.statuses import BulkAction

LOOKS_SECONDS = 2
"""Without the lock the other would begin its own in this time."""


@pytest.mark.django_db(transaction=True)
@override_settings(JOBQUEUE={"max_operations_per_tenant": 1})
def test_no_more_begin_than_a_tenant_may_have(alice: Tenant) -> None:
    def begin() -> None:
        try:
            start(alice, BulkAction.CANCEL, "queue:mail", actor="command:test")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            start(alice, BulkAction.CANCEL, "queue:hooks", actor="command:test")
            other: Future[None] = pool.submit(begin)
            wait([other], timeout=LOOKS_SECONDS)
        with pytest.raises(TooManyOperations):
            other.result(60)
    assert Operation.objects.count() == 1
