"""Encryption at rest: values of a tenant that wants it are sealed before they are stored.

What a job carries is sealed with AES-256-GCM under a key that is derived from its tenant's data key
(`data_keys`) for that job alone: random nonces of 96 bits are safe for 2^32 values under one key
(NIST SP 800-38D, 8.3), which a busy tenant has in weeks and a job never. A sealed value names its
data key, and opens only as that column of that job of that tenant.
"""

import base64
import hashlib
import hmac
import os
import uuid
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jobs.data_keys import NONCE_BYTES, DataKey, key_of
from jobs.errors import UNREADABLE, EncryptionKeyErased, EncryptionKeyMissing, SealBroken
from jobs.fingerprint import SEALED, fingerprint, sealed_kind

HASH_CHARACTERS = 10
"""So much of a request's hash is kept: sealed, it has to fit into 64 characters."""
_MAGIC = b"\0jq1"
"""How sealed bytes begin, and no JSON does; texts begin with `SEALED`, and no stored text does."""
_KEY_IDS = 2**32
_BEGINNINGS = {_MAGIC[0], SEALED}


class Owner(NamedTuple):
    """Whose a value is. No tenant: that of the key. `row` tells rows of one job from each other."""

    tenant_id: int | None
    job_id: uuid.UUID
    row: str = ""


class JobSeal:
    """Seals the values of one job, each for its column, and opens them."""

    def __init__(self, key: DataKey, job_id: uuid.UUID) -> None:
        self._key = key
        self._owner = f"{key.tenant_id}/{job_id}"
        self._cipher = AESGCM(key.derived(b"job" + job_id.bytes))

    def seal(self, column: str, value: bytes) -> bytes:
        """The value as it is stored."""
        return _MAGIC + self._key.id.to_bytes(4) + self._encrypt(_Place(column), value)

    def seal_text(self, column: str, text: str, *, row: str = "", kind: str = "") -> str:
        """The text as it is stored, with its kind in front, as it is. No text stays none."""
        if not text:
            return ""
        place = _Place(column, row, kind)
        encrypted = base64.b64encode(self._encrypt(place, text.encode())).rstrip(b"=").decode()
        return f"{SEALED}{kind}:{self._key.id}:{encrypted}"

    def seal_error(self, text: str) -> str:
        """The message of an error, as a job has it.

        In front is what it has in common with errors of its kind: their fingerprint, told to those
        alone who have the key, so that dead letters can be grouped without being opened.
        """
        if not text:
            return ""
        digest = hmac.digest(self._key.derived(b"kind"), fingerprint(text).encode(), "sha256")
        return self.seal_text("error_message", text, kind=sealed_kind(digest))

    def seal_hash(self, request_hash: str) -> str:
        """A request's hash: that of a payload that can be guessed would tell it."""
        return self.seal_text("request_hash", _short(request_hash)) if request_hash else ""

    def reseal(self, owner: Owner, column: str, value: Any) -> Any:
        """A stored value, sealed with this key instead of another or none.

        Raises as `open_value`.
        """
        opened = open_value(owner, column, value)
        if column == "error_message":
            return self.seal_error(opened)
        if column == "request_hash" and not is_sealed(value):
            return self.seal_hash(opened)
        if isinstance(opened, str):
            return self.seal_text(column, opened, row=_row(owner, column))
        return self.seal(column, bytes(opened))

    def open(self, place: "_Place", encrypted: bytes) -> bytes:
        """The value of what follows the key's id in a sealed one. Raises `SealBroken`."""
        nonce, rest = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, self._authentic(place))
        except (InvalidTag, ValueError):
            raise SealBroken(f"The stored {place.column} was changed, or moved here.") from None

    def _encrypt(self, place: "_Place", value: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, self._authentic(place))

    def _authentic(self, place: "_Place") -> bytes:
        return "/".join((self._owner, *place)).encode()


class _Place(NamedTuple):
    """Where a value of a job is sealed to; a text with its kind."""

    column: str
    row: str = ""
    kind: str = ""


def _row(owner: Owner, column: str) -> str:
    """A job and its attempt have one copy each of the message of an error."""
    return "" if column == "error_message" else owner.row


def is_sealed(value: bytes | memoryview | str | None) -> bool:
    """Whether a stored value is sealed."""
    return bool(value) and value[0] in _BEGINNINGS  # type: ignore[index]


def sealed_beginnings(key_id: int) -> dict[str, bytes | str]:
    """How `bytes` begin that are sealed with that key, and a pattern of SQL for each `text`."""
    return {"bytes": _MAGIC + key_id.to_bytes(4), "text": f"{SEALED}%:{key_id}:%"}


