"""Responses that run while the client listens, and are cancelled when it goes: so is the generation behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.call import Call
from proxy.chat import Exchange
from proxy.errors import INTERNAL, log_unforeseen
from proxy.metrics import Metrics
from proxy.reply import Reply, StreamReply, WholeReply


class Watched(Response):
    """Runs `work`, which sends the response."""

    def __init__(self, metrics: Metrics, work: Callable[[Send], Awaitable[None]]) -> None:
        self._metrics = metrics
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # every request of an ASGI server runs in a task
        gone = asyncio.Event()
        watcher = asyncio.create_task(_cancel_when_gone(receive, gone, task))
        with self._metrics.running.track_inprogress():
            try:
                await self._work(send)
            except asyncio.CancelledError:
                if not gone.is_set():
                    raise
                task.uncancel()
            finally:
                watcher.cancel()


async def answer(exchange: Exchange, call: Call, keep_alive: float, send: Send) -> None:
    """Runs a turn and tells its answer in the form that was asked for."""
    replies: list[Reply] = []

    def reply_with(headers: dict[str, str]) -> Reply:
        if call.stream:
            replies.append(StreamReply(send, headers, call.dialect, keep_alive))
        else:
            replies.append(WholeReply(send, headers, call.dialect))
        return replies[0]

    try:
        await exchange.run(reply_with)
    except Exception as fault:  # whatever was not foreseen is told to nobody but the log, and there without words
        log_unforeseen(fault)
        await (replies[0] if replies else WholeReply(send, {}, call.dialect)).fault(INTERNAL)
    finally:
        for reply in replies:
            reply.close()


async def _cancel_when_gone(receive: Receive, gone: asyncio.Event, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
    task.cancel()
