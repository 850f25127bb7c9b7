"""Who asks: an API key opens the door, and says for which tenant, under which policy and within which limits.

A key comes in `Authorization: Bearer` and nowhere else. Without configured keys the door is open, and that header is
ignored. It never reaches the model server.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from proxy.config import KeyEntry, Limits
from proxy.keyring import SHAPE, KeyringFault, find, hashed
from proxy.store import Store, StoreDown

log = logging.getLogger("kindrail.access")

_REMEMBERED = 10.0  # seconds for which an answer of Redis holds: so long a revoked key still opens
_MOST = 1_000  # answers remembered
_NAMES_OF_KEYS = frozenset({"api_key", "api-key", "apikey", "key", "token", "access_token", "authorization"})
_NO_LIMITS = Limits.model_validate({})


class Denied(Exception):
    """The door stays shut. `error` is an OpenAI error object's content; nothing here repeats what was sent."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def error(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}

    @property
    def headers(self) -> dict[str, str]:
        """A 401 says what it wants (RFC 9110, section 11.6.1)."""
        return {"www-authenticate": "Bearer"} if self.status == 401 else {}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. The defaults are those of an open door: anybody, for the models that there are."""

    key: str = ""  # the key's id
    tenant: str = "default"
    policy: str = ""  # "": the general one
    models: tuple[str, ...] = ("*",)  # globs
    headers: frozenset[str] = frozenset()  # in small letters: those that reach the model server too
    policies: tuple[str, ...] = ()  # globs
    allow: frozenset[str] = frozenset()
    limits: Limits = _NO_LIMITS

    def may_use(self, model: str) -> bool:
        """Whether the key opens this model."""
        return any(fnmatchcase(model, glob) for glob in self.models)

    def may_choose(self, policy: str) -> bool:
        """Whether a request may ask for this policy, by its name."""
        return any(fnmatchcase(policy, glob) for glob in self.policies)


class Door:
    """Decides who asks, by the keys of the file and, if `in_store`, by those in Redis."""

    def __init__(self, keys: Iterable[KeyEntry], in_store: bool, store: Store) -> None:
        # Looked up by hash. How long that takes tells something about hashes, from which no key can be guessed.
        self._keys = {entry.hash: _caller(entry) for entry in keys}
        self._in_store = in_store
        self._store = store
        self._answers: dict[str, tuple[float, Caller | None]] = {}  # hash -> until when, and who; None: nobody

    @property
    def is_open(self) -> bool:
        """Whether anybody may come in without a key."""
        return not self._keys and not self._in_store

    async def admit(self, headers: Mapping[str, str], query: str) -> Caller:
        """Who asks. `headers` has its names in small letters, or knows both; `query` is raw, without the `?`.

        Raises `Denied`: 400 for a key in the query, 401 for a missing or wrong one, 503 where Redis would know.
        """
        _check_query(query)
        if self.is_open:
            return Caller()
        digest, well_formed = _presented(headers.get("authorization", ""))
        caller = self._keys.get(digest)
        if caller is None and self._in_store and well_formed:
            caller = await self._from_store(digest)
        if caller is None:
            raise Denied(401, "Incorrect API key provided.", "invalid_api_key")
        return caller

    async def _from_store(self, digest: str) -> Caller | None:
        until, caller = self._answers.get(digest, (0.0, None))
        if monotonic() < until:
            return caller
        try:
            caller = await self._asked(digest)
        except StoreDown:
            if caller is None:
                raise Denied(503, "The store of keys does not answer. Try again.", "store_unavailable") from None
            return caller  # known until now; a child in danger is answered without Redis too
        self._answers.pop(digest, None)
        if len(self._answers) >= _MOST:
            del self._answers[next(iter(self._answers))]  # the oldest
        self._answers[digest] = (monotonic() + _REMEMBERED, caller)
        return caller

    async def _asked(self, digest: str) -> Caller | None:
        try:
            entry = await find(self._store, digest)
        except KeyringFault as fault:
            log.error("%s", fault)
            return None
        return _caller(entry) if entry else None


def _presented(authorization: str) -> tuple[str, bool]:
    """The hash of the key in the header, and whether it has the shape of ours. Raises `Denied` if there is none."""
    scheme, *rest = authorization.split(None, 1) or [""]
    key = rest[0].strip() if rest else ""
    if scheme.lower() != "bearer" or not key:
        raise Denied(401, "An API key is missing: send it as `Authorization: Bearer <key>`.", "invalid_api_key")
    return hashed(key), SHAPE.fullmatch(key) is not None


def _check_query(query: str) -> None:
    """Addresses stand in the logs and histories of whatever they pass. Raises `Denied` for a key in one."""
    if not query:
        return
    names = {name.strip().lower() for name, _ in parse_qsl(query.replace(";", "&"), keep_blank_values=True)}
    if names & _NAMES_OF_KEYS or SHAPE.search(unquote_plus(query)):
        message = (
            "A key does not belong into the address, where logs keep it. Consider it leaked and change it; "
            "send the new one as `Authorization: Bearer <key>`."
        )
        raise Denied(400, message, "key_in_query")


def _caller(entry: KeyEntry) -> Caller:
    headers = frozenset(name.lower() for name in entry.headers)
    return Caller(
        entry.id, entry.tenant, entry.policy, tuple(entry.models), headers, tuple(entry.policies),
        frozenset(entry.allow), entry.limits,
    )  # fmt: skip