def needs_seal(key_id: int, value: bytes | memoryview | str | None) -> bool:
    """Whether there is a stored value, and it is not sealed with that key."""
    try:
        return bool(value) and not (is_sealed(value) and _parts(value).key_id == key_id)
    except SealBroken:
        return True


def open_value(owner: Owner, column: str, value: Any) -> Any:
    """A stored value as it was before; one that is not sealed comes as it is.

    Raises `EncryptionKeyMissing`, `EncryptionKeyErased` and `SealBroken`.
    """
    if not is_sealed(value):
        return value
    parts = _parts(value)
    key = key_of(parts.key_id)
    if owner.tenant_id not in {None, key.tenant_id}:
        raise SealBroken(f"The stored {column} is another tenant's.")
    place = _Place(column, _row(owner, column), parts.kind)
    opened = JobSeal(key, owner.job_id).open(place, parts.encrypted)
    return opened.decode() if isinstance(value, str) else opened


def open_payload(owner: Owner, value: bytes, *, sealed_with: int) -> bytes:
    """The payload of a job whose line says which key sealed it, or 0 for none.

    One that is not sealed with that key was put there by somebody else: it is never run. Raises as
    `open_value`.
    """
    if sealed_with and needs_seal(sealed_with, value):
        raise SealBroken("The stored payload is not sealed as its line says.")
    opened: bytes = open_value(owner, "payload", value)
    return opened


def is_same_request(owner: Owner, stored: str, request_hash: str) -> bool:
    """Whether a stored hash is that of the request; one that was tampered with is not.

    Raises `EncryptionKeyMissing` and `EncryptionKeyErased`: then nobody can tell.
    """
    if not is_sealed(stored):
        return stored == request_hash
    try:
        opened: str = open_value(owner, "request_hash", stored)
    except SealBroken:
        return False
    except (EncryptionKeyMissing, EncryptionKeyErased) as error:
        raise type(error)(
            "An earlier job has this idempotency key, and it cannot be told whether that was the "
            f"same request. {error.detail}"
        ) from error
    return hmac.compare_digest(opened, _short(request_hash))


def _short(request_hash: str) -> str:
    digest = hashlib.sha256(request_hash.encode()).digest()
    return base64.b64encode(digest).decode()[:HASH_CHARACTERS]


class _Parts(NamedTuple):
    kind: str
    key_id: int
    encrypted: bytes


def _parts(value: Any) -> _Parts:
    kind = ""
    try:
        if isinstance(value, str):
            marked, number, text = value.split(":", 2)
            kind, key_id = marked[1:], int(number)
            encrypted = base64.b64decode(text + "=" * (-len(text) % 4))
        else:
            key_id, encrypted = int.from_bytes(value[4:8]), bytes(value[8:])
    except ValueError:
        key_id = 0
    if not 0 < key_id < _KEY_IDS:
        raise SealBroken("A sealed value was changed.")
    return _Parts(kind, key_id, encrypted)


class Unreadable:
    """Stands for a value that cannot be opened; `code` says why."""

    code = ""


class UnreadableBytes(Unreadable, bytes):
    """JSON that says nothing."""


BROKEN = UnreadableBytes(b"null")
"""Stands for a payload that was tampered with."""
BROKEN.code = SealBroken.code


class UnreadableText(Unreadable, str):
    """A text that says why there is none."""


def open_fields(row: Any, fields: Mapping[str, str]) -> None:
    """Open, in a row that was just read, those of the fields that are sealed.

    The fields come with the columns that they are sealed as; `row.owner` is whose they are. What
    cannot be opened becomes `Unreadable`: whoever reads a list is told, and reads on.
    """
    held = row.__dict__
    for name in [x for x in fields if (value := held.get(x)) and value[0] in _BEGINNINGS]:
        held[name] = _opened_or_told(row.owner, fields[name], held[name])


def _opened_or_told(owner: Owner, column: str, value: Any) -> Any:
    try:
        return open_value(owner, column, value)
    except UNREADABLE as error:
        is_text = isinstance(value, str)
        stand_in = UnreadableText(f"({error})") if is_text else UnreadableBytes(b"null")
        stand_in.code = error.code
        return stand_in


def why_unreadable(row: Any, fields: Collection[str]) -> str:
    """The code of what keeps fields of a row from being read; empty if nothing does."""
    held = row.__dict__
    return next((held[x].code for x in fields if isinstance(held.get(x), Unreadable)), "")
