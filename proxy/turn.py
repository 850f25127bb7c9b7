"""The nouns. Every other file may import this one; a rail imports nothing else of ours.

A `Turn` is one request's place in a conversation. Text passes through the house in `Segment`s; a `Rail` answers each
with a `Verdict`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict

from proxy.faults import Fault, PolicyError, nearest
from proxy.phrases import Hit, Phrases
from proxy.text import Plain, guess_language, is_question, plain

__all__ = [
    "Act", "Alert", "Ask", "Backend", "BackendFault", "Delta", "Fault", "FolderName", "Health", "Heard", "HelpLine",
    "Hit", "Hold", "House", "Judge", "ListName", "Mode", "Options", "Phrases", "Plain", "PolicyError", "Rail",
    "RailFault", "Role", "SayKey", "Seconds", "Segment", "Several", "Severity", "Span", "SteerKey", "Taught", "Turn",
    "Verdict", "guess_language", "is_question", "nearest", "plain", "spans_within",
]  # fmt: skip

Role = Literal["user", "assistant", "tool"]
Hold = Literal["clause", "sentence", "message"]  # how much text is kept back until it has been judged, smallest first
Mode = Literal["enforce", "shadow", "off"]
Health = Literal["up", "down", "unknown"]  # of a model server; unknown: nothing has told yet, or ever will
Severity = Literal["high", "medium", "low"]
Ending = Literal["sentence", "line", "clause", "piece", "torn", "call", "last", "limit"]
_BEFORE = 300  # characters: as many as a message, a JSON value or an unescaped text is judged with
# Asks a model of the operator's: its name, the messages, settings such as `temperature`. Raises `BackendFault`.
Judge = Callable[[str, Sequence[Mapping[str, str]], Mapping[str, Any]], Awaitable[str]]


class Act(StrEnum):
    """What a verdict does to a segment, mildest first."""

    PASS = "pass"  # noqa: S105
    REDACT = "redact"  # put stand-ins over `spans`
    REPLACE = "replace"  # say `say` in its place
    DROP = "drop"  # leave it out
    END = "end"  # it does not leave; the answer ends here, with `say` if given


@dataclass(frozen=True, slots=True)
class Span:
    """`start:end` in code points of the segment's text, and what stands there (`PERSON`, `PHONE_NUMBER`, ...)."""

    start: int
    end: int
    entity: str


