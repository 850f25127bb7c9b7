"""Several servers as one: who is asked, who is asked next, and what the fleet tells of itself."""

import asyncio
from collections import Counter
from contextlib import aclosing

import pytest
from fake_upstream import DONE, HELLO, VLLM, no_second_event, refuses, says, upstream
from many import Server, ask, down, fault_of, fleets, said

from proxy.backends import open_backend
from proxy.backends.fleet import Fleet
from proxy.backends.litellm import LiteLLMBackend
from proxy.config import BackendEntry, Config
from proxy.turn import Ask, BackendFault


@pytest.fixture
async def fleet():
    async with fleets() as make:
        yield make


# -- who is asked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1, 1), "0101010101"), ((3, 1), "0010001000"), ((1, 2, 2), "1201212012"), ((1,), "0000000000")],
)
async def test_shares_are_by_weight_and_without_runs(fleet, weights, expected):
    servers = [Server((str(index),)) for index in range(len(weights))]
    many = fleet(*((server, {"weight": weight}) for server, weight in zip(servers, weights, strict=True)))
    order = "".join([await said(many) for _ in range(10)])
    assert Counter(order) == Counter(expected)
    assert order == expected


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
    for _ in range(2):
        if isinstance(expected, int):
            assert (await fault_of(many, model)).status == expected
        else:
            await said(many, model)
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


# -- opened from the configuration, over real sockets ------------------------------------------------------------------


def entry(**fields):
    return BackendEntry.model_validate(fields)


async def test_a_fleet_of_real_servers_goes_on_when_one_falls():
    listed = VLLM | {"/v1/models": (200, b'{"data": [{"id": "tiny"}]}')}
    async with upstream(refuses(503, b""), listed) as broken, upstream(says(*HELLO, DONE), listed) as well:
        entries = [
            entry(url=broken.url, weight="9"),
            entry(url=f"{well.url}/v1", kind="vllm", api_key="k", rename={"app": "tiny"}),
            entry(url="http://127.0.0.1:9"),
        ]
        many = open_backend(Config(backends=entries))
        body = {"model": "tiny", "messages": [], "stream": True}
        deltas = [delta async for delta in many.stream(Ask(body))]
        renamed = [delta async for delta in many.stream(Ask(body | {"model": "app"}))]
        models = await many.models()
        await many.close()
    text = [delta.event["choices"][0]["delta"]["content"] for delta in deltas[:3]]
    assert (text, len(renamed)) == (["", "Hel", "lo"], 4)
    assert (len(broken.chats), len(well.chats)) == (1, 2)
    assert well.chats[1].body["model"] == "tiny"
    assert well.chats[0].headers["authorization"] == "Bearer k"
    assert "authorization" not in broken.chats[0].headers
    assert [model["id"] for model in models["data"]] == ["tiny", "app"]


async def test_each_server_has_its_own_patience():
    async with upstream(no_second_event, VLLM) as slow:
        general = {"between_tokens_timeout": "30s", "backends": [{"url": slow.url, "between_tokens_timeout": "50ms"}]}
        many = open_backend(Config.model_validate(general))
        deltas = many.stream(Ask({"messages": [], "stream": True}))
        await anext(deltas)
        with pytest.raises(BackendFault) as caught:
            await anext(deltas)
        await many.close()
    assert caught.value.error["code"] == "backend_timeout"
    assert "0.05 s" in str(caught.value)


async def test_what_the_configuration_opens():
    many = open_backend(
        Config(backends=[entry(kind="litellm", models=["a/*", "b", "c/d"], rename={"b": "x/b", "e": "c/d"})])
    )
    assert isinstance(many, Fleet)
    assert [model["id"] for model in (await many.models())["data"]] == ["c/d", "b", "e"]
    await many.close()
    (member,) = many._members
    assert (member.place, type(member.backend)) == ("backends[0]", LiteLLMBackend)
