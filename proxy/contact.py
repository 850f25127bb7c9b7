"""The operator's safeguarding contact: alerts go there by webhook, at least once, signed, and without any text.

Every replica runs the same loop. Each delivery is taken by one of them, and by another where that one died.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import httpx
import orjson

from proxy.alerts import Alerts, Channel, Delivery
from proxy.config import Config, resolved
from proxy.metrics import Metrics
from proxy.store import StoreDown

log = logging.getLogger("kindrail.contact")

_LOOK_EVERY = 2.0  # seconds between two looks for what is due
_PATIENCE = 8.0  # seconds for one delivery; less than the lease of the alert


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where alerts go, and the secret that signs them; empty: it is not signed."""

    webhooks: Mapping[Channel, str]
    secret: str

    @classmethod
    def of(cls, config: Config) -> Addresses:
        """Those of the configuration. Raises `ConfigFault` for a variable that is not set."""
        given: Mapping[Channel, str] = {
            "contact": resolved("safeguarding_webhook", config.safeguarding_webhook),
            "parents": resolved("safeguarding_parents_webhook", config.safeguarding_parents_webhook),
        }
        secret = resolved("safeguarding_secret", config.safeguarding_secret)
        return cls({channel: url for channel, url in given.items() if url}, secret)


class Contact:
    """The loop that tells them."""

    def __init__(self, addresses: Addresses, alerts: Alerts, metrics: Metrics) -> None:
        self._webhooks, self._secret = addresses.webhooks, addresses.secret
        self._alerts = alerts
        self._metrics = metrics
        self._told: set[str] = set()  # of those that wait in files: what has been told meanwhile

    async def run(self) -> None:
        """Delivers what is due, until it is cancelled. Nothing ends it: what fails is logged and tried again."""
        async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE) as client:
            while True:
                try:
                    await self.round(client)
                except Exception as fault:  # its words may quote an address
                    log.error("a round of alerts broke: %s", type(fault).__name__)
                await asyncio.sleep(_LOOK_EVERY)

    async def round(self, client: httpx.AsyncClient) -> None:
        """Delivers once what is due now. With the store down, what waits in files is told all the same."""
        try:
            await self._restore()
            for channel in self._webhooks:
                taken = await self._alerts.take(channel)
                await asyncio.gather(*(self._deliver(client, delivery) for delivery in taken))
        except StoreDown:
            await self._tell_waiting(client)

    async def _restore(self) -> None:
        """What waits in files, into the store. Where that breaks, what lies in the store is delivered all the same."""
        try:
            await self._alerts.restore()
        except StoreDown:
            raise
        except Exception as fault:
            log.error("alerts stay in their files: %s", type(fault).__name__)

    async def _deliver(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        if await self._post(client, delivery):
            await self._alerts.delivered(delivery)
        else:
            await self._alerts.failed(delivery)

    async def _tell_waiting(self, client: httpx.AsyncClient) -> None:
        """Once a process: they are told again when the store is back, and the receiver knows them by their id."""
        for _, raised in self._alerts.waiting():
            for channel in self._webhooks:
                name = f"{channel} {raised.member}"
                if name in self._told or not raised.concerns(channel):
                    continue
                if await self._post(client, Delivery(channel, raised, 1)):
                    self._told.add(name)

    async def _post(self, client: httpx.AsyncClient, delivery: Delivery) -> bool:
        body = payload(delivery)
        headers = {"content-type": "application/json", "idempotency-key": _key(delivery)}
        if self._secret:
            at = str(int(time.time()))
            headers |= {"x-kindrail-timestamp": at, "x-kindrail-signature": signature(self._secret, at, body)}
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await client.post(self._webhooks[delivery.channel], content=body, headers=headers)
            why = "" if answer.is_success else f"it answered {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as fault:
            why = type(fault).__name__
        self._metrics.alerts.labels(delivery.raised.kind, "failed" if why else "delivered").inc()
        if why:
            words = "alert %s was not delivered to the %s (%s), try %d; it is tried again"
            log.warning(words, delivery.raised.id, delivery.channel, why, delivery.tries)
        return not why


def payload(delivery: Delivery) -> bytes:
    """What is posted: JSON without any text, times as ISO 8601."""
    fields = asdict(delivery.raised)
    del fields["parents"]
    for name in ("at", "since"):
        fields[name] = datetime.fromtimestamp(fields[name], UTC).isoformat(timespec="seconds")
    return orjson.dumps({"channel": delivery.channel, "delivery": _key(delivery), **fields})


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC-SHA256 in hex, over the timestamp, a full stop and the body."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _key(delivery: Delivery) -> str:
    """Equal for what is delivered twice; another one for each turn."""
    return f"{delivery.raised.id}.{delivery.raised.turn}"
