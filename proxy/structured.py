"""JSON that a model wrote, on its way out: each value is judged and redacted in its place, the document is never cut.

A document is read as the sequence of its values: strings, long numbers, and keys that are more than a name, with their
escapes undone. Joined they make one readable text, in which a value is judged with what stands before and behind it, so
that a phrase or a datum told in instalments is seen. What is not touched leaves byte for byte. Where a rail would put
other words in the place of a value the whole document is blocked: a house line in a field would be a lie.

What is no valid JSON (`orjson` decides: cut by the token limit, or babble) is judged as one text, with its escapes as
they stand and undone.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from proxy.answer import Structured
from proxy.judged import Judged, length_alone
from proxy.judging import content
from proxy.line import Line
from proxy.segments import LOOK, Segmenter
from proxy.text import is_json
from proxy.turn import Segment, Span
from proxy.wire.escapes import unescaped

_BEFORE = 300  # characters of the values before one that its rails see
_DIGITS = 7  # a number of fewer is nobody's
_NAME = re.compile(r"(?!(?:\D*\d){4})[A-Za-z_][\w-]{0,63}", re.ASCII)  # a key that is only a name
_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]++|\\.)*+")(?P<key>\s*:)?|-?\d[\d.eE+-]*')  # of valid JSON
_WITH_EXPONENT = re.compile(r"-?[\d.]+[eE][+-]?\d{1,2}")
# Part of a telephone number: eight digits at most, and no date, no post code.
_PART = re.compile(r"(?!(?:\D*\d){9}|\d\d-\d\d-\d{4}$|\d{5}$|(?:19|20)\d\d(?!\d))[+(]?\d[\d\s()-]{0,11}")
_LONGEST = 16  # digits of a telephone number, and one
_DIGIT_LAST, _DIGIT_FIRST = re.compile(r"\d\W*$"), re.compile(r"\W*\d")
_SPEECH_ENDS = re.compile(r"[.!?؟…。！？｡~][^\w\s]*$")
_REACH = 24  # characters back and on in which the edge of a text is looked at
_BLOCK = re.compile(r"\s*<tool_call>(.*)</tool_call>\s*", re.DOTALL)
_TOOL = re.compile(r"[\w.:/-]{1,64}", re.ASCII)
_FORBIDDEN = "the model wrote the call of a function that the policy does not allow"
_NAMES = frozenset({"name", "function", "tool", "tool_name"})  # under which servers' parsers look for the tool
_NAMED = re.compile(rf"""["'](?:{"|".join(sorted(_NAMES))})["']\s*:\s*["']([^"']*)""")


async def judge(line: Line, text: str, choice: int = 0) -> Structured:
    """A complete JSON document past the rails; `choice` is the findings' message, a value's place their start.

    Valid JSON comes out as valid JSON: data are redacted within a value, a number becomes 0, and the shape rails judge
    a value that is speech as an answer of its own.
    """
    judging = _Judging(line, choice)
    return await (judging.document(text) if is_json(text) else judging.prose(text))


async def judge_call(line: Line, text: str, allowed: Callable[[str], bool], choice: int = 0) -> Structured:
    """A tool call that a model wrote into its text, as the segmenter cuts it: `<tool_call>{...}</tool_call>`.

    Blocked where `allowed` does not know the tool. What is no JSON, or has no end, is judged as text; as an app may
    mend it, it must name a tool, and an allowed one.
    """
    block = _BLOCK.fullmatch(text)
    if block is None or not is_json(block[1]):
        done = await _Judging(line, choice).prose(text)
        names = _NAMED.findall(unescaped(text).text)
        if names and all(map(allowed, names)):
            return done
        line.forbade(_FORBIDDEN)
        return replace(done, text=None)
    done = await judge(line, block[1], choice)
    names = _tools(done.text) if done.text is not None else []
    head, tail = text[: block.start(1)], text[block.end(1) :]
    leaves = bool(names) and all(_TOOL.fullmatch(name) and allowed(name) for name in names)
    if not leaves and done.text is not None:
        line.forbade(_FORBIDDEN)
    return replace(done, text=f"{head}{done.text}{tail}" if leaves else None, stored=f"{head}{done.stored}{tail}")


@dataclass(frozen=True, slots=True)
class _Read:
    """A text past the content rails."""

    text: str  # as it was read
    spans: tuple[Span, ...]  # what is redacted of it
    masked: str  # as it may be stored
    covered: bool  # what must be masked in storage is redacted already
    left: str = ""  # redacted, or as a rail wrote it

    def stored(self, left: str) -> str:
        """What is left of it as it may be stored."""
        if left == self.text:
            return self.masked
        return left if self.covered else length_alone(left)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value at `start:end` of the document, and how it reads."""

    start: int
    end: int
    raw: str
    text: str
    is_key: bool = False

    @property
    def is_string(self) -> bool:
        return self.raw[0] == '"'

    def written(self, text: str) -> str:
        """Another text as a string in its place."""
        return self.raw if text == self.text else json.dumps(text, ensure_ascii=self.raw.isascii())


class _Judging:
    """One document before the line."""

    def __init__(self, line: Line, choice: int) -> None:
        self._line = line
        self._choice = choice
        self._blocks: list[Judged] = []  # what the rails would put other words in the place of
        self._empty = False  # the shape rails left nothing of a value
        self._remembered: dict[str, dict[str, Any]] = {}  # by the shape rails

    async def document(self, text: str) -> Structured:
        """Valid JSON, value by value."""
        return self._done(*await self._rewritten(text))

    async def _rewritten(self, text: str) -> tuple[str, str]:
        """Valid JSON as it may leave, and as it may be stored."""
        values = list(_values(text))
        joined, places = _readable(values)
        out: list[str] = []
        stored: list[str] = []
        done = 0
        for value, place in zip(values, places, strict=True):
            left, masked = await self._value(value, joined, place)
            out += [text[done : value.start], left]
            stored += [text[done : value.start], masked]
            done = value.end
            await asyncio.sleep(0)  # rails do not pause: others have their turn between two values
        return "".join([*out, text[done:]]), "".join([*stored, text[done:]])

    async def prose(self, text: str) -> Structured:
        """Any other text, as a whole, redacted as it stands."""
        plain = unescaped(text)
        read = await self._content(text, 0, len(text), 0, writes=plain.text == text)
        if plain.text != text:
            more = await self._content(plain.text, 0, len(plain.text), 0, writes=False)
            spans = (*read.spans, *(Span(*plain.span(span.start, span.end), span.entity) for span in more.spans))
            left = self._line.redacted(text, spans, self._line.turn.language)
            read = _Read(text, spans, more.masked, read.covered and more.covered, left)
        left = await self._shaped(read.left, 0)
        return self._done(left, read.stored(left))

    async def _value(self, value: _Value, joined: str, place: int) -> tuple[str, str]:
        """What leaves in a value's place, and what is stored."""
        if value.is_string and value.text.lstrip()[:1] in ("{", "[") and is_json(value.text):
            return await self._nested(value)
        read = await self._content(joined, place, place + len(value.text), value.start)
        if not value.is_string:
            return ("0", "0") if read.left != value.text else (value.raw, value.written(read.masked))
        left = read.left if value.is_key else await self._shaped(read.left, value.start)
        return value.written(left), value.written(read.stored(left))

    async def _nested(self, value: _Value) -> tuple[str, str]:
        """A document within a string, such as the arguments of a call: within it a datum may be escaped twice.

        No recursion is deep: with every level the backslashes double.
        """
        left, masked = await self._rewritten(value.text)
        return value.written(left), value.written(masked)

    async def _content(self, joined: str, begin: int, end: int, start: int, writes: bool = True) -> _Read:
        """`joined[begin:end]`, which stands at `start` of the document, piece by piece past the content rails.

        writes: a piece may leave as a rail wrote it; else that blocks the document.
        """
        line, place, covered = self._line, begin, True
        line.turn.memo["document"] = True  # a rail that would add a sentence adds none
        segmenter = Segmenter(line.hold, line.policy.hold_max)
        spans: list[Span] = []
        masked: list[str] = []
        left: list[str] = []
        for cut in [*segmenter.feed(joined[begin:end]), *segmenter.finish()]:
            inside, behind = place - begin, place + len(cut.text)
            around = joined[max(0, place - _BEFORE) : place], joined[behind : behind + LOOK]
            last = cut.ending == "last"
            segment = Segment("assistant", cut.text, line.turn, *around, last=last, ending=cut.ending)
            judged = await content(line, segment, self._choice, start + inside)
            wrote = writes and bool(judged.text) and not judged.says and not judged.effect.ends
            if judged.winner is not None and not wrote:
                self._blocks.append(judged)
            left.append(judged.text if wrote else line.redacted(cut.text, judged.effect.spans, line.turn.language))
            spans += (Span(span.start + inside, span.end + inside, span.entity) for span in judged.effect.spans)
            masked.append(judged.masked)
            covered = covered and judged.covered and not wrote
            place = behind
        return _Read(joined[begin:end], tuple(spans), "".join(masked), covered, "".join(left))

    async def _shaped(self, text: str, start: int) -> str:
        """A text that is speech past the shape rails, sentence by sentence, as if it were the turn's only answer.

        They see the turn as it was before the document: two values that say the same repeat nothing. What they remember
        is kept where the document leaves, of several values the last one's.
        """
        if not _is_speech(text):
            return text
        line, live, left = self._line, self._line.turn, ""
        line.turn = replace(live, state=dict(live.state), memo={})
        try:
            cutter = Segmenter("sentence", len(text))
            for cut in [*cutter.feed(text), *cutter.finish()]:
                part = Segment("assistant", cut.text, line.turn, sent=left, ending=cut.ending)
                kept, ends = await line.shape(part, start)
                left += kept
                if ends:
                    break
        finally:
            own, line.turn = line.turn, live
        self._remembered |= {key: memory for key, memory in own.state.items() if memory is not live.state.get(key)}
        left = left if left == text else left.rstrip()
        self._empty = self._empty or not left
        return left

    def _done(self, text: str, stored: str) -> Structured:
        if not self._blocks and not self._empty:
            self._line.turn.state.update(self._remembered)
            return Structured(text, stored)
        says = [say for judged in self._blocks for say in judged.says]
        return Structured(None, stored, says[0] if says else "", any(judged.effect.ends for judged in self._blocks))


def _values(text: str) -> Iterator[_Value]:
    """What is judged of valid JSON, in order; of equal keys each."""
    for token in _TOKEN.finditer(text):
        start, end = token.span("string" if token["string"] else 0)
        raw, is_key = text[start:end], token["key"] is not None
        if not token["string"]:
            number = _written_out(raw)
            if sum(map(str.isdigit, number)) >= _DIGITS:
                yield _Value(start, end, raw, number)
        elif (string := orjson.loads(raw)) and not (is_key and _NAME.fullmatch(string)):
            yield _Value(start, end, raw, string, is_key)


def _written_out(number: str) -> str:
    """A number without its exponent, if that is small: 1.012345678e9 is the same telephone number."""
    exact = Decimal(number) if _WITH_EXPONENT.fullmatch(number) else Decimal("nan")
    return f"{exact:f}" if exact.is_finite() and abs(exact.adjusted()) < 20 else number


def _readable(values: Sequence[_Value]) -> tuple[str, list[int]]:
    """The values' text joined, and where in it each begins.

    By spaces; two numbers side by side by a comma, unless they may be parts of a telephone number ("+82", "10", ...).
    """
    parts: list[str] = []
    places: list[int] = []
    length = digits = 0
    for value in values:
        joint = ""
        if parts:
            digits = _dialled(value.text, digits)
            numbers = _DIGIT_LAST.search(parts[-1][-_REACH:]) and _DIGIT_FIRST.match(value.text[:_REACH])
            joint = ", " if numbers and not digits else " "
        digits = digits or _dialled(value.text, value.text.strip()[:1] in ("+", "(", "0"))
        places.append(length + len(joint))
        parts += [joint, value.text]
        length = places[-1] + len(value.text)
    return "".join(parts), places


def _dialled(text: str, digits: int) -> int:
    """How many digits of a telephone number are told with `text`, of which `digits` stand before; 0: none is told."""
    more = sum(map(str.isdigit, text)) if digits and _PART.fullmatch(text.strip()) else 0
    return digits + more if more and digits + more <= _LONGEST else 0


def _is_speech(text: str) -> bool:
    """Whether a text has white space and ends as a sentence does."""
    text = text.strip()
    return len(text.split(maxsplit=1)) > 1 and _SPEECH_ENDS.search(text, max(0, len(text) - _REACH)) is not None


def _tools(call: str) -> list[str]:
    """Every name that valid JSON gives the tool it calls, at its top and within `function`; none where it has another
    form.
    """
    try:
        pairs = json.loads(call, object_pairs_hook=_Pairs)  # a dictionary would hide the first of two names
    except (RecursionError, ValueError):  # deeper nested, or a longer number, than Python reads
        return []
    named: list[Any] = []
    for key, value in pairs if isinstance(pairs, _Pairs) else []:
        if key == "function" and isinstance(value, _Pairs):
            named += [name for inner, name in value if inner in _NAMES]
        elif key in _NAMES:
            named.append(value)
    return named if all(isinstance(name, str) for name in named) else []


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, with each of its equal keys."""
