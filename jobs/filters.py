"""The grammar of filters: `status:DLQ,FAILED queue:email error:"timed out" created:>2h -tag:test`.

Space means and, a comma means or, a leading hyphen means not. What is not `word:value` is searched
for as text. A time is compared as it stands (`created:>2030-01-01T00:00:00Z` is after it), an age
as an age (`created:>2h` is more than two hours ago; one that is still to come is less).
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

from jobs.errors import InvalidInput
from jobs.fields import moment
from jobs.fingerprint import as_fingerprint
from jobs.models import NAME_PATTERN
from jobs.statuses import Status
from jobs.submission import PRIORITY_WORDS

MAX_CHARACTERS, MAX_ENCODED = 1_000, 5_000
"""Of a filter that somebody typed, and its bytes as an address writes it: with the other parameters
of a list it has less than the 8,190 that servers take. A filter of a thousand ids is longer."""
MAX_TERMS = 30
"""Of such a filter; what a program adds to it, such as the queues of a key, is beside that."""
MAX_VALUES, MAX_IDS = 100, 1_000
MAX_TEXT = 200
"""Characters of a value that is no name; text without a word may be as long as its filter."""
FREE_TEXT = "text"
"""The word of a term that has none."""

READABLE = r"[^\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
"""A character that a filter may have, as patterns of JSON Schema write it. What it has of control
characters is space between terms: no value may hold one."""

_VALUE = r'"(?:[^"\\]|\\.)*"|[^\s",]+'
_TERM = re.compile(
    r'(?P<minus>-?)(?:(?P<word>[^\s:",<>-][^\s:",<>]*):)?(?P<comparison>[<>]=?)?'
    rf"(?P<values>(?:{_VALUE})(?:,(?:{_VALUE}))*)(?:\s+|\Z)",
    re.DOTALL,
)
_ONE_VALUE = re.compile(_VALUE, re.DOTALL)
_BARE = re.compile(r"\A[\w.-]+\Z", re.ASCII)
_NAME = re.compile(rf"\A{NAME_PATTERN}\Z")
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_AGE = re.compile(r"\A(\d{1,6})([smhdw])\Z", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NUMBER = re.compile(r"\A-?\d{1,5}\Z", re.ASCII)
_HEX = re.compile(r"\A[0-9a-f]{4,32}\Z")
_FLIPPED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
_LONGEST_AGE = timedelta(days=36_525)

Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: the job's `word` is one of the values, or compares so with the only one.

    `source` is how it was written; empty if it was not.
    """

    word: str
    values: tuple[Any, ...]
    comparison: str = ""
    is_negated: bool = False
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms that must all hold; none: every job matches."""

    terms: tuple[Term, ...] = ()

    def __and__(self, other: "Filter") -> "Filter":
        return Filter(self.terms + other.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def has_ages(self) -> bool:
        """Whether what matches depends on the time; `at` settles that."""
        return any(isinstance(term.values[0], timedelta) for term in self.terms)

    def at(self, now: datetime) -> "Filter":
        """The same filter with times instead of ages."""
        return Filter(tuple(_at(term, now) for term in self.terms))

    @property
    def statuses(self) -> frozenset[Status]:
        """Those that the terms about statuses leave."""
        left = frozenset(Status)
        for term in self.terms:
            if term.word == "status":
                left = left - set(term.values) if term.is_negated else left & set(term.values)
        return left


def _at(term: Term, now: datetime) -> Term:
    (first, *_) = term.values
    if not isinstance(first, timedelta):
        return term
    return replace(term, values=(now - first,), comparison=_FLIPPED[term.comparison])


def spelled(word: str, *values: str) -> str:
    """A term as the grammar writes it, its values in quotes."""
    return f"{word}:" + ",".join(map(_quoted, values))


def bare_or_quoted(value: str) -> str:
    """A value as a person writes it in a term: in quotes only where it needs them."""
    return value if _BARE.match(value) else _quoted(value)


def _quoted(value: str) -> str:
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'"{escaped}"'


def parse(text: str) -> Filter:
    """The filter that the text describes; an empty one for blank text.

    Raises `InvalidInput` that says what to write instead.
    """
    terms: list[Term] = []
    at = len(text) - len(text.lstrip())
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise _malformed(text[at:])
        terms.append(_term(found))
        at = found.end()
    return Filter(tuple(terms))


def _term(found: re.Match[str]) -> Term:
    given, comparison = found["values"], found["comparison"] or ""
    word = _known_word(found) if found["word"] else FREE_TEXT
    if word == FREE_TEXT and (comparison or _looks_like_more(given)):
        raise _malformed(found.group().lstrip("-"))
    values = tuple(_read(word, _unquoted(one)) for one in _ONE_VALUE.findall(given))
    most = MAX_IDS if word == "id" else MAX_VALUES
    if len(values) > most:
        raise InvalidInput(f"has more than {most} values of {word}.", code="invalid_filter")
    _check_comparison(word, comparison, values)
    source = found.group().rstrip()
    return Term(word, values, comparison, is_negated=bool(found["minus"]), source=source)


def _looks_like_more(source: str) -> bool:
    """Whether free text was not meant as that, but as a term with a mistake."""
    return not source.startswith('"') and (":" in source or source.startswith("-"))


def _malformed(rest: str) -> InvalidInput:
    word = rest.partition(":")[0].lower()
    if word in WORDS:
        return InvalidInput(f"says nothing that can be read after {word}:.", code="invalid_filter")
    shown = rest[:30] if rest.isprintable() else "a character that cannot be printed"
    return InvalidInput(
        f"cannot be read from {shown!r} on; write word:value, and put quotes around values "
        "with spaces, commas, colons or quotes.",
        code="invalid_filter",
    )


def _known_word(found: re.Match[str]) -> str:
    word = found["word"].lower()
    if word not in WORDS:
        near = get_close_matches(word, WORDS, n=1)
        guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(WORDS)}."
        shown = repr(word[:30]) if word.isprintable() else "of such characters"
        raise InvalidInput(f"has no word {shown}; {guess}", code="unknown_word")
    return word


def _unquoted(source: str) -> str:
    return re.sub(r"\\(.)", r"\1", source[1:-1], flags=re.DOTALL) if source[0] == '"' else source


def _read(word: str, value: str) -> Any:
    try:
        return _READERS[word](value)
    except InvalidInput as error:
        raise InvalidInput(f"is wrong: {word} {error.detail}", code=error.field_code) from None


def _check_comparison(word: str, comparison: str, values: tuple[Any, ...]) -> None:
    if comparison and word not in NUMBERS | TIMES:
        raise InvalidInput(f"cannot compare {word} by {comparison}.", code="invalid_filter")
    if comparison and len(values) > 1:
        raise InvalidInput(f"compares {word} with several values.", code="invalid_filter")
    if word in TIMES and not comparison:
        raise InvalidInput(
            f"compares {word} by < or >, as in {word}:>2h (more than two hours ago).",
            code="invalid_filter",
        )


def name(value: str) -> str:
    """The name of a queue, task or tag."""
    if not _NAME.match(value):
        raise InvalidInput("is not a name.", code="invalid_name")
    return value


def short_line(value: str) -> str:
    """One line that a database can look for, up to `MAX_TEXT` characters."""
    if len(value) > MAX_TEXT:
        raise InvalidInput(f"must be up to {MAX_TEXT} characters.", code="invalid_parameter")
    return _one_line(value)


def _one_line(value: str) -> str:
    if _UNFIT.search(value):
        raise InvalidInput(
            "must be one line, without control characters.", code="invalid_parameter"
        )
    return value


def _part(value: str) -> str:
    """A text that something holds: whoever acts on what holds an empty one acts on everything."""
    if not value:
        raise InvalidInput("must not be empty: that would be every job.", code="invalid_filter")
    return value


def status(value: str) -> Status:
    """One status, in capitals."""
    try:
        return Status(value)
    except ValueError:
        near = get_close_matches(value.upper(), Status, n=1)
        guess = f"; did you mean {near[0]}?" if near else "."
        raise InvalidInput(f"is one of {', '.join(Status)}{guess}", code="invalid_choice") from None


def ids_beginning_with(value: str) -> tuple[uuid.UUID, uuid.UUID]:
    """The first and the last id that begin like this; the same one for a whole id."""
    digits = value.replace("-", "").lower()
    if not _HEX.match(digits):
        raise InvalidInput("is 4 or more hexadecimal digits of a job's id.", code="invalid_id")
    return uuid.UUID(hex=digits.ljust(32, "0")), uuid.UUID(hex=digits.ljust(32, "f"))


def _number(value: str) -> int:
    if not _NUMBER.match(value):
        raise InvalidInput("is an integer of up to five digits.", code="invalid_parameter")
    return max(-32_768, min(int(value), 32_767))


def _priority(value: str) -> int:
    known = PRIORITY_WORDS.get(value.lower())
    return _number(value) if known is None else known


def _moment(value: str) -> datetime:
    try:
        return moment(value)
    except InvalidInput as error:
        detail = error.detail.replace("must be ", "must be an age such as 2h, or ")
        raise InvalidInput(detail, code=error.field_code) from None


def moment_or_age(value: str) -> datetime | timedelta:
    """A time as RFC 3339 writes it, or an age such as `90s`, `30m`, `2h`, `7d`, `4w`."""
    age = _AGE.match(value)
    if age is None:
        return _moment(value)
    length = timedelta(**{_UNITS[age[2]]: int(age[1])})
    if length > _LONGEST_AGE:
        raise InvalidInput("is an age of up to 100 years.", code="out_of_range")
    return length


_READERS: Mapping[str, Reader] = {
    "status": lambda value: status(value.upper()),
    "queue": name,
    "task": name,
    "tag": name,
    "id": ids_beginning_with,
    "error": lambda value: _part(short_line(value)),
    "error_type": short_line,
    "message": lambda value: as_fingerprint(short_line(value)),
    "key": short_line,
    "worker": lambda value: _part(short_line(value)),
    "priority": _priority,
    "attempt": _number,
    "created": moment_or_age,
    "run_at": moment_or_age,
    "finished": moment_or_age,
    FREE_TEXT: lambda value: _part(_one_line(value)),
}
NUMBERS = frozenset({"priority", "attempt"})
TIMES = frozenset({"created", "run_at", "finished"})
WORDS: Mapping[str, Reader] = {w: r for w, r in _READERS.items() if w != FREE_TEXT}
"""What stands before the colon."""
