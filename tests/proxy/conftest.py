"""Stores to test against: the embedded one always; a real Redis, and a cluster of one, where it is installed.

And a house in which the lists decide alone, for what is tried there whatever the learned model makes of a sentence.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis
from servers import free_port, serve

from proxy.embedded import Embedded
from proxy.store import Store, open_store
from rails._sense import Sense, Sensed
from rails._tagger import Tagger


@pytest.fixture(scope="module")
def lists_alone() -> Iterator[None]:
    """The learned model hears what a list hears, and nothing else; the patterns alone find what is private."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sense, "hear", lambda self, segment, hinted=False: Sensed("", 1.0) if hinted else None)
        patch.setattr(Tagger, "spans", lambda self, segment: [])
        yield


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder with a path short enough for a socket, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="kr") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="kr") as folder:
        server = Embedded(Path(folder))
        yield f"unix://{server.socket}"
        server.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    for port in serve(str(tmp_path_factory.mktemp("redis")), "--save", ""):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cluster_port = str(free_port())
    options = ["--save", "", "--cluster-enabled", "yes", "--cluster-port", cluster_port]
    for port in serve(str(tmp_path_factory.mktemp("cluster")), *options):
        with Redis(port=port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
                time.sleep(0.05)
        yield f"redis+cluster://127.0.0.1:{port}"


@pytest.fixture(params=["embedded", "redis", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store."""
    store = await open_store(request.getfixturevalue(f"{request.param}_url"), Path("unused"))
    await store.redis.flushall()
    yield store
    await store.close()


@pytest.fixture
async def embedded_store(embedded_url: str) -> AsyncIterator[Store]:
    """An empty embedded store, for what does not depend on the server."""
    store = await open_store(embedded_url, Path("unused"))
    await store.redis.flushall()
    yield store
    await store.close()
