"""What the learned model takes for private in a text: names, addresses, schools and the like, in no anchored form.

A word is covered where the model is sure enough; less is asked of one that goes on from a covered word. A list of names
and capitals are among what the model reads, and lower no bar. Korean particles stay outside: `민준이가` is `민준`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy.turn import House, Segment, Span
from rails._learned.model import Read, shipped
from rails._learned.words import Side
from rails._own import Own
from rails._sense import said_before

_ENTITIES = {
    "NAME": "PERSON", "ADDRESS": "LOCATION", "SCHOOL": "SCHOOL", "AGE": "AGE", "BIRTHDAY": "DATE_OF_BIRTH",
    "PHONE": "PHONE_NUMBER", "EMAIL": "EMAIL_ADDRESS", "HANDLE": "USERNAME", "PASSWORD": "PASSWORD",
    "ID": "ID_NUMBER", "PLATE": "LICENSE_PLATE", "CARD": "CREDIT_CARD",
}  # fmt: skip
_BARS: Mapping[Side, str] = {"user": "private", "assistant": "private of answers"}
_GAP = re.compile(r"[\s.,'’-]{0,3}")  # between two words of one thing
_ENDINGS = (
    "이라고요|이라고|라고요|라고|이에요|예요|입니다|인데요|인데|이네|이야|이랑|이가|이는|이를|이도|이만|이한테|이네서|한테서|한테|에게서|에게|에서는|에서|"
    "으로|로|까지|부터|처럼|하고|랑|와|과|야|아|이|가|는|은|을|를|도|만|의|에"
)
_PARTICLE = re.compile(f"(?<=[가-힣]{{2}})(?:{_ENDINGS})$")


class Tagger:
    """The shipped model's tags."""

    def __init__(self, house: House) -> None:
        self._model = shipped()
        self._own = Own(house)
        self._private = self._model.private

    def spans(self, segment: Segment) -> list[tuple[Span, float]]:
        """What is private in the segment, and how sure that is; offsets are those of the original."""
        side: Side = "assistant" if segment.role == "assistant" else "user"
        flat = segment.plain()
        reads = self._model.reads(flat, said_before(segment), side, segment.turn.memo)
        bar = self._model.bar(_BARS[side], segment.turn.language).alone
        found = [
            (Span(*flat.span(start, end), _ENTITIES[self._private[kind]]), sure)
            for start, end, kind, sure in _joined(flat.text, _tagged(reads), bar)
        ]
        return [] if found and side == "assistant" and self._own.says(segment) else found


def _tagged(reads: list[Read]) -> list[tuple[int, int, int, float]]:
    """Each word's start, end, likeliest private kind, and how sure it is that it is private at all.

    Where two pieces of a long text have the word, the surer counts.
    """
    told: dict[tuple[int, int], tuple[int, float]] = {}
    for read in reads:
        for word, row in zip(read.words, read.tags, strict=True):
            span = word.start, word.end
            sure = float(1 - row[0])
            if sure >= told.get(span, (0, 0.0))[1]:
                told[span] = (1 + int(row[1:].argmax()), sure)
    return [(*span, *one) for span, one in sorted(told.items())]


def _joined(text: str, words: list[tuple[int, int, int, float]], bar: float) -> Iterator[tuple[int, int, int, float]]:
    """Runs of private words as one: start, end, kind, how sure."""
    run: tuple[int, int, int, float] | None = None
    for start, end, kind, sure in words:
        goes_on = run is not None and _GAP.fullmatch(text, run[1], start) is not None
        if sure < (bar * 0.6 if goes_on else bar):
            continue
        if run and goes_on:
            run = (run[0], end, run[2], max(run[3], sure))
        else:
            if run:
                yield _bare(text, run)
            run = (start, end, kind, sure)
    if run:
        yield _bare(text, run)


def _bare(text: str, run: tuple[int, int, int, float]) -> tuple[int, int, int, float]:
    """Without the particle of its last word."""
    start, end, kind, sure = run
    particle = _PARTICLE.search(text, start, end)
    return start, particle.start() if particle else end, kind, sure
