"""One turn, from the parsed request to the last byte of its answer.

The order is the promise: find the session (one read), judge what the user said, write the opened record and the
latch, let the answer through the line, write state and closed record, send the final chunk. Whatever goes wrong in
between, the turn is closed once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from secrets import token_hex

from proxy.answer import Answer, rebuild
from proxy.audit import Audit, Closed, Opened, Text, VerdictRecord
from proxy.line import Finding, Heard, Hearing, Line
from proxy.memo import Memo
from proxy.metrics import Metrics
from proxy.policy.model import Policy
from proxy.reply import Reply
from proxy.sessions import Session, Sessions
from proxy.store import Store, StoreDown
from proxy.turn import Act, Backend, BackendFault, Delta, Turn, guess_language
from proxy.wire.events import NO_USAGE, Skeleton, Usage, admitted, estimated
from proxy.wire.outbox import Outbox
from proxy.wire.prompt import upstream_body
from proxy.wire.request import ChatRequest, Message

log = logging.getLogger("kindrail.chat")

_LANGUAGE = ":language"  # the state's key for the session's language; no rail id has a colon
_STORE_DOWN = {
    "message": "The audit store does not answer, and this policy lets no turn pass unrecorded. Try again in a moment.",
    "type": "server_error",
    "param": None,
    "code": "store_unavailable",
}


@dataclass(slots=True)
class Services:
    """What every turn uses. `closing` holds the last writes of turns whose client has gone."""

    policy: Policy
    backend: Backend
    store: Store
    sessions: Sessions
    audit: Audit
    metrics: Metrics
    memo: Memo = field(default_factory=Memo)
    closing: set[asyncio.Task[None]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request's messages as the line takes them: what was answered before, what was not, and an answer that the app
    began.
    """

    earlier: tuple[Message, ...]
    open: tuple[Message, ...]
    prefilled: str

    @classmethod
    def of(cls, request: ChatRequest) -> Conversation:
        talk = request.talk()
        prefilled = talk.pop().text if talk and talk[-1].role == "assistant" else ""
        answered = max((at for at, message in enumerate(talk) if message.role == "assistant"), default=-1) + 1
        return cls(tuple(talk[:answered]), tuple(talk[answered:]), prefilled)


