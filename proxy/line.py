"""The line: every message of a turn passes the rails here, user and assistant side, streamed or not.

The content rails all judge the raw segment and their verdicts are merged; the shape rails then judge
the merged text of the assistant side, in policy order. The line knows no rail and no backend by name, and it
never sees a chunk: `proxy.segments` cuts, `proxy.answer` brings the pieces, the line judges.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from time import perf_counter

from proxy.memo import Memo
from proxy.merge import Effect, merge
from proxy.policy.model import Bound, Policy
from proxy.redact import mask, put_over
from proxy.turn import Act, Mode, Plain, Role, Segment, Span, Turn, Verdict, guess_language
from proxy.wire.escapes import undone

log = logging.getLogger("kindrail.line")

_UNREAD = "…"  # what the model reads in place of an earlier message that could not be judged
_REACH = 200  # characters of its speaker's other messages that a message is judged with
_SAID = ":say"  # the state's key for how often each house line was said; no rail id has a colon


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as the app sent it."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class _Message:
    """A message as the rails read it: escapes undone, with what its speaker sent just before and behind it."""

    text: str  # as it was sent
    plain: Plain
    segment: Segment
    key: bytes  # in the memo

    def sent(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Spans of what the rails read as those of the text that was sent."""
        return tuple(Span(*self.plain.span(span.start, span.end), span.entity) for span in spans)


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


