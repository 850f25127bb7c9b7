"""The backend for vLLM, TGI and their like, against servers that answer, fail, hang and break in every known way."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from fake_upstream import VLLM, Answer, Upstream, Wire, chunk, upstream

from proxy.backends.openai import OpenAIBackend
from proxy.turn import BackendFault, Delta

SECRET = "the child said pizzicato"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": SECRET}], "top_k": 3, "stream": True}
DONE = "[DONE]"


@asynccontextmanager
async def connected(
    answer: Answer, gets: dict[str, tuple[int, bytes]] | None = None, **patience: float
) -> AsyncIterator[tuple[OpenAIBackend, Upstream]]:
    async with upstream(answer, gets) as fake:
        backend = OpenAIBackend(fake.url, "key", **patience)
        try:
            yield backend, fake
        finally:
            await backend.close()


async def collect(backend: OpenAIBackend, body: dict[str, Any] = BODY) -> list[Delta]:
    return [delta async for delta in backend.stream(body)]


async def fault_of(work: Awaitable[Any]) -> BackendFault:
    with pytest.raises(BackendFault) as caught:
        await work
    assert "pizzicato" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def says(*payloads: str, end: bool = True) -> Answer:
    async def answer(wire: Wire) -> None:
        await wire.head()
        await wire.events(*payloads)
        if end:
            await wire.end()

    return answer


def refuses(status: int, body: bytes, kind: str = "application/json") -> Answer:
    async def answer(wire: Wire) -> None:
        await wire.head(status, kind)
        if body:
            await wire.send(body)
        await wire.end()

    return answer


HELLO = (chunk(""), chunk("Hel"), chunk("lo", "stop"), chunk(choices=[], usage={"completion_tokens": 2}))


async def test_a_vllm_stream_passes_byte_for_byte() -> None:
    async with connected(says(*HELLO, DONE), VLLM) as (backend, fake):
        deltas = await collect(backend)
    assert [delta.raw for delta in deltas] == [payload.encode() for payload in HELLO]
    assert [delta.event for delta in deltas] == [json.loads(payload) for payload in HELLO]
    asked = fake.chats[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer key"
    assert asked.body == BODY


async def test_a_tgi_stream() -> None:
    payloads = [
        json.dumps(
            {
                "object": "chat.completion.chunk",
                "id": "",
                "created": 1741688515,
                "model": "m",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}],
                "usage": None,
            }
        )
        for text, finish in (("Ciao", None), ("!", "stop_sequence"))
    ]

    async def answer(wire: Wire) -> None:
        await wire.head()
        for payload in (*payloads, DONE):
            await wire.send(f":\n\ndata:{payload}\n\n".encode())
        await wire.end()

    async with connected(answer, {"/info": (200, b'{"model_id":"m"}')}) as (backend, _):
        deltas = await collect(backend)
        assert await backend.knows() == frozenset()
    assert [delta.raw.decode() for delta in deltas] == payloads


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
        await backend.knows()
        await collect(backend)
        await backend.close()
    assert [asked.path for asked in fake.asked] == ["/version", "/v1/chat/completions"]
    assert "authorization" not in fake.chats[0].headers


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://a/v1", "http://", "http:///v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="KINDRAIL_BACKEND_URL"):
        OpenAIBackend(url)


ERRORS = [
    pytest.param(
        404,
        b'{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}',
        ("The model `x` does not exist.", "NotFoundError", "model", None),
        id="vllm",
    ),
    pytest.param(
        400,
        b"{\"error\":{\"message\":\"1 validation error:\\n  {'loc': 'body.messages', 'msg': 'bad', "
        b'\'input\': \'the child said pizzicato\'}","type":"Bad Request","code":400}}',
        ("1 validation error:\n  {'loc': 'body.messages', 'msg': 'bad'}", "Bad Request", None, None),
        id="vllm repeats the input",
    ),
    pytest.param(
        400,
        b'{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":"context_length"}',
        ("too long", "BadRequestError", None, "context_length"),
        id="vllm, formerly",
    ),
    pytest.param(429, b'{"error":"Slow down"}', ("Slow down", "upstream_error", None, None), id="error as a string"),
    pytest.param(
        422,
        b'{"error":"Input validation error","error_type":"validation"}',
        ("Input validation error", "validation", None, None),
        id="tgi",
    ),
    pytest.param(
        405,
        b'{"detail":"Method Not Allowed"}',
        ("The model server answered 405. Method Not Allowed", "upstream_error", None, None),
        id="fastapi",
    ),
    pytest.param(
        422,
        b'{"detail":[{"loc":["body","n"],"msg":"bad","input":"the child said pizzicato"}]}',
        ("The model server answered 422. ['body', 'n']: bad", "upstream_error", None, None),
        id="fastapi's validation",
    ),
    pytest.param(
        413,
        b"length limit exceeded",
        ("The model server answered 413. length limit exceeded", "upstream_error", None, None),
        id="plain text",
    ),
    pytest.param(
        502,
        b"<html><h1>502 Bad Gateway</h1></html>",
        ("The model server answered 502.", "upstream_error", None, None),
        id="html",
    ),
    pytest.param(503, b"", ("The model server answered 503.", "upstream_error", None, None), id="nothing"),
    pytest.param(500, b"[1]", ("The model server answered 500.", "upstream_error", None, None), id="a list"),
    pytest.param(500, b"\xff", ("The model server answered 500. \ufffd", "upstream_error", None, None), id="bytes"),
]


@pytest.mark.parametrize(("status", "body", "expected"), ERRORS)
async def test_an_error_is_passed_on(
    status: int, body: bytes, expected: tuple[str, str, str | None, str | None]
) -> None:
    async with connected(refuses(status, body)) as (backend, _):
        fault = await fault_of(collect(backend))
    message, kind, param, code = expected
    assert fault.status == status
    assert fault.error == {"message": message, "type": kind, "param": param, "code": code}


@pytest.mark.parametrize(("status", "body"), [(401, b""), (401, b'{"error":"Unauthorized"}'), (403, b"no")])
async def test_a_refused_key_is_our_fault_not_the_clients(status: int, body: bytes) -> None:
    async with connected(refuses(status, body), {"/v1/models": (status, body)}) as (backend, _):
        for work in (collect(backend), backend.models()):
            fault = await fault_of(work)
            assert (fault.status, fault.error["code"]) == (502, "backend_unauthorized")
            assert "KINDRAIL_BACKEND_API_KEY" in str(fault)


async def test_of_an_errors_body_only_the_beginning_is_read() -> None:
    async def answer(wire: Wire) -> None:
        await wire.head(500, "text/plain")
        await wire.send(b"x" * 70_000)
        await wire.until_client_leaves()

    async with connected(answer) as (backend, _):
        began = time.monotonic()
        fault = await fault_of(collect(backend))
        assert time.monotonic() - began < 2
    assert len(str(fault)) < 1100


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refuses(307, b"", "text/html"), id="a redirect"),
        pytest.param(refuses(200, b"<html>welcome</html>", "text/html"), id="another kind of server"),
        pytest.param(refuses(200, b'{"choices":[]}'), id="a server that does not stream"),
    ],
)
async def test_what_is_no_stream_is_refused(answer: Answer) -> None:
    async with connected(answer) as (backend, _):
        fault = await fault_of(collect(backend))
    assert (fault.status, fault.error["code"]) == (502, "backend_bad_answer")
    assert "KINDRAIL_BACKEND_URL" in str(fault)


@pytest.mark.parametrize(
    ("payload", "status", "message"),
    [
        (
            '{"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}',
            500,
            "EngineCore died",
        ),
        ('{"error":{"message":"too many tokens","http_status_code":422}}', 422, "too many tokens"),
        ('{"error":"Request failed","error_type":"generation"}', 502, "Request failed"),
        ('{"object":"error","message":"out of memory","code":503}', 503, "out of memory"),
        ('{"error":{"message":"odd","code":200}}', 502, "odd"),
        ('{"choices": [{"delta": {"content": "pizzicato', 502, "not a JSON object"),
        ('["pizzicato"]', 502, "not a JSON object"),
        ("pizzicato", 502, "not a JSON object"),
        ('{"choices":["pizzicato"]}', 502, "not a list of objects"),
        ('{"choices":{"pizzicato":1}}', 502, "not a list of objects"),
    ],
)
@pytest.mark.parametrize("before", [(), (chunk("Hel"),)], ids=["at once", "in the middle"])
async def test_an_error_inside_the_stream(payload: str, status: int, message: str, before: tuple[str, ...]) -> None:
    async with connected(says(*before, payload, DONE)) as (backend, _):
        deltas: list[Delta] = []

        async def read() -> None:
            async for delta in backend.stream(BODY):
                deltas.append(delta)

        fault = await fault_of(read())
    assert fault.status == status
    assert message in str(fault)
    assert len(deltas) == len(before)


async def test_an_event_without_end_is_refused() -> None:
    async def answer(wire: Wire) -> None:
        await wire.head()
        while True:
            await wire.send(b"data: " + b"x" * 100_000)

    async with connected(answer) as (backend, _):
        assert (await fault_of(collect(backend))).error["code"] == "backend_bad_answer"


async def closes(wire: Wire) -> None:
    await wire.head()
    await wire.events(chunk("Hel"))
    await wire.end()


async def breaks(wire: Wire) -> None:
    await wire.head()
    await wire.events(chunk("Hel"))
    wire.drop()


async def closes_unasked(wire: Wire) -> None:
    wire.drop()


@pytest.mark.parametrize(
    ("answer", "code"),
    [(closes, "backend_closed"), (breaks, "backend_closed"), (closes_unasked, "backend_unreachable")],
)
async def test_an_answer_that_breaks_off(answer: Answer, code: str) -> None:
    async with connected(answer) as (backend, _):
        fault = await fault_of(collect(backend))
    assert (fault.status, fault.error["code"]) == (502, code)


async def no_head(wire: Wire) -> None:
    await wire.until_client_leaves()


async def no_event(wire: Wire) -> None:
    await wire.head()
    await wire.until_client_leaves()


async def only_comments(wire: Wire) -> None:
    await wire.head()
    while True:
        await wire.send(b": keep-alive\n\n")
        await asyncio.sleep(0.02)


async def no_second_event(wire: Wire) -> None:
    await wire.head()
    await wire.events(chunk("Hel"))
    await wire.until_client_leaves()


async def comments_after_the_first_event(wire: Wire) -> None:
    await wire.head()
    await wire.events(chunk("Hel"))
    while True:
        await wire.send(b": keep-alive\n\n")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (no_head, "sent nothing within 0.2 s"),
        (no_event, "sent nothing within 0.2 s"),
        (only_comments, "sent nothing within 0.2 s"),
        (no_second_event, "fell silent for 0.3 s"),
        (comments_after_the_first_event, "fell silent for 0.3 s"),
    ],
)
async def test_a_silent_server_is_left(answer: Answer, message: str) -> None:
    async with connected(answer, first_event=0.2, between_events=0.3) as (backend, _):
        began = time.monotonic()
        fault = await fault_of(collect(backend))
        assert time.monotonic() - began < 1
    assert (fault.status, fault.error["code"]) == (504, "backend_timeout")
    assert message in str(fault)


async def test_a_slow_client_is_not_the_servers_silence() -> None:
    async def answer(wire: Wire) -> None:
        await wire.head()
        await wire.events(chunk("Hel"))
        await asyncio.sleep(0.5)
        await wire.events(chunk("lo", "stop"), DONE)
        await wire.end()

    async with connected(answer, first_event=1, between_events=0.2) as (backend, _):
        count = 0
        async for _delta in backend.stream(BODY):
            count += 1
            await asyncio.sleep(0.45)
    assert count == 2


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        backend = OpenAIBackend(f"http://127.0.0.1:{closed.getsockname()[1]}")
        for work in (collect(backend), backend.models()):
            fault = await fault_of(work)
            assert (fault.status, fault.error["code"]) == (502, "backend_unreachable")
        assert await backend.knows() == frozenset()
        await backend.close()


async def test_a_server_that_accepts_no_connection() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        backend = OpenAIBackend(f"http://127.0.0.1:{full.getsockname()[1]}", connect=0.2)
        fault = await fault_of(collect(backend))
        await backend.close()
        for client in waiting:
            client.close()
    assert (fault.status, fault.error["code"]) == (504, "backend_timeout")
    assert "accepted no connection" in str(fault)


async def close_after_one(backend: OpenAIBackend) -> None:
    async with aclosing(backend.stream(BODY)) as deltas:
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


async def test_what_it_knows_is_asked_once() -> None:
    async with connected(says(*HELLO, DONE), VLLM) as (backend, fake):
        assert "repetition_penalty" in await backend.knows()
        assert "repetition_penalty" in await backend.knows()
        await collect(backend)
    assert fake.count("/version") == 1


@pytest.mark.parametrize(
    "answer", [(404, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (401, b'{"version":"1"}')]
)
async def test_another_server_knows_nothing_more(answer: tuple[int, bytes]) -> None:
    async with connected(says(*HELLO, DONE), {"/version": answer}) as (backend, fake):
        assert await backend.knows() == frozenset()
        assert await backend.knows() == frozenset()
    assert fake.count("/version") == 1


async def test_a_server_that_is_still_starting_is_asked_again() -> None:
    async with connected(says(*HELLO, DONE), {"/version": (503, b"")}) as (backend, fake):
        assert await backend.knows() == frozenset()
        fake.gets = VLLM
        assert "repetition_penalty" in await backend.knows()


async def test_the_list_of_models_is_passed_on() -> None:
    models = {"object": "list", "data": [{"id": "tiny", "max_model_len": 1024}]}
    async with connected(says(), {"/v1/models": (200, json.dumps(models).encode())}) as (backend, fake):
        assert await backend.models() == models
        for body in (b"<html>", b"[]"):
            fake.gets["/v1/models"] = (200, body)
            assert (await fault_of(backend.models())).error["code"] == "backend_bad_answer"
        fake.gets["/v1/models"] = (500, b'{"error":{"message":"EngineCore died","code":500}}')
        assert (await fault_of(backend.models())).status == 500