class Exchange:
    """One request and its answer. `prepare`, then `answer`; `close` is called by them and does its work once."""

    def __init__(self, services: Services, request: ChatRequest, named: str | None) -> None:
        self._on = services
        self._request = request
        self._talk = Conversation.of(request)
        self._named = named
        self._begun = time.perf_counter()
        self._seen: dict[str, float] = {}  # milestone -> milliseconds since the turn began
        self._session: Session
        self._line: Line
        self._hearing: Hearing
        self._answer: Answer
        self._usage: Usage | None = None
        self._unrecorded = False
        self._closed = False
        self.turn = token_hex(12)
        self._skeleton = Skeleton(self.turn, request.model)

    async def prepare(self) -> None:
        """Finds the session and judges the user's side. Raises `ValueError` for an impossible session id."""
        await self._find()
        self._line = Line(self._on.policy, self._opening_turn(), self._on.memo)
        earlier = [_heard(message) for message in self._talk.earlier]
        if self._session.found == "new" and earlier:
            await rebuild(self._line, earlier)
        self._texts = {
            m.index: text for m, text in zip(self._talk.earlier, await self._line.history(earlier), strict=True)
        }
        before = earlier[-1].text if earlier else ""
        self._hearing = await self._line.hear([_heard(message) for message in self._talk.open], before)
        self._texts |= {message.index: text for message, text in zip(self._talk.open, self._hearing.texts, strict=True)}
        self._answer = Answer(self._line, self._talk.prefilled)

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told of the turn; the session's id can be sent back."""
        session = self._named if self._named is not None else self._session.id
        return {"x-kindrail-turn": self.turn, "x-kindrail-session": session, "x-kindrail-policy": self._on.policy.label}

    async def answer(self, reply: Reply) -> None:
        """Answers, and closes the turn.

        Faults become the reply's; a cancelled turn (the client has gone) is closed and raises on.
        """
        outcome = "failed"
        try:
            outcome = await self._answered(reply)
        except BackendFault as fault:
            outcome = "backend_failed"
            await self._finish(outcome)
            await reply.fault(fault.status, fault.error)
        except StoreDown as fault:
            outcome = "unrecorded"
            log.error("turn %s is not recorded: %s", self.turn, fault.kind)
            await reply.fault(503, _STORE_DOWN)
        except asyncio.CancelledError:
            outcome = "disconnected"
            raise
        finally:
            await self._finish(outcome)

    async def _answered(self, reply: Reply) -> str:
        if self._unrecorded and not self._hearing.urgent:
            raise StoreDown(ConnectionError())
        await self._open()
        if self._hearing.end is not None:
            return await self._say(self._hearing.end, reply)
        return await self._relay(reply)

    # -- the session ---------------------------------------------------------------------------------------------------

    async def _find(self) -> None:
        sessions = self._on.sessions
        transcript = [(m.role, m.text) for m in (*self._talk.earlier, *self._talk.open) if m.role]
        try:
            self._session = await sessions.find(self._named, transcript)
        except StoreDown as fault:
            log.error("no session for turn %s: %s", self.turn, fault.kind)
            self._session, self._unrecorded = sessions.fresh(self._named), True
        self._on.metrics.sessions.labels(self._session.found).inc()

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
        await reply.events([self._skeleton.text(line, role=True)])
        self._first_byte()
        await self._finish("ended")
        await self._end(reply, [self._skeleton.finish(self._reason() or "stop")])
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
        await self._finish("answered")
        await self._end(reply, outbox.close(self._reason()))
        return "answered"

    async def _pass(self, delta: Delta, outbox: Outbox, reply: Reply) -> None:
        self._seen.setdefault("upstream", self._elapsed())
        self._skeleton.learn(delta.event)
        self._usage = delta.event.get("usage") or self._usage
        if not delta.event.get("choices"):
            return  # usage: it is told at the end
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

        A child in danger is answered even if they cannot be kept.
        """
        on, session, policy = self._on, self._session, self._on.policy
        record = Opened(
            self.turn, session.id, session.found, session.tenant, policy.label, policy.digest, self._line.turn.language,
            self._line.turn.now, "chat.completions", self._request.stream,
        )  # fmt: skip
        pipe = on.store.pipe()
        on.audit.opened(pipe, record, policy.keep)
        on.sessions.latch(pipe, session, self._line.turn.state, policy.keep.sessions)
        try:
            await on.store.run(pipe)
        except StoreDown:
            if not self._hearing.urgent:
                raise
            self._unrecorded = True

    async def _finish(self, outcome: str) -> None:
        """State and closed record, once; to its end even if the client goes meanwhile. Raises `StoreDown`."""
        if self._closed:
            return
        self._closed = True
        self._seen["total"] = self._elapsed()
        self._measure(outcome)
        if self._unrecorded:
            return
        task = asyncio.create_task(self._write(outcome))
        self._on.closing.add(task)
        task.add_done_callback(self._on.closing.discard)
        await asyncio.shield(task)

    async def _write(self, outcome: str) -> None:
        on, policy = self._on, self._on.policy
        pipe = on.store.pipe()
        said = [(m.role, m.text) for m in (*self._talk.earlier, *self._talk.open) if m.role]
        transcript = [*said, ("assistant", self._talk.prefilled + self._answer.sent)]
        on.sessions.commit(pipe, self._session, self._line.turn.state, transcript, policy.keep.sessions)
        on.audit.closed(pipe, self._record(outcome), self._touched_texts(), policy.keep)
        try:
            await on.store.run(pipe)
        except StoreDown:
            if not self._hearing.urgent:
                raise

    def _record(self, outcome: str) -> Closed:
        ms = {**self._seen, "rails": round(self._line.rail_seconds * 1000, 3)}
        verdicts = tuple(_verdict(found) for found in self._line.findings)
        reason = self._reason() or "stop"
        return Closed(self.turn, self._session.id, outcome, verdicts, reason, len(self._answer.sent), self._usage, ms)

    def _touched_texts(self) -> list[Text]:
        """The masked texts of a turn in which a rail did something; of others none are kept."""
        if not self._line.findings:
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