@dataclass(frozen=True, slots=True)
class Alert:
    """A person is to be told, without a word of what was said. `parents`: they may be told, too."""

    kind: str  # what it is about, such as "emergency"
    severity: Severity
    parents: bool = False
    times: int = 1  # how often since then; a repeat updates the alert that was raised first
    since: float = 0.0  # when the first of them was, in Unix seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """A rail's answer for one segment. The default is "pass"."""

    act: Act = Act.PASS
    # What it is about; for `redact`, what is covered; for a shape rail's `end`, from where on.
    spans: tuple[Span, ...] = ()
    say: str = ""  # for replace and end: a key of the policy's `say`
    text: str = ""  # ... and what stands behind it, written by the rail itself: the other rails judge it
    why: str = ""  # one sentence that a safety officer understands, without the text itself
    steer: tuple[str, ...] = ()  # user side: keys of the policy's `steer`, notes for the model
    fill: Mapping[str, str] = field(default_factory=dict)  # for `{name}` in notes and in an end's line; no user's text
    hold: Hold | Literal[""] = ""  # user side: how much of the answer is kept back at least
    opens: str = ""  # user side: a key of `say`: said once in a session, in front of an answer that no rail steers
    resumes: bool = False  # user side: takes back an end that this rail gave an earlier message of the turn
    flags: frozenset[str] = frozenset()  # "review", "alert"
    alert: Alert | None = None  # user side: what the operator's contact is told, also of a rail in shadow
    # Merged into what the rail remembers, and committed with the turn.
    remember: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as the app sent it."""

    role: Role
    text: str


@dataclass(slots=True)
class Turn:
    """One request: what was said last, in which language, and what the rails remember of the session."""

    id: str
    language: str
    user: str = ""  # the user's last message, raw; never stored
    now: float = 0.0  # unix seconds at which the turn began, so that a rail never looks at a clock
    state: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # rail key -> what it remembered (JSON values, no text)
    memo: dict[object, Any] = field(default_factory=dict)  # scratch of one turn, for detectors that several rails ask
    session: str = ""  # the session's id
    history: tuple[Heard, ...] = ()  # what was said before and answered, raw; never stored
    settings: Mapping[str, object] = field(default_factory=dict)  # what the app has set for this request
    instructions: str = ""  # what the app's own system messages say; never stored
    judge: Judge | None = None  # None: no model can be asked
    trial: bool = False  # a policy is being tried, and no model is there to be asked

    def recall(self, key: str) -> Mapping[str, Any]:
        """What the rail of this key remembers; empty at first."""
        return self.state.get(key, {})


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one message, as the segmenter cut it; on the user side the whole message."""

    role: Role
    text: str  # one sentence with its trailing space, or a capped piece, or the whole message
    turn: Turn
    before: str = ""  # raw text of this message before it
    after: str = ""  # raw text already seen behind a piece that the cap cut, so that a datum on the seam is seen whole
    sent: str = ""  # what really left so far (assistant side)
    last: bool = False  # nothing follows
    house: bool = False  # the house's own line, in the place of what the model said (shape rails)
    past: bool = False  # an earlier message: what a rail would cover or write in it counts, nothing else does
    # Why it was cut here. torn: inside a run too long to keep whole; call: a tool call written into the text;
    # limit: the model's token limit cut it.
    ending: Ending = "last"

    def plain(self) -> Plain:
        """The text in its normal form, for matching."""
        return self._plain(self.text)

    def around(self, reach: int = 80) -> tuple[Plain, int]:
        """The text with up to `reach` characters of what stands before and behind it, and the offset at which the text
        begins.

        What a rail finds there counts if it overlaps the text: a phrase or datum that a seam divides is still seen
        whole.
        """
        start = max(0, len(self.before) - reach)
        while start > 0 and start > len(self.before) - 2 * reach and not self.before[start - 1].isspace():
            start -= 1  # never begin inside a word
        head = self.before[start:]
        return self._plain(head + self.text + self.after[:reach]), len(head)

    def asked(self, key: str) -> tuple[str | int, ...]:
        """Where the turn's memo has the verdict on it of the rail of this key, once that was asked.

        What stands before it is told by its length and its end: a turn must not keep every beginning of an answer.
        """
        before = self.before
        return ("verdict", key, self.role, len(before), before[-_BEFORE:], self.after, self.text)

    def _plain(self, text: str) -> Plain:
        """Every rail asks for the same: made once a turn, and gone with it."""
        found: Plain | None = self.turn.memo.get(("plain", text))
        if found is None:
            found = self.turn.memo[("plain", text)] = plain(text)
        return found


ListName = Annotated[
    str, "phrases"
]  # an option of this type names a list under the policy's `phrases`; `check` looks it up
SayKey = Annotated[str, "say"]  # ... a line under `say`
SteerKey = Annotated[str, "steer"]  # ... a note under `steer`
FolderName = Annotated[str, "folder"]  # ... a folder beside the policy, which is a part of it


def _seconds(value: object) -> object:
    """`90d`, `30m`, `400ms` as seconds; anything else is left for pydantic to refuse."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a length of time is a number with its unit: 400ms, 30s, 15m, 24h, 90d")
    return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


Seconds = Annotated[float, BeforeValidator(_seconds)]  # an option of this type is written `30m`


class Options(BaseModel):
    """Base of every rail's options: unknown fields are refused, values never change.

    Describe each field: the docs show it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Taught:
    """One of a rail's own examples, `trips` or `passes`: what a safety team teaches it."""

    role: Role
    text: str
    before: str  # what the other side had said, where the example has it
    language: str  # empty: guessed
    trips: bool
    where: str  # file:line


