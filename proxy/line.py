"""The line: every message of a turn passes the rails here, user and assistant side, streamed or not.

The content rails all judge the raw segment and their verdicts are merged; the shape rails then judge
the merged text of the assistant side, in policy order. The line knows no rail and no backend by name, and it
never sees a chunk: `proxy.segments` cuts, `proxy.answer` brings the pieces, the line judges.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Literal, get_args

from proxy.judged import Asked, Finding, Hearing, Judged, covered, storable
from proxy.memo import Found, Memo
from proxy.merge import merge
from proxy.policy.model import Bound, Policy
from proxy.reading import Message, read
from proxy.redact import carried, put_over, union
from proxy.turn import Act, Heard, Hold, RailFault, Role, Segment, Span, Turn, Verdict, guess_language
from proxy.vault import Vault

log = logging.getLogger("kindrail.line")

_UNREAD = "…"  # what the model reads in place of an earlier message that could not be judged
_SAID = ":say"  # the state's key for how often each house line was said; no rail id has a colon
_HOLDS = get_args(Hold)  # smallest first
_OTHER_TEXT = frozenset({Act.REPLACE, Act.DROP})  # of the user's side: the model reads something else, or nothing


class Line:
    """The rails of one policy at work on one turn. `findings` grows as text passes."""

    def __init__(self, policy: Policy, turn: Turn, memo: Memo, vault: Vault | None = None) -> None:
        """vault: what the session has in its vault; left out: nothing yet."""
        self.policy = policy
        self.turn = turn
        self.findings: list[Finding] = []
        self.rail_seconds = 0.0
        self.lines_said = 0  # house lines of this turn
        self.hold: Hold = policy.hold  # how much of an answer is kept back until it has been judged
        self.withdrawable = False  # nothing of the answer has left, and the policy may want another one
        self.opens = ""  # the key of a line in front of the answer
        self.vault = vault or Vault.of(policy)
        self._memo = memo

    def fork(self) -> Line:
        """The same rails for one of several answers, with a copy of what they remember."""
        turn = replace(self.turn, state=deepcopy(self.turn.state), memo=dict(self.turn.memo))
        line = Line(self.policy, turn, self._memo, self.vault)
        line.hold, line.opens = self.hold, self.opens
        return line

    async def hear(self, messages: Sequence[Heard]) -> Hearing:
        """Judges the messages that have not been answered yet."""
        texts: list[str] = []
        masked: list[str] = []
        steer: list[str] = []
        ends: dict[str, Verdict] = {}
        known = len(self.findings)
        for number, message in enumerate(self._read(messages)):
            judged = await self.content(message.segment, number, 0)
            texts.append(self._as_read(message, judged))
            if judged.sound:
                text = judged.text if judged.winner and judged.winner.act in _OTHER_TEXT else None
                self._memo.put(message.key, Found(message.sent(judged.effect.spans), text))
            masked.append(judged.masked)
            for one in judged.enforced:
                if one.verdict.act is Act.END:
                    ends[one.bound.key] = one.verdict
                elif one.verdict.resumes:
                    ends.pop(one.bound.key, None)  # "stop" - "no wait, go on": the rail itself has taken it back
                steer += (self.policy.note(key, self.turn.language, one.verdict.fill) for key in one.verdict.steer)
                self._hold(one.verdict.hold)
                self.opens = one.verdict.opens or self.opens
            await asyncio.sleep(0)  # rails do not pause: other turns go on between two messages
        final = next((bound for bound in self.policy.rails if bound.key in ends), None)
        end = await self._spoken(ends[final.key]) if final else None
        # a rail that looks for children in danger says so of itself, a flow of one turn
        urgent = final is not None and (getattr(final.rail, "urgent", False) or "alert" in ends[final.key].flags)
        if steer or any(one.verdict.alert for one in self.findings[known:]):
            self.opens = ""  # there is something graver to say
        return Hearing(tuple(texts), tuple(masked), end, tuple(dict.fromkeys(steer)), urgent)

    async def history(self, messages: Sequence[Heard]) -> list[str]:
        """Earlier messages as the model may read them: only redacted, or as a rail wrote them; from the memo where they
        were judged before.
        """
        texts: list[str] = []
        for number, message in enumerate(self._read(messages, past=True)):
            found = self._memo.get(message.key)
            if found is None:
                found, sound = await self._found(message, number)
                if found is not None and sound:
                    self._memo.put(message.key, found)
            if found is None:
                texts.append(_UNREAD)
            else:
                texts.append(self._redacted(message, found.spans, adds=True) if found.text is None else found.text)
            await asyncio.sleep(0)
        return texts

    async def _found(self, message: Message, number: int) -> tuple[Found | None, bool]:
        """What the model may read of an earlier message, and whether every rail answered.

        None if one did not and the policy is closed.
        """
        segment = message.segment
        rails = [bound for bound in self._content_rails(segment.role) if bound.mode == "enforce"]
        asked = [await self._ask(bound, segment) for bound in rails]
        wrote = next((one for one in asked if one.verdict.act in _OTHER_TEXT), None)
        if segment.role == "assistant":
            wrote = None  # it has left as it was written
        if wrote:
            part = replace(segment, text=wrote.verdict.text)
            asked += [await self._ask(bound, part) for bound in rails if bound is not wrote.bound]
        broken = [one for one in asked if one.broken]
        closed = self.policy.when_broken == "closed"
        for one in broken:
            self._record(one, segment, number, 0, won=closed)
        if broken and closed:
            return None, False
        if wrote:
            first, again = merge([one.verdict for one in asked[: len(rails)]]), asked[len(rails) :]
            data = carried(first.spans, segment.text, part.text)
            spans = union([*merge([one.verdict for one in again]).spans, *data])
            text = self.redacted(wrote.verdict.text, spans, self._language(part.text), numbers=False)
            return Found(text=text), not broken
        return Found(message.sent(merge([one.verdict for one in asked]).spans)), not broken

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
            spans, language = message.sent(judged.effect.spans), self._language(message.plain.text)
            texts.append(judged.text or self.redacted(message.text, spans, language, numbers=False))
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

    def say(self, key: str, fill: Mapping[str, str] = MappingProxyType({})) -> str:
        """The policy's line of this key in the turn's language, the next of its variants; `fill` as of a verdict."""
        counts = self.turn.state.setdefault(_SAID, {})
        nth = int(counts.get(key, 0))
        counts[key] = nth + 1
        self.lines_said += 1
        return self.policy.line(key, self.turn.language, nth, fill or self.turn.memo.get(("fill", key), fill))

    def opening(self) -> str:
        """The line in front of the answer; empty where no rail wants one, or the session has heard it."""
        key, self.opens = self.opens, ""
        return self.say(key) if key and key not in self.turn.state.get(_SAID, {}) else ""

    # -- the two stages ------------------------------------------------------------------------------------------------

    async def content(self, segment: Segment, message: int, start: int) -> Judged:
        """Asks the content rails, merges what they say, remembers and records. What one of them wrote in the text's
        place is judged by the others.
        """
        return await self._content(segment, message, start, self._content_rails(segment.role))

    async def _content(
        self, segment: Segment, message: int, start: int, rails: Sequence[Bound], placed: bool = True
    ) -> Judged:
        """placed: the segment stands in the message; else a rail wrote it, and its spans are no places there."""
        asked = await self._asked(segment, message, start, rails)
        enforced = tuple(one for one in asked if one.bound.mode == "enforce")
        effect = merge([one.verdict for one in enforced])
        end = next((order for order, one in enumerate(enforced) if one.verdict.act is Act.END), None)
        for order, one in enumerate(enforced):
            if order in (effect.winner, end) or one.verdict.act in (Act.PASS, Act.REDACT):
                self._remember(one)
        for one in asked:
            if one.bound.mode == "shadow":
                self._remember(one)  # under the shadow's own key
            won = one in enforced and effect.won(enforced.index(one), one.verdict)
            self._record(one if placed else one.nowhere(), segment, message, start, won)
        masks = [one for one in asked if one.bound.masks]
        judged = Judged(
            enforced[effect.winner].verdict if effect.winner is not None else None,
            effect,
            enforced,
            not any(one.broken for one in enforced),
            storable(segment.text, masks),
            covered(masks, effect.spans),
        )
        if effect.winner is None:
            return judged
        return await self._written(judged, enforced[effect.winner], segment, (message, start), rails)

    async def _asked(self, segment: Segment, message: int, start: int, rails: Sequence[Bound]) -> list[Asked]:
        """Each rail's verdict. Where the client goes meanwhile, those that were given are recorded all the same."""
        asked: list[Asked] = []
        try:
            for bound in rails:
                asked.append(await self._ask(bound, segment))
        except asyncio.CancelledError:
            for one in asked:
                if one.verdict.alert:  # it is told of, and so the next one of the session is a repeat
                    self._remember(one)
                self._record(one, segment, message, start, won=False)
            raise
        return asked

    async def _written(
        self, judged: Judged, wrote: Asked, segment: Segment, at: tuple[int, int], rails: Sequence[Bound]
    ) -> Judged:
        """The segment with what stands in its place: the winner's line, and what it wrote, past the other rails.

        What a rail writes behind the end of the user's side is for the user, and is judged where it is said.
        """
        verdict = wrote.verdict
        says = (verdict.say,) if verdict.say else ()
        self.turn.memo["fill", verdict.say] = verdict.fill  # for when it is said
        if not verdict.text or (verdict.act is Act.END and segment.role != "assistant"):
            return replace(judged, says=says)
        part = replace(segment, text=verdict.text)
        again = await self._content(part, *at, [bound for bound in rails if bound is not wrote.bound], placed=False)
        text, stored = again.text, again.stored
        if again.winner is None:
            data = carried(judged.effect.spans, segment.text, part.text)
            spans, numbers = union([*again.effect.spans, *data]), segment.role == "assistant"
            text = self.redacted(part.text, spans, self.turn.language, numbers)
            stored = text if again.covered else again.masked
        ends = judged.effect.ends or again.effect.ends
        return replace(
            judged,
            effect=replace(judged.effect, ends=ends),
            enforced=judged.enforced + again.enforced,
            sound=judged.sound and again.sound,
            says=(*says, *again.says),
            text=text,
            stored=stored,
        )

    async def _spoken(self, end: Verdict) -> str:
        """What is said in the place of an answer: a line, and what the rail itself wrote behind it, past the rails."""
        line = self.say(end.say, end.fill) if end.say else ""
        if not end.text:
            return line if line.strip() else self.say("fallback")
        judged = await self.content(Segment("assistant", end.text, self.turn, last=True), 0, 0)
        if judged.winner is None:
            text = self.redacted(end.text, judged.effect.spans, self.turn.language)
        else:
            text = " ".join([*map(self.say, judged.says), judged.text])
        return f"{line} {text}".strip() or self.say("fallback")

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
        """One rail's verdict. That of a broken rail is the policy's `when_broken`; what came late came not at all.

        A rail that asks another one's judgement leaves it in the turn's memo, and that one is not asked again.
        """
        begun = perf_counter()
        broken = told = ""
        known: Verdict | None = self.turn.memo.get(segment.asked(bound.key))
        late_after: float = getattr(bound.rail, "late_after", self.policy.late_after)  # a rail may have its own
        try:
            async with asyncio.timeout(late_after):
                verdict = known or await bound.rail.check(segment)
        except TimeoutError:
            broken = "late"
        except Exception as fault:  # law 6: whatever a rail raises is an event that the policy decides
            broken = type(fault).__name__
            told = f": {fault}" if isinstance(fault, RailFault) else ""
        seconds = perf_counter() - begun
        self.rail_seconds += seconds
        if not broken and seconds > late_after:
            broken = "late"  # it never paused, so that nothing could interrupt it
        if broken:
            log.warning("rail %s of %s broke: %s%s", bound.id, self.policy.label, broken, told)
            verdict = self._broken(bound, segment, told)
        elif segment.role in bound.content:
            self.turn.memo[segment.asked(bound.key)] = verdict
        return Asked(bound, verdict, broken, seconds * 1000)

    def _broken(self, bound: Bound, segment: Segment, told: str) -> Verdict:
        flags = frozenset({"review"})
        # A rail that looks for children in danger fails to their side, whatever the policy says.
        own: Callable[[Segment], Verdict] | None = getattr(bound.rail, "when_broken", None)
        if own is not None and segment.role != "assistant":
            return own(segment)
        if getattr(bound.rail, "fails", self.policy.when_broken) == "open":
            return Verdict(why=f"the rail broke; the policy lets the text pass{told}", flags=flags)
        act = Act.REPLACE if segment.role == "assistant" else Act.END
        return Verdict(act, say="sorry", why=f"the rail broke; the policy holds the text back{told}", flags=flags)

    # -- small things --------------------------------------------------------------------------------------------------

    def _content_rails(self, role: Role) -> list[Bound]:
        return [bound for bound in self.policy.rails if role in bound.content]

    def _read(self, messages: Sequence[Heard], past: bool = False) -> Iterator[Message]:
        session = (self.turn.session, self.turn.language) if self.policy.of_session else ()
        return read(messages, self.turn, (self.policy.digest, *session), past)

    def _as_read(self, message: Message, judged: Judged) -> str:
        """The user side's text as the model may read it."""
        if judged.winner is None or judged.winner.act is Act.END:
            return self._redacted(message, message.sent(judged.effect.spans), adds=True)
        return " ".join([*map(self.say, judged.says), judged.text]).strip()

    def _hold(self, hold: Hold | Literal[""]) -> None:
        if hold and _HOLDS.index(hold) > _HOLDS.index(self.hold):
            self.hold = hold

    def _language(self, text: str) -> str:
        """A message's own language, whatever the session's: its masked form stays the same while the talk goes on."""
        return guess_language(text, self.policy.languages, self.policy.languages[0])

    def _redacted(self, message: Message, spans: tuple[Span, ...], adds: bool = False) -> str:
        """A message of the request, as the model may read it. adds: its data get a place in the vault."""
        if self.vault is not None and message.segment.role == "assistant":
            spans = (*message.sent([*self.vault.told(message.plain.text)]), *spans)
        return self.redacted(message.text, spans, self._language(message.plain.text), adds=adds)

    def redacted(
        self, text: str, spans: tuple[Span, ...], language: str, numbers: bool = True, adds: bool = False
    ) -> str:
        """`text` with the policy's stand-ins over the spans, or the vault's placeholders.

        numbers: none without, for what is remembered beyond the session. adds: data may be new to the vault.
        """
        if not spans:
            return text
        words = partial(self.policy.stand_in, language=language)
        return self.vault.cover(text, spans, words, adds) if self.vault and numbers else put_over(text, spans, words)

    def restored(self, text: str, within_json: bool = False) -> str:
        """What is sent on, as the user gets it: the last step, behind which nothing judges or remembers."""
        return self.vault.restored(text, self.turn.language, within_json) if self.vault else text

    def _remember(self, one: Asked) -> None:
        if one.verdict.remember:
            key = one.bound.key
            self.turn.state[key] = {**self.turn.recall(key), **one.verdict.remember}

    def _record(self, one: Asked, segment: Segment, message: int, start: int, won: bool) -> None:
        if one.tells:
            self.findings.append(one.finding(segment.role, message, start, won))
