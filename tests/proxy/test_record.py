"""The records of one turn: opened and closed once, whatever happens, and what a lost store does to them."""

import asyncio
from dataclasses import replace

import pytest
from house import shipped
from model import SAFE, Model

from proxy.access import Caller
from proxy.call import Call
from proxy.config import Config, Limits
from proxy.judged import Finding
from proxy.limits import Limited
from proxy.live import Live
from proxy.record import Outcome, Record
from proxy.services import open_services
from proxy.sessions import BadName
from proxy.store import StoreDown
from proxy.turn import Act, Alert, Span, Turn, Verdict
from proxy.wire.dialect import Chat

TURN = Turn("t1", "en", "Hello", 1_800_000_000.0)
SAID = [("user", "Hello"), ("assistant", "Hi.")]


def call(named=None, keep=None, caller=None):
    return Call(
        "t1", "chat.completions", False, Chat(), shipped("kids-buddy"), caller or Caller(), named=named, keep=keep
    )


def outcome(how="answered", **more):
    return replace(Outcome(how, (), [({"stop": {"level": 1}}, SAID)], (), "stop", 3, {"total_tokens": 7}, 0.25), **more)


@pytest.fixture
async def services(data):
    async with open_services(Config(data=data), Live.of(shipped("kids-buddy")), Model(SAFE)) as services:
        yield services


class Down:
    """The store, which does not answer while `is_down`."""

    def __init__(self, monkeypatch, store):
        self.is_down, self.real = True, store.run
        monkeypatch.setattr(type(store), "run", staticmethod(self.run))

    async def run(self, commands):
        if self.is_down:
            raise StoreDown(ConnectionError())
        return await self.real(commands)


async def test_opened_and_closed_stand_in_the_audit(services):
    record = Record(services, call(caller=Caller(key="tablet", tenant="home")))
    await record.find(SAID[:1])
    await record.open(TURN, urgent=False)
    (entry,) = await services.audit.read()
    assert entry.closed is None
    told = {"key": "tablet", "tenant": "home", "found": "new", "route": "chat.completions", "policy": "kids-buddy@1"}
    assert {name: entry.opened[name] for name in told} == told
    assert (entry.opened["language"], entry.opened["at"]) == ("en", TURN.now)
    verdict = Verdict(
        Act.REDACT, (Span(0, 1, "PERSON"), Span(2, 3, "PERSON"), Span(4, 5, "AGE")), flags=frozenset({"b", "a"})
    )
    found = Finding("hide-private", "pii", "enforce", "user", 0, 0, verdict, won=True, ms=1.23456)
    record.reached("upstream")
    await record.close(TURN, outcome(findings=[found]), urgent=False)
    (entry,) = await services.audit.read()
    assert {name: entry.closed[name] for name in ("outcome", "finish", "sent", "usage")} == {
        "outcome": "answered", "finish": "stop", "sent": 3, "usage": {"total_tokens": 7},
    }  # fmt: skip
    assert (set(entry.closed["ms"]), entry.closed["ms"]["rails"]) == ({"upstream", "total", "rails"}, 250)
    (told,) = entry.closed["verdicts"]
    assert (told["act"], told["entities"], told["flags"], told["ms"]) == (
        "redact",
        {"PERSON": 2, "AGE": 1},
        ["a", "b"],
        1.235,
    )


async def test_a_turn_is_closed_once(services):
    record = Record(services, call())
    await record.open(TURN, urgent=False)
    await record.close(TURN, outcome("answered"), urgent=False)
    trips = services.store.trips
    await record.close(TURN, outcome("disconnected"), urgent=False)
    assert services.store.trips == trips
    (entry,) = await services.audit.read()
    assert entry.closed["outcome"] == "answered"


async def test_a_turn_that_was_never_opened_is_opened_as_it_is_closed(services):
    await Record(services, call()).close(TURN, outcome("disconnected"), urgent=False)
    (entry,) = await services.audit.read()
    assert (entry.opened["turn"], entry.closed["outcome"]) == ("t1", "disconnected")


async def test_a_milestone_is_reached_once(services):
    record = Record(services, call())
    record.reached("first_byte")
    first = dict(record._seen)
    await asyncio.sleep(0.002)
    record.reached("first_byte")
    assert record._seen == first


