"""What every turn uses, opened when the house opens and closed when it closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from proxy.access import Door
from proxy.alerts import Alerts
from proxy.audit import Audit
from proxy.backends import open_backend
from proxy.config import Config, resolved
from proxy.contact import Addresses, Contact
from proxy.kept import Kept
from proxy.keys import load_keys
from proxy.limits import Meter
from proxy.live import Live, Reload
from proxy.memo import Memo
from proxy.metrics import Metrics
from proxy.sessions import Sessions
from proxy.store import Store, StoreDown, open_store
from proxy.turn import Backend

_TEND_EVERY = 3600.0  # seconds between two rounds in which records past their time are let go


@dataclass(slots=True)
class Services:
    """The policies, the model server, and what remembers. `closing`: last writes of turns whose client has gone.

    `live` is set anew, as a whole, when policies are reloaded; a turn keeps the policy that it began with.
    """

    live: Live
    backend: Backend
    store: Store
    sessions: Sessions
    audit: Audit
    door: Door
    meter: Meter
    kept: Kept
    alerts: Alerts
    metrics: Metrics = field(default_factory=Metrics)
    memo: Memo = field(default_factory=Memo)
    closing: set[asyncio.Task[None]] = field(default_factory=set)
    reload: Reload | None = None  # the last one

    def finish(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Starts a last write, which the house waits for before it closes, whether or not its turn still does."""
        task = asyncio.create_task(work)
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)
        return task


@asynccontextmanager
async def open_services(config: Config, live: Live, backend: Backend | None = None) -> AsyncIterator[Services]:
    """The services for `config`; `backend` in the place of the configured one. Call it from the main thread.

    Raises `SecretFault`, `EmbeddedFault`, `ConfigFault`, and `ValueError` for a URL that cannot be used.
    """
    keys = load_keys(config.data, config.secret_file)
    addresses = Addresses.of(config)
    model = backend or open_backend(config)
    store = await open_store(resolved("redis_url", config.redis_url) or None, config.data)
    metrics = Metrics()
    services = Services(
        live,
        model,
        store,
        Sessions(store, keys),
        Audit(store, keys),
        Door(config.keys, config.keys_in_store, store),
        Meter(store),
        Kept(store, keys),
        Alerts(store, keys, config.data / "alerts", metrics),
        metrics,
    )
    contact = Contact(addresses, services.alerts, metrics)
    tending = [asyncio.create_task(work) for work in (_tend(services.audit), contact.run())]
    try:
        yield services
    finally:
        for task in tending:
            task.cancel()
        await asyncio.gather(*services.closing, return_exceptions=True)
        await model.close()
        await store.close()


async def _tend(audit: Audit) -> None:
    while True:
        with suppress(StoreDown):  # the next round does it; turns report the fault meanwhile
            await audit.tend()
        await asyncio.sleep(_TEND_EVERY)
