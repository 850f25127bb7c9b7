"""Reasoning that a model writes into its answer, `<think>...</think>`, where its server does not take it out.

It is reasoning at the very beginning alone, and whether it is one is decided by the text, not by its chunks. That the
answer begins within it, without the opening mark, can be told only where the app began the answer with that mark.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.beside import Beside

_MARKS = {"<think>": "</think>", "<thinking>": "</thinking>", "[THINK]": "[/THINK]"}
_LEAD = 64  # characters of white space before a mark


@dataclass(frozen=True, slots=True)
class Thought:
    """A settled part of it."""

    raw: str
    left: str  # what leaves in its place
    stored: str  # the same as it may be stored


class Thoughts:
    """Takes the reasoning out of one answer's beginning, however it comes; holds a mark at most."""

    def __init__(self, beside: Beside | None, begun: str = "") -> None:
        """`beside` judges it, and it leaves where it stood; None: it is left out. `begun`: what the app began of the
        answer.
        """
        self._beside = beside
        self._held = ""
        self._any = False  # reasoning has been taken out: white space behind it goes with it
        self._over = False  # the answer itself has begun
        opened = next((mark for mark in _MARKS if begun.lstrip().startswith(mark)), "")
        closes = _MARKS.get(opened, "")
        self._closes = closes if closes not in begun else ""  # within reasoning: the mark of its end

    async def feed(self, text: str) -> tuple[list[Thought], str]:
        """Takes text in; returns what is settled of the reasoning, and the answer's own text behind it."""
        if self._over:
            return [], text
        self._held += text
        found: list[Thought] = []
        before = -1
        while not self._over and before != len(self._held):  # until more must come
            before = len(self._held)
            found += await self._within() if self._closes else self._opening()
        rest = self._taken(len(self._held)) if self._over else ""
        return found, rest

    async def finish(self) -> tuple[list[Thought], str]:
        """Nothing more comes: the rest of both."""
        rest, self._held = self._held, ""
        if self._closes:
            return await self._thought(rest, ends=True), ""
        return (self._mark(rest), "") if self._any and not rest.strip() else ([], rest)

    def _opening(self) -> list[Thought]:
        """The white space and the mark that begin reasoning, once they can be told from the answer."""
        body = self._held.lstrip()
        lead = len(self._held) - len(body)
        mark = next((mark for mark in _MARKS if body.startswith(mark)), "")
        if lead <= _LEAD and mark:
            self._closes = _MARKS[mark]
            return self._mark(self._taken(lead + len(mark)))
        if lead <= _LEAD and any(one.startswith(body) for one in _MARKS):
            return []
        self._over = True
        return self._mark(self._taken(lead)) if self._any else []

    async def _within(self) -> list[Thought]:
        """The reasoning that is seen, up to the mark of its end."""
        place = self._held.find(self._closes)
        if place < 0:
            held = next(n for n in range(len(self._closes) - 1, -1, -1) if self._held.endswith(self._closes[:n]))
            return await self._thought(self._taken(len(self._held) - held))
        thought = await self._thought(self._taken(place), ends=True)
        mark = self._mark(self._taken(len(self._closes)))
        self._closes, self._any = "", True
        return [*thought, *mark]

    async def _thought(self, text: str, ends: bool = False) -> list[Thought]:
        """What is settled with this part of the reasoning."""
        beside = self._beside
        if beside is None:
            return self._mark(text)
        judged, stored = len(beside.raw), len(beside.stored)
        left = await beside.feed(text)
        left += await beside.finish() if ends else ""
        raw = beside.raw[judged:]
        return [Thought(raw, left, "".join(beside.stored[stored:]))] if raw else []

    def _mark(self, text: str) -> list[Thought]:
        """What is no reasoning itself: it leaves as it stood, or with the reasoning."""
        left = text if self._beside else ""
        return [Thought(text, left, left)] if text else []

    def _taken(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text
