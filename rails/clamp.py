"""clamp: an answer stays short, asks one thing at a time, and ends with a whole sentence.

Answers the model card's "can become repetitive or overlong when generation limits are high" and its rule of "at most
one easy question at a time". The answer ends before the first sentence too many, and the generation is cancelled
there; a question too many is left out; a sentence that the model's token limit broke off is left out too. A sentence
of too many words is only flagged. What counts is what really leaves, lines of the house included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from proxy.turn import Act, Hold, House, Options, Role, Segment, Span, Verdict, is_question

_CLOSING = frozenset({"sentence", "line", "last"})  # other endings stand inside a sentence
_WORD = re.compile(r"\w")
_FINISHED = re.compile(r"[.!?؟…。！？~]\W*$")
_LAST_WORD = re.compile(r"\s*\S+$")


class RailOptions(Options):
    """Options of a `clamp` rail."""

    sentences: int = Field(4, ge=1, description="At most this many sentences in an answer; then it ends.")
    questions: int = Field(1, ge=0, description="At most this many questions in an answer; further ones are left out.")
    characters: int = Field(
        400,
        ge=1,
        description="At most this many characters in an answer; then it ends. Not below the policy's `hold_max`, "
        "or an answer whose first sentence is long is lost.",
    )
    words: int = Field(
        0,
        ge=0,
        description="A sentence of more words (in Korean: of what stands between spaces) is too long: "
        "it leaves as it is, flagged for review, and a policy's `retry` may ask for a better one. 0: no limit.",
    )
    whole_sentences: bool = Field(
        True,
        description="Leave out the broken end of an answer that ran into the model's token limit (`true` or `false`).",
    )


@dataclass(frozen=True, slots=True)
class _Tally:
    """Sentences begun and questions asked; `unfinished`: the last sentence goes on, with so many `words` by now."""

    sentences: int = 0
    questions: int = 0
    unfinished: bool = False
    words: int = 0

    def plus(self, segment: Segment) -> _Tally:
        """The tally with this piece of a sentence, or whole sentence, behind it."""
        goes_on = segment.ending not in _CLOSING
        words = self.words if self.unfinished else 0
        if not _WORD.search(segment.text):
            return _Tally(self.sentences, self.questions, self.unfinished and goes_on, words)
        asks = not goes_on and is_question(segment.text)
        words += sum(_WORD.search(word) is not None for word in segment.text.split())
        return _Tally(self.sentences + (not self.unfinished), self.questions + asks, goes_on, words)


class Rail:
    """Counts sentences, questions and characters of what has left and of what is about to."""

    content: ClassVar[frozenset[Role]] = frozenset()
    shape: ClassVar[frozenset[Role]] = frozenset({"assistant"})
    needs: ClassVar[Hold] = "sentence"

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options

    async def check(self, segment: Segment) -> Verdict:
        """END for a sentence or a character too many or a broken one, DROP for a question too many."""
        limit, left = self._options, self._left(segment)
        now = left.plus(segment)
        segment.turn.memo[self.key] = (len(segment.sent), left, now)
        if not segment.text.strip():
            return Verdict()
        if now.sentences > limit.sentences:
            return Verdict(Act.END, why=f"more than {limit.sentences} sentence(s)")
        if _length(segment) > limit.characters:
            return Verdict(Act.END, why=f"more than {limit.characters} characters")
        if now.questions > max(limit.questions, left.questions):
            return Verdict(Act.DROP, why=f"more than {limit.questions} question(s)")
        if segment.ending == "limit" and limit.whole_sentences and not _FINISHED.search(segment.text):
            return _broken_off(segment)
        begun = left.words if left.unfinished else 0
        if limit.words and now.words > limit.words >= begun and not segment.house:
            return Verdict(why=f"a sentence of more than {limit.words} words", flags=frozenset({"review"}))
        return Verdict()

    def _left(self, segment: Segment) -> _Tally:
        """The tally of what has left: with the piece of the last check, if something has left since."""
        length, without, with_it = segment.turn.memo.get(self.key, (0, _Tally(), _Tally()))
        tally: _Tally = with_it if len(segment.sent) > length else without
        return tally


def _broken_off(segment: Segment) -> Verdict:
    """The answer ends before the broken sentence; where nothing else was said, before its last word."""
    word = _LAST_WORD.search(segment.text)
    spans = (
        (Span(word.start(), len(segment.text), "BROKEN"),) if word and word.start() and not segment.sent.strip() else ()
    )
    return Verdict(Act.END, spans, why="the model's token limit broke the sentence off")


def _length(segment: Segment) -> int:
    """Characters of the answer if the segment leaves: with the space held back before it, and room for an ellipsis."""
    held = len(segment.before) - len(segment.before.rstrip()) if segment.sent and not segment.sent[-1].isspace() else 0
    return len(segment.sent) + held + len(segment.text.rstrip()) + (segment.ending not in _CLOSING)
