"""crisis: a child in danger is answered with care, at once, and a person is told.

Answers the model card's "should be tested with adult supervision and additional safety layers": a small model must
never be the one that replies to "I want to hurt myself". The rail stands first in a child policy and outranks
everything else; its line needs no model. It remembers when it was (`at`, unix seconds), so that flows can keep the
answers after it calm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from proxy.turn import Act, Hold, House, ListName, Options, Role, SayKey, Segment, Span, Verdict
from rails._heard import hits


class RailOptions(Options):
    """Options of a `crisis` rail."""

    user_says: ListName = Field(
        description="The list of phrases by which somebody says that they are in danger, are hurt, or want to hurt "
        "themselves. Better one phrase too many: a false alarm costs a kind sentence and a look by a person."
    )
    say: SayKey = Field(
        description="The line that answers. Short and caring, with a grown-up to turn to; no goodbye, no question."
    )


class Rail:
    """Ends the turn with the caring line and asks for a person: flags `review` and `alert`.

    `when_broken` is its verdict where it fails: who cannot tell whether a child is in danger takes care.
    """

    content: ClassVar[frozenset[Role]] = frozenset({"user", "tool"})  # a tool may bring what a child said aloud
    shape: ClassVar[frozenset[Role]] = frozenset()
    needs: ClassVar[Hold] = "clause"  # a user's message comes whole, however little of an answer is held

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._phrases = house.phrases[options.user_says]
        self.when_broken = self._alarm((), "the rail broke; somebody may be in danger")

    async def check(self, segment: Segment) -> Verdict:
        """END where the message holds a phrase of the list, wherever it stands, or the end of one."""
        hit = next(hits(self._phrases, segment), None)
        if hit is None:
            return Verdict()
        name = self._options.user_says
        spans = (Span(hit.start, hit.end, name.upper()),)
        alarm = self._alarm(spans, f"{name}: matched a phrase of the list; somebody may be in danger")
        return replace(alarm, remember={"at": segment.turn.now})

    def _alarm(self, spans: tuple[Span, ...], why: str) -> Verdict:
        return Verdict(Act.END, spans, self._options.say, why=why, flags=frozenset({"review", "alert"}))
