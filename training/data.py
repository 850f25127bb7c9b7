"""The training sentences: read, checked, and varied as children and speech recognition vary them.

`training/data/<task>/<language>.<author>.tsv` has one sentence a line (`training/README.md`). An author whose name
begins with `v` writes to set the bars by, never to train; what `rails/_learned/frozen/` has is left out, too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "rails" / "_learned" / "weights"
FROZEN = HERE.parent / "rails" / "_learned" / "frozen"
LANGUAGES = ("en", "it", "ko")
KINDS: Mapping[str, list[str]] = {  # the first of each: none of them
    "stop": ["-", "stop", "sleep", "bye", "again"],
    "crisis": ["-", "emergency", "selfharm", "abuse", "fear", "grooming", "bullying", "doubt"],
    "childrisk": ["-", "risk"],
    "unsafe": ["-", "care", "block"],
    "risky": ["-", "risk"],
    "asks": ["-", "ask"],
    "persona": ["-", "human", "guilt", "exclusive", "secret", "meet", "promise", "insult", "sell", "medical"],
}
APART = {"stop": ("again",), "crisis": ("doubt",)}  # kinds that are no trip
PRIVATE = [
    "-", "NAME", "ADDRESS", "SCHOOL", "AGE", "BIRTHDAY", "PHONE", "EMAIL", "HANDLE", "PASSWORD", "ID", "PLATE", "CARD",
]  # fmt: skip
OF_USER = ("stop", "crisis", "childrisk", "unsafe", "pii", "ordinary", "said")
PLAIN = ("ordinary", "said", "answered")  # sentences in which nothing is the matter; the last two are of conversations
# What a sentence of one task says about the others' questions: it is none of theirs. First for a sentence that is
# "none" in its own task, then for one that is not.
NONE_OF: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ordinary": (("stop", "crisis", "childrisk", "unsafe"), ()),
    "said": (("stop", "crisis", "childrisk", "unsafe"), ()),
    "answered": (("risky", "asks", "persona"), ()),
    "stop": (("crisis", "childrisk", "unsafe"), ("crisis", "childrisk", "unsafe")),
    "crisis": (("stop", "unsafe"), ("stop",)),
    "childrisk": (("stop", "crisis", "unsafe"), ("stop", "crisis")),  # asked or announced: no emergency yet
    "unsafe": (("stop", "crisis", "childrisk"), ("stop",)),
    "pii": (("stop", "crisis", "childrisk", "unsafe"), ("stop", "crisis", "childrisk", "unsafe")),
    "risky": (("persona",), ("asks", "persona")),
    "asks": (("risky", "persona"), ("risky",)),
    "persona": (("risky",), ()),
}
_ALONE = 8  # words of an answer that can be judged without what it answers
_FEW = 5  # words
_WORD = re.compile(r"\w+")
_ALIKE = 40  # batches whose sentences are sorted by length together
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\s\"'”’»)]*|$)", re.DOTALL)
_MARK = re.compile(r"\[([A-Z]+):([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence. `kind` is a number in `KINDS[task]`; `marks` of a private one: start, end, number in `PRIVATE`."""

    task: str
    language: str
    author: str
    text: str
    before: str
    kind: int
    marks: tuple[tuple[int, int, int], ...] | None
    place: str


def lines(folder: Path) -> list[Line]:
    """All sentences under the folder. Raises `ValueError` that names file and line."""
    found: list[Line] = []
    for file in sorted(folder.glob("talk/*.tsv")):
        found += _talk(file)
    for file in sorted(folder.glob("*/*.tsv")):
        if file.parent.name in (*KINDS, "pii", "ordinary"):
            language, _, author = file.stem.partition(".")
            for number, row in enumerate(file.read_text("utf-8").splitlines(), 1):
                if row.strip():
                    found.append(_line(file.parent.name, language, author, row, f"{file.name}:{number}"))
    return found


def to_learn(known: Sequence[Line], never: Sequence[Line]) -> list[Line]:
    """What is trained on: nothing twice, nothing of the authors `v...`, and nothing that a sentence of theirs or of
    `never` says in the same words, or in the same but one.
    """
    held = [line.text for line in [*never, *(one for one in known if one.author.startswith("v"))]]
    taken = {key for text in held for key in (_letters(text), *_but_one(text))}
    once = {(line.task, line.kind, _letters(line.text), line.before): line for line in known}
    return [
        line
        for line in once.values()
        if not line.author.startswith("v") and taken.isdisjoint((_letters(line.text), *_but_one(line.text)))
    ]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _but_one(text: str) -> Iterator[frozenset[str]]:
    """Its words, and all of them but one, each in turn; nothing for a short sentence, which many may say."""
    words = frozenset(_WORD.findall(text.lower()))
    if len(words) >= _FEW:
        yield words
        yield from (words - {word} for word in words)


def _talk(file: Path) -> Iterator[Line]:
    """A conversation: `u` or `a`, a tab, and what was said."""
    language, _, author = file.stem.partition(".")
    before = ""
    for number, row in enumerate(file.read_text("utf-8").splitlines(), 1):
        who, _, text = row.partition("\t")
        if who not in ("u", "a") or not text:
            raise ValueError(f"talk/{file.name}:{number}: begins with u or a, and a tab")
        task = "said" if who == "u" else "answered"
        yield Line(task, language, author, text, before, 0, (), f"talk/{file.name}:{number}")
        before = text


