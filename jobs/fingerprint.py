"""What errors of one kind have in common: the first line of their message without what varies.

`order 1042 not found` is `order # not found`: a `#` stands for a word with a digit (or a control
character) in it, and `…` at the end for the rest of a line that is long or cannot be printed.
"""

import re

LOOKED_AT = 300
"""Characters of a message."""
LONGEST = 160
REST = "…"
SEALED = "\ufdd0"
"""How an encrypted text begins (`encryption`), and no other: Unicode keeps it from being text."""

# Written as themselves, for the regular expressions of PostgreSQL have another spelling.
# The end of a line belongs to no word.
_CONTROLS = "\x01-\x09\x0b\x0c\x0e-\x1f\x7f"
_VARIES = f"0-9#{REST}{_CONTROLS}"
_WORD = f"[A-Za-z_{_VARIES}-]*"
# There is one way alone to match a word: with several, a search would try all of their
# combinations, and a text that somebody made for that would hold it up for ever.
_VARYING = f"[A-Za-z_-]*[{_VARIES}]{_WORD}"
_varying = re.compile(_VARYING)
_part_of_a_word = re.compile(f"{_WORD}\\Z")
_SEALED_KIND = r"encrypted-[a-p]{16}"
_sealed = re.compile(f"{SEALED}({_SEALED_KIND}):")
_sealed_kind = re.compile(f"{_SEALED_KIND}\\Z")


def sealed_kind(digest: bytes) -> str:
    """The fingerprint of an encrypted message, of its keyed digest: words without a digit."""
    return "encrypted-" + "".join(chr(ord("a") + int(digit, 16)) for digit in digest.hex()[:16])


def fingerprint(beginning: str) -> str:
    """The fingerprint of the message that begins so; `LOOKED_AT` characters are enough."""
    if sealed := _sealed.match(beginning):
        return sealed[1]
    line, newline, _ = beginning[:LOOKED_AT].partition("\n")
    is_whole = newline or len(line) < LOOKED_AT
    varied = _varying.sub("#", line.removesuffix("\r"))
    whole = _printable(varied)
    if is_whole and len(whole) == len(varied) <= LONGEST:
        return whole
    short = whole[:LONGEST]
    return (_part_of_a_word.sub("", short) or short) + REST


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return line[: next(at for at, character in enumerate(line) if not character.isprintable())]


def as_fingerprint(text: str) -> str:
    """The fingerprint that somebody wrote, or of the message that they copied."""
    known = text.removesuffix(REST)
    return _varying.sub("#", known) + text[len(known) :]


def pattern(of: str) -> str:
    """A regular expression for messages with this fingerprint, for Python and PostgreSQL alike."""
    if _sealed_kind.match(of):
        return rf"^({SEALED}{of}:|{of}\r?(\n|$))"
    known = of.removesuffix(REST)
    words = _VARYING.join(re.escape(part) for part in known.split("#"))
    return f"^{words}" if known != of else rf"^{words}\r?(\n|$)"
