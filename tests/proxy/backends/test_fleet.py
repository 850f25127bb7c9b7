"""Several servers as one: who is asked, who is asked next, and what the fleet tells of itself."""

import asyncio
import time
from collections import Counter
from contextlib import aclosing

import pytest
from many import Server, ask, down, fault_of, fleets, said

from proxy.turn import Ask, BackendFault


@pytest.fixture
async def fleet():
    async with fleets() as make:
        yield make


# -- who is asked ------------------------------------------------------------------------------------------------------


def named(number):
    """Servers that say their own number."""
    return [Server((str(index),)) for index in range(number)]


async def test_a_conversation_stays_on_its_server(fleet):
    many = fleet(*named(3))
    for session in map(str, range(20)):
        assert len({await said(many, session=session) for _ in range(5)}) == 1


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 2), (1,)])
@pytest.mark.parametrize("has_session", [True, False])
async def test_shares_are_by_weight(fleet, weights, has_session):
    number, whole = 2000, sum(weights)
    many = fleet(*((server, {"weight": weight}) for server, weight in zip(named(len(weights)), weights, strict=True)))
    counted = Counter([await said(many, session=str(talk) if has_session else "") for talk in range(number)])
    for index, weight in enumerate(weights):  # 100 is more than four standard deviations
        assert counted[str(index)] == pytest.approx(number * weight / whole, abs=100)


async def test_of_a_dead_server_only_its_own_conversations_move_and_they_come_back(fleet):
    servers = named(4)
    many = fleet(*servers)
    talks = [str(talk) for talk in range(60)]
    before = {talk: await said(many, session=talk) for talk in talks}
    many._members[2].health = "down"
    then = {talk: await said(many, session=talk) for talk in talks}
    assert {talk for talk in talks if before[talk] != then[talk]} == {talk for talk in talks if before[talk] == "2"}
    assert {then[talk] for talk in talks if before[talk] == "2"} == {"0", "1", "3"}
    many._members[2].health = "up"
    assert {talk: await said(many, session=talk) for talk in talks} == before


@pytest.mark.parametrize(
    ("model", "servers", "expected"),
    [
        ("m", [("m",), ("n",)], {0: "m"}),
        ("n", [("m",), ("n",)], {1: "n"}),
        ("", [("m",), ("n",)], {0: "", 1: ""}),
        ("n", [("m",), down()[0]], 503),  # nothing is known of the second, and it is out
        ("llama-3", [(("m",), ["llama-*"], {}), ("m",)], {0: "llama-3"}),
        ("m", [(("m",), ["llama-*"], {}), ("n",)], 404),
        ("gpt-4o", [(("m",), [], {"gpt-4o": "m"}), ("m",)], {0: "m"}),
        ("gpt-4o", [(("n",), [], {"gpt-4o": "m"}), ("m",)], 404),
        ("gpt-4o", [((), ["x"], {"gpt-4o": "m"}), (("m",), ["gpt-*"], {})], {0: "m", 1: "gpt-4o"}),
    ],
)
async def test_those_that_serve_the_model_are_asked_by_its_name_there(fleet, model, servers, expected):
    made = []
    for given in servers:
        listed, globs, rename = given if isinstance(given, tuple) and len(given) == 3 else (given, [], {})
        made.append((Server(models=listed), {"models": tuple(globs), "rename": rename}))
    many = fleet(*made)
    for session in ("2", "3"):  # the first server's, the second one's
        if isinstance(expected, int):
            assert (await fault_of(many, model)).status == expected
        else:
            await said(many, model, session)
    asked = {index: server.asked[0].body["model"] for index, (server, _) in enumerate(made) if server.asked}
    assert asked == ({} if isinstance(expected, int) else expected)


