"""The answer that is not streamed: the same events, collected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.wire.events import choice, index_of

_ENVELOPE = frozenset({"choices", "object", "usage"})


class Collector:
    """Adds up the events of a request into OpenAI's `chat.completion`. Fields it does not know are kept."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._answers: dict[int, _Answer] = {}
        self._usage: dict[str, Any] | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes one event in, of one choice or none."""
        for key, value in event.items():
            if key not in _ENVELOPE and (value is not None or key not in self._top):
                self._top[key] = value
        self._usage = event.get("usage") or self._usage
        part = choice(event)
        if part is not None:
            index = index_of(event)
            answer = self._answers.get(index) or self._answers.setdefault(index, _Answer())
            answer.add(part)

    def body(self) -> dict[str, Any]:
        """The whole answer, its choices in order."""
        choices = [{"index": index, **answer.body()} for index, answer in sorted(self._answers.items())]
        body = {**self._top, "object": "chat.completion", "choices": choices}
        return body if self._usage is None else {**body, "usage": self._usage}


class _Answer:
    """One choice."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": ""}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, part: Mapping[str, Any]) -> None:
        for key, value in (part.get("delta") or {}).items():
            if key == "tool_calls":
                self._add_calls(value or ())
            else:
                old = self._message.get(key)
                self._message[key] = _joined(old, value) if key != "role" else value or "assistant"
        for key, value in part.items():
            if key not in ("delta", "index"):
                old = self._told.get(key)
                self._told[key] = value if isinstance(value, str) else _joined(old, value)

    def body(self) -> dict[str, Any]:
        """What stands in the place of empty text is the whole message: OpenAI's content is null then."""
        message = dict(self._message)
        if self._calls:
            message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
        if not message["content"] and (self._calls or message.get("refusal")):
            message["content"] = None
        return {"message": message, **self._told}

    def _add_calls(self, calls: Any) -> None:
        for call in calls:
            told = {key: value for key, value in call.items() if key != "index"}
            index = call.get("index", len(self._calls))
            self._calls[index] = _joined(self._calls.get(index), told)


def _joined(old: Any, new: Any) -> Any:
    """Text and lists go on, objects merge (`logprobs.content`), anything else is what was said last."""
    if new is None or old is None:
        return old if new is None else new
    if isinstance(old, str) and isinstance(new, str):
        return old + new
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _joined(old.get(key), new.get(key)) for key in {**old, **new}}
    return new
