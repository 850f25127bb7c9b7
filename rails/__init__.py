"""The rails: one file each. The folder is the register: a new rail is a new file here, and nothing else.

A file whose name begins with an underscore is no rail. Nothing is imported before it is asked for: a rail may be heavy.
"""

from __future__ import annotations

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType


class UnknownRail(KeyError):
    """No file in the folder has this name; the message names the nearest one, or all of them."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


def names() -> tuple[str, ...]:
    """Every rail that a policy may name, in alphabetical order."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")))


def load(name: str) -> ModuleType:
    """The module of this rail, with its classes `Rail` and `RailOptions`. Raises `UnknownRail`."""
    known = names()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
        raise UnknownRail(f"there is no rail `{name}`; {remedy}")
    return importlib.import_module(f"{__name__}.{name}")
