"""Encryption of a tenant: switched on, its key rotated, erased, wrapped by another.

What is stored before is sealed in passes over the tenant's jobs, which may be broken off and begun
again at any time: each finds what is still to be done.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models.functions import Now

from jobs import data_keys, store, wakeup
from jobs.audit import audit
from jobs.data_keys import DataKey, forget_keys, key_of
from jobs.errors import EncryptionKeyErased, EncryptionKeyMissing, StatusConflict
from jobs.models import AuditAction, Job, Tenant, TenantKey
from jobs.statuses import Status

SETTLED_SECONDS = 5.0
"""By then every process has learnt of a tenant's new key: each believes for two seconds at most
what it knows of an API key and its tenant."""
FORGOTTEN_SECONDS = data_keys.KEY_SECONDS
MAX_PASSES = 5
PATIENCE_SECONDS = 60.0
"""So long is waited for transactions that may have submitted jobs before there was the key."""
LOOK_SECONDS = 0.2


def encrypt(tenant: Tenant, *, actor: str) -> DataKey:
    """Encrypt what the tenant's jobs carry from now on; answers its key.

    A tenant that has one keeps it; one whose key was erased, elsewhere too, gets a new one. Raises
    `EncryptionKeyMissing` if the environment has no key, or not the one that opens the tenant's.
    """
    with transaction.atomic():
        store.pass_gate_alone()
        tenant.refresh_from_db(fields=["key_id"])
        forget_keys()
        try:
            return key_of(tenant.key_id)
        except EncryptionKeyErased:  # as the one of id 0 is, which there is none of
            return _new_key(tenant, actor, "encrypt_tenant")


def rotate(tenant: Tenant, *, actor: str) -> DataKey:
    """Encrypt with a new key from now on. Raises as `encrypt`, and `StatusConflict` without one."""
    with transaction.atomic():
        store.pass_gate_alone()
        tenant.refresh_from_db(fields=["key_id"])
        if not tenant.key_id:
            raise StatusConflict(f"The tenant {tenant.slug!r} is not encrypted.")
        return _new_key(tenant, actor, "rotate_tenant_key", before=abs(tenant.key_id))


def _new_key(tenant: Tenant, actor: str, action: AuditAction, **details: object) -> DataKey:
    made = TenantKey.objects.create(tenant=tenant, **data_keys.new_wrapped(tenant.pk)._asdict())
    forget_keys()
    tenant.key_id = made.pk
    tenant.save(update_fields=["key_id"])
    audit(actor, action, tenant.pk, tenant.slug, key=made.pk, wrapped_by=made.wrapped_by, **details)
    transaction.on_commit(wakeup.signal)
    return key_of(made.pk)


@dataclass
class Progress:
    """How far the sealing of what a tenant had before came: jobs looked at, and their values.

    At the end, `running` are jobs that run, which may still leave something; `left` are jobs that
    were not sealed, `unfinished` transactions whose jobs could not be seen yet.
    """

    total: int
    looked_at: int = 0
    sealed: int = 0
    unreadable: int = 0
    running: int = 0
    left: int = 0
    unfinished: int = 0


def seal_earlier(tenant: Tenant, tell: Callable[[Progress], None] = lambda _: None) -> Progress:
    """Seal with the tenant's present key what is not yet, beside everything that goes on.

    In passes, until one finds nothing to do: a process that has not heard of the key may still add
    what is not sealed with it. Raises what `key_of` does, also if the key is erased meanwhile, and
    `StatusConflict` if the tenant gets another.
    """
    progress = Progress(Job.objects.filter(tenant=tenant).count())
    for number in range(MAX_PASSES):
        if number:
            time.sleep(SETTLED_SECONDS)
            progress.unfinished = _wait_for_transactions()
        before = progress.sealed
        _pass(tenant, progress, tell)
        if number and progress.sealed == before and not progress.left:
            break
    progress.running = Job.objects.filter(tenant=tenant, status=Status.RUNNING).count()
    return progress


def _wait_for_transactions() -> int:
    """Wait for those that have written by now; answers how many have not ended in time."""
    mark, deadline = store.transactions_mark(), time.monotonic() + PATIENCE_SECONDS
    while (count := store.transactions_before(mark)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return count


def _pass(tenant: Tenant, progress: Progress, tell: Callable[[Progress], None]) -> None:
    progress.looked_at = progress.unreadable = progress.left = 0
    last: uuid.UUID | None = store.FIRST_ID
    while last is not None:
        done = store.reseal(_still_the_key_of(tenant), last)
        last = done.last
        progress.looked_at += done.jobs
        progress.sealed += done.values
        progress.unreadable += done.unreadable
        progress.left += done.left
        tell(progress)


def _still_the_key_of(tenant: Tenant) -> DataKey:
    """Two who seal with different keys would undo each other's work for ever."""
    stored = Tenant.objects.values_list("key_id", flat=True).get(pk=tenant.pk)
    if stored > 0 and stored != tenant.key_id:
        raise StatusConflict(
            f"The tenant {tenant.slug!r} has got another key, and is being sealed with that now."
        )
    return key_of(stored)


