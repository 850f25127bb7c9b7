"""The page on rails, written from the rails themselves: `python -m proxy.policy.docs > docs/rails.md`.

With `--check FILE` nothing is written, and the exit code is 1 where the file is not what it would be.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import rails
from proxy.faults import listed
from proxy.policy.typed import entries_of, fields_of
from proxy.turn import Seconds

_COMMAND = "python -m proxy.policy.docs > docs/rails.md"
_HEAD = f"""# Rails

One file in `rails/` each. A policy names a rail in its `rails` list and sets its options beside `id`, `rail`, `why`,
`mode` (`enforce`, `shadow` or `off`) and `tests`.

<!-- Written by `{_COMMAND}`: change the rail's file, not this page. -->
"""
_NAMED = {
    "phrases": "a list under `phrases`",
    "say": "a line under `say`",
    "steer": "a note under `steer`",
    "folder": "a folder beside the policy",
}
_TYPES: dict[Any, str] = {
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list[str]: "a list of texts",
    Seconds: "a length of time (`400ms`, `30s`, `15m`, `24h`, `90d`)",
}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *("\n".join(_rail(name)) for name in rails.names())])


def _rail(name: str) -> Iterator[str]:
    module = rails.load(name)
    yield f"## {name}\n"
    about = inspect.cleandoc(module.__doc__ or "").removeprefix(f"{name}: ")
    yield f"{about[:1].upper()}{about[1:]}\n"
    yield f"Judges {_judges(module.Rail)}.\n"
    yield "| option | what it is | default | what it does |"
    yield "| --- | --- | --- | --- |"
    yield from _options(module.RailOptions)
    yield ""


def _options(model: type[BaseModel], of: str = "") -> Iterator[str]:
    """A row for each option, and for each of those that the entries of a mapping have."""
    for option, info in model.model_fields.items():
        description = (info.description or "").replace("|", "\\|")
        yield f"| `{of}{option}` | {_type(info)} | {_default(info)} | {description} |"
        if inner := entries_of(info):
            yield from _options(inner, f"{option}.*.")
        elif fields := fields_of(info):
            yield from _options(fields, f"{option}.")


def _judges(rail: Any) -> str:
    raw = [f"what the {role} says" for role in sorted(rail.content, reverse=True)]
    merged = [f"what is left of the {role}'s text after the other rails" for role in sorted(rail.shape)]
    return listed([*raw, *merged], "and")


def _type(info: FieldInfo) -> str:
    """The option's type in plain words. Raises `KeyError` for a type that has none here."""
    for mark in info.metadata:
        if isinstance(mark, str) and mark in _NAMED:
            return _NAMED[mark]
        if mark in get_args(Seconds):
            return _TYPES[Seconds]
    inner = [kind for kind in get_args(info.annotation) if kind is not NoneType]
    kind = inner[0] if NoneType in get_args(info.annotation) else info.annotation
    if get_origin(kind) is dict or fields_of(info):
        return "a mapping"
    if get_origin(kind) is Literal:
        return listed(f"`{choice}`" for choice in get_args(kind))
    return _TYPES[kind]


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "needed"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if any(mark in get_args(Seconds) for mark in info.metadata):
        return f"`{_length(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value not in ("", None, {}) else "none"


def _length(seconds: float) -> str:
    unit, size = next((unit for unit in _UNITS if seconds >= unit[1] and seconds % unit[1] == 0), ("ms", 0.001))
    return f"{seconds / size:g}{unit}"


def main(arguments: Sequence[str]) -> int:
    """Prints the page, or with `--check FILE` compares it; returns the exit code."""
    if not arguments:
        sys.stdout.write(page())
        return 0
    if len(arguments) != 2 or arguments[0] != "--check":
        sys.stderr.write("usage: python -m proxy.policy.docs [--check FILE]\n")
        return 2
    path = Path(arguments[1])
    if path.is_file() and path.read_text("utf-8") == page():
        return 0
    sys.stderr.write(f"{path} is not what the rails say: run `{_COMMAND}`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
