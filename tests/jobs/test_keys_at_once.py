"""Who erases a tenant's keys and who gives it another at that moment come one after the other."""

import threading
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from jobs import tenant_keys
from jobs.models import Tenant, TenantKey
from jobs.store.dialect import is_postgresql
from tests.encrypted import ACTOR, FIRST, encrypted
from tests.factories import make_job
from tests.harness import wait_until
from tests.jobs.test_sealing_earlier import only_on_postgresql, strangers_transaction
from tests.store.steps import together

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 60


@pytest.fixture(autouse=True)
def first_key(environment_holds: Callable[..., None]) -> None:
    """The environment has a key."""
    environment_holds(FIRST)


def another(tenant: Tenant) -> Tenant:
    """The tenant as another process has read it."""
    return Tenant.objects.get(pk=tenant.pk)


def live_keys() -> list[int]:
    return list(TenantKey.objects.filter(erased_at=None).values_list("pk", flat=True))


def somebody_waits() -> bool:
    """For what another holds; on SQLite nobody can be seen to, and nobody else gets in."""
    if not is_postgresql():
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return cursor.fetchone() != (0,)


def test_key_that_a_rotation_is_making_is_erased_too(alice: Tenant) -> None:
    encrypted(alice)
    has_rotated = threading.Event()

    def rotate() -> None:
        with transaction.atomic():
            tenant_keys.rotate(another(alice), actor=ACTOR)
            has_rotated.set()
            wait_until(somebody_waits, what="the erasure waits")

    def erase() -> None:
        ours = another(alice)
        assert has_rotated.wait(SECONDS)
        tenant_keys.erase(ours, actor=ACTOR)

    together([rotate, erase])
    assert live_keys() == []
    assert another(alice).key_id < 0


def test_rotation_in_the_midst_of_an_erasure_comes_after_it(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = another(encrypted(alice))
    is_erasing, has_rotated = threading.Event(), threading.Event()

    def refresh_slowly(**fields: object) -> None:
        is_erasing.set()
        wait_until(lambda: has_rotated.is_set() or somebody_waits(), what="the rotation waits")
        Tenant.refresh_from_db(ours, **fields)  # type: ignore[arg-type]

    def rotate() -> None:
        other = another(alice)
        assert is_erasing.wait(SECONDS)
        tenant_keys.rotate(other, actor=ACTOR)
        has_rotated.set()

    monkeypatch.setattr(ours, "refresh_from_db", refresh_slowly)
    together([lambda: tenant_keys.erase(ours, actor=ACTOR), rotate])
    assert live_keys() == [another(alice).key_id]


def test_transaction_that_outlasts_the_patience_of_an_erasure_is_told(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_on_postgresql()
    encrypted(alice)
    monkeypatch.setattr(tenant_keys, "PATIENCE_SECONDS", 0)
    with (
        strangers_transaction(lambda: make_job(alice)),
        pytest.raises(CommandError, match="1 transactions go on"),
    ):
        call_command("tenants", "erase-key", "alice", "--yes")
    assert live_keys() == []