@dataclass(frozen=True, slots=True)
class Asked:
    """One rail and what came of asking it."""

    bound: Bound
    verdict: Verdict
    broken: str  # how it failed: "late", or the type of its exception; empty: it answered
    ms: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One segment after the content rails."""

    winner: Verdict | None  # the enforced verdict that takes the text's place
    effect: Effect
    verdicts: tuple[Verdict, ...]  # the enforced ones, in policy order
    sound: bool  # every enforced rail answered
    masked: str  # the text as it may be stored
    covered: bool  # what must be masked in storage is redacted already


class Line:
    """The rails of one policy at work on one turn. `findings` grows as text passes."""

    def __init__(self, policy: Policy, turn: Turn, memo: Memo) -> None:
        self.policy = policy
        self.turn = turn
        self.findings: list[Finding] = []
        self.rail_seconds = 0.0
        self.lines_said = 0  # house lines of this turn
        self._memo = memo

    def fork(self) -> Line:
        """The same rails for one of several answers, with a copy of what they remember."""
        turn = replace(self.turn, state=deepcopy(self.turn.state), memo={})
        return Line(self.policy, turn, self._memo)

    async def hear(self, messages: Sequence[Heard]) -> Hearing:
        """Judges the messages that have not been answered yet."""
        texts: list[str] = []
        masked: list[str] = []
        steer: list[str] = []
        ends: dict[int, Verdict] = {}
        for number, message in enumerate(self._read(messages)):
            judged = await self.content(message.segment, number, 0)
            spans = message.sent(judged.effect.spans)
            if judged.sound:
                self._memo.put(message.key, spans)
            texts.append(self._text(message, spans, judged.winner))
            masked.append(judged.masked)
            for order, verdict in enumerate(judged.verdicts):
                if verdict.act is Act.END:
                    ends[order] = verdict
                elif verdict.act is Act.PASS and verdict.remember:
                    ends.pop(order, None)  # "stop" - "no wait, go on": the rail itself has taken it back
                if verdict.steer:
                    steer.append(self.policy.note(verdict.steer, self.turn.language))
            await asyncio.sleep(0)  # rails do not pause: other turns go on between two messages
        final = ends[min(ends)] if ends else None
        return Hearing(
            tuple(texts),
            tuple(masked),
            self.say(final.say) if final else None,
            tuple(dict.fromkeys(steer)),
            final is not None and "alert" in final.flags,
        )

    async def history(self, messages: Sequence[Heard]) -> list[str]:
        """Earlier messages as the model may read them: only redacted, from the memo where they were judged before."""
        texts: list[str] = []
        for number, message in enumerate(self._read(messages)):
            spans = self._memo.get(message.key)
            if spans is None:
                spans, sound = await self._spans(message, number)
                if spans is not None and sound:
                    self._memo.put(message.key, spans)
            texts.append(_UNREAD if spans is None else self._redacted(message, spans))
            await asyncio.sleep(0)
        return texts

    async def _spans(self, message: _Message, number: int) -> tuple[tuple[Span, ...] | None, bool]:
        """What the model may not read of an earlier message, and whether every rail answered.

        None if one did not and the policy is closed.
        """
        segment = message.segment
        asked = [await self._ask(bound, segment) for bound in self.policy.rails if _enforced(bound, segment.role)]
        broken = [one for one in asked if one.broken]
        closed = self.policy.when_broken == "closed"
        for one in broken:
            self._record(one, segment, number, 0, won=closed)
        spans = None if broken and closed else message.sent(merge([one.verdict for one in asked]).spans)
        return spans, not broken

    async def redacted_only(self, messages: Sequence[Heard]) -> list[str] | None:
        """Texts that nobody answers, each for itself: redacted; what else the rails say of them is recorded.

        None where an enforced rail broke and the policy is closed.
        """
        texts: list[str] = []
        for number, heard in enumerate(messages):
            (message,) = self._read([heard])
            judged = await self.content(message.segment, number, 0)
            if not judged.sound and self.policy.when_broken == "closed":
                return None
            texts.append(self._redacted(message, message.sent(judged.effect.spans)))
            await asyncio.sleep(0)
        return texts

    async def masked(self, messages: Sequence[Heard]) -> list[str] | None:
        """Messages as they may be kept for the model to read again, whatever the rails' modes: with stand-ins.

        None where no rail masks, or one that does broke. They are judged for nothing else.
        """
        rails = [bound for bound in self.policy.rails if bound.masks]
        texts: list[str] = []
        for message in self._read(messages):
            asked = [await self._ask(bound, message.segment) for bound in rails]
            if not asked or any(one.broken for one in asked):
                return None
            spans = message.sent([span for one in asked for span in one.verdict.spans])
            texts.append(self._redacted(message, spans))
            await asyncio.sleep(0)
        return texts

    def forbade(self, why: str) -> None:
        """Records what the policy itself does not let pass, such as the call of a function that it does not name."""
        verdict = Verdict(Act.DROP, why=why)
        self.findings.append(Finding("tools", "policy", "enforce", "assistant", 0, 0, verdict, won=True, ms=0.0))

    def say(self, key: str) -> str:
        """The policy's line of this key in the turn's language, the next of its variants."""
        counts = self.turn.state.setdefault(_SAID, {})
        nth = int(counts.get(key, 0))
        counts[key] = nth + 1
        self.lines_said += 1
        return self.policy.line(key, self.turn.language, nth)

    # -- the two stages ------------------------------------------------------------------------------------------------

    async def content(self, segment: Segment, message: int, start: int) -> Judged:
        """Asks the content rails, merges what they say, remembers and records."""
        asked = [await self._ask(bound, segment) for bound in self.policy.rails if segment.role in bound.content]
        enforced = [one for one in asked if one.bound.mode == "enforce"]
        effect = merge([one.verdict for one in enforced])
        for order, one in enumerate(enforced):
            if order == effect.winner or one.verdict.act in (Act.PASS, Act.REDACT):
                self._remember(one)
        for one in asked:
            if one.bound.mode == "shadow":
                self._remember(one)  # under the shadow's own key
            won = one in enforced and effect.won(enforced.index(one), one.verdict)
            self._record(one, segment, message, start, won)
        masks = [one for one in asked if one.bound.masks]
        return Judged(
            enforced[effect.winner].verdict if effect.winner is not None else None,
            effect,
            tuple(one.verdict for one in enforced),
            not any(one.broken for one in enforced),
            _storable(segment.text, masks),
            _covered(masks, effect.spans),
        )

    async def shape(self, segment: Segment, start: int) -> tuple[str, bool]:
        """Lets the shape rails judge merged text one after another.

        Returns what is left of it, and whether the answer ends.
        """
        text = segment.text
        for bound in self.policy.rails:
            if segment.role not in bound.shape or bound.mode == "off":
                continue
            one = await self._ask(bound, replace(segment, text=text))
            enforced = bound.mode == "enforce"
            self._remember(one)
            self._record(one, segment, 0, start, won=enforced)
            if not enforced or one.verdict.act is Act.PASS:
                continue
            if one.verdict.act is not Act.REDACT:
                return self._shaped(text, one.verdict), one.verdict.act is Act.END
            text = self.redacted(text, one.verdict.spans, self.turn.language)
        return text, False

    def _shaped(self, text: str, verdict: Verdict) -> str:
        """What a shape rail leaves of a text that it replaces, drops, or ends: a line, nothing, or what stands before
        its span.
        """
        if verdict.say:
            return self.say(verdict.say)
        return text[: verdict.spans[0].start] if verdict.act is Act.END and verdict.spans else ""

    async def _ask(self, bound: Bound, segment: Segment) -> Asked:
        """One rail's verdict. That of a broken rail is the policy's `when_broken`; what came late came not at all."""
        begun = perf_counter()
        broken = ""
        try:
            async with asyncio.timeout(self.policy.late_after):
                verdict = await bound.rail.check(segment)
        except TimeoutError:
            broken = "late"
        except Exception as fault:  # law 6: whatever a rail raises is an event that the policy decides
            broken = type(fault).__name__
        seconds = perf_counter() - begun
        self.rail_seconds += seconds
        if not broken and seconds > self.policy.late_after:
            broken = "late"  # it never paused, so that nothing could interrupt it
        if broken:
            log.warning("rail %s of %s broke: %s", bound.id, self.policy.label, broken)
            verdict = self._broken(bound, segment)
        return Asked(bound, verdict, broken, seconds * 1000)

    def _broken(self, bound: Bound, segment: Segment) -> Verdict:
        flags = frozenset({"review"})
        own: Verdict | None = getattr(bound.rail, "when_broken", None)
        if own is not None and segment.role != "assistant":
            return own  # a rail that looks for children in danger fails to their side, whatever the policy says
        if self.policy.when_broken == "open":
            return Verdict(why="the rail broke; the policy lets the text pass", flags=flags)
        act = Act.REPLACE if segment.role == "assistant" else Act.END
        return Verdict(act, say="sorry", why="the rail broke; the policy holds the text back", flags=flags)

    # -- small things --------------------------------------------------------------------------------------------------

    def _read(self, messages: Sequence[Heard]) -> Iterator[_Message]:
        for heard, (before, after) in zip(messages, _around(messages), strict=True):
            plain = undone(heard.text) if heard.role != "user" else Plain(heard.text)
            segment = Segment(heard.role, plain.text, self.turn, before, after, last=True)
            key = self._memo.key(self.policy.digest, heard.role, heard.text, before, after)
            yield _Message(heard.text, plain, segment, key)

    def _text(self, message: _Message, spans: tuple[Span, ...], winner: Verdict | None) -> str:
        """The user side's text as the model may read it."""
        if winner is None or winner.act is Act.END:
            return self._redacted(message, spans)
        return self.say(winner.say) if winner.act is Act.REPLACE else ""

    def _language(self, text: str) -> str:
        """A message's own language, whatever the session's: its masked form stays the same while the talk goes on."""
        return guess_language(text, self.policy.languages, self.policy.languages[0])

    def _redacted(self, message: _Message, spans: tuple[Span, ...]) -> str:
        return self.redacted(message.text, spans, self._language(message.plain.text))

    def redacted(self, text: str, spans: tuple[Span, ...], language: str) -> str:
        """`text` with the policy's stand-ins over the spans."""
        return put_over(text, spans, lambda entity: self.policy.stand_in(entity, language)) if spans else text

    def _remember(self, one: Asked) -> None:
        if one.verdict.remember:
            key = one.bound.key
            self.turn.state[key] = {**self.turn.recall(key), **one.verdict.remember}

    def _record(self, one: Asked, segment: Segment, message: int, start: int, won: bool) -> None:
        bound, verdict = one.bound, one.verdict
        if bound.mode == "off":
            return  # asked only for what must be masked in storage
        if verdict.act is not Act.PASS or verdict.steer or verdict.flags or one.broken:
            where = (segment.role, message, start)
            self.findings.append(Finding(bound.id, bound.kind, bound.mode, *where, verdict, won, one.ms, one.broken))


