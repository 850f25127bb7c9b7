"""An answer that is one JSON document, on its way out: in parts it is of no use, so it is held whole."""

from __future__ import annotations

from proxy.answer import JudgeCall, Piece, Structured
from proxy.judged import length_alone
from proxy.line import Line

_LONGEST = 400_000  # characters


class Document:
    """Takes the place of `Answer` under JSON mode. A blocked one leaves nothing but `refusal`, a house line."""

    def __init__(self, line: Line, judge: JudgeCall) -> None:
        self._line = line
        self._judge = judge
        self._parts: list[str] = []
        self._length = 0
        self.refusal = ""
        self.sent = ""  # what has left
        self.stored: list[str] = []  # the same as it may be stored
        self.masked: list[str] = []  # the model's own text as it may be stored
        self.ended = False  # nothing more is wanted: the generation can be cancelled

    async def feed(self, text: str) -> list[Piece]:
        """Keeps what comes; nothing is settled before the end."""
        self._parts.append(text)
        self._length += len(text)
        self.ended = self._length > _LONGEST
        return []

    async def finish(self, cut_off: bool = False, alone: bool = True) -> list[Piece]:
        """Judges the document. One that the token limit cut off is judged as the text that it is."""
        text = "".join(self._parts)
        if not text and not (alone and self._line.policy.audience == "child"):
            return []
        # One that is too long is not judged: it does not leave.
        found = Structured(None, length_alone(text)) if self.ended else await self._judge(self._line, text)
        self.masked.append(found.stored)
        left = found.text
        if not left:
            self.refusal = self.sent = self._line.say(found.say or "fallback")
            self.stored.append(self.refusal)
            return [Piece(0, self._length, "")]
        self.sent = left
        self.stored.append(found.stored)
        shown = self._line.restored(left, within_json=True)
        return [Piece(0, self._length, None if shown == text else shown)]

    def say_once(self, key: str) -> str:
        """The house line of this key, for a refusal: a document has no place for one."""
        return self._line.say(key) if key else ""
