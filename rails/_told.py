"""What people tell of themselves: a YAML list of anchors ("my name is") and the shape of what follows, compiled once.

The head of `policies/recognizers.yaml` documents the format for those who extend it. Patterns are those of the `regex`
package and run under a time limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import regex
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.turn import Plain, Span

ENTITIES = (
    "PERSON",
    "LOCATION",
    "SCHOOL",
    "AGE",
    "DATE_OF_BIRTH",
    "USERNAME",
    "PASSWORD",
    "EMAIL_ADDRESS",
    "ID_NUMBER",
    "LICENSE_PLATE",
)
TIMEOUT = 0.5  # seconds that one pattern may take on one text; then `TimeoutError`
_PROBES = ("a." * 4000, "1 " * 4000, "a-" * 4000, "a " * 4000, "가 " * 4000)
_PROBE_TIME = 0.25  # seconds
_DIGIT = re.compile(r"\d")

Shape = Literal["name", "forename", "place", "age", "date", "code"]

# The shapes. NEVER and NAMES stand for the lists of the entry's language; every repetition is bounded.
_SP = r"[^\S\n]{1,3}"  # between the words of a value: never a line's end
_WORD = r"(?!NEVER)[^\W\d_](?:[\w'-]{0,29}\w)?"
_CAPITALISED = rf"(?:{_SP}(?-i:(?!NEVER)\p{{Lu}})[\w'-]{{1,29}})"
_PART = r"(?!NEVER)(?:st\.(?!\w)|\w(?:[\w'/-]{0,29}\w)?)"  # of an address: a word or a number
_PLACE = rf"{_PART}(?:,?{_SP}{_PART}){{0,5}}"
_STREET = (
    r"(?:via|viale|corso|piazza|piazzale|largo|vicolo|strada)(?: (?:del|della|dei|degli|delle|dello|di|san|santa))?"
)
_EN_AGE = r"(?:1?\d|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven)teen)"
_EN_AGE_ENDS = r"(?:$|[.!?,;)\n]|(?:and|but|now|today|so|too|years?|yrs?|y/?o|nearly|almost)\b)"
_IT_AGE = r"(?:1?\d|due|tre|quattro|cinque|sei|sette|otto|nove|dieci|undici|dodici|tredici|(?:quattor|quin|se)dici)"
_KO_AGE = r"(?:1?\d|(?:열 ?)?(?:한|두|세|네|다섯|여섯|일곱|여덟|아홉)|열) ?살"
_KO_SURNAME = r"[김이박최정강조윤장임한오서신권황안송류홍전고문양손배백허유남심노하곽성차주우구민]"
_KO_NAME_ENDS = r"(?:이?에요|이?예요|이?야|입니다|이?라고(?:해요?|합니다)?|이?고요?|인데요?|이?지|이?래요?|이다|임)?"
_EN_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\p{L}{0,6}"
_IT_MONTH = r"(?:gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|novembre|dicembre)"
_NUMERIC_DATE = r"\d{1,4}[./-]\d{1,2}(?:[./-]\d{1,4})?|(?:19|20)\d\d"
_SHAPES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "name": rf"{_WORD}(?:{_SP}{_WORD})?{_CAPITALISED}{{0,2}}",
        "forename": rf"(?:NAMES)(?![\w'-]){_CAPITALISED}{{0,2}}",
        "place": _PLACE,
        "age": rf"{_EN_AGE}(?![\w%°:/-]|[.,]\d)(?=\s*{_EN_AGE_ENDS})",
        "date": rf"(?:(?:\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_EN_MONTH}|{_EN_MONTH}(?: the)? \d{{1,2}}(?:st|nd|rd|th)?)"
        rf"(?:,? \d{{4}})?|{_NUMERIC_DATE})(?!\w)",
        "code": r"(?!NEVER)[^\s,;]{2,63}[^\s,;.!?]",
    },
    "it": {
        "name": rf"{_WORD}(?:{_SP}{_WORD})?{_CAPITALISED}{{0,2}}",
        "forename": rf"(?:NAMES)(?![\w'-]){_CAPITALISED}{{0,2}}",
        "place": rf"(?:{_STREET}{_SP})?{_PLACE}",
        "age": rf"{_IT_AGE}(?={_SP}ann)",
        "date": rf"(?:(?:\d{{1,2}}|primo) {_IT_MONTH}(?: (?:del )?\d{{4}})?|{_NUMERIC_DATE})(?!\w)",
        "code": r"(?!NEVER)[^\s,;]{2,63}[^\s,;.!?]",
    },
    "ko": {
        "name": rf"(?!NEVER)(?:[가-힣] )?[가-힣]{{2,4}}?(?={_KO_NAME_ENDS}(?![가-힣]))",
        "forename": rf"(?:{_KO_SURNAME} ?)?(?:NAMES)",
        # Right behind 나, 난, 저 or 전 comes a particle or the rest of a word (나는, 난쟁이), and no place.
        "place": r"(?<!(?<![가-힣])[나난저전])(?!NEVER)[가-힣0-9]{1,10}(?: [가-힣0-9-]{1,10}){0,4}?",
        "age": _KO_AGE,
        "date": r"(?:\d{2,4}년 ?)?\d{1,2}월 ?\d{1,2}일|\d{2,4}[./-] ?\d{1,2}[./-] ?\d{1,2}",
        "code": r"(?!NEVER)[A-Za-z0-9_.!@#-]{3,64}",
    },
}


class Entry(BaseModel):
    """One recognizer of the list, as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entity: str
    language: Literal["en", "it", "ko"]
    phrases: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    value: Shape | None = None
    pattern: str = ""
    then: tuple[str, ...] = ()
    but_not: tuple[str, ...] = ()
    score: float = Field(0.8, gt=0, le=1)

    def fault(self) -> str:
        """What is wrong with it and how to mend it; empty if nothing is."""
        if self.entity not in ENTITIES:
            return f"`entity: {self.entity}` is unknown; use one of {', '.join(ENTITIES)}"
        if bool(self.value) == bool(self.pattern):
            return "give either `value` (the name of a shape) or `pattern` (a regular expression)"
        if self.value and not self.phrases:
            return "a `value` is only found behind words: give `phrases`, or a `pattern` that needs none"
        return ""


