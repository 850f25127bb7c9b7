"""The frozen sentences, by which a policy's examples are seen to help or to harm. Nobody trains on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "frozen"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, what the other side had said before, and the kind that it is (`-`: none)."""

    language: str
    kind: str
    text: str
    before: str


def sentences(head: str) -> Iterator[Sentence]:
    """Those written for a head; none for one that has none."""
    for file in sorted((_FOLDER / head).glob("*.tsv")):
        for row in file.read_text("utf-8").splitlines():
            kind, text, *before = row.split("\t")
            yield Sentence(file.stem, kind, text, before[0] if before else "")
