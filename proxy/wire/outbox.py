"""The events of an answer, waiting for the line: each leaves once all of its text is settled, as the bytes it came in
where nothing changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.answer import Piece
from proxy.turn import Delta
from proxy.wire.events import content, finish_reason, with_text
from proxy.wire.skeleton import Skeleton


@dataclass(slots=True)
class _Waiting:
    delta: Delta
    start: int  # where its text begins in the answer
    text: str
    whole: bool = True  # nothing of it has left yet
    final: bool = False  # carries the finish reason: waits for `close`

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Outbox:
    """Holds the backend's events and lets them go, in order, as the line settles their text.

    An event across the border of a settled piece leaves in two: what is settled never waits for what is not. Text
    that took a piece's place leaves with the event in which the piece began.
    """

    def __init__(self, skeleton: Skeleton, index: int = 0) -> None:
        self._skeleton = skeleton
        self._index = index
        self._waiting: deque[_Waiting] = deque()
        self._pieces: deque[Piece] = deque()
        self._total = 0
        self._settled = 0
        self._any = False  # an event has left: the role has been told
        self.reason: str | None = None  # why the backend ended, once it has said so

    def hold(self, delta: Delta) -> str:
        """Takes an event in; returns the text that it brings, for the line."""
        text = content(delta.event)
        reason = finish_reason(delta.event)
        self.reason = reason or self.reason
        self._waiting.append(_Waiting(delta, self._total, text, final=reason is not None))
        self._total += len(text)
        return text

    def release(self, pieces: Sequence[Piece]) -> list[Delta]:
        """The events that may leave now that these pieces are settled."""
        self._pieces.extend(piece for piece in pieces if piece.end > piece.start)
        if pieces:
            self._settled = pieces[-1].end
        out: list[Delta] = []
        while self._waiting and self._waiting[0].end <= self._settled and not self._waiting[0].final:
            out += self._whole(self._waiting.popleft())
            self._any = self._any or bool(out)
        if self._waiting and self._waiting[0].start < self._settled < self._waiting[0].end:
            out += self._part(self._waiting[0])
        out += [self._say(p.text) for p in pieces if p.start == p.end and p.text]
        self._any = self._any or bool(out)
        return out

    def close(self, reason: str | None) -> list[Delta]:
        """The last event: the backend's own where the answer ran to its end, else the house's; with `reason` where that
        is given.
        """
        final = next((one for one in self._waiting if one.final), None)
        self._waiting.clear()
        if final is None:
            return [self._skeleton.finish(self._index, reason or self.reason or "stop")]
        text = self._text(final.start, final.text)
        if reason is not None:
            return [*([self._say(text)] if text else []), self._skeleton.finish(self._index, reason)]
        return [final.delta if text == final.text and final.whole else with_text(final.delta.event, text)]

    def _whole(self, one: _Waiting) -> list[Delta]:
        text = self._text(one.start, one.text)
        if text == one.text and one.whole:
            return [one.delta]
        return [with_text(one.delta.event, text)] if text or not self._any else []

    def _part(self, one: _Waiting) -> list[Delta]:
        """The settled part of an event that is not settled to its end."""
        length = self._settled - one.start
        text = self._text(one.start, one.text[:length])
        one.start, one.text, one.whole = self._settled, one.text[length:], False
        if not text:
            return []
        return [self._say(text)]  # what else the event tells goes with its last part

    def tell(self, **told: Any) -> Delta:
        """An event of the house's own, which leaves now; the first of an answer tells the role."""
        first, self._any = not self._any, True
        return self._skeleton.part(self._index, role=first, **told)

    def _say(self, text: str) -> Delta:
        return self.tell(content=text)

    def _text(self, start: int, text: str) -> str:
        """What leaves for `text`, which stands at `start` of the answer and is settled."""
        end, out = start + len(text), []
        while self._pieces and self._pieces[0].end <= start:
            self._pieces.popleft()
        for piece in self._pieces:
            if piece.start >= end:
                break
            if piece.text is None:
                out.append(text[max(0, piece.start - start) : piece.end - start])
            elif piece.start >= start:
                out.append(piece.text)
        return "".join(out)
