"""Numbers that somebody could be called by: runs of digits, and digits in words. Counting aloud is no such number.

Presidio knows a phone number by its country's plan; a child writes "0 7 7 0 0 ..." or says "zero seven seven". So any
nine digits in a row are a number, and any six in words, unless they count: 1 2 3 4 5, dieci nove otto, 일 이 삼.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from proxy.turn import Plain, Span

_FEWEST_DIGITS = 9
_LONGEST_PHONE = 15  # digits, ITU-T E.164; longer ones are accounts and the like
_FEWEST_WORDS = 6
_SCORE = 0.6

# Digits with at most three separators between two of them; the keycap of an emoji digit is one. No decimals, no dates.
RUN = re.compile(r"(?<![\w.,])(?!\d{4}-\d\d-\d\d(?!\d))\+?\(?\d(?:[\s.\-–/()\ufe0f\u20e3]{0,3}\d){8,}(?!\w)")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
_DECIMAL = re.compile(r"\d{1,3}\.\d{7,}")

_WORDS = {
    "en": "zero one two three four five six seven eight nine",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
}
_VALUES = {word: value for words in _WORDS.values() for value, word in enumerate(words.split())} | {"oh": 0, "o": 0}
_WORD = "|".join(_VALUES)
_APART = r"(?:[^\S\n]|[,\-–])"  # no sentence or line ends inside a number in words
_TWICE = r"(?:(?:double|triple|doppio)\s+)?"
_SPOKEN = re.compile(
    rf"(?<!\w){_TWICE}(?:{_WORD})(?:{_APART}+(?:and\s+)?{_TWICE}(?:{_WORD})(?!\w)){{5,}}", re.IGNORECASE
)
_ONE_WORD = re.compile(rf"(?<!\w)(?:{_WORD})(?!\w)", re.IGNORECASE)

_SINO = {"공": 0, "영": 0, "일": 1, "이": 2, "삼": 3, "사": 4, "오": 5, "육": 6, "륙": 6, "칠": 7, "팔": 8, "구": 9}
_SINO_DIGIT = f"[{''.join(_SINO)}]"
_SINO_SPOKEN = re.compile(
    rf"(?<![가-힣]){_SINO_DIGIT}(?:{_APART}*(?:에\s+|다시\s+)?{_SINO_DIGIT}){{6,}}"
    r"(?=[^가-힣]|$|이?야|이?에요|예요|입니다|번|으?로|이?고|인데|이?라고)"
)
_GATE_WORDS = frozenset(_VALUES) - {"o"}


def counts(numbers: Sequence[int]) -> bool:
    """Whether numbers are counting aloud: up or down by one (or two: children skip), from one again, or in equal steps.

    Judged by neighbours alone, so that a part of a count is a count.
    """
    steps = [after - before for before, after in pairwise(numbers)]
    up = all(0 <= step <= 2 or after == 1 for step, after in zip(steps, numbers[1:], strict=True))
    down = all(-2 <= step <= 0 for step in steps)
    equal = len(set(steps)) == 1 and (abs(steps[0]) <= 10 or len(steps) > 3)
    return up or down or equal


def is_list(run: str) -> bool:
    """Whether a run of digits is a list of small numbers or counts, and not one number."""
    groups = re.findall(r"\d+", run)
    if len(groups) < 3:
        return False
    pairs = all(len(group) < 3 for group in groups) and not all(len(group) == 1 for group in groups)
    return (pairs and run[0] not in "+(0") or counts([int(group) for group in groups])


def digit_runs(text: str) -> Iterator[tuple[Span, float]]:
    """Runs of nine digits or more: `PHONE_NUMBER`, from sixteen on `ID_NUMBER`."""
    for match in RUN.finditer(text):
        run = match.group()
        if not (_THOUSANDS.fullmatch(run) or _DECIMAL.fullmatch(run) or is_list(run)):
            digits = sum(character.isdigit() for character in run)
            entity = "PHONE_NUMBER" if digits <= _LONGEST_PHONE else "ID_NUMBER"
            yield Span(match.start(), match.end(), entity), _SCORE


def spoken(text: Plain) -> Iterator[tuple[Span, float]]:
    """Six or more digits said in words (in Korean seven), less those that count."""
    if len(_GATE_WORDS & text.words) > 1:
        for match in _SPOKEN.finditer(text.text):
            words = list(_ONE_WORD.finditer(text.text, match.start(), match.end()))
            yield from _uncounted(words, [_VALUES[word.group().lower()] for word in words])
    if not text.text.isascii():
        for match in _SINO_SPOKEN.finditer(text.text):
            digits = list(re.finditer(_SINO_DIGIT, match.group()))
            for span, score in _uncounted(digits, [_SINO[digit.group()] for digit in digits]):
                yield Span(span.start + match.start(), span.end + match.start(), span.entity), score


def _uncounted(words: Sequence[re.Match[str]], values: Sequence[int]) -> Iterator[tuple[Span, float]]:
    """Every six neighbours that do not count, with five words on either side: "zero seven ... one two three" is one.

    A decision this local comes out the same on either side of a seam.
    """
    for first in range(len(words) - _FEWEST_WORDS + 1):
        if not counts(values[first : first + _FEWEST_WORDS]):
            start = max(0, first - _FEWEST_WORDS + 1)
            last = min(len(words), first + 2 * _FEWEST_WORDS - 1) - 1
            yield Span(words[start].start(), words[last].end(), "PHONE_NUMBER"), _SCORE
