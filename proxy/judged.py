"""What came of judging: one rail's answer, one segment's, the user's side; and how a text may be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.merge import Effect
from proxy.policy.model import Bound
from proxy.redact import mask, put_over
from proxy.turn import Act, Mode, Role, Span, Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict that did not simply pass, for the audit and for `explain`; `start` is the segment's offset in its
    message.
    """

    rail: str
    kind: str
    mode: Mode
    role: Role
    message: int
    start: int
    verdict: Verdict
    won: bool
    ms: float
    broken: str = ""  # how the rail failed: "late", or the type of its exception
    withdrawn: bool = False  # of an answer that nobody has read: the model was asked for another one


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the user side came to: the messages as the model may read them, and the house line if the model is not asked
    at all.
    """

    texts: tuple[str, ...]
    masked: tuple[str, ...]  # the same messages as they may be stored
    end: str | None
    steer: tuple[str, ...]
    urgent: bool  # a child may be in danger: the line goes out whatever else fails


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity: comparing them field by field is slow
class Asked:
    """One rail and what came of asking it."""

    bound: Bound
    verdict: Verdict
    broken: str  # how it failed: "late", or the type of its exception; empty: it answered
    ms: float

    @property
    def tells(self) -> bool:
        """Whether it did not simply pass. A rail that is off was asked only for what must be masked in storage."""
        verdict = self.verdict
        noted = verdict.act is not Act.PASS or verdict.steer or verdict.flags or verdict.alert or self.broken
        return self.bound.mode != "off" and bool(noted)

    def finding(self, role: Role, message: int, start: int, won: bool) -> Finding:
        """The same for the audit."""
        bound = self.bound
        where = (role, message, start)
        return Finding(bound.id, bound.kind, bound.mode, *where, self.verdict, won, self.ms, self.broken)

    def nowhere(self) -> Asked:
        """The same of a text that does not stand in the message: its spans are no places there."""
        return replace(self, verdict=replace(self.verdict, spans=()))


@dataclass(frozen=True, slots=True)
class Judged:
    """One segment after the content rails."""

    winner: Verdict | None  # the enforced verdict that takes the text's place
    effect: Effect  # its spans are those of the segment's own text
    enforced: tuple[Asked, ...]  # in policy order; then those who judged what a rail wrote
    sound: bool  # every enforced rail answered
    masked: str  # the text as it may be stored
    covered: bool  # what must be masked in storage is redacted already
    says: tuple[str, ...] = ()  # the house lines in the text's place
    text: str = ""  # what stands behind them, written by a rail, as it may leave
    stored: str = ""  # the same as it may be stored


def storable(text: str, masks: Sequence[Asked]) -> str:
    """`text` masked, whatever the rails' modes; its length alone where the masking rail is missing or broken."""
    if not masks or any(one.broken for one in masks):
        return length_alone(text)
    return put_over(text, [span for one in masks for span in one.verdict.spans], mask)


def covered(masks: Sequence[Asked], redactions: Sequence[Span]) -> bool:
    """Whether every span that storage must not show is redacted in what leaves."""
    if not masks or any(one.broken for one in masks):
        return False
    spans = [span for one in masks for span in one.verdict.spans]
    return all(any(r.start <= span.start and span.end <= r.end for r in redactions) for span in spans)


def length_alone(text: str) -> str:
    """What is stored of a text that cannot be masked."""
    return f"<{len(text)} characters>"
