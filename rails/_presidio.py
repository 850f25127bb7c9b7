"""Presidio without a language model: our own light NLP engine and only the recognizers that are wanted.

Everything is registered under one language, so that one pass serves a text that mixes English, Italian and Korean.
Three of Presidio's habits are undone here: a pattern that runs out of time is skipped in silence (here it raises
`SlowPattern`), its log quotes the text (here it is off), and its e-mail and URL recognizers fetch a list of domains or
take seconds on a long text (here are our own).
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import regex
from phonenumbers import SUPPORTED_REGIONS
from presidio_analyzer import (
    AnalyzerEngine,
    EntityRecognizer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)  # fmt: skip
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    IbanRecognizer,
    IpRecognizer,
    ItDriverLicenseRecognizer,
    ItFiscalCodeRecognizer,
    ItIdentityCardRecognizer,
    ItPassportRecognizer,
    KrDriverLicenseRecognizer,
    KrFrnRecognizer,
    KrPassportRecognizer,
    KrRrnRecognizer,
    NhsRecognizer,
    PhoneRecognizer,
    UkDrivingLicenceRecognizer,
    UkNinoRecognizer,
    UkPassportRecognizer,
    UkPostcodeRecognizer,
    UsPassportRecognizer,
    UsSsnRecognizer,
)  # fmt: skip

from proxy.turn import Plain, Span
from rails import _numbers
from rails._digits import RUN, digit_runs, is_list, spoken
from rails._told import TIMEOUT, Recognizer, Told

logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL + 1)  # its messages quote the text

ANY = "any"  # the one language that all is registered under
_WITH_CONTEXT = 0.6  # least score of a weak pattern with a supporting word ("passport", "여권") before it

# Korean endings are written without a space ("1111이야"), so what is written in other scripts is sought with a mark in
# the place of every syllable and jamo (ㅋㅋ): no part of a word, no space, and in no number or address.
_HANGUL = re.compile("[\u1100-\u11ff가-힣]")
_MARK = "\ufffc"

# No list of domains: "tom@school.local" is as private. Possessive, so that a text costs no more than its length.
_EMAIL = r"(?<![\w.%+-])[\w.%+'-]++\s?@\s?[\w-]++(?:\.[\w-]++)+"
_LABELS = r"(?<![\w.@-])(?:[a-z0-9-]{1,63}\.){1,5}"
_PATH = rf"/(?:[^\s<>\"'{_MARK}]{{0,500}}[^\s<>\"'.,;:!?)\]{_MARK}])?"
_URL = (
    rf"(?:https?://|(?<![\w.@-])www\.)[^\s<>\"'{_MARK}]{{0,500}}[^\s<>\"'.,;:!?)\]{_MARK}]",
    # Without a scheme: endings that are no words of our languages ("it", "me", "so" are), or any ending with a path.
    rf"{_LABELS}(?:com|net|org|edu|gov|info|io|app|tv|uk|kr|eu|de|fr)(?![\w-])(?:{_PATH})?",
    rf"{_LABELS}[a-z]{{2,6}}{_PATH}",
)
_BUILT_IN: tuple[Callable[..., PatternRecognizer], ...] = (
    CreditCardRecognizer, IbanRecognizer, IpRecognizer, UsSsnRecognizer, UkNinoRecognizer, UkPostcodeRecognizer,
    NhsRecognizer, UkPassportRecognizer, ItFiscalCodeRecognizer, ItDriverLicenseRecognizer, ItIdentityCardRecognizer,
    ItPassportRecognizer, KrRrnRecognizer, KrFrnRecognizer, KrPassportRecognizer, KrDriverLicenseRecognizer,
    UkDrivingLicenceRecognizer, UsPassportRecognizer,
)  # fmt: skip
ENTITIES = (
    "EMAIL_ADDRESS", "PHONE_NUMBER", "URL", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN", "UK_NINO",
    "UK_POSTCODE", "UK_NHS", "UK_PASSPORT", "IT_FISCAL_CODE", "IT_DRIVER_LICENSE", "IT_IDENTITY_CARD", "IT_PASSPORT",
    "KR_RRN", "KR_FRN", "KR_PASSPORT", "KR_DRIVER_LICENSE", "UK_DRIVING_LICENCE", "US_PASSPORT", "ID_NUMBER",
    *_numbers.ENTITIES,
)  # fmt: skip
_FEWEST_DIGITS = 7
_DIGIT = re.compile(r"\d")
_GROUP = re.compile(r"\d(?:[^\w:+]{0,4}\d)*+")  # digits that could be of one number
_TOKEN = re.compile(r"\w+|[^\w\s]")
REGIONS = frozenset(SUPPORTED_REGIONS)  # what phone numbers are known of
_SIGNS = re.compile(r"[\d@]|://|\w\.\w")  # one of these is in everything that `_BUILT_IN`, `_EMAIL` and `_URL` find


class SlowPattern(RuntimeError):
    """A pattern took longer than `TIMEOUT`: the text has not been judged."""


class Detector:
    """Finds the data of some kinds in a text.

    entities: the kinds. regions: countries whose phone numbers are known. told: our own recognizers.
    at_least: the least score that counts, 0 to 1.
    """

    def __init__(
        self, entities: Sequence[str], regions: Sequence[str], told: Sequence[Recognizer], at_least: float
    ) -> None:
        self._entities = frozenset(entities)
        self._at_least = at_least
        self._told = Told(one for one in told if one.entry.entity in self._entities and one.entry.score >= at_least)
        known = [one for one in _known(regions) if not self._entities.isdisjoint(one.supported_entities)]
        self._engine = engine(known, at_least) if known else None
        self._all = sorted({entity for one in known for entity in one.supported_entities})
        self._without_digits = [entity for entity in self._all if entity in ("EMAIL_ADDRESS", "URL")]
        self.find(Plain("555-0199"))  # the first phone number loads what is known of the regions

    def find(self, text: Plain) -> list[tuple[Span, float]]:
        """The data in `text` with scores, in no order and perhaps overlapping; offsets are those of the original.

        Nearly every text stops at one of the gates. Raises `SlowPattern`.
        """
        try:
            found = [*self._told.find(text), *self._find_known(text)]
        except TimeoutError:
            raise SlowPattern("a pattern took too long, so the text is unjudged") from None
        return [(Span(*text.span(span.start, span.end), span.entity), score) for span, score in found]

    def _find_known(self, text: Plain) -> Iterator[tuple[Span, float]]:
        yield from self._wanted(spoken(text))
        bare = _HANGUL.sub(_MARK, text.text)
        if _DIGIT.search(bare):
            yield from self._wanted(_numbers.numbers(text.text))
        if _SIGNS.search(bare):
            yield from self._wanted(digit_runs(bare))
            entities = self._all if _DIGIT.search(bare) else self._without_digits
            if self._engine and entities:
                words = self._engine.nlp_engine.process_text(text.text, ANY)  # the context may be Korean
                for found in self._engine.analyze(bare, ANY, entities, nlp_artifacts=words):
                    yield Span(found.start, found.end, found.entity_type), found.score

    def _wanted(self, found: Iterable[tuple[Span, float]]) -> Iterator[tuple[Span, float]]:
        return ((span, score) for span, score in found if span.entity in self._entities and score >= self._at_least)


class _Bounded:
    """A compiled pattern that raises where Presidio would catch the `TimeoutError`, log it and let the text pass."""

    def __init__(self, pattern: regex.Pattern[str]) -> None:
        self._pattern = pattern

    def finditer(self, text: str, timeout: float) -> Iterator[regex.Match[str]]:
        try:
            yield from self._pattern.finditer(text, timeout=min(timeout, TIMEOUT))
        except TimeoutError:
            raise SlowPattern("a pattern took too long, so the text is unjudged") from None


class _Phones(PhoneRecognizer):
    """Presidio's phone recognizer, sure without context words, for the short numbers that `digit_runs` leaves to it."""

    SCORE = 0.65

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        rest = _GROUP.sub(_blank_if_few, RUN.sub(lambda run: "x" * len(run.group()), text))
        if len(_DIGIT.findall(rest)) < _FEWEST_DIGITS:
            return []
        found: list[RecognizerResult] = super().analyze(rest, entities)
        return [one for one in found if _is_phone(text, one.start, one.end)]


