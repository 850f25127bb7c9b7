"""The events that the house writes itself, in the likeness of the backend's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from proxy.turn import Delta
from proxy.wire.events import rewritten
from proxy.wire.sieve import metadata
from proxy.wire.usage import Usage


class Skeleton:
    """What every event of one answer has in common (id, model, time), learnt from the backend's events where there are
    any.
    """

    def __init__(self, turn: str, model: str) -> None:
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{turn}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._learnt = False
        self._late: dict[str, Any] = {}  # what came with the usage alone

    def learn(self, event: Mapping[str, Any]) -> None:
        """Takes id, time and model over from the backend's first event (TGI sends an empty id: ours stays)."""
        if not self._learnt:
            self._learnt = True
            told = metadata(event)
            self._head |= {key: told[key] for key in ("id", "created", "model") if told.get(key)}

    def part(self, index: int, role: bool = False, **told: Any) -> Delta:
        """An event that brings a part of an answer (`content`, `refusal`, ...); `role` for the first of it."""
        delta = {"role": "assistant", **told} if role else told
        return self._event([{"index": index, "delta": delta, "finish_reason": None}])

    def finish(self, index: int, reason: str) -> Delta:
        """The event that ends an answer."""
        return self._event([{"index": index, "delta": {}, "finish_reason": reason}])

    def usage(self, usage: Usage) -> Delta:
        """The event that brings the usage."""
        return rewritten({**self._head, "choices": [], "usage": usage})

    def closing(self, event: Mapping[str, Any]) -> None:
        """Takes over what the backend tells with its usage, such as `system_fingerprint`, for our last events."""
        told = metadata(event)
        self._late = {key: told[key] for key in told if key != "object" and key not in self._head}
        self._head |= self._late

    def completed(self, last: Delta) -> Delta:
        """The last event of an answer with what the backend told with its usage, for clients that read no usage."""
        missing = {key: value for key, value in self._late.items() if key not in last.event}
        return rewritten({**last.event, **missing}) if missing else last

    def _event(self, choices: list[dict[str, Any]]) -> Delta:
        return rewritten({**self._head, "choices": choices})
