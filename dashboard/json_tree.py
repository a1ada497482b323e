"""Stored JSON as a tree to read: numbers with the digits that were sent, branches that fold."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

OPEN_LEVELS = 2
MAX_TREE_BYTES = 100_000
MAX_RAW_CHARACTERS = 20_000
MAX_NODES = 2_000
"""So many values are drawn: of the page of a running job, that is done every second."""


class Digits(str):
    """A number as it was written. Parsing it would round what JavaScript or a float cannot hold."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object's members as they were written."""


def tree(stored: bytes) -> SafeString:
    """The stored JSON as nested lists; plain text if it is too large or no JSON at all.

    Of very many values the first are shown, and how many more there are.
    """
    if len(stored) > MAX_TREE_BYTES:
        return _raw(stored)
    try:
        value = json.loads(
            stored,
            parse_int=Digits,
            parse_float=Digits,
            parse_constant=Digits,
            object_pairs_hook=Pairs,
        )
        return _node(SafeString(), value, OPEN_LEVELS, iter(range(MAX_NODES)))
    except (ValueError, RecursionError):
        return _raw(stored)


def _raw(stored: bytes) -> SafeString:
    text = stored[:MAX_RAW_CHARACTERS].decode("utf-8", errors="replace")
    note = f"\n… {len(stored):,} bytes in all" if len(stored) > MAX_RAW_CHARACTERS else ""
    return format_html('<pre class="raw">{}{}</pre>', text, note)


def _node(label: SafeString, value: Any, open_levels: int, places: Iterator[int]) -> SafeString:
    """`places` has one for each value that may still be drawn."""
    if isinstance(value, Pairs):
        return _branch(label, "{}", value, open_levels, places)
    if isinstance(value, list):
        return _branch(label, "[]", [(None, item) for item in value], open_levels, places)
    return format_html("{}{}", label, _leaf(value))


def _branch(
    label: SafeString,
    brackets: str,
    items: Sequence[tuple[str | None, Any]],
    open_levels: int,
    places: Iterator[int],
) -> SafeString:
    if not items:
        return format_html('{}<span class="punctuation">{}</span>', label, brackets)
    opening, closing = brackets[0], brackets[1]
    return format_html(
        '<details class="json"{}><summary>{}<span class="punctuation">{}</span>'
        '<span class="folded"> {} {} {}</span></summary><ul>{}</ul>'
        '<span class="punctuation">{}</span></details>',
        SafeString(" open") if open_levels > 0 else "",
        label,
        opening,
        len(items),
        "item" if len(items) == 1 else "items",
        closing,
        format_html_join("", "<li>{}</li>", _lines(items, open_levels - 1, places)),
        closing,
    )


def _lines(
    items: Sequence[tuple[str | None, Any]], open_levels: int, places: Iterator[int]
) -> Iterator[tuple[SafeString]]:
    for index, (key, item) in enumerate(items):
        if next(places, None) is None:
            more = f"{len(items) - index:,}"
            yield (format_html('<span class="punctuation">… {} more</span>', more),)
            return
        label = SafeString() if key is None else format_html('<span class="key">{}</span>: ', key)
        yield (_node(label, item, open_levels, places),)


def _leaf(value: Any) -> SafeString:
    if isinstance(value, Digits):
        return format_html('<span class="number">{}</span>', str(value))
    if isinstance(value, str):
        return format_html('<span class="string">{}</span>', json.dumps(value, ensure_ascii=False))
    return format_html('<span class="constant">{}</span>', json.dumps(value))
