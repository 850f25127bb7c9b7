"""What a flow reads beside the message itself, and what it may leave in `$session` for later turns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

from proxy.turn import Segment
from rails._colang.context import Conversation
from rails._colang.folder import Folder
from rails._colang.runner import Context, FlowFault, Ran

_RECALLED = re.compile(r"\$rails\.([A-Za-z_]\w*)")


class Variables:
    """The variables of one folder's flows; only those that a flow reads are made.

    key: under which the rail remembers. settings: what an app may set per request. values: the policy's constants.
    """

    def __init__(
        self, folder: Folder, key: str, languages: Collection[str], settings: Sequence[str], values: Mapping[str, Any]
    ) -> None:
        self._key = key
        self._settings = settings
        self._words = folder.words.union(languages)
        self._recalled = frozenset(_RECALLED.findall(str([flow.elements for flow in folder.flows.values()])))
        own: dict[str, Callable[[Segment], Any]] = {
            "session": lambda segment: deepcopy(self._session(segment)),  # what is remembered is never changed in place
            "rails": self._rails,
            "values": lambda _: dict(values),
        }
        self._makers = [(name, make) for name, make in {**_MAKERS, **own}.items() if name in folder.variables]

    def of(self, segment: Segment) -> Context:
        """The variables of a check."""
        context = Context({name: make(segment) for name, make in self._makers})
        context.language, context.nth = segment.turn.language, answers(segment)
        context["user_message"] = segment.turn.user
        context["bot_message" if segment.role == "assistant" else "user_message"] = segment.text
        return context

    def lasting(self, context: Context, segment: Segment, ran: Ran) -> dict[str, object]:
        """What is to be remembered of `$session`: what has changed. Law 4: no text of a user is in it.

        Raises `FlowFault` where a flow has stored something else than numbers, true/false and words of the flows.
        """
        if "session" not in context:
            return {}
        before, after = self._session(segment), context["session"]
        if not isinstance(after, dict):
            raise FlowFault(f"flow `{ran.flow}` ({ran.place}) sets `$session` itself; it may set `$session.name`")
        changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
        for name, value in changed.items():
            if not all(self._may_last(one) for one in (value if isinstance(value, list) else [value])):
                raise FlowFault(
                    f"flow `{ran.flow}` ({ran.place}) sets `$session.{name}` to what may not be kept: "
                    "session variables hold numbers, true/false and words that stand in the flow"
                )
        return deepcopy(changed)

    def _may_last(self, value: object) -> bool:
        if isinstance(value, str):
            return value in self._words
        return value is None or (isinstance(value, int | float) and math.isfinite(value))

    def _session(self, segment: Segment) -> dict[str, Any]:
        """What flows have set, under what the app has set for this request: the remembered values themselves."""
        turn = segment.turn
        given = {name: turn.settings[name] for name in self._settings if name in turn.settings}
        return {**turn.recall(self._key), **given}

    def _rails(self, segment: Segment) -> dict[str, Any]:
        """What the rails that a flow names remember; in Colang no name has a `-`. In shadow those in shadow count."""
        recall = segment.turn.recall
        shadow = ":shadow" if self._key.endswith(":shadow") else ""
        return {
            name: deepcopy(dict(recall(name) or recall(kebab := name.replace("_", "-")) or recall(kebab + shadow)))
            for name in self._recalled
        }


def answers(segment: Segment) -> int:
    """How many answers stand before this turn's: what a line's variants rotate by."""
    return len(segment.turn.history) // 2


def _last_answer(segment: Segment) -> str:
    return next((one.text for one in reversed(segment.turn.history) if one.role == "assistant"), "")


_MAKERS: Mapping[str, Callable[[Segment], Any]] = {
    "role": lambda segment: segment.role,
    "lang": lambda segment: segment.turn.language,
    "history": lambda segment: Conversation(segment.turn.history),
    "now": lambda segment: segment.turn.now,
    "last_user_message": lambda segment: segment.text if segment.role == "user" else segment.turn.user,
    "last_bot_message": _last_answer,
    "before": lambda segment: "" if segment.role == "assistant" else segment.before,
    "answer_so_far": lambda segment: segment.before if segment.role == "assistant" else "",
    "whole": lambda segment: segment.last,
}
