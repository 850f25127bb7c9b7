"""One of the answers to a request, on its way out: its text, its tool calls, and what is said beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.answer import Answer, Structured
from proxy.beside import Beside
from proxy.calls import Calls
from proxy.document import Document
from proxy.line import Line
from proxy.segments import CALL_BEGINS
from proxy.structured import judge, judge_call
from proxy.text import is_json
from proxy.thoughts import Thoughts
from proxy.turn import Delta
from proxy.wire.events import Aside, aside, content, finish_reason, in_words
from proxy.wire.outbox import Outbox
from proxy.wire.sieve import Sieve
from proxy.wire.skeleton import Skeleton

_OF_CALLS = ("tool_calls", "function_call")  # finish reasons


@dataclass(frozen=True, slots=True)
class Order:
    """What kind of answer is wanted."""

    json: bool = False  # one JSON document
    must_call: bool = False  # a tool call and nothing else
    allowed: Callable[[str], bool] = lambda name: False  # which functions may be called
    reasoning: bool = False  # it is judged and leaves; else it is left out
    sieve: Sieve = field(default_factory=Sieve)


class Voice:
    """One answer. It takes the backend's events of its choice and gives those that may leave, in order."""

    def __init__(self, line: Line, order: Order, skeleton: Skeleton, index: int = 0, prefilled: str = "") -> None:
        self.line = line
        self.answer: Answer | Document = (
            Document(line, self._document)
            if order.json
            else Answer(line, prefilled, self._call_in_text, order.reasoning)
        )
        self.told = False  # an event of this answer has come
        self._said_before, self._by_house = line.lines_said, False
        self._order = order
        self._outbox = Outbox(skeleton, index)
        self._calls = Calls(line, order.allowed)
        self._reasoning, self._reasons_in = Beside(line), ""
        self._reasoned = False  # the text has begun: a model that goes back to reasoning is not cut short a second time
        self._refusal = Beside(line, spoken=True)
        self._stopped = ""  # the finish reason where the backend's own is missing or not true any more

    @property
    def ended(self) -> bool:
        """Whether no more of it is wanted."""
        return self.answer.ended

    @property
    def done(self) -> bool:
        """Whether nothing more comes of it: no more is wanted, or the backend has told why it ended."""
        return self.ended or self._outbox.reason is not None

    @property
    def house_spoke(self) -> bool:
        """Whether a house line stands in the answer, or is all of it."""
        return self._by_house or self.line.lines_said > self._said_before

    @property
    def reason(self) -> str | None:
        """Why it ended, as far as the backend has said so."""
        return self._stopped or self._outbox.reason

    def stored(self) -> list[str]:
        """What left, as it may be stored."""
        arguments = (str(call["function"]["arguments"]) for call in self._calls.kept)
        return [*self._refusal.stored, *self.answer.stored, *arguments]

    def message(self) -> dict[str, Any]:
        """What left as a chat message, as it may be stored."""
        said = "".join([*self._refusal.stored, *self.answer.stored])
        message: dict[str, Any] = {"role": "assistant", "content": said}
        return {**message, "tool_calls": self._calls.kept} if self._calls.kept else message

    async def take(self, delta: Delta) -> list[Delta]:
        """One event in; the events that may leave now."""
        self.told = True
        if self.ended:
            return []
        delta = in_words(delta)
        found = aside(delta.event)
        out = await self._beside(found)
        kept = self._order.sieve.admitted(delta)
        text = content(kept.event)
        if found.tells and not text and not finish_reason(kept.event):
            return out  # nothing is left of it
        if text and not found.reasoning and not self._reasoned:
            out += await self._end_reasoning()
        self._outbox.hold(kept)
        return out + self._outbox.release(await self.answer.feed(text) if text else ())

    async def finish(self) -> list[Delta]:
        """The model has nothing more to say: the events of the rest, but for the last one."""
        out = await self._end_reasoning()
        out += self._tell("refusal", await self._refusal.finish())
        calls, blocked = ([], None) if self.ended else await self._calls.settle()
        silenced = self._refusal.silenced or self._reasoning.silenced
        alone = not (calls or blocked or silenced or self._refusal.left)
        out += self._outbox.release(await self.answer.finish(self._outbox.reason == "length", alone))
        if self.ended:  # with the last of its text
            calls, blocked, self._calls.kept = [], None, []
        if calls:
            out.append(self._outbox.tell(tool_calls=[self._whole(call) for call in calls]))
        elif silenced and not self._said:
            blocked = blocked or Structured(None, "")
        self._stopped = _corrected(self._outbox.reason, bool(calls))
        out += self._refused(blocked)
        self.answer.sent = self.answer.sent or self._refusal.left
        if isinstance(self.answer, Answer):
            self.answer.sent = self.answer.thought + self.answer.sent  # it is what the app sends back
        return out

    def close(self, reason: str | None) -> list[Delta]:
        """The last event; `reason` where the policy gives one."""
        return self._outbox.close(reason or self._stopped or None)

    def say(self, line: str) -> list[Delta]:
        """A house line as the whole answer: where JSON or a call is expected it is no content."""
        self.answer.stored.append(line)
        self.answer.sent = line
        self.told = self._by_house = True
        return [self._outbox.tell(**{self._place: self.line.restored(line)})]

    def given(self) -> str:
        """The answer's text as the app has it, and will send it back. Never stored."""
        if self._order.json or self.line.vault is None:
            return self.line.restored(self.answer.sent, within_json=True)
        return self.line.vault.given(self.answer.sent, self.line.turn.language)

    def _whole(self, call: dict[str, Any]) -> dict[str, Any]:
        """A call with the data that are given back."""
        function = call["function"]
        arguments = self.line.restored(function["arguments"], within_json=True)
        return {**call, "function": {**function, "arguments": arguments}}

    @property
    def _place(self) -> str:
        """Where a house line stands that takes the place of all: where JSON or a call is expected it is no content."""
        return "refusal" if self._order.json or self._order.must_call else "content"

    @property
    def _said(self) -> bool:
        """Whether the answer has words that have left, its own or a refusal's."""
        return bool(self.answer.sent.strip() or self._refusal.left.strip())

    async def _beside(self, found: Aside) -> list[Delta]:
        """Takes in what is not the answer's text; reasoning and refusals leave as they are judged."""
        self._calls.take(found.calls)
        out = self._tell("refusal", await self._refusal.feed(found.refusal)) if found.refusal else []
        if found.reasoning and self._order.reasoning:
            self._reasons_in = found.field
            out += self._tell(found.field, await self._reasoning.feed(found.reasoning))
        return out

    async def _end_reasoning(self) -> list[Delta]:
        if not self._reasons_in:
            return []
        self._reasoned = True
        return self._tell(self._reasons_in, await self._reasoning.finish())

    def _tell(self, name: str, text: str) -> list[Delta]:
        if text:
            self.line.withdrawable = False
        return [self._outbox.tell(**{name: self.line.restored(text)})] if text else []

    def _refused(self, blocked: Structured | None) -> list[Delta]:
        """The house line in the place of what may not leave: of tool calls, a document, or the model's own refusal."""
        answer = self.answer
        if isinstance(answer, Document) and answer.refusal:
            self._stopped = "stop"
            return [self._outbox.tell(refusal=answer.refusal)]
        if blocked is None:
            return []
        self._stopped = "stop"
        line = answer.say_once(blocked.say or ("" if self._said else "fallback"))
        if not line:
            return []
        if self._place == "content" and answer.sent and not answer.sent[-1].isspace():
            line = f" {line}"
        answer.stored.append(line)
        answer.sent = answer.sent + line if self._place == "content" else answer.sent or line
        return [self._outbox.tell(**{self._place: line})]

    async def _document(self, line: Line, text: str) -> Structured:
        """Judges a document, and reasoning before it; what is no JSON may hold a tool call."""
        reasoning = Thoughts(Beside(line) if self._order.reasoning else None)
        (begun, text), (ended, rest) = await reasoning.feed(text), await reasoning.finish()
        if CALL_BEGINS in (text := text + rest) and not is_json(text):
            found = await judge_call(line, text, self._order.allowed)
        else:
            found = await judge(line, text)
        if found.text:
            thoughts = [*begun, *ended]
            found = replace(
                found,
                text="".join(one.left for one in thoughts) + found.text,
                stored="".join(one.stored for one in thoughts) + found.stored,
            )
        return found

    async def _call_in_text(self, line: Line, text: str) -> Structured:
        return await judge_call(line, text, self._order.allowed)


def _corrected(reason: str | None, calls: bool) -> str:
    """The finish reason that is true where the backend's own is not, or where it gave none; else nothing."""
    if calls:
        return "" if reason else "tool_calls"
    return "stop" if reason in _OF_CALLS else ""