class _LightNlp(NlpEngine):
    """Words and marks, lower-cased: all that Presidio needs to look for context words."""

    def load(self) -> None:
        """Nothing to load."""

    def is_loaded(self) -> bool:
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        tokens = [*_TOKEN.finditer(text)]
        words: Any = [token.group() for token in tokens]  # Presidio declares spaCy's `Doc`, and takes any list
        starts = [token.start() for token in tokens]
        artifacts = NlpArtifacts([], words, starts, [word.lower() for word in words], self, language)
        vars(artifacts)["keywords"] = frozenset(artifacts.keywords)  # looked up for every word around every hit
        return artifacts

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **_: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        return False

    def is_punct(self, word: str, language: str) -> bool:
        return not word[0].isalnum()

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return [ANY]


class _Context(LemmaContextAwareEnhancer):
    """Presidio's search for context words with a quicker way to a hit's place, which quotes no text in an error."""

    @staticmethod
    def _find_index_of_match_token(word: str, start: int, tokens: list[str], tokens_indices: list[int]) -> int:
        return max(0, bisect_right(tokens_indices, start) - 1)


def _blank_if_few(group: re.Match[str]) -> str:
    """Every group that the library sees costs it time: a long list of clock times takes a second."""
    digits = group.group()
    return digits if len(_DIGIT.findall(digits)) >= _FEWEST_DIGITS else "x" * len(digits)


