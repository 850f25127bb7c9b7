"""One request as the door lets it in: by whom, under which policy, how it is answered; and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio.client import Pipeline

from proxy.access import Caller
from proxy.policy.model import Policy
from proxy.reply import Fault
from proxy.wire.completions import TextRequest
from proxy.wire.dialect import Dialect
from proxy.wire.messages import Message, Permits
from proxy.wire.request import ChatRequest

Body = dict[str, Any]


class Keep(Protocol):
    """What a route keeps of an answer, so that a later request can go on from it."""

    def __call__(self, pipe: Pipeline, talk: Sequence[Body], answer: Body, session: str) -> None:
        """Adds it to the closing write. talk, answer: chat messages as they may be stored."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """Everything but the body. `turn` is the request's id in the house, in its headers and in the audit."""

    turn: str
    route: str  # as the audit names it
    stream: bool
    dialect: Dialect
    policy: Policy
    caller: Caller
    permits: Permits = field(default_factory=Permits)
    named: str | None = None  # the conversation's name, if the app gives one
    headers: Mapping[str, str] = field(default_factory=dict)  # the request's headers that the backend gets
    keep: Keep | None = None
    refusal: Fault | None = None  # what is told in the place of an answer, unless a child is in danger


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request's messages as the line takes them: answered before, not answered yet, and an answer the app began."""

    earlier: tuple[Message, ...]
    open: tuple[Message, ...]
    prefill: Message | None

    @classmethod
    def of(cls, request: ChatRequest | TextRequest) -> Conversation:
        """The conversation of a request; an assistant message at its end is an answer that the app began."""
        talk = request.talk()
        prefill = talk.pop() if talk and talk[-1].role == "assistant" else None
        answered = max((at for at, message in enumerate(talk) if message.role == "assistant"), default=-1) + 1
        return cls(tuple(talk[:answered]), tuple(talk[answered:]), prefill)

    def said(self) -> list[tuple[str, str]]:
        """What was said, as roles and texts, up to the answer that is still to come."""
        return [(str(message.role), message.text) for message in (*self.earlier, *self.open)]
