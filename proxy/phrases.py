"""Phrase lists: plain words that a safety team writes, compiled once, matched on every segment.

A phrase is words, never a regular expression. In English and Italian it matches whole words; in Korean from the
start of a word, so that `그만` finds `그만할래`. Capitals, accents and the width of a space do not count; `...`
stands for up to three words. A hit inside a `but_not` phrase is no hit: `bus stop` is no `stop`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.text import Plain, without_accents

_GAP = r"(?:\s+\S+){0,3}?\s+"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Hit:
    """One phrase found: its bounds in the original text, and the words as they stood there."""

    start: int
    end: int
    words: str


class Phrases:
    """One list in all its languages. `but_not` holds the phrases that explain a hit away."""

    def __init__(self, words: Mapping[str, Sequence[str]], but_not: Mapping[str, Sequence[str]] | None = None) -> None:
        self._lists = [_List(language, phrases) for language, phrases in words.items() if phrases]
        self._gate = frozenset(word for one in self._lists for word in one.first_words)
        self._korean = any(one.korean for one in self._lists)
        self._excuses = [_List(language, phrases) for language, phrases in (but_not or {}).items() if phrases]

    def find(self, text: Plain, since: int = 0) -> Hit | None:
        """The first hit that ends after `since` (an offset of the original) and that no `but_not` explains away."""
        return next((hit for hit in self.hits(text) if hit.end > since), None)

    def hits(self, text: Plain) -> Iterator[Hit]:
        """Every hit that no `but_not` explains away, language by language."""
        if self._gate.isdisjoint(text.words) and not (self._korean and text.hangul):
            return
        excused: bytearray | None = None
        for one in self._lists:
            for match in one.matches(text):
                if excused is None:
                    excused = self._excused(text)
                if not any(excused[match.start() : match.end()]):
                    yield Hit(*text.span(*match.span()), match.group())

    def _excused(self, text: Plain) -> bytearray:
        """One byte for each character, set where a `but_not` phrase stands: found once, however many hits there are."""
        covered = bytearray(len(text.text))
        for one in self._excuses:
            for start, end in (match.span() for match in one.matches(text)):
                covered[start:end] = b"\1" * (end - start)
        return covered


class _List:
    """The phrases of one language as one pattern, behind a gate that most texts never pass."""

    def __init__(self, language: str, phrases: Sequence[str]) -> None:
        self.korean = language == "ko"
        longest_first = sorted(phrases, key=len, reverse=True)
        body = "|".join(map(_korean, longest_first) if self.korean else _by_first_letter(longest_first))
        edge = (r"(?<![\uac00-\ud7a3])", "") if self.korean else (r"(?<!\w)", r"(?!\w)")
        self._pattern = re.compile(f"{edge[0]}(?:{body}){edge[1]}", re.IGNORECASE)
        first = [_WORD.search(phrase.lower()) for phrase in phrases]
        words = {match.group() for match in first if match}
        self.first_words = frozenset(words | {without_accents(word) for word in words})
        self._first_letters = re.compile("[" + re.escape("".join(sorted({word[0] for word in words}))) + "]")

    def matches(self, text: Plain) -> Iterator[re.Match[str]]:
        if self.korean:
            possible = self._first_letters.search(text.spelt) is not None
        else:
            possible = not self.first_words.isdisjoint(text.words)
        return self._pattern.finditer(text.spelt) if possible else iter(())


def _by_first_letter(phrases: Sequence[str]) -> Iterator[str]:
    """One pattern for each first letter, behind a look at that letter: most words of a text fail there at once."""
    groups: dict[str, list[str]] = {}
    for phrase in phrases:
        groups.setdefault(without_accents(phrase.lower()[:1]), []).append(phrase)
    for letter, group in groups.items():
        letters = "".join(sorted({letter, *(phrase.lower()[:1] for phrase in group)}))
        yield f"(?=[{re.escape(letters)}])(?:{'|'.join(map(_pattern, group))})"


def _korean(phrase: str) -> str:
    return _pattern(phrase, space=r"\s*")


def _pattern(phrase: str, space: str = r"\s+") -> str:
    """One phrase as a pattern: loose spaces (none needed in Korean), gaps for `...`, accents optional."""
    parts = [space.join(_word(word) for word in part.split()) for part in phrase.split("...")]
    return _GAP.join(part for part in parts if part)


def _word(word: str) -> str:
    return "".join(_letter(letter) for letter in word)


def _letter(letter: str) -> str:
    base = without_accents(letter)
    return re.escape(letter) if base == letter else f"(?:{re.escape(letter)}|{re.escape(base)}'?)"
