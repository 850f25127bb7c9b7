"""What children and buddies say in games, by language: the lists of this folder's YAML files, compiled once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from proxy.turn import Phrases, Plain

_HANGUL = re.compile(r"[가-힣]")
# Yes and no at the beginning of a sentence.
NO = re.compile(
    r"^\W*(?:no(?!\w|\s+(?:problem|worries|hurry|rush)\b)|nope\b|nah\b|not (?!yet|bad)|아니(?!면)|아뇨|아냐|땡)", re.I
)
YES = re.compile(
    r"^\W*(?:(?:yes|yeah|yep|yup|sì|si(?=[,.!])|certo|esatto|exactly)\b"
    r"|응(?![가-힣])|[네어](?=\s*[,.!~…]|$)|맞아|그래[,.! ])",
    re.I,
)


def read(name: str) -> dict[str, Any]:
    """A file of this folder; every value is text."""
    text = (Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - builds text alone
    return loaded


def listed(entry: Mapping[str, Any]) -> Phrases:
    """A list: phrases by language, and `but_not`."""
    words = {language: phrases for language, phrases in entry.items() if language != "but_not"}
    return Phrases(words, entry.get("but_not"))


class Gate:
    """A quick look at whether a text could hold anything of some lists: whole words, and stems in Korean."""

    def __init__(self, words: Mapping[str, list[str]]) -> None:
        self._words = frozenset(word for language, listed in words.items() if language != "ko" for word in listed)
        self._stems = re.compile("|".join(words["ko"]))

    def opens(self, text: Plain) -> bool:
        """Whether one of the words is there."""
        if not self._words.isdisjoint(text.words):
            return True
        return _HANGUL.search(text.text) is not None and self._stems.search(text.text) is not None


_FILE = read("words")
GATE = Gate(_FILE.pop("gate"))
LISTS: Mapping[str, Phrases] = {name: listed(entry) for name, entry in _FILE.items()}


def says(name: str, text: Plain) -> bool:
    """Whether the text holds a phrase of this list of `words.yaml`."""
    return LISTS[name].find(text) is not None
