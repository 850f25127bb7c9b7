"""A safeguarding contact of the test's own: an address that takes alerts, or does not."""

import asyncio
from contextlib import asynccontextmanager

import orjson
from house import _serving
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route


class Webhook:
    """What was posted, in order; `status` is what it answers, after `delay` seconds."""

    def __init__(self):
        self.posts, self.headers, self.bodies = [], [], []
        self.status, self.delay, self.url = 204, 0.0, ""

    async def take(self, request):
        self.bodies.append(await request.body())
        self.posts.append(orjson.loads(self.bodies[-1]))
        self.headers.append(dict(request.headers))
        await asyncio.sleep(self.delay)
        return Response(status_code=self.status)

    async def until(self, count, seconds=20.0):
        """Waits until that many were posted."""
        async with asyncio.timeout(seconds):
            while len(self.posts) < count:
                await asyncio.sleep(0.02)
        return self.posts


@asynccontextmanager
async def webhook():
    hook = Webhook()
    async with _serving(Starlette(routes=[Route("/alerts", hook.take, methods=["POST"])])) as url:
        hook.url = f"{url}/alerts"
        yield hook
