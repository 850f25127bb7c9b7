"""How an answer is told to the client: the house knows chat chunks alone, and each route has its own form of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import orjson

from proxy.turn import Delta
from proxy.wire.sse import encode

_DONE = encode(b"[DONE]")


class Dialect(Protocol):
    """One route's form, for one answer."""

    route: ClassVar[str]  # what the backend is asked: "chat/completions" or "completions"

    def arrived(self, delta: Delta) -> Delta:
        """The backend's event as a chat chunk."""
        ...

    def events(self, deltas: Sequence[Delta]) -> bytes:
        """Chat chunks as the client reads them on a stream."""
        ...

    def done(self) -> bytes:
        """The end of a stream that went well."""
        ...

    def broke(self, error: dict[str, Any]) -> bytes:
        """The end of a stream that broke off. `error`: an OpenAI error object's content."""
        ...

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer in one piece, from a `chat.completion`."""
        ...


class Chat:
    """/v1/chat/completions: what nobody touched leaves as it came."""

    route: ClassVar[str] = "chat/completions"

    def arrived(self, delta: Delta) -> Delta:
        return delta

    def events(self, deltas: Sequence[Delta]) -> bytes:
        return b"".join([encode(delta.raw) for delta in deltas])

    def done(self) -> bytes:
        return _DONE

    def broke(self, error: dict[str, Any]) -> bytes:
        return encode(orjson.dumps({"error": error})) + _DONE

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        return body
