"""Alerts: what a person is to be told when a child may be in danger, kept until somebody closes it.

An alert is written with the turn's opened record, before the answer's first byte. Where the store is down, it lies in a
file of the state folder until the store is back. It holds no text; `proxy.contact` delivers it.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from redis.asyncio.client import Pipeline

from proxy.keys import Keys, Unreadable
from proxy.metrics import Metrics
from proxy.store import Store
from proxy.turn import Severity

log = logging.getLogger("kindrail.alerts")

Channel = Literal["contact", "parents"]
CHANNELS: tuple[Channel, ...] = ("contact", "parents")
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the most severe first
LEASE = 12.0  # seconds for which an alert is left to the replica that took it; longer than a delivery may take
_SLOWEST = 300.0  # seconds between two tries, however many failed
_BATCH = 20  # deliveries taken at once
_SEALED = "alerts"  # names the key that they are sealed with

# The braces keep all of it in one slot of Redis Cluster; `1` is the version of what is stored there. Each turn in which
# an alert was raised has a member of its own, `id turn`: turns of one session may run at the same time.
_OPEN = "kindrail:alerts:1:{alerts}"  # hash: member -> what was raised, sealed
_TRIES = f"{_OPEN}:tries"  # hash: `channel member` -> how often it was tried
_TOLD = f"{_OPEN}:told"  # hash: `channel member` -> when it was delivered, in Unix seconds
_BARRED = f"{_OPEN}:barred"  # hash: `channel id` of the alerts that the channel may not be told any longer

# A turn raises an alert once: what lies there is never overwritten, by a file that has waited either.
_PUT = """
if redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) == 0 then return end
for i = 3, #KEYS do
  local mark = ARGV[2 * i - 1] .. ' ' .. ARGV[1]
  if ARGV[2 * i] ~= '1' then
    redis.call('HSET', KEYS[2], mark, 1)
    for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
      if string.find(member, ARGV[1] .. ' ', 1, true) == 1 then redis.call('ZREM', KEYS[i], member) end
    end
  elseif redis.call('HEXISTS', KEYS[2], mark) == 0 then
    redis.call('ZADD', KEYS[i], ARGV[4], ARGV[2])
  end
end
"""
_CLOSE = """
local closed = 0
for _, member in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.find(member, ARGV[1] .. ' ', 1, true) == 1 then
    closed = closed + redis.call('HDEL', KEYS[1], member)
    for i = 5, #KEYS do
      redis.call('HDEL', KEYS[2], ARGV[i - 3] .. ' ' .. member)
      redis.call('HDEL', KEYS[3], ARGV[i - 3] .. ' ' .. member)
      redis.call('ZREM', KEYS[i], member)
    end
  end
end
for i = 2, #ARGV do redis.call('HDEL', KEYS[4], ARGV[i] .. ' ' .. ARGV[1]) end
return closed
"""
# Whoever takes a delivery has it until its lease is over: one that dies meanwhile leaves it to the next.
_TAKE = """
local taken = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local body = redis.call('HGET', KEYS[2], member)
  if body then
    redis.call('ZADD', KEYS[1], ARGV[2], member)
    local tries = redis.call('HINCRBY', KEYS[3], ARGV[4] .. ' ' .. member, 1)
    table.insert(taken, {member, body, tries})
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return taken
"""
# What was told is settled, unless somebody has closed it meanwhile.
_SETTLE = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[2] .. ' ' .. ARGV[1])
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[4], ARGV[2] .. ' ' .. ARGV[1], ARGV[3])
end
"""


