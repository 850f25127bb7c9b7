"""The demo buddy: a little model server in process that streams token by token and misbehaves on purpose.

It gives a demonstration and the tests a model with every failure that the guard is for, without a GPU. The answer is a
plain function of the messages (`_buddy.reply`). Wire shapes are those of vLLM.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from proxy.backends._buddy import reply, text_of
from proxy.turn import BackendFault, Delta
from proxy.wire import sse

MODEL = "buddy"
_LIMITS = ("max_tokens", "max_completion_tokens")
_TOKEN = re.compile(r"\s*(?:[가-힣]{1,2}|[^\s가-힣]{1,4})|\s+")  # about what a model's tokens are


class ScriptedBackend:
    """The buddy as a backend. `delay` is the time between two tokens, in seconds."""

    def __init__(self, delay: float = 0.015) -> None:
        self._delay = delay
        self.running = 0  # answers that are being streamed now

    async def knows(self) -> frozenset[str]:
        """What vLLM knows; the buddy takes it and does not heed it."""
        return frozenset({"repetition_penalty", "top_k", "min_p", "continuous_usage_stats"})

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[Delta, None]:
        """The answer in vLLM's chunks. Of the settings it heeds the token limits and `stream_options`."""
        _check(body)
        self.running += 1
        try:
            async for delta in self._chunks(body):
                yield delta
        finally:
            self.running -= 1

    async def models(self) -> dict[str, Any]:
        """OpenAI's list, with one model."""
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "kindrail"}]}

    async def close(self) -> None:
        """Nothing to close."""

    async def _chunks(self, body: dict[str, Any]) -> AsyncIterator[Delta]:
        options = body.get("stream_options") or {}
        tokens = _TOKEN.findall(reply(body["messages"]))
        count = min([len(tokens), *(body[name] for name in _LIMITS if body.get(name) is not None)])
        prompt = sum(len(_TOKEN.findall(text_of(message))) for message in body["messages"])
        answer = _Answer(prompt, running_usage=bool(options.get("continuous_usage_stats")))
        yield answer.chunk({"role": "assistant", "content": ""}, 0)
        for number, token in enumerate(tokens[:count], 1):
            await asyncio.sleep(self._delay)
            finish = None if number < count else "stop" if count == len(tokens) else "length"
            yield answer.chunk({"content": token}, number, finish)
        if options.get("include_usage"):
            yield answer.usage(count)


class _Answer:
    """The chunks of one answer, which share their id, time and model."""

    def __init__(self, prompt_tokens: int, running_usage: bool) -> None:
        self._prompt_tokens = prompt_tokens
        self._running_usage = running_usage
        self._common = {
            "id": f"chatcmpl-{uuid.uuid4().hex[:16]}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": MODEL,
            "system_fingerprint": "buddy-1",
        }

    def chunk(self, delta: dict[str, str], count: int, finish: str | None = None) -> Delta:
        """A chunk that brings `delta`; `count` tokens have come with it."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        if finish:
            choice["stop_reason"] = None
        return self._event([choice], count if self._running_usage else None)

    def usage(self, count: int) -> Delta:
        """The chunk behind the answer that has only its usage."""
        return self._event([], count)

    def _event(self, choices: list[dict[str, Any]], count: int | None) -> Delta:
        event: dict[str, Any] = {**self._common, "choices": choices}
        if count is not None:
            total = self._prompt_tokens + count
            event["usage"] = {
                "prompt_tokens": self._prompt_tokens,
                "total_tokens": total,
                "completion_tokens": count,
            }
        return Delta(orjson.dumps(event), event)


def _check(body: dict[str, Any]) -> None:
    """Refuses what a real server would: raises `BackendFault` 400 or 404."""
    model = body.get("model")
    if model not in (None, MODEL):
        raise BackendFault(404, f"The model `{model}` does not exist.", "NotFoundError", param="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BackendFault(
            400, "`messages` must be a list of at least one message.", "BadRequestError", param="messages"
        )
    for name in _LIMITS:
        limit = body.get(name)
        if limit is not None and (type(limit) is not int or limit < 1):
            raise BackendFault(400, f"`{name}` must be a whole number of at least 1.", "BadRequestError", param=name)


def app(delay: float = 0.015) -> Starlette:
    """The buddy as an HTTP server in vLLM's manner. `/metrics` tells how many answers are running."""
    backend = ScriptedBackend(delay)

    async def chat(request: Request) -> Response:
        try:
            body = _parsed(await request.body())
            _check(body)
        except BackendFault as fault:
            return JSONResponse({"error": {**fault.error, "code": fault.status}}, fault.status)
        if body.get("stream"):
            return StreamingResponse(_events(backend, body), media_type="text/event-stream")
        return await _unless_gone(request, _collected(backend, body))

    async def models(_: Request) -> Response:
        return JSONResponse(await backend.models())

    async def health(_: Request) -> Response:
        return Response()

    async def version(_: Request) -> Response:
        return JSONResponse({"version": MODEL})

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(f'vllm:num_requests_running{{model_name="{MODEL}"}} {backend.running}.0\n')

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
            Route("/version", version),
            Route("/metrics", metrics),
        ]
    )


def serve(port: int, host: str = "127.0.0.1") -> None:
    """Runs the buddy until it is interrupted."""
    uvicorn.run(app(), host=host, port=port, log_level="warning", access_log=False)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise BackendFault(400, "The body must be a JSON object.", "BadRequestError")
    return body


async def _events(backend: ScriptedBackend, body: dict[str, Any]) -> AsyncIterator[bytes]:
    async with aclosing(backend.stream(body)) as deltas:
        async for delta in deltas:
            yield sse.encode(delta.raw)
    yield sse.encode(b"[DONE]")


async def _collected(backend: ScriptedBackend, body: dict[str, Any]) -> Response:
    """The whole answer as one completion."""
    events = [delta.event async for delta in backend.stream({**body, "stream_options": {"include_usage": True}})]
    *chunks, last = events
    choices = [event["choices"][0] for event in chunks]
    content = "".join(choice["delta"]["content"] for choice in choices)
    choice = {**choices[-1], "message": {"role": "assistant", "content": content}}
    del choice["delta"]
    return JSONResponse({**last, "object": "chat.completion", "choices": [choice]})


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
    """The answer; it is cancelled when the client goes before it is there."""
    working = asyncio.create_task(answer)
    gone = asyncio.create_task(_gone(request))
    await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if working.done():
        return await working
    working.cancel()
    return Response(status_code=499)


async def _gone(request: Request) -> None:
    await request.receive()  # the body has been read: what comes next is the disconnect
