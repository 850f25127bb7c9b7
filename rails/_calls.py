"""An action as a flow calls it: what it is given, and where it runs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from rails._context import Context

_VARIABLE = "__context__"  # a parameter of the name `__context__x` gets the variable `$x`


class Action:
    """A function that flows call, or a class with a `run`; looked at once.

    own: the policy brings it. Where such a function is not async it runs in a thread: it could keep everybody waiting.
    """

    def __init__(self, call: Callable[..., Any], own: bool) -> None:
        made: Any = call() if inspect.isclass(call) else None
        self._call: Callable[..., Any] = made.run if made else call
        library = getattr(self._call, "__module__", "").startswith("nemoguardrails.")
        self._apart = own and not library and not inspect.iscoroutinefunction(self._call)
        self._takes = frozenset(inspect.signature(self._call).parameters)

    async def answer(self, written: Mapping[str, Any], context: Context, offered: Mapping[str, Any]) -> Any:
        """What the action answers. Raises what it raises.

        written: the parameters in the flow. offered: what it gets beside them, if its signature names it.
        """
        parameters = self._parameters(written, context, offered)
        if self._apart:
            return await asyncio.to_thread(self._call, **parameters)
        answer = self._call(**parameters)
        return await answer if inspect.isawaitable(answer) else answer

    def _parameters(self, written: Mapping[str, Any], context: Context, offered: Mapping[str, Any]) -> dict[str, Any]:
        parameters = {name: _value(value, context) for name, value in written.items()}
        for name in self._takes:
            if name in offered:
                parameters[name] = offered[name]
            elif name == "context":
                parameters[name] = dict(context)  # what an action does to it is lost, as with NeMo
            elif name.startswith(_VARIABLE):
                parameters[name] = context.get(name.removeprefix(_VARIABLE))
        return parameters


def _value(written: Any, context: Context) -> Any:
    """A written parameter: a variable's value, or a copy of what stands in the flow, which the action may change."""
    return context.value(written) if isinstance(written, str) else deepcopy(written)
