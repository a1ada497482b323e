"""A traceback to read: what is the application's own stays open, the frames of libraries fold."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

_FRAME = re.compile(r'^  File "(?P<path>[^"\n]*)"[^\n]*\n(?:(?:    |  \[)[^\n]*\n?)*', re.MULTILINE)
_LIBRARY = re.compile(
    r"site-packages|dist-packages|/lib/python\d|^<frozen|/workers/(?:attempt|executor|child)\.py$"
)


class Part(NamedTuple):
    """A part of a traceback; `frames` says how many of libraries it holds, 0 if it stays open."""

    text: str
    frames: int = 0


def parts(traceback: str) -> Sequence[Part]:
    """The traceback in parts, in order; joined, they are what it was."""
    pieces: list[Part] = []
    at = 0
    for found in _FRAME.finditer(traceback):
        if between := traceback[at : found.start()]:
            pieces.append(Part(between))
        pieces.append(Part(found[0], int(bool(_LIBRARY.search(found["path"])))))
        at = found.end()
    pieces += [Part(traceback[at:])] if traceback[at:] else []
    return [_joined(list(group)) for _, group in groupby(pieces, lambda piece: bool(piece.frames))]


def _joined(group: Sequence[Part]) -> Part:
    return Part("".join(piece.text for piece in group), sum(piece.frames for piece in group))
