"""What the learned model hears in a text, for one rail: its own question, and what the policy has taught it.

A rail's `trips` and `passes` are read at load. A text that means nearly the same as one of them is judged as the
example says: the nearer, the more it counts, so that a safety team mends a miss by writing it down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.turn import Fault, House, Plain, Role, Segment, Taught, Turn, guess_language, plain
from rails._learned.frozen import sentences
from rails._learned.model import Array, Bar, shipped
from rails._learned.words import Side
from rails._own import Own

_INLINE = 1000  # characters
_WINDOW = 240  # characters of an answer that are judged together: an invitation may come in instalments
_NEAR = 0.9  # cosine from which on an example that trips says something
_NEARER = 0.97  # ... one that passes: what is only like something harmless may be harm
_SAME = 0.99  # ... at which two examples mean the same
# What the other side says on any day.
ANY_DAY: Mapping[Side, Mapping[str, tuple[str, ...]]] = {
    "user": {
        "en": ("What shall we play now?", "The little bear goes to the river and looks for a fish.", "Great idea!"),
        "it": ("A cosa giochiamo adesso?", "L'orsetto va al fiume e cerca un pesce.", "Che bella idea!"),
        "ko": ("이제 뭐 하고 놀까?", "아기 곰이 강에 가서 물고기를 찾고 있어.", "좋은 생각이야!"),
    },
    "assistant": {
        "en": ("tell me a story about a bear", "yes", "and then what happens?"),
        "it": ("raccontami la storia di un orso", "sì", "e poi cosa succede?"),
        "ko": ("곰 이야기 해 줘", "응", "그래서 어떻게 됐어?"),
    },
}
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
        self._own, self._languages = Own(house), house.languages
        kinds = self._model.kinds[head]
        self._trips = [number for number, kind in enumerate(kinds) if number and kind not in apart]
        self._apart = [number for number, kind in enumerate(kinds) if kind in apart]
        self._taught = {role: self._learn(role, house.taught) for role in ("user", "assistant")}

    async def ready(self, segment: Segment) -> None:
        """Reads a long text beside the loop, so that others do not wait; a short one is read when it is asked for."""
        text = self._text(segment)
        if len(text.text) > _INLINE:
            await asyncio.to_thread(self._model.reads, text, said_before(segment), _side(segment), segment.turn.memo)

    def hear(self, segment: Segment, hinted: bool = False) -> Sensed | None:
        """What the segment says, judged with the other side's last turn; None: nothing.

        hinted: a list of the policy has a phrase in it, so that less is asked of the model.
        """
        text = self._text(segment)
        if not text.text.strip():
            return None
        told, shift, near = self._told(segment, text)
        bar = self._model.bar(self._head, segment.turn.language)
        return self._kept(segment, self._sensed(told, bar, hinted, shift, near))

    def listed(self, segment: Segment, name: str) -> Sensed | None:
        """What a phrase of the list `name` is that is all that is said: something, unless an example says that it is
        nothing.
        """
        _, shift, _ = self._told(segment, self._text(segment))
        return self._kept(segment, Sensed(name, 1.0)) if shift > -_SAYS / 2 else None

    def _told(self, segment: Segment, text: Plain) -> tuple[Array, float, str]:
        """How likely each kind is, what the nearest example changes of it, and where that stands."""
        side = _side(segment)
        told, meaning = self._model.told(self._head, text, said_before(segment), side, segment.turn.memo)
        return told, *self._shift(meaning, side)

    def _kept(self, segment: Segment, sensed: Sensed | None) -> Sensed | None:
        """Of an answer nothing that is unsure (a sentence is replaced, or it is not), and no line of the house."""
        if sensed is None or segment.role != "assistant":
            return sensed
        if not sensed.sure or self._own.says(segment):
            return None
        segment.turn.memo[self._since] = len(segment.before) + len(segment.text)
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
            pairs = zip(*np.nonzero(np.triu(alike >= _SAME, 1)), strict=True)
            for one, other in sorted({(places[a], places[b]) for a, b in pairs if trips[a] != trips[b]}):
                file, _, line = other.rpartition(":")
                message = f"this example means the same as the one at {one}, which is judged the other way"
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
            told, meaning = self._model.told(self._head, plain(one.text), plain(one.before), side, {})
            shift, near = self._shift(meaning, side)
            raw, bar = float(told[self._trips].sum()), self._model.bar(self._head, one.language).alone
            yield one.kind, near, raw >= bar, _shifted(raw, shift) >= bar

    @property
    def _since(self) -> tuple[str, str]:
        return ("sensed", self._key)

    def _text(self, segment: Segment) -> Plain:
        """What is judged: a user's message, or an answer's sentence with those before it that this did not trip on."""
        if segment.role != "assistant" or not segment.before:
            return segment.plain()
        since = max(segment.turn.memo.get(self._since, 0), len(segment.before) - _WINDOW)
        earlier = segment.before[since:] if since < len(segment.before) else ""
        return plain(earlier + segment.text)

    def _learn(self, role: str, taught: Sequence[Taught]) -> tuple[Array, Array, list[str]]:
        """The examples of one role: what each means, whether it trips, and where it stands."""
        side: Side = "assistant" if role == "assistant" else "user"
        mine = [(one, means) for one in taught if one.role == role for means in self._meanings(one, side)]
        trips = np.array([1.0 if one.trips else -1.0 for one, _ in mine], np.float32)
        known = np.stack([means for _, means in mine]) if mine else np.zeros((0, 1), np.float32)
        return known, trips, [one.where for one, _ in mine]

    def _meanings(self, one: Taught, side: Side) -> Iterator[Array]:
        """What an example means; without a turn before it also what it means on any day, behind one."""
        yield self._vector(one.text, one.before, side)
        if not one.before:
            turns = ANY_DAY[side]
            means = [self._vector(one.text, said, side) for said in turns.get(self._language(one), turns["en"])]
            mean: Array = np.mean(means, 0)
            yield mean / max(float(np.linalg.norm(mean)), 1e-6)

    def _vector(self, text: str, before: str, side: Side) -> Array:
        return self._model.told(self._head, plain(text), plain(before), side, {})[1]

    def _language(self, one: Taught) -> str:
        return one.language or guess_language(one.text, self._languages, self._languages[0])

    def _shift(self, meaning: Array, side: Side) -> tuple[float, str]:
        """What the nearest example adds to the log-odds, and where it stands."""
        known, trips, places = self._taught[side]
        if not places:
            return 0.0, ""
        alike = known @ meaning
        near = np.where(trips > 0, _NEAR, _NEARER)
        each = (alike - near) / (1 - near)
        nearest = int(each.argmax())
        closeness = float(each[nearest])
        return (float(trips[nearest]) * _SAYS * closeness**2, places[nearest]) if closeness > 0 else (0.0, "")


def _side(segment: Segment) -> Side:
    return "assistant" if segment.role == "assistant" else "user"


def said_before(segment: Segment) -> Plain:
    """What the other side had said last."""
    turn = segment.turn
    key = ("before", segment.role)
    found: Plain | None = turn.memo.get(key)
    if found is None:
        found = turn.memo[key] = plain(_last(turn, segment.role))
    return found


def _last(turn: Turn, role: Role) -> str:
    if role == "assistant":
        return turn.user[-_WINDOW:]
    last = turn.history[-1] if turn.history else None
    return last.text[-_WINDOW:] if last and last.role == "assistant" else ""


def _shifted(score: float, shift: float) -> float:
    inside = min(max(score, 1e-6), 1 - 1e-6)
    return float(1 / (1 + (1 - inside) / inside * np.exp(-shift)))
