"""Which servers of a fleet are left out, and for how long: the breaker, and the looks."""

import asyncio
import time
from contextlib import suppress

import pytest
from many import Clock, Server, down, fault_of, fleets, said

from proxy.backends._breaker import FAULTS, LONGEST_PAUSE, Breaker
from proxy.turn import BackendFault


@pytest.fixture
async def fleet():
    async with fleets() as make:
        yield make


# -- the breaker ---------------------------------------------------------------------------------------------------


async def test_a_server_that_goes_on_failing_is_left_out_and_tried_again(fleet, caplog):
    clock = Clock()
    server = Server(*[down()] * (FAULTS + 2), ("ok",))
    many = fleet(server, clock=clock)
    for _ in range(FAULTS):
        assert (await fault_of(many)).error["code"] == "why"
    pauses = []
    for _ in range(2):
        fault = await fault_of(many)
        assert (fault.status, fault.error["code"]) == (503, "backend_busy")
        pauses.append(float(fault.headers["retry-after"]))
        clock.now += pauses[-1]
        assert (await fault_of(many)).error["code"] == "why"  # the one to see fails too
    assert pauses == [1, 2]
    clock.now += 4
    assert [await said(many) for _ in range(3)] == ["ok"] * 3
    assert len(server.asked) == FAULTS + 2 + 3
    lines = [record.message for record in caplog.records if record.name == "kindrail.fleet"]
    assert lines == ["backends[0] is left out for a while (why)"] * 3 + ["backends[0] is asked again"]


async def test_one_request_at_a_time_sees_whether_it_is_well(fleet):
    clock = Clock()
    door = asyncio.Event()
    server = Server(*[down()] * FAULTS, (door, "ok"))
    many = fleet(server, clock=clock)
    for _ in range(FAULTS):
        await fault_of(many)
    clock.now += 1
    seeing = asyncio.create_task(said(many))
    while not server.running:
        await asyncio.sleep(0)
    assert (await fault_of(many)).error["code"] == "backend_busy"
    door.set()
    assert await seeing == "ok"
    assert await said(many) == "ok"


async def test_one_that_was_left_before_it_told_lets_another_see(fleet):
    clock = Clock()
    server = Server(*[down()] * FAULTS, (asyncio.Event(),), ("ok",))
    many = fleet(server, clock=clock)
    for _ in range(FAULTS):
        await fault_of(many)
    clock.now += 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(said(many), 0.05)
    assert await said(many) == "ok"


@pytest.mark.parametrize(
    ("answer", "left_out"),
    [(down(), True), (("a", *down()), True), (down(429), False), (down(400), False), (("a",), False)],
)
async def test_what_counts_against_a_server(fleet, answer, left_out):
    server = Server(*[answer] * FAULTS, ("ok",))
    many = fleet(server)
    for _ in range(FAULTS):
        with suppress(BackendFault):
            await said(many)
    assert len(server.asked) == FAULTS
    if left_out:
        assert (await fault_of(many)).error["code"] == "backend_busy"
    else:
        assert await said(many) == "ok"


async def test_faults_count_only_on_end(fleet):
    server = Server(*([*[down()] * (FAULTS - 1), ("ok",)] * 3))
    many = fleet(server)
    for _ in range(3):
        for _ in range(FAULTS - 1):
            await fault_of(many)
        assert await said(many) == "ok"


def test_the_pause_grows_to_its_bound():
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(FAULTS - 1):
        assert not breaker.failed()
    assert breaker.failed()
    pauses = []
    for _ in range(7):
        pauses.append(breaker.wait)
        clock.now += breaker.wait - 0.01
        assert not breaker.ready
        clock.now += 0.02
        assert breaker.ready
        breaker.begin()
        assert breaker.failed()
    assert pauses == [pytest.approx(pause) for pause in (1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE)]
    clock.now += LONGEST_PAUSE
    breaker.begin()
    assert breaker.begun()
    assert not breaker.begun()
    assert breaker.ready


def test_an_answer_from_before_says_nothing_of_now():
    breaker = Breaker(Clock())
    for _ in range(FAULTS):
        breaker.begin()
        breaker.failed()
    assert not breaker.well()
    assert not breaker.failed()
    assert (breaker.ready, breaker.wait) == (False, 1)


# -- looks -------------------------------------------------------------------------------------------------------------


async def until(true):
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_server_that_does_not_answer_is_out_until_it_does(fleet, caplog):
    first, second = Server(("1",), models=down()[0]), Server(("2",))
    many = fleet(first, second, every=0.001)
    assert [await said(many) for _ in range(3)] == ["2"] * 3
    first.listed = ("m", "new")
    await until(lambda: "answers again" in caplog.text)
    assert await said(many) == "1"
    assert await said(many, "new") == "1"
    second.listed = down()[0]
    await until(lambda: "backends[1] does not answer (why)" in caplog.text)
    assert [await said(many) for _ in range(2)] == ["1"] * 2
    await many.close()
    assert [record.message for record in caplog.records] == [
        "backends[0] does not answer (why)", "backends[0] answers again", "backends[1] does not answer (why)",
    ]  # fmt: skip


async def test_all_out_is_told_with_when_to_come_again(fleet):
    fault = await fault_of(fleet(Server(models=down()[0])))
    assert (fault.status, fault.headers) == (503, {"retry-after": "10"})


async def test_a_server_without_a_list_is_well(fleet):
    assert await said(fleet(Server(models=down(404)[0]))) == "ab"


async def test_what_nobody_foresaw_at_one_server_does_not_end_the_looks_at_the_others(fleet):
    odd, other = Server(), Server(models=down()[0])
    odd.models = lambda: asyncio.sleep(0, None)  # no list, and no fault
    many = fleet(odd, (other, {"models": ("x",)}), every=0.001)
    assert (await fault_of(many, "x")).status == 503
    other.listed = ("x",)
    await until(lambda: many._members[1].healthy)
    assert await said(many, "x") == "ab"


async def test_looks_end_with_the_fleet_and_its_servers_are_closed(fleet):
    servers = Server(), Server()
    many = fleet(*servers, every=0.001)
    await said(many)
    await until(lambda: servers[0].looks > 2)
    await many.close()
    looks = servers[0].looks
    await asyncio.sleep(0.01)
    assert servers[0].looks == looks
    assert all(server.closed for server in servers)


async def test_a_fleet_that_was_never_asked_closes_too(fleet):
    server = Server()
    await fleet(server).close()
    assert (server.looks, server.closed) == (0, True)


async def test_the_first_look_is_waited_for_once(fleet, monkeypatch):
    monkeypatch.setattr("proxy.backends.fleet._FIRST_LOOK", 0.3)
    server = Server()
    server.models = lambda: asyncio.sleep(60)
    many = fleet((server, {"models": ("m",)}))
    began = time.monotonic()
    await many.knows("m")
    assert [await said(many) for _ in range(3)] == ["ab"] * 3
    assert await many.health() == {"backends[0]": "unknown"}
    assert 0.29 < time.monotonic() - began < 0.8  # for each alone it would be 1.5


async def test_health_is_what_the_last_look_found(fleet):
    provider = (Server(), {"asked_for_list": False})
    many = fleet(Server(), Server(models=down()[0]), Server(models=down(404)[0]), provider, every=0.001)
    assert list((await many.health()).values()) == ["up", "down", "up", "unknown"]
    many._members[1].backend.listed = ("m",)
    await until(lambda: many._members[1].health == "up")
