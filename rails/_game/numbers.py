"""Numbers in what people say, as digits or as words, in English, Italian and Korean (일곱 and 칠)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

_EN = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
_EN += "eighteen nineteen"
_EN_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_IT = "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
_IT += "diciassette diciotto diciannove"
_IT_TENS = "venti trenta quaranta cinquanta sessanta settanta ottanta novanta"
_KO = ("", "하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉")
_KO_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_SINO = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")

# Words that mostly mean something else: they count where the whole message is hardly more than they are.
_DOUBTFUL = frozenset({"one", "uno", "sei", "일", "이", "사", "오", "구", "백"})
_SHORT = 3  # words
_NO_NUMBER = re.compile(
    r"\b(?:no|this|that|which|another|the|every|any|some) one\b|\b(?:dove|chi|come|tu|ci|non) sei\b"
)
_COUNTED = (  # behind a number: what is counted, so that the number is no guess
    r"\s*(?:(?:more )?(?:times?|tries|guesses|guess left|questions?|years?|minutes?|seconds?|left|points?)\b"
    r"|(?:volte|tentativ\w+|domand\w+|anni|minut\w+|second\w+|punti)\b|살|개|점|초|분|회|번\s?(?:만|더|남|째|안|기회)|고개)"
)
_BEHIND = re.compile(_COUNTED, re.IGNORECASE)
_TOKEN = re.compile(r"\d+|[^\W\d_]+(?:-[^\W\d_]+)*")
_PART_OF_DATUM = re.compile(r"[\d.,:/]*\d[.,:/]?$")
_ENDING = (  # of a Korean word that is a number
    r"(?:이야|야|인가요|인가|이니|니|이에요|예요|이요|요|입니다|이다|일까|일까요|이지|지|이구나|구나|이었어|였어|이라고|라고"
    r"|부터|까지|에서|보다|은|는|이|가|을|를|과|와|하고|도|번|맞아|맞지|으로|로)?"
)


@dataclass(frozen=True, slots=True)
class Number:
    """`start:end` of the text says this number."""

    value: int
    start: int
    end: int


def _english() -> Iterator[tuple[str, int]]:
    units = _EN.split()
    yield from ((word, value) for value, word in enumerate(units))
    for ten, word in enumerate(_EN_TENS.split(), start=2):
        yield word, ten * 10
        yield from ((f"{word}-{units[unit]}", ten * 10 + unit) for unit in range(1, 10))
    yield "hundred", 100


def _italian() -> Iterator[tuple[str, int]]:
    units = _IT.split()
    yield from ((word, value) for value, word in enumerate(units))
    for ten, word in enumerate(_IT_TENS.split(), start=2):
        yield word, ten * 10
        for unit in range(1, 10):
            stem = word[:-1] if unit in (1, 8) else word
            yield stem + units[unit], ten * 10 + unit
        yield f"{word}tré", ten * 10 + 3
    yield "cento", 100


def _korean() -> Iterator[tuple[str, int]]:
    for value in range(1, 100):
        ten, unit = divmod(value, 10)
        yield _KO_TENS[ten] + _KO[unit], value
        yield (_SINO[ten] if ten > 1 else "") + ("십" if ten else "") + _SINO[unit], value
    yield "백", 100


_WORDS = dict(chain(_english(), _italian()))
_HANGUL = dict(_korean())
_KOREAN = re.compile(f"({'|'.join(sorted(_HANGUL, key=len, reverse=True))}){_ENDING}")


def numbers(text: str) -> list[Number]:
    """The numbers that stand in `text` as such, in order. What counts something ("3 times") is none of them, nor what
    is a part of a date, a time or a decimal; a word that mostly means something else counts in a short text alone.
    """
    lowered = text.lower()
    tokens = list(_TOKEN.finditer(lowered))
    short = len(tokens) <= _SHORT and not _NO_NUMBER.search(lowered)
    found: list[Number] = []
    for token in tokens:
        value = _value(token.group(), short, len(tokens) == 1)
        if value is None or _BEHIND.match(lowered, token.end()) or _in_datum(lowered, token):
            continue
        last = found[-1] if found else None
        if last and _joins(last, value, lowered[last.end : token.start()]):
            found[-1] = Number(last.value + value, last.start, token.end())
        else:
            found.append(Number(value, *token.span()))
    return found


def _value(token: str, short: bool, alone: bool) -> int | None:
    if token.isdecimal():
        return int(token) if len(token) <= 4 else None
    if token in _WORDS:
        return _WORDS[token] if short or token not in _DOUBTFUL else None
    if not "가" <= token[0] <= "힣":
        return None
    word = _KOREAN.fullmatch(token)
    return _HANGUL[word[1]] if word and (alone or word[1] not in _DOUBTFUL) else None


def _joins(last: Number, value: int, between: str) -> bool:
    """`twenty` and `one` are one number."""
    return between == " " and last.value in range(20, 100, 10) and 0 < value < 10 and last.end - last.start > 2


def _in_datum(text: str, token: re.Match[str]) -> bool:
    if not token.group().isdecimal():
        return False
    behind = text[token.end() : token.end() + 2]
    return bool(_PART_OF_DATUM.search(text[: token.start()])) or (
        behind[:1] in (".", ":", "/") and behind[1:].isdigit()
    )
