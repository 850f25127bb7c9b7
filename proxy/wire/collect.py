"""The answer that is not streamed: the same events, collected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.wire.events import choice

_ENVELOPE = frozenset({"choices", "object", "usage"})


class Collector:
    """Adds up the events of one answer into OpenAI's `chat.completion`. Fields it does not know are kept."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choice: dict[str, Any] = {"index": 0}
        self._message: dict[str, Any] = {"role": "assistant", "content": ""}
        self._usage: dict[str, Any] | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes one event in."""
        for key, value in event.items():
            if key not in _ENVELOPE and (value is not None or key not in self._top):
                self._top[key] = value
        self._usage = event.get("usage") or self._usage
        part = choice(event)
        if part is None:
            return
        for key, value in (part.get("delta") or {}).items():
            self._message[key] = _joined(self._message.get(key), value) if key != "role" else value or "assistant"
        for key, value in part.items():
            if key not in ("delta", "index"):
                old = self._choice.get(key)
                self._choice[key] = value if isinstance(value, str) else _joined(old, value)

    def body(self) -> dict[str, Any]:
        """The whole answer."""
        first = {"index": 0, "message": self._message, **self._choice}
        body = {**self._top, "object": "chat.completion", "choices": [first]}
        return body if self._usage is None else {**body, "usage": self._usage}


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
