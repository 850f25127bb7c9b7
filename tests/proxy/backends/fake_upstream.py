"""A model server of which the test decides every byte: what it answers, when, and how it breaks."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any = None


@dataclass
class Wire:
    """One connection, while it is answered."""

    asked: Asked
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, kind: str = "text/event-stream; charset=utf-8", *more: str) -> None:
        lines = [f"HTTP/1.1 {status} Any", f"content-type: {kind}", "transfer-encoding: chunked", *more]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        """One chunk; an empty one would be the end."""
        if data:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def events(self, *payloads: str) -> None:
        for payload in payloads:
            await self.send(f"data: {payload}\n\n".encode())

    def drop(self) -> None:
        self.writer.transport.abort()

    async def until_client_leaves(self) -> None:
        with suppress(ConnectionError):
            await self.reader.read()


Answer = Callable[[Wire], Awaitable[None]]
VLLM = {"/version": (200, b'{"version":"0.32.0"}')}


@dataclass
class Upstream:
    answer: Answer
    gets: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while asked := await _read(reader):
                self.asked.append(asked)
                await self._respond(Wire(asked, reader, writer))
        except ConnectionError:
            pass  # the client left
        finally:
            writer.close()

    async def _respond(self, wire: Wire) -> None:
        if wire.asked.method == "POST":
            return await self.answer(wire)
        status, body = self.gets.get(wire.asked.path, (404, b'{"detail":"Not Found"}'))
        await wire.head(status, "application/json")
        await wire.send(body)
        await wire.end()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, json.loads(body) if body else None)


@asynccontextmanager
async def upstream(answer: Answer, gets: dict[str, tuple[int, bytes]] | None = None) -> AsyncIterator[Upstream]:
    fake = Upstream(answer, gets or {})
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> str:
    """A chunk as vLLM writes them."""
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish}
    return json.dumps(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny", "choices": [choice]} | more
    )


DONE = "[DONE]"
HELLO = (chunk(""), chunk("Hel"), chunk("lo", "stop"), chunk(choices=[], usage={"completion_tokens": 2}))


def says(*payloads: str, end: bool = True) -> Answer:
    async def answer(wire: Wire) -> None:
        await wire.head()
        await wire.events(*payloads)
        if end:
            await wire.end()

    return answer


def refuses(status: int, body: bytes, kind: str = "application/json") -> Answer:
    async def answer(wire: Wire) -> None:
        await wire.head(status, kind)
        if body:
            await wire.send(body)
        await wire.end()

    return answer


async def no_head(wire: Wire) -> None:
    await wire.until_client_leaves()


async def no_second_event(wire: Wire) -> None:
    await wire.head()
    await wire.events(chunk("Hel"))
    await wire.until_client_leaves()
