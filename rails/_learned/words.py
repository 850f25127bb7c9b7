"""A sentence as the learned models read it: words, and the numbers of the pieces that each word is made of.

Both training and the house read text here, so that a model never meets another spelling than the one it learned.
Words are made of hashed pieces (the word, its beginnings and ends, runs of letters or syllables), as in fastText
(Bojanowski et al., 2017): a word that no sentence held before is still made of known pieces.
"""

from __future__ import annotations

import re
from functools import lru_cache
from zlib import crc32

import numpy as np

BUCKETS = 1 << 16
LONGEST = 160  # words of one text; the rest is not read
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[?!.…,;:\"]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")


def words(folded: str) -> list[tuple[int, int]]:
    """Where the words, numbers and telling marks stand in the text."""
    return [match.span() for match in _TOKEN.finditer(folded)][:LONGEST]


@lru_cache(maxsize=20_000)
def pieces(word: str) -> np.ndarray:
    """The numbers of the word's pieces, each below `BUCKETS`."""
    return np.array(sorted({crc32(piece.encode()) % BUCKETS for piece in _pieces(word)}), dtype=np.int64)


def _pieces(word: str) -> set[str]:
    if word.isdigit():
        return {f"#{min(len(word), 12)}", f"={word[:4]}"}
    if _HANGUL.search(word):
        return _runs(word, 1, 4)
    if len(word) == 1:
        return {f"={word}"}
    return {f"={word}"} | _runs(word[:24], 3, 5)


def _runs(word: str, shortest: int, longest: int) -> set[str]:
    held = f"<{word}>"
    found = {f"={word}"}
    for size in range(shortest, longest + 1):
        found.update(held[at : at + size] for at in range(len(held) - size + 1))
    return found - {"<", ">"}
