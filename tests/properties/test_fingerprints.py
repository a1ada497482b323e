"""A fingerprint finds the messages that have it, and no others."""

import re

from hypothesis import given
from hypothesis import strategies as st

from jobs.filters import Term, parse, spelled
from jobs.fingerprint import LONGEST, LOOKED_AT, as_fingerprint, fingerprint, pattern

WORDS = st.sampled_from(
    ["order", "42", "a-1", "#", "…", " ", " ", ", ", "\n", "\r", "\t", "(", "\\", '"', "é"]
)
MESSAGES = st.lists(WORDS, max_size=12).map("".join) | st.text(max_size=LOOKED_AT * 2)


@given(MESSAGES)
def test_a_message_has_its_own_fingerprint(message: str) -> None:
    kind = fingerprint(message)

    assert re.search(pattern(kind), message)
    assert as_fingerprint(kind) == kind == fingerprint(message[:LOOKED_AT])
    assert len(kind) <= LONGEST + 1
    assert kind.isprintable()
    assert parse(spelled("message", kind)).terms == (Term("message", (kind,)),)


@given(MESSAGES, MESSAGES)
def test_what_a_whole_fingerprint_finds_has_it(one: str, other: str) -> None:
    kind = fingerprint(one)

    if not kind.endswith("…") and re.search(pattern(kind), other):
        assert fingerprint(other) == kind
