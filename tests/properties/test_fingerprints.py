"""A fingerprint finds the messages that have it, and no others."""

import re
import signal
from collections.abc import Iterator
from types import FrameType

import pytest
from hypothesis import example, given
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
@example("42", "\r")
def test_what_a_whole_fingerprint_finds_has_it(one: str, other: str) -> None:
    kind = fingerprint(one)

    if not kind.endswith("…") and re.search(pattern(kind), other):
        assert fingerprint(other) == kind


WORD = "[A-Za-z0-9_#…\x01-\x09\x0b\x0c\x0e-\x1f\x7f-]*"
VARYING = f"{WORD}[0-9#…\x01-\x09\x0b\x0c\x0e-\x1f\x7f]{WORD}"


@given(MESSAGES, MESSAGES)
def test_a_number_sign_stands_for_any_word_with_something_that_varies(one: str, other: str) -> None:
    kind = as_fingerprint(one)
    plainly = VARYING.join(re.escape(part) for part in kind.removesuffix("…").split("#"))
    end = "" if kind.endswith("…") else r"\r?(\n|$)"

    assert kind.removesuffix("…") == re.sub(VARYING, "#", one.removesuffix("…"))
    assert bool(re.search(pattern(kind), other)) == bool(re.search(f"^{plainly}{end}", other))


@pytest.fixture
def deadline() -> Iterator[None]:
    """Interrupts what would take for ever; regular expressions look out for signals."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("word", ["1" * 30, "1a" * 15, "a#-" * 10, "…" * 30, "a" * 30])
@pytest.mark.usefixtures("deadline")
def test_a_message_made_to_be_hard_to_search_is_searched(word: str) -> None:
    kind = as_fingerprint("# " * 60 + "missing")

    assert not re.search(pattern(kind), f"{word} " * 60 + "found")
    assert fingerprint(f"{word} " * 60)
    assert as_fingerprint(f"{word} " * 60)
