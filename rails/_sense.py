"""What the learned model hears in a text, for one rail: its own question, and what the policy has taught it.

A rail's `trips` and `passes` are read at load. A text that means nearly the same as one of them is judged as the
example says: the nearer, the more it counts, so that a safety team mends a miss by writing it down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.turn import Fault, House, Plain, Role, Segment, Taught, Turn, plain
from rails._learned.frozen import sentences
from rails._learned.model import Array, Bar, Side, shipped
from rails._own import Own

_INLINE = 1000  # characters
_WINDOW = 240  # characters of an answer that are judged together: an invitation may come in instalments
_NEAR = 0.88  # cosine from which on an example says something
_SAME = 0.99  # ... at which two examples mean the same
# Danger is danger, whatever was said before; what these were taught has no context.
OUT_OF_CONTEXT = ("crisis", "childrisk", "unsafe")
_PLAINEST = {"en": "what shall we do now", "it": "cosa facciamo adesso", "ko": "이제 우리 뭐 할까"}
_FEWEST = 3  # words of a context; a mere "Hello!" tells nothing
_OF_ASSISTANT = ("risky", "asks", "persona")
_SAYS = 12.0  # what an equal example adds to or takes from the log-odds


@dataclass(frozen=True, slots=True)
class Sensed:
    """What was heard: its kind, how sure (0 to 1), and where the example stands that decided (empty: none did).

    Where it is not `sure`, it may be so: enough for a note to the model, not for more.
    """

    kind: str
    score: float
    near: str = ""
    sure: bool = True

    @property
    def because(self) -> str:
        """For the `why` of a verdict."""
        return f"like the example at {self.near}" if self.near else f"the learned model, {self.score:.2f}"


class Sense:
    """One head of the shipped model, and the rail's examples.

    apart: kinds that are no trip, and are told only where nothing else is heard.
    """

    def __init__(self, head: str, house: House, key: str, apart: Sequence[str] = ()) -> None:
        self._model = shipped()
        self._head, self._key = head, key
        self._own = Own(house)
        kinds = self._model.kinds[head]
        self._trips = [number for number, kind in enumerate(kinds) if number and kind not in apart]
        self._apart = [number for number, kind in enumerate(kinds) if kind in apart]
        self._taught = {role: self._learn(role, house.taught) for role in ("user", "assistant")}

    async def ready(self, segment: Segment) -> None:
        """Reads a long text beside the loop, so that others do not wait; a short one is read when it is asked for."""
        text = self._text(segment)
        if len(text.text) > _INLINE:
            before, side = self._before(segment), _side(segment)
            await asyncio.to_thread(self._model.reads, text, before, side, segment.turn.memo)

    def hear(self, segment: Segment, hinted: bool = False) -> Sensed | None:
        """What the segment says, judged with the other side's last turn; None: nothing.

        hinted: a list of the policy has a phrase in it, so that less is asked of the model.
        """
        side = _side(segment)
        text, before = self._text(segment), self._before(segment)
        if not text.text.strip():
            return None
        memo = segment.turn.memo
        told, meaning = self._model.told(self._head, text, before, side, memo)
        bar = self._model.bar(self._head, segment.turn.language)
        shift, near = self._shift(meaning, side)
        sensed = self._sensed(told, bar, hinted, shift, near)
        if sensed and side == "assistant" and not sensed.sure:
            return None  # a sentence of an answer is replaced, or it is not
        if sensed and side == "assistant" and self._own.says(segment):
            return None
        if sensed and side == "assistant":
            memo[self._since] = len(segment.before) + len(segment.text)
        return sensed

    def _sensed(self, told: Array, bar: Bar, hinted: bool, shift: float, near: str) -> Sensed | None:
        kinds = self._model.kinds[self._head]
        raw = float(told[self._trips].sum())
        score, enough = _shifted(raw, shift), bar.hinted if hinted else bar.alone
        decided = near if (raw >= enough) != (score >= enough) else ""
        if score >= min(enough, bar.maybe):
            kind = kinds[max(self._trips, key=lambda number: float(told[number]))]
            return Sensed(kind, score, decided, sure=score >= enough)
        apart = max(self._apart, key=lambda number: float(told[number]), default=0)
        return Sensed(kinds[apart], float(told[apart])) if apart and told[apart] >= max(0.5, bar.maybe) else None

    def clashes(self) -> Iterator[Fault]:
        """A note for each two examples that mean the same and are judged differently."""
        for known, trips, places in self._taught.values():
            alike = known @ known.T if places else np.zeros((0, 0))
            for one, other in zip(*np.nonzero(np.triu(alike >= _SAME, 1)), strict=True):
                if trips[one] != trips[other]:
                    file, _, line = places[other].rpartition(":")
                    message = f"this example means the same as the one at {places[one]}, which is judged the other way"
                    yield Fault(file, int(line), 1, message, hint="take one out, or make plain where they differ")

    def review(self) -> str:
        """What the examples change of the judgement on the frozen sentences; empty: nothing."""
        changed = [(near, (kind != "-") == trips) for kind, near, before, trips in self._judged() if before != trips]
        if not changed:
            return ""
        spoilt = sorted({near for near, right in changed if not right})
        told = f"the examples mend {sum(right for _, right in changed)} of the frozen sentences of `{self._head}`"
        return f"{told} and spoil {sum(not right for _, right in changed)}" + (
            f" ({', '.join(spoilt)})" if spoilt else ""
        )

    def _judged(self) -> Iterator[tuple[str, str, bool, bool]]:
        """Each frozen sentence's kind, the nearest example, and whether it trips without the examples and with them."""
        side: Side = "assistant" if self._head in _OF_ASSISTANT else "user"
        for one in sentences(self._head):
            told, meaning = self._model.told(
                self._head, plain(one.text), self._beside(one.before, one.language), side, {}
            )
            shift, near = self._shift(meaning, side)
            raw, bar = float(told[self._trips].sum()), self._model.bar(self._head, one.language).alone
            yield one.kind, near, raw >= bar, _shifted(raw, shift) >= bar

    @property
    def _since(self) -> tuple[str, str]:
        return ("sensed", self._key)

    def _before(self, segment: Segment) -> Plain:
        before = plain("") if self._head in OUT_OF_CONTEXT else said_before(segment)
        return before if before.text or self._head != "risky" else _nothing_special(segment.turn.language)

    def _beside(self, said: str, language: str) -> Plain:
        before = plain("") if self._head in OUT_OF_CONTEXT else _context(said)
        return before if before.text or self._head != "risky" else _nothing_special(language)

    def _text(self, segment: Segment) -> Plain:
        """What is judged: a user's message, or an answer's sentence with those before it that this did not trip on."""
        if segment.role != "assistant" or not segment.before:
            return segment.plain()
        since = max(segment.turn.memo.get(self._since, 0), len(segment.before) - _WINDOW)
        earlier = segment.before[since:] if since < len(segment.before) else ""
        return plain(earlier + segment.text)

    def _learn(self, role: str, taught: Sequence[Taught]) -> tuple[Array, Array, list[str]]:
        """The examples of one role: what each means, whether it trips, and where it stands."""
        mine = [one for one in taught if one.role == role]
        side: Side = "assistant" if role == "assistant" else "user"
        means = [self._vector(plain(one.text), self._beside(one.before, one.language), side) for one in mine]
        trips = np.array([1.0 if one.trips else -1.0 for one in mine], np.float32)
        return (np.stack(means) if means else np.zeros((0, 1), np.float32)), trips, [one.where for one in mine]

    def _vector(self, text: Plain, before: Plain, side: Side) -> Array:
        return self._model.told(self._head, text, before, side, {})[1]

    def _shift(self, meaning: Array, side: Side) -> tuple[float, str]:
        """What the nearest example adds to the log-odds, and where it stands."""
        known, trips, places = self._taught[side]
        if not places:
            return 0.0, ""
        alike = known @ meaning
        nearest = int(alike.argmax())
        closeness = (float(alike[nearest]) - _NEAR) / (1 - _NEAR)
        return (float(trips[nearest]) * _SAYS * closeness**2, places[nearest]) if closeness > 0 else (0.0, "")


def _side(segment: Segment) -> Side:
    return "assistant" if segment.role == "assistant" else "user"


def said_before(segment: Segment) -> Plain:
    """What the other side had said last."""
    turn = segment.turn
    key = ("before", segment.role)
    found: Plain | None = turn.memo.get(key)
    if found is None:
        last = _last(turn, segment.role)
        found = turn.memo[key] = _context(last)
    return found


def _context(said: str) -> Plain:
    return plain(said if len(said.split()) >= _FEWEST else "")


def _nothing_special(language: str) -> Plain:
    """`risky` was taught answers only, each beside a child's turn: where there is none, the plainest stands for it."""
    return plain(_PLAINEST.get(language, _PLAINEST["en"]))


def _last(turn: Turn, role: Role) -> str:
    if role == "assistant":
        return turn.user[-_WINDOW:]
    last = turn.history[-1] if turn.history else None
    return last.text[-_WINDOW:] if last and last.role == "assistant" else ""


def _shifted(score: float, shift: float) -> float:
    inside = min(max(score, 1e-6), 1 - 1e-6)
    return float(1 / (1 + (1 - inside) / inside * np.exp(-shift)))
