"""repeat: the buddy does not say the same thing again.

Answers the model card's "can become repetitive or overlong when generation limits are high". A sentence that this
answer or one of the last few has said is left out. An answer that goes on repeating is ended, and so is a model
caught in a loop ("the moon the moon the moon ...").
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, ClassVar

from pydantic import Field

from proxy.turn import Act, Hold, House, Options, Role, Segment, Turn, Verdict, plain

_WORD = re.compile(r"\w+")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_HASHES = 40  # remembered of one answer
_DROPS = 3  # in a row: this one ends the answer
_LOOP_WORDS = 5  # the longest phrase that makes a loop
_LOOP_TIMES = 6


class RailOptions(Options):
    """Options of a `repeat` rail."""

    answers: int = Field(6, ge=0, description="How many earlier answers of the session count; 0: only the present one.")
    shortest: int = Field(
        12,
        ge=1,
        description="Sentences of fewer characters may repeat, such as `Well done!`. A Korean syllable counts as two.",
    )


class Rail:
    """Remembers `said`: the turn's id and the sentences' hashes for each of the last answers, newest last; no text."""

    content: ClassVar[frozenset[Role]] = frozenset()
    shape: ClassVar[frozenset[Role]] = frozenset({"assistant"})
    needs: ClassVar[Hold] = "sentence"

    def __init__(self, key: str, options: RailOptions, house: House) -> None:
        self.key = key
        self._options = options

    async def check(self, segment: Segment) -> Verdict:
        """DROP for a sentence said before, END for the third in a row and for a loop."""
        words = _WORD.findall(plain(segment.text).text.lower())
        if not words or segment.house:  # a line of the house may well come back: it is the same each time
            return Verdict()
        if _loops(words):
            return Verdict(Act.END, why=f"the same few words {_LOOP_TIMES} times or more")
        sentence = " ".join(words)
        if len(sentence) + len(_HANGUL.findall(sentence)) < self._options.shortest:
            segment.turn.memo[self.key] = 0
            return Verdict()
        return self._judge(segment.turn, blake2b(sentence.encode(), digest_size=8).hexdigest())

    def _judge(self, turn: Turn, digest: str) -> Verdict:
        said: list[list[Any]] = turn.recall(self.key).get("said", [])
        earlier = [answer for answer in said if answer[0] != turn.id]
        earlier = earlier[max(0, len(earlier) - self._options.answers) :]
        present: list[str] = next((digests for turn_id, digests in said if turn_id == turn.id), [])
        if any(digest in digests for digests in (present, *(digests for _, digests in earlier))):
            return self._repeated(turn)
        turn.memo[self.key] = 0
        return Verdict(remember={"said": [*earlier, [turn.id, [*present, digest][-_HASHES:]]]})

    def _repeated(self, turn: Turn) -> Verdict:
        drops = turn.memo[self.key] = turn.memo.get(self.key, 0) + 1
        if drops >= _DROPS:
            return Verdict(Act.END, why=f"{drops} sentences in a row that were said before")
        return Verdict(Act.DROP, why="a sentence that was said before")


def _loops(words: list[str]) -> bool:
    """Whether the words are one short phrase over and over; it may begin or break off in the middle."""
    return any(len(words) >= size * _LOOP_TIMES and words[size:] == words[:-size] for size in range(1, _LOOP_WORDS + 1))
