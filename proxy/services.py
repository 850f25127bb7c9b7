"""What every turn uses, opened when the house opens and closed when it closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from proxy.audit import Audit
from proxy.backends import open_backend
from proxy.config import Config
from proxy.keys import load_keys
from proxy.memo import Memo
from proxy.metrics import Metrics
from proxy.policy.model import Policy
from proxy.sessions import Sessions
from proxy.store import Store, StoreDown, open_store
from proxy.turn import Backend

_TEND_EVERY = 3600.0  # seconds between two rounds in which records past their time are let go


@dataclass(slots=True)
class Services:
    """The policy, the model server, and what remembers. `closing`: last writes of turns whose client has gone."""

    policy: Policy
    backend: Backend
    store: Store
    sessions: Sessions
    audit: Audit
    metrics: Metrics = field(default_factory=Metrics)
    memo: Memo = field(default_factory=Memo)
    closing: set[asyncio.Task[None]] = field(default_factory=set)


@asynccontextmanager
async def open_services(config: Config, policy: Policy, backend: Backend | None = None) -> AsyncIterator[Services]:
    """The services for `config`; `backend` in the place of the configured one. Call it from the main thread.

    Raises `SecretFault`, `EmbeddedFault`, and `ValueError` for a URL that cannot be used.
    """
    keys = load_keys(config.data, config.secret_file)
    model = backend or open_backend(config)
    store = await open_store(config.redis_url or None, config.data)
    services = Services(policy, model, store, Sessions(store, keys), Audit(store, keys))
    tending = asyncio.create_task(_tend(services.audit))
    try:
        yield services
    finally:
        tending.cancel()
        await asyncio.gather(*services.closing, return_exceptions=True)
        await model.close()
        await store.close()


async def _tend(audit: Audit) -> None:
    while True:
        with suppress(StoreDown):  # the next round does it; turns report the fault meanwhile
            await audit.tend()
        await asyncio.sleep(_TEND_EVERY)
