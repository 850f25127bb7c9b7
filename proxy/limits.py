"""What one key may use: requests and tokens a minute, and requests at once, counted in Redis for all replicas.

The minute is a sliding one, counted second by second: never more than the limit is admitted within any 60 seconds. A
token bucket would let twice as much through after a pause, a log of every request would grow with the limit; this
takes 61 small counters at most. The price: what was used comes back up to a second late.

Tokens are charged as they were really used, at the end of a turn. A request is admitted while less than the limit has
been charged, so the turns that run at once may overrun it; the next ones wait for it.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio.client import Pipeline

from proxy.access import Caller
from proxy.store import Store, StoreDown

Kind = Literal["requests", "tokens", "concurrency"]

_LEASE = 600  # seconds after which a turn no longer counts as running, so that a crashed process blocks nobody
_BUSY = 1  # seconds to wait where all slots are taken: nobody knows when one becomes free
_KINDS: tuple[Kind, ...] = ("requests", "tokens", "concurrency")  # as the script numbers them

# KEYS: counters of requests and of tokens (hash: second -> count), running turns (zset: turn -> end of its lease).
# ARGV: the three limits (0: none), the turn, the lease. All times are Redis's own, so that replicas' clocks may differ.
# Answers: which limit refuses (0: none); for how many ms; of requests, then of tokens: how many were used, and after
# how many ms none of them counts any longer. A refused request counts nowhere.
_ENTER = """
local clock = redis.call('TIME')
local second = tonumber(clock[1])
local now = second + clock[2] / 1000000

-- A second counts until all of it is more than 60 s ago. One of a future is left from a clock that was set back.
local function counted(key, limit)
  if limit == 0 then return 0, 0, 0 end
  local seconds, used, last = {}, 0, 0
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local at, count = tonumber(fields[i]), tonumber(fields[i + 1])
    if math.abs(second - at) <= 60 then
      seconds[#seconds + 1] = {at, count}
      used, last = used + count, math.max(last, at)
    else
      redis.call('HDEL', key, fields[i])
    end
  end
  if used == 0 then return 0, 0, 0 end
  local left, wait = used, 0
  if used >= limit then
    table.sort(seconds, function(a, b) return a[1] < b[1] end)
    for _, one in ipairs(seconds) do
      if left < limit then break end
      left, wait = left - one[2], one[1] + 61 - now
    end
  end
  return used, wait, last + 61 - now
end

local requests, tokens, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local asked, ask_wait, ask_reset = counted(KEYS[1], requests)
local spent, spend_wait, spend_reset = counted(KEYS[2], tokens)
local refused, wait = 0, 0
if slots > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  local has_one = redis.call('ZSCORE', KEYS[3], ARGV[4]) -- a client of a cluster may send this twice
  if not has_one and redis.call('ZCARD', KEYS[3]) >= slots then refused = 3 end
end
if ask_wait > wait then refused, wait = 1, ask_wait end
if spend_wait > wait then refused, wait = 2, spend_wait end
if refused == 0 then
  if requests > 0 then
    redis.call('HINCRBY', KEYS[1], second, 1)
    redis.call('EXPIRE', KEYS[1], 62)
    asked, ask_reset = asked + 1, second + 61 - now
  end
  if slots > 0 then
    redis.call('ZADD', KEYS[3], now + ARGV[5], ARGV[4])
    redis.call('EXPIRE', KEYS[3], ARGV[5])
  end
end
return {refused, math.ceil(wait * 1000), asked, math.ceil(ask_reset * 1000), spent, math.ceil(spend_reset * 1000)}
"""
_CHARGE = """
redis.call('HINCRBY', KEYS[1], redis.call('TIME')[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], 62)
"""


class Limited(Exception):
    """The key has used what it may. `error` and `headers` are those of OpenAI's 429; `retry_after` is in seconds."""

    status = 429

    def __init__(self, kind: Kind, limit: int, retry_after: int, headers: dict[str, str]) -> None:
        what = {"requests": "requests a minute", "tokens": "tokens a minute", "concurrency": "requests at once"}[kind]
        message = f"Rate limit reached: this API key may use {limit} {what}. Try again in {retry_after} s."
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.headers = {**headers, "retry-after": str(retry_after)}
        self.error: dict[str, Any] = {
            "message": message,
            "type": "tokens" if kind == "tokens" else "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        }


@dataclass(frozen=True, slots=True)
class Meter:
    """Counts what each key uses. A key without limits costs no trip."""

    store: Store

    async def enter(self, caller: Caller, turn: str) -> dict[str, str]:
        """Counts a request that begins, in one trip. Gives OpenAI's `x-ratelimit-*` headers for its answer.

        A turn that was not admitted may run all the same (a child in danger); it is just not counted.
        Raises `Limited`, `StoreDown`.
        """
        limits = caller.limits
        allowed = (limits.requests or 0, limits.tokens or 0, limits.concurrency or 0)
        if not any(allowed):
            return {}
        refused, wait, asked, ask_reset, spent, spend_reset = await self._counted(caller, turn, allowed)
        headers = {
            **_told("requests", allowed[0], asked, ask_reset),
            **_told("tokens", allowed[1], spent, spend_reset),
        }
        if refused:
            raise Limited(_KINDS[refused - 1], allowed[refused - 1], math.ceil(wait / 1000) or _BUSY, headers)
        return headers

    def leave(self, pipe: Pipeline, caller: Caller, turn: str, tokens: int) -> None:
        """Adds what ends an admitted turn, once: its slot becomes free, the tokens it used are charged."""
        if caller.limits.concurrency:
            pipe.zrem(_place("running", caller), turn)
        if caller.limits.tokens and tokens > 0:
            pipe.eval(_CHARGE, 1, _place("tokens", caller), tokens)

    async def _counted(self, caller: Caller, turn: str, allowed: tuple[int, int, int]) -> list[int]:
        places = [_place(what, caller) for what in ("requests", "tokens", "running")]
        pipe = self.store.pipe()
        pipe.eval(_ENTER, len(places), *places, *allowed, turn, _LEASE)
        try:
            (answer,) = await self.store.run(pipe)
        except asyncio.CancelledError:  # the client has gone; if Redis has given a slot, it gets it back
            pipe = self.store.pipe()
            pipe.zrem(places[-1], turn)
            with suppress(StoreDown):
                await self.store.run(pipe)
            raise
        return list(answer)


def _told(kind: Kind, limit: int, used: int, reset: int) -> dict[str, str]:
    if not limit:
        return {}
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(max(0, limit - used)),
        f"x-ratelimit-reset-{kind}": _span(reset),
    }


def _span(ms: int) -> str:
    """A length of time as OpenAI writes it: `120ms`, `1.5s`, `1m0.25s`."""
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    return f"{f'{minutes}m' if minutes else ''}{rest / 1000:g}s"


def _place(what: str, caller: Caller) -> str:
    """In braces is what Redis Cluster places a key by: all of one API key's lie together."""
    return f"kindrail:{what}:1:{{{caller.tenant}:{caller.key}}}"
