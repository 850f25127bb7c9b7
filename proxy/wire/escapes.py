"""JSON's escapes in what tools and models wrote, undone for the rails: "\\ub0b4" hides a word from every list."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from proxy.turn import Plain

_SURROGATES = r"[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_ESCAPE = re.compile(rf'\\(?:u{_SURROGATES}|u[\da-fA-F]{{4}}|["\\/bfnrt])')
_UNICODE = re.compile(r"\\u[\da-fA-F]{4}")
_LAYERS = 16  # escapes within escapes: with every layer the backslashes double
_HALF = re.compile(rf"\\(?:u{_SURROGATES}|(u[dD][89a-fA-F][\da-fA-F]{{2}})|.)", re.DOTALL)


def undone(text: str) -> Plain:
    """The text as it reads, with the way back to where it stands; as it is unless it looks like JSON."""
    if not (_UNICODE.search(text) or text.lstrip()[:1] in ("{", "[", '"')):
        return Plain(text)
    return [Plain(text), *layers(text)][-1]


def layers(text: str) -> Iterator[Plain]:
    """The text unescaped once, twice, ... as long as that changes it; offsets are those of `text`."""
    outer = Plain(text)
    for _ in range(_LAYERS):
        if not _ESCAPE.search(outer.text):
            return
        inner = unescaped(outer.text)
        spans = [outer.span(*inner.span(place, place + 1)) for place in range(len(inner.text))]
        outer = Plain(inner.text, tuple(start for start, _ in spans), tuple(end for _, end in spans))
        yield outer


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
            parts.append(orjson.loads(f'"{whole(found[0])}"'))
            starts.append(start)
            ends.append(end)
        position = end
    return Plain("".join(parts), tuple(starts), tuple(ends))


def whole(json: str) -> str:
    """JSON with U+FFFD in the place of each escaped half of a surrogate pair; no place in it moves."""
    return _HALF.sub(lambda found: r"\ufffd" if found[1] else found[0], json)
