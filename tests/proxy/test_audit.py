"""The audit log: what is written of a turn, how long it lasts, and how it is read back."""

from __future__ import annotations

import asyncio
import time

import pytest
from servers import everything

from proxy.audit import Audit, Closed, Entry, Opened, Text, VerdictRecord
from proxy.keys import Keys
from proxy.policy.schema import Keep
from proxy.sessions import Sessions
from proxy.store import Store

KEYS = Keys([b"1" * 32])
DAY = 86400.0
KEEP = Keep.model_validate({"decisions": "90d", "text": "30d"})
MARKER = "planted-marker"
VERDICT = VerdictRecord(
    rail="hide-private",
    kind="pii",
    mode="enforce",
    role="user",
    act="redact",
    why="a name",
    flags=("review",),
    won=True,
    ms=0.4,
    entities={"PERSON": 1},
)


@pytest.fixture
def audit(store: Store) -> Audit:
    return Audit(store, KEYS)


def opened(turn: str, at: float = 0.0) -> Opened:
    return Opened(
        turn=turn,
        session="5" * 32,
        found="new",
        tenant="default",
        policy="kids-buddy@1",
        digest="d1",
        language="ko",
        at=at or time.time(),
        route="/v1/chat/completions",
        stream=True,
    )


def closed(turn: str) -> Closed:
    return Closed(
        turn=turn,
        session="5" * 32,
        outcome="answered",
        verdicts=(VERDICT,),
        finish="stop",
        sent=12,
        usage={"total_tokens": 9},
        ms={"total": 20.5},
    )


async def write(store: Store, audit: Audit, turn: str, *texts: Text, keep: Keep = KEEP, at: float = 0.0) -> None:
    pipe = store.pipe()
    audit.opened(pipe, opened(turn, at), keep)
    await store.run(pipe)
    pipe = store.pipe()
    audit.closed(pipe, closed(turn), texts, keep)
    await store.run(pipe)


async def one(audit: Audit, turn: str) -> Entry:
    (entry,) = await audit.read(turn)
    return entry


async def test_a_turn_is_read_back_whole(store: Store, audit: Audit) -> None:
    texts = (Text("user", 20, "내 친구 is here"), Text("assistant", 7, None))
    await write(store, audit, "t1", *texts, at=1000.5)
    entry = await one(Audit(store, KEYS), "t1")
    assert entry.opened is not None
    assert entry.closed is not None
    assert entry.opened["at"] == 1000.5
    assert (entry.opened["policy"], entry.opened["stream"]) == ("kids-buddy@1", True)
    assert entry.closed["outcome"] == "answered"
    assert entry.closed["verdicts"][0]["entities"] == {"PERSON": 1}
    assert entry.closed["verdicts"][0]["flags"] == ["review"]
    assert entry.texts == texts


async def test_a_turn_that_still_runs_is_opened_only(store: Store, audit: Audit) -> None:
    pipe = store.pipe()
    audit.opened(pipe, opened("t1"), KEEP)
    await store.run(pipe)
    entry = await one(audit, "t1")
    assert entry.opened is not None
    assert entry.closed is None
    assert await audit.read("another") == []


async def test_the_last_turns_of_all_writers(store: Store, audit: Audit) -> None:
    other = Audit(store, KEYS)
    for n in range(12):
        await write(store, (audit, other)[n % 2], f"t{n}", at=1000.0 + n)
    assert other.writer != audit.writer
    assert [entry.turn for entry in await audit.read(last=5)] == ["t11", "t10", "t9", "t8", "t7"]
    assert len(await audit.read()) == 12


async def test_long_streams_are_read_in_batches(embedded_store: Store) -> None:
    audit = Audit(embedded_store, KEYS)
    pipe = embedded_store.pipe()
    for n in range(600):
        audit.opened(pipe, opened(f"t{n}", at=1000.0 + n), KEEP)
        audit.closed(pipe, closed(f"t{n}"), (), KEEP)
    await embedded_store.run(pipe)
    assert [entry.turn for entry in await audit.read(last=550)] == [f"t{n}" for n in range(599, 49, -1)]
    assert (await one(audit, "t0")).closed is not None


