"""Numbers of people and their cars that Presidio does not know, or not as people write them.

Plates: D.P.R. 495/1992 (Italy, since 1994), DVLA INF104 (United Kingdom, since 2001), the Korean ones since 2006. In
small letters a plate counts only in one piece: "da 100 al" and "no10 and" are words. The Italian tax code in groups
(D.M. 23 December 1976) and the IBAN in groups or small letters (ISO 13616) count where their checksums hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.turn import Span

ENTITIES = ("LICENSE_PLATE",)  # beside those that Presidio has too
_SCORE = 0.7
_ENDS = r"(?![^\W가-힣])"  # a Korean particle may follow
_IT = "[A-HJ-NPR-TV-Z]{2}"  # neither I, O, Q nor U
_UK = ("[A-HJ-PR-Y]{2}", "[A-HJ-PR-Z]{3}")
_AGE = r"(?:0[2-9]|[12]\d|5[1-9]|[67]\d)"  # the half-years of issue so far
_PLATE = re.compile(
    rf"(?<!\w)(?:{_IT}[ -]?\d{{3}}[ -]?{_IT}|{_UK[0]}{_AGE} ?{_UK[1]}"
    rf"|(?i:{_IT}\d{{3}}{_IT}|{_UK[0]}{_AGE}{_UK[1]})){_ENDS}"
)
# The syllable tells private, hired and delivery cars apart. "12조 3456억" is money, "10도 2024년" a year.
_KOREAN_PLATE = re.compile(
    r"(?<![\d.,])\d{2,3} ?[가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주바사아자허하호배] ?\d{4}"
    r"(?![.,]?\d|\s?[억만원년천개명])"
)

_TAX_CODE = re.compile(
    rf"(?<!\w)[A-Z]{{3}} ?[A-Z]{{3}} ?[\dL-NP-V]{{2}} ?[A-EHLMPRST] ?[\dL-NP-V]{{2}}"
    rf" ?[A-Z][\dL-NP-V]{{3}} ?[A-Z]{_ENDS}",
    re.IGNORECASE,
)
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_IBAN = re.compile(r"(?<!\w)(?:it|gb|de|fr|es|nl|ie)\d\d(?: ?[a-z\d]){11,30}", re.IGNORECASE)
_IBAN_LENGTHS = {"it": 27, "gb": 22, "de": 22, "fr": 27, "es": 24, "nl": 18, "ie": 22}


def numbers(text: str) -> Iterator[tuple[Span, float]]:
    """What of these stands in a text, with a score."""
    for match in (*_PLATE.finditer(text), *_KOREAN_PLATE.finditer(text)):
        yield Span(match.start(), match.end(), "LICENSE_PLATE"), _SCORE
    for match in _TAX_CODE.finditer(text):
        if _is_tax_code(match.group().replace(" ", "").upper()):
            yield Span(match.start(), match.end(), "IT_FISCAL_CODE"), 1.0
    for match in _IBAN.finditer(text):
        length = _iban(match.group().lower())
        if length:
            yield Span(match.start(), match.start() + length, "IBAN_CODE"), 1.0


def _is_tax_code(code: str) -> bool:
    values = [int(one) if one.isdigit() else ord(one) - ord("A") for one in code]
    total = sum(_ODD[value] if place % 2 == 0 else value for place, value in enumerate(values[:-1]))
    return total % 26 == values[-1]


def _iban(text: str) -> int:
    """How much of `text` is an IBAN, spaces included; 0: none of it."""
    length, digits = 0, ""
    while length < len(text) and len(digits) < _IBAN_LENGTHS[text[:2]]:
        digits += text[length].strip()
        length += 1
    if len(digits) < _IBAN_LENGTHS[text[:2]] or text[length : length + 1].isalnum():
        return 0
    return length if int("".join(str(int(one, 36)) for one in digits[4:] + digits[:4])) % 97 == 1 else 0
