"""The house's own lines: what learned models must not take for a model's slip."""

from __future__ import annotations

from functools import cached_property
from unicodedata import normalize

import regex

from proxy.turn import House, Segment

_NO_LETTERS = regex.compile(r"[\W\d_]+")
_GAP = regex.compile(r"\{\w+\}")  # that the numbers of help lines fill
_SURE = 12  # letters of the house's; with fewer, such as those of `Yes`, an answer and a line may begin alike by chance


class Own:
    """Knows them once the policy is loaded."""

    def __init__(self, house: House) -> None:
        self._house = house

    def says(self, segment: Segment) -> bool:
        """Whether an answer, up to the end of the segment, is a line of the house, or clearly the beginning of one."""
        said = _NO_LETTERS.sub("", segment.before + segment.text)
        return bool(said) and any(_is(said, line, parts) for line, parts in self._lines)

    @cached_property
    def _lines(self) -> list[tuple[regex.Pattern[str], list[str]]]:
        split = ([_NO_LETTERS.sub("", part) for part in _GAP.split(line)] for line in self._house.own)
        return [(regex.compile(".{0,20}".join(parts)), parts) for parts in split]


def _is(said: str, line: regex.Pattern[str], parts: list[str]) -> bool:
    """What fills a gap is not the house's: a beginning counts by what stands before the first, a line by the rest."""
    found = line.fullmatch(said, partial=True)
    if found is None:
        return False
    if found.partial:
        return min(_letters(said), _letters(parts[0])) >= _SURE
    told = "".join(parts)
    return len(said) == len(told) or _letters(told) >= _SURE


def _letters(text: str) -> int:
    """A Korean syllable is two or three."""
    return len(normalize("NFD", text))
