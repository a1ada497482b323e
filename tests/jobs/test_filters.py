"""The grammar of filters: what each text means, and what is wrong with the others."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidInput
from jobs.filters import (
    FREE_TEXT,
    MAX_IDS,
    MAX_TERMS,
    MAX_VALUES,
    READABLE,
    Filter,
    Term,
    parse,
    spelled,
)
from jobs.job_filters import written
from jobs.statuses import Status

UNREADABLE = [one for one in map(chr, range(0xFF)) if not re.match(READABLE, one)]
NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


def one(text: str) -> Term:
    (term,) = parse(text).terms
    return term


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queue:email", Term("queue", ("email",))),
        ("queue:a:b,c", Term("queue", ("a:b", "c"))),
        ("STATUS:failed,DLQ", Term("status", (Status.FAILED, Status.DLQ))),
        ("-tag:test", Term("tag", ("test",), is_negated=True)),
        ('error:"timed out, again"', Term("error", ("timed out, again",))),
        (r'error:"a \"b\" \\",c', Term("error", (r'a "b" \ '.strip(), "c"))),
        ("priority:high", Term("priority", (50,))),
        ("priority:>=-5", Term("priority", (-5,), ">=")),
        ("attempt:>2", Term("attempt", (2,), ">")),
        ("created:>2h", Term("created", (timedelta(hours=2),), ">")),
        ("run_at:<2030-01-01T01:00:00+01:00", Term("run_at", (NEW_YEAR,), "<")),
        ("timeout", Term(FREE_TEXT, ("timeout",))),
        ('-"no such: thing"', Term(FREE_TEXT, ("no such: thing",), is_negated=True)),
    ],
)
def test_a_term_is_read(text: str, expected: Term) -> None:
    assert one(text) == one(f"  {text}\n") == expected


def test_terms_stand_side_by_side() -> None:
    text = 'queue:email status:DLQ error:"Timeout" created:>2h -tag:test refused'
    words = [term.word for term in parse(text).terms]
    assert words == ["queue", "status", "error", "created", "tag", "text"]


def test_nothing_is_no_condition() -> None:
    assert not parse("")
    assert parse(" \n ") == Filter()


def test_the_beginning_of_an_id_is_a_range() -> None:
    (first, last) = one("id:0192-AB").values[0]
    assert (first, last) == (uuid.UUID(f"0192ab{'0' * 26}"), uuid.UUID(f"0192ab{'f' * 26}"))
    whole = uuid.uuid4()
    assert one(f"id:{whole}").values == ((whole, whole),)


def test_an_age_is_counted_back_from_a_time() -> None:
    older = parse("created:>2h").at(NEW_YEAR)
    assert older.terms == (Term("created", (NEW_YEAR - timedelta(hours=2),), "<"),)
    newer = parse("finished:<=1w").at(NEW_YEAR)
    assert newer.terms == (Term("finished", (NEW_YEAR - timedelta(weeks=1),), ">="),)
    assert parse("created:>2h").has_ages
    assert not older.has_ages


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", set(Status)),
        ("status:DLQ,FAILED", {Status.DLQ, Status.FAILED}),
        ("-status:DONE", set(Status) - {Status.DONE}),
        ("status:DLQ,FAILED -status:DLQ", {Status.FAILED}),
        ("status:DLQ status:FAILED", set()),
    ],
)
def test_terms_about_statuses_leave_some(text: str, left: set[Status]) -> None:
    assert parse(text).statuses == left


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("statsu:DLQ", "unknown_word", "did you mean status?"),
        ("queu:a", "unknown_word", "did you mean queue?"),
        ("https://example.org", "unknown_word", "there are status, queue"),
        ("status:DLG", "invalid_choice", "did you mean DLQ?"),
        ("status:zzz", "invalid_choice", "is one of SCHEDULED"),
        ("queue:", "invalid_filter", "after queue:"),
        ("queue:a,,b", "invalid_filter", "after queue:"),
        ("queue:a, b", "invalid_filter", "after queue:"),
        ('error:"open', "invalid_filter", "after error:"),
        ('a"b', "invalid_filter", "put quotes around"),
        ("--tag:x", "invalid_filter", "after tag:"),
        ("-", "invalid_filter", "put quotes around"),
        (">5", "invalid_filter", "put quotes around"),
        ("queue:>a", "invalid_filter", "cannot compare queue"),
        ("created:2h", "invalid_filter", "created:>2h"),
        ("priority:>1,2", "invalid_filter", "several values"),
        ("created:>yesterday", "invalid_time", "an age such as 2h"),
        ("created:>2030-01-01T00:00:00", "timezone_required", "needs an offset"),
        ("created:>999999w", "out_of_range", "100 years"),
        ("priority:soon", "invalid_parameter", "an integer"),
        ("attempt:1.5", "invalid_parameter", "an integer"),
        ("queue:ä", "invalid_name", "is not a name"),
        ("id:xyz", "invalid_id", "hexadecimal"),
        ("id:01", "invalid_id", "4 or more"),
        ("a\0b", "invalid_parameter", "control characters"),
        ("q\0:b", "unknown_word", "of such characters"),
        ("error:\ud800", "invalid_parameter", "control characters"),
        (f"error:{'x' * 201}", "invalid_parameter", "200"),
        ('""', "invalid_filter", "every job"),
        ('queue:a -error:"a",""', "invalid_filter", "every job"),
        ('worker:""', "invalid_filter", "every job"),
        (f"queue:{','.join('a' * (MAX_VALUES + 1))}", "invalid_filter", str(MAX_VALUES)),
        (f"id:{','.join(['0192'] * (MAX_IDS + 1))}", "invalid_filter", str(MAX_IDS)),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(text: str, code: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse(text)
    assert raised.value.field_code == code
    assert hint in raised.value.detail


def test_what_people_write_has_a_length() -> None:
    with pytest.raises(InvalidInput, match="1000 characters"):
        written("x" * 1_001)
    with pytest.raises(InvalidInput, match=f"more than {MAX_TERMS} conditions"):
        written("a " * (MAX_TERMS + 1))


def test_text_without_a_word_may_be_as_long_as_its_filter() -> None:
    (term,) = written("x" * 1_000).terms
    assert term.values == ("x" * 1_000,)


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_a_spelled_term_reads_as_it_was_or_is_refused(values: list[str]) -> None:
    try:
        term = one(spelled("error_type", *values))
    except InvalidInput as error:
        assert error.field_code == "invalid_parameter"
        assert any(category(character) == "Cc" for value in values for character in value)
    else:
        assert term == Term("error_type", tuple(values))


@given(st.text(alphabet='ab:",<>=- \\\n\0ä2hstatuqe', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    def read() -> Any:
        try:
            return parse(text)
        except InvalidInput as error:
            return error

    assert isinstance(read(), Filter | InvalidInput)


@pytest.mark.parametrize("character", UNREADABLE)
def test_what_is_not_readable_is_nowhere_in_a_filter(character: str) -> None:
    for text in (character, f"queue:a {character}", f'error:"a{character}"', f"a{character}:b"):
        with pytest.raises(InvalidInput):
            parse(text)
