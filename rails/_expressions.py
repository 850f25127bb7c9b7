"""The expressions of flows, as NeMo evaluates them, but each read once instead of at every check.

NeMo builds an evaluator and parses the expression's text every time: half of what a flow costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nemoguardrails.colang.v1_0.runtime import flows, sliding
from nemoguardrails.colang.v1_0.runtime.eval import eval_expression
from nemoguardrails.colang.v1_0.runtime.utils import AttributeDict
from simpleeval import SimpleEval

_VARIABLE = re.compile(r"\$([a-zA-Z_][a-zA-Z0-9_]*)")
_KNOWN = 4096  # expressions kept; a folder has some dozens


class _Expression:
    """One expression, parsed. Raises what simpleeval raises for a text that is none."""

    def __init__(self, text: str) -> None:
        self._text = _VARIABLE.sub(r"var_\1", text)
        self._names = tuple(dict.fromkeys(_VARIABLE.findall(text)))
        self._evaluator = SimpleEval(functions={"len": len})
        self._parsed = self._evaluator.parse(self._text)

    def value(self, context: Mapping[str, Any]) -> Any:
        """Its value with these variables. A mapping's entries can be read as attributes."""
        self._evaluator.names = {f"var_{name}": _readable(context.get(name)) for name in self._names}
        return self._evaluator.eval(self._text, previously_parsed=self._parsed)


def evaluate(text: Any, context: Mapping[str, Any]) -> Any:
    """What NeMo's own function gives, and raises."""
    if not isinstance(text, str):
        return eval_expression(text, context)
    try:
        return _read(text).value(context)
    except Exception as error:
        raise Exception(f"Error evaluating '{text}': {error}") from None


def install() -> None:
    """Lets NeMo's state machine use it."""
    sliding.eval_expression = flows.eval_expression = evaluate


_read = lru_cache(_KNOWN)(_Expression)


def _readable(value: Any) -> Any:
    return AttributeDict(value) if isinstance(value, dict) else value