def sentences(text: str) -> list[str]:
    """An answer's sentences, about as the house cuts them."""
    return _SENTENCE.findall(text)


def _line(task: str, language: str, author: str, row: str, place: str) -> Line:
    if task == "ordinary":  # public sentences may hold names and places
        return Line(task, language, author, row, "", 0, None if author == "public" else (), f"{task}/{place}")
    first, *rest = row.split("\t")
    if task == "pii":
        text, marks = unmarked(first, place)
        return Line(task, language, author, text, rest[0] if rest else "", 0, marks, place)
    if first not in KINDS[task] or not rest:
        raise ValueError(f"{task}/{place}: begins with one of {', '.join(KINDS[task])} and a tab")
    before = rest[1] if len(rest) > 1 else ""
    return Line(task, language, author, rest[0], before, KINDS[task].index(first), None, f"{task}/{place}")


def unmarked(marked: str, place: str) -> tuple[str, tuple[tuple[int, int, int], ...]]:
    """`[NAME:Tom] ran` -> `Tom ran` and where the private words stand."""
    text, marks, position = "", [], 0
    for match in _MARK.finditer(marked):
        if match[1] not in PRIVATE:
            raise ValueError(f"pii/{place}: {match[1]} is none of {', '.join(PRIVATE[1:])}")
        text += marked[position : match.start()]
        marks.append((len(text), len(text) + len(match[2]), PRIVATE.index(match[1])))
        text += match[2]
        position = match.end()
    return text + marked[position:], tuple(marks)


class Variety:
    """Makes of a sentence what might be heard of it: no capitals, no marks, slips of the finger, spaces astray."""

    def __init__(self, known: Sequence[Line], seed: int) -> None:
        self._dice = random.Random(seed)
        self._ordinary: dict[tuple[str, str], list[Line]] = {}
        self._said: dict[tuple[str, str], list[str]] = {}
        for line in known:
            if line.task in ("said", "answered"):
                self._said.setdefault((line.task, line.language), []).append(line.text)
            if line.kind == 0 and line.marks is None:
                self._ordinary.setdefault((line.task, line.language), []).append(line)

    def of(self, line: Line) -> Line:
        dice = self._dice
        if line.task == "answered":
            line = self._some(line)
        if line.marks is None and line.task not in PLAIN and dice.random() < 0.2:
            line = self._beside(line)
        text, before = line.text, self._before(line)
        if dice.random() < 0.4:
            lower = text.lower()
            text, before = (lower, before.lower()) if len(lower) == len(text) else (text, before)
        if not line.marks:
            text = self._misheard(text, line.language)
        return replace(line, text=text, before=before)

    def _before(self, line: Line) -> str:
        """What the other side had said: that something plain was said before tells nothing of what is said now."""
        if line.task in PLAIN and line.before:
            return line.before if self._dice.random() < 0.6 else ""
        if line.task == "risky" and len(line.text.split()) >= _ALONE and self._dice.random() < 0.25:
            return ""
        other = self._said.get(("answered" if line.task in OF_USER else "said", line.language))
        if line.before or not other or self._dice.random() < 0.4:
            return line.before
        return self._dice.choice(other)

    def _some(self, line: Line) -> Line:
        """One or more sentences of an answer, as they are judged while it streams."""
        said = sentences(line.text)
        first = self._dice.randrange(len(said))
        return replace(line, text="".join(said[first : first + self._dice.randint(1, len(said))]))

    def _beside(self, line: Line) -> Line:
        """With an ordinary sentence of the same task in front of it or, except for an ending, behind it."""
        other = self._dice.choice(self._ordinary[line.task, line.language])
        two = [other.text, line.text]
        if self._dice.random() < 0.5 and not (line.task == "stop" and line.kind):
            two.reverse()
        return replace(line, text=" ".join(two))

    def _misheard(self, text: str, language: str) -> str:
        dice = self._dice
        if dice.random() < 0.3:
            text = re.sub(r"[^\w\s']", "", text)
        if dice.random() < 0.15:
            text = text.replace("'", "")
        if language == "ko" and dice.random() < 0.2:
            text = "".join(letter for letter in text if letter != " " or dice.random() < 0.5)
        elif language != "ko" and dice.random() < 0.15 and len(text) > 8:
            text = self._mistyped(text)
        return text

    def _mistyped(self, text: str) -> str:
        at = self._dice.randrange(1, len(text) - 1)
        left, here, right = text[:at], text[at], text[at + 1 :]
        return self._dice.choice([left + right, left + here + here + right, left[:-1] + here + left[-1:] + right])


def batches(known: Sequence[Line], size: int, seed: int) -> list[list[Line]]:
    """All of them once, in no order, those of like length together: a short one is not padded to a long one."""
    dice, order = random.Random(seed), list(known)
    dice.shuffle(order)
    found: list[list[Line]] = []
    for start in range(0, len(order), size * _ALIKE):
        alike = sorted(order[start : start + size * _ALIKE], key=lambda line: (len(line.text) // 12, len(line.before)))
        found += [alike[at : at + size] for at in range(0, len(alike), size)]
    dice.shuffle(found)
    return found
