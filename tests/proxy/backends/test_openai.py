"""The backend for vLLM, TGI and their like: its streams, its connections and what it learns of the server."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from connected import BODY, collect, connected, fault_of
from fake_upstream import DONE, HELLO, VLLM, Answer, Wire, chunk, no_head, no_second_event, refuses, says, upstream

from proxy.backends.openai import OpenAIBackend
from proxy.turn import Ask


async def test_a_vllm_stream_passes_byte_for_byte() -> None:
    async with connected(says(*HELLO, DONE), VLLM) as (backend, fake):
        deltas = await collect(backend)
    assert [delta.raw for delta in deltas] == [payload.encode() for payload in HELLO]
    assert [delta.event for delta in deltas] == [json.loads(payload) for payload in HELLO]
    asked = fake.chats[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer key"
    assert asked.body == BODY


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param((chunk(None), DONE), id="TGI's tool calls: [DONE] and no finish_reason"),
        pytest.param((chunk("a", "stop"),), id="a finish_reason and no [DONE]"),
        pytest.param((chunk("a", "length"), chunk(choices=[], usage={})), id="usage behind it"),
    ],
)
async def test_streams_that_are_complete_in_their_way(payloads: tuple[str, ...]) -> None:
    async with connected(says(*payloads)) as (backend, _):
        assert len(await collect(backend)) == sum(payload != DONE for payload in payloads)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_address_with_and_without_v1(suffix: str) -> None:
    async with upstream(says(*HELLO, DONE), VLLM) as fake:
        backend = OpenAIBackend(fake.url + suffix)
        await backend.knows("tiny")
        await collect(backend)
        await backend.close()
    assert [asked.path for asked in fake.asked] == ["/version", "/v1/chat/completions"]
    assert "authorization" not in fake.chats[0].headers


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://a/v1", "http://", "http:///v1", "http://a:port"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="KINDRAIL_BACKEND_URL"):
        OpenAIBackend(url)


async def test_the_credentials_of_an_address_log_in() -> None:
    async with upstream(says(*HELLO, DONE)) as fake:
        backend = OpenAIBackend(fake.url.replace("//", "//me:s%40cret@"))
        await collect(backend)
        await backend.close()
    assert fake.chats[0].headers["authorization"] == f"Basic {b64encode(b'me:s@cret').decode()}"


async def test_a_slow_client_is_not_the_servers_silence() -> None:
    async def answer(wire: Wire) -> None:
        await wire.head()
        await wire.events(chunk("Hel"))
        await asyncio.sleep(0.5)
        await wire.events(chunk("lo", "stop"), DONE)
        await wire.end()

    async with connected(answer, first_event=1, between_events=0.2) as (backend, _):
        count = 0
        async for _delta in backend.stream(Ask(BODY)):
            count += 1
            await asyncio.sleep(0.45)
    assert count == 2


async def close_after_one(backend: OpenAIBackend) -> None:
    async with aclosing(backend.stream(Ask(BODY))) as deltas:
        await anext(deltas)


async def cancel_while_reading(backend: OpenAIBackend) -> None:
    task = asyncio.create_task(collect(backend))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("answer", "leave"),
    [
        pytest.param(no_second_event, close_after_one, id="closed between events"),
        pytest.param(no_second_event, cancel_while_reading, id="cancelled while waiting for the next event"),
        pytest.param(no_head, cancel_while_reading, id="cancelled while waiting for the first"),
    ],
)
async def test_leaving_frees_the_server_at_once(
    answer: Answer, leave: Callable[[OpenAIBackend], Awaitable[None]]
) -> None:
    freed = asyncio.Event()

    async def watched(wire: Wire) -> None:
        await answer(wire)
        freed.set()

    async with connected(watched) as (backend, _):
        await leave(backend)
        await asyncio.wait_for(freed.wait(), 1)


async def test_more_streams_at_once_than_pools_allow_by_default() -> None:
    streams = 128  # aiohttp's own limit is 100
    all_here = asyncio.Event()
    here = 0

    async def answer(wire: Wire) -> None:
        nonlocal here
        here += 1
        if here == streams:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 10)
        await wire.head()
        await wire.events(chunk(wire.asked.body["user"]), chunk("", "stop"), DONE)
        await wire.end()

    async with connected(answer, VLLM) as (backend, _):
        answers = await asyncio.gather(*(collect(backend, {**BODY, "user": str(n)}) for n in range(streams)))
    assert [deltas[0].event["choices"][0]["delta"]["content"] for deltas in answers] == [str(n) for n in range(streams)]


async def test_a_connection_is_used_again_and_carries_no_cookies() -> None:
    async def answer(wire: Wire) -> None:
        await wire.head(200, "text/event-stream", "set-cookie: replica=a; path=/")
        await wire.events(*HELLO, DONE)
        await asyncio.sleep(0.02)  # the end comes in a packet of its own
        await wire.end()

    async with upstream(answer) as fake:
        backend = OpenAIBackend(f"http://localhost:{fake.port}")  # by name: aiohttp keeps no cookies of bare addresses
        for _ in range(3):
            await collect(backend)
        await backend.close()
    assert fake.connections == 1
    assert not any("cookie" in asked.headers for asked in fake.asked)


async def test_a_response_that_does_not_end_after_done_holds_nobody() -> None:
    async def answer(wire: Wire) -> None:
        await says(*HELLO, DONE, end=False)(wire)
        await wire.until_client_leaves()

    async with connected(answer) as (backend, _):
        began = time.monotonic()
        assert len(await collect(backend)) == len(HELLO)
        assert time.monotonic() - began < 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with connected(says(*HELLO, DONE)) as (backend, _):
        assert len(await collect(backend)) == len(HELLO)


TGI = {"/info": (200, b'{"model_id":"m"}')}
RUNNING = "continuous_usage_stats"  # what vLLM alone counts


async def test_what_it_knows_is_asked_once() -> None:
    async with connected(says(*HELLO, DONE), VLLM) as (backend, fake):
        assert {"repetition_penalty", RUNNING} <= await backend.knows("tiny")
        assert {"repetition_penalty", RUNNING} <= await backend.knows("other")
        await collect(backend)
    assert (fake.count("/version"), fake.count("/info")) == (1, 0)


async def test_tgi_is_told_by_its_info() -> None:
    async with connected(says(*HELLO, DONE), TGI) as (backend, fake):
        assert await backend.knows("tiny") == {"repetition_penalty"}
        await collect(backend)
    assert (fake.count("/version"), fake.count("/info")) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "known"),
    [("vllm", {"repetition_penalty", "top_k", "min_p", RUNNING}), ("tgi", {"repetition_penalty"}), ("openai", set())],
)
async def test_a_kind_that_is_given_is_not_asked_for(kind: str, known: set[str]) -> None:
    async with connected(says(*HELLO, DONE), VLLM | TGI, kind=kind) as (backend, fake):
        assert await backend.knows("tiny") == known
        await collect(backend)
    assert [asked.method for asked in fake.asked] == ["POST"]


@pytest.mark.parametrize("path", ["/version", "/info"])
@pytest.mark.parametrize(
    "answer", [(404, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (401, b'{"version":"1","model_id":"m"}')]
)
async def test_another_server_knows_nothing_more(path: str, answer: tuple[int, bytes]) -> None:
    async with connected(says(*HELLO, DONE), {path: answer}) as (backend, fake):
        assert await backend.knows("tiny") == frozenset()
        assert await backend.knows("tiny") == frozenset()
    assert fake.count(path) == 1


@pytest.mark.parametrize("path", ["/version", "/info"])
async def test_a_server_that_is_still_starting_is_asked_again(path: str) -> None:
    async with connected(says(*HELLO, DONE), {path: (503, b"")}) as (backend, fake):
        assert await backend.knows("tiny") == frozenset()
        assert len(await collect(backend)) == len(HELLO)
        fake.gets = VLLM
        assert "repetition_penalty" in await backend.knows("tiny")


async def test_headers_reach_the_server_but_never_in_the_place_of_its_own() -> None:
    passed = {"X-Request-Id": "r-1", "traceparent": "00-1", "x-tenant": "a"}
    ours = {
        **{"Authorization": "Bearer theirs", "Host": "elsewhere", "Cookie": "a=b", "Connection": "close"},
        **{"Content-Type": "text/plain", "content-length": "1", "Accept": "text/html", "accept-encoding": "br"},
        **{"Transfer-Encoding": "chunked", "Proxy-Authorization": "x", "te": "trailers", "Expect": "100-continue"},
    }
    strange = {"x-name": "피치카토"}
    async with connected(says(*HELLO, DONE), VLLM) as (backend, fake):
        assert [delta async for delta in backend.stream(Ask(BODY, headers={**passed, **ours, **strange}))]
        await collect(backend)
        with_headers, without = (dict(asked.headers) for asked in fake.chats)
    assert with_headers == without | {name.lower(): value for name, value in passed.items()}
    assert without["authorization"] == "Bearer key"


async def test_completions_are_a_stream_of_their_own_route() -> None:
    body = {"model": "tiny", "prompt": "once upon", "stream": True}
    async with connected(says(*HELLO, DONE), VLLM) as (backend, fake):
        assert len(await collect(backend, body, "completions")) == len(HELLO)
    assert (fake.chats[0].path, fake.chats[0].body) == ("/v1/completions", body)


async def test_a_route_without_a_stream_is_answered_whole() -> None:
    answer, body = {"object": "list", "data": [{"embedding": [0.5]}]}, {"model": "tiny", "input": "hello"}
    async with connected(refuses(200, json.dumps(answer).encode()), VLLM) as (backend, fake):
        assert await backend.whole(Ask(body, "embeddings", {"x-tenant": "a"})) == answer
    asked = fake.chats[0]
    assert (asked.path, asked.body, asked.headers["accept"]) == ("/v1/embeddings", body, "application/json")
    assert (asked.headers["authorization"], asked.headers["x-tenant"]) == ("Bearer key", "a")


async def test_the_list_of_models_is_passed_on() -> None:
    models = {"object": "list", "data": [{"id": "tiny", "max_model_len": 1024}]}
    async with connected(says(), {"/v1/models": (200, json.dumps(models).encode())}) as (backend, fake):
        assert await backend.models() == models
        for body in (b"<html>", b"[]"):
            fake.gets["/v1/models"] = (200, body)
            assert (await fault_of(backend.models())).error["code"] == "backend_bad_answer"
        fake.gets["/v1/models"] = (500, b'{"error":{"message":"EngineCore died","code":500}}')
        assert (await fault_of(backend.models())).status == 500
