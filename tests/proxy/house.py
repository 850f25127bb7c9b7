"""A whole Kindrail on a real socket, in the test's own loop, before a backend of the test's choice."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import orjson
import uvicorn

from proxy.app import create_app
from proxy.config import SHIPPED_POLICIES, Config
from proxy.live import Live
from proxy.policy.load import load_policy
from proxy.services import Services, open_services


@cache
def shipped(name):
    return load_policy(SHIPPED_POLICIES / f"{name}.yaml")


@dataclass
class House:
    client: httpx.AsyncClient
    url: str
    services: Services

    async def ask(self, *messages, headers=None, **body):
        """A whole answer; a string is a user's message."""
        return await self.client.post("/v1/chat/completions", json=asking(messages, body), headers=headers)

    async def say(self, *messages, **body):
        """The text of a whole answer."""
        response = await self.ask(*messages, **body)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]["content"]

    async def stream(self, *messages, headers=None, **body):
        """The data of a streamed answer's events, `[DONE]` not parsed."""
        asked = self.client.stream(
            "POST", "/v1/chat/completions", json=asking(messages, {**body, "stream": True}), headers=headers
        )
        async with asked as response:
            return [event async for event in events_of(response)]

    async def audit(self, turn=None):
        return await self.services.audit.read(turn)


def asking(messages, body):
    talk = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
    return {"model": "buddy", "messages": talk, **body}


def assistant(text):
    return {"role": "assistant", "content": text}


async def events_of(response):
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            data = line[6:]
            yield data if data == "[DONE]" else orjson.loads(data)


def text_of(events):
    """The text that a stream's events bring."""
    choices = [choice for event in events if event != "[DONE]" for choice in event.get("choices", [])]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@asynccontextmanager
async def house(backend=None, policy="kids-buddy", more=(), **settings) -> AsyncIterator[House]:
    loaded = [shipped(one) if isinstance(one, str) else one for one in (policy, *more)]
    with tempfile.TemporaryDirectory(prefix="kr") as folder:
        config = Config(data=Path(folder), **settings)
        async with (
            open_services(config, Live.of(*loaded), backend) as services,
            _serving(create_app(config, services)) as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
        ):
            yield House(client, url, services)


@asynccontextmanager
async def _serving(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    server.capture_signals = _as_they_are  # the test's own signals are pytest's
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if running.done():
            await running
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield url
    finally:
        server.should_exit = True
        await running


class _as_they_are:
    def __enter__(self):
        return self

    def __exit__(self, *fault):
        return None
