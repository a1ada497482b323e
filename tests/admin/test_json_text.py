"""JSON laid out to be read says exactly what was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.admin.json_text import packed, readable

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values, st.booleans())
def test_laying_out_and_packing_keep_every_value(value: object, ascii_only: bool) -> None:
    source = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    text = readable(source.encode("utf-8", "surrogatepass"), at_most=10**9)
    if source.isascii() or max(source) < "\ud800":
        assert packed(text) == source.encode()
        assert json.loads(text) == value


@given(values)
def test_it_looks_as_json_is_usually_laid_out(value: object) -> None:
    source = json.dumps(value)
    assert readable(source.encode(), at_most=10**9) == json.dumps(value, indent=2)


@given(st.binary())
def test_anything_else_is_taken_as_it_comes(stored: bytes) -> None:
    assert readable(stored, at_most=100).count("\n") <= 102


@pytest.mark.parametrize("text", ["123456789012345678901234567890", "1.10", "-0", "1E400"])
def test_numbers_keep_their_digits(text: str) -> None:
    assert readable(f"[{text}]".encode(), at_most=100) == f"[\n  {text}\n]"


def test_repeated_names_are_all_shown() -> None:
    assert readable(b'{"a":1,"a":2}', at_most=100) == '{\n  "a": 1,\n  "a": 2\n}'


def test_a_long_text_is_cut_off_and_says_so() -> None:
    text = readable(b'"' + b"x" * 1_000 + b'"', at_most=10)
    assert text == '"xxxxxxxxx\n… cut off here; 1,002 bytes in all'
