"""The vault of one conversation: the model reads `<PERSON_1>`, and who told the name gets it back.

What stands here is in memory for one request; between two of them `proxy.sessions` keeps it sealed, with the session
that it belongs to. To restore is the very last step: rails, records and state know the placeholders alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from proxy.policy.model import Policy
from proxy.policy.schema import VaultRules
from proxy.redact import StandIn, put_over, union
from proxy.text import plain
from proxy.turn import Span

_MOST = 1000  # data of one conversation; further ones are hidden for good
_MOST_ANSWERS, _MOST_PLACES = 50, 50  # noted, and data given back in one of them: others are searched
_LONGEST = 1000  # characters of a datum, as of a run that was torn: a longer one is hidden for good
_ENTITY = r"[A-Za-z]{2,30}(?:\\?[_ -][A-Za-z]{1,30}){0,5}"
# As models write it: `<person_1>`, `<PERSON 1>`, `[PERSON_1]`, `PERSON\_1`, `&lt;PERSON_1&gt;`, escaped within JSON.
_MARK = re.compile(
    rf"(?P<opens><|&lt;|\\u003c|[\[{{〈《])\s?(?P<name>{_ENTITY}\\?[_ -]?\d{{1,4}})\s?(?:>|&gt;|\\u003e|[\]}}〉》])"
    r"|(?<!\w)[A-Za-z]{2,30}(?:\\?_[A-Za-z]{1,30}){0,5}\\?_\d{1,4}(?![^\W가-힣])",
    re.IGNORECASE,
)
_MADE_UP = frozenset({"PERSON", "LOCATION"})  # what models make up placeholders of, whatever data are hidden
_ANGLES = ("<", "&lt;", "\\u003c")
_NAME = re.compile(r"([A-Z_]+?)_?(\d+)")
_LETTER = re.compile(r"[^\W\d_]")
_NO_DIGIT = re.compile(r"\D+")


@dataclass(slots=True)
class Contents:
    """What a vault holds, and grows by."""

    values: dict[str, str] = field(default_factory=dict)  # a placeholder's name (`PERSON_1`) -> the datum as first told
    # digest of an answer -> where in it which data were given back
    answers: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)


class Vault:
    """The placeholders of a conversation.

    entities: what the policy's rails hide, and so what a placeholder may be called.
    """

    def __init__(self, rules: VaultRules, entities: frozenset[str], contents: Contents | None = None) -> None:
        contents = contents or Contents()
        self.values, self._answers = contents.values, contents.answers
        self._rules = rules
        self._entities = entities | _MADE_UP
        self._names = {(_entity(name), _same(datum)): name for name, datum in reversed(self.values.items())}
        self._last: dict[str, int] = {}  # entity -> the highest number in use
        for name in self.values:
            entity, number = name.rsplit("_", 1)
            self._last[entity] = max(self._last.get(entity, 0), int(number))

    @classmethod
    def of(cls, policy: Policy, contents: Contents | None = None) -> Vault | None:
        """The vault that the policy wants; None: it wants none. contents: the session's, which it adds to."""
        return cls(policy.vault, policy.hides, contents) if policy.vault else None

    def cover(self, text: str, spans: Iterable[Span], stand_in: StandIn, adds: bool) -> str:
        """`text` with placeholders over the spans.

        adds: data that are not known yet get one; else the stand-in of their entity. What is a placeholder already
        stays one.
        """
        named = self._named(text, spans, adds)
        return put_over(text, named, lambda name: f"<{name}>" if name in self.values else stand_in(name))

    def _named(self, text: str, spans: Iterable[Span], adds: bool) -> list[Span]:
        found = []
        for span in union(spans):
            datum = text[span.start : span.end]
            if not any(mark.group() == datum and name in self.values for mark, name in _marks(datum)):
                entity = _entity(span.entity) if span.entity in self.values else span.entity
                found.append(Span(span.start, span.end, self._name(entity, datum, adds) or entity))
        return found

    def told(self, text: str) -> Iterator[Span]:
        """Where data that were given back stand in an earlier answer: as noted, else wherever the same words stand."""
        noted = self._answers.get(_digest(text))
        if noted is not None:
            lead = len(text) - len(text.lstrip())
            yield from (Span(lead + start, lead + end, name) for start, end, name in noted)
            return
        for name, datum in self.values.items():
            if datum in text and self._is_given(name):
                for match in re.finditer(rf"(?<!\w){re.escape(datum)}(?![^\W가-힣])", text):
                    yield Span(match.start(), match.end(), name)

    def restored(self, text: str, language: str, within_json: bool = False) -> str:
        """`text` with the data that the policy gives back in their places, and its neutral word for all others.

        within_json: what is put in is escaped as a string of JSON is.
        """
        if not any(map(str.isdigit, text)):
            return text
        flat = plain(text)
        spans: list[Span] = []
        words: dict[str, str] = {}
        for mark, name in _marks(flat.text):
            if name in self.values or self._is_invented(mark, name):
                spans.append(Span(*flat.span(*mark.span()), name))
                words[name] = self._words(name, language, within_json)
        return put_over(text, spans, words.__getitem__) if spans else text

    def given(self, sent: str, language: str) -> str:
        """A whole answer as the app gets it; where data are given back in it is noted, for when it comes back."""
        shown, flat = self.restored(sent, language), plain(sent)
        given = [(flat.span(*mark.span())[0], name) for mark, name in _marks(flat.text) if self._is_given(name)]
        if given and len(given) <= _MOST_PLACES:
            lead = len(shown) - len(shown.lstrip())
            starts = [(len(self.restored(sent[:start], language)) - lead, name) for start, name in given]
            self._answers[_digest(shown)] = [(start, start + len(self.values[name]), name) for start, name in starts]
            for oldest in list(self._answers)[:-_MOST_ANSWERS]:
                del self._answers[oldest]
        return shown

    def _is_given(self, name: str) -> bool:
        return name in self.values and _entity(name) in self._rules.restore

    def _name(self, entity: str, datum: str, adds: bool) -> str:
        """The placeholder's name; empty where there is none."""
        key = entity, _same(datum)
        if key not in self._names and adds and len(self.values) < _MOST and len(datum) <= _LONGEST:
            self._last[entity] = self._last.get(entity, 0) + 1
            name = self._names[key] = f"{entity}_{self._last[entity]}"
            self.values[name] = datum
        return self._names.get(key, "")

    def _is_invented(self, mark: re.Match[str], name: str) -> bool:
        """Whether it has the form of a placeholder and stands for nothing. `[Location 2]` may be a heading."""
        written = mark["name"]
        return bool(written) and _entity(name) in self._entities and (mark["opens"] in _ANGLES or written == name)

    def _words(self, name: str, language: str, within_json: bool) -> str:
        neutral: Mapping[str, str] = self._rules.neutral
        words = self.values[name] if self._is_given(name) else neutral.get(language, next(iter(neutral.values())))
        return json.dumps(words, ensure_ascii=False)[1:-1] if within_json else words


def _marks(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """What could be placeholders, each with the name that it means."""
    for mark in _MARK.finditer(text):
        written = (mark["name"] or mark.group()).upper().replace("\\", "")
        name = _NAME.fullmatch(re.sub(r"[ -]", "_", written))
        if name:
            yield mark, f"{name[1]}_{int(name[2])}"


def _digest(text: str) -> str:
    """What an answer is known by when it comes back; apps trim."""
    return sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _entity(name: str) -> str:
    return name.rsplit("_", 1)[0]


def _same(datum: str) -> str:
    """What two ways to write a datum have in common: capitals, spaces and, of a number, its marks do not count."""
    flat = " ".join(plain(datum).text.casefold().split())
    return flat if _LETTER.search(flat) else _NO_DIGIT.sub("", flat) or flat
