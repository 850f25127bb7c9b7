"""Who is let in, as whom, and what those hear that are not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proxy import access
from proxy.access import Caller, Denied, Door
from proxy.config import KeyEntry
from proxy.keyring import SHAPE, hashed, new_key, put, revoke
from proxy.store import Store, StoreDown

KEY, OTHER = "kr-" + "Ab3_" * 10 + "xyz", "kr-" + "Cd4-" * 10 + "uvw"  # the tests keep their names from run to run


def entry(key: str = KEY, **settings: object) -> KeyEntry:
    return KeyEntry.model_validate({"id": "tablet", "hash": hashed(key), **settings})


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def denied(door: Door, headers: Mapping[str, str], query: str = "") -> Denied:
    with pytest.raises(Denied) as caught:
        await door.admit(headers, query)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(access, "monotonic", clock)
    return clock


class Broken(Store):
    """A store that does not answer while `down`."""

    down = True

    async def run(self, commands: object) -> list[object]:  # type: ignore[override]
        if self.down:
            raise StoreDown(ConnectionError())
        return await super().run(commands)  # type: ignore[arg-type]


@pytest.fixture
def shut(embedded_store: Store) -> Door:
    return Door([entry()], False, embedded_store)


# The open door


@pytest.mark.parametrize("headers", [{}, bearer("none"), {"authorization": "nonsense"}])
async def test_without_keys_anybody_comes_in(embedded_store: Store, headers: dict[str, str]) -> None:
    door = Door([], False, embedded_store)
    caller = await door.admit(headers, "stream=true")
    assert (door.is_open, caller, caller.key, caller.tenant) == (True, Caller(), "", "default")
    assert caller.may_use("anything")
    assert not caller.may_choose("general")
    assert embedded_store.trips == 0


# Keys of the file


async def test_a_key_says_who_asks(embedded_store: Store) -> None:
    settings = {
        "tenant": "home", "policy": "kids-buddy", "models": ["buddy*"], "headers": ["X-Trace"],
        "policies": ["general"], "allow": ["image"], "limits": {"requests": 5},
    }  # fmt: skip
    door = Door([entry(OTHER, id="phone"), entry(**settings)], False, embedded_store)
    caller = await door.admit(bearer(KEY), "")
    assert (caller.key, caller.tenant, caller.policy) == ("tablet", "home", "kids-buddy")
    assert caller.headers == {"x-trace"}
    assert (caller.allow, caller.limits.requests) == ({"image"}, 5)
    assert [caller.may_use(model) for model in ("buddy", "buddy-3b", "Buddy", "big")] == [True, True, False, False]
    assert [caller.may_choose(policy) for policy in ("general", "observe")] == [True, False]
    assert (await door.admit(bearer(OTHER), "")).key == "phone"
    assert (door.is_open, embedded_store.trips) == (False, 0)


@pytest.mark.parametrize(
    ("header", "let_in"),
    [
        (f"Bearer {KEY}", True),
        (f"bearer {KEY}", True),
        (f"  BEARER \t {KEY}  ", True),
        (KEY, False),
        (f"Basic {KEY}", False),
        (f"Bearer{KEY}", False),
        (f"Bearer {KEY} {KEY}", False),
        (f"Bearer {KEY.swapcase()}", False),
        (f"Bearer {KEY[:-1]}", False),
        (f"Bearer {hashed(KEY)}", False),
        ("Bearer \udcff\xe9", False),
    ],
)
async def test_a_key_comes_as_bearer(shut: Door, header: str, let_in: bool) -> None:
    headers = {"authorization": header}
    if let_in:
        assert (await shut.admit(headers, "")).key == "tablet"
    else:
        assert (await denied(shut, headers)).status == 401


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "missing"),
        ({"authorization": ""}, "missing"),
        ({"authorization": "Bearer "}, "missing"),
        ({"api-key": KEY}, "missing"),
        ({"x-api-key": KEY}, "missing"),
        (bearer(OTHER), "Incorrect"),
    ],
)
async def test_the_refusal_has_openais_shape(shut: Door, headers: dict[str, str], message: str) -> None:
    fault = await denied(shut, headers)
    assert (fault.status, fault.headers) == (401, {"www-authenticate": "Bearer"})
    assert message in fault.message
    assert fault.error == {
        "message": fault.message, "type": "invalid_request_error", "param": None, "code": "invalid_api_key",
    }  # fmt: skip
    assert KEY not in repr(fault)
    assert OTHER not in repr(fault)


# Keys in the address


@pytest.mark.parametrize(
    ("query", "leaks"),
    [
        ("", False),
        ("stream=true&model=keynote", False),
        ("monkey=1&key2=2&tokens=5", False),
        *((f"{name}=x", True) for name in ("api_key", "api-key", "key", "token", "access_token", "authorization")),
        ("a=1&API_KEY=x", True),
        ("a=1;Api-Key=x", True),
        ("api%5Fkey=x", True),
        ("+key=x", True),
        ("token", True),
        ("key=", True),
        (f"q=Bearer%20{KEY}", True),
        (KEY.replace("-", "%2D"), True),
    ],
)
@pytest.mark.parametrize("keys", [[], [entry()]], ids=["open", "shut"])
async def test_a_key_in_the_address_is_refused(
    embedded_store: Store, keys: list[KeyEntry], query: str, leaks: bool
) -> None:
    door = Door(keys, False, embedded_store)
    if not leaks:
        assert await door.admit(bearer(KEY), query)
        return
    fault = await denied(door, bearer(KEY), query)
    assert (fault.status, fault.code, fault.headers) == (400, "key_in_query", {})
    assert "leaked" in fault.message
    assert KEY not in repr(fault)


# Keys in Redis


async def test_a_key_in_redis_opens_too(store: Store) -> None:
    await put(store, entry(id="from-redis", tenant="home"))
    door = Door([entry(OTHER)], True, store)
    assert (await door.admit(bearer(KEY), "")).tenant == "home"
    assert (await door.admit(bearer(OTHER), "")).key == "tablet"
    assert (await denied(door, bearer(new_key()))).status == 401
    assert (await denied(Door([entry(OTHER)], False, store), bearer(KEY))).status == 401  # if they are asked for


async def test_the_door_is_shut_before_the_first_key_is_made(embedded_store: Store) -> None:
    assert (await denied(Door([], True, embedded_store), {})).status == 401


async def test_answers_of_redis_hold_ten_seconds(embedded_store: Store, clock: Clock) -> None:
    door = Door([], True, embedded_store)
    await denied(door, bearer(KEY))
    await put(embedded_store, entry())
    clock.now += 9.9
    await denied(door, bearer(KEY))
    clock.now += 0.2
    asked = embedded_store.trips
    for _ in range(5):
        await door.admit(bearer(KEY), "")
    assert embedded_store.trips == asked + 1
    await revoke(embedded_store, "tablet")
    await door.admit(bearer(KEY), "")
    clock.now += 10.1
    await denied(door, bearer(KEY))


async def test_only_what_looks_like_a_key_is_looked_for(embedded_store: Store) -> None:
    door = Door([], True, embedded_store)
    for key in ("sk-123", KEY + "x", "none", "kr-"):
        await denied(door, bearer(key))
    assert embedded_store.trips == 0


async def test_guessing_fills_no_memory(embedded_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_MOST", 10)
    door = Door([], True, embedded_store)
    for _ in range(30):
        await denied(door, bearer(new_key()))
    assert len(door._answers) == 10


async def test_without_redis_only_those_known_come_in(embedded_store: Store, clock: Clock) -> None:
    store = Broken(embedded_store.redis)
    door = Door([entry(OTHER)], True, store)
    await put(embedded_store, entry(id="from-redis"))
    fault = await denied(door, bearer(KEY))
    assert (fault.status, fault.code, fault.error["type"]) == (503, "store_unavailable", "server_error")
    store.down = False
    await door.admit(bearer(KEY), "")
    store.down = True
    clock.now += 3600
    assert (await door.admit(bearer(KEY), "")).key == "from-redis"
    assert (await door.admit(bearer(OTHER), "")).key == "tablet"
    assert (await denied(door, bearer(new_key()))).status == 503


async def test_a_key_that_cannot_be_read_opens_nothing(embedded_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await put(embedded_store, entry())
    await embedded_store.redis.set(f"kindrail:key:1:{{{hashed(KEY)[7:]}}}", '{"id": "tablet", "colour": "red"}')
    assert (await denied(Door([], True, embedded_store), bearer(KEY))).status == 401
    assert "make it anew" in caplog.text
    assert KEY not in caplog.text


def test_a_key_has_its_shape() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert all(SHAPE.fullmatch(new_key()) for _ in range(100))