async def test_texts_live_shorter_than_decisions(store: Store, audit: Audit) -> None:
    await write(store, audit, "t1", Text("user", 5, "masked"))
    (text_key,) = [key async for key in store.redis.scan_iter("kindrail:text:*")]
    assert 30 * DAY - 10 < await store.redis.ttl(text_key) <= 30 * DAY
    stream = f"kindrail:audit:{{{audit.writer}}}"
    assert 90 * DAY < await store.redis.ttl(stream) <= 90 * DAY + 3600
    await store.redis.delete(text_key)
    assert (await one(audit, "t1")).texts == (Text("user", 5, None),)


@pytest.mark.parametrize(
    ("texts", "keep"),
    [
        ((), KEEP),
        ((Text("user", 5, None),), KEEP),
        ((Text("user", 5, "masked"),), KEEP.model_copy(update={"text": 0.0})),
    ],
    ids=["untouched", "not masked", "policy keeps none"],
)
async def test_what_leaves_no_text(store: Store, audit: Audit, texts: tuple[Text, ...], keep: Keep) -> None:
    await write(store, audit, "t1", *texts, keep=keep)
    assert [key async for key in store.redis.scan_iter("kindrail:text:*")] == []
    assert [text.length for text in (await one(audit, "t1")).texts] == [text.length for text in texts]


async def test_texts_of_another_secret_are_lengths(store: Store, audit: Audit) -> None:
    await write(store, audit, "t1", Text("user", 5, "masked"))
    assert (await one(Audit(store, Keys([b"2" * 32])), "t1")).texts == (Text("user", 5, None),)


async def test_the_text_itself_is_nowhere_in_redis(store: Store, audit: Audit) -> None:
    await write(store, audit, "t1", Text("user", 5, f"masked {MARKER}"))
    kept = await everything(store)
    assert len(kept) == 3  # the stream, the register of writers, the text
    assert MARKER not in repr(kept)


async def test_records_past_their_time_are_let_go_also_of_writers_that_are_gone(store: Store, audit: Audit) -> None:
    dead = Audit(store, KEYS)
    await write(store, dead, "old", keep=KEEP.model_copy(update={"decisions": 60.0}))
    await write(store, audit, "kept")
    await audit.tend()
    assert {entry.turn for entry in await audit.read()} == {"old", "kept"}
    await store.redis.hset("kindrail:audit:writers", dead.writer, 0)  # as if its time were over
    await asyncio.sleep(0.01)
    await audit.tend()
    assert [entry.turn for entry in await audit.read()] == ["kept"]
    await store.redis.delete(f"kindrail:audit:{{{dead.writer}}}")  # as its time to live does in the end
    await audit.tend()
    assert list(await store.redis.hgetall("kindrail:audit:writers")) == [audit.writer.encode()]


async def test_the_longest_policy_counts_for_the_stream(
    store: Store, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn, days in (("t1", 90), ("t2", 365), ("t3", 7)):
        monkeypatch.setattr(audit, "_renew_at", 0.0)  # as if an hour had passed
        await write(store, audit, turn, keep=KEEP.model_copy(update={"decisions": days * DAY}))
    assert await store.redis.hget("kindrail:audit:writers", audit.writer) == str(int(365 * DAY)).encode()
    assert await store.redis.ttl(f"kindrail:audit:{{{audit.writer}}}") > 364 * DAY


async def test_a_turn_is_one_read_and_two_writes(embedded_store: Store) -> None:
    store = embedded_store
    sessions, audit = Sessions(store, KEYS), Audit(store, KEYS)
    said = [("user", "a"), ("assistant", "b"), ("user", "c")]
    commands = []
    for named in ("tablet-7", None):
        before = store.trips
        session = await sessions.find(named, said)
        state = {"stop": {"quiet": True}}
        pipe = store.pipe()
        audit.opened(pipe, opened("t1"), KEEP)
        sessions.latch(pipe, session, state, DAY)
        commands.append(len(pipe))
        await store.run(pipe)
        pipe = store.pipe()
        sessions.commit(pipe, session, state, [*said, ("assistant", "d")], DAY)
        audit.closed(pipe, closed("t1"), (Text("user", 1, "c"),), KEEP)
        commands.append(len(pipe))
        await store.run(pipe)
        assert store.trips - before == 3
    # The first write of a process also renews its stream; an unnamed session has its runs, and the id that was told.
    assert commands == [5, 3, 1, 6]
