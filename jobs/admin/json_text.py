"""JSON as text: laid out to be read, or packed to be stored. Every value stays as it was written.

Parsing would round large numbers and drop repeated names, and what an operator reads must be what
the job got. So this works on the tokens of the text; it takes what is no JSON as it comes.
"""

import re
from collections.abc import Iterator

INDENT = "  "
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def readable(stored: bytes, *, at_most: int) -> str:
    """The JSON with one value to a line; cut off after `at_most` characters, and saying so."""
    text = stored.decode("utf-8", errors="replace")
    laid_out, length = [], 0
    for piece in _lay_out(text):
        laid_out.append(piece)
        length += len(piece)
        if length > at_most:
            return f"{''.join(laid_out)[:at_most]}\n… cut off here; {len(stored):,} bytes in all"
    return "".join(laid_out)


def packed(text: str) -> bytes:
    """The JSON without the spaces between its tokens, as UTF-8."""
    return "".join(_TOKEN.findall(text)).encode()


def _lay_out(text: str) -> Iterator[str]:
    depth, opened = 0, False
    for word in _TOKEN.findall(text):
        closes = word in "}]"
        depth -= closes
        if opened != closes and (opened or closes):
            yield _new_line(depth)
        yield ": " if word == ":" else word
        opened = word in "{["
        depth += opened
        if word == ",":
            yield _new_line(depth)


def _new_line(depth: int) -> str:
    return "\n" + INDENT * max(depth, 0)
