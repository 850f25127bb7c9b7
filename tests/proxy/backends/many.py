"""Servers of a fleet in this process, and what the fleet's tests ask of it."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from proxy.backends._breaker import Breaker
from proxy.backends._member import Member
from proxy.backends.fleet import Fleet
from proxy.turn import Ask, BackendFault, Delta


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Server:
    """A model server in this process. `script`: what its answers do one after another, the last one for good; each is
    events to give, with a `BackendFault` or an `asyncio.Event` to wait for among them."""

    def __init__(self, *script, models=("m",), knows=("top_k",), owner="us"):
        self.script = list(script) or [("a", "b")]
        self.listed = models
        self.known = knows
        self.owner = owner
        self.asked = []
        self.looks = 0
        self.running = 0
        self.closed = False

    def _next(self):
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def knows(self, model):
        return frozenset(self.known)

    async def stream(self, ask):
        self.asked.append(ask)
        self.running += 1
        try:
            for step in self._next():
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BackendFault):
                    raise step
                else:
                    yield Delta(step.encode(), {})
        finally:
            self.running -= 1

    async def whole(self, ask):
        async with aclosing(self.stream(ask)) as deltas:
            return {"said": [delta.raw async for delta in deltas]}

    async def models(self):
        self.looks += 1
        if isinstance(self.listed, BackendFault):
            raise self.listed
        return {"object": "list", "data": [{"id": model, "owned_by": self.owner} for model in self.listed]}

    async def close(self):
        self.closed = True


@asynccontextmanager
async def fleets():
    """A maker of fleets: it makes one of servers, each given alone or with the settings of its member."""
    made = []

    def make(*servers, every=3600.0, clock=None):
        members = []
        for index, given in enumerate(servers):
            server, settings = given if isinstance(given, tuple) else (given, {})
            breaker = Breaker(clock or Clock())
            members.append(Member(f"backends[{index}]", server, breaker=breaker, **settings))
        made.append(Fleet(members, every))
        return made[-1]

    try:
        yield make
    finally:
        for many in made:
            await many.close()


def down(status=503, **more):
    return (BackendFault(status, f"down {status}", code="why", **more),)


TALK = "2"  # of this session `backends[0]` is asked first, then `backends[1]`, then `backends[2]`


def ask(model="m", session=TALK):
    return Ask({"model": model}, session=session)


async def said(fleet, model="m", session=TALK):
    return b"".join([delta.raw async for delta in fleet.stream(ask(model, session))]).decode()


async def fault_of(fleet, model="m"):
    with pytest.raises(BackendFault) as caught:
        await said(fleet, model)
    return caught.value
