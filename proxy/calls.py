"""The tool calls of one answer: gathered as they come in pieces, judged once they are whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.answer import Structured
from proxy.line import Line
from proxy.structured import judge
from proxy.wire.events import NAME

_MOST = 128  # calls of one answer
_LONGEST = 400_000  # characters of all arguments


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class Calls:
    """Gathers the calls of one answer. `allowed` tells which functions may be called."""

    def __init__(self, line: Line, allowed: Callable[[str], bool]) -> None:
        self._line = line
        self._allowed = allowed
        self._calls: dict[int, _Call] = {}
        self._length = 0
        self._too_much = False  # more has come than is kept
        self.kept: list[dict[str, Any]] = []  # the calls that leave, as they may be stored

    def take(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Adds what an event brings of one or more calls."""
        for part in parts:
            function = part.get("function")
            told = function if isinstance(function, dict) else {}
            arguments = _text(told.get("arguments"))
            index = self._index(part.get("index"), begins="name" in told)
            if (index not in self._calls and len(self._calls) == _MOST) or self._length + len(arguments) > _LONGEST:
                self._too_much = True
                continue
            call = self._calls.setdefault(index, _Call())
            call.id = call.id or _word(part.get("id"))
            call.name = call.name or _word(told.get("name"))
            call.arguments += arguments
            self._length += len(arguments)

    async def settle(self) -> tuple[list[dict[str, Any]], Structured | None]:
        """The calls that may leave, each one whole, and what blocked them.

        One that is blocked blocks all: an app would act on half of what the model meant.
        """
        whole: list[dict[str, Any]] = []
        for number, (_, call) in enumerate(sorted(self._calls.items())):
            found = await self._judge(call)
            if found.text is None:
                self.kept = []
                return [], found
            told = {"id": call.id or f"call_{self._line.turn.id}_{number}", "type": "function"}
            whole.append({"index": number, **told, "function": {"name": call.name, "arguments": found.text}})
            self.kept.append({**told, "function": {"name": call.name, "arguments": found.stored}})
        return whole, None

    def _index(self, told: object, begins: bool) -> int:
        """Which call a part belongs to. Where the server does not number them, a name begins the next one."""
        if type(told) is int:
            return told
        last = max(self._calls, default=-1)
        return last + 1 if begins or last < 0 else last

    async def _judge(self, call: _Call) -> Structured:
        if self._too_much or not self._allowed(call.name):
            self._line.forbade("the model called a function that it was not offered, or at too great a length")
            return Structured(None, "")
        return await judge(self._line, call.arguments)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _word(value: object) -> str:
    """A name or an id: whatever else stands there would be text that no rail has judged."""
    text = _text(value)
    return text if NAME.fullmatch(text) else ""
