"""What a flow's expressions and messages may do with a value: read fields of data, call a few methods of texts, count.

NeMo puts whole objects among the variables, `$config` for one, whose methods read files and run code. And one
expression must not take all memory. So what is allowed is listed here, and the rest is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from simpleeval import DEFAULT_OPERATORS, AttributeDoesNotExist, SimpleEval

METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "isalpha", "isdigit", "islower", "isupper", "lower",
    "lstrip", "replace", "rstrip", "split", "startswith", "strip", "title", "upper",
})  # fmt: skip
FIELDS: dict[type, frozenset[str]] = {}  # of NeMo's own classes, entered where NeMo is imported: what may be read

_LONGEST = 200_000  # characters of a text, or of all in a list
_REPLACED = 2_000_000  # the text's length times the replacement's: a millisecond
_BITS = 10_000  # of a number


class Refused(Exception):
    """A flow may not do this with a value. Tells what, never the value."""


def field(value: Any, name: str) -> Any:
    """The field of a value: an entry of a mapping (None where it has none), a declared field of a pydantic model.

    Raises `Refused` for everything else, methods and private names among it.
    """
    if isinstance(value, Mapping):
        return value.get(name)
    known = type(value).model_fields if isinstance(value, BaseModel) else FIELDS.get(type(value), ())
    if name not in known:
        raise Refused(f"`.{name}` cannot be read")
    return getattr(value, name)


def call(text: Any, method: str, *given: Any, **named: Any) -> Any:
    """What a method of a text answers. Raises `Refused` for other values and methods, and where that is too long.

    Flows of NeMo's library read entries by `.get("name")`: in a mapping it is the entry.
    """
    if isinstance(text, Mapping) and method == "get" and len(given) == 1 and not named:
        return field(text, given[0])
    if not isinstance(text, str) or method not in METHODS:
        raise Refused(f"`.{method}(...)` cannot be called")
    if method == "replace" and len(given) > 1 and len(text) * len(given[1]) > _REPLACED:
        raise Refused("this would take too long")
    return bounded(getattr(text, method)(*given, **named))


def bounded(value: Any) -> Any:
    """The value. Raises `Refused` where it is too large. A list counts with its texts: it could be written out."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if sum(len(part) if isinstance(part, str) else 1 for part in parts) > _LONGEST:
        raise Refused("this would be too long")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise Refused("this number would be too large")
    return value


def join(entries: Any, between: str = "") -> str:
    """The entries, one behind the other. Raises `Refused` where that is too long."""
    if len(entries) * len(between) > _LONGEST:
        raise Refused("this would be too long")
    return between.join(str(entry) for entry in bounded(entries))


def power(base: Any, exponent: Any) -> Any:
    """`base ** exponent`. Raises `Refused` where the number would be too large."""
    numbers(base, exponent)
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _BITS:
        raise Refused("this number would be too large")
    return base**exponent


def modulo(left: Any, right: Any) -> Any:
    """`left % right`, of numbers: a text would be filled in, at any width. Raises `Refused` for others."""
    numbers(left, right)
    return left % right


def numbers(*values: Any) -> None:
    """Raises `Refused` unless all are numbers."""
    if not all(isinstance(value, int | float) for value in values):
        raise Refused("this is for numbers")


class Evaluator(SimpleEval):  # type: ignore[misc]  # it comes without types
    """simpleeval, which is careful with operators, held to the same rules in everything else."""

    def __init__(self) -> None:
        super().__init__({**DEFAULT_OPERATORS, ast.Mod: modulo, ast.Pow: power}, {"len": len})

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        try:
            return field(self._eval(node.value), node.attr)
        except Refused:
            raise AttributeDoesNotExist(node.attr, self.expr) from None

    def _eval_call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Attribute):
            return super()._eval_call(node)
        given = [self._eval(one) for one in node.args]
        named = dict(self._eval(one) for one in node.keywords)
        return call(self._eval(node.func.value), node.func.attr, *given, **named)

    def _eval_binop(self, node: ast.BinOp) -> Any:
        return bounded(super()._eval_binop(node))

    def _eval_joinedstr(self, node: ast.JoinedStr) -> Any:
        return bounded(super()._eval_joinedstr(node))

    def _eval_formattedvalue(self, node: ast.FormattedValue) -> Any:
        if node.format_spec:
            raise Refused("a value is filled in without a format")  # it could be filled up to any width
        return self._eval(node.value)
