"""The one server of `backend_url`: as it is, but the operator's log tells when it falls and when it answers again."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from proxy.turn import Ask, Backend, BackendFault, Delta

log = logging.getLogger("kindrail.backend")


class Alone:
    """`name` is what the log calls it. It is always asked: with no other server, leaving it out would help nobody."""

    def __init__(self, name: str, backend: Backend) -> None:
        self._name = name
        self._backend = backend
        self._down = False

    async def knows(self, model: str) -> frozenset[str]:
        return await self._backend.knows(model)

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The server's answer. Raises `BackendFault`."""
        with self._seen():
            async with aclosing(self._backend.stream(ask)) as deltas:
                async for delta in deltas:
                    self._well()
                    yield delta

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The server's answer. Raises `BackendFault`."""
        with self._seen():
            return await self._backend.whole(ask)

    async def models(self) -> dict[str, Any]:
        """The server's own list. Raises `BackendFault`."""
        with self._seen():
            return await self._backend.models()

    async def close(self) -> None:
        await self._backend.close()

    @contextmanager
    def _seen(self) -> Iterator[None]:
        """Tells of a change for the worse, or for the better; lets every exception through."""
        try:
            yield
        except BackendFault as fault:
            if fault.status < 500:
                self._well()
            elif not self._down:
                self._down = True
                why = fault.error["code"] or fault.status
                log.warning(
                    "%s does not answer as it should (%s): check its address, its key and itself", self._name, why
                )
            raise
        else:
            self._well()

    def _well(self) -> None:
        if self._down:
            self._down = False
            log.warning("%s answers again", self._name)
