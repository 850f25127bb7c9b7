"""One turn, from the parsed request to the last byte of its answer.

The order is the promise: find the session (one read), judge what the user said, write the opened record and the
latch, let the answer through the line, write state and closed record, send the final chunk. Whatever goes wrong in
between, the turn is closed once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from proxy.answer import Answer, rebuild
from proxy.audit import Closed, Opened, Text, VerdictRecord
from proxy.line import Finding, Heard, Hearing, Line
from proxy.reply import Reply
from proxy.services import Services
from proxy.store import StoreDown
from proxy.turn import Act, BackendFault, Delta, Turn, guess_language
from proxy.wire.events import NO_USAGE, Skeleton, Usage, admitted, estimated, told_usage
from proxy.wire.outbox import Outbox
from proxy.wire.prompt import upstream_body
from proxy.wire.request import ChatRequest, Message

log = logging.getLogger("kindrail.chat")

_LANGUAGE = ":language"  # the state's key for the session's language; no rail id has a colon
_STORE_DOWN: tuple[int, dict[str, Any]] = (
    503,
    {
        "message": "The audit store does not answer, and no turn passes unrecorded. Try again in a moment.",
        "type": "server_error",
        "param": None,
        "code": "store_unavailable",
    },
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request's messages as the line takes them: answered before, not answered yet, and an answer the app began."""

    earlier: tuple[Message, ...]
    open: tuple[Message, ...]
    prefill: Message | None

    @classmethod
    def of(cls, request: ChatRequest) -> Conversation:
        talk = request.talk()
        prefill = talk.pop() if talk and talk[-1].role == "assistant" else None
        answered = max((at for at, message in enumerate(talk) if message.role == "assistant"), default=-1) + 1
        return cls(tuple(talk[:answered]), tuple(talk[answered:]), prefill)

    def said(self) -> list[tuple[str, str]]:
        """What was said, as roles and texts, up to the answer that is still to come."""
        return [(str(message.role), message.text) for message in (*self.earlier, *self.open)]


