"""What `/v1/responses` keeps between requests: conversations by response id, and answers by item id.

Both are sealed, scoped to the tenant and kept for a time only. The ids that clients send back are known here by their
tags alone. The `1` in the keys is the version of what is stored there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio.client import Pipeline

from proxy.keys import Keys, Unreadable
from proxy.store import Store
from proxy.wire.responses import not_kept

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A conversation up to and with one answer, as the next request goes on from it."""

    messages: list[Message]  # chat messages without instructions, masked by the caller
    session: str  # the name under which the session is found again


class Kept:
    """Keeps conversations and answers, and finds them again."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def put(
        self,
        pipe: Pipeline,
        tenant: str,
        response_id: str,
        kept: KeptResponse,
        items: Mapping[str, Message],
        keep: float,
    ) -> None:
        """Adds what must stand before the answer's final event.

        items: item id -> chat message, masked by the caller. keep: seconds.
        """
        body = {"messages": kept.messages, "session": kept.session, "items": list(items)}
        self._set(pipe, "response", tenant, response_id, body, keep)
        for name, message in items.items():
            self._set(pipe, "item", tenant, name, {"message": message, "session": kept.session}, keep)

    async def find(
        self, tenant: str, previous: str | None, references: Sequence[str]
    ) -> tuple[KeptResponse | None, dict[str, Message], str | None]:
        """The previous response, the messages of the items referred to, and their session if it is one and the same.

        One trip. Raises `NotKept` for what is not there, or was not written by us; `StoreDown`.
        """
        wanted = [("response", previous)] if previous is not None else []
        bodies = await self._get(tenant, [*wanted, *(("item", name) for name in references)])
        response = _response(bodies.pop(0)) if previous is not None else None
        if previous is not None and response is None:
            raise not_kept("previous_response_id")
        found = dict(zip(references, bodies, strict=True))
        if not all(isinstance(body.get("message"), dict) for body in found.values()):
            raise not_kept("input")
        sessions = {str(body.get("session")) for body in found.values()} | ({response.session} if response else set())
        items = {name: body["message"] for name, body in found.items()}
        return response, items, sessions.pop() if len(sessions) == 1 else None

    async def forget(self, tenant: str, response_id: str) -> bool:
        """Deletes a response and its items; whether it was there. Later responses keep the conversation that they know.

        Two trips. Raises `StoreDown`.
        """
        (body,) = await self._get(tenant, [("response", response_id)])
        pipe = self._store.pipe()
        for kind, name in [("response", response_id), *(("item", str(name)) for name in body.get("items") or ())]:
            for key in self._places(kind, tenant, name):
                pipe.delete(key)
        return any(await self._store.run(pipe))

    def _set(self, pipe: Pipeline, kind: str, tenant: str, name: str, body: Mapping[str, Any], keep: float) -> None:
        tag = self._keys.tag(kind, tenant, name)
        pipe.set(_key(kind, tag), self._keys.seal(tag, orjson.dumps(body).decode()), ex=max(1, int(keep)))

    async def _get(self, tenant: str, wanted: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """What is stored for each kind and name, under whichever secret; empty where there is nothing readable."""
        tags = [[(kind, tag) for tag in self._keys.tags(kind, tenant, name)] for kind, name in wanted]
        pipe = self._store.pipe()
        for kind, tag in (place for places in tags for place in places):
            pipe.get(_key(kind, tag))
        answers = iter(await self._store.run(pipe))
        opened = [[self._opened(tag, next(answers)) for _, tag in places] for places in tags]
        return [next(filter(None, bodies), {}) for bodies in opened]

    def _places(self, kind: str, tenant: str, name: str) -> list[str]:
        return [_key(kind, tag) for tag in self._keys.tags(kind, tenant, name)]

    def _opened(self, tag: str, sealed: bytes | None) -> dict[str, Any]:
        if sealed is None:
            return {}
        try:
            body = orjson.loads(self._keys.open(tag, sealed))
        except (Unreadable, orjson.JSONDecodeError):
            return {}
        return body if isinstance(body, dict) else {}


def _response(body: Mapping[str, Any]) -> KeptResponse | None:
    messages, session = body.get("messages"), body.get("session")
    return KeptResponse(messages, session) if isinstance(messages, list) and isinstance(session, str) else None


def _key(kind: str, tag: str) -> str:
    """In braces is what Redis Cluster places a key by."""
    return f"kindrail:{kind}:1:{{{tag}}}"
