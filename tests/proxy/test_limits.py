"""Limits of a key: what is admitted, for how long it counts, and what the app is told."""

from __future__ import annotations

import asyncio
import random

import pytest

from proxy import limits as counting
from proxy.access import Caller
from proxy.config import Limits
from proxy.limits import Limited, Meter
from proxy.store import Store, StoreDown

ORDINARY = 1_800_000_000.25  # unix seconds


def caller(key: str = "tablet", tenant: str = "home", **limits: int) -> Caller:
    return Caller(key=key, tenant=tenant, limits=Limits.model_validate(limits))


async def leave(meter: Meter, who: Caller, turn: str, tokens: int = 0) -> None:
    pipe = meter.store.pipe()
    meter.leave(pipe, who, turn, tokens)
    await meter.store.run(pipe)


async def admitted(meter: Meter, who: Caller, turn: str) -> bool:
    try:
        await meter.enter(who, turn)
    except Limited:
        return False
    return True


@pytest.fixture
def meter(store: Store) -> Meter:
    return Meter(store)


class Clock:
    """Redis's clock, as the scripts see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._scripts = counting._ENTER, counting._CHARGE
        self.now = ORDINARY

    def set(self, now: float) -> None:
        self.now = now
        told = f"{{'{int(now)}', '{round(now % 1 * 1_000_000)}'}}"
        for name, script in zip(("_ENTER", "_CHARGE"), self._scripts, strict=True):
            assert "redis.call('TIME')" in script
            self._patch.setattr(counting, name, script.replace("redis.call('TIME')", f"({told})"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    clock.set(ORDINARY)
    return clock


# Requests a minute


async def test_the_limit_is_admitted_and_no_more(meter: Meter) -> None:
    who = caller(requests=5)
    assert [await admitted(meter, who, f"t{n}") for n in range(7)] == [True] * 5 + [False] * 2


async def test_many_at_once_get_exactly_the_limit(meter: Meter) -> None:
    who = caller(requests=20)
    answers = await asyncio.gather(*(admitted(meter, who, f"t{n}") for n in range(200)))
    assert sum(answers) == 20


async def test_each_key_of_each_tenant_counts_for_itself(meter: Meter) -> None:
    for who in (caller(requests=1), caller("phone", requests=1), caller(tenant="school", requests=1)):
        assert await admitted(meter, who, "t")
        assert not await admitted(meter, who, "t")


@pytest.mark.parametrize("seed", range(4))
async def test_never_more_than_the_limit_in_any_minute(embedded_store: Store, clock: Clock, seed: int) -> None:
    rng = random.Random(seed)
    meter, limit = Meter(embedded_store), rng.choice([1, 7, 30])
    entered, now = list[float](), ORDINARY
    for n in range(600):
        now += rng.choice([0, 0.001, 0.1, 0.9, 3, 20]) * rng.random()
        clock.set(now)
        if await admitted(meter, caller(requests=limit), f"t{n}"):
            entered.append(now)
            assert sum(now - 60 <= at for at in entered) <= limit
        else:  # nor is anything refused without need
            assert sum(now - 61 <= at for at in entered) >= limit
    assert limit < len(entered) < 600


async def test_what_was_used_comes_back_a_minute_later(meter: Meter, clock: Clock) -> None:
    who = caller(requests=2)
    for at, expected in [(0.2, True), (30, True), (59.9, False), (60.3, False), (61, True), (61, False), (91, True)]:
        clock.set(int(ORDINARY) + at)
        assert await admitted(meter, who, f"t{at}") is expected, at


@pytest.mark.parametrize("step", [61, 1e6, -61, -1e6])
async def test_no_clock_shuts_a_key_out_for_good(meter: Meter, clock: Clock, step: float) -> None:
    assert await admitted(meter, caller(requests=1), "before")
    clock.set(ORDINARY + step)
    assert await admitted(meter, caller(requests=1), "after")


async def test_a_refused_request_does_not_count(meter: Meter, clock: Clock) -> None:
    who = caller(requests=1, concurrency=1, tokens=100)
    assert await admitted(meter, who, "t")
    for n in range(50):
        clock.set(ORDINARY + n)
        assert not await admitted(meter, who, f"refused{n}")
    await leave(meter, who, "t")
    clock.set(ORDINARY + 61)
    assert await admitted(meter, who, "next")


# Tokens a minute


async def test_tokens_are_charged_as_used(meter: Meter, clock: Clock) -> None:
    who = caller(tokens=1000)
    for tokens, remaining in [(0, 1000), (400, 600), (0, 600), (599, 1)]:
        await meter.enter(who, "t")
        await leave(meter, who, "t", tokens)
        assert (await meter.enter(who, "look"))["x-ratelimit-remaining-tokens"] == str(remaining)
    await leave(meter, who, "t", 5000)  # the last turn may go over the limit
    with pytest.raises(Limited) as refused:
        await meter.enter(who, "t")
    assert refused.value.kind == "tokens"
    assert refused.value.headers["x-ratelimit-remaining-tokens"] == "0"
    clock.set(ORDINARY + 61)
    assert await admitted(meter, who, "later")


async def test_the_wait_is_as_long_as_it_takes(meter: Meter, clock: Clock) -> None:
    who = caller(tokens=100)
    for at, tokens in [(0, 60), (10, 30), (20, 30)]:
        clock.set(int(ORDINARY) + at)
        await leave(meter, who, "t", tokens)
    clock.set(int(ORDINARY) + 20.5)
    with pytest.raises(Limited) as refused:
        await meter.enter(who, "t")
    assert refused.value.retry_after == 41  # until the first 60 are gone: 61 - 20.5
    assert refused.value.headers["x-ratelimit-reset-tokens"] == "1m0.5s"
    clock.set(int(ORDINARY) + 20.5 + 41)
    assert await admitted(meter, who, "t")


# Requests at once


async def test_never_more_at_once_than_the_limit(meter: Meter) -> None:
    who, running, most, refused = caller(concurrency=8), 0, 0, 0

    async def turn(name: str) -> None:
        nonlocal running, most, refused
        if not await admitted(meter, who, name):
            refused += 1
            return
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)  # long enough for the others to come, on a busy machine too
        running -= 1
        await leave(meter, who, name)

    for wave in range(3):
        await asyncio.gather(*(turn(f"{wave}.{n}") for n in range(200)))
    assert most == 8
    assert refused > 0
    assert await meter.store.redis.zcard(counting._place("running", who)) == 0


async def test_a_turn_whose_asking_was_repeated_has_one_slot(meter: Meter) -> None:
    who = caller(concurrency=2)
    assert [await admitted(meter, who, turn) for turn in ("a", "b", "b", "a", "c")] == [True] * 4 + [False]
    await leave(meter, who, "a")
    assert await admitted(meter, who, "c")


async def test_a_crashed_process_blocks_nobody(meter: Meter, clock: Clock) -> None:
    who = caller(concurrency=2)
    for turn in ("crashed", "crashed too"):
        assert await admitted(meter, who, turn)
    for after, expected in [(1, False), (599, False), (600.5, True)]:
        clock.set(ORDINARY + after)
        assert await admitted(meter, who, f"t{after}") is expected


async def test_a_client_that_goes_while_it_enters_leaves_no_slot_taken(meter: Meter) -> None:
    who = caller(concurrency=1)
    for steps in range(30):
        task = asyncio.create_task(meter.enter(who, f"gone{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
            await leave(meter, who, f"gone{steps}")
        except asyncio.CancelledError:
            pass
        assert await admitted(meter, who, "next"), steps
        await leave(meter, who, "next")


# What the app is told


@pytest.mark.parametrize(
    ("limits", "kind", "type_", "words"),
    [
        ({"requests": 1}, "requests", "requests", "1 requests a minute"),
        ({"tokens": 10}, "tokens", "tokens", "10 tokens a minute"),
        ({"concurrency": 1}, "concurrency", "requests", "1 requests at once"),
        ({"concurrency": 1, "requests": 1}, "requests", "requests", "1 requests a minute"),  # the longer wait counts
        ({"requests": 1, "tokens": 10, "concurrency": 9}, "tokens", "tokens", "10 tokens a minute"),
    ],
)
async def test_the_refusal_has_openais_shape(
    meter: Meter, clock: Clock, limits: dict[str, int], kind: str, type_: str, words: str
) -> None:
    who = caller(**limits)
    await meter.enter(who, "first")
    clock.set(ORDINARY + 1)
    pipe = meter.store.pipe()
    meter.leave(pipe, caller(tokens=1), "other", 50)  # charges, and frees nothing
    await meter.store.run(pipe)
    with pytest.raises(Limited) as refused:
        await meter.enter(who, "second")
    fault = refused.value
    assert (fault.status, fault.kind, fault.error["type"]) == (429, kind, type_)
    assert (fault.error["code"], fault.error["param"]) == ("rate_limit_exceeded", None)
    assert words in fault.error["message"]
    assert fault.headers["retry-after"] == str(fault.retry_after)
    assert 1 <= fault.retry_after <= 61


async def test_an_admitted_request_is_told_what_is_left(meter: Meter, clock: Clock) -> None:
    who = caller(requests=10, tokens=500, concurrency=3)
    await meter.enter(who, "first")
    await leave(meter, who, "first", 120)
    clock.set(ORDINARY + 30)
    assert await meter.enter(who, "second") == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "8",
        "x-ratelimit-reset-requests": "1m0.75s",
        "x-ratelimit-limit-tokens": "500",
        "x-ratelimit-remaining-tokens": "380",
        "x-ratelimit-reset-tokens": "30.75s",
    }


@pytest.mark.parametrize(("ms", "told"), [(0, "0ms"), (120, "120ms"), (1000, "1s"), (8640, "8.64s"), (60_000, "1m0s"), (60_750, "1m0.75s")])  # fmt: skip
def test_times_are_written_as_openai_writes_them(ms: int, told: str) -> None:
    assert counting._span(ms) == told


# What it costs


async def test_a_key_without_limits_costs_no_trip(embedded_store: Store) -> None:
    meter = Meter(embedded_store)
    assert await meter.enter(caller(body=1024), "t") == {}
    await leave(meter, caller(body=1024), "t", 100)
    assert embedded_store.trips == 0
    await meter.enter(caller(requests=9, tokens=9, concurrency=9), "t")
    assert embedded_store.trips == 1


async def test_what_is_stored_is_bounded_and_goes(embedded_store: Store, clock: Clock) -> None:
    meter, who = Meter(embedded_store), caller(requests=100_000, tokens=10**9, concurrency=10)
    for second in range(200):
        clock.set(ORDINARY + second)
        await meter.enter(who, f"t{second}")
        await leave(meter, who, f"t{second}", 10)
    redis = embedded_store.redis
    assert await redis.hlen(counting._place("requests", who)) == 61
    assert await redis.hlen(counting._place("tokens", who)) <= 62  # one was charged since the last count
    for key in [key async for key in redis.scan_iter()]:
        assert 0 < await redis.ttl(key) <= counting._LEASE


async def test_a_store_that_is_down_is_told_of(embedded_store: Store) -> None:
    await embedded_store.redis.set(counting._place("requests", caller()), "not a hash")
    with pytest.raises(StoreDown):
        await Meter(embedded_store).enter(caller(requests=1), "t")
