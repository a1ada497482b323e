"""API keys: made, shown once, verified, revoked. Only a keyed hash of a secret is ever stored.

A key reads `jq_<8 id>_<43 secret><6 checksum>`. The secret has 256 bits, so a fast hash is right;
the checksum (GitHub's scheme) tells a typing error from a guess without asking the database.
"""

import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from string import ascii_lowercase, ascii_uppercase, digits

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from jobs.errors import InvalidInput
from jobs.models import ApiKey, Tenant
from jobs.services import audit

ALPHABET = digits + ascii_uppercase + ascii_lowercase
ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 43, 6
USE_IS_NOTED_EVERY = timedelta(minutes=5)
KEY_SECONDS = 2.0
"""How long a good key and its tenant are believed: changes made elsewhere are in force then."""
MOST_RECENT_KEYS = 10_000

recent_keys: dict[bytes, tuple[float, ApiKey]] = {}
"""When keys were verified, by the hash of their text: no secret is kept in memory."""

_FORM = re.compile(
    rf"\Ajq_(?P<id>[0-9A-Za-z]{{{ID_LENGTH}}})_(?P<secret>[0-9A-Za-z]{{{SECRET_LENGTH}}})"
    rf"(?P<checksum>[0-9A-Za-z]{{{CHECKSUM_LENGTH}}})\Z"
)
_NO_HASH = "0" * 64


class Scope(StrEnum):
    """What a key may do. `ADMIN` implies the others."""

    SUBMIT = "submit"
    READ = "read"
    WORK = "work"
    ADMIN = "admin"


def create_api_key(
    tenant: Tenant,
    *,
    name: str = "",
    scopes: Sequence[str] = tuple(Scope),
    expires_at: datetime | None = None,
    actor: str,
) -> tuple[ApiKey, str]:
    """A new key of the tenant, and its text, which cannot be had again. Raises `InvalidInput`."""
    prefix = _random(ID_LENGTH)
    secret = _base62(secrets.randbits(256), SECRET_LENGTH)
    key = ApiKey(
        tenant=tenant,
        name=name[:100],
        prefix=prefix,
        secret_hash=_hashes(secret)[0],
        scopes=_known_scopes(scopes),
        expires_at=expires_at,
    )
    with transaction.atomic():
        key.save(force_insert=True)
        audit(actor, "create_api_key", tenant.pk, f"key:{prefix}", scopes=key.scopes)
    return key, f"jq_{prefix}_{secret}{_checksum(prefix, secret)}"


def revoke_api_key(key: ApiKey, *, actor: str) -> ApiKey:
    """Make the key useless: here at once, in other processes within `KEY_SECONDS`.

    Revoking it again changes nothing.
    """
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
            audit(actor, "revoke_api_key", key.tenant_id, f"key:{key.prefix}")
    recent_keys.clear()
    key.refresh_from_db(fields=["revoked_at"])
    return key


def recognise(text: str) -> ApiKey | None:
    """As `verify`, for a good key with a query every `KEY_SECONDS` at most."""
    digest = hashlib.sha256(text.encode()).digest()
    verified_at, key = recent_keys.get(digest, (0.0, None))
    if key and time.monotonic() < verified_at + KEY_SECONDS:
        return key if _is_valid_now(key) else None
    asked_at = time.monotonic()
    key = verify(text)
    if key is not None:
        if len(recent_keys) >= MOST_RECENT_KEYS:
            recent_keys.clear()
        recent_keys[digest] = asked_at, key
    return key


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
    if key is None or not any(matches) or not _is_valid_now(key):
        return None
    _note_use(key)
    return key


def allows(key: ApiKey, scope: Scope) -> bool:
    """Whether the key may do what needs this scope."""
    return scope in key.scopes or Scope.ADMIN in key.scopes


def _known_scopes(scopes: Sequence[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(Scope))
    if unknown or not scopes:
        raise InvalidInput(
            f"Scopes are {', '.join(Scope)}; not {', '.join(unknown) or 'none'}.", pointer="scopes"
        )
    return [scope.value for scope in Scope if scope in scopes]


def _is_valid_now(key: ApiKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or timezone.now() < key.expires_at)


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