def _around(messages: Sequence[Heard]) -> list[tuple[str, str]]:
    """For each message what its speaker sent just before and behind it, as one text, with no answer between them.

    So a phrase or a datum told in instalments is seen. The model's own messages stand alone.
    """
    before = _tails(messages)
    after = _tails([Heard(one.role, one.text[::-1]) for one in reversed(messages)])
    return [(one, other[::-1]) for one, other in zip(before, reversed(after), strict=True)]


def _tails(messages: Sequence[Heard]) -> list[str]:
    """For each message the end of what its speaker said before it, since the last answer."""
    tails: list[str] = []
    said: dict[Role, str] = {}
    for one in messages:
        if one.role == "assistant":
            tails.append("")
            if one.text.strip():
                said.clear()
        else:
            tails.append(said.get(one.role, ""))
            said[one.role] = f"{tails[-1]}{one.text}\n"[-_REACH:]
    return tails


def _enforced(bound: Bound, role: Role) -> bool:
    return role in bound.content and bound.mode == "enforce"


def _storable(text: str, masks: Sequence[Asked]) -> str:
    """`text` masked, whatever the rails' modes; its length alone where the masking rail is missing or broken."""
    if not masks or any(one.broken for one in masks):
        return length_alone(text)
    return put_over(text, [span for one in masks for span in one.verdict.spans], mask)


def _covered(masks: Sequence[Asked], redactions: Sequence[Span]) -> bool:
    """Whether every span that storage must not show is redacted in what leaves."""
    if not masks or any(one.broken for one in masks):
        return False
    spans = [span for one in masks for span in one.verdict.spans]
    return all(any(r.start <= span.start and span.end <= r.end for r in redactions) for span in spans)


def length_alone(text: str) -> str:
    """What is stored of a text that cannot be masked."""
    return f"<{len(text)} characters>"
