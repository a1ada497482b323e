"""Properties of `exact_json`: it takes what JSON is, keeps its bytes, and never fails otherwise."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidInput
from jobs.exact_json import Raw, canonical, dumps, loads, loads_object

# A text that databases can keep: no NUL, no half of a surrogate pair.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FINITE | TEXT
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4), max_leaves=15
)
STYLES = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.none() | st.just(1)})


@given(VALUES, STYLES)
def test_every_json_value_is_taken_and_kept(value: Any, style: dict[str, Any]) -> None:
    text = json.dumps(value, **style)
    source = f' {{"queue" : [1, {{"payload":{text}}}],\n"payload":\t{text} }}'.encode()
    body = loads_object(source, max_depth=64)
    assert body["payload"] == Raw(text.encode(), value)
    assert body["queue"] == [1, {"payload": Raw(text.encode(), value)}]
    assert loads(text.encode(), max_depth=64) == Raw(text.encode(), value)


@given(VALUES)
def test_raw_values_are_spliced_as_they_were(value: Any) -> None:
    source = json.dumps(value, indent=2).encode()
    spliced = dumps({"a": Raw(source), "b": [value, Raw(source)]})
    assert spliced.count(source) >= 2
    assert json.loads(spliced) == {"a": value, "b": [value, value]}


@given(VALUES, st.data())
def test_a_damaged_text_is_refused_or_still_json(value: Any, data: st.DataObject) -> None:
    text = json.dumps({"jobs": [{"payload": value}], "payload": value})
    at = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", "0", "\\u00", " "]))
    taken = data.draw(st.integers(0, 3))
    agree_with_the_parser((text[:at] + piece + text[at + taken :]).encode())


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda t: t.encode(errors="replace")))
def test_any_bytes_are_refused_or_json(source: bytes) -> None:
    agree_with_the_parser(source)


def agree_with_the_parser(source: bytes) -> None:
    """Whatever is taken, Python's parser takes as well, and means the same."""
    try:
        body = loads_object(source, max_depth=64)
    except InvalidInput:
        return
    assert canonical(body) == canonical(json.loads(source))


@given(VALUES)
def test_the_canonical_form_ignores_spaces_and_the_order_of_keys(value: Any) -> None:
    again = json.loads(json.dumps(value, indent=3), object_pairs_hook=lambda p: dict(reversed(p)))
    assert canonical(value) == canonical(again)


def test_what_is_not_json_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        dumps({"a": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(float("nan"))
