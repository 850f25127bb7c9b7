"""How a request finds its session, and what two turns at once do to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import everything

from proxy.keys import Keys
from proxy.sessions import Message, Session, Sessions, State
from proxy.store import Store, StoreDown, open_store

KEEP = 3600.0
KEYS = Keys([b"1" * 32])
QUIET: State = {"stop": {"quiet": True, "since": 1.5}}


@pytest.fixture
def sessions(store: Store) -> Sessions:
    return Sessions(store, KEYS)


def talk(turns: int, name: str = "Ada") -> list[Message]:
    """A conversation of `turns` answered turns."""
    said = [[("user", f"{name} says {n}"), ("assistant", f"answer {n} to {name}")] for n in range(turns)]
    return [message for turn in said for message in turn]


async def commit(store: Store, sessions: Sessions, session: Session, state: State, said: list[Message]) -> None:
    pipe = store.pipe()
    sessions.commit(pipe, session, state, said, KEEP)
    await store.run(pipe)


async def latch(store: Store, sessions: Sessions, session: Session, state: State) -> None:
    pipe = store.pipe()
    sessions.latch(pipe, session, state, KEEP)
    await store.run(pipe)


async def answered(store: Store, sessions: Sessions, said: list[Message], state: State = QUIET) -> Session:
    """One turn of an unnamed session: found by what precedes its user message, kept with its answer."""
    session = await sessions.find(None, said[:-1])
    await commit(store, sessions, session, state, said)
    return session


# By name


async def test_a_named_session_is_found_by_its_name(store: Store, sessions: Sessions) -> None:
    first = await sessions.find("tablet-7", [])
    assert (first.found, first.state) == ("new", {})
    await commit(store, sessions, first, QUIET, talk(1))
    again = await sessions.find("tablet-7", [("user", "nothing of before")])
    assert (again.found, again.state, again.id) == ("named", QUIET, first.id)


async def test_a_session_that_remembers_nothing_is_known_all_the_same(store: Store, sessions: Sessions) -> None:
    await commit(store, sessions, await sessions.find("tablet-7", []), {}, talk(1))
    assert (await sessions.find("tablet-7", [])).found == "named"


async def test_another_tenant_has_another_session_of_that_name(store: Store, sessions: Sessions) -> None:
    first = await sessions.find("tablet-7", [], tenant="school")
    await commit(store, sessions, first, QUIET, talk(1))
    other = await sessions.find("tablet-7", [], tenant="other")
    assert other.found == "new"
    assert other.id != first.id


@pytest.mark.parametrize("name", ["", "x" * 201, "città", "a\nb", "a\tb", "\x00", "아이"])
async def test_impossible_names(embedded_store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 200 printable ASCII"):
        await Sessions(embedded_store, KEYS).find(name, [])
    assert embedded_store.trips == 0


async def test_a_named_session_costs_the_same_at_every_length(store: Store, sessions: Sessions) -> None:
    sizes = []
    for turns in (1, 200):
        session = await sessions.find("tablet-7", talk(turns))
        await commit(store, sessions, session, QUIET, talk(turns))
        sizes.append(len(str(await everything(store))))
    assert sizes[0] == sizes[1]


async def test_memories_live_as_long_as_the_policy_says(store: Store, sessions: Sessions) -> None:
    for name in ("tablet-7", None):
        session = await sessions.find(name, [])
        await latch(store, sessions, session, QUIET)
        await commit(store, sessions, session, QUIET, talk(5))
    async for key in store.redis.scan_iter():
        assert KEEP - 10 < await store.redis.ttl(key) <= KEEP


# Two turns of a named session at once


async def test_a_slow_turn_does_not_undo_a_latch(store: Store, sessions: Sessions) -> None:
    slow, quick = await sessions.find("s", []), await sessions.find("s", [])
    await latch(store, sessions, quick, QUIET)
    await commit(store, sessions, slow, {"repeat": {"said": [1]}, "stop": {"quiet": False}}, talk(1))
    assert (await sessions.find("s", [])).state == {**QUIET, "repeat": {"said": [1]}}


async def test_a_latch_stands_over_a_turn_that_was_committed_meanwhile(store: Store, sessions: Sessions) -> None:
    await commit(store, sessions, await sessions.find("s", []), {"stop": {"quiet": False}}, talk(1))
    ordinary, stopping = await sessions.find("s", []), await sessions.find("s", [])
    await commit(store, sessions, ordinary, {"stop": {"quiet": False, "since": 9}}, talk(2))
    await latch(store, sessions, stopping, QUIET)
    await commit(store, sessions, stopping, QUIET, talk(2))
    assert (await sessions.find("s", [])).state == QUIET


async def test_a_turn_goes_on_from_its_own_latch(store: Store, sessions: Sessions) -> None:
    session = await sessions.find("s", [])
    await latch(store, sessions, session, QUIET)
    later: State = {"stop": {"quiet": True, "since": 2.5}}
    await commit(store, sessions, session, later, talk(1))
    assert (await sessions.find("s", [])).state == later


async def test_a_turn_may_take_its_own_latch_back(store: Store, sessions: Sessions) -> None:
    before: State = {"stop": {"quiet": False}}
    await commit(store, sessions, await sessions.find("s", []), before, talk(1))
    session = await sessions.find("s", [])
    await latch(store, sessions, session, QUIET)
    await commit(store, sessions, session, before, talk(2))
    assert (await sessions.find("s", [])).state == before


async def test_a_latch_that_was_lost_is_made_good_by_the_commit(store: Store, sessions: Sessions) -> None:
    await commit(store, sessions, await sessions.find("s", []), {"stop": {"quiet": False}}, talk(1))
    session = await sessions.find("s", [])
    sessions.latch(store.pipe(), session, QUIET, KEEP)  # never sent
    await commit(store, sessions, session, QUIET, talk(1))
    assert (await sessions.find("s", [])).state == QUIET


async def test_a_latch_writes_only_what_changed(store: Store, sessions: Sessions) -> None:
    await commit(store, sessions, await sessions.find("s", []), {"repeat": {"said": [1]}}, talk(1))
    late, other = await sessions.find("s", []), await sessions.find("s", [])
    await commit(store, sessions, other, {"repeat": {"said": [1, 2]}}, talk(2))
    await latch(store, sessions, late, {"repeat": {"said": [1]}, **QUIET})
    assert (await sessions.find("s", [])).state == {"repeat": {"said": [1, 2]}, **QUIET}


async def test_an_unnamed_session_needs_no_latch(embedded_store: Store) -> None:
    sessions = Sessions(embedded_store, KEYS)
    await latch(embedded_store, sessions, await sessions.find(None, []), QUIET)
    assert await everything(embedded_store) == {}


# By transcript


async def test_an_unnamed_session_is_found_by_its_transcript(store: Store, sessions: Sessions) -> None:
    first = await answered(store, sessions, talk(1))
    assert first.found == "new"
    for turns in range(2, 12):
        session = await answered(store, sessions, talk(turns))
        assert (session.found, session.state, session.id) == ("transcript", QUIET, first.id)


@pytest.mark.parametrize(
    "sent_back",
    [
        [("user", "  Perché il cielo è blu?\n"), ("assistant", "Perché sì. 그래요!  ")],
        [("user", "Perche\u0301 il cielo e\u0300 blu?"), ("assistant", "Perche\u0301 si\u0300. 그래요!")],
        [("system", "be kind"), ("user", "Perché il cielo è blu?"), ("assistant", "Perché sì. 그래요!")],
        [("user", "Perché il cielo è blu?"), ("developer", "?"), ("assistant", "Perché sì. 그래요!"), ("user", "next")],
        [("user", "Perché il cielo è blu?"), ("assistant", "Perché sì. 그래요!"), ("user", "one"), ("user", "two")],
    ],
    ids=["whitespace", "decomposed", "system", "developer and next", "two unanswered"],
)
async def test_what_an_app_may_change(store: Store, sessions: Sessions, sent_back: list[Message]) -> None:
    first = await answered(store, sessions, [("user", "Perché il cielo è blu?"), ("assistant", "Perché sì. 그래요!")])
    found = await sessions.find(None, sent_back)
    assert (found.found, found.state, found.id) == ("transcript", QUIET, first.id)


@pytest.mark.parametrize(
    "sent_back",
    [
        [("user", "Ada says 0"), ("assistant", "another answer")],
        [("user", "answer 0 to Ada"), ("assistant", "Ada says 0")],
        [("assistant", "Ada says 0"), ("assistant", "answer 0 to Ada")],
        [("user", "Ada says 0answer 0 to Ada")],
        [("user", "Ada says 0")],
        [("assistant", "answer 0 to Ada")],
        [],
    ],
)
async def test_what_makes_it_another_conversation(store: Store, sessions: Sessions, sent_back: list[Message]) -> None:
    first = await answered(store, sessions, talk(1))
    found = await sessions.find(None, sent_back)
    assert (found.found, found.state) == ("new", {})
    assert found.id != first.id


async def test_a_transcript_is_the_tenants_own(store: Store, sessions: Sessions) -> None:
    await answered(store, sessions, talk(1))
    assert (await sessions.find(None, talk(1), tenant="other")).found == "new"


async def test_the_first_successor_carries_the_id_on_and_others_fork(store: Store, sessions: Sessions) -> None:
    first = await answered(store, sessions, talk(1))
    successors = [await sessions.find(None, talk(1)) for _ in range(3)]
    assert [s.found for s in successors] == ["transcript", "forked", "forked"]
    assert [s.id == first.id for s in successors] == [True, False, False]
    assert len({s.id for s in successors}) == 3
    assert all(s.state == QUIET for s in successors)


async def test_two_conversations_alike_share_no_state(store: Store, sessions: Sessions) -> None:
    one, two = await sessions.find(None, []), await sessions.find(None, [])
    await commit(store, sessions, one, QUIET, talk(1))
    await commit(store, sessions, two, {"stop": {"quiet": False}}, talk(1))
    await commit(store, sessions, one, QUIET, talk(1))  # shared once, shared for good
    for _ in range(2):
        found = await sessions.find(None, talk(1))
        assert (found.found, found.state) == ("new", {})
        assert found.id not in (one.id, two.id)


# By the end of the transcript


async def test_an_app_that_sends_its_last_twelve_messages(store: Store, sessions: Sessions) -> None:
    first = await answered(store, sessions, talk(1))
    found = []
    for turns in range(2, 15):
        session = await answered(store, sessions, talk(turns)[:-1][-12:] + talk(turns)[-1:])
        assert (session.id, session.state) == (first.id, QUIET)
        found.append(session.found)
    assert found == ["transcript"] * 5 + ["run"] * 8


async def test_a_window_of_six(store: Store, sessions: Sessions) -> None:
    said = talk(9)
    first = await answered(store, sessions, said)
    found = await sessions.find(None, said[-5:])
    assert (found.found, found.id) == ("run", first.id)
    assert (await sessions.find(None, said[-5:])).found == "forked"
    assert (await sessions.find(None, said[-3:])).found == "new"  # too short to be sure


async def test_an_ambiguous_run_shares_nothing(store: Store, sessions: Sessions) -> None:
    one, two = await sessions.find(None, []), await sessions.find(None, [])
    await commit(store, sessions, one, QUIET, [*talk(1, "Bob"), *talk(6)])
    await commit(store, sessions, two, {}, [*talk(1, "Cleo"), *talk(6)])
    found = await sessions.find(None, talk(6))
    assert (found.found, found.state) == ("new", {})
    whole = await sessions.find(None, [*talk(1, "Bob"), *talk(6)])
    assert (whole.found, whole.id) == ("transcript", one.id)


# What it costs, and what is kept


async def test_trips(embedded_store: Store) -> None:
    sessions = Sessions(embedded_store, KEYS)

    async def trips(named: str | None, said: list[Message]) -> int:
        before = embedded_store.trips
        await sessions.find(named, said)
        return embedded_store.trips - before

    await answered(embedded_store, sessions, talk(8))
    assert await trips(None, [("user", "hello")]) == 0
    assert await trips(None, talk(8)) == 1
    assert await trips(None, talk(8, "Nobody")) == 1
    assert await trips(None, talk(8)[-11:]) == 2
    assert await trips("tablet-7", talk(8)) == 1


async def test_after_a_rotation_all_are_found_and_move_over(store: Store, sessions: Sessions) -> None:
    await commit(store, sessions, await sessions.find("tablet-7", []), QUIET, talk(1))
    await answered(store, sessions, talk(6))
    both, new = (Sessions(store, Keys(masters)) for masters in ([b"2" * 32, b"1" * 32], [b"2" * 32]))
    assert (await new.find("tablet-7", [])).found == "new"
    named = await both.find("tablet-7", [])
    assert (named.found, named.state) == ("named", QUIET)
    assert (await both.find(None, talk(6))).found == "transcript"
    assert (await both.find(None, talk(6)[-5:])).found == "forked"
    await commit(store, both, named, QUIET, talk(2))
    assert (await new.find("tablet-7", [])).state == QUIET


async def test_alike_before_and_after_a_rotation(store: Store, sessions: Sessions) -> None:
    both = Sessions(store, Keys([b"2" * 32, b"1" * 32]))
    await answered(store, sessions, talk(6))
    await commit(store, both, await both.find(None, []), {}, talk(6))
    for said in (talk(6), talk(6)[-5:]):
        assert (await both.find(None, said)).found == "new"


async def test_no_name_and_no_text_is_stored(store: Store, sessions: Sessions) -> None:
    marker = "planted-marker"
    said = [(role, f"{text} {marker}") for role, text in talk(6)]
    for name in (marker, None):
        session = await sessions.find(name, said, tenant=f"tenant {marker}")
        await latch(store, sessions, session, QUIET)
        await commit(store, sessions, session, QUIET, said)
    kept = await everything(store)
    assert len(kept) == 5  # the named one; a snapshot, two runs, and the unnamed one under the id that was told
    assert marker not in repr(kept)


async def test_without_redis_a_fresh_session_is_left(tmp_path: Path) -> None:
    sessions = Sessions(await open_store(f"unix://{tmp_path}/nothing.sock", tmp_path), KEYS)
    with pytest.raises(StoreDown):
        await sessions.find("tablet-7", [])
    fresh = sessions.fresh("tablet-7")
    assert (fresh.found, fresh.state, len(fresh.id)) == ("new", {}, 32)
    assert fresh.id == sessions.fresh("tablet-7").id
    assert sessions.fresh(None).id != sessions.fresh(None).id
