"""Real servers for the store's tests, and a look at all that is stored."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import RedisError

from proxy.store import Store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(folder: str, *options: str) -> Iterator[int]:
    """A real Redis on a port of its own, while the generator is open; options may begin with a file."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed here")
    port = free_port()
    command = [binary, *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until_ready(port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def until_ready(port: int) -> None:
    with Redis(port=port) as client:
        for _ in range(500):
            try:
                client.ping()
                return
            except RedisError:
                time.sleep(0.01)
    raise AssertionError("redis-server did not start")


async def everything(store: Store) -> dict[bytes, str]:
    """Every key with all that is stored under it, to look for what must not be there."""
    found = {}
    async for key in store.redis.scan_iter():
        match await store.redis.type(key):
            case b"string":
                value = await store.redis.get(key)
            case b"hash":
                value = await store.redis.hgetall(key)
            case b"stream":
                value = await store.redis.xrange(key)
            case b"zset":
                value = await store.redis.zrange(key, 0, -1, withscores=True)
        found[key] = repr(value)
    return found
