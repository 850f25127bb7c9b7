"""The backend for vLLM, TGI and their like, against servers that refuse, fail, hang and break in every known way."""

import asyncio
import socket
import time

import pytest
from connected import BODY, collect, connected, fault_of
from fake_upstream import DONE, Answer, Wire, chunk, no_head, no_second_event, refuses, says

from proxy.backends.openai import OpenAIBackend
from proxy.turn import Ask, Delta

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
        ("The model server failed (405).", "upstream_error", None, None),
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
        ("The model server failed (502).", "upstream_error", None, None),
        id="html",
    ),
    pytest.param(503, b"", ("The model server failed (503).", "upstream_error", None, None), id="nothing"),
    pytest.param(422, b"[1]", ("The model server answered 422.", "upstream_error", None, None), id="a list"),
    pytest.param(400, b"\xff", ("The model server answered 400. \ufffd", "upstream_error", None, None), id="bytes"),
    pytest.param(
        500,
        b'{"error":{"message":"Failed to parse: the model said pizzicato","type":"server_error","param":"pizzicato","code":"parse.1"}}',
        ("The model server failed (500).", "server_error", None, "parse.1"),
        id="what a 5xx says is not passed on",
    ),
    pytest.param(
        400,
        b'{"error":{"message":"bad","type":"the model said","param":"tom@mail.com","code":"pizzicato pizzicato"}}',
        ("bad", "upstream_error", None, None),
        id="names that are none",
    ),
    pytest.param(
        400,
        b'{"error":{"message":"bad","type":["a"],"param":{"a":1},"code":"%s"}}' % (b"x" * 65),
        ("bad", "upstream_error", None, None),
        id="names that are no text",
    ),
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
            assert "Only Kindrail's operator can mend that" in str(fault)


@pytest.mark.parametrize("when", ["3", "Sat, 21 Nov 2026 04:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
async def test_when_to_come_again_is_passed_on(status: int, when: str) -> None:
    async def answer(wire: Wire) -> None:
        await wire.head(status, "application/json", f"retry-after: {when}", "x-secret: a")
        await wire.end()

    async with connected(answer) as (backend, _):
        for work in (collect(backend), backend.whole(Ask(BODY, "embeddings"))):
            assert (await fault_of(work)).headers == {"retry-after": when}


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (refuses(404, b'{"detail":"Not Found"}'), 404, None),
        (refuses(401, b""), 502, "backend_unauthorized"),
        (refuses(200, b"<html>pizzicato</html>"), 502, "backend_bad_answer"),
        (refuses(200, b"[]"), 502, "backend_bad_answer"),
        (no_head, 504, "backend_timeout"),
    ],
)
async def test_a_whole_answer_that_is_none(answer: Answer, status: int, code: str | None) -> None:
    async with connected(answer, first_event=0.2) as (backend, _):
        began = time.monotonic()
        fault = await fault_of(backend.whole(Ask(BODY, "embeddings")))
        assert time.monotonic() - began < 1
    assert (fault.status, fault.error["code"]) == (status, code)


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
    assert "it is no stream (status " in str(fault)


@pytest.mark.parametrize(
    ("payload", "status", "message"),
    [
        (
            '{"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}',
            500,
            "The model server failed (500).",
        ),
        ('{"error":"pizzicato","error_type":"generation"}', 424, "failed (424)"),
        ('{"error":"pizzicato","error_type":"unheard"}', 502, "failed (502)"),
        ('{"object":"error","message":"pizzicato","code":503}', 503, "failed (503)"),
        ('{"error":{"message":"pizzicato","code":200}}', 502, "failed (502)"),
        ('{"choices":[null]}', 502, "not a list of objects"),
        ('{"choices":[],"x":%s}' % ("[" * 100 + "]" * 100), 502, "too deeply nested"),
        ('{"choices":[],"x":%s}' % ('{"a":' * 300 + "1" + "}" * 300), 502, "too deeply nested"),
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
            async for delta in backend.stream(Ask(BODY)):
                deltas.append(delta)

        fault = await fault_of(read())
    assert fault.status == status
    assert message in str(fault)
    assert "pizzicato" not in str(fault.error)
    assert len(deltas) == len(before)


@pytest.mark.parametrize(
    "error",
    [
        '{"message":"`inputs` must be <= 64","http_status_code":422}',
        '"`inputs` must be <= 64","error_type":"validation"',
    ],
)
async def test_an_error_in_a_stream_tells_of_the_request_before_anything_was_said(error: str) -> None:
    for before, message in (((), "`inputs` must be <= 64"), ((chunk("Hel"),), "The model server failed (422).")):
        async with connected(says(*before, f'{{"error":{error}}}', DONE)) as (backend, _):
            fault = await fault_of(collect(backend))
        assert (fault.status, str(fault)) == (422, message)


async def test_an_event_may_be_wide_and_some_way_deep() -> None:
    wide = f'{{"choices":[],"x":[{",".join(["[]"] * 200)}],"y":{"[" * 90 + "]" * 90}}}'
    async with connected(says(wide, chunk("Hel", "stop"), DONE)) as (backend, _):
        assert len(await collect(backend)) == 2


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


async def no_event(wire: Wire) -> None:
    await wire.head()
    await wire.until_client_leaves()


async def only_comments(wire: Wire) -> None:
    await wire.head()
    while True:
        await wire.send(b": keep-alive\n\n")
        await asyncio.sleep(0.02)


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


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        backend = OpenAIBackend(f"http://127.0.0.1:{closed.getsockname()[1]}")
        for work in (collect(backend), backend.models(), backend.whole(Ask(BODY, "embeddings"))):
            fault = await fault_of(work)
            assert (fault.status, fault.error["code"]) == (502, "backend_unreachable")
        assert await backend.knows("tiny") == frozenset()
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