class _File(BaseModel):
    """The list as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    never: dict[Literal["en", "it", "ko"], tuple[str, ...]] = {}
    names: dict[Literal["en", "it", "ko"], tuple[str, ...]] = {}
    recognizers: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True)
class Recognizer:
    """An entry, compiled."""

    entry: Entry
    pattern: regex.Pattern[str]

    def find(self, text: Plain) -> Iterator[tuple[Span, float]]:
        """The values in `text`, with the entry's score. Raises `TimeoutError` where the pattern takes too long."""
        for match in self.pattern.finditer(text.text, timeout=TIMEOUT):
            start, end = match.span("value")
            if start < end:
                yield Span(start, end, self.entry.entity), self.entry.score

    def needs(self) -> tuple[frozenset[str], ...]:
        """Sets of words (in Korean pieces of words), one of which is wholly in every text it finds something in."""
        phrases = [phrase.lower() for phrase in self.entry.phrases or self.entry.hints]
        typed = {variant for phrase in phrases for variant in (phrase.replace("'", " "), phrase.replace("'", ""))}
        return tuple(frozenset(phrase.split()) for phrase in sorted(typed))


class Told:
    """Recognizers behind a gate: an index of the words that announce a datum, so that most texts are never searched."""

    def __init__(self, recognizers: Iterable[Recognizer]) -> None:
        self._for_digits: list[Recognizer] = []
        self._by_word: dict[str, list[tuple[frozenset[str], Recognizer]]] = {}
        self._by_syllable: dict[str, list[tuple[frozenset[str], Recognizer]]] = {}
        for one in recognizers:
            needs = one.needs()
            if not needs:
                self._for_digits.append(one)
            for need in needs:
                longest = max(need, key=len)
                index, key = (self._by_syllable, longest[0]) if one.entry.language == "ko" else (self._by_word, longest)
                index.setdefault(key, []).append((need, one))

    def find(self, text: Plain) -> Iterator[tuple[Span, float]]:
        """What is told in `text`, with scores. Raises `TimeoutError`."""
        for one in dict.fromkeys(self._candidates(text)):
            yield from one.find(text)

    def _candidates(self, text: Plain) -> Iterator[Recognizer]:
        """Those whose needs are met."""
        for word in self._by_word.keys() & text.words:
            yield from (one for need, one in self._by_word[word] if need <= text.words)
        if not text.text.isascii():
            for syllable in self._by_syllable.keys() & set(text.text):
                yield from (
                    one for need, one in self._by_syllable[syllable] if all(piece in text.text for piece in need)
                )
        if self._for_digits and _DIGIT.search(text.text):
            yield from self._for_digits


