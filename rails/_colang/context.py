"""The variables that the flows of one check share, as NeMo's state machine reads and sets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.turn import Heard, RailFault
from rails._colang.script import Place

_LOOKS = 2000  # of one flow: variables read and set. Each costs some 20 us, and nobody else is served meanwhile
REWRITTEN = ("user_message", "bot_message")


class FlowFault(RailFault):
    """A flow or one of its actions failed. Names the flow, the place and what failed, never a text or a value."""


class Name(str):
    """A variable's name in the element that sets it: NeMo hands it on to the context as it is, and so its place."""

    __slots__ = ("place",)
    place: Place


class Context(dict[str, Any]):
    """The variables of one check, which its flows share.

    `$session.asked = True` sets a field of `$session`, in a copy: nothing that was handed in is ever changed.
    Raises `FlowFault` where a flow reads and sets without end.
    """

    language: str = ""  # in which a message with variables is said: a folder need not read `$lang`
    nth: int = 0  # which of its variants is said
    rewritten: Place | None = None  # where this run set `$user_message` or `$bot_message` last
    _left: int = _LOOKS

    def begin(self) -> None:
        """A flow starts its run."""
        self._left, self.rewritten = _LOOKS, None

    def get(self, name: str, default: Any = None) -> Any:
        """As NeMo reads a variable."""
        self._look()
        return super().get(name, default)

    def update(self, changes: Mapping[str, Any]) -> None:  # type: ignore[override]
        """As NeMo sets variables; `session.asked` is the field `asked` of `session`."""
        for name, value in changes.items():
            self._look()
            if name in REWRITTEN and isinstance(name, Name):
                self.rewritten = name.place
            first, *fields = name.split(".")
            self[first] = _with(self.setdefault(first, {}), fields, value, name) if fields else value

    def value(self, written: Any) -> Any:
        """What a parameter stands for: `$x` and `$x.y` for the variable, if there is one, and else for itself."""
        if not isinstance(written, str) or not written.startswith("$"):
            return written
        value: Any = self
        for name in written[1:].split("."):
            if not isinstance(value, Mapping) or name not in value:
                return written
            value = value[name]
        return value

    def _look(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise FlowFault("it never ends: it has read and set variables thousands of times")


def _with(value: Any, fields: list[str], new: Any, name: str) -> dict[str, Any]:
    """A copy of a variable's value in which one field is new."""
    if not isinstance(value, dict):
        raise FlowFault(f"`${name}` cannot be set: what stands before the last point has no fields")
    first, *rest = fields
    return {**value, first: _with(value.get(first, {}), rest, new, name) if rest else new}


class Conversation(Sequence[dict[str, str]]):
    """Earlier messages as a flow reads them: `$history[-1].text`. Each is made when it is looked at, and a slice is a
    conversation again: NeMo's expressions walk through every list they meet, and a long talk would cost more.
    """

    def __init__(self, heard: Sequence[Heard]) -> None:
        self._heard = heard

    def __len__(self) -> int:
        return len(self._heard)

    def __getitem__(self, index: Any) -> Any:
        found = self._heard[index]
        return Conversation(found) if isinstance(index, slice) else {"role": found.role, "text": found.text}
