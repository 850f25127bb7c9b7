"""Messages as the rails read them: escapes undone, each with what its speaker sent just before and behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.memo import Memo
from proxy.turn import Heard, Plain, Role, Segment, Span, Turn
from proxy.wire.escapes import undone

_REACH = 200  # characters of its speaker's other messages that a message is judged with


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was sent, and as the rails read it."""

    text: str  # as it was sent
    plain: Plain
    segment: Segment
    key: bytes  # in the memo

    def sent(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Spans of what the rails read as those of the text that was sent."""
        return tuple(Span(*self.plain.span(span.start, span.end), span.entity) for span in spans)


def read(messages: Sequence[Heard], turn: Turn, scope: Sequence[str], past: bool) -> Iterator[Message]:
    """The messages of one turn, or with `past` of those before it.

    scope: what the rails' answers depend on beside them, for the memo's keys.
    """
    for heard, (before, after) in zip(messages, _around(messages), strict=True):
        plain = undone(heard.text) if heard.role != "user" else Plain(heard.text)
        segment = Segment(heard.role, plain.text, turn, before, after, last=True, past=past)
        yield Message(heard.text, plain, segment, Memo.key(*scope, heard.role, heard.text, before, after))


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
