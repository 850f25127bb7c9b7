"""Several model servers as one.

A request goes to one of those that serve its model, by weight. Before its first event a fault of the server's own
sends it to the next one, each being asked once at most; after it nothing is retried, as text may have left already.
Nobody waits in line here: model servers have queues of their own, and a client knows what `retry-after` means.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from proxy.backends._member import ELSEWHERE, Member
from proxy.turn import Ask, BackendFault, Delta

_EVERY = 10.0  # seconds between two looks at every server
_FIRST_LOOK = 2.0  # seconds that a request waits for the very first look; a later one finds what the last look saw


class Fleet:
    """The servers of `kindrail.yaml`. Use it in one event loop and close it there; it closes its servers."""

    def __init__(self, members: Sequence[Member], every: float = _EVERY) -> None:
        """`every`: seconds between two looks at each server."""
        self._members = tuple(members)
        self._every = every
        self._looked = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def knows(self, model: str) -> frozenset[str]:
        """What every server that could answer now understands; nothing if none could."""
        members = [member for member in await self._serving(model) if member.healthy]
        known = await asyncio.gather(*(member.backend.knows(member.rename.get(model, model)) for member in members))
        return frozenset.intersection(*known) if known else frozenset()

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer of the first server that begins one. Raises `BackendFault`: 404 for a model that none serves."""
        tries = await self._tries(ask.model)
        while True:
            member = tries.next()
            try:
                with member.asked() as attempt:
                    async with aclosing(member.backend.stream(member.named(ask))) as deltas:
                        async for delta in deltas:
                            attempt.first()
                            yield delta
                    return
            except BackendFault as fault:
                if attempt.begun:
                    raise
                tries.failed(fault)

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The answer of the first server that has one. Raises `BackendFault`: 404 for a model that none serves."""
        tries = await self._tries(ask.model)
        while True:
            member = tries.next()
            try:
                with member.asked():
                    return await member.backend.whole(member.named(ask))
            except BackendFault as fault:
                tries.failed(fault)

    async def models(self) -> dict[str, Any]:
        """All that an app can ask for, as the last look found it. Raises `BackendFault` if no server answered."""
        await self._watched()
        healthy = [member for member in self._members if member.healthy]
        if not healthy:
            raise BackendFault(502, "None of the model servers answers.", code="backend_unreachable")
        entries: dict[str, dict[str, Any]] = {}
        for member in healthy:
            for entry in member.offers():
                entries.setdefault(entry["id"], entry)
        return {"object": "list", "data": list(entries.values())}

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(*(member.backend.close() for member in self._members))

    async def _tries(self, model: str) -> _Tries:
        """The way through those that serve it. Raises 404, in OpenAI's words."""
        serving = await self._serving(model)
        if not serving:
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise BackendFault(404, message, "invalid_request_error", "model_not_found", "model")
        return _Tries(serving)

    async def _serving(self, model: str) -> list[Member]:
        """Those that serve it; those of which nothing is known only where no other does."""
        await self._watched()
        serving = [member for member in self._members if member.serves(model)]
        return serving or [member for member in self._members if not member.models and member.listed is None]

    async def _watched(self) -> None:
        """Begins the looks with the first request, which waits for the first one for a moment."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        if not self._looked.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_LOOK):
                    await self._looked.wait()

    async def _watch(self) -> None:
        while True:
            # What nobody foresaw at one server must not end the looks at the others.
            await asyncio.gather(*(member.look() for member in self._members), return_exceptions=True)
            self._looked.set()
            await asyncio.sleep(self._every)


class _Tries:
    """One request's way through the servers: each is asked once at most."""

    def __init__(self, members: list[Member]) -> None:
        self._left = members
        self._fault: BackendFault | None = None

    def next(self) -> Member:
        """The one to ask now. Raises the last one's fault where there is none left, or 503."""
        ready = [member for member in self._left if member.ready]
        if not ready:
            raise self._fault or _nobody(self._left)
        member = _by_weight(ready)
        self._left.remove(member)
        return member

    def failed(self, fault: BackendFault) -> None:
        """Raises a fault that is the request's own: another server would say the same."""
        if fault.status not in ELSEWHERE:
            raise fault
        self._fault = fault


def _by_weight(members: list[Member]) -> Member:
    """Smooth weighted round robin, as nginx does it: shares by weight, without runs of one server."""
    for member in members:
        member.credit += member.weight
    chosen = max(members, key=lambda member: member.credit)
    chosen.credit -= sum(member.weight for member in members)
    return chosen


def _nobody(members: list[Member]) -> BackendFault:
    """All are busy, paused or out: when it is worth to come again."""
    waits = [member.breaker.wait for member in members if member.healthy]
    seconds = max(1, math.ceil(min(waits, default=_EVERY)))
    message = f"All model servers for this model are busy or do not answer. Come again in {seconds} s."
    return BackendFault(503, message, "server_error", "backend_busy", headers={"retry-after": str(seconds)})