@dataclass(frozen=True, slots=True)
class Raised:
    """What one turn has raised. A repeat in the same session belongs to the same alert: `times` counts up."""

    id: str  # the alert's: the same for all of its turns
    at: float  # Unix seconds of the last time
    since: float  # ... and of the first
    turn: str  # the last turn, as the header `x-kindrail-turn` told the app
    session: str  # as the audit has it
    tenant: str
    policy: str  # name@version
    kind: str
    severity: Severity
    parents: bool
    language: str
    times: int

    @property
    def member(self) -> str:
        """What tells it from the alert's other turns."""
        return f"{self.id} {self.turn}"

    def concerns(self, channel: Channel) -> bool:
        """Whether the channel may be told: what is for the contact alone never reaches the parents."""
        return channel != "parents" or self.parents


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is to be told to one channel now, by us alone."""

    channel: Channel
    raised: Raised
    tries: int


@dataclass(frozen=True, slots=True)
class Standing:
    """An open alert, all its turns together, and when each channel was last told of it (Unix seconds)."""

    raised: Raised
    told: dict[Channel, float]


class Alerts:
    """Keeps alerts, and hands them out for delivery, across replicas.

    folder: where they wait for the store. metrics: what counts those that cannot be read.
    """

    def __init__(self, store: Store, keys: Keys, folder: Path, metrics: Metrics | None = None) -> None:
        self._store = store
        self._keys = keys
        self._folder = folder
        self._metrics = metrics
        self._unread: set[str] = set()  # what has been told of those

    def id(self, session: str, rail: str, since: float | str) -> str:
        """The alert's id: the same for all that a rail hears in a session since the first time, or in this turn."""
        return self._keys.tag("alert", session, rail, str(since))

    def put(self, pipe: Pipeline, raised: Raised) -> None:
        """Adds what a turn has raised to a write.

        Where it is not for parents, what they have not been told yet of the alert is withdrawn.
        """
        due = [_due(channel) for channel in CHANNELS]
        concerned = [word for one in CHANNELS for word in (one, int(raised.concerns(one)))]
        what = (raised.id, raised.member, self._seal(raised), time.time())
        pipe.eval(_PUT, 2 + len(due), _OPEN, _BARRED, *due, *what, *concerned)

    def spool(self, raised: Raised) -> None:
        """Writes the alert into a file until the store is back; where that fails too, the log has it."""
        path = self._folder / f"{raised.id}.{raised.turn}.alert"
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self._seal(raised))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except OSError as fault:
            words = "alert %s is kept nowhere (%s): turn %s, %s"
            log.critical(words, raised.id, fault.strerror, raised.turn, raised.kind)
        else:
            log.error("alert %s waits in %s for the store: turn %s, %s", raised.id, path, raised.turn, raised.kind)

    async def restore(self) -> None:
        """Moves the alerts that waited in files into the store. Raises `StoreDown`; they wait on then."""
        for path, raised in self.waiting():
            pipe = self._store.pipe()
            self.put(pipe, raised)
            await self._store.run(pipe)
            path.unlink(missing_ok=True)

    def waiting(self) -> Iterator[tuple[Path, Raised]]:
        """The alerts that wait in files."""
        for path in sorted(self._folder.glob("*.alert")):
            try:
                raised = self._open(path.read_bytes())
            except Unreadable:
                self._set_aside(str(path))
            except OSError:  # another process has moved it
                continue
            else:
                yield path, raised

    async def take(self, channel: Channel) -> list[Delivery]:
        """The deliveries that are due, ours until the lease is over. Raises `StoreDown`."""
        now = time.time()
        pipe = self._store.pipe()
        pipe.eval(_TAKE, 3, _due(channel), _OPEN, _TRIES, now, now + LEASE, _BATCH, channel)
        (taken,) = await self._store.run(pipe)
        found: list[Delivery] = []
        for member, sealed, tries in taken:
            try:
                found.append(Delivery(channel, self._open(sealed), tries))
            except Unreadable:
                self._set_aside(f"alert {member.decode()}")
                await self._put_off(channel, member.decode(), _SLOWEST)
        await self._withdraw([one for one in found if not one.raised.concerns(channel)])
        return [one for one in found if one.raised.concerns(channel)]

    async def _withdraw(self, deliveries: Sequence[Delivery]) -> None:
        """Makes sure that these are never told, whoever has put them there. Raises `StoreDown`."""
        if not deliveries:
            return
        pipe = self._store.pipe()
        for one in deliveries:
            pipe.zrem(_due(one.channel), one.raised.member)
        await self._store.run(pipe)

    async def delivered(self, delivery: Delivery) -> None:
        """Marks what was told. Raises `StoreDown`: it will be told again."""
        channel, member = delivery.channel, delivery.raised.member
        pipe = self._store.pipe()
        pipe.eval(_SETTLE, 4, _due(channel), _OPEN, _TRIES, _TOLD, member, channel, time.time())
        await self._store.run(pipe)

    async def failed(self, delivery: Delivery) -> None:
        """Puts it off, for longer with each try. Raises `StoreDown`: then its lease has to end first."""
        wait = min(_SLOWEST, 2.0 ** min(delivery.tries, 16))
        await self._put_off(delivery.channel, delivery.raised.member, wait)

    async def _put_off(self, channel: Channel, member: str, seconds: float) -> None:
        pipe = self._store.pipe()
        pipe.zadd(_due(channel), {member: time.time() + seconds}, xx=True)
        await self._store.run(pipe)

    async def standing(self) -> list[Standing]:
        """The alerts that nobody has closed, the latest first. Raises `StoreDown`."""
        pipe = self._store.pipe()
        pipe.hgetall(_OPEN)
        pipe.hgetall(_TOLD)
        kept, told = await self._store.run(pipe)
        times = {member.decode(): float(at) for member, at in told.items()}
        turns: dict[str, list[Raised]] = {}
        for sealed in kept.values():
            with suppress(Unreadable):
                raised = self._open(sealed)
                turns.setdefault(raised.id, []).append(raised)
        found = [Standing(_together(raised), _last_told(raised, times)) for raised in turns.values()]
        return sorted(found, key=lambda one: one.raised.at, reverse=True)

    async def close(self, id: str) -> bool:
        """Closes an alert: it is neither listed nor delivered any longer. Whether there was one. Raises `StoreDown`."""
        due = [_due(channel) for channel in CHANNELS]
        pipe = self._store.pipe()
        pipe.eval(_CLOSE, 4 + len(due), _OPEN, _TRIES, _TOLD, _BARRED, *due, id, *CHANNELS)
        (closed,) = await self._store.run(pipe)
        return bool(closed)

    def _seal(self, raised: Raised) -> str:
        return self._keys.seal(_SEALED, orjson.dumps(raised).decode())

    def _open(self, sealed: str | bytes) -> Raised:
        """What `_seal` was given; fields that only a newer version knows are left out. Raises `Unreadable`."""
        try:
            written: dict[str, Any] = orjson.loads(self._keys.open(_SEALED, sealed))
            return Raised(**{field.name: written[field.name] for field in fields(Raised)})
        except (ValueError, TypeError, KeyError):
            raise Unreadable from None

    def _set_aside(self, what: str) -> None:
        """What cannot be read stays where it is, and keeps nothing else waiting. It is told once a process."""
        if what in self._unread:
            return
        self._unread.add(what)
        words = "%s cannot be read: it is damaged, or was sealed with a secret that is not listed any longer"
        log.error(words, what)
        if self._metrics:
            self._metrics.alerts.labels("unknown", "unreadable").inc()


def _together(turns: Sequence[Raised]) -> Raised:
    """An alert as its last turn has it, but with the most severe that any turn has heard."""
    last = max(turns, key=lambda one: one.at)
    worst = min(turns, key=lambda one: (SEVERITIES.index(one.severity), -one.at))
    since, times = min(one.since for one in turns), max(len(turns), *(one.times for one in turns))
    parents = all(one.parents for one in turns)
    return replace(last, since=since, kind=worst.kind, severity=worst.severity, parents=parents, times=times)


def _last_told(turns: Sequence[Raised], times: Mapping[str, float]) -> dict[Channel, float]:
    told = {one: [times[name] for turn in turns if (name := f"{one} {turn.member}") in times] for one in CHANNELS}
    return {channel: max(found) for channel, found in told.items() if found}


def _due(channel: Channel) -> str:
    """Sorted set: id -> when it is to be delivered to the channel, in Unix seconds."""
    return f"{_OPEN}:due:{channel}"
