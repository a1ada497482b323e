"""What is sealed opens as what it was, where it was, with its key, and in no other way."""

import os
import pickle
import re
import uuid
from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import data_keys, encryption
from jobs.data_keys import DataKey
from jobs.encryption import JobSeal, Owner, is_sealed, needs_seal, open_value
from jobs.errors import EncryptionKeyMissing, SealBroken
from jobs.fingerprint import fingerprint, pattern
from tests.encrypted import FIRST, SECOND, entry

KEY = DataKey(7, 1, os.urandom(32))
OTHERS_KEY = DataKey(8, 2, os.urandom(32))
JOB, OTHER_JOB = uuid.uuid4(), uuid.uuid4()


patient = settings(deadline=None, suppress_health_check=list(HealthCheck))
"""However busy the machine is."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """These two keys are known, without a table."""
    keys = {key.id: key for key in (KEY, OTHERS_KEY)}
    monkeypatch.setattr(encryption, "key_of", keys.__getitem__)


@patient
@given(st.binary())
def test_bytes_open_as_what_was_sealed(value: bytes) -> None:
    keys = {7: KEY}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encryption, "key_of", keys.__getitem__)
        stored = JobSeal(KEY, JOB).seal("payload", value)
        assert is_sealed(stored)
        assert open_value(Owner(1, JOB), "payload", stored) == value
        assert open_value(Owner(1, JOB), "payload", memoryview(stored)) == value


@patient
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_texts_open_as_what_was_sealed(text: str) -> None:
    keys = {7: KEY}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encryption, "key_of", keys.__getitem__)
        seal = JobSeal(KEY, JOB)
        assert open_value(Owner(1, JOB), "traceback", seal.seal_text("traceback", text)) == text
        assert open_value(Owner(None, JOB), "error_message", seal.seal_error(text)) == text


@patient
@given(st.binary(), st.text())
def test_what_is_stored_is_never_taken_for_plain_and_plain_never_for_sealed(
    value: bytes, text: str
) -> None:
    assert not needs_seal(7, JobSeal(KEY, JOB).seal("payload", value))
    assert not is_sealed(b" " + value)
    assert not is_sealed(text.lstrip("\ufdd0"))


def test_nothing_stays_nothing() -> None:
    seal = JobSeal(KEY, JOB)
    assert (seal.seal_text("traceback", ""), seal.seal_error(""), seal.seal_hash("")) == ("",) * 3
    assert open_value(Owner(1, JOB), "result", None) is None


def test_two_seals_of_one_value_have_nothing_in_common() -> None:
    seal = JobSeal(KEY, JOB)
    assert seal.seal("payload", b"1")[8:] != seal.seal("payload", b"1")[8:]


@pytest.mark.parametrize(
    ("owner", "column"),
    [(Owner(1, OTHER_JOB), "payload"), (Owner(1, JOB), "result"), (Owner(2, JOB), "payload")],
    ids=["another job", "another column", "another tenant"],
)
def test_value_opens_in_its_place_alone(owner: Owner, column: str) -> None:
    stored = JobSeal(KEY, JOB).seal("payload", b"1")
    with pytest.raises(SealBroken):
        open_value(owner, column, stored)


def test_value_under_the_id_of_another_key_does_not_open() -> None:
    stored = JobSeal(KEY, JOB).seal("payload", b"1")
    forged = stored[:4] + OTHERS_KEY.id.to_bytes(4) + stored[8:]
    with pytest.raises(SealBroken):
        open_value(Owner(2, JOB), "payload", forged)


@pytest.mark.parametrize("at", [8, 20, -1])
def test_changed_value_does_not_open(at: int) -> None:
    stored = bytearray(JobSeal(KEY, JOB).seal("payload", b"12345"))
    stored[at] ^= 1
    with pytest.raises(SealBroken):
        open_value(Owner(1, JOB), "payload", bytes(stored))


@pytest.mark.parametrize(
    "stored", [b"\0", b"\0jq1", "\ufdd0", "\ufdd0:x:", "\ufdd0:7:%", "\ufdd0:7:A"]
)
def test_what_only_begins_like_a_sealed_value_is_broken(stored: bytes | str) -> None:
    with pytest.raises(SealBroken):
        open_value(Owner(1, JOB), "payload", stored)


def test_kind_of_an_error_is_told_without_its_words() -> None:
    one, other = JobSeal(KEY, JOB), JobSeal(KEY, OTHER_JOB)
    first, second = one.seal_error("order 17 not found"), other.seal_error("order 99 not found")
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(one.seal_error("no more disk"))
    assert fingerprint(first) != fingerprint(
        JobSeal(OTHERS_KEY, JOB).seal_error("order 1 not found")
    )
    assert "order" not in first
    assert re.search(pattern(fingerprint(first)), second)
    assert not re.search(pattern(fingerprint(first)), one.seal_error("no more disk"))


def test_text_opens_in_its_row_and_under_its_kind_alone() -> None:
    seal = JobSeal(KEY, JOB)
    stored = seal.seal_text("log", "charged", row="1/7")
    assert open_value(Owner(1, JOB, "1/7"), "log", stored) == "charged"
    with pytest.raises(SealBroken):
        open_value(Owner(1, JOB, "2/7"), "log", stored)
    _, rest = seal.seal_error("order 17 not found").split(":", 1)
    kind, _ = seal.seal_error("no more disk").split(":", 1)
    with pytest.raises(SealBroken):
        open_value(Owner(1, JOB), "error_message", f"{kind}:{rest}")


def test_hash_of_a_request_is_stored_in_the_room_that_there_is() -> None:
    stored = JobSeal(DataKey(9_999_999_999, 1, KEY.secret), JOB).seal_hash("f" * 64)
    assert len(stored) <= 64


def test_hash_is_that_of_its_request_alone() -> None:
    stored = JobSeal(KEY, JOB).seal_hash("a" * 64)
    assert encryption.is_same_request(Owner(1, JOB), stored, "a" * 64)
    assert not encryption.is_same_request(Owner(1, JOB), stored, "b" * 64)
    assert not encryption.is_same_request(Owner(1, OTHER_JOB), stored, "a" * 64)


def test_key_shows_itself_to_nobody_and_stand_ins_keep_their_reason() -> None:
    assert "secret" not in repr(KEY)
    stand_in = encryption.UnreadableBytes(b"null")
    stand_in.code = "seal_broken"
    assert pickle.loads(pickle.dumps(stand_in)).code == "seal_broken"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "entry 1 does not begin with an id"),
        (f"{FIRST},", "entry 2 does not begin with an id"),
        ("k 1:AAAA", "entry 1 does not begin with an id"),
        ("k1:not base64!", "entry 1 is not base64"),
        ("k1:c2hvcnQ=", "entry 1 has 5 bytes; a key has 32"),
        (f"{FIRST},{entry('first', 3)}", "the id 'first' is there twice"),
    ],
)
def test_malformed_keys_of_the_environment_are_an_error_of_the_check(
    settings: LazySettings, text: str, said: str
) -> None:
    settings.ENCRYPTION_KEYS = text
    with pytest.raises(SystemCheckError, match=re.escape(said)) as raised:
        call_command("check")
    assert "c2hvcnQ" not in str(raised.value)
    assert "jobs.E003" in str(raised.value)


@pytest.mark.parametrize("text", ["", FIRST, f" {FIRST} , {SECOND} "])
def test_sound_keys_pass(settings: LazySettings, text: str) -> None:
    settings.ENCRYPTION_KEYS = text
    assert data_keys.problems() == []
    assert len(data_keys.environment_keys()) == text.count(":")


def test_data_key_opens_with_what_wrapped_it_and_for_its_tenant(
    environment_holds: Callable[..., None],
) -> None:
    environment_holds(FIRST, SECOND)
    wrapped, wrapped_by = data_keys.wrap(1, b"s" * 32)
    assert wrapped_by == "first"
    assert data_keys.unwrap(1, wrapped, "first") == b"s" * 32
    for tenant_id, name in ((2, "first"), (1, "second"), (1, "third")):
        with pytest.raises(EncryptionKeyMissing):
            data_keys.unwrap(tenant_id, wrapped, name)


def test_without_a_key_nothing_is_wrapped(environment_holds: Callable[..., None]) -> None:
    environment_holds()
    with pytest.raises(EncryptionKeyMissing, match="openssl"):
        data_keys.new_wrapped(1)
