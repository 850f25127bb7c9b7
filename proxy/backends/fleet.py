"""Several model servers as one.

A request goes to one of those that serve its model, by weight, and a conversation to the same one every time, which
has its beginning in its cache. Before its first event a fault of the server's own sends it to the next one, each being
asked once at most, while the patience of the first one lasts; after it nothing is retried, as text may have left.
Nobody waits in line here: model servers have queues of their own, and a client knows what `retry-after` means.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from proxy.backends._member import ELSEWHERE, Member
from proxy.turn import Ask, BackendFault, Delta, Health

T = TypeVar("T")
_EVERY = 10.0  # seconds between two looks at every server
_FIRST_LOOK = 2.0  # seconds in which requests wait for the very first look; a later one finds what the last look saw


class Fleet:
    """The servers of `kindrail.yaml`. Use it in one event loop and close it there; it closes its servers."""

    def __init__(self, members: Sequence[Member], every: float = _EVERY) -> None:
        """`every`: seconds between two looks at each server."""
        self._members = tuple(members)
        self._every = every
        self._looked = asyncio.Event()
        self._wait_until = 0.0  # in the loop's time
        self._watching: asyncio.Task[None] | None = None

    async def knows(self, model: str) -> frozenset[str]:
        """What every server that could answer now understands; nothing if none could."""
        members = [member for member in await self._serving(model) if member.healthy]
        known = await asyncio.gather(*(member.backend.knows(member.rename.get(model, model)) for member in members))
        return frozenset.intersection(*known) if known else frozenset()

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer of the first server that begins one. Raises `BackendFault`: 404 for a model that none serves."""
        tries = await self._tries(ask)
        while True:
            member = tries.next()
            try:
                with member.asked() as attempt:
                    async with aclosing(member.backend.stream(member.named(ask))) as deltas:
                        delta = await tries.in_time(anext(deltas, None))
                        while delta is not None:
                            attempt.first()
                            yield delta
                            delta = await anext(deltas, None)
                    return
            except (BackendFault, TimeoutError) as fault:
                if attempt.begun:
                    raise
                tries.failed(fault)

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The answer of the first server that has one. Raises `BackendFault`: 404 for a model that none serves."""
        tries = await self._tries(ask)
        while True:
            member = tries.next()
            try:
                with member.asked():
                    return await tries.in_time(member.backend.whole(member.named(ask)))
            except (BackendFault, TimeoutError) as fault:
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

    async def health(self) -> dict[str, Health]:
        """How each server is, as the last look found it."""
        await self._watched()
        return {member.place: member.health for member in self._members}

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(*(member.backend.close() for member in self._members))

    async def _tries(self, ask: Ask) -> _Tries:
        """The way through those that serve its model. Raises 404, in OpenAI's words."""
        serving = await self._serving(ask.model)
        if not serving:
            message = f"The model `{ask.model}` does not exist or you do not have access to it."
            raise BackendFault(404, message, "invalid_request_error", "model_not_found", "model")
        return _Tries(serving, ask.session)

    async def _serving(self, model: str) -> list[Member]:
        """Those that serve it; those of which nothing is known only where no other does."""
        await self._watched()
        serving = [member for member in self._members if member.serves(model)]
        return serving or [member for member in self._members if not member.models and member.listed is None]

    async def _watched(self) -> None:
        """Begins the looks with the first request; until a moment after, requests wait for what the first look sees."""
        if self._watching is None:
            self._wait_until = asyncio.get_running_loop().time() + _FIRST_LOOK
            self._watching = asyncio.create_task(self._watch())
        if not self._looked.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._wait_until):
                    await self._looked.wait()

    async def _watch(self) -> None:
        while True:
            # What nobody foresaw at one server must not end the looks at the others.
            await asyncio.gather(*(member.look() for member in self._members), return_exceptions=True)
            self._looked.set()
            await asyncio.sleep(self._every)


class _Tries:
    """One request's way through the servers: each is asked once at most, in the time that the first one has.

    The first keeps its own time, which is as long and whose fault tells more.
    """

    def __init__(self, members: list[Member], session: str) -> None:
        self._left = members
        self._session = session or secrets.token_hex(8)
        self._fault: BackendFault | None = None
        self._now = asyncio.get_running_loop().time
        self._until = math.inf  # in the loop's time

    def next(self) -> Member:
        """The one to ask now. Raises the last one's fault where there is none left or no time, or 503."""
        ready = [member for member in self._left if member.ready]
        if self._fault and (not ready or self._now() >= self._until):
            raise self._fault
        if not ready:
            raise _nobody(self._left)
        member = max(ready, key=lambda one: _score(one, self._session))
        self._left.remove(member)
        if self._fault is None:
            self._until = self._now() + member.patience
        return member

    async def in_time(self, work: Awaitable[T]) -> T:
        """What the one asked begins with. Raises `TimeoutError` for one after the first when the time is over."""
        async with asyncio.timeout_at(self._until if self._fault else None):
            return await work

    def failed(self, fault: BackendFault | TimeoutError) -> None:
        """Raises a fault that is the request's own: another server would say the same."""
        if isinstance(fault, TimeoutError):
            return  # what the one before said is told
        if fault.status not in ELSEWHERE:
            raise fault
        self._fault = fault


def _score(member: Member, session: str) -> float:
    """Weighted rendezvous hashing: the highest score has the session. When a server comes or goes, only the sessions
    that it gets or had move.
    """
    digest = hashlib.blake2b(f"{member.place} {session}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    drawn = ((int.from_bytes(digest) >> 12) + 0.5) / 2**52  # between 0 and 1, and neither
    return -member.weight / math.log(drawn)


def _nobody(members: list[Member]) -> BackendFault:
    """All are busy, paused or out: when it is worth to come again."""
    waits = [member.breaker.wait for member in members if member.healthy]
    seconds = max(1, math.ceil(min(waits, default=_EVERY)))
    message = f"All model servers for this model are busy or do not answer. Come again in {seconds} s."
    return BackendFault(503, message, "server_error", "backend_busy", headers={"retry-after": str(seconds)})
