"""JSON's escapes in what tools and models wrote, undone for the rails: "\\ub0b4" hides a word from every list."""

from __future__ import annotations

import re

import orjson

from proxy.turn import Plain

_SURROGATES = r"[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_ESCAPE = re.compile(rf'\\(?:u{_SURROGATES}|u[\da-fA-F]{{4}}|["\\/bfnrt])')
_UNICODE = re.compile(r"\\u[\da-fA-F]{4}")
_LEVELS = 3  # JSON in a string of JSON, and once more
_HALF = re.compile(rf"\\(?:u{_SURROGATES}|(u[dD][89a-fA-F][\da-fA-F]{{2}})|.)", re.DOTALL)


def undone(text: str) -> Plain:
    """The text as it reads, with the way back to where it stands; as it is unless it looks like JSON."""
    found = Plain(text)
    if not (_UNICODE.search(text) or text.lstrip()[:1] in ("{", "[", '"')):
        return found
    for _ in range(_LEVELS):
        if not _ESCAPE.search(found.text):
            break
        found = _once(found)
    return found


def whole(json: str) -> str:
    """JSON with U+FFFD in the place of each escaped half of a surrogate pair; no place in it moves."""
    return _HALF.sub(lambda found: r"\ufffd" if found[1] else found[0], json)


def _once(text: Plain) -> Plain:
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for found in [*_ESCAPE.finditer(text.text), None]:
        start, end = found.span() if found else (len(text.text), len(text.text))
        parts.append(text.text[position:start])
        bounds = [text.span(at, at + 1) for at in range(position, start)]
        if found:
            parts.append(orjson.loads(f'"{whole(found[0])}"'))
            bounds.append(text.span(start, end))
        starts += [one for one, _ in bounds]
        ends += [other for _, other in bounds]
        position = end
    return Plain("".join(parts), tuple(starts), tuple(ends))
