"""What is wrong with a flow that parses: names of nothing, expressions that NeMo could not evaluate, endless loops."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simpleeval import SimpleEval

from proxy.turn import nearest
from rails._colang.sandbox import METHODS
from rails._colang.script import Flow

Told = tuple[int, str, str]  # the number of an element, what is wrong with it, and what to write instead

_VARIABLE = re.compile(r"\$([a-zA-Z_]\w*)")
_IN_TEXT = re.compile(r"\$([a-zA-Z_]\w*)|\{\{\s*([a-zA-Z_]\w*)")
_EVAL = SimpleEval(functions={"len": len})
_KINDS = (*_EVAL.nodes, *_EVAL.operators, ast.Expression, ast.expr_context, ast.boolop, ast.keyword)
_PYTHONS = {"true": "True", "false": "False", "none": "None", "null": "None"}


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a flow may use."""

    flows: Collection[str]
    messages: Collection[str] | None  # None: a message that is not there is written by a language model
    lines: Collection[str]  # keys of the policy's `say`
    actions: Collection[str]
    forbidden: Collection[str]  # actions of the folder's own code, which the operator does not allow


def lint(flow: Flow, known: Known) -> Iterator[Told]:
    """Everything wrong with a flow of the folder, element by element."""
    for number, element in enumerate(flow.elements):
        for message, hint in _wrong(element, known):
            yield number, message, hint


def _wrong(element: dict[str, Any], known: Known) -> Iterator[tuple[str, str]]:
    match element["_type"]:
        case "if" | "set" | "check":
            yield from _expression(element)
        case "while":
            yield from _while(element)
        case "jump":
            yield from _jump(element)
        case "flow":
            yield from _do(element, known)
        case "run_action":
            yield from _action(element, known)


def called(flow: Flow) -> Iterator[tuple[int, str]]:
    """The subflows that a flow calls by `do`, with the number of the element."""
    for number, element in enumerate(flow.elements):
        if element["_type"] == "flow":
            yield number, name_of(element["flow_name"])


def circles(flows: Mapping[str, Flow]) -> Iterator[tuple[Flow, Told]]:
    """Every flow that calls itself, alone or through others."""
    for flow in flows.values():
        for number, name in called(flow):
            if flow.id in reach(name, flows):
                yield flow, (number, f"`do {name}` leads back to `{flow.id}`: it would never end", "")


def reach(name: str, flows: Mapping[str, Flow]) -> dict[str, Flow]:
    """A flow and all that it calls by `do`, itself first; empty where there is none of the name."""
    found: dict[str, Flow] = {}
    todo = [name]
    while todo:
        flow = flows.get(todo.pop(0))
        if flow and flow.id not in found:
            found[flow.id] = flow
            todo += [other for _, other in called(flow)]
    return found


def name_of(listed: str) -> str:
    """The name of a flow without parameters: "x $model=y" is the flow "x"."""
    return listed.split("$", 1)[0].strip() or listed


def expressions(flow: Flow) -> Iterator[str]:
    """Every expression of a flow, the values of parameters included."""
    for element in flow.elements:
        yield str(element.get("expression", ""))
        yield from (f"${element[key]}" for key in ("key", "action_result_key") if element.get(key))
        for value in element.get("action_params", {}).values():
            yield value if isinstance(value, str) and value.startswith("$") else repr(value)


def variables(texts: Iterable[str]) -> set[str]:
    """The names of variables in expressions and messages."""
    return {one or other for text in texts for one, other in _IN_TEXT.findall(text)}


def words(texts: Iterable[str]) -> set[str]:
    """The texts that stand in expressions as they are."""
    trees = [tree for text in texts if (tree := tree_of(text))]
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in nodes if isinstance(node.value, str)}


def tree_of(text: str) -> ast.Expression | None:
    """An expression as Python reads it, `$x` as the name `var_x`; None where it is none."""
    try:
        return ast.parse(_VARIABLE.sub(r"var_\1", text), mode="eval")
    except (SyntaxError, ValueError):
        return None


def _expression(element: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What keeps NeMo from evaluating an expression."""
    text = element["expression"]
    if not isinstance(text, str):
        return
    tree = tree_of(text)
    if tree is None:
        single = re.search(r"(?<![=!<>])=(?!=)", text)
        yield f"`{text}` is no expression", "compare with `==`" if single else "texts stand in quotes"
        return
    for node in ast.walk(tree):
        yield from _node(node)


def _node(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != "len":
        yield f"an expression has no function `{node.func.id}`", "there is `len(...)`; the rest is for actions"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in METHODS:
        yield f"an expression has no method `.{node.func.attr}(...)`", "there are those of texts, such as `.lower()`"
    elif isinstance(node, ast.Name) and not node.id.startswith("var_") and node.id != "len":
        python = _PYTHONS.get(node.id.lower())
        hint = f"write `{python}`" if python else f'write `${node.id}`, or "{node.id}" for the text'
        yield f"`{node.id}` is no variable", hint
    elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        yield f"`.{node.attr}` cannot be read in an expression", ""
    elif not isinstance(node, _KINDS):
        yield f"an expression has no {type(node).__name__.lower()}", 'write `$a == "x" or $a == "y"`, or use an action'


def _while(element: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _expression(element)
    if not _VARIABLE.search(str(element["expression"])):
        yield "the condition of this `while` has no variable: it would never end", ""


def _jump(element: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if str(element.get("_debug", "")).startswith("goto") and element["_next"] <= 0:
        yield "this `goto` goes back and may never end", "use `while`"


def _do(element: dict[str, Any], known: Known) -> Iterator[tuple[str, str]]:
    name = element["flow_name"]
    if name.startswith("$"):
        yield "`do` calls a flow by its name, not by a variable", ""
    elif name_of(name) not in known.flows:
        yield f"there is no flow `{name_of(name)}`", nearest(name_of(name), known.flows)


def _action(element: dict[str, Any], known: Known) -> Iterator[tuple[str, str]]:
    name = element["action_name"]
    if name == "utter":
        yield from _utter(element["action_params"], known)
        return
    if name in known.forbidden:
        yield (
            f"the action `{name}` is Python of the policy's own, which this house does not run",
            "the operator allows it with KINDRAIL_POLICY_CODE=1",
        )
    elif name not in known.actions:
        yield f"there is no action `{name}`", nearest(name, [*known.actions, *known.forbidden])
    for key, value in element["action_params"].items():
        if key.startswith("$"):
            yield "parameters have names", f"write `{name}(text={value})`"
        elif isinstance(value, str) and value.startswith("$") and not _VARIABLE.fullmatch(value):
            yield f"a parameter is a value or a variable, and `{value}` is neither", f"write `$it = {value}` before"


def _utter(written: Mapping[str, Any], known: Known) -> Iterator[tuple[str, str]]:
    value = written["value"]
    if len(written) > 1:
        yield "`bot` takes no parameters", "a message reads variables itself: `$name` in its text"
    if not isinstance(value, str):
        yield "`bot` names a message", "write the text under `define bot its name`"
    elif known.messages is not None and not (value in ("stop", "...") or value.startswith("$")):
        names = {*known.messages, *(line.replace("_", " ") for line in known.lines)}
        if value not in names:
            yield f"there is no message `{value}`", nearest(value, names) or f"write it under `define bot {value}`"
