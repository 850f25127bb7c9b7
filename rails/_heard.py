"""A list's phrases in what is said: over the seam from the message or the sentence before it, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from proxy.turn import Hit, Phrases, Segment, Span, spans_within

_NEARLY = 0.9  # of the letters of a message or sentence
_LONG = 300  # characters


def hits(phrases: Phrases, segment: Segment) -> Iterator[Hit]:
    """The hits in the message, then those that were begun before it and end in it; offsets are the message's."""
    yield from phrases.hits(segment.plain())
    if segment.before:
        text, offset = replace(segment, after="").around()
        for hit in phrases.hits(text):
            if hit.start < offset < hit.end:
                yield Hit(0, hit.end - offset, hit.words)


def says_all(spots: Iterable[tuple[int, int]], text: str, share: float = _NEARLY) -> bool:
    """Whether what stands from start to end, in one spot or several, is all that is said, or nearly so: then nobody
    else need be asked. Only letters and digits count. A long text says more than a phrase.
    """
    if len(text) > _LONG:
        return False
    covered = {place for start, end in spots for place in range(start, end) if text[place].isalnum()}
    return bool(covered) and len(covered) >= share * sum(map(str.isalnum, text))


def found(phrases: Phrases, segment: Segment, name: str) -> tuple[Span, ...]:
    """Where the first phrase of the list `name` stands in the segment; over the seam of an answer's sentence, too."""
    return _in_answer(phrases, segment, name) if segment.role == "assistant" else _in_message(phrases, segment, name)


def _in_message(phrases: Phrases, segment: Segment, name: str) -> tuple[Span, ...]:
    """The first hit in the message, or the part in it of one that was begun before it."""
    hit = next(hits(phrases, segment), None)
    return (Span(hit.start, hit.end, name.upper()),) if hit else ()


def _in_answer(phrases: Phrases, segment: Segment, name: str) -> tuple[Span, ...]:
    """The part of the first hit that stands in the segment; a phrase that a seam divides counts in both its pieces."""
    text, offset = segment.around()
    hit = phrases.find(text, since=offset)
    if hit and hit.start >= offset + len(segment.text):
        # It is the next piece's; a hit of another language may still stand in this one.
        text, offset = replace(segment, after="").around()
        hit = phrases.find(text, since=offset)
    return spans_within([Span(hit.start, hit.end, name.upper())], offset, len(segment.text)) if hit else ()
