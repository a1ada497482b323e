"""The keys of encryption: those of the environment, and the tenants' data keys that they wrap.

`ENCRYPTION_KEYS` is one or several `id:base64 of 32 bytes`, with commas between them. The first
wraps new data keys, the others only open what they have wrapped before.
"""

import base64
import binascii
import hmac
import logging
import os
import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.conf import settings

from jobs.errors import EncryptionKeyErased, EncryptionKeyMissing

KEY_SECONDS = 5.0
"""How long a key is believed as it was read: erased elsewhere, it works no longer than that."""
TOLD_SECONDS = 60.0
"""That a key cannot be opened is logged once in so long."""
MAX_KNOWN = 10_000
ERASED = "The tenant's encryption key was erased, and with it all that it sealed."
SECRET_BYTES = 32
NONCE_BYTES = 12
_KEY_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A tenant's key, opened."""

    id: int
    tenant_id: int
    secret: bytes = field(repr=False)

    def derived(self, purpose: bytes) -> bytes:
        """A key for one purpose, of 32 bytes, that tells nothing about those for others."""
        return hmac.digest(self.secret, purpose, "sha256")


class _Entry(NamedTuple):
    name: str
    secret: bytes
    problem: str


def environment_keys() -> Mapping[str, bytes]:
    """The keys of the environment by their ids, the one that wraps first."""
    return {x.name: x.secret for x in _entries(settings.ENCRYPTION_KEYS) if not x.problem}


def problems() -> list[str]:
    """What is wrong with `ENCRYPTION_KEYS`, without a word of what is secret in it."""
    entries = _entries(settings.ENCRYPTION_KEYS)
    names = [x.name for x in entries if not x.problem]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [
        *(f"entry {at} {x.problem}" for at, x in enumerate(entries, 1) if x.problem),
        *(f"the id {name!r} is there twice" for name in twice),
    ]


@lru_cache(maxsize=4)
def _entries(text: str) -> list[_Entry]:
    return [_entry(one) for one in text.split(",")] if text.strip() else []


def _entry(text: str) -> _Entry:
    name, colon, encoded = text.strip().partition(":")
    if not colon or not _KEY_NAME.match(name):
        return _Entry(
            "", b"", "does not begin with an id of 1 to 32 letters and digits and a colon"
        )
    try:
        secret = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return _Entry(name, b"", "is not base64 after its id")
    if len(secret) != SECRET_BYTES:
        return _Entry(name, b"", f"has {len(secret)} bytes; a key has {SECRET_BYTES}")
    return _Entry(name, secret, "")


class Wrapped(NamedTuple):
    """A data key as it is stored, and the id of the environment's key that opens it."""

    wrapped: bytes
    wrapped_by: str


def new_wrapped(tenant_id: int) -> Wrapped:
    """A new data key for the tenant. Raises `EncryptionKeyMissing` without a key to wrap it."""
    return wrap(tenant_id, os.urandom(SECRET_BYTES))


def wrap(tenant_id: int, secret: bytes) -> Wrapped:
    """The data key, wrapped by the first key of the environment. Raises as `new_wrapped`."""
    for name, key in environment_keys().items():
        nonce = os.urandom(NONCE_BYTES)
        return Wrapped(nonce + AESGCM(key).encrypt(nonce, secret, _owner(tenant_id)), name)
    raise EncryptionKeyMissing(
        "ENCRYPTION_KEYS holds no key; set it for all processes, "
        "such as to k1:$(openssl rand -base64 32)."
    )


def unwrap(tenant_id: int, wrapped: bytes, wrapped_by: str) -> bytes:
    """The data key. Raises `EncryptionKeyMissing` if this process has not what opens it."""
    key = environment_keys().get(wrapped_by)
    if key is None:
        raise EncryptionKeyMissing(
            f"The tenant's encryption key is wrapped by {wrapped_by!r}, "
            "which ENCRYPTION_KEYS does not hold here."
        )
    try:
        nonce, rest = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        return AESGCM(key).decrypt(nonce, rest, _owner(tenant_id))
    except (InvalidTag, ValueError):
        raise EncryptionKeyMissing(
            f"The tenant's encryption key does not open with {wrapped_by!r} of ENCRYPTION_KEYS: "
            "that is another key than the one that wrapped it."
        ) from None


def _owner(tenant_id: int) -> bytes:
    return f"data key of tenant {tenant_id}".encode()


def key_of(key_id: int) -> DataKey:
    """The data key of that id. Raises `EncryptionKeyMissing` or `EncryptionKeyErased`."""
    found = _known.get([key_id])[key_id]
    if not isinstance(found, DataKey):
        raise type(found)(found.detail)
    return found


def openable(key_ids: Collection[int]) -> set[int]:
    """Those of the data keys that this process can open."""
    found = _known.get(key_ids)
    return {key_id for key_id, key in found.items() if isinstance(key, DataKey)}


def forget_keys() -> None:
    """Read every key anew when it is needed again; in this process."""
    _known.clear()


_Found = DataKey | EncryptionKeyMissing | EncryptionKeyErased


class _Known:
    """The keys that were lately read: opened, or what kept them from being."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[int, tuple[float, _Found]] = {}
        self._told: dict[int, float] = {}

    def get(self, key_ids: Iterable[int]) -> dict[int, _Found]:
        """The keys of these ids, each as it was at most `KEY_SECONDS` ago."""
        now = time.monotonic()
        known = {x: self._found.get(x, (-KEY_SECONDS, None)) for x in key_ids}
        found = {x: key for x, (at, key) in known.items() if key and now < at + KEY_SECONDS}
        if stale := known.keys() - found:
            read = dict(_read(stale))
            found |= read
            with self._lock:
                if len(self._found) > MAX_KNOWN:
                    self._found.clear()
                self._found |= {x: (now, key) for x, key in read.items()}
            self._tell(read, now)
        return found

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._found.clear()
            self._told.clear()

    def _tell(self, read: Mapping[int, _Found], now: float) -> None:
        """Log what an operator has to mend: a key that is missing, and not one that is erased."""
        for key_id, key in read.items():
            is_told = now < self._told.get(key_id, -TOLD_SECONDS) + TOLD_SECONDS
            if isinstance(key, EncryptionKeyMissing) and not is_told:
                self._told[key_id] = now
                fields = {"tenant": key.extra.get("tenant")}
                _log.error("encryption key %s: %s Its jobs wait.", key_id, key.detail, extra=fields)


_known = _Known()


def _read(key_ids: Collection[int]) -> Iterator[tuple[int, _Found]]:
    # By name: the models open what they read, and cannot be imported here.
    keys = apps.get_model("jobs", "TenantKey").objects.select_related("tenant")
    stored: dict[int, Any] = {row.pk: row for row in keys.filter(pk__in=key_ids)}
    for key_id in key_ids:
        yield key_id, _opened(key_id, stored.get(key_id))


def _opened(key_id: int, row: Any) -> _Found:
    if row is None or row.erased_at is not None:
        return EncryptionKeyErased(ERASED)
    try:
        secret = unwrap(row.tenant_id, bytes(row.wrapped), row.wrapped_by)
    except EncryptionKeyMissing as error:
        error.extra["tenant"] = row.tenant.slug
        return error
    return DataKey(key_id, row.tenant_id, secret)