class Exchange:
    """One request and its answer: `run` does it all."""

    def __init__(self, services: Services, request: ChatRequest, named: str | None) -> None:
        self._on = services
        self._request = request
        self._talk = Conversation.of(request)
        self._named = named
        self._begun = time.perf_counter()
        self._seen: dict[str, float] = {}  # milestone -> milliseconds since the turn began
        self._session = services.sessions.fresh(named)
        self._line = Line(services.policy, Turn(token_hex(12), services.policy.languages[0]), services.memo)
        self._answer = Answer(self._line)
        self._hearing = Hearing((), (), None, (), urgent=False)
        self._texts: dict[int, str] = {}  # by place in the request's messages: what the model may read
        self._usage: Usage | None = None
        self._ended_as: str | None = None  # the finish reason
        self._unrecorded = False
        self._is_open = False
        self._closed = False
        self._skeleton = Skeleton(self.turn, request.model)

    @property
    def turn(self) -> str:
        return self._line.turn.id

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told of the turn; the session's id can be sent back."""
        session = self._named if self._named is not None else self._session.id
        return {"x-kindrail-turn": self.turn, "x-kindrail-session": session, "x-kindrail-policy": self._on.policy.label}

    async def run(self, reply_with: Callable[[dict[str, str]], Reply]) -> None:
        """Runs the turn and closes it, whatever happens.

        `reply_with` makes the reply once its headers are known. Faults become the reply's; a cancelled turn (the client
        has gone) is closed and raises on.
        """
        await self._find()
        reply = reply_with(self.headers)
        outcome, error = "failed", None
        try:
            await self._listen()
            outcome = await self._answered(reply)
        except BackendFault as fault:
            outcome, error = "backend_failed", (fault.status, fault.error)
        except StoreDown as fault:
            outcome, error = self._lost(fault), _STORE_DOWN
        except asyncio.CancelledError:
            outcome = "disconnected"
            raise
        finally:
            try:
                await self._finish(outcome)
            except StoreDown as fault:
                self._lost(fault)
                error = _STORE_DOWN
        if error:
            await reply.fault(*error)

    async def _answered(self, reply: Reply) -> str:
        await self._open()
        if self._hearing.end is not None:
            return await self._say(self._hearing.end, reply)
        return await self._relay(reply)

    # -- the session and the user's side -------------------------------------------------------------------------------

    async def _find(self) -> None:
        try:
            self._session = await self._on.sessions.find(self._named, self._talk.said())
        except StoreDown as fault:
            self._lost(fault)
        self._on.metrics.sessions.labels(self._session.found).inc()

    async def _listen(self) -> None:
        """Judges what the user said, and makes what the model may read of the conversation."""
        line, talk = self._line, self._talk
        line.turn = self._opening_turn()
        earlier = [_heard(message) for message in talk.earlier]
        if self._session.found == "new" and earlier:
            await rebuild(line, earlier)
        before = earlier[-1].text if earlier else ""
        self._hearing = await line.hear([_heard(message) for message in talk.open], before)
        begun = [talk.prefill] if talk.prefill else []
        known = [*talk.earlier, *begun]
        readable = await line.history([_heard(message) for message in known])
        self._texts = {message.index: text for message, text in zip(known, readable, strict=True)}
        self._texts |= {message.index: text for message, text in zip(talk.open, self._hearing.texts, strict=True)}
        self._answer = Answer(line, self._texts[talk.prefill.index] if talk.prefill else "")

    def _opening_turn(self) -> Turn:
        policy, state = self._on.policy, self._session.state
        said = next((message.text for message in reversed(self._talk.open) if message.role == "user"), "")
        known = str(state.get(_LANGUAGE, {}).get("is", policy.languages[0]))
        language = guess_language(said, policy.languages, known)
        state[_LANGUAGE] = {"is": language}
        return Turn(self.turn, language, said, time.time(), state)

    # -- the answer ----------------------------------------------------------------------------------------------------

    async def _say(self, line: str, reply: Reply) -> str:
        """The house answers, and the model is not asked."""
        self._answer.sent = line
        self._answer.stored.append(line)
        self._usage = dict(NO_USAGE)
        self._ended_as = self._reason() or "stop"
        await reply.events([self._skeleton.text(line, role=True)])
        self._first_byte()
        await self._finish("ended")
        await self._end(reply, [self._skeleton.finish(self._ended_as)])
        return "ended"

    async def _relay(self, reply: Reply) -> str:
        """The model answers, through the line. Its generation is cancelled as soon as no more of it is wanted."""
        knows = await self._on.backend.knows()
        settings = self._on.policy.model
        body = upstream_body(self._request, settings, self._texts, self._hearing.steer, knows)
        outbox = Outbox(self._skeleton)
        counted = 0
        async with aclosing(self._on.backend.stream(body)) as stream:
            async for delta in stream:
                counted += 1
                await self._pass(delta, outbox, reply)
                if self._answer.ended:
                    break
        cut = outbox.reason == "length"
        await reply.events(outbox.release(await self._answer.finish(cut)))
        if self._usage is None:
            self._usage = estimated(body, counted)
        self._ended_as = self._reason() or outbox.reason or "stop"
        await self._finish("answered")
        await self._end(reply, outbox.close(self._reason()))
        return "answered"

    async def _pass(self, delta: Delta, outbox: Outbox, reply: Reply) -> None:
        self._seen.setdefault("upstream", self._elapsed())
        self._skeleton.learn(delta.event)
        self._usage = told_usage(delta.event) or self._usage
        if not delta.event.get("choices"):
            return self._skeleton.closing(delta.event)  # usage: it is told at the end
        text = outbox.hold(admitted(delta, self._request.wants_running_usage))
        ready = outbox.release(await self._answer.feed(text) if text else ())
        if ready:
            await reply.events(ready)
            self._first_byte()

    async def _end(self, reply: Reply, closing: list[Delta]) -> None:
        if self._request.wants_usage and self._usage is not None:
            closing = [*closing, self._skeleton.usage(self._usage)]
        await reply.events(closing)
        await reply.done()

    def _reason(self) -> str | None:
        """The finish reason that a block gives by the policy, if it is not the plain one."""
        blocked = any(f.won and f.verdict.act in (Act.REPLACE, Act.END) and f.verdict.say for f in self._line.findings)
        return "content_filter" if blocked and self._on.policy.blocked_as == "content_filter" else None

    # -- the two writes ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """The opened record and the latch, before the first byte.

        A child in danger is answered even if they cannot be kept; anybody else is not. Raises `StoreDown`.
        """
        if self._unrecorded:
            if not self._hearing.urgent:
                raise StoreDown(ConnectionError())
            return
        pipe = self._on.store.pipe()
        self._on.audit.opened(pipe, self._opened(), self._on.policy.keep)
        self._on.sessions.latch(pipe, self._session, self._line.turn.state, self._on.policy.keep.sessions)
        self._is_open = True
        try:
            await self._on.store.run(pipe)
        except StoreDown as fault:
            self._lost(fault)
            if not self._hearing.urgent:
                raise

    def _opened(self) -> Opened:
        policy, session, turn = self._on.policy, self._session, self._line.turn
        return Opened(
            turn.id, session.id, session.found, session.tenant, policy.label, policy.digest, turn.language, turn.now,
            "chat.completions", self._request.stream,
        )  # fmt: skip

    async def _finish(self, outcome: str) -> None:
        """State and closed record, once; to its end even if the client goes meanwhile. Raises `StoreDown`."""
        if self._closed:
            return
        self._closed = True
        self._seen["total"] = self._elapsed()
        self._measure("unrecorded" if self._unrecorded else outcome)
        if self._unrecorded:
            return
        task = asyncio.create_task(self._write(outcome))
        self._on.closing.add(task)
        task.add_done_callback(self._on.closing.discard)
        await asyncio.shield(task)

    async def _write(self, outcome: str) -> None:
        on, keep = self._on, self._on.policy.keep
        pipe = on.store.pipe()
        begun = self._talk.prefill.text if self._talk.prefill else ""
        transcript = [*self._talk.said(), ("assistant", begun + self._answer.sent)]
        if not self._is_open:  # the client left, or something failed, while the user's side was judged
            on.audit.opened(pipe, self._opened(), keep)
        on.sessions.commit(pipe, self._session, self._line.turn.state, transcript, keep.sessions)
        on.audit.closed(pipe, self._record(outcome), self._touched_texts(), keep)
        try:
            await on.store.run(pipe)
        except StoreDown as fault:
            self._lost(fault)
            if not self._hearing.urgent:
                raise

    def _lost(self, fault: StoreDown) -> str:
        """Takes note that this turn's records are not kept."""
        self._unrecorded = True
        log.error("turn %s is not recorded: %s", self.turn, fault.kind)
        return "unrecorded"

    def _record(self, outcome: str) -> Closed:
        ms = {**self._seen, "rails": round(self._line.rail_seconds * 1000, 3)}
        verdicts = tuple(_verdict(found) for found in self._line.findings)
        return Closed(
            self.turn, self._session.id, outcome, verdicts, self._ended_as, len(self._answer.sent), self._usage, ms
        )

    def _touched_texts(self) -> list[Text]:
        """The masked texts of a turn in which a rail did something; of others none are kept."""
        if not self._line.findings or len(self._hearing.masked) < len(self._talk.open):
            return []
        heard = zip(self._talk.open, self._hearing.masked, strict=True)
        answer = self._answer
        return [
            *(Text(str(message.role), len(message.text), masked) for message, masked in heard),
            Text("assistant", sum(map(len, answer.masked)), "".join(answer.masked)),
            Text("sent", len(answer.sent), "".join(answer.stored)),
        ]

    # -- measuring -----------------------------------------------------------------------------------------------------

    def _measure(self, outcome: str) -> None:
        metrics = self._on.metrics
        metrics.turns.labels(self._on.policy.label, outcome).inc()
        metrics.rail_seconds.observe(self._line.rail_seconds)
        metrics.count(self._on.policy.label, self._line.findings)

    def _first_byte(self) -> None:
        if "first_byte" not in self._seen:
            self._seen["first_byte"] = self._elapsed()
            self._on.metrics.first_byte.observe(self._seen["first_byte"] / 1000)

    def _elapsed(self) -> float:
        return round((time.perf_counter() - self._begun) * 1000, 3)


def _heard(message: Message) -> Heard:
    return Heard(message.role or "user", message.text)


def _verdict(found: Finding) -> VerdictRecord:
    verdict, entities = found.verdict, dict[str, int]()
    for span in verdict.spans:
        entities[span.entity] = entities.get(span.entity, 0) + 1
    return VerdictRecord(
        found.rail, found.kind, found.mode, found.role, verdict.act.value, verdict.why, verdict.say,
        tuple(sorted(verdict.flags)), found.won, round(found.ms, 3), entities,
    )  # fmt: skip
