"""Alerts: kept until they are closed, handed to one replica at a time, and without any text."""

import json
import stat
from dataclasses import asdict, replace

import pytest
from servers import everything

from proxy import alerts as module
from proxy.alerts import LEASE, Alerts, Raised
from proxy.keys import Keys
from proxy.metrics import Metrics
from proxy.store import StoreDown

FIRST = Raised(
    "a1", 1_800_000_000.0, 1_800_000_000.0, "t1", "s1", "home", "kids-buddy@1", "selfharm", "high", False, "it", 1
)


class Clock:
    """In the place of `time`: stands still until a test moves it."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def alerts(store, data):
    return Alerts(store, Keys([b"x" * 32]), data / "alerts")


async def put(alerts, store, raised):
    pipe = store.pipe()
    alerts.put(pipe, raised)
    await store.run(pipe)


async def taken(alerts, channel="contact"):
    return [(one.raised.id, one.raised.times, one.tries) for one in await alerts.take(channel)]


async def test_one_replica_takes_an_alert_and_another_where_that_one_died(alerts, store, clock):
    await put(alerts, store, FIRST)
    assert await taken(alerts) == [("a1", 1, 1)]
    clock.now += LEASE - 1
    assert await taken(alerts) == []
    clock.now += 1
    assert await taken(alerts) == [("a1", 1, 2)]
    assert await taken(alerts, "parents") == []


async def test_what_was_delivered_stands_open_until_it_is_closed(alerts, store, clock):
    await put(alerts, store, FIRST)
    (delivery,) = await alerts.take("contact")
    assert delivery.raised == FIRST
    await alerts.delivered(delivery)
    clock.now += 10 * LEASE
    assert await taken(alerts) == []
    (standing,) = await alerts.standing()
    assert (standing.raised, standing.told) == (FIRST, {"contact": 1_800_000_000.0})
    assert await alerts.close("a1")
    assert await alerts.standing() == []
    assert not await alerts.close("a1")
    assert await everything(store) == {}


async def test_a_closed_alert_is_not_delivered_any_longer(alerts, store, clock):
    await put(alerts, store, FIRST)
    (delivery,) = await alerts.take("contact")
    await alerts.close("a1")
    await alerts.failed(delivery)
    await alerts.delivered(delivery)
    clock.now += 1000
    assert await taken(alerts) == []
    assert await everything(store) == {}


async def test_each_failure_puts_it_off_for_longer(alerts, store, clock):
    await put(alerts, store, FIRST)
    waits = []
    for _ in range(10):
        (delivery,) = await alerts.take("contact")
        await alerts.failed(delivery)
        begun = clock.now
        while not await alerts.take("contact"):
            clock.now += 1
            assert clock.now - begun <= 301
        waits.append(clock.now - begun)
        clock.now += LEASE - 0.5
        await alerts.failed(delivery)
        clock.now += 1000
    assert waits[:3] == [2, 8, 32]
    assert waits[-1] == 300


async def test_a_repeat_updates_the_alert_even_while_it_is_delivered(alerts, store, clock):
    await put(alerts, store, FIRST)
    (delivery,) = await alerts.take("contact")
    again = replace(FIRST, at=FIRST.at + 60, turn="t2", kind="emergency", times=2)
    await put(alerts, store, again)
    await alerts.delivered(delivery)
    assert await taken(alerts) == [("a1", 2, 1)]
    assert [one.raised for one in await alerts.standing()] == [again]


async def test_of_turns_at_the_same_time_each_is_told_and_the_most_severe_stands(alerts, store, clock):
    await put(alerts, store, FIRST)
    turns = [("t2", "emergency", "medium"), ("t3", "abuse", "high"), ("t4", "doubt", "low")]
    for late, (turn, kind, severity) in enumerate(turns):
        more = {"turn": turn, "kind": kind, "severity": severity, "at": FIRST.at + late, "times": 2}
        await put(alerts, store, replace(FIRST, **more))
    told = await alerts.take("contact")
    assert sorted((one.raised.turn, one.raised.kind) for one in told) == [("t1", "selfharm"), *(t[:2] for t in turns)]
    for one in told:
        await alerts.delivered(one)
    (standing,) = await alerts.standing()
    one = standing.raised
    assert (one.id, one.kind, one.severity, one.times, one.turn) == ("a1", "abuse", "high", 4, "t4")
    assert await alerts.close("a1")
    assert await everything(store) == {}


async def test_what_a_turn_has_raised_is_never_overwritten(alerts, store, clock):
    alerts.spool(replace(FIRST, turn="t2"))
    alerts.spool(FIRST)  # two turns of one alert wait: two files
    await put(alerts, store, replace(FIRST, kind="emergency"))  # the store had kept it, and did not get to say so
    (delivery,) = await alerts.take("contact")
    await alerts.delivered(delivery)
    await put(alerts, store, replace(FIRST, turn="t3", kind="emergency", at=FIRST.at + 1, times=3))
    await alerts.restore()
    assert sorted(one.raised.turn for one in await alerts.take("contact")) == ["t2", "t3"]
    (standing,) = await alerts.standing()
    assert (standing.raised.kind, standing.raised.times) == ("emergency", 3)


@pytest.mark.parametrize("parents", [True, False])
async def test_parents_are_told_only_where_the_alert_says_so(alerts, store, clock, parents):
    await put(alerts, store, replace(FIRST, parents=parents))
    assert len(await alerts.take("parents")) == parents
    assert len(await alerts.take("contact")) == 1


async def test_what_waits_for_parents_is_withdrawn_by_a_repeat_that_is_not_for_them(alerts, store, clock):
    told = replace(FIRST, parents=True)
    await put(alerts, store, told)
    (delivery,) = await alerts.take("parents")
    again = replace(FIRST, turn="t2", kind="abuse", times=2)
    await put(alerts, store, again)
    await alerts.failed(delivery)  # the try that was under way meanwhile
    await put(alerts, store, replace(told, turn="t3"))  # a turn at the same time, which did not know of it
    assert await store.redis.zcard(module._due("parents")) == 0
    clock.now += 1000
    assert await alerts.take("parents") == []
    assert [one.raised.turn for one in await alerts.take("contact")] == ["t1", "t2", "t3"]
    assert not (await alerts.standing())[0].raised.parents
    await alerts.close("a1")
    await put(alerts, store, told)  # it is forgotten with the alert
    assert len(await alerts.take("parents")) == 1


async def test_what_an_older_replica_has_put_there_is_not_for_parents_either(alerts, store, clock):
    await put(alerts, store, FIRST)
    await store.redis.zadd(module._due("parents"), {"a1 t1": clock.now})
    assert await alerts.take("parents") == []
    assert await store.redis.zcard(module._due("parents")) == 0  # it takes no other one's place
    assert (await alerts.standing())[0].told == {}


async def test_the_latest_stands_first_and_what_is_stored_is_sealed(alerts, store, clock):
    await put(alerts, store, FIRST)
    await put(alerts, store, replace(FIRST, id="a2", at=FIRST.at + 5, session="s2"))
    assert [one.raised.id for one in await alerts.standing()] == ["a2", "a1"]
    kept = repr(await everything(store))
    assert not [word for word in ("selfharm", "tenant", "session", "kids-buddy") if word in kept]


async def test_without_a_store_it_waits_in_a_file_of_ours_alone(alerts, store, clock, data, caplog, monkeypatch):
    alerts.spool(FIRST)
    alerts.spool(FIRST)  # written again: one file
    (path,) = (data / "alerts").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "selfharm" not in path.read_text()
    assert f"alert a1 waits in {path} for the store: turn t1, selfharm" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "run", down)
        with pytest.raises(StoreDown):
            await alerts.restore()
    assert path.exists()
    await alerts.restore()
    assert not path.exists()
    assert await taken(alerts) == [("a1", 1, 1)]


async def down(*_):
    raise StoreDown(ConnectionError())


def test_where_nothing_can_be_written_the_log_says_so(store, data, caplog):
    (data / "alerts").write_text("in the way")
    Alerts(store, Keys([b"x" * 32]), data / "alerts").spool(FIRST)
    assert "alert a1 is kept nowhere" in caplog.text


async def test_what_another_secret_has_sealed_stays_unread(alerts, store, clock, data, caplog):
    await put(alerts, store, FIRST)
    other = Alerts(store, Keys([b"y" * 32]), data / "alerts")
    assert await other.take("contact") == []
    assert "alert a1 t1 cannot be read: it is damaged, or was sealed with a secret" in caplog.text
    assert await other.standing() == []
    clock.now += 2 * LEASE
    assert await taken(alerts) == []  # it is put off for longer, and takes no other one's place
    clock.now += 300
    assert await taken(alerts) == [("a1", 1, 2)]


def sealed_as(alerts, **fields):
    return alerts._keys.seal("alerts", json.dumps(fields))


BAD = {
    "garbage": lambda alerts: b"\xff\xfe\x00 garbage",
    "empty": lambda alerts: b"",
    "no-json": lambda alerts: alerts._keys.seal("alerts", "zorro").encode(),
    "no-object": lambda alerts: alerts._keys.seal("alerts", "[1]").encode(),
    "too-little": lambda alerts: sealed_as(alerts, id="a9", turn="zorro").encode(),
}


@pytest.mark.parametrize("bad", BAD)
async def test_what_cannot_be_read_keeps_nothing_else_waiting(bad, store, clock, data, caplog):
    metrics = Metrics()
    alerts = Alerts(store, Keys([b"x" * 32]), data / "alerts", metrics)
    alerts.spool(FIRST)
    file = data / "alerts" / "0.alert"
    file.write_bytes(BAD[bad](alerts))
    await store.redis.hset(module._OPEN, "a9 t9", BAD[bad](alerts))
    await store.redis.zadd(module._due("contact"), {"a9 t9": 0})
    for _ in range(2):
        await alerts.restore()
        clock.now += LEASE
        assert [one.raised for one in await alerts.take("contact")] == [FIRST]
        assert [one.raised for one in await alerts.standing()] == [FIRST]
    assert file.exists()
    assert 'kindrail_alerts_total{kind="unknown",state="unreadable"} 2.0' in metrics.page().decode()
    assert caplog.text.count("cannot be read") == 2
    assert not [word for word in ("garbage", "zorro") if word in caplog.text]


async def test_of_a_newer_version_what_is_known_is_read(alerts, store, clock):
    await store.redis.hset(module._OPEN, "a1 t1", sealed_as(alerts, **asdict(FIRST), mood="blue"))
    await store.redis.zadd(module._due("contact"), {"a1 t1": 0})
    assert [one.raised for one in await alerts.take("contact")] == [FIRST]
    assert [one.raised for one in await alerts.standing()] == [FIRST]


def test_the_id_is_that_of_what_a_rail_hears_in_a_session_since_the_first_time(alerts):
    asked = [("s1", "crisis", 5.0), ("s1", "crisis", 6.0), ("s2", "crisis", 5.0), ("s1", "other", 5.0)]
    ids = [alerts.id(*one) for one in (*asked, asked[0])]
    assert len(set(ids)) == 4
    assert ids[0] == ids[4]
