"""What a flow reads and nothing sets: a misspelt name would be empty, and its rule off without a word."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.turn import nearest
from rails._colang.lint import Told, tree_of, variables
from rails._colang.script import Flow, Message

GIVEN = frozenset({
    "user_message", "bot_message", "role", "lang", "history", "session", "rails", "values", "now", "before", "whole",
    "last_user_message", "last_bot_message", "answer_so_far",
})  # fmt: skip
# What NeMo's own loop sets, for flows that were written for it.
_NEMOS = frozenset({
    "config", "event", "generation_options", "relevant_chunks", "skip_output_rails", "bot_thinking", "context",
    "triggered_input_rail", "triggered_output_rail", "input_flows", "output_flows", "last_bot_prompt",
})  # fmt: skip
_ENTRIES = {"history": ("role", "text")}  # of a list: the fields of what is in it


@dataclass(frozen=True, slots=True)
class Names:
    """The variables that the flows of a folder may read, and the fields of those whose fields are known."""

    variables: frozenset[str]
    fields: Mapping[str, frozenset[str]]
    stock: bool  # the flows were written for NeMo's own loop

    def unset(self, flow: Flow) -> Iterator[Told]:
        """Whatever a flow reads that nothing sets, element by element."""
        for number, element in enumerate(flow.elements):
            reads = dict.fromkeys(read for text in _evaluated(element) for read in _reads(text))
            for message, hint in filter(None, (self._unset(*read) for read in reads)):
                yield number, message, hint

    def unfilled(self, message: Message) -> Iterator[tuple[str, str]]:
        """The variables of a message that nothing sets."""
        texts = [text for variants in message.texts.values() for text in variants]
        yield from filter(None, (self._unset(name, "") for name in sorted(variables(texts))))

    def _unset(self, name: str, field: str) -> tuple[str, str] | None:
        if name not in self.variables:
            return f"nothing sets `${name}`", nearest(name, self.variables)
        known = self.fields.get(name)
        if not field or known is None or field in known:
            return None
        hint = nearest(field, known) or (f"there is {', '.join(sorted(known))}" if known else "")
        return f"`${name}` has no `{field}`", hint


def names(
    flows: Iterable[Flow], given: Mapping[str, Collection[str]], answers: Mapping[str, Collection[str]],
    others: Collection[str], stock: bool,
) -> Names:  # fmt: skip
    """The names of a folder: what is given, and what its flows set.

    given: the fields of `$session`, `$rails` and `$values`. answers: those of what actions answer. others:
    names that are set elsewhere, as parameters or by the policy's own code. stock: as in `Names`.
    """
    made: dict[str, set[str]] = defaultdict(set)  # the fields that flows set: `$session.asked = 1`
    known: dict[str, set[str]] = defaultdict(set)  # the fields of what actions of ours have answered
    anything: set[str] = set()
    for name, element in (one for flow in flows for one in _sets(flow)):
        root, _, field = name.partition(".")
        answer = answers.get(element.get("action_name", ""))
        if field:
            made[root].add(field.partition(".")[0])
        elif answer is None:
            anything.add(root)
        else:
            known[root].update(answer)
    fields = {**_ENTRIES, **known, **given}
    return Names(
        variables=GIVEN | set(others) | made.keys() | known.keys() | anything | (_NEMOS if stock else frozenset()),
        fields={name: frozenset(made[name].union(one)) for name, one in fields.items() if name not in anything},
        stock=stock,
    )


def _sets(flow: Flow) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every variable that a flow sets, `session.asked` among them, and the element that sets it."""
    for element in flow.elements:
        written = (element.get("key"), element.get("action_result_key"), *element.get("return_vars", ()))
        yield from ((name, element) for name in (*written, *element.get("flow_parameters", {})) if name)


def _evaluated(element: Mapping[str, Any]) -> Iterator[str]:
    """The expressions of an element, and its parameters that are variables."""
    values = (element.get("expression"), *element.get("action_params", {}).values())
    yield from (one for one in values[:1] if isinstance(one, str))
    yield from (one for one in values[1:] if isinstance(one, str) and re.match(r"\$[a-zA-Z_]", one))


def _reads(text: str) -> Iterator[tuple[str, str]]:
    """The variables in an expression: `$a` as ("a", ""), `$a.b` as ("a", "b") too, and so `$a[0].b`."""
    tree = tree_of(text)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Name) and node.id.startswith("var_"):
            yield node.id.removeprefix("var_"), ""
        elif isinstance(node, ast.Attribute):
            of = node.value.value if isinstance(node.value, ast.Subscript) else node.value
            if isinstance(of, ast.Name) and of.id.startswith("var_"):
                yield of.id.removeprefix("var_"), node.attr
