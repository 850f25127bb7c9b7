"""pii: what tells who or where somebody is does not leave in the clear.

Presidio finds e-mail addresses, phone numbers, cards and official numbers; the list `recognizers` finds what children
tell of themselves in English, Italian and Korean: name, address, school, age. Only the datum is covered, not the words
around it. A datum may lie over the seam of two segments, so each is judged with its neighbourhood, and what overlaps it
counts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from proxy.turn import Act, Hold, House, Options, Plain, Role, SayKey, Segment, Span, Verdict, spans_within
from rails import _told
from rails._ner import Ner, NerOptions
from rails._presidio import ENTITIES, REGIONS, Detector
from rails._tagger import Tagger

_KNOWN = tuple(dict.fromkeys((*ENTITIES, *_told.ENTITIES)))
_UNFINISHED = "UNFINISHED"  # what a torn run is called
_INLINE = 1000  # characters: longer texts are analysed in a thread, so that others do not wait
_LONG_RUN = 160  # characters: whoever cuts inside a run this long has torn it
_WORD = re.compile(r"\S+")
_LOOSE = ("PERSON", "LOCATION")  # a pattern may have found but a part of one
_BY_CHANCE = ("UK_NHS",)  # one in eleven telephone numbers of ten digits has its checksum
_HARMLESS = frozenset({"URL", _UNFINISHED})  # who tells these alone has told nothing of themselves
_DATUM_SIGN = re.compile(r"[\d@]")


class RailOptions(Options):
    """Options of a `pii` rail."""

    entities: list[str] = Field(
        list(_KNOWN),
        description="The kinds of data to hide, named as in Presidio and in the list of recognizers. Left out: all.",
    )
    regions: list[str] = Field(
        ["US", "GB", "IT", "KR"],
        description="Countries (two letters) whose phone numbers are known whatever their form.",
    )
    recognizers: str = Field(
        "recognizers.yaml",
        description="The YAML list of our own recognizers; a path relative to the policy's folder. Empty: none.",
    )
    at_least: float = Field(
        0.5, ge=0, le=1, description="The least score that counts, from 0 (any suspicion) to 1 (checksum right)."
    )
    allow: list[str] = Field([], description="Words that are never hidden, such as the buddy's own name.")
    user: bool = Field(True, description="Hide data on their way to the model: what users write and what tools return.")
    assistant: bool = Field(True, description="Hide data in what the model answers.")
    say_once: SayKey = Field(
        "",
        description="The line that says kindly to keep such things private: in front of the answer to the first "
        "message that has some, once in a session, unless there is something graver to say.",
    )
    learned: Literal["child"] | None = Field(
        None, description="The shipped model that finds what no list knows, in what children tell. Left out: none."
    )
    ner: NerOptions | None = Field(
        None, description="A model for named entities that the operator has. Left out: none."
    )

    @field_validator("entities")
    @classmethod
    def _known_entities(cls, names: list[str]) -> list[str]:
        return [_known(name, _KNOWN, "entity") for name in names]

    @field_validator("regions")
    @classmethod
    def _known_regions(cls, names: list[str]) -> list[str]:
        return [_known(name, sorted(REGIONS), "region") for name in names]


class Rail:
    """Covers personal data. Its spans also mask what is stored, on whichever side they need not be hidden."""

    content: ClassVar[frozenset[Role]] = frozenset({"user", "assistant", "tool"})
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "sentence"
    masks: ClassVar[bool] = True

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._tagger = Tagger(house) if options.learned else None
        self._ner = Ner(options.ner, house.folder) if options.ner else None
        self.entities = frozenset(options.entities) | (self._ner.entities if self._ner else frozenset())
        told = _told.load(house.folder / options.recognizers) if options.recognizers else ()
        told = tuple(one for one in told if one.entry.language in house.languages)
        self._detector = Detector(options.entities, options.regions, told, options.at_least)
        helpful = (line.number for line in house.help_lines)
        self._allow = frozenset(word.casefold() for word in (*options.allow, *helpful))
        self._options = options

    async def check(self, segment: Segment) -> Verdict:
        """Redacts what is found in the segment; where its side is switched off, passes with the spans for the store.

        Raises `SlowPattern` where a text could not be judged in time.
        """
        spans = _disjoint([*((span, 1.0) for span in _torn(segment)), *await self._found(segment)])
        if not spans:
            return Verdict()
        wanted = self._options.assistant if segment.role == "assistant" else self._options.user
        kinds = {span.entity for span in spans}
        why = f"Personal data: {', '.join(sorted(kinds))}."
        tells = segment.role == "user" and wanted and not kinds <= _HARMLESS
        return Verdict(
            Act.REDACT if wanted else Act.PASS, spans, why=why, opens=self._options.say_once if tells else ""
        )

    async def _found(self, segment: Segment) -> list[tuple[Span, float]]:
        """What lies in the segment, with scores, by all that look for data."""
        around, offset = segment.around()
        inline = self._ner is None and len(around.text) <= _INLINE
        found = self._find(around) if inline else await asyncio.to_thread(self._find, around)
        raw = segment.before[len(segment.before) - offset :] + segment.text + segment.after
        kept = [(span, score) for span, score in found if raw[span.start : span.end].casefold() not in self._allow]
        sure = _shifted(kept, offset, len(segment.text))
        return [*sure, *((span, score) for span, score in self._learned(segment) if _adds(sure, span))]

    def _learned(self, segment: Segment) -> list[tuple[Span, float]]:
        """What the shipped model finds; it judges the segment with the other side's last turn."""
        found = self._tagger.spans(segment) if self._tagger else []
        return [
            (span, score)
            for span, score in found
            if score >= self._options.at_least
            and span.entity in self._options.entities
            and self._is_datum(segment.text[span.start : span.end])
        ]

    def _is_datum(self, text: str) -> bool:
        """Whether it is neither allowed nor a mark alone."""
        return text.casefold() not in self._allow and any(map(str.isalnum, text))

    def _find(self, text: Plain) -> list[tuple[Span, float]]:
        named = [one for one in self._ner.find(text) if one[1] >= self._options.at_least] if self._ner else []
        return [*self._detector.find(text), *named]


