"""stop: when a child wants to stop, sleep or leave, the buddy says goodbye and stays quiet.

Answers the model card's "may continue asking questions after the child says they want to stop or sleep". The turn
ends with a line of the house, or with a farewell that the model writes under a note, and the session stays quiet for a
while: whatever is said then gets a short answer without a question, until the user starts again or the quiet time has
passed since they were last heard.

Who wants to stop rarely says so in the words of a list, and not every message that mentions sleep is about stopping.
Phrases of the lists that are all, or nearly all, of a message decide; for the rest the learned model judges what is
meant, and a phrase is a hint to it. A phrase deep inside a long clause ("tell me a story where the owl says good night
to all the stars in the sky") is told, not meant, and is no hint: it counts within `_NEAR` words of the beginning or end
of its clause, so in a clause of ten words always.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import ClassVar, Literal

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
from rails._heard import hits, says_all
from rails._sense import Sense, Sensed

_KINDS = {"sleep": "sleep", "bye": "goodbye", "stop": "stop"}  # what the learned model calls them
_NEAR = 5
_CLEARLY = 0.9  # how sure it must be that somebody starts again
_MOSTLY = 0.6  # of the letters of a message: who says "stop" with a few more words says it, too
_DEEP = 10  # hits of a list looked at; one more counts wherever it stands, which bounds the work on a hostile message
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
    say_stop: SayKey = Field(description="The line that answers somebody who has had enough.")
    say_sleep: SayKey = Field(description="The line that answers somebody who is off to bed, whatever else they say.")
    say_goodbye: SayKey = Field(description="The line that answers somebody who takes their leave.")
    learned: Literal["child"] | None = Field(
        None, description="The shipped model that hears what no list says. Left out: the lists decide alone."
    )
    unsure: SteerKey = Field(
        "", description="The note for a message by which somebody may want to end, so that the model asks for nothing."
    )
    farewell: SteerKey = Field(
        "", description="In place of these lines: a note with which the model says goodbye, as quietly as what follows."
    )
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
    of_session: ClassVar[bool] = True  # what the answer before had asked counts

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options
        self._starts_again = house.phrases[options.starts_again]
        self._hooks = house.phrases[options.hooks] if options.hooks else Phrases({})
        self._lists = (  # where several have a phrase, the first counts
            ("sleep", house.phrases[options.sleep]),
            ("goodbye", house.phrases[options.goodbye]),
            ("stop", house.phrases[options.stop]),
        )
        self._lines = {"sleep": options.say_sleep, "goodbye": options.say_goodbye, "stop": options.say_stop}
        self._sense = Sense("stop", house, key, apart=("again",)) if options.learned else None
        self.senses = [self._sense] if self._sense else []
        self.notes = [note for sense in self.senses for note in sense.clashes()]

    async def check(self, segment: Segment) -> Verdict:
        """User: END on a stop, a note to the model while quiet. Assistant, while quiet: no question, few sentences."""
        if segment.role != "user":
            return self._hush(segment)
        if self._sense:
            await self._sense.ready(segment)
        return self._hear(segment)

    def _hear(self, segment: Segment) -> Verdict:
        kind, hit = self._listed(segment)
        sensed = self._sensed(segment, hit)
        taken_back = any(hits(self._starts_again, segment))
        if sensed and sensed.kind == "again":
            taken_back, sensed = taken_back or sensed.score >= _CLEARLY, None
        if taken_back:
            return Verdict(remember=self._forgotten(segment.turn), resumes=True)
        if sensed and sensed.sure:
            return self._ended(kind or _KINDS[sensed.kind], hit, sensed.because if sensed.kind else "", segment)
        if not self._quiet(segment.turn):
            unsure = (self._options.unsure,) if sensed and self._options.unsure else ()
            why = f"the user may want to end: {sensed.because}" if sensed and unsure else ""
            return Verdict(steer=unsure, why=why, remember=self._forgotten(segment.turn))
        why = "the user had ended the conversation, so the answer stays quiet"
        return Verdict(steer=(self._options.steer,), why=why, remember={"since": segment.turn.now})

    def _sensed(self, segment: Segment, hit: Hit | None) -> Sensed | None:
        if self._sense is None or (hit and self._only_listed(segment)):
            return Sensed("", 1.0) if hit else None
        return self._sense.hear(segment, hinted=hit is not None)

    def _only_listed(self, segment: Segment) -> bool:
        """Whether the message is words of the lists, and little else ("enough now, bye")."""
        found = (hit for _, phrases in self._lists for hit in islice(hits(phrases, segment), _DEEP))
        return says_all(((hit.start, hit.end) for hit in found), segment.text, _MOSTLY)

    def _listed(self, segment: Segment) -> tuple[str, Hit | None]:
        for kind, phrases in self._lists:
            hit = _meant(phrases, segment)
            if hit:
                return kind, hit
        return "", None

    def _ended(self, kind: str, hit: Hit | None, because: str, segment: Segment) -> Verdict:
        span = Span(hit.start, hit.end, kind.upper()) if hit else Span(0, len(segment.text), kind.upper())
        memory = {"quiet": True, "since": segment.turn.now, "kind": kind}
        told = ["a phrase of the list"] * bool(hit) + [because] * bool(because)
        why = f"the user wants to end ({kind}): {', and '.join(told)}"
        if self._options.farewell:
            return Verdict(spans=(span,), steer=(self._options.farewell,), why=why, remember=memory)
        return Verdict(Act.END, (span,), self._lines[kind], why=why, remember=memory)

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
