"""The line: every message of a turn passes the rails here, user and assistant side, streamed or not.

The content rails judge the raw segment side by side and their verdicts are merged; the shape rails then judge
the merged text of the assistant side, in policy order. The line knows no rail and no backend by name, and it
never sees a chunk: `proxy.segments` cuts, `proxy.answer` brings the pieces, the line judges.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from proxy.memo import Memo
from proxy.merge import Effect, merge
from proxy.policy.model import Bound, Policy
from proxy.redact import mask
from proxy.redact import redacted as with_stand_ins
from proxy.turn import Act, Mode, Role, Segment, Span, Turn, Verdict

log = logging.getLogger("kindrail.line")

_SAID = ":say"  # the state's key for how often each house line was said; no rail id has a colon


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as the app sent it."""

    role: Role
    text: str


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
class Judged:
    """One segment after the content rails: the enforced verdict that takes the text's place (if any), the effect, the
    storable text.
    """

    winner: Verdict | None
    effect: Effect
    verdicts: tuple[Verdict, ...]  # the enforced ones, in policy order
    masked: str


class Line:
    """The rails of one policy at work on one turn. `findings` and `masked` (what may be stored) grow as text passes."""

    def __init__(self, policy: Policy, turn: Turn, memo: Memo) -> None:
        self.policy = policy
        self.turn = turn
        self.findings: list[Finding] = []
        self.rail_seconds = 0.0
        self._memo = memo

    async def hear(self, messages: Sequence[Heard], before: str = "") -> Hearing:
        """Judges the messages that have not been answered yet; `before` is the message that precedes them."""
        texts: list[str] = []
        masked: list[str] = []
        steer: list[str] = []
        ends: dict[int, Verdict] = {}
        for number, heard in enumerate(messages):
            segment = Segment(heard.role, heard.text, self.turn, last=True)
            judged = await self.content(segment, number, 0)
            self._memo.put(self._memo_key(heard, before), judged.effect.spans)
            before = heard.text
            texts.append(self._text(segment, judged))
            masked.append(judged.masked)
            for order, verdict in enumerate(judged.verdicts):
                if verdict.act is Act.END:
                    ends[order] = verdict
                elif verdict.act is Act.PASS and verdict.remember:
                    ends.pop(order, None)  # "stop" - "no wait, go on": the rail itself has taken it back
                if verdict.steer:
                    steer.append(self.policy.note(verdict.steer, self.turn.language))
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
        before = ""
        for heard in messages:
            key = self._memo_key(heard, before)
            spans = self._memo.get(key)
            if spans is None:
                segment = Segment(heard.role, heard.text, self.turn, last=True)
                spans = merge([(await self._ask(bound, segment))[0] for bound in self._enforced(heard.role)]).spans
                self._memo.put(key, spans)
            texts.append(self.redacted(heard.text, spans))
            before = heard.text
        return texts

    def say(self, key: str) -> str:
        """The policy's line of this key in the turn's language, the next of its variants."""
        counts = self.turn.state.setdefault(_SAID, {})
        nth = int(counts.get(key, 0))
        counts[key] = nth + 1
        return self.policy.line(key, self.turn.language, nth)

    # -- the two stages ------------------------------------------------------------------------------------------------

    async def content(self, segment: Segment, message: int, start: int) -> Judged:
        """Asks the content rails, merges what they say, remembers and records."""
        asked = [
            (bound, *(await self._ask(bound, segment))) for bound in self.policy.rails if segment.role in bound.content
        ]
        verdicts = tuple(verdict for bound, verdict, _, _ in asked if bound.mode == "enforce")
        effect = merge(verdicts)
        order = 0
        for bound, verdict, broken, ms in asked:
            if bound.mode == "enforce":
                won = effect.won(order, verdict)
                heeded = order == effect.winner or verdict.act in (Act.PASS, Act.REDACT)
                order += 1
            else:
                won, heeded = False, bound.mode == "shadow"  # a shadow remembers under its own key
            if heeded:
                self._remember(bound, verdict)
            self._record(bound, segment, message, start, verdict, won, ms, broken)
        winner = verdicts[effect.winner] if effect.winner is not None else None
        return Judged(
            winner, effect, verdicts, _storable(segment.text, [(b, v, broken) for b, v, broken, _ in asked if b.masks])
        )

    async def shape(self, segment: Segment, start: int) -> tuple[str, bool]:
        """Lets the shape rails judge merged text one after another; returns what is left of it, and whether the answer
        ends.
        """
        text = segment.text
        for bound in self.policy.rails:
            if segment.role not in bound.shape or bound.mode == "off":
                continue
            verdict, broken, ms = await self._ask(bound, replace(segment, text=text))
            enforced = bound.mode == "enforce"
            self._remember(bound, verdict)
            self._record(bound, segment, 0, start, verdict, enforced, ms, broken)
            if not enforced or verdict.act is Act.PASS:
                continue
            if verdict.act is not Act.REDACT:
                return self._shaped(text, verdict), verdict.act is Act.END
            text = self.redacted(text, verdict.spans)
        return text, False

    def _shaped(self, text: str, verdict: Verdict) -> str:
        """What a shape rail leaves of a text that it replaces, drops, or ends: a line, nothing, or what stands before
        its span.
        """
        if verdict.say:
            return self.say(verdict.say)
        return text[: verdict.spans[0].start] if verdict.act is Act.END and verdict.spans else ""

    async def _ask(self, bound: Bound, segment: Segment) -> tuple[Verdict, str, float]:
        """One rail's verdict, how it broke (if it did), and milliseconds.

        A broken rail's verdict is the policy's `when_broken`.
        """
        begun = perf_counter()
        broken = ""
        try:
            async with asyncio.timeout(self.policy.late_after):
                verdict = await bound.rail.check(segment)
        except TimeoutError:
            broken = "late"
        except (
            Exception
        ) as fault:  # law 6: whatever a rail raises is an event that the policy decides, never a lost turn
            broken = type(fault).__name__
        if broken:
            log.warning("rail %s of %s broke: %s", bound.id, self.policy.label, broken)
            verdict = self._broken(segment)
        seconds = perf_counter() - begun
        self.rail_seconds += seconds
        return verdict, broken, seconds * 1000

    def _broken(self, segment: Segment) -> Verdict:
        flags = frozenset({"review"})
        if self.policy.when_broken == "open":
            return Verdict(why="the rail broke; the policy lets the text pass", flags=flags)
        act = Act.REPLACE if segment.role == "assistant" else Act.END
        return Verdict(act, say="sorry", why="the rail broke; the policy holds the text back", flags=flags)

    # -- small things --------------------------------------------------------------------------------------------------

    def _enforced(self, role: Role) -> list[Bound]:
        return [bound for bound in self.policy.rails if role in bound.content and bound.mode == "enforce"]

    def _text(self, segment: Segment, judged: Judged) -> str:
        """The user side's text as the model may read it."""
        winner = judged.winner
        if winner is None or winner.act is Act.END:
            return self.redacted(segment.text, judged.effect.spans)
        return self.say(winner.say) if winner.act is Act.REPLACE else ""

    def redacted(self, text: str, spans: tuple[Span, ...]) -> str:
        return (
            with_stand_ins(text, spans, lambda entity: self.policy.stand_in(entity, self.turn.language))
            if spans
            else text
        )

    def _remember(self, bound: Bound, verdict: Verdict) -> None:
        if verdict.remember:
            self.turn.state[bound.key] = {**self.turn.recall(bound.key), **verdict.remember}

    def _record(
        self,
        bound: Bound,
        segment: Segment,
        message: int,
        start: int,
        verdict: Verdict,
        won: bool,
        ms: float,
        broken: str,
    ) -> None:
        if bound.mode == "off":
            return  # asked only for what must be masked in storage
        if verdict.act is not Act.PASS or verdict.steer or verdict.flags or broken:
            found = Finding(bound.id, bound.kind, bound.mode, segment.role, message, start, verdict, won, ms, broken)
            self.findings.append(found)

    def _memo_key(self, heard: Heard, before: str) -> bytes:
        return self._memo.key(self.policy.digest, self.turn.language, heard.role, heard.text, before)


def _storable(text: str, masks: list[tuple[Bound, Verdict, str]]) -> str:
    """`text` masked, whatever the rails' modes; its length alone where the masking rail is missing or broken."""
    if not masks or any(broken for _, _, broken in masks):
        return f"<{len(text)} characters>"
    return with_stand_ins(text, [span for _, verdict, _ in masks for span in verdict.spans], mask)
