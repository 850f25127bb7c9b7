"""The backend for OpenAI's API, connected to a fake upstream, and what its tests ask of it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fake_upstream import Answer, Upstream, upstream

from proxy.backends.openai import OpenAIBackend
from proxy.turn import Ask, BackendFault, Delta

SECRET = "the child said pizzicato"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": SECRET}], "top_k": 3, "stream": True}


@asynccontextmanager
async def connected(
    answer: Answer, gets: dict[str, tuple[int, bytes]] | None = None, **options: Any
) -> AsyncIterator[tuple[OpenAIBackend, Upstream]]:
    async with upstream(answer, gets) as fake:
        backend = OpenAIBackend(fake.url, "key", **options)
        try:
            yield backend, fake
        finally:
            await backend.close()


async def collect(backend: OpenAIBackend, body: dict[str, Any] = BODY, route: str = "chat/completions") -> list[Delta]:
    return [delta async for delta in backend.stream(Ask(body, route))]


async def fault_of(work: Awaitable[Any]) -> BackendFault:
    with pytest.raises(BackendFault) as caught:
        await work
    assert "pizzicato" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value
