"""The answer's way to the client: as a stream of events, or collected into one body. Both take the same events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from starlette.types import Send

from proxy.turn import Delta
from proxy.wire.collect import Collector
from proxy.wire.dialect import Dialect

_KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request was not answered: a status, an OpenAI error object's content, and headers that go with it."""

    status: int
    error: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


STORE_DOWN = Fault(
    503,
    {
        "message": "The audit store does not answer, and no turn passes unrecorded. Try again in a moment.",
        "type": "server_error",
        "param": None,
        "code": "store_unavailable",
    },
)


class Reply(Protocol):
    """Where the events of an answer go.

    Nothing is sent before the first of them, so that a fault can still be a status.
    """

    started: bool

    async def events(self, deltas: Sequence[Delta]) -> None: ...

    async def done(self) -> None: ...

    async def fault(self, fault: Fault) -> None: ...

    def close(self) -> None: ...


class StreamReply:
    """Server-sent events. While the line holds text back, comments keep proxies in between from giving up."""

    def __init__(self, send: Send, headers: dict[str, str], dialect: Dialect, keep_alive: float) -> None:
        self.started = False
        self._send = send
        self._headers = headers
        self._dialect = dialect
        self._keep_alive = keep_alive
        self._last = 0.0  # when something was sent last
        self._beat: asyncio.Task[None] | None = None

    async def events(self, deltas: Sequence[Delta]) -> None:
        """Sends events, in one piece."""
        if deltas:
            await self._write(self._dialect.events(deltas))

    async def done(self) -> None:
        """Ends the stream and the response."""
        await self._write(self._dialect.done(), more=False)

    async def fault(self, fault: Fault) -> None:
        """An error: as a status where nothing was sent yet, as the last event otherwise."""
        if not self.started:
            return await send_fault(self._send, fault, self._headers)
        await self._write(self._dialect.broke(fault.error), more=False)

    async def _write(self, data: bytes, more: bool = True) -> None:
        loop = asyncio.get_running_loop()
        if not self.started:
            self.started = True
            kind = {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
            }
            await self._send({"type": "http.response.start", "status": 200, "headers": _raw({**self._headers, **kind})})
            self._beat = asyncio.create_task(self._keep_beating())
        self._last = loop.time()
        if not more and self._beat:
            self._beat.cancel()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _keep_beating(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.01, self._last + self._keep_alive - loop.time()))
            if loop.time() - self._last >= self._keep_alive:
                await self._write(_KEEP_ALIVE)

    def close(self) -> None:
        """Stops the comments, however the turn ended."""
        if self._beat:
            self._beat.cancel()


class WholeReply:
    """One JSON body, sent when the answer is complete."""

    def __init__(self, send: Send, headers: dict[str, str], dialect: Dialect) -> None:
        self.started = False
        self._send = send
        self._headers = headers
        self._dialect = dialect
        self._collector = Collector()

    async def events(self, deltas: Sequence[Delta]) -> None:
        """Collects events."""
        for delta in deltas:
            self._collector.add(delta.event)

    async def done(self) -> None:
        """Sends the whole answer."""
        self.started = True
        await send_json(self._send, 200, self._dialect.whole(self._collector.body()), self._headers)

    async def fault(self, fault: Fault) -> None:
        """An error, in the answer's place."""
        await send_fault(self._send, fault, self._headers)

    def close(self) -> None:
        """Nothing goes on in the background."""


async def send_fault(send: Send, fault: Fault, headers: Mapping[str, str]) -> None:
    """One error in OpenAI's shape."""
    await send_json(send, fault.status, {"error": fault.error}, {**headers, **fault.headers})


async def send_json(send: Send, status: int, body: dict[str, Any], headers: Mapping[str, str]) -> None:
    """One JSON response."""
    data = orjson.dumps(body)
    sizes = {"content-type": "application/json", "content-length": str(len(data))}
    await send({"type": "http.response.start", "status": status, "headers": _raw({**headers, **sizes})})
    await send({"type": "http.response.body", "body": data})


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
