"""The words of both databases for statements that make rows by the million.

`in_words()` turns these of a statement into those of the database in use:

    SERIES(a, b)         the whole numbers from a to b as rows, each as `n`
    HEX(x, n)            the number x in n hexadecimal digits
    UUID(x)              the id of 32 such digits
    TIME(x)              the time x milliseconds after 1970 began
    MINUTE(x)            the minute that began x seconds after 1970 began
    BYTES(x)  JSON(x)    a text as what columns of bytes and of JSON hold
    CHARACTER(x)         the character of this code
    WORD(x)              one of the parameter `words`, from 0
"""

import re
from collections.abc import Mapping

from django.db import connection

_ARGUMENT = r"((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*?)"
_WORDS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        rf"UUID\({_ARGUMENT}\)": r"(\1)::uuid",
        rf"SERIES\({_ARGUMENT}, {_ARGUMENT}\)": r"generate_series(\1::bigint, \2::bigint) AS s (n)",
        rf"HEX\({_ARGUMENT}, (\d+)\)": r"lpad(to_hex(\1), \2, '0')",
        rf"TIME\({_ARGUMENT}\)": r"to_timestamp((\1) / 1000.0)",
        rf"MINUTE\({_ARGUMENT}\)": r"to_timestamp(\1)",
        rf"BYTES\({_ARGUMENT}\)": r"convert_to(\1, 'UTF8')",
        rf"JSON\({_ARGUMENT}\)": r"\1::jsonb",
        rf"CHARACTER\({_ARGUMENT}\)": r"chr((\1)::int)",
        rf"WORD\({_ARGUMENT}\)": r"(%(words)s::text[])[(1 + \1)::int]",
    },
    "sqlite": {
        rf"UUID\({_ARGUMENT}\)": r"(\1)",
        rf"SERIES\({_ARGUMENT}, {_ARGUMENT}\)": (
            r"(WITH RECURSIVE counted (n) AS (SELECT \1 UNION ALL"
            r" SELECT n + 1 FROM counted WHERE n < \2) SELECT n FROM counted) AS s"
        ),
        rf"HEX\({_ARGUMENT}, (\d+)\)": r"printf('%%0\2x', \1)",
        rf"TIME\({_ARGUMENT}\)": (
            r"strftime('%%Y-%%m-%%d %%H:%%M:%%f', (\1) / 1000.0, 'unixepoch')"
        ),
        rf"MINUTE\({_ARGUMENT}\)": r"strftime('%%Y-%%m-%%d %%H:%%M:00', \1, 'unixepoch')",
        rf"BYTES\({_ARGUMENT}\)": r"CAST(\1 AS BLOB)",
        rf"JSON\({_ARGUMENT}\)": r"\1",
        rf"CHARACTER\({_ARGUMENT}\)": r"char(\1)",
        rf"WORD\({_ARGUMENT}\)": r"json_extract(%(words)s, '$[' || (\1) || ']')",
    },
}


def in_words(statement: str) -> str:
    """The statement in the words of the database in use."""
    for word, meaning in _WORDS[connection.vendor].items():
        statement = re.sub(rf"\b{word}", meaning, statement)
    return statement
