"""The way to Redis, embedded or by URL: one pipeline a trip, and one exception for all that goes wrong there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.client import Pipeline
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from proxy.embedded import Embedded

_FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)  # the second is none of the first
_CONNECTIONS = 64  # a trip holds one for a fraction of a millisecond
_WAIT = 2.0  # seconds for a connection to become free
_QUICKLY: dict[str, Any] = {
    "socket_connect_timeout": 1.0,  # seconds
    "socket_timeout": 2.0,  # seconds for one answer
    "protocol": 2,
}
_FORMS = "redis://, rediss://, unix://, redis+sentinel://host:port,host:port/service or redis+cluster://host:port"


class StoreDown(Exception):
    """Redis did not answer, or refused. Holds the kind of fault (the name of the exception) and no text of anybody."""

    def __init__(self, fault: BaseException) -> None:
        self.kind = type(fault).__name__
        super().__init__(f"the store does not answer ({self.kind})")


@dataclass(slots=True)
class Store:
    """A Redis client that counts its trips. Commands are gathered in `pipe()` and sent with `run()`."""

    redis: Redis
    embedded: Embedded | None = None
    trips: int = 0
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTIONS))

    def pipe(self) -> Pipeline:
        """An empty pipeline: commands put into it go out together, in one round trip, without a transaction."""
        return self.redis.pipeline(transaction=False)

    async def run(self, commands: Pipeline) -> list[Any]:
        """Send the pipeline and give its answers, in order; an empty one costs no trip.

        Raises `StoreDown`, also if only one command failed.
        """
        if not len(commands):
            return []
        self.trips += 1
        try:
            async with self.gate:
                return await commands.execute()
        except _FAULTS as fault:
            raise StoreDown(fault) from None  # redis-py puts the command's arguments into its messages

    async def ping(self) -> None:
        """One small trip, not counted. Raises `StoreDown`."""
        try:
            await self.redis.ping()
        except _FAULTS as fault:
            raise StoreDown(fault) from None

    async def close(self) -> None:
        """Close the connections; stop the embedded server."""
        await self.redis.aclose()
        if self.embedded:
            await asyncio.to_thread(self.embedded.stop)


async def open_store(url: str | None, data: Path) -> Store:
    """The store at `url`, or the embedded one in `data`, which is then running; see `Embedded` for the right thread.

    Nothing is sent to a Redis by URL yet: ask `ping`. Raises `ValueError` for a URL of another form, `EmbeddedFault`.
    """
    if url:
        return Store(_connect(url))
    embedded = Embedded(data)
    return Store(_connect(f"unix://{quote(str(embedded.socket))}"), embedded)


def _connect(url: str) -> Redis:
    try:
        parts = urlsplit(url)
        match parts.scheme:
            case "redis" | "rediss" | "unix":
                pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=_WAIT, **_at_once())
                return Redis.from_pool(pool)
            case "redis+sentinel":
                return _sentinel(parts)
            case "redis+cluster":  # its pipeline takes the same commands, and sends one batch to each node concerned
                return cast(Redis, RedisCluster.from_url(url.replace("redis+cluster", "redis", 1), **_QUICKLY))
            case _:
                raise ValueError
    except ValueError:
        raise ValueError(f"KINDRAIL_REDIS_URL is not {_FORMS}.") from None  # no URL here: it may hold a password


def _at_once() -> dict[str, Any]:
    """Nothing is sent twice: a turn that waits for a second try is late already."""
    return {**_QUICKLY, "retry": Retry(NoBackoff(), 0)}


def _sentinel(parts: SplitResult) -> Redis:
    """`redis+sentinel://[user:password@]host:port,host:port/service`; the login is the servers', not the sentinels'."""
    hosts = [host.rpartition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    addresses = [(host, int(port)) for host, _, port in hosts]
    sentinel = Sentinel(addresses, sentinel_kwargs=_at_once())  # type: ignore[no-untyped-call]
    login = {"username": unquote(parts.username or "") or None, "password": unquote(parts.password or "") or None}
    return cast(Redis, sentinel.master_for(parts.path.strip("/") or "mymaster", **{**_at_once(), **login}))
