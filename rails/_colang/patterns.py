"""NeMo's action `detect_regex_pattern` with a bound on time, so that one text cannot keep everybody waiting.

It reads the section `rails.config.regex_detection` of the folder's `config.yml` as NeMo does. NeMo runs Python's `re`,
which nothing interrupts; here it is the `regex` library with a time limit. What that reads in another way than `re` is
a fault when the policy is loaded. Its `\\w` has the accents and vowel signs that are characters of their own, too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import regex
import yaml

from proxy.turn import Fault, PolicyError, RailFault
from rails._colang.nemo import RailOutcome
from rails._colang.script import Flow, Source, inside
from rails._told import TIMEOUT

NAMES = ("detect_regex_pattern",)
_SOURCES = ("input", "output", "retrieval")
_INLINE = 1000  # characters: longer texts are judged in a thread, so that others do not wait
_QUICK = 0.005  # seconds that a pattern may keep others waiting; what takes longer is begun again in a thread
_UNLIKE_RE = (
    (
        re.compile(r"(?<!\\)(?:\\\\)*\{[\s\d<=]*[eids]\s*[<:,+}]"),
        "`{` here would allow for typing errors",
        "write `\\{` for the character itself",
    ),
    (
        re.compile(r"\[:\^?\w+:\]"),
        "`[:...:]` here would be a class of characters",
        "write a class such as `\\d`, or `\\[:` for the characters themselves",
    ),
)


class SlowPattern(RailFault):
    """A pattern took longer than `TIMEOUT` seconds: the text has not been judged."""


class Patterns:
    """The action over one folder's configuration. `table`: by the name that a flow calls it by.

    config: NeMo's `RailsConfig`. folder: where its YAML stands. base: what faults name files relative to. Raises
    `PolicyError` where a pattern cannot be used.
    """

    def __init__(self, config: Any, folder: Path, base: Path) -> None:
        section = config.rails.config.regex_detection
        self._patterns: dict[str, list[regex.Pattern[str]]] = {source: [] for source in _SOURCES}
        faults: list[Fault] = []
        for source, compiled in self._patterns.items() if section else ():
            options = getattr(section, source)
            for pattern in options.patterns:
                try:
                    compiled.append(_compiled(pattern, options.case_insensitive))
                except _Unusable as error:
                    faults.append(_fault(error, pattern, folder, base))
        if faults:
            raise PolicyError(faults)
        self.table: Mapping[str, Callable[..., Any]] = {"detect_regex_pattern": self.detect_regex_pattern}

    async def detect_regex_pattern(self, source: str, text: str) -> RailOutcome:
        """Blocks where a pattern of `source` (`input`, `output`, `retrieval`) is found in `text`; what was retrieved it
        empties. Raises `SlowPattern`.
        """
        found = await self._found(source, text) if text else []
        metadata = {"is_match": bool(found), "text": text, "detections": found, "source": source}
        if not found:
            return RailOutcome.allow(metadata=metadata)
        if source == "retrieval":
            target: Any = "relevant_chunks"
            return RailOutcome.transform([(target, "")], metadata=metadata)
        return RailOutcome.block(metadata=metadata)

    async def _found(self, source: str, text: str) -> list[str]:
        patterns = self._patterns[source]
        if len(text) <= _INLINE:
            try:
                return _search(patterns, text, _QUICK)
            except SlowPattern:
                pass
        return await asyncio.to_thread(_search, patterns, text, TIMEOUT)


def bound(flows: Mapping[str, Flow], config: Any, folder: Path, base: Path) -> Mapping[str, Callable[..., Any]]:
    """The action where a flow calls it. Raises `PolicyError` as `Patterns` does."""
    called = {element.get("action_name") for flow in flows.values() for element in flow.elements}
    return {} if called.isdisjoint(NAMES) else Patterns(config, folder, base).table


class _Unusable(Exception):
    """A pattern that `re` takes: what is wrong with it here, and what to write."""


def _compiled(pattern: str, case_insensitive: bool) -> regex.Pattern[str]:
    for written, message, hint in _UNLIKE_RE:
        if written.search(pattern):
            raise _Unusable(message, hint)
    try:
        return regex.compile(pattern, regex.V0 | (regex.IGNORECASE if case_insensitive else 0))
    except regex.error as error:
        hint = "put `\\` before a bracket or brace that stands for itself"
        raise _Unusable(f"this pattern cannot be run with a time limit: {error}", hint) from None


def _search(patterns: Sequence[regex.Pattern[str]], text: str, seconds: float) -> list[str]:
    """The patterns found in `text`. Raises `SlowPattern` where one takes longer than `seconds`."""
    found = []
    for number, pattern in enumerate(patterns, 1):
        try:
            if pattern.search(text, timeout=seconds):
                found.append(pattern.pattern)
        except TimeoutError:
            raise SlowPattern(f"pattern {number} of `regex_detection` took too long, so the text is unjudged") from None
    return found


def _fault(error: _Unusable, pattern: str, folder: Path, base: Path) -> Fault:
    message, hint = error.args
    source, line = next(_places(pattern, folder, base), (Source(str((folder / "config.yml").relative_to(base)), ""), 1))
    return source.fault(line, f"`{pattern}`: {message}", hint)


def _places(pattern: str, folder: Path, base: Path) -> Iterator[tuple[Source, int]]:
    """The files and lines in which a folder's configuration has this pattern, however it is quoted."""
    for path in inside(folder, ".yml", ".yaml"):
        source = Source.read(path, base)
        for token in yaml.scan(source.text, yaml.SafeLoader):
            if isinstance(token, yaml.ScalarToken) and token.value == pattern:
                yield source, token.start_mark.line + 1
