"""The demo buddy: a little model server in process that streams token by token and misbehaves on purpose.

It gives a demonstration and the tests a model with every failure that the guard is for, without a GPU. The answer is a
plain function of the request (`_buddy.reply`, `_buddy_tools`). Wire shapes are those of vLLM (`_buddy_chunks`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from proxy.backends._buddy_chunks import LIMITS, MODEL, Answer, collected
from proxy.turn import Ask, BackendFault, Delta
from proxy.wire import sse


class ScriptedBackend:
    """The buddy as a backend. `delay` is the time between two tokens, in seconds."""

    def __init__(self, delay: float = 0.015) -> None:
        self._delay = delay
        self.running = 0  # answers that are being streamed now

    async def knows(self, model: str) -> frozenset[str]:
        """What vLLM knows; the buddy takes it and does not heed it."""
        return frozenset({"repetition_penalty", "top_k", "min_p", "continuous_usage_stats"})

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer in vLLM's chunks, on both routes.

        Of the settings the buddy heeds the token limits, `n`, `tools`, `response_format` and `stream_options`.
        """
        _check(ask)
        self.running += 1
        try:
            async for delta in self._chunks(ask):
                yield delta
        finally:
            self.running -= 1

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The buddy speaks and can do nothing else: raises `BackendFault` 404."""
        raise BackendFault(404, f"The buddy does not serve /v1/{ask.route}.", "NotFoundError")

    async def models(self) -> dict[str, Any]:
        """OpenAI's list, with one model."""
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "kindrail"}]}

    async def close(self) -> None:
        """Nothing to close."""

    async def _chunks(self, ask: Ask) -> AsyncIterator[Delta]:
        answer = Answer(ask)
        for step in answer.steps():
            if step.tokens:
                await asyncio.sleep(self._delay)
            yield answer.chunk(step)
        if (ask.body.get("stream_options") or {}).get("include_usage"):
            yield answer.usage()


def _check(ask: Ask) -> None:
    """Refuses what a real server would: raises `BackendFault` 400 or 404."""
    if ask.model not in ("", MODEL):
        raise BackendFault(404, f"The model `{ask.model}` does not exist.", "NotFoundError", param="model")
    if ask.route == "completions":
        prompts = ask.body.get("prompt")
        if not (isinstance(prompts, str) or _all(prompts, str)):
            raise _bad("prompt", "a string or a list of strings")
    elif not _all(ask.body.get("messages"), dict):
        raise _bad("messages", "a list of at least one message")
    for name in ("n", *LIMITS):
        count = ask.body.get(name)
        if count is not None and (type(count) is not int or count < 1):
            raise _bad(name, "a whole number of at least 1")


def _all(values: object, kind: type) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, kind) for value in values)


def _bad(name: str, must: str) -> BackendFault:
    return BackendFault(400, f"`{name}` must be {must}.", "BadRequestError", param=name)


def app(delay: float = 0.015) -> Starlette:
    """The buddy as an HTTP server in vLLM's manner. `/metrics` tells how many answers are running."""
    backend = ScriptedBackend(delay)

    async def answer(request: Request) -> Response:
        try:
            ask = Ask(_parsed(await request.body()), request.url.path.removeprefix("/v1/"))
            _check(ask)
        except BackendFault as fault:
            return JSONResponse({"error": {**fault.error, "code": fault.status}}, fault.status)
        if ask.body.get("stream"):
            return StreamingResponse(_events(backend, ask), media_type="text/event-stream")
        return await _unless_gone(request, _collected(backend, ask))

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
            Route("/v1/chat/completions", answer, methods=["POST"]),
            Route("/v1/completions", answer, methods=["POST"]),
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


async def _events(backend: ScriptedBackend, ask: Ask) -> AsyncIterator[bytes]:
    async with aclosing(backend.stream(ask)) as deltas:
        async for delta in deltas:
            yield sse.encode(delta.raw)
    yield sse.encode(b"[DONE]")


async def _collected(backend: ScriptedBackend, ask: Ask) -> Response:
    """The whole answer at once."""
    counted = Ask({**ask.body, "stream_options": {"include_usage": True}}, ask.route)
    return JSONResponse(collected([delta.event async for delta in backend.stream(counted)]))


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
