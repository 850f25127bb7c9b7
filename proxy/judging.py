"""A segment before the rails: the content rails see through JSON's escapes, the shape rails see single sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from proxy.line import Judged, Line
from proxy.redact import union
from proxy.segments import Segmenter
from proxy.turn import Plain, Segment, Span

_LAYERS = 16  # escapes within escapes: with every layer the backslashes double
_BEFORE = 300  # characters of what stands before a text that its rails see unescaped
_ESCAPE = re.compile(r'\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|["\\/bfnrt])')
_SPELT = re.compile(r"\\u[\da-fA-F]{4}")


async def content(line: Line, segment: Segment, message: int, start: int) -> Judged:
    """A segment past the content rails; one in which characters are spelt `\\u0061` is also judged without escapes,
    until there are none.
    """
    judged = await line.content(segment, message, start)
    if _SPELT.search(segment.text) is None:
        return judged
    before = segment.before[-_BEFORE:]
    for plain in layers(segment.text):
        before = unescaped(before).text
        inner = await line.content(replace(segment, text=plain.text, before=before), message, start)
        judged = _both(judged, inner, plain)
    return judged


async def shaped(line: Line, segment: Segment, text: str, start: int) -> tuple[str, bool]:
    """What the shape rails leave of `text`, which the content rails left of the segment, sentence by sentence, and
    whether the answer ends with it.
    """
    left = ""
    cutter = Segmenter("sentence", max(1, len(text)))
    for cut in [*cutter.feed(text), *cutter.finish()]:
        ending = segment.ending if cut.ending == "last" else cut.ending
        kept, ends = await line.shape(replace(segment, text=cut.text, sent=segment.sent + left, ending=ending), start)
        left += kept
        if ends:
            return left, True
    return left, False


def unescaped(text: str) -> Plain:
    """A text with JSON's escapes undone, wherever they stand; half a surrogate pair becomes U+FFFD."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for found in [*_ESCAPE.finditer(text), None]:
        start, end = found.span() if found else (len(text), len(text))
        parts.append(text[position:start])
        starts += range(position, start)
        ends += range(position + 1, start + 1)
        if found:
            parts.append(_character(found.group()))
            starts.append(start)
            ends.append(end)
        position = end
    return Plain("".join(parts), tuple(starts), tuple(ends))


def layers(text: str) -> Iterator[Plain]:
    """The text unescaped once, twice, ... as long as that changes it; offsets are those of `text`."""
    outer = Plain(text)
    for _ in range(_LAYERS):
        inner = unescaped(outer.text)
        if inner.text == outer.text:
            return
        spans = [outer.span(*inner.span(place, place + 1)) for place in range(len(inner.text))]
        outer = Plain(inner.text, tuple(start for start, _ in spans), tuple(end for _, end in spans))
        yield outer


def _character(escape: str) -> str:
    """The one character of an escape."""
    character: str = json.loads(f'"{escape}"')
    return character if not "\ud800" <= character <= "\udfff" else "\ufffd"


def _both(outer: Judged, inner: Judged, plain: Plain) -> Judged:
    """What the rails say of a text and of the same text unescaped."""
    first = outer if outer.winner is not None else inner
    moved = (Span(*plain.span(span.start, span.end), span.entity) for span in inner.effect.spans)
    spans = union([*outer.effect.spans, *moved])
    effect = replace(first.effect, spans=spans, ends=outer.effect.ends or inner.effect.ends)
    return Judged(
        first.winner,
        effect,
        (*outer.verdicts, *inner.verdicts),
        outer.sound and inner.sound,
        outer.masked if inner.masked == plain.text else inner.masked,
        outer.covered and inner.covered,
    )
