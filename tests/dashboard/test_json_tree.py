"""Stored JSON is shown as it was sent."""

from html import unescape
from html.parser import HTMLParser

import pytest

from dashboard.json_tree import MAX_NODES, MAX_TREE_BYTES, tree


def text_of(html: str) -> str:
    parts: list[str] = []
    reader = HTMLParser()
    reader.handle_data = parts.append  # type: ignore[method-assign]
    reader.feed(html)
    return unescape("".join(parts))


@pytest.mark.parametrize(
    "digits", ["90071992547409931234", "-0", "1.10", "1e400", "1E+2", "0.1000000000000000055511"]
)
def test_numbers_keep_their_digits(digits: str) -> None:
    assert digits in text_of(tree(f'{{"n": [{digits}]}}'.encode()))


def test_keys_keep_their_order_and_repeats() -> None:
    shown = text_of(tree(b'{"b": 1, "a": 2, "b": 3}'))

    assert shown.index("b: 1") < shown.index("a: 2") < shown.index("b: 3")


@pytest.mark.parametrize("stored", [b"null", b"true", b'""', b"[]", b"{}", '"ä\\n"'.encode()])
def test_every_value_is_shown(stored: bytes) -> None:
    assert text_of(tree(stored)).strip()


def test_markup_is_text() -> None:
    assert "<b>" not in tree(b'{"<b>": "</span><b>"}')


@pytest.mark.parametrize("stored", [b"{not json", b"\xff\xfe", b"[" * 5_000])
def test_what_is_no_json_is_shown_as_text(stored: bytes) -> None:
    assert tree(stored).startswith("<pre")


def test_a_large_value_is_cut_and_says_so() -> None:
    stored = b'"' + b"x" * MAX_TREE_BYTES + b'"'

    assert f"{len(stored):,} bytes in all" in tree(stored)
    assert len(tree(stored)) < 30_000


@pytest.mark.parametrize(
    ("one", "opening", "closing"), [("7", "[", "]"), ('"k": 7', "{", "}"), ("[7]", "[", "]")]
)
def test_of_very_many_values_the_first_are_drawn_and_the_others_counted(
    one: str, opening: str, closing: str
) -> None:
    count = 3 * MAX_NODES
    shown = str(tree((opening + ",".join([one] * count) + closing).encode()))

    drawn = shown.count('<span class="number">')
    assert MAX_NODES / 2 <= drawn <= MAX_NODES
    assert f"… {count - drawn:,} more" in shown


def test_as_many_values_as_may_be_are_drawn_whole() -> None:
    assert "more" not in tree(b"[" + b",".join([b"7"] * MAX_NODES) + b"]")
