"""A policy as the running house uses it: checked, compiled, unchanging. A turn keeps the one it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from proxy.faults import Fault
from proxy.policy.schema import Generation, Keep, Parts, Retry, VaultRules
from proxy.turn import Hold, Mode, Rail, Role

_CHOICES = 16
Expectation = Literal["trips", "passes", "known_misses"]


@dataclass(frozen=True, slots=True)
class Example:
    """One of a rail's own tests."""

    expects: Expectation
    role: Role
    text: str
    user: str  # the user's last turn, where an answer is judged beside it
    language: str  # empty: guessed
    becomes: str | None  # the text that is sent on
    where: str  # file:line
    earlier: tuple[str, ...] = ()  # what the user said in turns before
    settings: Mapping[str, object] = field(default_factory=dict)  # what the app has set


@dataclass(frozen=True, slots=True)
class Bound:
    """One rail at its place in a policy."""

    id: str
    kind: str  # the file in rails/
    key: str  # under which it remembers: the id, or `id:shadow`, so that a rail in shadow keeps its own state
    mode: Mode  # "off" only where `masks` is set
    why: str
    rail: Rail
    masks: bool  # its spans mask what is stored, whatever the mode
    content: frozenset[Role]
    shape: frozenset[Role]
    examples: tuple[Example, ...]
    of_session: bool = False  # its verdicts depend on what it remembers, not on the message alone


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a policy. Times are in seconds, `hold_max` in characters."""

    name: str
    version: int
    digest: str  # sha256 (hex) over the policy file, its parents, and the files and folders that options name
    file: str
    about: str
    audience: Literal["child", "adult"]
    languages: tuple[str, ...]
    hold: Hold
    hold_max: int
    when_broken: Literal["closed", "open"]
    late_after: float
    blocked_as: Literal["stop", "content_filter"]
    tools: tuple[str, ...]  # globs on the functions that the model may call
    reads_reasoning: bool  # the model's reasoning is judged and leaves; else it is left out
    parts: Parts
    model: Generation
    say: Mapping[str, Mapping[str, tuple[str, ...]]]  # the lines that rails bring are among them
    steer: Mapping[str, Mapping[str, tuple[str, ...]]]
    stand_ins: Mapping[str, Mapping[str, str]]
    rails: tuple[Bound, ...]
    keep: Keep
    places: Mapping[str, str] = field(default_factory=dict)  # of the lines that rails bring: key -> file:line
    notes: tuple[Fault, ...] = ()  # what its writer should know, though it is no fault
    settings: frozenset[str] = frozenset()  # what an app may set for a request
    retry: Retry | None = None
    vault: VaultRules | None = None
    hides: frozenset[str] = frozenset()  # the kinds of data that the rails hide
    numbers: tuple[str, ...] = ()  # of its help lines

    @property
    def tells_of_danger(self) -> bool:
        """Whether an enforced rail of it raises alerts, so that somebody must be there to be told."""
        return any(getattr(bound.rail, "alerts", False) and bound.mode == "enforce" for bound in self.rails)

    @property
    def of_session(self) -> bool:
        """Whether what is found in a message depends on its session, too."""
        return any(bound.of_session and bound.mode == "enforce" for bound in self.rails)

    @property
    def choices(self) -> int:
        """The most answers of one request: a child hears one."""
        return 1 if self.audience == "child" else _CHOICES

    @property
    def label(self) -> str:
        """`name@version`, as headers and records show it."""
        return f"{self.name}@{self.version}"

    def admit(self, settings: Mapping[str, object]) -> None:
        """Lets the rails look at what an app sets. Raises `ValueError` for a value that cannot be."""
        for bound in self.rails:
            if hasattr(bound.rail, "admit"):
                bound.rail.admit(settings)

    def line(self, key: str, language: str, nth: int = 0, fill: Mapping[str, str] = MappingProxyType({})) -> str:
        """The `nth` variant of a line under `say`, in `language` or the policy's first language; variants rotate."""
        return _filled(self._variant(self.say[key], language, nth), fill)

    def note(self, key: str, language: str, fill: Mapping[str, str] = MappingProxyType({})) -> str:
        """The note to the model of this key, under `steer`; the words of `fill` stand for `{name}` in it."""
        return _filled(self._variant(self.steer[key], language, 0), fill)

    def stand_in(self, entity: str, language: str) -> str:
        """What stands in the place of a redacted datum: its own words, else `DEFAULT`'s, else `<ENTITY>`."""
        words = self.stand_ins.get(entity) or self.stand_ins.get("DEFAULT")
        return words.get(language, words[self.languages[0]]) if words else f"<{entity}>"

    def _variant(self, lines: Mapping[str, tuple[str, ...]], language: str, nth: int) -> str:
        variants = lines.get(language, lines[self.languages[0]])
        return variants[nth % len(variants)]


def _filled(text: str, fill: Mapping[str, str]) -> str:
    for name, words in fill.items():
        text = text.replace(f"{{{name}}}", words)
    return text
