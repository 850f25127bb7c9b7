"""What is kept between requests: found again, sealed, apart, for a time, and gone when it is deleted."""

import pytest

from proxy.kept import Kept, KeptResponse
from proxy.keys import Keys
from proxy.wire.responses import NotKept

ONE, TWO = b"1" * 32, b"2" * 32
TALK = KeptResponse([{"role": "user", "content": "Zebra"}, {"role": "assistant", "content": "안녕"}], "session-1")
ITEM = {"role": "assistant", "content": "안녕"}


async def put(store, keys=None, tenant="t", name="resp_1", kept=TALK, items=None, keep=60.0):
    pipe = store.pipe()
    Kept(store, keys or Keys([ONE])).put(pipe, tenant, name, kept, {"msg_1": ITEM} if items is None else items, keep)
    await store.run(pipe)


async def test_what_was_put_is_found_in_one_trip(store):
    await put(store)
    kept, trips = Kept(store, Keys([ONE])), store.trips
    assert await kept.find("t", "resp_1", ["msg_1"]) == (TALK, {"msg_1": ITEM}, "session-1")
    assert store.trips == trips + 1
    assert await kept.find("t", "resp_1", []) == (TALK, {}, "session-1")
    assert await kept.find("t", None, ["msg_1"]) == (None, {"msg_1": ITEM}, "session-1")


async def test_nothing_asked_costs_no_trip(embedded_store):
    assert await Kept(embedded_store, Keys([ONE])).find("t", None, []) == (None, {}, None)
    assert embedded_store.trips == 0


async def test_sessions_that_do_not_agree_are_none(embedded_store):
    await put(embedded_store)
    await put(embedded_store, name="resp_2", kept=KeptResponse([], "s2"), items={"msg_2": ITEM})
    kept = Kept(embedded_store, Keys([ONE]))
    assert (await kept.find("t", None, ["msg_1", "msg_2"]))[2] is None
    assert (await kept.find("t", "resp_2", ["msg_1"]))[2] is None
    assert (await kept.find("t", "resp_2", ["msg_2"]))[2] == "s2"


@pytest.mark.parametrize(
    ("tenant", "previous", "references", "param"),
    [
        ("t", "resp_Zebra", [], "previous_response_id"),
        ("t", None, ["msg_1", "msg_Zebra"], "input"),
        ("t", "resp_1", ["msg_Zebra"], "input"),
        ("t", "msg_1", [], "previous_response_id"),
        ("t", None, ["resp_1"], "input"),
        ("other", "resp_1", [], "previous_response_id"),
        ("other", None, ["msg_1"], "input"),
    ],
)
async def test_what_is_not_kept(embedded_store, tenant, previous, references, param):
    await put(embedded_store)
    with pytest.raises(NotKept) as refused:
        await Kept(embedded_store, Keys([ONE])).find(tenant, previous, references)
    assert (refused.value.status, refused.value.param) == (404, param)
    assert "Zebra" not in str(refused.value)


async def test_it_is_sealed_tagged_and_kept_for_a_time(embedded_store):
    await put(embedded_store, keep=90.0)
    keys = sorted(await embedded_store.redis.keys("*"))
    assert [key.decode().split("{")[0] for key in keys] == ["kindrail:item:1:", "kindrail:response:1:"]
    for key in keys:
        stored = await embedded_store.redis.get(key)
        assert not any(word in key + stored for word in (b"Zebra", "안녕".encode(), b"session-1", b"resp_1", b"msg_1"))
        assert 80 < await embedded_store.redis.ttl(key) <= 90


async def test_a_rotated_secret_still_reads(embedded_store):
    await put(embedded_store, Keys([ONE]))
    assert (await Kept(embedded_store, Keys([TWO, ONE])).find("t", "resp_1", ["msg_1"]))[0] == TALK
    with pytest.raises(NotKept):
        await Kept(embedded_store, Keys([TWO])).find("t", "resp_1", [])


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"messages": 3, "session": "s"}', '{"messages": []}', '{"message": "x"}', "{"]
)
async def test_bad_data_is_not_kept(embedded_store, text):
    keys = Keys([ONE])
    for kind, name in (("response", "resp_1"), ("item", "msg_1")):
        tag = keys.tag(kind, "t", name)
        await embedded_store.redis.set(f"kindrail:{kind}:1:{{{tag}}}", keys.seal(tag, text))
    for previous, references in (("resp_1", []), (None, ["msg_1"])):
        with pytest.raises(NotKept):
            await Kept(embedded_store, keys).find("t", previous, references)


async def test_what_is_not_sealed_or_of_another_place_is_not_kept(embedded_store):
    keys = Keys([ONE])
    await put(embedded_store)
    (own,) = await embedded_store.redis.keys("kindrail:response:*")
    elsewhere = f"kindrail:response:1:{{{keys.tag('response', 'other', 'resp_1')}}}"
    await embedded_store.redis.set(elsewhere, await embedded_store.redis.get(own))
    await embedded_store.redis.set(own, b'{"messages": [], "session": "s"}')
    for tenant in ("t", "other"):
        with pytest.raises(NotKept):
            await Kept(embedded_store, keys).find(tenant, "resp_1", [])


async def test_what_is_deleted_is_gone(store):
    await put(store, Keys([ONE]))
    await put(store, Keys([ONE]), name="resp_2", items={"msg_2": ITEM})
    kept = Kept(store, Keys([TWO, ONE]))
    assert await kept.forget("other", "resp_1") is False
    assert await kept.forget("t", "resp_1") is True
    assert await kept.forget("t", "resp_1") is False
    for previous, references in (("resp_1", []), (None, ["msg_1"])):
        with pytest.raises(NotKept):
            await kept.find("t", previous, references)
    assert (await kept.find("t", "resp_2", ["msg_2"]))[0] == TALK