def _is_phone(text: str, start: int, end: int) -> bool:
    """Whether a match is long enough and neither a list of numbers nor the seconds of a clock."""
    clock = start > 1 and text[start - 1] == ":" and text[start - 2].isdigit()
    return not clock and len(_DIGIT.findall(text[start:end])) >= _FEWEST_DIGITS and not is_list(text[start:end])


def _known(regions: Sequence[str]) -> list[EntityRecognizer]:
    return [
        *(built_in(supported_language=ANY) for built_in in _BUILT_IN),
        _Phones(supported_language=ANY, supported_regions=tuple(regions)),
        _ours("EMAIL_ADDRESS", _EMAIL),
        _ours("URL", *_URL),
    ]


def _ours(entity: str, *patterns: str) -> PatternRecognizer:
    return PatternRecognizer(entity, supported_language=ANY, patterns=[Pattern(entity, one, 0.8) for one in patterns])


def engine(recognizers: Sequence[EntityRecognizer], at_least: float) -> AnalyzerEngine:
    """An engine of exactly these recognizers, every pattern of which is compiled and bounded in time."""
    for recognizer in recognizers:
        if isinstance(recognizer, PatternRecognizer):
            flags = recognizer.global_regex_flags or 0
            vars(recognizer)["patterns"] = [_bounded(one, flags) for one in vars(recognizer)["patterns"]]
    return AnalyzerEngine(
        registry=RecognizerRegistry(recognizers, supported_languages=[ANY]),
        nlp_engine=_LightNlp(),
        supported_languages=[ANY],
        context_aware_enhancer=_Context(min_score_with_context_similarity=_WITH_CONTEXT),
        default_score_threshold=at_least,
    )


def _bounded(pattern: Pattern, flags: int) -> Pattern:
    """A copy of its own: Presidio shares patterns between all engines of a process."""
    own = Pattern(pattern.name, pattern.regex, pattern.score)
    vars(own).update(compiled_regex=_Bounded(regex.compile(pattern.regex, flags)), compiled_with_flags=flags)
    return own
