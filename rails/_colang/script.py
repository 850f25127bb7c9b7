"""The nouns of a folder of flows: places, flows, messages, the text of a file, and what is found wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.turn import Fault


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands: a file relative to the policy's folder (or of NeMo's library), and a line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Flow:
    """One `define flow` or `define subflow`."""

    id: str
    about: str  # the first sentence of its docstring
    place: Place
    elements: list[dict[str, Any]]  # NeMo's, without the one that tells what kind of flow it is
    subflow: bool

    def at(self, number: int) -> Place:
        """Where the element of this number stands; a jump that NeMo added stands where the one before it does."""
        written = (element for element in reversed(self.elements[: number + 1]) if "_source_mapping" in element)
        return self.place_of(next(written, {}))

    def place_of(self, element: Mapping[str, Any]) -> Place:
        """Where an element of this flow stands; the flow's own place where that is not known."""
        source = element.get("_source_mapping") or {}
        return Place(self.place.file, source.get("line_number", self.place.line))


@dataclass(frozen=True, slots=True)
class Message:
    """One `define bot`, with what was written for its other languages (`define bot x (it)`)."""

    name: str
    place: Place
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # language -> variants

    @property
    def fixed(self) -> bool:
        """Whether nothing in it is filled in when it is said."""
        texts = (text for variants in self.texts.values() for text in variants)
        return not any(mark in text for text in texts for mark in ("$", "{{", "{%"))


class Source:
    """The text of a file and the name it goes by."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text.replace("\r\n", "\n")
        self.lines = self.text.split("\n")

    @classmethod
    def read(cls, path: Path, base: Path) -> Source:
        """The file of this path, named relative to `base`. Bytes that are no UTF-8 become U+FFFD. Raises `OSError`."""
        file = path.relative_to(base) if path.is_relative_to(base) else path
        return cls(str(file), path.read_text("utf-8-sig", errors="replace"))

    def fault(self, line: int, message: str, hint: str = "") -> Fault:
        """A fault of this line, its column where the line begins."""
        snippet = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return Fault(self.file, line, len(snippet) - len(snippet.lstrip()) + 1, message, snippet, hint)


def inside(folder: Path, *suffixes: str) -> list[Path]:
    """The files of a folder with these endings, sorted; none that is hidden, and none that a link brings in."""
    root = folder.resolve()
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in suffixes and path.is_file())
    return [
        path
        for path in files
        if path.resolve().is_relative_to(root) and not any(x.startswith(".") for x in path.relative_to(folder).parts)
    ]


class Findings:
    """The faults and notes of a folder, each with the line it is about."""

    def __init__(self, sources: Iterable[Source], whole: str) -> None:
        self._sources = {source.file: source for source in sources}
        self.whole = Place(whole, 1)  # what is said of the folder as a whole stands here
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []

    def fault(self, place: Place, message: str, hint: str = "") -> None:
        """Takes down what is wrong at a place."""
        self.faults.append(self._told(place, message, hint))

    def note(self, place: Place, message: str, hint: str = "") -> None:
        """Takes down what a safety team should know of a place."""
        self.notes.append(self._told(place, message, hint))

    def option(self, option: tuple[str | int, ...], message: str, hint: str = "") -> None:
        """Takes down what is wrong with an option of the rail, such as ("input", 3)."""
        self.faults.append(Fault.of(option, message, hint))

    def _told(self, place: Place, message: str, hint: str) -> Fault:
        source = self._sources.get(place.file) or Source(place.file, "")
        return source.fault(place.line, message, hint)