def _adds(sure: Sequence[tuple[Span, float]], span: Span) -> bool:
    """Whether a span that was learned tells more than the patterns, whose bounds are exact but for names and places."""
    return span.entity in _LOOSE or not any(one.start < span.end and span.start < one.end for one, _ in sure)


def _shifted(found: Sequence[tuple[Span, float]], offset: int, length: int) -> list[tuple[Span, float]]:
    """What of it lies in the segment, in the segment's offsets."""
    return [(inside, score) for span, score in found for inside in spans_within([span], offset, length)]


def _disjoint(found: Sequence[tuple[Span, float]]) -> tuple[Span, ...]:
    """Sorted, overlapping ones joined and named after the longest, then the surest of them, those by chance last."""
    joined: list[Span] = []
    weight = (0, False, 0.0)
    for span, score in sorted(found, key=lambda one: (one[0].start, -one[0].end)):
        own = (span.end - span.start, span.entity not in _BY_CHANCE, score)
        if joined and span.start < joined[-1].end:
            last = joined.pop()
            entity = span.entity if own > weight else last.entity
            joined.append(Span(last.start, max(last.end, span.end), entity))
            weight = max(weight, own)
        else:
            joined.append(span)
            weight = own
    return tuple(joined)


def _torn(segment: Segment) -> list[Span]:
    """The parts of a run that was cut because it was too long to keep whole, where it may be a datum."""
    spans = []
    text = segment.text
    if segment.ending == "torn" and _DATUM_SIGN.search(text, start := _run_start(text)):
        spans.append(Span(start, len(text), _UNFINISHED))
    if _in_long_run(segment.before):
        end = _run_end(text, inside=not segment.before[-1:].isspace())
        if end and _DATUM_SIGN.search(segment.before[-_LONG_RUN:] + text[:end]):
            spans.append(Span(0, end, _UNFINISHED))
    return spans


def _run_start(text: str) -> int:
    """Where the run begins that `text` ends in: its last word, and those before it while they carry a digit or an @."""
    start = len(text)
    for word in reversed(list(_WORD.finditer(text))):
        if start < len(text) and not _DATUM_SIGN.search(word.group()):
            break
        start = word.start()
    return start


def _run_end(text: str, inside: bool) -> int:
    """Where the run ends that goes on in `text`: behind the word that was cut and those with a digit or an @."""
    end = 0
    for word in _WORD.finditer(text):
        if not (inside and word.start() == 0) and not _DATUM_SIGN.search(word.group()):
            break
        end = word.end()
    return end


def _in_long_run(before: str) -> bool:
    words = before[-_LONG_RUN:].split()
    return len(before) >= _LONG_RUN and all(_DATUM_SIGN.search(word) for word in reversed(words[1:]))


def _known(name: str, names: Sequence[str], what: str) -> str:
    if name in names:
        return name
    near = get_close_matches(name.upper(), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
    raise ValueError(f"{name} is no {what}; {hint}")
