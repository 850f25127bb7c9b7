"""A list's phrases in what the user's side says: in a message, or over the seam from those sent just before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from proxy.turn import Hit, Phrases, Segment


def hits(phrases: Phrases, segment: Segment) -> Iterator[Hit]:
    """The hits in the message, then those that were begun before it and end in it; offsets are the message's."""
    yield from phrases.hits(segment.plain())
    if segment.before:
        text, offset = replace(segment, after="").around()
        for hit in phrases.hits(text):
            if hit.start < offset < hit.end:
                yield Hit(0, hit.end - offset, hit.words)
