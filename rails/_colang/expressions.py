"""The expressions of flows, as NeMo evaluates them, but each read once instead of at every check.

NeMo builds an evaluator and parses the expression's text every time: half of what a flow costs. All flows share the
evaluators, since all flows run on one event loop and no evaluation awaits anything: no other thread may evaluate.
What `rails._colang.sandbox` does not list is refused, though NeMo's evaluator would do it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.colang.v1_0.runtime import flows, sliding
from nemoguardrails.colang.v1_0.runtime.eval import eval_expression
from nemoguardrails.colang.v1_0.runtime.utils import AttributeDict

from rails._colang.context import FlowFault
from rails._colang.sandbox import FIELDS, Evaluator

_VARIABLE = re.compile(r"\$([a-zA-Z_][a-zA-Z0-9_]*)")
_KNOWN = 4096  # expressions kept; a folder has some dozens
FIELDS[RailOutcome] = frozenset({
    "decision", "reason", "metadata", "failed", "is_blocked", "is_transform", "transform_text",
})  # fmt: skip


class _Expression:
    """One expression, parsed. Raises what simpleeval raises for a text that is none."""

    def __init__(self, text: str) -> None:
        self._text = _VARIABLE.sub(r"var_\1", text)
        self._names = tuple(dict.fromkeys(_VARIABLE.findall(text)))
        self._evaluator = Evaluator()
        self._parsed = self._evaluator.parse(self._text)

    def value(self, context: Mapping[str, Any]) -> Any:
        """Its value with these variables, none of which is kept. A mapping's entries can be read as attributes."""
        self._evaluator.names = {f"var_{name}": _readable(context.get(name)) for name in self._names}
        try:
            return self._evaluator.eval(self._text, previously_parsed=self._parsed)
        finally:
            self._evaluator.names = {}


def evaluate(text: Any, context: Mapping[str, Any]) -> Any:
    """What NeMo's own function gives, and raises; and the `FlowFault` of a context that has been read without end.

    Raises for what the sandbox refuses, too.
    """
    if not isinstance(text, str):
        return eval_expression(text, context)
    try:
        return _read(text).value(context)
    except FlowFault:
        raise
    except Exception as error:
        raise Exception(f"Error evaluating '{text}': {error}") from None


def install() -> None:
    """Lets NeMo's state machine use it."""
    sliding.eval_expression = flows.eval_expression = evaluate


_read = lru_cache(_KNOWN)(_Expression)


def _readable(value: Any) -> Any:
    return AttributeDict(value) if isinstance(value, dict) else value