def load(path: Path) -> tuple[Recognizer, ...]:
    """The recognizers listed in a YAML file. Raises `ValueError` that names the file, the entry and the remedy."""
    try:
        content = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # noqa: S506 - every scalar stays text: `no` is a word
        listed = _File.model_validate(content)
    except OSError:
        raise ValueError(f"{path}: cannot be read; give `recognizers` a path relative to the policy's folder") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not YAML: {error}") from None
    except ValidationError as error:
        raise ValueError(f"{path}: {_first(error)}") from None
    return tuple(_recognizer(path, number, raw, listed) for number, raw in enumerate(listed.recognizers, 1))


def _recognizer(path: Path, number: int, raw: dict[str, object], listed: _File) -> Recognizer:
    place = f"{path}: recognizer {number} ({raw.get('entity', 'no entity')}, {raw.get('language', 'no language')})"
    try:
        entry = Entry.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{place}: {_first(error)}") from None
    if fault := entry.fault():
        raise ValueError(f"{place}: {fault}")
    try:
        pattern = regex.compile(_source(entry, listed), regex.IGNORECASE | regex.MULTILINE)
        for probe in _PROBES if entry.pattern else ():
            for _ in pattern.finditer(probe, timeout=_PROBE_TIME):
                pass
    except regex.error as error:
        raise ValueError(f"{place}: `pattern` is no regular expression: {error}") from None
    except TimeoutError:
        raise ValueError(f"{place}: `pattern` is too slow; bound its repetitions ({{1,20}}, not *)") from None
    return Recognizer(entry, pattern)


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    return f"`{'.'.join(str(part) for part in found['loc'])}`: {found['msg']}"


def _source(entry: Entry, listed: _File) -> str:
    """The entry as one regular expression, with the group `value`."""
    korean = entry.language == "ko"
    value = entry.pattern or _SHAPES[entry.language][entry.value or ""]
    if "(?P<value>" not in value:
        value = f"(?P<value>{value})"
    value = value.replace("NEVER", _words(listed.never.get(entry.language, ()), korean))
    names = [_loose(name, korean) for name in listed.names.get(entry.language, ())]
    value = value.replace("NAMES", "|".join(names) or "(?!)")
    if entry.but_not:
        value = f"(?!{_words(entry.but_not, korean)}){value}"
    if entry.then:
        value += f"(?={'|'.join(_loose(phrase, korean) for phrase in entry.then)})"
    return _anchor(entry.phrases, korean) + value


def _words(words: Sequence[str], korean: bool) -> str:
    """Any of the words, whole; in Korean as the beginning of a word."""
    body = "|".join(_loose(word, korean) for word in words) or "(?!)"
    return f"(?:{body})" if korean else rf"(?:{body})(?!\w)"


def _anchor(phrases: Sequence[str], korean: bool) -> str:
    if not phrases:
        return ""
    body = "|".join(_loose(phrase, korean) for phrase in sorted(phrases, key=len, reverse=True))
    return rf"(?<![가-힣])(?:{body})\s*[:=]?\s*" if korean else rf"(?<!\w)(?:{body})(?:\s*[:=]\s*|\s+)"


def _loose(phrase: str, korean: bool) -> str:
    """A phrase as children type it: apostrophes may be missing, spaces wide, in Korean missing too."""
    return (f"(?:{_SP})?" if korean else _SP).join(regex.escape(word).replace("'", "'?") for word in phrase.split())
