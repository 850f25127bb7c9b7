"""One turn, from the parsed request to the last byte of its answer.

The order is the promise: find the session (one read), judge what the user said, write the opened record and the
latch, let the answer through the line, write state and closed record, send the final chunk. Whatever goes wrong in
between, the turn is closed once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from proxy.answer import rebuild
from proxy.audit import Text
from proxy.call import Call, Conversation
from proxy.judge import Judge
from proxy.judged import Finding, Hearing
from proxy.limits import Limited
from proxy.line import Line
from proxy.record import Outcome, Record
from proxy.reply import STORE_DOWN, Fault, Reply
from proxy.retry import Again
from proxy.services import Services
from proxy.store import StoreDown
from proxy.text import is_json
from proxy.turn import Ask, BackendFault, Delta, Heard, Turn, guess_language
from proxy.vault import Vault
from proxy.voice import Order, Voice
from proxy.wire.completions import TextRequest
from proxy.wire.events import aside, content, index_of, split
from proxy.wire.messages import Message
from proxy.wire.prompt import settled, storable, upstream_body
from proxy.wire.request import ChatRequest
from proxy.wire.sieve import Sieve
from proxy.wire.skeleton import Skeleton
from proxy.wire.usage import NO_USAGE, Tally, Usage, summed

_LANGUAGE = ":language"  # the state's key for the session's language; no rail id has a colon


class Exchange:
    """One request and its answer: `run` does it all. Raises `BadName` for a conversation's name that cannot be one."""

    def __init__(self, services: Services, call: Call, request: ChatRequest | TextRequest) -> None:
        self._on = services
        self._call = call
        self._request = request
        self._talk = Conversation.of(request)
        self._line = Line(call.policy, Turn(call.turn, call.policy.languages[0]), services.memo)
        self._record = Record(services, call)
        self._limits: dict[str, str] = {}  # headers that tell what the key may still use
        self._hearing = Hearing((), (), None, (), urgent=False)
        self._texts: dict[int | tuple[int, int], str] = {}  # what the model may read, by place in the request
        self._skeleton = Skeleton(call.turn, request.model)
        self._voices: list[Voice] = []
        self._tally = Tally(request.body.get("n") or 1)
        self._usage: Usage | None = None
        self._asked: dict[str, Any] | None = None  # the body that the backend got
        self._ended_as: str | None = None  # the finish reason
        self._held: list[Delta] = []  # events without a word, of an answer that may still be withdrawn
        self._before: Usage | None = None  # what a withdrawn answer has cost
        self._withdrawn: list[Text] = []

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told of the turn; the session's id can be sent back."""
        call = self._call
        told = {"turn": call.turn, "session": self._record.name, "policy": call.policy.label}
        return {**{f"x-kindrail-{name}": value for name, value in told.items()}, **self._limits}

    async def run(self, reply_with: Callable[[dict[str, str]], Reply]) -> None:
        """Runs the turn and closes it, whatever happens.

        `reply_with` makes the reply once its headers are known. Faults become the reply's; a cancelled turn (the client
        has gone) is closed and raises on.
        """
        outcome, fault = "failed", None
        reply: Reply | None = None
        try:
            over = await self._enter()
            refusal = self._call.refusal or over
            reply = reply_with(self.headers)
            await self._listen()
            if refusal and not self._hearing.urgent:
                outcome, fault = "refused", refusal
                await self._record.refused(refusal.status)
            else:
                outcome = await self._answered(reply)
        except BackendFault as refused:
            outcome, fault = "backend_failed", Fault(refused.status, refused.error, refused.headers)
        except StoreDown as down:
            self._record.note(down)
            outcome, fault = "unrecorded", STORE_DOWN
        except asyncio.CancelledError:
            outcome = "disconnected"
            raise
        finally:
            try:
                await self._close(outcome)
            except StoreDown as down:
                self._record.note(down)
                fault = STORE_DOWN
        if fault and reply:
            await reply.fault(fault)

    async def _enter(self) -> Fault | None:
        """Finds the session; where the key has used what it may, gives what is told in the place of an answer."""
        try:
            self._limits = await self._on.meter.enter(self._call.caller, self._call.turn)
            self._record.entered = True
        except Limited as limited:
            return Fault(limited.status, limited.error, limited.headers)
        except StoreDown as down:
            self._record.note(down)
        if not self._call.refusal:
            await self._record.find(self._talk.said())
        return None

    async def _answered(self, reply: Reply) -> str:
        await self._record.open(self._line.turn, self._hearing.urgent)
        lines = (
            [self._line] if self._request.choices == 1 else [self._line.fork() for _ in range(self._request.choices)]
        )
        self._give_voice(lines)
        if self._hearing.end is not None:
            return await self._say(self._hearing.end, reply)
        return await self._relay(reply)

    def _give_voice(self, lines: Sequence[Line]) -> None:
        """One voice for each answer that is wanted."""
        order, begun = self._order(), self._begun()
        self._voices = [Voice(line, order, self._skeleton, index, begun) for index, line in enumerate(lines)]

    # -- the user's side -----------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Judges what the user said, and makes what the model may read of the conversation."""
        line, talk = self._line, self._talk
        line.turn = self._opening_turn()
        if self._record.session.found == "new" and line.turn.history:
            await rebuild(line, line.turn.history)
        line.vault = Vault.of(self._call.policy, self._record.session.vault)
        await self._read(talk.earlier)  # in the order of the talk, so that placeholders keep their numbers
        known = len(line.findings)
        try:
            self._hearing = await line.hear([_heard(message) for message in talk.open])
        finally:  # a child in danger is told of, even where the client goes while other rails still judge
            self._record.alert(line.turn, line.findings[known:])
        self._texts |= {message.index: text for message, text in zip(talk.open, self._hearing.texts, strict=True)}
        await self._read(talk.known[len(talk.earlier) :])
        await self._read_calls(talk.known)

    async def _read(self, messages: Sequence[Message]) -> None:
        """Messages that are only redacted, as the model may read them."""
        texts = await self._line.history([_heard(message) for message in messages])
        self._texts |= {message.index: text for message, text in zip(messages, texts, strict=True)}

    async def _read_calls(self, messages: Sequence[Message]) -> None:
        """The arguments of earlier tool calls as the model may read them: JSON still, or nothing."""
        for message in messages:
            for number, arguments in enumerate(message.calls):
                (text,) = await self._line.history([Heard("assistant", arguments)])
                self._texts[message.index, number] = text if text == arguments or is_json(text) else "{}"

    def _opening_turn(self) -> Turn:
        policy, state = self._call.policy, self._record.session.state
        said = next((message.text for message in reversed(self._talk.open) if message.role == "user"), "")
        known = str(state.get(_LANGUAGE, {}).get("is", policy.languages[0]))
        language = guess_language(said, policy.languages, known)
        state[_LANGUAGE] = {"is": language}
        return Turn(
            self._call.turn,
            language,
            said,
            time.time(),
            state,
            session=self._record.session.id,
            history=tuple(_heard(message) for message in self._talk.earlier),
            settings=self._call.settings,
            instructions="\n".join(message.text for message in self._request.messages if message.role is None),
            judge=Judge(self._on.backend, self._line),
        )

    # -- the answer ----------------------------------------------------------------------------------------------------

    def _begun(self) -> str:
        """The answer that the app began, as the model may read it."""
        return self._texts[self._talk.prefill.index] if self._talk.prefill else ""

    def _order(self) -> Order:
        request, permits = self._request, self._call.permits
        sieve = Sieve(request.wants_running_usage, permits.fields, request.stops)
        reasoning = self._call.policy.reads_reasoning
        if isinstance(request, TextRequest):
            return Order(request.wants_json, allowed=permits.tool, reasoning=reasoning, sieve=sieve)
        return Order(request.wants_json, request.forces_tools, request.allows(permits), reasoning, sieve)

    async def _say(self, line: str, reply: Reply) -> str:
        """The house answers, and the model is not asked."""
        self._usage = dict(NO_USAGE)
        await reply.events([delta for voice in self._voices for delta in voice.say(line)])
        self._ended_as = self._reason(self._voices[0]) or "stop"
        self._record.reached("first_byte")
        await self._close("ended")
        await self._end(reply)
        return "ended"

    async def _relay(self, reply: Reply) -> str:
        """The model answers, through the line. It is asked once more where the policy wants it and no word has left."""
        retry = self._call.policy.retry
        if retry and len(self._voices) == 1 and not isinstance(self._request, TextRequest):
            line = self._line.fork()  # so that what the rails remember of a withdrawn answer is forgotten
            line.withdrawable = True
            self._give_voice([line])
        try:
            await self._ask(reply)
        except Again as again:
            await self._ask_again(again, reply)
        self._usage = self._spent()
        self._ended_as = self._reason(self._voices[0]) or self._voices[0].reason or "stop"
        await self._close("answered")
        await self._end(reply)
        return "answered"

    async def _ask(self, reply: Reply, *notes: str) -> None:
        """One request to the model. Its generation is cancelled as soon as no more of it is wanted."""
        self._asked = body = self._body(await self._on.backend.knows(self._request.model), notes)
        ask = Ask(body, self._call.dialect.route, self._call.headers, session=self._record.session.id)
        async with aclosing(self._on.backend.stream(ask)) as stream:
            async for delta in stream:
                await self._pass(self._call.dialect.arrived(delta), reply)
                if any(voice.ended for voice in self._voices) and all(voice.done for voice in self._voices):
                    break
        for voice in self._voices:
            if voice.told or voice is self._voices[0]:
                await self._leave(await voice.finish(), reply)
        await reply.events(self._held)
        self._held = []

    async def _ask_again(self, again: Again, reply: Reply) -> None:
        """Another answer in the place of one of which nothing has left, with a note on what was wrong with it.

        Where the model server fails now, the house says what it would have said without another try.
        """
        policy, (first,) = self._call.policy, self._voices
        self._withdraw(first)
        note = [policy.note(policy.retry.note, self._line.turn.language)] if policy.retry else []
        try:
            await self._ask(reply, *note)
        except BackendFault:
            if self._voices[0].answer.sent:
                raise
            await reply.events(self._voices[0].say(self._line.say(again.say or "fallback")))

    def _withdraw(self, voice: Voice) -> None:
        """Keeps the record of an answer that nobody will read, and begins anew."""
        line, masked = voice.line, voice.answer.masked
        self._line.findings += [replace(found, won=False, withdrawn=True) for found in line.findings]
        self._line.rail_seconds += line.rail_seconds
        self._withdrawn = [Text("withdrawn", sum(map(len, masked)), "".join(masked))]
        self._before = self._spent()
        self._tally, self._skeleton = Tally(), Skeleton(self._call.turn, self._request.model)
        self._held = []
        self._give_voice([self._line])

    def _spent(self) -> Usage:
        """What the model's answers have cost, withdrawn ones included."""
        usage = self._tally.usage(self._asked or {})
        return summed(self._before, usage) if self._before else usage

    def _body(self, knows: frozenset[str], notes: Sequence[str]) -> dict[str, Any]:
        request, settings = self._request, self._call.policy.model
        if isinstance(request, TextRequest):
            return settled(request.upstream(self._texts), settings, knows)
        return upstream_body(request, settings, self._texts, (*self._hearing.steer, *notes), knows)

    async def _pass(self, delta: Delta, reply: Reply) -> None:
        self._record.reached("upstream")
        self._skeleton.learn(delta.event)
        ready: list[Delta] = []
        for one in split(delta):
            self._tally.add(one.event)
            if not one.event.get("choices"):
                return self._skeleton.closing(one.event)  # usage: it is told at the end
            if 0 <= (index := index_of(one.event)) < len(self._voices):
                ready += await self._voices[index].take(one)
        await self._leave(ready, reply)

    async def _leave(self, ready: Sequence[Delta], reply: Reply) -> None:
        """Sends events. While the answer may be withdrawn, those without a word wait for the first that has one."""
        line = self._voices[0].line
        self._held += ready
        if line.withdrawable and not any(content(one.event) or aside(one.event).tells for one in ready):
            return
        ready, self._held, line.withdrawable = self._held, [], False
        if ready:
            await reply.events(ready)
            if self._call.stream:  # else nothing is sent yet
                self._record.reached("first_byte")

    async def _end(self, reply: Reply) -> None:
        told = [voice for voice in self._voices if voice.told or voice is self._voices[0]]
        tells_usage = self._request.wants_usage and self._usage is not None
        closing: list[Delta] = []
        for voice in told:
            *rest, last = voice.close(self._reason(voice))
            closing += [*rest, last if tells_usage else self._skeleton.completed(last)]
        if tells_usage:
            closing.append(self._skeleton.usage(self._usage or NO_USAGE))
        await reply.events(closing)
        await reply.done()
        self._record.reached("first_byte")

    def _reason(self, voice: Voice) -> str | None:
        """The finish reason that the policy gives an answer in which the house spoke, if it is not the plain one."""
        told = voice.house_spoke and self._call.policy.blocked_as == "content_filter"
        return "content_filter" if told else None

    # -- the end -------------------------------------------------------------------------------------------------------

    async def _close(self, how: str) -> None:
        if self._usage is None and self._asked:  # it broke off: the backend has worked all the same
            self._usage = self._spent()
        begun = self._talk.prefill.text if self._talk.prefill else ""
        said = self._talk.said()
        outcome = Outcome(
            how,
            self._findings(),
            [(voice.line.turn.state, [*said, ("assistant", begun + voice.given())]) for voice in self._voices]
            or [(self._line.turn.state, [*said, ("assistant", begun)])],
            self._touched_texts(),
            self._ended_as,
            sum(len(voice.answer.sent) for voice in self._voices),
            self._usage,
            sum(line.rail_seconds for line in self._lines()),
            await self._kept() if how in ("answered", "ended") and self._call.keep else None,
        )
        await self._record.close(self._line.turn, outcome, self._hearing.urgent)

    async def _kept(self) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        """The conversation and its answer as they may be stored; None where no rail can mask them."""
        sent = self._request.body["messages"]
        masked: list[dict[str, Any]] = []
        texts = await self._line.masked([_heard(message) for message in self._request.messages])
        for message in self._request.messages:
            calls = await self._line.masked([Heard("assistant", arguments) for arguments in message.calls])
            if texts is None or calls is None:
                return None
            masked.append(storable(sent[message.index], [texts[message.index], *calls]))
        return masked, self._voices[0].message()

    def _lines(self) -> list[Line]:
        return [self._line, *(voice.line for voice in self._voices if voice.line is not self._line)]

    def _findings(self) -> list[Finding]:
        """What the rails found: of the conversation, then of each answer, numbered."""
        forks = [(n, voice.line) for n, voice in enumerate(self._voices) if voice.line is not self._line]
        return [*self._line.findings, *(replace(found, message=n) for n, line in forks for found in line.findings)]

    def _touched_texts(self) -> list[Text]:
        """The masked texts of a turn in which a rail did something; of others none are kept."""
        if not self._findings() or len(self._hearing.masked) < len(self._talk.open):
            return []
        heard = zip(self._talk.open, self._hearing.masked, strict=True)
        texts = [Text(str(message.role), len(message.text), masked) for message, masked in heard]
        texts += self._withdrawn
        for voice in self._voices:
            answer = voice.answer
            texts.append(Text("assistant", sum(map(len, answer.masked)), "".join(answer.masked)))
            texts.append(Text("sent", len(answer.sent), "".join(voice.stored())))
        return texts


def _heard(message: Message) -> Heard:
    return Heard(message.role or "user", message.text)
