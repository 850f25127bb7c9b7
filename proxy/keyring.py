"""API keys: how one is made, what is kept of it, and those that lie in Redis.

Of a key only its SHA-256 is kept. A slow hash, as for passwords, would add nothing: a key is 256 random bits, which
nobody guesses, and the hash is needed for every request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

import yaml
from pydantic import ValidationError

from proxy.config import Config, ConfigFault, KeyEntry, resolved
from proxy.embedded import EmbeddedFault
from proxy.store import Store, StoreDown, open_store

T = TypeVar("T")
SHAPE = re.compile(r"kr-[A-Za-z0-9_-]{43}")
_IDS = "kindrail:keys:1"  # hash: a key's id -> its hash; without it a key could be found by nobody but its owner


class KeyringFault(Exception):
    """The keys in Redis cannot be reached, read or changed; the text says why and what to do."""


def new_key() -> str:
    """A fresh key, 256 random bits. To be shown once and kept by its owner alone."""
    return f"kr-{secrets.token_urlsafe(32)}"


def hashed(key: str) -> str:
    """What is kept of a key: `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def as_yaml(entry: KeyEntry) -> str:
    """The entry as it goes under `keys:` in `kindrail.yaml`; what has its default is left out."""
    settings = entry.model_dump(exclude_defaults=True)
    return yaml.safe_dump({"keys": [settings]}, sort_keys=False, allow_unicode=True)


async def find(store: Store, digest: str) -> KeyEntry | None:
    """The key of this hash, if it lies in Redis. Raises `StoreDown`, and `KeyringFault` if it cannot be read."""
    pipe = store.pipe()
    pipe.get(_place(digest))
    (kept,) = await store.run(pipe)
    return None if kept is None else _read(kept)


async def put(store: Store, entry: KeyEntry) -> None:
    """Keeps a new key in Redis. Raises `StoreDown`, and `KeyringFault` if there is one of its id."""
    pipe = store.pipe()
    pipe.hsetnx(_IDS, entry.id, entry.hash)
    (is_new,) = await store.run(pipe)
    if not is_new:
        raise KeyringFault(f"there is a key `{entry.id}` in Redis already: choose another id, or revoke it first")
    pipe = store.pipe()
    pipe.set(_place(entry.hash), entry.model_dump_json())
    await store.run(pipe)


async def listed(store: Store) -> list[KeyEntry]:
    """The keys in Redis, by id. Raises `StoreDown`, and `KeyringFault` if one cannot be read."""
    pipe = store.pipe()
    pipe.hgetall(_IDS)
    (ids,) = await store.run(pipe)
    for _, digest in sorted(ids.items()):
        pipe.get(_place(digest.decode()))
    return [_read(kept) for kept in await store.run(pipe) if kept is not None]


async def revoke(store: Store, id: str) -> bool:
    """Takes a key out of Redis; whether there was one. Raises `StoreDown`."""
    pipe = store.pipe()
    pipe.hget(_IDS, id)
    (digest,) = await store.run(pipe)
    if digest is None:
        return False
    pipe.delete(_place(digest.decode()))  # the key before its id: cut off in between, it can be revoked again
    await store.run(pipe)
    pipe.hdel(_IDS, id)
    await store.run(pipe)
    return True


async def at_store(config: Config, action: Callable[[Store], Awaitable[T]]) -> T:
    """What `action` gives, done with the configured store; with the embedded one also while a Kindrail runs on it.

    Call it from the main thread. Raises `KeyringFault`.
    """
    try:
        store = await _opened(config)
        try:
            return await action(store)
        finally:
            await store.close()
    except (ConfigFault, StoreDown, EmbeddedFault, ValueError, OSError) as fault:
        raise KeyringFault(str(fault)) from None


async def _opened(config: Config) -> Store:
    socket = config.data.absolute() / "valkey.sock"
    if not config.redis_url and socket.exists():
        running = await open_store(f"unix://{quote(str(socket))}", config.data)
        with suppress(StoreDown):  # left over from a crash: opened again below
            await running.ping()
            return running
        await running.close()
    return await open_store(resolved("redis_url", config.redis_url) or None, config.data)


def _read(kept: bytes) -> KeyEntry:
    try:
        return KeyEntry.model_validate_json(kept)
    except ValidationError:
        raise KeyringFault("a key in Redis was not written by this version of Kindrail: make it anew") from None


def _place(digest: str) -> str:
    """In braces is what Redis Cluster places a key by; `1` is the version of what is stored there."""
    return f"kindrail:key:1:{{{digest.removeprefix('sha256:')}}}"
