"""A text as the learned model reads it: words, and the numbers of the pieces that each word is made of.

Both training and the house read text here, so that the model never meets another spelling than the one it learned.
Words are made of hashed pieces (the word, its beginnings and ends, runs of letters or syllables), as in fastText
(Bojanowski et al., 2017): a word that no sentence held before is still made of known pieces. A capital inside a
sentence and a place in the list of names are pieces, too: they hint at a name and prove none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from proxy.turn import Plain

BUCKETS = 1 << 16
LONGEST = 60  # words that are read at once
EARLIER = 12  # words of what was said before them; more cost time, and tell no more
Side = Literal["user", "assistant"]
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[?!.…,;:\"]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_BEGINS = re.compile(r"[.!?…:\"]\s*$")  # what stands in front of a capital that says nothing
_NAMES = frozenset(
    line for line in (Path(__file__).parent / "names.txt").read_text("utf-8").splitlines() if not line.startswith("#")
)
_CAPITAL = "^"


class Word(NamedTuple):
    """Where a word, number or telling mark stands, and how it is known: lower case, `^` behind it for a capital."""

    start: int
    end: int
    key: str


def words(text: Plain) -> list[Word]:
    """The words of a text; their offsets are those of `text.text`."""
    return [Word(*match.span(), _key(text, *match.span())) for match in _TOKEN.finditer(text.folded)]


def _key(text: Plain, start: int, end: int) -> str:
    key = text.folded[start:end]
    if not text.text[start].isupper():
        return key
    begins = start == 0 or _BEGINS.search(text.text, max(0, start - 3), start)
    return key if begins else key + _CAPITAL


def earlier(text: Plain) -> list[Word]:
    """The last words of what the other side had said: all of it that is read."""
    return words(text)[-EARLIER:]


def standing(before: int, own: int, side: Side) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who says each word, and where it stands: of `before` words of the other side, and of the `own` behind them.

    The other side's are counted from their end.
    """
    speaker = int(side == "assistant")
    who = np.repeat(np.array([3 - speaker, speaker]), [before, own])
    return who, np.concatenate([LONGEST + np.arange(before)[::-1], np.arange(own)])


@lru_cache(maxsize=20_000)
def pieces(key: str) -> NDArray[np.int64]:
    """The numbers of the word's pieces, each below `BUCKETS`."""
    return np.array(sorted({crc32(piece.encode()) % BUCKETS for piece in _pieces(key)}), dtype=np.int64)


def _pieces(key: str) -> set[str]:
    word = key.removesuffix(_CAPITAL)
    hints = {"#capital"} if key.endswith(_CAPITAL) else set()
    if word in _NAMES or word.removesuffix("'s") in _NAMES:
        hints.add("#name")
    if word.isdigit():
        return {f"#{min(len(word), 12)}", f"={word[:4]}"}
    if _HANGUL.search(word):
        return hints | _runs(word, 1, 4) | ({"#name"} if word[:2] in _NAMES or word[:3] in _NAMES else set())
    if len(word) == 1:
        return hints | {f"={word}"}
    return hints | {f"={word}"} | _runs(word[:24], 3, 5)


def _runs(word: str, shortest: int, longest: int) -> set[str]:
    held = f"<{word}>"
    found = {f"={word}"}
    for size in range(shortest, longest + 1):
        found.update(held[at : at + size] for at in range(len(held) - size + 1))
    return found - {"<", ">"}
