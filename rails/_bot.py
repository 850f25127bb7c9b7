"""What a `bot ...` says: the texts with variables, compiled once and filled in as NeMo fills them in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import SandboxedEnvironment

from proxy.turn import Fault, PolicyError
from rails._flows import Place

_JINJA = SandboxedEnvironment()  # NeMo's too; it makes plain text, not HTML
# NeMo's rule for where a variable ends: at these characters, and never on a point or a colon behind the name.
_VARIABLE = re.compile(r"""\$([^ "'!?\-,;</]*[\w\]])""")


class Text:
    """A message with variables, in each language and each of its variants.

    texts: language -> variants, with `$x` or `{{ jinja }}` in them. Raises `PolicyError` where one is no template.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], place: Place) -> None:
        self._variants = {
            language: [_compiled(text, place) for text in variants] for language, variants in texts.items()
        }

    def render(self, context: Mapping[str, Any], nth: int) -> str:
        """The `nth` variant in the language of `$lang`, or in the first one that it has. Raises what jinja raises."""
        variants = self._variants.get(context.get("lang", "")) or next(iter(self._variants.values()))
        template, names = variants[nth % len(variants)]
        return template.render({name: context[name] for name in names if name in context})


def _compiled(text: str, place: Place) -> tuple[Template, frozenset[str]]:
    """The template, and the variables that it reads."""
    source = _VARIABLE.sub(r"{{\1}}", text)
    try:
        return _JINJA.from_string(source), frozenset(find_undeclared_variables(_JINJA.parse(source)))
    except TemplateError as error:
        message = f"this text cannot be filled in: {error.message}"
        hint = "a variable is written `$name` or `{{ name }}`"
        raise PolicyError([Fault(place.file, place.line, 1, message, text, hint)]) from None
