"""A segment before the rails: the content rails see through JSON's escapes, the shape rails see single sentences."""

from __future__ import annotations

import re
from dataclasses import replace

from proxy.judged import Judged
from proxy.line import Line
from proxy.redact import carried, union
from proxy.segments import Segmenter
from proxy.turn import Plain, Segment, Span
from proxy.wire.escapes import layers, unescaped

_BEFORE = 300  # characters of what stands before a text that its rails see unescaped
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
        judged = _both(line, segment, judged, inner, plain)
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


def _both(line: Line, segment: Segment, outer: Judged, inner: Judged, plain: Plain) -> Judged:
    """What the rails say of a text and of the same text unescaped. What a rail wrote in the place of both is the
    unescaped one's.
    """
    first = inner if outer.winner is None or (outer.text and inner.winner) else outer
    moved = [Span(*plain.span(span.start, span.end), span.entity) for span in inner.effect.spans]
    spans = union([*outer.effect.spans, *moved])
    text = line.redacted(first.text, tuple(carried(moved, segment.text, first.text)), line.turn.language)
    effect = replace(first.effect, spans=spans, ends=outer.effect.ends or inner.effect.ends)
    return replace(
        first,
        effect=effect,
        text=text,
        stored=first.stored if text == first.text else text,
        enforced=(*outer.enforced, *inner.enforced),
        sound=outer.sound and inner.sound,
        masked=outer.masked if inner.masked == plain.text else inner.masked,
        covered=outer.covered and inner.covered,
    )
