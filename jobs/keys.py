"""API keys: made, shown once, verified, rotated, revoked. Only a keyed hash of a secret is stored.

A key reads `jq_<8 id>_<43 secret><6 checksum>`. The secret has 256 bits, so a fast hash is right;
the checksum (GitHub's scheme) tells a typing error from a guess without asking the database.
"""

import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from jobs.audit import audit
from jobs.conf import conf
from jobs.errors import AlreadyRotated, InvalidInput, KeyEnded, KeyNotFound
from jobs.instants import instant
from jobs.models import NAME_PATTERN, ApiKey, Tenant
from jobs.watch import Watch

ALPHABET = digits + ascii_uppercase + ascii_lowercase
ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 43, 6
MAX_NAME = 100
"""Characters of a key's name."""
MAX_QUEUES = 100
"""Names that a key's list of queues may have."""
USE_IS_NOTED_EVERY = timedelta(minutes=5)
KEY_SECONDS = 2.0
"""How long a good key and its tenant are believed: changes made elsewhere are in force then."""
MOST_RECENT_KEYS = 10_000


class RecentKeys(dict[bytes, tuple[float, ApiKey]]):
    """When keys were verified, by the hash of their text: no secret is kept in memory."""

    generation = 0
    """How often they were forgotten: what was read before then must not be remembered after."""

    def clear(self) -> None:
        """Forget them, and what other threads are about to remember."""
        self.generation += 1
        super().clear()


recent_keys = RecentKeys()

_FORM = re.compile(
    rf"\Ajq_(?P<id>[0-9A-Za-z]{{{ID_LENGTH}}})_(?P<secret>[0-9A-Za-z]{{{SECRET_LENGTH}}})"
    rf"(?P<checksum>[0-9A-Za-z]{{{CHECKSUM_LENGTH}}})\Z"
)
_NO_HASH = "0" * 64