@dataclass(frozen=True, slots=True)
class HelpLine:
    """A number that somebody in need can call."""

    country: str  # ISO 3166-1, two capitals
    kinds: frozenset[str]  # what it is for, such as "emergency"
    number: str  # as it is dialled
    languages: frozenset[str]  # in which it answers; empty: any


@dataclass(frozen=True, slots=True)
class House:
    """What a rail may use of its policy, resolved at load."""

    languages: tuple[str, ...]
    phrases: Mapping[str, Phrases]
    folder: Path  # the policy's folder: paths in options are relative to it
    lines: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)  # the policy's `say`
    notes: frozenset[str] = frozenset()  # the keys under `steer`
    rails: Mapping[str, Rail] = field(default_factory=dict)  # kind -> the first that is enforced; complete once loaded
    code: bool = False  # the operator lets the policy bring Python of its own
    ids: frozenset[str] = frozenset()  # of all rails of the policy, those that are off included
    taught: tuple[Taught, ...] = ()  # this rail's own examples
    own: set[str] = field(default_factory=set)  # all that the house may say, rails' lines too; complete once loaded
    help_lines: tuple[HelpLine, ...] = ()
    country: Mapping[str, str] = field(default_factory=dict)  # language -> the country whose help lines are told


class Rail(Protocol):
    """One file in `rails/` has a class `Rail` like this and a class `RailOptions(Options)`; the folder is the register.

    `content` names the roles whose raw segments it judges, side by side with the others; `shape` those whose merged
    text it judges afterwards, in policy order, house lines included. `needs` is the smallest piece it can judge.
    """

    content: ClassVar[frozenset[Role]]
    shape: ClassVar[frozenset[Role]]
    needs: ClassVar[Hold]
    key: str  # under which it remembers, and its verdicts stand in the turn's memo

    def __init__(self, key: str, options: Any, house: House) -> None: ...

    async def check(self, segment: Segment) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Delta:
    """One event of a streamed answer: its bytes as they came (without the blank line), and parsed."""

    raw: bytes
    event: dict[str, Any]


class RailFault(Exception):
    """A rail cannot answer. Its message says why, and may be told to anybody: it quotes no text of users."""


class BackendFault(Exception):
    """The backend refused, failed or kept silent.

    `status` is for the client; `error` is an OpenAI error object's content; `headers` are those of the backend's that
    say when to come again (`retry-after`).
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "upstream_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
        self.headers = dict(headers)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a backend is asked: the route behind `/v1/`, the body, and the client's headers that may go with it."""

    body: dict[str, Any]
    route: str = "chat/completions"  # or "completions", "embeddings"
    headers: Mapping[str, str] = field(default_factory=dict)
    session: str = ""  # what keeps a conversation on one server; empty: nothing does

    @property
    def model(self) -> str:
        return str(self.body.get("model") or "")


class Backend(Protocol):
    """A model server, or several. One file in `proxy/backends/`.

    What it answers has OpenAI's shape: each backend puts right what its server does in its own way.
    """

    async def knows(self, model: str) -> frozenset[str]:
        """What this model's server understands beyond OpenAI's, such as `repetition_penalty`."""
        ...

    def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer, event by event, without the final `[DONE]`. Closing the iterator cancels the generation.

        Raises `BackendFault`, before the first event or between two.
        """
        ...

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The answer of a route that has no stream (embeddings). Raises `BackendFault`."""
        ...

    async def models(self) -> dict[str, Any]:
        """OpenAI's list of models. Raises `BackendFault`."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Several(Backend, Protocol):
    """A backend of several servers, each with a health of its own."""

    async def health(self) -> dict[str, Health]:
        """How each server is, by its name in the operator's file."""
        ...


def spans_within(spans: Iterable[Span], start: int, length: int) -> tuple[Span, ...]:
    """Spans of a wider text, moved and cut to the part of it that begins at `start`; those outside fall away."""
    moved = (Span(max(0, s.start - start), min(length, s.end - start), s.entity) for s in spans)
    return tuple(s for s in moved if s.start < s.end)
