"""Plain text for matching: one normal form, with the way back to the original.

Children's apps send NFD Korean from one keyboard and full-width digits from another; a zero-width space hides a word
from a list. Every rail therefore matches on `Plain.text` and reports spans of the original (`Plain.span`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"  # soft hyphen, zero-width spaces and joiners, byte order mark
_TYPOGRAPHIC = {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "}
_NEEDS_CARE = re.compile(f"[{_INVISIBLE}{''.join(_TYPOGRAPHIC)}]")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Plain:
    """Text in NFKC without invisible characters and typographic quotes; case is kept.

    `starts[i]` and `ends[i]` bound, in code points of the original, what became character `i`; None means nothing
    moved.
    """

    text: str
    starts: tuple[int, ...] | None = None
    ends: tuple[int, ...] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's offsets of the plain text's `start:end` (not empty)."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]

    @cached_property
    def words(self) -> frozenset[str]:
        """The lower-cased words, for cheap "could this list match at all" questions."""
        return frozenset(_WORD.findall(self.text.lower()))


def plain(text: str) -> Plain:
    """The normal form of `text`."""
    if text.isascii() or (unicodedata.is_normalized("NFKC", text) and not _NEEDS_CARE.search(text)):
        return Plain(text)
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        cluster = text[start:end]
        piece = "" if cluster in _INVISIBLE else unicodedata.normalize("NFKC", _TYPOGRAPHIC.get(cluster, cluster))
        for character in piece:
            out.append(character)
            starts.append(start)
            ends.append(end)
    return Plain("".join(out), tuple(starts), tuple(ends))


def _clusters(text: str) -> list[tuple[int, int]]:
    """Bounds of the pieces that normalise on their own: a base character with its marks, a syllable with its jamo."""
    bounds: list[tuple[int, int]] = []
    for position, character in enumerate(text):
        if bounds and (unicodedata.combining(character) or "\u1160" <= character <= "\u11ff"):
            bounds[-1] = (bounds[-1][0], position + 1)
        else:
            bounds.append((position, position + 1))
    return bounds


def without_accents(text: str) -> str:
    """`più` -> `piu`: how children type Italian. Hangul is left whole."""
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) != "Mn"))


_QUESTION_MARK = re.compile(r"\?[^\w?]*$")
# Korean asks by its verb ending too, question mark or not; 할머니, 노래, 그러니까 and 또 만나요 end alike.
_KOREAN_ASKS = re.compile(
    r"(?:(?<!니)까요?|[할갈볼줄을]래요?|[했있뭐싶좋하갔봤었았겠]니|(?<![만빛])나요|[은는인]가요|어때요?|[뭐누구어디언제]야)[\s.!~…]*$"
)


def is_question(text: str) -> bool:
    """Whether a sentence asks: it ends in a question mark (closing quotes and emoji aside) or in a Korean asking
    ending.
    """
    flat = plain(text).text
    return _QUESTION_MARK.search(flat) is not None or _KOREAN_ASKS.search(flat) is not None


# Function words that the other language does not have; script decides Korean.
_TELLS = {
    "en": [
        "the",
        "a",
        "an",
        "and",
        "is",
        "are",
        "was",
        "were",
        "you",
        "your",
        "i'm",
        "i",
        "it's",
        "we",
        "they",
        "he",
        "she",
        "what",
        "why",
        "how",
        "where",
        "when",
        "who",
        "can",
        "do",
        "does",
        "did",
        "don't",
        "want",
        "to",
        "my",
        "me",
        "this",
        "that",
        "with",
        "of",
        "for",
        "not",
        "yes",
        "please",
        "tell",
        "let's",
        "like",
        "have",
        "has",
        "will",
        "good",
        "more",
        "about",
        "from",
        "up",
    ],
    "it": [
        "il",
        "lo",
        "la",
        "gli",
        "le",
        "un",
        "uno",
        "una",
        "e",
        "è",
        "sono",
        "sei",
        "ho",
        "hai",
        "ha",
        "che",
        "chi",
        "cosa",
        "come",
        "dove",
        "quando",
        "perché",
        "perche",
        "non",
        "mi",
        "ti",
        "ci",
        "si",
        "di",
        "del",
        "della",
        "dei",
        "al",
        "alla",
        "con",
        "per",
        "sul",
        "nel",
        "voglio",
        "vuoi",
        "ciao",
        "sì",
        "io",
        "tu",
        "noi",
        "anche",
        "più",
        "piu",
        "questo",
        "questa",
        "mio",
        "mia",
        "tuo",
        "tua",
        "c'è",
        "basta",
        "buonanotte",
        "grazie",
        "ciao",
        "ancora",
    ],
}
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_HANGUL = re.compile(r"[\uac00-\ud7a3\u3131-\u318e]")


def guess_language(text: str, languages: tuple[str, ...], default: str) -> str:
    """The language of `text` among `languages`: script first, then function words; `default` where neither tells."""
    if len(languages) == 1:
        return languages[0]
    flat = plain(text[:2000]).text.lower()
    if "ko" in languages and len(_HANGUL.findall(flat)) * 3 >= len(re.findall(r"\w", flat)) > 0:
        return "ko"
    words = _WORDS.findall(flat)
    scores = {language: sum(word in _TELLS[language] for word in words) for language in languages if language in _TELLS}
    best = max(scores, key=lambda language: scores[language], default=default)
    tied = [language for language, score in scores.items() if score == scores.get(best)]
    return best if scores.get(best) and len(tied) == 1 else default