class KeyState(StrEnum):
    """Whether a key works; one that was revoked stays so when its time is over."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Scope(StrEnum):
    """What a key may do. `ADMIN` implies the others."""

    SUBMIT = "submit"
    READ = "read"
    WORK = "work"
    ADMIN = "admin"


def reads_payloads(scopes: Collection[str]) -> bool:
    """Whether a key with these scopes reads payloads: to read, to work and to administer is to."""
    return not {Scope.SUBMIT}.issuperset(scopes)


def create_api_key(
    tenant: Tenant,
    *,
    name: str = "",
    scopes: Sequence[str] = tuple(Scope),
    queues: Sequence[str] = (),
    expires_at: datetime | None = None,
    granted_by: ApiKey | None = None,
    actor: str,
) -> tuple[ApiKey, str]:
    """A new key of the tenant, and its text, which cannot be had again. Raises `InvalidInput`.

    One that is `granted_by` another expires with that at the latest.
    """
    key = ApiKey(
        tenant=tenant,
        name=_short_enough(name),
        scopes=_known_scopes(scopes),
        queues=queue_names(queues),
        expires_at=_as_far_as(granted_by, expires_at),
        created_by=actor,
    )
    with transaction.atomic():
        _refuse_too_many(tenant)
        text = _add(key)
        audit(actor, "create_api_key", tenant.pk, _target(key), after=_rights(key))
    return key, text


def rotate_api_key(
    key: ApiKey,
    *,
    overlap: timedelta,
    expires_at: datetime | None,
    granted_by: ApiKey | None = None,
    actor: str,
) -> tuple[ApiKey, str]:
    """A new key that may do the same, and its text; the old one ends after the overlap.

    A successor that it has had already, and that was never used, is revoked. Raises
    `AlreadyRotated` if that is in use, `KeyEnded` for a key that has ended before, `InvalidInput`
    as `create_api_key`.
    """
    successor = ApiKey(
        tenant=key.tenant,
        name=key.name,
        scopes=key.scopes,
        queues=key.queues,
        expires_at=_as_far_as(granted_by, expires_at),
        created_by=actor,
    )
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().get(pk=key.pk)
        if not is_valid_now(old):
            raise KeyEnded(f"The key {key} is revoked or has expired; make a new one.")
        _revoke_unused_successor(old, actor)
        before, end = _rights(old), timezone.now() + overlap
        old.expires_at = _first(old.expires_at, end)
        old.save(update_fields=["expires_at"])
        _refuse_too_many(key.tenant)
        text = _add(successor)
        old.successor = successor
        old.save(update_fields=["successor"])
        changes = {"before": before, "after": _rights(old), "successor": _target(successor)}
        audit(actor, "rotate_api_key", key.tenant_id, _target(key), **changes)
    recent_keys.clear()
    return successor, text


def end_of_successor(key: ApiKey, granted_by: ApiKey | None = None) -> datetime | None:
    """When the key's successor ends if nobody says: as it would have, or with who asks for it.

    As one that it has had would have, unless that has ended: a new key is to work.
    """
    ends = [one.expires_at for one in (key.successor, key) if one]
    own = next((end for end in ends if end is None or end > timezone.now()), key.expires_at)
    return _first(own, granted_by.expires_at if granted_by else None)


def _first(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(one, other) if one and other else one or other


def _revoke_unused_successor(key: ApiKey, actor: str) -> None:
    successor = key.successor
    if successor is None or not is_valid_now(successor):
        return
    if successor.last_used_at is not None:
        raise AlreadyRotated(f"The key {key} was rotated already, and {successor} is in use.")
    revoke_api_key(successor, actor=actor)


def _add(key: ApiKey) -> str:
    """Give the key an id and a secret, and save it; answers its text."""
    secret = _base62(secrets.randbits(256), SECRET_LENGTH)
    key.prefix = _random(ID_LENGTH)
    checksum = _checksum(key.prefix, secret)
    key.secret_hash, key.last_four = _hashes(secret)[0], checksum[-4:]
    key.save(force_insert=True)
    return f"jq_{key.prefix}_{secret}{checksum}"


def _as_far_as(granted_by: ApiKey | None, expires_at: datetime | None) -> datetime | None:
    """When a key that is granted by another ends. Raises `InvalidInput` if that ends before."""
    last = granted_by.expires_at if granted_by else None
    if last is None or expires_at is None:
        return last or expires_at
    if expires_at > last:
        raise InvalidInput(
            f"expires_at may be {instant(last)} at most, when the key that asks for it ends.",
            code="out_of_range",
            pointer="expires_at",
        )
    return expires_at


def _refuse_too_many(tenant: Tenant) -> None:
    most = conf().max_keys_per_tenant
    if valid_keys(tenant).count() >= most:
        raise InvalidInput(
            f"A tenant may have {most} keys that work; revoke one first.", code="too_many_keys"
        )


def valid_keys(tenant: Tenant) -> QuerySet[ApiKey]:
    """The keys of the tenant that are neither revoked nor expired."""
    return ApiKey.objects.filter(are_valid(), tenant=tenant)


def are_valid() -> Q:
    """The condition that keys are neither revoked nor expired."""
    has_time = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return has_time & Q(revoked_at=None)


def _read_valid(key_ids: Collection[int]) -> dict[int, object]:
    valid = ApiKey.objects.filter(are_valid(), pk__in=key_ids)
    return dict.fromkeys(valid.values_list("pk", flat=True), True)


key_watch: Watch[int] = Watch("key-watch", _read_valid, seconds=3.0)
"""Watches keys with which something is open for long: a valid one has the mark True."""


def find_key(tenant: Tenant, prefix: str) -> ApiKey:
    """The tenant's key with that id. Raises `KeyNotFound`, alike for absent and a stranger's."""
    key = ApiKey.objects.filter(tenant=tenant, prefix=prefix).first() if prefix.isalnum() else None
    if key is None:
        raise KeyNotFound("There is no such key.")
    return key


def _target(key: ApiKey) -> str:
    """The key in the words of the audit log."""
    return f"key:{key.prefix}"


def _rights(key: ApiKey) -> dict[str, Any]:
    return {"scopes": key.scopes, "queues": key.queues, "expires_at": instant(key.expires_at)}


def revoke_api_key(key: ApiKey, *, actor: str) -> ApiKey:
    """Make the key useless: here at once, in other processes within `KEY_SECONDS`.

    Revoking it again changes nothing.
    """
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit(actor, "revoke_api_key", key.tenant_id, _target(key), before=_rights(key))
    recent_keys.clear()
    key.refresh_from_db(fields=["revoked_at"])
    return key


def recognise(text: str) -> ApiKey | None:
    """As `verify`, for a good key with a query every `KEY_SECONDS` at most."""
    digest = hashlib.sha256(text.encode()).digest()
    verified_at, key = recent_keys.get(digest, (0.0, None))
    if key and time.monotonic() < verified_at + KEY_SECONDS:
        return key if is_valid_now(key) else None
    if len(recent_keys) >= MOST_RECENT_KEYS:
        recent_keys.clear()
    asked_at, generation = time.monotonic(), recent_keys.generation
    key = verify(text)
    if key is not None:
        recent_keys[digest] = asked_at, key
        if recent_keys.generation != generation:  # it may have been revoked since it was read
            recent_keys.pop(digest, None)
    return key


def was_good(text: str) -> bool:
    """Whether this was a good key when it was verified last, in this process."""
    return hashlib.sha256(text.encode()).digest() in recent_keys


@receiver([post_save, post_delete], sender=ApiKey)
@receiver([post_save, post_delete], sender=Tenant)
def _forget_keys(**kwargs: object) -> None:
    recent_keys.clear()


def verify(text: str) -> ApiKey | None:
    """The key (with its tenant) that this text is, unless it is revoked, expired or no key at all.

    A text that cannot be a key costs no query; an unknown id costs as much as a wrong secret.
    """
    form = _FORM.match(text)
    if form is None or form["checksum"] != _checksum(form["id"], form["secret"]):
        return None
    key = ApiKey.objects.select_related("tenant").filter(prefix=form["id"]).first()
    stored = key.secret_hash if key else _NO_HASH
    matches = [constant_time_compare(stored, given) for given in _hashes(form["secret"])]
    if key is None or not any(matches) or not is_valid_now(key):
        return None
    _note_use(key)
    return key


def allows(key: ApiKey, scope: Scope) -> bool:
    """Whether the key may do what needs this scope."""
    return scope in key.scopes or Scope.ADMIN in key.scopes


def may_use(key: ApiKey, queue: str) -> bool:
    """Whether the key may have to do with this queue."""
    return not key.queues or queue in key.queues


def queue_names(queues: Sequence[str]) -> list[str]:
    """The names of queues, sorted. Raises `InvalidInput` for what is none."""
    malformed = [queue for queue in queues if not re.fullmatch(NAME_PATTERN, queue)]
    if malformed or len(queues) > MAX_QUEUES:
        raise InvalidInput(f"queues are up to {MAX_QUEUES} names of queues.", pointer="queues")
    return sorted(set(queues))


def _short_enough(name: str) -> str:
    if len(name) > MAX_NAME:
        raise InvalidInput(f"A name has up to {MAX_NAME} characters.", pointer="name")
    return name


def _known_scopes(scopes: Sequence[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(Scope))
    if unknown or not scopes:
        raise InvalidInput(
            f"Scopes are {', '.join(Scope)}; not {', '.join(unknown) or 'none'}.",
            code="invalid_choice",
            pointer="scopes",
        )
    return [scope.value for scope in Scope if scope in scopes]


def key_state(key: ApiKey) -> KeyState:
    """Whether the key works now, and if not, why."""
    if key.revoked_at:
        return KeyState.REVOKED
    is_over = key.expires_at is not None and key.expires_at <= timezone.now()
    return KeyState.EXPIRED if is_over else KeyState.VALID


def is_valid_now(key: ApiKey) -> bool:
    """Whether the key is neither revoked nor expired."""
    return key_state(key) is KeyState.VALID


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    due = now - USE_IS_NOTED_EVERY
    if key.last_used_at is None or key.last_used_at < due:
        unused = Q(last_used_at=None) | Q(last_used_at__lt=due)
        ApiKey.objects.filter(unused, pk=key.pk).update(last_used_at=now)


def _hashes(secret: str) -> list[str]:
    """HMAC-SHA256 under the secret key of the installation, then under its predecessors."""
    peppers = chain([settings.SECRET_KEY], settings.SECRET_KEY_FALLBACKS)
    return [
        salted_hmac("jobs.keys", secret, secret=pepper, algorithm="sha256").hexdigest()
        for pepper in peppers
    ]


def _checksum(prefix: str, secret: str) -> str:
    return _base62(zlib.crc32(f"jq_{prefix}_{secret}".encode()), CHECKSUM_LENGTH)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _base62(number: int, length: int) -> str:
    text = ""
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text
