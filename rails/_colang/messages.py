"""What a `bot ...` says: the texts with variables, compiled once and filled in as NeMo fills them in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import BuiltinMethodType
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import Call, Getattr
from jinja2.nodes import Template as Tree
from jinja2.runtime import Context as Rendering
from jinja2.sandbox import ImmutableSandboxedEnvironment

from proxy.turn import Fault, PolicyError
from rails._colang.context import FlowFault
from rails._colang.folder import Place
from rails._colang.sandbox import METHODS, Refused, bounded, call, field, join, modulo, numbers, power

_LONGEST = 20_000  # characters that a flow says at once
_FILTERS = ("abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "lower", "round",
            "title", "trim", "upper")  # fmt: skip
# NeMo's rule for where a variable ends: at these characters, and never on a point or a colon behind the name.
_VARIABLE = re.compile(r"""\$([^ "'!?\-,;</]*[\w\]])""")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Plain text, as NeMo makes it, and no more than an expression of a flow may do."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self) -> None:
        super().__init__()
        self.globals.clear()
        self.filters = {name: self.filters[name] for name in _FILTERS} | {"join": join}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field, or a method of a text that may be called. Raises `Refused` for all else."""
        if isinstance(obj, str) and attribute in METHODS:
            return getattr(obj, attribute)
        if isinstance(obj, Mapping) and attribute not in obj:
            return self.undefined(obj=obj, name=attribute)
        return field(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An entry, and never an attribute."""
        try:
            return obj[argument]
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Whether it is a method of a text, from the list."""
        return isinstance(obj, BuiltinMethodType) and isinstance(obj.__self__, str) and obj.__name__ in METHODS

    def call(__self, __context: Rendering, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """What the method of a text answers. Raises `Refused` for all else."""
        if not __self.is_safe_callable(__obj):
            raise Refused("this cannot be called")
        return call(__obj.__self__, __obj.__name__, *args, **kwargs)

    def call_binop(self, context: Rendering, operator: str, left: Any, right: Any) -> Any:
        """What comes out of two numbers. Raises `Refused` for others, and where it would be too large."""
        numbers(left, right)
        return {"*": lambda a, b: bounded(a * b), "**": power, "%": modulo}[operator](left, right)


_JINJA = _Sandbox()


class Text:
    """A message with variables, in each language and each of its variants.

    texts: language -> variants, with `$x` or `{{ jinja }}` in them. Raises `PolicyError` where one is no template.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], place: Place) -> None:
        self._variants = {
            language: [_compiled(text, place) for text in variants] for language, variants in texts.items()
        }

    def render(self, context: Mapping[str, Any], language: str, nth: int) -> str:
        """The `nth` variant in this language, or in the first one that it has. Raises what jinja raises,
        `Refused` and `FlowFault`.
        """
        variants = self._variants.get(language) or next(iter(self._variants.values()))
        template, names = variants[nth % len(variants)]
        return sayable(template.render({name: context[name] for name in names if name in context}))


def sayable(text: str) -> str:
    """The text. Raises `FlowFault` where it is too long to be said."""
    if len(text) > _LONGEST:
        raise FlowFault(f"what it would say is longer than {_LONGEST} characters")
    return text


def _compiled(text: str, place: Place) -> tuple[Template, frozenset[str]]:
    """The template, and the variables that it reads."""
    source = _VARIABLE.sub(r"{{\1}}", text)
    try:
        tree = _JINJA.parse(source)
        wrong = next(_wrong(source, tree), None)
        if wrong is None:
            return _JINJA.from_string(source), frozenset(find_undeclared_variables(tree))
    except TemplateError as error:
        wrong = f"{error.message}", "a variable is written `$name` or `{{ name }}`"
    message, hint = wrong
    message = f"this text cannot be filled in: {message}"
    raise PolicyError([Fault(place.file, place.line, 1, message, text, hint)])


def _wrong(source: str, tree: Tree) -> Iterator[tuple[str, str]]:
    """What a message may not hold, though it is a template."""
    if "{%" in source:
        yield "it has `{% ... %}`", "decide in the flow, with `if`, and write two messages"
    for one in tree.find_all(Call):
        if not (isinstance(one.node, Getattr) and one.node.attr in METHODS):
            name = getattr(one.node, "attr", "") or getattr(one.node, "name", "")
            yield f"it calls `{name}(...)`", "there are methods of texts, such as `.lower()`"