@pytest.mark.parametrize("named", ["tom", None])
async def test_the_state_is_found_again(services, named):
    record = Record(services, call(named))
    assert record.name == (named or record.session.id)
    await record.find(SAID[:1])
    await record.open(TURN, urgent=False)
    await record.close(TURN, outcome(), urgent=False)
    after = Record(services, call(named))
    await after.find([*SAID, ("user", "And?")])
    assert (after.session.found, after.session.state) == ("named" if named else "transcript", {"stop": {"level": 1}})
    by_id = Record(services, call(record.name))  # the name that the answer's header told
    await by_id.find([("user", "And?")])
    assert by_id.session.found == "named"


async def test_of_several_answers_a_named_session_keeps_the_first(services):
    states = [({"stop": {"level": level}}, [*SAID[:1], ("assistant", f"{level}")]) for level in (1, 2, 3)]
    record = Record(services, call("tom"))
    await record.open(TURN, urgent=False)
    await record.close(TURN, outcome(transcripts=states), urgent=False)
    after = Record(services, call("tom"))
    await after.find([])
    assert after.session.state == {"stop": {"level": 1}}


async def test_each_of_several_answers_can_be_gone_on_from(services):
    states = [({"stop": {"level": level}}, [*SAID[:1], ("assistant", f"{level}")]) for level in (1, 2, 3)]
    record = Record(services, call())
    await record.close(TURN, outcome(transcripts=states), urgent=False)
    for state, transcript in states:
        after = Record(services, call())
        await after.find([*transcript, ("user", "And?")])
        assert (after.session.found, after.session.state) == ("transcript", state)


async def test_what_a_route_keeps_is_in_the_closing_write(services):
    kept = []

    def keep(pipe, talk, answer, session):
        kept.append((talk, answer, session))
        pipe.set("kept", "1")

    record = Record(services, call(keep=keep))
    await record.open(TURN, urgent=False)
    trips = services.store.trips
    await record.close(TURN, outcome(kept=([{"role": "user"}], {"role": "assistant"})), urgent=False)
    assert services.store.trips == trips + 1
    assert kept == [([{"role": "user"}], {"role": "assistant"}, record.name)]
    assert await services.store.redis.get("kept") == b"1"
    await Record(services, call(keep=keep)).close(TURN, outcome("backend_failed"), urgent=False)
    assert len(kept) == 1


async def test_the_key_is_charged_only_for_what_was_admitted(services):
    caller = Caller(key="tablet", limits=Limits(concurrency=1, tokens=10))
    limited = Record(services, call(caller=caller))
    await limited.close(TURN, outcome("ended"), urgent=True)  # a child in danger, over the limit
    assert (await services.meter.enter(caller, "t1"))["x-ratelimit-remaining-tokens"] == "10"
    with pytest.raises(Limited):
        await services.meter.enter(caller, "t2")
    admitted = Record(services, call(caller=caller))
    admitted.entered = True
    await admitted.close(TURN, outcome(), urgent=False)
    assert (await services.meter.enter(caller, "t2"))["x-ratelimit-remaining-tokens"] == "3"


def danger(*alerts, rail="crisis", mode="enforce"):
    return [
        Finding(rail, "crisis", mode, "user", 0, 0, Verdict(Act.END, alert=one), won=True, ms=1.0) for one in alerts
    ]


RAISED = danger(Alert("abuse", "high", since=5.0))


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (danger(Alert("selfharm", "high", True, 1, 5.0), Alert("emergency", "high", True, 2, 5.0)), [("emergency", True, 2)]),
        (danger(Alert("abuse", "high", False, 1, 5.0), Alert("doubt", "low", True, 2, 5.0)), [("abuse", False, 2)]),
        (danger(Alert("abuse", "high", True, 1, 5.0), Alert("doubt", "low", False, 2, 5.0)), [("abuse", False, 2)]),
        (
            [*danger(Alert("abuse", "high", since=5.0)), *danger(Alert("bullying", "low", True, since=5.0), rail="new", mode="shadow")],
            [("abuse", False, 1), ("bullying", True, 1)],
        ),
        (danger(Alert("unclear", "high"), Alert("unclear", "high")), [("unclear", False, 1)]),
    ],
)  # fmt: skip
async def test_of_one_rail_and_danger_the_most_severe_counts(services, found, kept):
    record = Record(services, call())
    record.alert(TURN, found)
    await record.open(TURN, urgent=True)
    standing = sorted((one.raised for one in await services.alerts.standing()), key=lambda one: one.kind)
    assert [(one.kind, one.parents, one.times) for one in standing] == kept


