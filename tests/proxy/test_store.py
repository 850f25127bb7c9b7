"""The way to Redis: forms of the URL, trips, and what goes wrong there."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from servers import free_port, serve

from proxy import store as room
from proxy.store import Store, StoreDown, open_store


async def test_a_pipeline_is_one_trip(store: Store) -> None:
    pipe = store.pipe()
    pipe.set("{a}1", "x")
    pipe.get("{a}1")
    pipe.get("{b}1")
    assert await store.run(pipe) == [True, b"x", None]
    assert store.trips == 1
    assert await store.run(store.pipe()) == []
    await store.ping()
    assert store.trips == 1


async def test_a_refused_command_is_store_down_without_its_text(store: Store) -> None:
    pipe = store.pipe()
    pipe.set("text", "planted words")
    pipe.hset("text", "planted words", "planted words")
    with pytest.raises(StoreDown) as refused:
        await store.run(pipe)
    assert refused.value.kind == "ResponseError"
    assert "planted" not in repr(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:{port}", "unix:///nowhere/at/all.sock", "redis+cluster://127.0.0.1:{port}"]
)
async def test_a_missing_server_is_told_of_quickly(url: str) -> None:
    store = await open_store(url.format(port=free_port()), Path("unused"))
    pipe = store.pipe()
    pipe.get("a")
    began = time.monotonic()
    with pytest.raises(StoreDown):
        await store.run(pipe)
    with pytest.raises(StoreDown):
        await store.ping()
    assert time.monotonic() - began < 2
    await store.close()


async def test_a_hanging_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(room._QUICKLY, "socket_timeout", 0.1)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    store = await open_store(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", Path("unused"))
    with pytest.raises(StoreDown) as hung:
        await store.ping()
    assert hung.value.kind == "TimeoutError"
    await store.close()
    server.close()


@pytest.mark.parametrize(
    "url", ["http://:hunter2@there", "nonsense", "redis+sentinel://hunter2@there:port/x", "redis://there:hunter2"]
)
async def test_urls_of_other_forms(url: str) -> None:
    with pytest.raises(ValueError, match="KINDRAIL_REDIS_URL") as refused:
        await open_store(url, Path("unused"))
    assert "hunter2" not in str(refused.value)


async def test_a_trip_given_up_half_way_leaves_no_answer_for_the_next(store: Store) -> None:
    async def read(name: str) -> list[bytes]:
        pipe = store.pipe()
        pipe.get(name)
        return await store.run(pipe)

    await asyncio.gather(*(store.redis.set(f"key{n}", str(n)) for n in range(20)))
    for turns in range(12):
        task = asyncio.create_task(read("key0"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        assert await read("key1") == [b"1"]


async def test_more_turns_at_once_than_connections(store: Store) -> None:
    async def count() -> None:
        pipe = store.pipe()
        pipe.incr("count")
        await store.run(pipe)

    await asyncio.gather(*(count() for _ in range(300)))
    assert await store.redis.get("count") == b"300"


async def test_the_embedded_store_starts_stops_and_keeps(data: Path) -> None:
    for expected in (None, b"kept"):
        store = await open_store(None, data)
        assert await store.redis.get("it") == expected
        await store.redis.set("it", "kept")
        await store.close()
    assert not (data / "valkey.sock").exists()


async def test_a_restarted_server_is_found_again(data: Path) -> None:
    store = await open_store(None, data)
    again = await open_store(f"unix://{data}/valkey.sock", data)
    await again.redis.set("it", "kept")
    await store.close()
    with pytest.raises(StoreDown):
        await again.ping()
    store = await open_store(None, data)
    assert await again.redis.get("it") == b"kept"
    await again.close()
    await store.close()


async def test_sentinel_names_the_server(redis_url: str, tmp_path: Path) -> None:
    port = redis_url.rpartition(":")[2]
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor buddy 127.0.0.1 {port} 1\n")
    for sentinel_port in serve(str(tmp_path), str(config), "--sentinel"):
        store = await open_store(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel_port}/buddy", tmp_path)
        pipe = store.pipe()
        pipe.set("it", "kept")
        pipe.get("it")
        assert await store.run(pipe) == [True, b"kept"]
        await store.close()
