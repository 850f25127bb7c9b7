"""The audit log: what was decided in every turn, and by which policy, in Redis Streams.

Each process writes a stream of its own. A turn has an opened record, written before the answer's first byte, and a
closed one, written before its last. Decisions hold no text. Masked texts of touched turns lie sealed under keys of
their own, because they are kept for a shorter time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import orjson
from redis.asyncio.client import Pipeline

from proxy.keys import Keys, Unreadable
from proxy.policy.schema import Keep
from proxy.store import Store

_WRITERS = "kindrail:audit:writers"  # hash: writer -> seconds for which its records are kept
_RENEW = 3600.0  # seconds between two renewals of the stream's time to live
_BATCH = 500  # records a trip when reading back


@dataclass(frozen=True, slots=True)
class Opened:
    """A turn has begun."""

    turn: str
    session: str  # `Session.id`
    found: str  # how the session was found
    tenant: str
    policy: str  # name@version
    digest: str  # of the policy with all it is made of
    language: str
    at: float  # unix seconds
    route: str
    stream: bool
    key: str = ""  # the id of the API key; empty: the door was open


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """What one rail said of one message, without the text."""

    rail: str  # its id in the policy
    kind: str  # the file in rails/
    mode: str
    role: str
    act: str
    why: str = ""
    say: str = ""
    flags: tuple[str, ...] = ()
    won: bool = False  # this verdict had its way; another rail's may have outranked it
    ms: float = 0.0
    entities: dict[str, int] = field(default_factory=dict)  # entity -> how many spans
    withdrawn: bool = False  # of an answer that nobody has read: the model was asked for another one


@dataclass(frozen=True, slots=True)
class Text:
    """One message of a touched turn as it may be stored: masked, or only its length where it could not be."""

    role: str
    length: int  # characters of the message
    masked: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """A turn has ended."""

    turn: str
    session: str
    outcome: str  # answered, ended, disconnected, backend_failed, ...
    verdicts: tuple[VerdictRecord, ...] = ()
    finish: str | None = None  # the finish_reason that was sent
    sent: int = 0  # characters
    usage: dict[str, Any] | None = None
    ms: dict[str, float] = field(default_factory=dict)  # first byte, total, rails, upstream


@dataclass(frozen=True, slots=True)
class Entry:
    """One turn as read back; `closed` is None while it runs or after a crash. Texts past their time are lengths."""

    turn: str
    opened: Mapping[str, Any] | None
    closed: Mapping[str, Any] | None
    texts: tuple[Text, ...]


class Audit:
    """Writes this process's stream, and reads those of all. `keep` is the policy's."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self.writer = token_hex(8)
        self._store = store
        self._keys = keys
        self._keep = 0.0  # seconds: the longest of the policies that this process serves
        self._renew_at = 0.0

    def opened(self, pipe: Pipeline, record: Opened, keep: Keep) -> None:
        """Adds the opened record to the turn's first write."""
        self._add(pipe, "opened", record.turn, orjson.dumps(record), keep)

    def closed(self, pipe: Pipeline, record: Closed, texts: Sequence[Text], keep: Keep) -> None:
        """Adds the closed record to the turn's second write, and the texts; give texts for touched turns only."""
        lengths = {"texts": [{"role": text.role, "length": text.length} for text in texts]}
        body = orjson.dumps(record)[:-1] + b"," + orjson.dumps(lengths)[1:]
        self._add(pipe, "closed", record.turn, body, keep)
        if keep.text >= 1 and any(text.masked is not None for text in texts):
            masked = orjson.dumps([text.masked for text in texts]).decode()
            pipe.set(_text_key(record.session, record.turn), self._keys.seal(record.session, masked), ex=int(keep.text))

    async def tend(self) -> None:
        """Lets go of records past their time, also of writers that are gone. Call it at start and every hour or so.

        Raises `StoreDown`.
        """
        writers = await self._writers()
        pipe = self._store.pipe()
        for writer, kept in writers.items():
            pipe.xtrim(_stream_key(writer), minid=int((time.time() - kept) * 1000), approximate=False)
            pipe.exists(_stream_key(writer))
        answers = await self._store.run(pipe)
        gone = [writer for writer, exists in zip(writers, answers[1::2], strict=True) if not exists]
        if gone:
            pipe.hdel(_WRITERS, *gone)
            await self._store.run(pipe)

    async def read(self, turn: str | None = None, last: int = 50) -> list[Entry]:
        """The turn of this id, or the `last` ones of all writers, newest first. Raises `StoreDown`."""
        found: list[dict[str, Any]] = []
        for writer in await self._writers():
            found += [pair async for pair in self._turns(writer, turn, last)]
        found.sort(key=_when, reverse=True)
        found = found[:last]
        return [Entry(**pair, texts=texts) for pair, texts in zip(found, await self._texts(found), strict=True)]

    def _add(self, pipe: Pipeline, kind: str, turn: str, body: bytes, keep: Keep) -> None:
        key = _stream_key(self.writer)
        pipe.xadd(key, {"kind": kind, "turn": turn, "body": body})
        now = time.monotonic()
        if keep.decisions > self._keep or now >= self._renew_at:  # not with every turn: each command costs
            self._keep = max(self._keep, keep.decisions)
            self._renew_at = now + _RENEW
            pipe.expire(key, int(self._keep + _RENEW))  # a safety net behind `tend`, and never too early
            pipe.hset(_WRITERS, self.writer, int(self._keep))

    async def _writers(self) -> dict[str, int]:
        pipe = self._store.pipe()
        pipe.hgetall(_WRITERS)
        (writers,) = await self._store.run(pipe)
        return {writer.decode(): int(kept) for writer, kept in writers.items()}

    async def _turns(self, writer: str, turn: str | None, last: int) -> AsyncIterator[dict[str, Any]]:
        """The turns of one stream, newest first: a closed record is met before the opened one that it belongs to."""
        closed: dict[str, dict[str, Any]] = {}
        async for kind, name, body in self._records(writer):
            if turn is not None and name != turn:
                continue
            if kind == "closed":
                closed[name] = orjson.loads(body)
                continue
            yield {"turn": name, "opened": orjson.loads(body), "closed": closed.pop(name, None)}
            last -= 1
            if turn is not None or last <= 0:
                return
        for name, record in closed.items():  # their opened records are past their time
            yield {"turn": name, "opened": None, "closed": record}

    async def _records(self, writer: str) -> AsyncIterator[tuple[str, str, bytes]]:
        before = "+"
        while True:
            pipe = self._store.pipe()
            pipe.xrevrange(_stream_key(writer), before, "-", count=_BATCH)
            (batch,) = await self._store.run(pipe)
            for _, fields in batch:
                yield fields[b"kind"].decode(), fields[b"turn"].decode(), fields[b"body"]
            if len(batch) < _BATCH:
                return
            before = f"({batch[-1][0].decode()}"

    async def _texts(self, found: Iterable[Mapping[str, Any]]) -> list[tuple[Text, ...]]:
        closed = [pair["closed"] or {} for pair in found]
        touched = [record for record in closed if record.get("texts")]
        pipe = self._store.pipe()
        for record in touched:
            pipe.get(_text_key(record["session"], record["turn"]))
        sealed = iter(await self._store.run(pipe))
        return [self._opened(record, next(sealed)) if record.get("texts") else () for record in closed]

    def _opened(self, record: Mapping[str, Any], sealed: bytes | None) -> tuple[Text, ...]:
        masked: list[str | None] = [None] * len(record["texts"])
        if sealed is not None:
            with suppress(Unreadable):  # its key is gone: only the lengths are left
                masked = orjson.loads(self._keys.open(record["session"], sealed))
        return tuple(
            Text(text["role"], text["length"], kept) for text, kept in zip(record["texts"], masked, strict=True)
        )


def _when(pair: Mapping[str, Any]) -> float:
    return float(pair["opened"]["at"]) if pair["opened"] else 0.0


def _stream_key(writer: str) -> str:
    return f"kindrail:audit:{{{writer}}}"


def _text_key(session: str, turn: str) -> str:
    return f"kindrail:text:{{{session}}}:{turn}"