async def test_where_nobody_can_tell_each_turn_is_an_alert_by_itself(services):
    for turn in ("t1", "t2"):
        record = Record(services, replace(call("tom"), turn=turn))
        record.alert(TURN, danger(Alert("unclear", "high")))
        await record.open(TURN, urgent=True)
    assert len({one.raised.id for one in await services.alerts.standing()}) == 2


async def test_of_a_refused_request_the_alerts_alone_are_kept(services):
    record = Record(services, call())
    record.alert(TURN, RAISED)
    await record.refused(429)
    await record.close(TURN, outcome("refused"), urgent=False)
    assert [one.raised.kind for one in await services.alerts.standing()] == ["abuse"]
    assert await services.audit.read() == []


@pytest.mark.parametrize("lost", [True, False])
async def test_of_a_refused_request_they_wait_for_the_store(services, monkeypatch, lost):
    Down(monkeypatch, services.store)
    record = Record(services, call("tom"))
    if lost:
        await record.find([])
    record.alert(TURN, RAISED)
    await record.refused(429)
    assert [raised.kind for _, raised in services.alerts.waiting()] == ["abuse"]


# -- a store that does not answer --------------------------------------------------------------------------------------


async def test_without_a_store_a_turn_does_not_begin(services, monkeypatch, caplog):
    Down(monkeypatch, services.store)
    record = Record(services, call())
    with pytest.raises(StoreDown):
        await record.open(TURN, urgent=False)
    assert record.lost
    assert "turn t1 is not recorded: ConnectionError" in caplog.text


async def test_a_session_that_was_not_found_for_want_of_a_store_is_no_turn_either(services, monkeypatch):
    down = Down(monkeypatch, services.store)
    record = Record(services, call("tom"))
    await record.find([])
    down.is_down = False
    with pytest.raises(StoreDown):  # its latch is not known
        await record.open(TURN, urgent=False)
    await record.close(TURN, outcome("unrecorded"), urgent=False)
    assert await services.audit.read() == []


async def test_a_child_in_danger_needs_no_store(services, monkeypatch):
    Down(monkeypatch, services.store)
    for found in (True, False):
        record = Record(services, call("tom"))
        if found:
            await record.find([])
        await record.open(TURN, urgent=True)
        await record.close(TURN, outcome("ended"), urgent=True)
        assert record.lost


@pytest.mark.parametrize("urgent", [True, False])
async def test_a_store_that_goes_before_the_end(services, monkeypatch, urgent):
    record = Record(services, call())
    await record.open(TURN, urgent)
    Down(monkeypatch, services.store)
    if urgent:
        await record.close(TURN, outcome("ended"), urgent)
    else:
        with pytest.raises(StoreDown):
            await record.close(TURN, outcome(), urgent)
    assert record.lost


async def test_a_client_that_goes_meanwhile_does_not_stop_the_last_write(services, monkeypatch):
    record = Record(services, call())
    await record.open(TURN, urgent=False)
    real, begun, go_on = services.store.run, asyncio.Event(), asyncio.Event()

    async def slow(commands):
        begun.set()
        await go_on.wait()
        return await real(commands)

    monkeypatch.setattr(type(services.store), "run", staticmethod(slow))
    closing = asyncio.create_task(record.close(TURN, outcome(), urgent=False))
    await begun.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert len(services.closing) == 1
    go_on.set()
    await asyncio.gather(*services.closing)
    (entry,) = await services.audit.read()
    assert entry.closed["outcome"] == "answered"
    assert not services.closing


async def test_an_impossible_name_makes_no_record(services):
    with pytest.raises(BadName):
        Record(services, call("x" * 201))
