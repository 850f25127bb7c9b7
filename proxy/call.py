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
    settings: Mapping[str, object] = field(default_factory=dict)  # what the app has set for this request
    headers: Mapping[str, str] = field(default_factory=dict)  # the request's headers that the backend gets
    keep: Keep | None = None
    refusal: Fault | None = None  # what is told in the place of an answer, unless a child is in danger


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request's messages as the line takes them.

    An answer is what the user has answered in turn: words of the assistant, without a call, and behind them a message
    of the user. So the user's words stay open, and are judged again with each request, while tools are called; and
    nothing that the app itself puts behind them hides them.
    """

    talk: tuple[Message, ...]  # all of it, but the app's instructions
    answered: int  # how many of them stand up to the last answer

    @classmethod
    def of(cls, request: ChatRequest | TextRequest) -> Conversation:
        """The conversation of a request."""
        talk = tuple(request.talk())
        last = max((at for at, one in enumerate(talk) if one.role == "user"), default=0)
        answers = (at for at, one in enumerate(talk[:last]) if _answers(one))
        return cls(talk, max(answers, default=-1) + 1)

    @property
    def earlier(self) -> tuple[Message, ...]:
        """What was answered, with its answers."""
        return self.talk[: self.answered]

    @property
    def open(self) -> tuple[Message, ...]:
        """What the user and their tools said that has not been answered yet."""
        return tuple(one for one in self.talk[self.answered :] if one.role != "assistant")

    @property
    def known(self) -> tuple[Message, ...]:
        """What is only redacted: all that is not open."""
        return (*self.earlier, *(one for one in self.talk[self.answered :] if one.role == "assistant"))

    @property
    def prefill(self) -> Message | None:
        """An answer that the app began: the assistant's message at the end."""
        return self.talk[-1] if self.talk and self.talk[-1].role == "assistant" else None

    def said(self) -> list[tuple[str, str]]:
        """What was said, as roles and texts, up to the answer that is still to come."""
        talk = self.talk[:-1] if self.prefill else self.talk
        return [(str(message.role), message.text) for message in talk]


def _answers(message: Message) -> bool:
    return message.role == "assistant" and bool(message.text.strip()) and not message.calls
