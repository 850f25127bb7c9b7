"""Putting stand-ins over spans: what the model and the client see, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from proxy.turn import Span

StandIn = Callable[[str], str]  # entity -> the words that take its place

# A Korean particle or ending agrees with the sound before it: (after a consonant, after a vowel). Longer ones first.
_PARTICLES = (
    ("이에요", "예요"), ("이라고", "라고"), ("이랑", "랑"), ("이야", "야"), ("으로", "로"),
    ("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("아", "야"),
)  # fmt: skip
_FORMS = sorted({form for pair in _PARTICLES for form in pair}, key=len, reverse=True)
# A whole ending, not the first syllable of another word.
_PARTICLE = re.compile(f"(?:{'|'.join(_FORMS)})(?![\uac00-\ud7a3])")


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The spans sorted, overlapping ones joined; a joined span is named after its longest part."""
    joined: list[Span] = []
    longest = 0
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if joined and span.start < joined[-1].end:
            last = joined[-1]
            entity = last.entity if longest >= span.end - span.start else span.entity
            longest = max(longest, span.end - span.start)
            joined[-1] = Span(last.start, max(last.end, span.end), entity)
        else:
            joined.append(span)
            longest = span.end - span.start
    return tuple(joined)


def carried(spans: Iterable[Span], text: str, other: str) -> Iterator[Span]:
    """Where data of `text` stand in another text that was made from it, word for word."""
    for span in spans:
        datum = text[span.start : span.end]
        start = other.find(datum) if datum.strip() else -1
        while start >= 0:
            yield Span(start, start + len(datum), span.entity)
            start = other.find(datum, start + len(datum))


def put_over(text: str, spans: Iterable[Span], stand_in: StandIn) -> str:
    """`text` with a stand-in over each span; Korean particles behind it are made to agree."""
    out: list[str] = []
    position = 0
    for span in union(spans):
        words = stand_in(span.entity)
        out += [text[position : span.start], words]
        position = span.end
        particle = _PARTICLE.match(text, position)
        if particle and "\uac00" <= words[-1:] <= "\ud7a3":
            out.append(_agreeing(particle.group(), words[-1]))
            position = particle.end()
    return "".join([*out, text[position:]])


def mask(entity: str) -> str:
    """The stand-in of everything that is stored."""
    return f"<{entity}>"


def _agreeing(particle: str, sound: str) -> str:
    """The form of `particle` that follows the syllable `sound`."""
    final = (ord(sound) - 0xAC00) % 28
    closed = final > 0 and not (final == 8 and particle in ("으로", "로"))  # behind ㄹ it is 로
    for after_consonant, after_vowel in _PARTICLES:
        if particle in (after_consonant, after_vowel):
            return after_consonant if closed else after_vowel
    return particle
