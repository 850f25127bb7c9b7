"""The actions that Kindrail gives every flow: its detectors, and what a flow may ask of the house.

Detectors answer with plain values and never with a text: `$found = execute phrases(list="secrets", text=$user_message)`
puts `{"found": True}` into `$found`. Each text is looked at once a turn, however many flows ask.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.turn import Act, Fault, Hold, House, Role, Segment, Verdict, is_question, nearest
from rails._colang.folder import Flow
from rails._heard import hits

_GIVEN = frozenset({"segment", "effects"})  # parameters that the runner fills in, and no flow writes
_FLAGS = ("review", "alert")
_SENTENCE = re.compile(r"(?<=[.!?…。！？])\s+|\n+")
ANSWERS: Mapping[str, Collection[str]] = {  # the fields of what an action answers
    "pii": ("found", "entities"), "stop_intent": ("found", "kind"), "phrases": ("found",), "question": ("found",),
    "note": (), "hold_whole": (), "flag": (),
}  # fmt: skip
_ASKS = {"pii": "pii", "stop_intent": "stop"}  # action -> the kind of rail whose detector it asks


@dataclass(slots=True)
class Effects:
    """What the flows ask of the house beside what they say."""

    notes: list[str] = field(default_factory=list)  # keys of the policy's `steer`
    hold: Hold | Literal[""] = ""
    flags: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.notes) + bool(self.hold) + len(self.flags)


class Actions:
    """The actions over one policy. `table`: by the name that a flow calls them by."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.table: Mapping[str, Callable[..., Any]] = {
            "pii": self.pii,
            "stop_intent": self.stop_intent,
            "phrases": self.phrases,
            "question": self.question,
            "note": self.note,
            "hold_whole": self.hold_whole,
            "flag": self.flag,
        }

    async def pii(self, text: str, segment: Segment, entities: Sequence[str] | None = None) -> dict[str, object]:
        """Personal data in `text`, as the policy's `pii` rail finds it: `found`, and `entities`, the kinds.

        entities: only these kinds count.
        """
        verdict = await self._asked("pii", _piece(text, segment, segment.role))
        kinds = sorted({span.entity for span in verdict.spans if entities is None or span.entity in entities})
        return {"found": bool(kinds), "entities": kinds}

    async def stop_intent(self, text: str, segment: Segment) -> dict[str, object]:
        """Whether `text` says, to the policy's `stop` rail, that somebody has had enough: `found`, and `kind`
        (`stop`, `sleep` or `goodbye`).
        """
        verdict = await self._asked("stop", _piece(text, segment, "user"))
        kind = verdict.spans[0].entity.lower() if verdict.spans else ""
        return {"found": verdict.act is Act.END, "kind": kind}

    def phrases(self, list: str, text: str, segment: Segment) -> dict[str, object]:
        """Whether `text` holds a phrase of a list under the policy's `phrases`: `found`."""
        piece = _piece(text, segment, segment.role)
        memo, key = segment.turn.memo, piece.asked(f"phrases {list}")
        if key not in memo:
            memo[key] = self._holds(list, piece)
        return {"found": memo[key]}

    def question(self, text: str) -> dict[str, object]:
        """Whether a sentence of `text` asks something: `found`."""
        return {"found": any(is_question(sentence) for sentence in _SENTENCE.split(text))}

    def note(self, key: str, effects: Effects) -> None:
        """Gives the model a note of the policy's `steer` with the user's message."""
        effects.notes.append(key)

    def hold_whole(self, effects: Effects) -> None:
        """The answer to the user's message is kept back until all of it has been judged."""
        effects.hold = "message"

    def flag(self, effects: Effects, name: str = "review") -> None:
        """Marks the turn for a person: `review`, or `alert` where it cannot wait."""
        effects.flags.add(name)

    # -- what is checked when the policy is loaded ---------------------------------------------------------------------

    def misnamed(self, flows: Mapping[str, Flow]) -> Iterator[Fault]:
        """Calls of these actions that cannot work: parameters, lists, notes and flags that there are not."""
        known: dict[tuple[str, str], tuple[str, Collection[str]]] = {
            ("phrases", "list"): ("list under the policy's `phrases`", self._house.phrases),
            ("note", "key"): ("note under the policy's `steer`", self._house.notes),
            ("flag", "name"): ("flag", _FLAGS),
        }
        for flow, call in self._calls(flows):
            written = call["action_params"]
            yield from self._misfits(flow, call)
            for (action, parameter), (what, names) in known.items():
                if action != call["action_name"] or parameter not in written or written[parameter] in names:
                    continue
                name = written[parameter]
                message = f"`{parameter}={name}` names no {what}"
                yield _fault(flow, call, message, nearest(str(name), names) or "write the name itself, in quotes")

    def unasked(self, flows: Mapping[str, Flow]) -> Iterator[Fault]:
        """Calls of an action whose rail the policy has not. To be asked once all rails of the policy are built."""
        for flow, call in self._calls(flows):
            kind = _ASKS.get(call["action_name"])
            if kind and kind not in self._house.rails:
                message = f"`{call['action_name']}` asks the policy's `{kind}` rail, and none is enforced"
                yield _fault(flow, call, message, f"add a rail of the kind `{kind}`, or leave the action out")

    def _misfits(self, flow: Flow, call: Mapping[str, Any]) -> Iterator[Fault]:
        """Parameters that the action has not, or needs."""
        taken = inspect.signature(self.table[call["action_name"]]).parameters
        names = [name for name in taken if name not in _GIVEN]
        for name in call["action_params"]:
            if name not in names:
                message = f"`{call['action_name']}` has no parameter `{name}`"
                yield _fault(flow, call, message, nearest(name, names) or f"it takes {', '.join(names) or 'none'}")
        for name in names:
            if taken[name].default is inspect.Parameter.empty and name not in call["action_params"]:
                yield _fault(flow, call, f"`{call['action_name']}` needs `{name}=...`")

    def _calls(self, flows: Mapping[str, Flow]) -> Iterator[tuple[Flow, dict[str, Any]]]:
        for flow in flows.values():
            for element in flow.elements:
                if element.get("_type") == "run_action" and element.get("action_name") in self.table:
                    yield flow, element

    # -- the detectors -------------------------------------------------------------------------------------------------

    async def _asked(self, kind: str, piece: Segment) -> Verdict:
        """The verdict of the policy's rail of this kind: the line's, where it has asked already."""
        rail, memo = self._house.rails[kind], piece.turn.memo
        place = piece.asked(rail.key)
        known: Verdict | None = memo.get(place)
        if known is None:
            known = memo[place] = await rail.check(piece)
        return known

    def _holds(self, name: str, piece: Segment) -> bool:
        """In an answer a phrase that a seam divides counts in both its pieces; a message comes whole."""
        phrases = self._house.phrases[name]
        if piece.role != "assistant":
            return any(hits(phrases, piece))
        text, offset = piece.around()
        end = offset + len(piece.text)
        return any(hit.start < end and hit.end > offset for hit in phrases.hits(text))


def _piece(text: str, segment: Segment, role: Role) -> Segment:
    """The segment itself, with what stands around it; any other text stands alone."""
    return segment if text == segment.text and role == segment.role else Segment(role, text, segment.turn, last=True)


def _fault(flow: Flow, call: Mapping[str, Any], message: str, hint: str = "") -> Fault:
    place, snippet = flow.place_of(call), (call.get("_source_mapping") or {}).get("line_text", "")
    return Fault(place.file, place.line, len(snippet) - len(snippet.lstrip()) + 1, message, snippet, hint)