async def test_a_model_that_none_serves_is_told_as_openai_tells_it(fleet):
    server = Server()
    many = fleet(server)
    for work in (said(many, "x"), many.whole(ask("x"))):
        with pytest.raises(BackendFault) as caught:
            await work
        assert caught.value.status == 404
        assert caught.value.error == {
            "message": "The model `x` does not exist or you do not have access to it.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    assert server.asked == []


async def test_only_the_models_name_is_changed(fleet):
    server = Server()
    question = Ask({"model": "a", "x": 1}, "completions", {"traceparent": "t"})
    many = fleet((server, {"rename": {"a": "m"}}))
    async for _ in many.stream(question):
        pass
    assert server.asked == [Ask({"model": "m", "x": 1}, "completions", {"traceparent": "t"})]
    assert question.body["model"] == "a"


async def test_a_busy_server_gets_no_more_until_it_is_free(fleet):
    door = asyncio.Event()
    small, large = Server(("s", door)), Server(("l",))
    many = fleet((small, {"concurrency": 1, "weight": 9}), large)
    first = asyncio.create_task(said(many))
    while not small.running:
        await asyncio.sleep(0)
    assert [await said(many) for _ in range(3)] == ["l", "l", "l"]
    door.set()
    assert await first == "s"
    assert await said(many) == "s"


async def test_all_busy_is_told_at_once_with_when_to_come_again(fleet):
    server = Server(("a", asyncio.Event()))
    many = fleet((server, {"concurrency": 1}))
    async with aclosing(many.stream(ask())) as deltas:
        await anext(deltas)
        fault = await fault_of(many)
    assert (fault.status, fault.error["code"], fault.headers) == (503, "backend_busy", {"retry-after": "1"})
    assert server.running == 0


# -- who is asked next -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [424, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("whole", [False, True])
async def test_a_fault_before_the_first_event_goes_to_the_next(fleet, status, whole):
    broken, well = Server(down(status)), Server()
    many = fleet((broken, {"weight": 9}), well)
    if whole:
        assert await many.whole(ask()) == {"said": [b"a", b"b"]}
    else:
        assert await said(many) == "ab"
    assert (len(broken.asked), len(well.asked)) == (1, 1)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("whole", [False, True])
async def test_a_fault_of_the_request_is_final(fleet, status, whole):
    strict, other = Server(down(status)), Server()
    many = fleet((strict, {"weight": 9}), other)
    with pytest.raises(BackendFault, match=f"down {status}"):
        await (many.whole(ask()) if whole else said(many))
    assert other.asked == []


async def test_after_the_first_event_nothing_is_retried(fleet):
    broken, other = Server(("a", *down())), Server()
    many = fleet((broken, {"weight": 9}), other)
    deltas = many.stream(ask())
    assert (await anext(deltas)).raw == b"a"
    with pytest.raises(BackendFault, match="down 503"):
        await anext(deltas)
    assert other.asked == []


async def test_each_is_asked_once_and_the_last_fault_is_told(fleet):
    servers = [Server(down(503)), Server(down(502)), Server(down(429, headers={"retry-after": "7"}))]
    fault = await fault_of(fleet(*servers))
    assert [len(server.asked) for server in servers] == [1, 1, 1]
    assert (fault.status, fault.headers) == (429, {"retry-after": "7"})


@pytest.mark.parametrize("whole", [False, True])
async def test_the_patience_of_the_first_is_that_of_the_request(fleet, whole):
    broken, silent, never = Server(down(503)), Server((asyncio.Event(),)), Server()
    many = fleet((broken, {"patience": 0.1}), (silent, {"patience": 60}), never)
    began = time.monotonic()
    with pytest.raises(BackendFault, match="down 503"):  # what the last one that said something said
        await (many.whole(ask()) if whole else said(many))
    assert 0.09 < time.monotonic() - began < 2
    assert (silent.running, len(silent.asked), never.asked) == (0, 1, [])
    assert many._members[1].breaker.ready


async def test_patience_is_only_for_the_first_event(fleet):
    door = asyncio.Event()
    broken, slow = Server(down(503)), Server(("a", door, "b"))
    many = fleet((broken, {"patience": 0.1}), slow)
    asyncio.get_running_loop().call_later(0.2, door.set)
    assert await said(many) == "ab"


async def test_closing_the_answer_closes_the_servers(fleet):
    server = Server(("a", asyncio.Event()))
    many = fleet(server)
    async with aclosing(many.stream(ask())) as deltas:
        await anext(deltas)
        assert server.running == 1
    assert server.running == 0


async def test_cancelling_a_request_that_waits_closes_the_servers(fleet):
    server = Server((asyncio.Event(),))
    waiting = asyncio.create_task(said(fleet((server, {"concurrency": 1}))))
    while not server.running:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert server.running == 0


# -- what it tells of itself -------------------------------------------------------------------------------------------


async def test_its_models_are_all_that_an_app_can_ask_for(fleet):
    many = fleet(
        (Server(models=("m", "n")), {"models": ("m",), "rename": {"gpt-4o": "n"}}),
        Server(models=("n", "m"), owner="them"),
        Server(models=down()[0]),
    )
    listed = await many.models()
    assert listed["object"] == "list"
    assert [(entry["id"], entry["owned_by"]) for entry in listed["data"]] == [
        ("m", "us"),
        ("gpt-4o", "us"),
        ("n", "them"),
    ]


async def test_its_models_are_a_fault_only_if_none_answers(fleet):
    many = fleet(Server(models=down()[0]), Server(models=down(502)[0]))
    with pytest.raises(BackendFault) as caught:
        await many.models()
    assert (caught.value.status, caught.value.error["code"]) == (502, "backend_unreachable")


@pytest.mark.parametrize("listed", [{"data": "x"}, {"data": [1, {"id": 2}, {"id": "m"}]}, {}])
async def test_a_strange_list_is_read_as_far_as_it_goes(fleet, listed):
    server = Server()
    server.models = lambda: asyncio.sleep(0, listed)
    assert [entry["id"] for entry in (await fleet(server).models())["data"]] == (
        ["m"] if len(listed.get("data", "")) > 1 else []
    )


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ([Server(knows=("a", "b")), Server(knows=("b", "c"))], {"b"}),
        ([Server(knows=("a",)), Server(knows=("b",), models=("n",))], {"a"}),
        ([Server(knows=("a",)), Server(knows=(), models=down()[0])], {"a"}),
        ([Server(models=down()[0])], set()),
        ([Server(models=("n",))], set()),
    ],
)
async def test_it_knows_what_all_know_that_could_be_asked(fleet, servers, expected):
    assert await fleet(*servers).knows("m") == expected
