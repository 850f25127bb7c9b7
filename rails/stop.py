"""stop: when a child wants to stop, sleep or leave, the buddy says goodbye and stays quiet.

Answers the model card's "may continue asking questions after the child says they want to stop or sleep". The turn
ends with a line of the house, and the session stays quiet for a while: whatever is said then gets a short answer
without a question, until the user starts again or the quiet time has passed since they were last heard.

Not every message that mentions sleep is about stopping. The lists' `but_not` explains most of them away. Beyond that,
a phrase deep inside a long clause ("tell me a story where the owl says good night to all the stars in the sky") is
told, not meant: a phrase counts within `_NEAR` words of the beginning or end of its clause, so in a clause of ten
words always.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import ClassVar

from pydantic import Field

from proxy.turn import (
    Act,
    Hit,
    Hold,
    House,
    ListName,
    Options,
    Phrases,
    Role,
    SayKey,
    Seconds,
    Segment,
    Span,
    SteerKey,
    Turn,
    Verdict,
    is_question,
)
from rails._heard import hits

_NEAR = 5
_DEEP = 10  # hits looked at; one more counts wherever it stands, which bounds the work on a hostile message
_SEAM = re.compile(r"[.,;:!?…\n。、，！？]")
_REACH = 300  # characters around a hit in which its clause is counted
_WORD = re.compile(r"\w")
_QUESTION_MARK = re.compile(r"[?؟]")
_SENTENCE_ENDINGS = frozenset({"sentence", "line", "last"})  # the other endings cut inside a sentence


class RailOptions(Options):
    """Options of a `stop` rail."""

    stop: ListName = Field(description="The list of phrases by which somebody says that they have had enough.")
    sleep: ListName = Field(description="The list of phrases by which somebody says that they are tired or off to bed.")
    goodbye: ListName = Field(description="The list of phrases by which somebody takes their leave.")
    starts_again: ListName = Field(
        description="The list of phrases by which somebody wants to go on, or takes a stop back. Keep it narrow: where "
        "a message both stops and starts again, this list wins."
    )
    say_stop: SayKey = Field(description="The line that answers a phrase of `stop`.")
    say_sleep: SayKey = Field(description="The line that answers a phrase of `sleep`, whatever else the message says.")
    say_goodbye: SayKey = Field(description="The line that answers a phrase of `goodbye`, before `say_stop`.")
    steer: SteerKey = Field(description="The note that the model gets with each message while the session is quiet.")
    hooks: ListName = Field(
        "",
        description="The list of phrases by which an answer would draw somebody back into play; left out while quiet.",
    )
    quiet_for: Seconds = Field(
        1800.0, gt=0, description="How long the session stays quiet after the last thing heard, such as `30m`."
    )
    quiet_sentences: int = Field(
        2, ge=1, description="At most this many sentences in an answer while the session is quiet; none is a question."
    )


class Rail:
    """Hears the user's stop, and keeps the answers quiet after it.

    Remembers `quiet`, `since` (unix seconds of the last thing heard while quiet) and `kind` (which list was heard).
    """

    content: ClassVar[frozenset[Role]] = frozenset({"user"})
    shape: ClassVar[frozenset[Role]] = frozenset({"assistant"})
    needs: ClassVar[Hold] = "sentence"

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._starts_again = house.phrases[options.starts_again]
        self._hooks = house.phrases[options.hooks] if options.hooks else Phrases({})
        self._endings = (  # where several are heard, the first is answered
            ("sleep", house.phrases[options.sleep], options.say_sleep),
            ("goodbye", house.phrases[options.goodbye], options.say_goodbye),
            ("stop", house.phrases[options.stop], options.say_stop),
        )

    async def check(self, segment: Segment) -> Verdict:
        """User: END on a stop, a note to the model while quiet. Assistant, while quiet: no question, few sentences."""
        return self._hear(segment) if segment.role == "user" else self._hush(segment)

    def _hear(self, segment: Segment) -> Verdict:
        if any(hits(self._starts_again, segment)):
            return Verdict(remember=self._forgotten(segment.turn), resumes=True)
        ended = self._ended(segment)
        if ended:
            return ended
        if not self._quiet(segment.turn):
            return Verdict(remember=self._forgotten(segment.turn))
        why = "the user had ended the conversation, so the answer stays quiet"
        return Verdict(steer=(self._options.steer,), why=why, remember={"since": segment.turn.now})

    def _ended(self, segment: Segment) -> Verdict | None:
        for kind, phrases, say in self._endings:
            hit = _meant(phrases, segment)
            if hit:
                span = Span(hit.start, hit.end, kind.upper())
                memory = {"quiet": True, "since": segment.turn.now, "kind": kind}
                return Verdict(Act.END, (span,), say, why=f"the user wants to end ({kind})", remember=memory)
        return None

    def _hush(self, segment: Segment) -> Verdict:
        turn = segment.turn
        if not self._quiet(turn) or not _WORD.search(segment.text):
            return Verdict()
        # Quoted questions too: whoever asks, the child hears a question.
        if _QUESTION_MARK.search(segment.plain().text) or is_question(segment.text):
            return Verdict(Act.DROP, why="no question after the user wanted to end")
        if self._hooks.find(segment.plain()):
            return Verdict(Act.DROP, why="nothing draws the user back after they wanted to end")
        sentences = turn.memo.get(self.key, 0)
        if sentences >= self._options.quiet_sentences:
            return Verdict(Act.END, why=f"more than {sentences} sentence(s) after the user wanted to end")
        turn.memo[self.key] = sentences + (segment.ending in _SENTENCE_ENDINGS)
        return Verdict()

    def _quiet(self, turn: Turn) -> bool:
        memory = turn.recall(self.key)
        return bool(memory.get("quiet")) and turn.now - memory["since"] < self._options.quiet_for

    def _forgotten(self, turn: Turn) -> dict[str, object]:
        return {"quiet": False} if turn.recall(self.key).get("quiet") else {}


def _meant(phrases: Phrases, segment: Segment) -> Hit | None:
    """The first hit that stands near the beginning or the end of its clause."""
    found = hits(phrases, segment)
    for hit in islice(found, _DEEP):
        if _near_edge(segment.text, hit):
            return hit
    return next(found, None)


def _near_edge(text: str, hit: Hit) -> bool:
    before = _SEAM.split(text[max(0, hit.start - _REACH) : hit.start])[-1].split()
    behind = _SEAM.split(text[hit.end : hit.end + _REACH], maxsplit=1)[0].split()
    return min(len(before), len(behind)) <= _NEAR
