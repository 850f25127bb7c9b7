"""Plain text for matching: one normal form, with the way back to the original.

Children's apps send NFD Korean from one keyboard and full-width digits from another; a zero-width space hides a word
from a list. Every rail therefore matches on `Plain.text` and reports spans of the original (`Plain.span`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

import orjson

from proxy.spelling import folded, spelt

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"  # soft hyphen, zero-width spaces and joiners, byte order mark
_TYPOGRAPHIC = {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "}
_NEEDS_CARE = re.compile(f"[{_INVISIBLE}{''.join(_TYPOGRAPHIC)}]")
_AS_IT_IS = re.compile(r"[\x00-\x7f\uac00-\ud7a3]+(?=[\x00-\x7f\uac00-\ud7a3]|\Z)")  # no mark follows: nothing to join
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
    def spelt(self) -> str:
        """The text with the letters that are meant where others stand for them; as long as `text`."""
        return spelt(self.text)

    @cached_property
    def folded(self) -> str:
        """That in lower case and without accents; as long as `text`."""
        return folded(self.text)

    @cached_property
    def hangul(self) -> bool:
        """Whether a letter of it is Korean."""
        return not self.text.isascii() and _HANGUL.search(self.text) is not None

    @cached_property
    def words(self) -> frozenset[str]:
        """The lower-cased words, for cheap "could this list match at all" questions."""
        return frozenset(_WORD.findall(self.spelt.lower()))


def plain(text: str) -> Plain:
    """The normal form of `text`."""
    if text.isascii() or (unicodedata.is_normalized("NFKC", text) and not _NEEDS_CARE.search(text)):
        return Plain(text)
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        cluster = text[start:end]
        if end - start > 1 and _AS_IT_IS.fullmatch(cluster):
            piece = cluster
            starts.extend(range(start, end))
            ends.extend(range(start + 1, end + 1))
        else:
            piece = "" if cluster in _INVISIBLE else unicodedata.normalize("NFKC", _TYPOGRAPHIC.get(cluster, cluster))
            starts.extend([start] * len(piece))
            ends.extend([end] * len(piece))
        out.append(piece)
    return Plain("".join(out), tuple(starts), tuple(ends))


def _clusters(text: str) -> list[tuple[int, int]]:
    """Bounds of the pieces that normalise on their own: runs in which nothing moves, and what stands between them."""
    bounds: list[tuple[int, int]] = []
    position = 0
    for run in _AS_IT_IS.finditer(text):
        bounds += _joined(text, position, run.start())
        bounds.append(run.span())
        position = run.end()
    return bounds + _joined(text, position, len(text))


def _joined(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Bounds between `start` and `end` of a base character with its marks, or a syllable with its jamo."""
    bounds: list[tuple[int, int]] = []
    for position in range(start, end):
        character = text[position]
        if bounds and (unicodedata.combining(character) or "\u1160" <= character <= "\u11ff"):
            bounds[-1] = (bounds[-1][0], position + 1)
        else:
            bounds.append((position, position + 1))
    return bounds


def without_accents(text: str) -> str:
    """`più` -> `piu`: how children type Italian. Hangul is left whole."""
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) != "Mn"))


_QUESTION_MARK = re.compile(r"[?؟][^\w?؟]*$")
# Korean asks by its verb ending too, question mark or not; 할머니, 노래, 그러니까 and 또 만나요 end alike.
_KOREAN_ASKS = re.compile(
    r"(?:(?<!니)까요?|[할갈볼줄을]래요?|[했있뭐싶좋하갔봤었았겠]니|(?<![만빛])나요|[은는인]가요|어때요?|(?:뭐|누구|어디|언제)야)[\s.!~…]*$"
)


def is_question(text: str) -> bool:
    """Whether a sentence asks: it ends in a question mark (closing quotes and emoji aside) or in a Korean asking
    ending.
    """
    flat = plain(text).text
    return _QUESTION_MARK.search(flat) is not None or _KOREAN_ASKS.search(flat) is not None


# Function words that the other language does not have; script decides Korean.
_SPOKEN = {
    "en": "the an and is are was were you your i'm i it's we they he she what why how where when who can do does did "
    "don't want to my this that with of for not yes please tell let's like have has will good about from up told said "
    "says they're their them his her him our us am been going",
    "it": "il lo la gli le non un uno una e è sono sei ho hai ha che chi cosa come dove quando perché perche mi ti ci "
    "si del della dei al alla allo ai con per sul nel nella voglio vuoi posso puoi vado sto stai facciamo giochiamo "
    "ciao abito chiamo via sì tu noi anche più piu questo questa mio mia tuo tua c'è basta buonanotte grazie ancora",
}
_TELLS = {language: frozenset(words.split()) for language, words in _SPOKEN.items()}
_ITALIAN_ENDING = re.compile(r"(?:iamo|arti|armi|erti|ermi|irti|irmi|zione|issim[oaie])$")
_ITALIAN_ELISION = re.compile(r"(?:l|un|(?:d|n|qu)ell|all|sull|dall|quest|bell|dov|com|cos|tutt)'")  # dell'orso
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_DATA = re.compile(r"\S*[@\d]\S*|\bwww\.\S+")  # addresses and numbers tell no language
_HANGUL = re.compile(r"[\uac00-\ud7a3\u3131-\u318e]")


def guess_language(text: str, languages: tuple[str, ...], default: str) -> str:
    """The language of `text` among `languages`: script first, then function words; `default` where neither tells."""
    if len(languages) == 1:
        return languages[0]
    flat = plain(text[:2000]).text.lower()
    words = _WORDS.findall(_DATA.sub(lambda found: "".join(_HANGUL.findall(found.group())), flat))
    letters = "".join(words)
    if "ko" in languages and len(_HANGUL.findall(letters)) * 3 >= len(letters) > 0:
        return "ko"
    scores = {language: _tells(language, words) for language in languages if language in _TELLS}
    best = max(scores, key=lambda language: scores[language], default=default)
    tied = [language for language, score in scores.items() if score == scores.get(best)]
    return best if scores.get(best) and len(tied) == 1 else default


def _tells(language: str, words: list[str]) -> int:
    """How many of the words are of this language and of no other."""
    told = sum(word in _TELLS[language] for word in words)
    if language != "it":
        return told
    return told + sum(bool(_ITALIAN_ENDING.search(word) or _ITALIAN_ELISION.match(word)) for word in words)


def is_json(text: str) -> bool:
    """Whether the text is a JSON document."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
