"""A fault in a policy file: where it is, what is wrong, and what to write instead."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_WIDE = 100  # characters of a source line that are shown
_LEAD = 60  # ... of which at most this many stand before the fault


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault. `line` and `column` count from 1, `column` in code points; `snippet` is the source line.

    A rail does not know where its own options stand: it tells `option`, such as ("input", 3), and the loader the place.
    """

    file: str
    line: int
    column: int
    message: str
    snippet: str = ""
    hint: str = ""
    option: tuple[str | int, ...] = ()

    @classmethod
    def of(cls, option: tuple[str | int, ...], message: str, hint: str = "") -> Fault:
        """A fault of one of a rail's options, for the rail itself to raise."""
        return cls("", 0, 0, message, hint=hint, option=option)

    def __str__(self) -> str:
        head = f"{self.file}:{self.line}:{self.column}: {self.message}"
        start = max(0, self.column - 1 - _LEAD)
        shown = self.snippet[start : start + _WIDE]
        if not shown.strip():
            return f"{head}\n    {self.hint}" if self.hint else head
        caret = "".join(_blank(character) for character in shown[: self.column - 1 - start]) + "^"
        return f"{head}\n    {shown}\n    {caret} {self.hint}".rstrip()


class PolicyError(Exception):
    """A policy that cannot be used. `faults` is all that is wrong, in the order of the file; `str()` shows it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint "did you mean `x`?" for the known word nearest to `word`; empty where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *head, tail = list(words) or ["nothing"]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def _blank(character: str) -> str:
    """As much empty space as the character takes on a screen, so that the caret stands under Korean text too."""
    if character == "\t":
        return "\t"
    return "  " if unicodedata.east_asian_width(character) in "WF" else " "