class Erased(NamedTuple):
    """How many keys were erased, and how many transactions from before go on.

    Jobs that those submit are accepted, and nobody can ever open them.
    """

    keys: int
    unfinished: int


def erase(tenant: Tenant, *, actor: str) -> Erased:
    """Erase all keys of the tenant: what they sealed is lost for good.

    From then on no job is accepted, by any process, until the tenant has a new key (`encrypt`): it
    stays encrypted. Every process stops opening values within `data_keys.KEY_SECONDS`, which this
    waits for, and, for `PATIENCE_SECONDS` at most, for transactions that may have submitted jobs
    before. Call it in none.
    """
    with transaction.atomic():
        store.pass_gate_alone()  # as who makes a key does: one that is being made is erased, too
        erased = TenantKey.objects.filter(tenant=tenant, erased_at=None).update(
            wrapped=b"", erased_at=Now()
        )
        if erased:
            tenant.refresh_from_db(fields=["key_id"])
            tenant.key_id = -abs(tenant.key_id)  # who still seals with it has another than this
            tenant.save(update_fields=["key_id"])
            audit(actor, "erase_tenant_key", tenant.pk, tenant.slug, count=erased)
    forget_keys()
    if not erased:
        return Erased(0, 0)
    unfinished = _wait_for_transactions()
    time.sleep(FORGOTTEN_SECONDS)
    return Erased(erased, unfinished)


def rewrap(*, actor: str, tell: Callable[[int, int], None] = lambda _, __: None) -> int:
    """Wrap every tenant's keys by the first key of the environment; answers how many it were.

    The data keys stay as they are, and so do all values. Raises `EncryptionKeyMissing` at a key
    that does not open here; those before it are done.
    """
    first = next(iter(data_keys.environment_keys()), "")
    others = TenantKey.objects.filter(erased_at=None).exclude(wrapped_by=first)
    ids = list(others.values_list("pk", flat=True))
    done = 0
    try:
        for key_id in ids:
            _rewrap_one(key_id)
            done += 1
            tell(done, len(ids))
    finally:
        forget_keys()
        audit(actor, "rewrap_tenant_keys", None, first, count=done)
    return done


def _rewrap_one(key_id: int) -> None:
    """Locked, so that a key which is erased at the same moment does not come back."""
    with transaction.atomic():
        row = TenantKey.objects.select_for_update().get(pk=key_id)
        if row.erased_at is None:
            secret = data_keys.unwrap(row.tenant_id, bytes(row.wrapped), row.wrapped_by)
            row.wrapped, row.wrapped_by = data_keys.wrap(row.tenant_id, secret)
            row.save(update_fields=["wrapped", "wrapped_by"])


def state_of(tenant: Tenant) -> str:
    """Whether the tenant is encrypted, with which key, and whether that opens here; in words."""
    if not tenant.key_id:
        return "not encrypted"
    row = TenantKey.objects.get(pk=abs(tenant.key_id))
    if row.erased_at:
        return f"key {row.pk} was erased at {_shown(row.erased_at)}; no job is accepted without one"
    try:
        key_of(row.pk)
    except EncryptionKeyMissing as error:
        return f"encrypted with key {row.pk}, which cannot be opened here: {error}"
    since = _shown(row.created_at)
    return f"encrypted with key {row.pk} since {since}, wrapped by {row.wrapped_by!r}"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
