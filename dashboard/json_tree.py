"""Stored JSON as a tree to read: numbers with the digits that were sent, branches that fold."""

import json
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

OPEN_LEVELS = 2
MAX_TREE_BYTES = 100_000
MAX_RAW_CHARACTERS = 20_000


class Digits(str):
    """A number as it was written. Parsing it would round what JavaScript or a float cannot hold."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """An object's members as they were written."""


def tree(stored: bytes) -> SafeString:
    """The stored JSON as nested lists; plain text if it is too large or no JSON at all."""
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
        return _node(SafeString(), value, OPEN_LEVELS)
    except (ValueError, RecursionError):
        return _raw(stored)


def _raw(stored: bytes) -> SafeString:
    text = stored[:MAX_RAW_CHARACTERS].decode("utf-8", errors="replace")
    note = f"\n… {len(stored):,} bytes in all" if len(stored) > MAX_RAW_CHARACTERS else ""
    return format_html('<pre class="raw">{}{}</pre>', text, note)


def _node(label: SafeString, value: Any, open_levels: int) -> SafeString:
    if isinstance(value, Pairs):
        items = [(format_html('<span class="key">{}</span>: ', k), v) for k, v in value]
        return _branch(label, "{}", items, open_levels)
    if isinstance(value, list):
        return _branch(label, "[]", [(SafeString(), item) for item in value], open_levels)
    return format_html("{}{}", label, _leaf(value))


def _branch(
    label: SafeString, brackets: str, items: list[tuple[SafeString, Any]], open_levels: int
) -> SafeString:
    if not items:
        return format_html('{}<span class="punctuation">{}</span>', label, brackets)
    opening, closing = brackets[0], brackets[1]
    lines = ((_node(label, item, open_levels - 1),) for label, item in items)
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
        format_html_join("", "<li>{}</li>", lines),
        closing,
    )


def _leaf(value: Any) -> SafeString:
    if isinstance(value, Digits):
        return format_html('<span class="number">{}</span>', str(value))
    if isinstance(value, str):
        return format_html('<span class="string">{}</span>', json.dumps(value, ensure_ascii=False))
    return format_html('<span class="constant">{}</span>', json.dumps(value))
