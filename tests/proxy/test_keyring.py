"""Keys: what is kept of one, and those in Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from servers import everything, free_port

from proxy.config import Config, KeyEntry
from proxy.keyring import KeyringFault, as_yaml, at_store, find, hashed, listed, new_key, put, revoke
from proxy.store import Store, open_store


def entry(id: str, key: str, **settings: object) -> KeyEntry:
    return KeyEntry.model_validate({"id": id, "hash": hashed(key), **settings})


async def test_a_key_is_put_found_listed_and_revoked(store: Store) -> None:
    keys = {id: new_key() for id in ("tablet", "phone", "robot")}
    entries = [entry(id, key, models=["buddy*"], limits={"requests": 5}) for id, key in keys.items()]
    for one in entries:
        await put(store, one)
    assert await find(store, entries[0].hash) == entries[0]
    assert [one.id for one in await listed(store)] == ["phone", "robot", "tablet"]
    assert await revoke(store, "robot") is True
    assert await revoke(store, "robot") is False
    assert await find(store, entries[2].hash) is None
    assert [one.id for one in await listed(store)] == ["phone", "tablet"]


async def test_an_id_is_given_once(store: Store) -> None:
    first, second = entry("tablet", new_key()), entry("tablet", new_key())
    await put(store, first)
    with pytest.raises(KeyringFault, match="revoke it first"):
        await put(store, second)
    assert await find(store, second.hash) is None
    assert await revoke(store, "tablet")
    await put(store, second)
    assert await listed(store) == [second]


async def test_no_key_is_stored(embedded_store: Store) -> None:
    key = new_key()
    await put(embedded_store, entry("tablet", key))
    stored = repr(await everything(embedded_store))
    assert hashed(key) in stored
    assert key not in stored


def test_the_hash_is_that_of_anybody_else() -> None:
    assert hashed("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4


@pytest.mark.parametrize("settings", [{}, {"tenant": "home", "models": ["a", "b*"], "limits": {"tokens": 5}}])
def test_the_entry_reads_as_it_was_written(settings: dict[str, object]) -> None:
    one = entry("tablet", new_key(), **settings)
    (read,) = yaml.load(as_yaml(one), Loader=yaml.BaseLoader)["keys"]
    assert KeyEntry.model_validate(read) == one
    assert set(read) == {"id", "hash", *settings}


async def test_the_embedded_store_is_used_running_or_not(data: Path) -> None:
    config, one = Config(data=data), entry("tablet", new_key())
    await at_store(config, lambda store: put(store, one))
    running = await open_store(None, data)
    assert await at_store(config, listed) == [one]
    assert await find(running, one.hash) == one  # it runs on
    await running.close()
    (data / "valkey.sock").touch()  # as a crash leaves it
    assert await at_store(config, listed) == [one]


@pytest.mark.parametrize(
    ("url", "message"),
    [("redis://127.0.0.1:{port}", "does not answer"), ("http://:hunter2@there", "KINDRAIL_REDIS_URL is not")],
)
async def test_a_store_that_cannot_be_used_is_told_of(data: Path, url: str, message: str) -> None:
    with pytest.raises(KeyringFault, match=message) as fault:
        await at_store(Config(data=data, redis_url=url.format(port=free_port())), listed)
    assert "hunter2" not in str(fault.value)
