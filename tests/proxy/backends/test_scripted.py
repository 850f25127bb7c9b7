"""The demo buddy as a backend, and as a server as real as vLLM's wire."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from proxy.backends import open_backend
from proxy.backends._alone import Alone
from proxy.backends._buddy import reply
from proxy.backends.openai import OpenAIBackend
from proxy.backends.scripted import ScriptedBackend, app
from proxy.config import Config
from proxy.turn import Ask, BackendFault, Delta


def user(*said: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in said]


def said_by(deltas: list[Delta]) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices(deltas))


def choices(deltas: list[Delta], index: int = 0) -> list[dict[str, Any]]:
    return [choice for delta in deltas for choice in delta.event["choices"] if choice["index"] == index]


async def streamed(body: dict[str, Any], route: str = "chat/completions") -> list[Delta]:
    return [delta async for delta in ScriptedBackend(0).stream(Ask(body, route))]


def body(said: str = "Tell me a story", **more: Any) -> dict[str, Any]:
    return {"model": "buddy", "messages": user(said), **more}


@pytest.mark.parametrize("said", ["Tell me a story", "Raccontami una storia", "동화 들려줘"])
async def test_it_streams_in_small_pieces(said: str) -> None:
    deltas = await streamed(body(said))
    assert said_by(deltas) == reply(user(said))
    assert max(len(choice["delta"]["content"].strip()) for d in deltas for choice in d.event["choices"]) <= 4
    assert deltas[0].event["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [d.event["choices"][0]["finish_reason"] for d in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert len({d.event["id"] for d in deltas}) == 1
    assert not any("usage" in d.event for d in deltas)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_it_heeds_the_limit_and_counts(name: str) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    limited = body(**{name: 5}, stream_options=options)
    *chunks, last = await streamed(limited)
    assert reply(user("Tell me a story")).startswith(said_by(chunks))
    assert chunks[-1].event["choices"][0]["finish_reason"] == "length"
    assert [chunk.event["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 4, 5]
    assert last.event["choices"] == []
    assert last.event["usage"] == {"prompt_tokens": 5, "total_tokens": 10, "completion_tokens": 5}


async def test_several_choices_come_in_turn_and_are_counted_together() -> None:
    options = {"include_usage": True}
    *chunks, last = await streamed(body("Hello!", n=2, stream_options=options))
    assert [chunk.event["choices"][0]["index"] for chunk in chunks] == [0, 1] * (len(chunks) // 2)
    for index in (0, 1):
        told = choices(chunks, index)
        assert "".join(choice["delta"]["content"] for choice in told) == reply(user("Hello!"))
        assert told[-1]["finish_reason"] == "stop"
    assert last.event["usage"]["completion_tokens"] == len(chunks) - 2


async def test_it_completes_prompts() -> None:
    prompts = ["Tell me a story", "안녕"]
    asking = {"model": "buddy", "prompt": prompts, "n": 2, "stream_options": {"include_usage": True}}
    *chunks, last = await streamed(asking, "completions")
    for index, prompt in enumerate(["Tell me a story"] * 2 + ["안녕"] * 2):
        told = choices(chunks, index)
        assert "".join(choice["text"] for choice in told) == reply(user(prompt))
        assert [choice["finish_reason"] for choice in told] == [None] * (len(told) - 1) + ["stop"]
    assert {chunk.event["object"] for chunk in (*chunks, last)} == {"text_completion"}
    assert last.event["usage"]["completion_tokens"] == len(chunks)
    limited = await streamed({"prompt": "안녕", "max_tokens": 1}, "completions")
    assert [choice["finish_reason"] for choice in choices(limited)] == ["length"]


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "days": {"type": "integer"},
                "rain": {"type": "boolean"},
                "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
                "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            },
            "$defs": {"Place": {"properties": {"name": {"type": "string"}}}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def made(word: str) -> dict[str, Any]:
    return {"city": word, "unit": "celsius", "days": 1, "rain": True, "places": [{"name": word}], "note": None}


@pytest.mark.parametrize(
    ("said", "choice", "name", "arguments"),
    [
        ("Please get_weather for Rome.", "auto", "get_weather", made("Rome")),
        ('get_weather of "New York" and «서울», quick', "auto", "get_weather", made("서울")),
        ("what says the clock?", "auto", "clock", {}),
        ("hello Rome", "required", "get_weather", made("Rome")),
        ("hello", {"type": "function", "function": {"name": "clock"}}, "clock", {}),
    ],
)
async def test_it_calls_a_tool(said: str, choice: Any, name: str, arguments: dict[str, Any]) -> None:
    asking = body(said, tools=[WEATHER, CLOCK], tool_choice=choice)
    opening, head, *pieces, end = [choice["delta"] for choice in choices(await streamed(asking))]
    call = head["tool_calls"][0]
    assert (call["index"], call["type"], call["function"]) == (0, "function", {"name": name})
    assert call["id"].startswith("chatcmpl-tool-")
    written = [piece["tool_calls"][0]["function"]["arguments"] for piece in pieces]
    assert json.loads("".join(written)) == arguments
    assert max(map(len, written)) <= 4
    assert (opening["content"], end) == ("", {})
    assert choices(await streamed(asking))[-1]["finish_reason"] == "tool_calls"
    cut = choices(await streamed({**asking, "max_tokens": 1}))
    assert ("tool_calls" in cut[1]["delta"], cut[-1]["finish_reason"]) == (True, "length")


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ("hello", {}),
        ("get_weather", {"tool_choice": "none"}),
        ("hello", {"tool_choice": {"type": "function", "function": {"name": "other"}}}),
        ("get_weather", {"tools": [{"type": "function"}, {}, 7]}),
    ],
)
async def test_it_calls_no_tool(said: str, more: dict[str, Any]) -> None:
    assert said_by(await streamed(body(said, **{"tools": [WEATHER], **more}))) == reply(user(said))


async def test_it_speaks_after_a_tools_result() -> None:
    messages = [*user("get_weather"), {"role": "tool", "tool_call_id": "1", "content": "sunny"}]
    assert said_by(await streamed({"messages": messages, "tools": [WEATHER]})) == reply(messages)


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ({"type": "json_object"}, {"answer": "Rome"}),
        ({"type": "json_schema", "json_schema": {"schema": WEATHER["function"]["parameters"]}}, made("Rome")),
        ({"type": "json_schema", "json_schema": {"schema": {"const": 5}}}, 5),
    ],
)
async def test_it_answers_json(wanted: dict[str, Any], written: Any) -> None:
    assert json.loads(said_by(await streamed(body("Where is Rome?", response_format=wanted)))) == written


async def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"type": "object", "properties": {"again": {"$ref": "#"}, "name": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    told = json.loads(said_by(await streamed(body("Rome", response_format=wanted))))
    assert (told["name"], told["again"]["name"]) == ("Rome", "Rome")


async def test_it_does_nothing_else() -> None:
    with pytest.raises(BackendFault, match="embeddings") as caught:
        await ScriptedBackend(0).whole(Ask({"input": "hello"}, "embeddings"))
    assert caught.value.status == 404


REFUSALS = [
    pytest.param({**body(), "model": "gpt"}, 404, "The model `gpt` does not exist.", id="another model"),
    pytest.param({"model": "buddy", "messages": []}, 400, "`messages`", id="no messages"),
    pytest.param({"model": "buddy"}, 400, "`messages`", id="messages left out"),
    pytest.param({"messages": ["hi"]}, 400, "`messages`", id="messages of another kind"),
    pytest.param({"messages": user("hi"), "max_tokens": 0}, 400, "`max_tokens`", id="a limit of nothing"),
    pytest.param({"messages": user("hi"), "max_tokens": "9"}, 400, "`max_tokens`", id="a limit in words"),
    pytest.param({"messages": user("hi"), "n": 0}, 400, "`n`", id="no choice"),
    pytest.param({"prompt": []}, 400, "`prompt`", id="no prompt"),
    pytest.param({"prompt": [1, 2]}, 400, "`prompt`", id="a prompt of tokens"),
]


@pytest.mark.parametrize(("asked", "status", "message"), REFUSALS)
async def test_it_refuses_what_a_server_would(asked: dict[str, Any], status: int, message: str) -> None:
    route = "completions" if "prompt" in asked else "chat/completions"
    with pytest.raises(BackendFault, match=re.escape(message)) as caught:
        await anext(ScriptedBackend(0).stream(Ask(asked, route)))
    assert caught.value.status == status
    async with serving(0) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for stream in (False, True):
            response = await client.post(f"/v1/{route}", json={**asked, "stream": stream})
            assert response.status_code == status
            assert message in response.json()["error"]["message"]


async def test_closing_it_early_ends_it() -> None:
    backend = ScriptedBackend(0)
    async with aclosing(backend.stream(Ask(body()))) as deltas:
        await anext(deltas)
        assert backend.running == 1
    assert backend.running == 0


async def test_it_stands_in_where_no_address_is_given() -> None:
    buddy, server = open_backend(Config()), open_backend(Config(backend_url="http://127.0.0.1:9"))
    assert [model["id"] for model in (await buddy.models())["data"]] == ["buddy"]
    assert "repetition_penalty" in await buddy.knows("buddy")
    assert isinstance(server, Alone)
    await buddy.close()
    await server.close()


@asynccontextmanager
async def serving(delay: float) -> AsyncIterator[str]:
    """The buddy's own server on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app(delay), log_level="warning"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def test_the_server_speaks_to_the_official_client() -> None:
    messages: Any = user("Raccontami una storia")
    async with serving(0) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client:
        whole = await client.chat.completions.create(model="buddy", messages=messages)
        stream = await client.chat.completions.create(
            model="buddy", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert [model.id async for model in client.models.list()] == ["buddy"]
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt", messages=messages)
        several = await client.completions.create(model="buddy", prompt=["안녕", "Hello!"], n=2)
        asking: Any = {"messages": user("get_weather Rome"), "tools": [WEATHER]}
        called = await client.chat.completions.create(model="buddy", **asking)
    assert whole.choices[0].message.content == reply(messages)
    assert whole.choices[0].finish_reason == "stop"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == reply(messages)
    assert whole.usage == chunks[-1].usage
    texts = [(choice.index, choice.text, choice.finish_reason) for choice in several.choices]
    assert texts == [
        (index, reply(user(said)), "stop") for index, said in enumerate(["안녕", "안녕", "Hello!", "Hello!"])
    ]
    calls = called.choices[0].message.tool_calls or []
    functions = [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"]
    assert (functions, called.choices[0].finish_reason) == ([("get_weather", made("Rome"))], "tool_calls")


async def test_the_server_behind_our_own_backend() -> None:
    async with serving(0) as url:
        backend = OpenAIBackend(url)
        asking = body("안녕", stream=True, stream_options={"continuous_usage_stats": True})
        deltas = [delta async for delta in backend.stream(Ask(asking))]
        assert "continuous_usage_stats" in await backend.knows("buddy")
        assert (await backend.models())["data"][0]["id"] == "buddy"
        await backend.close()
    assert said_by(deltas) == reply(user("안녕"))
    assert all("usage" in delta.event for delta in deltas)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_server_stops_when_the_client_leaves(stream: bool) -> None:
    async with serving(0.05) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body(stream=stream)))
        assert await running(client, 1)
        asking.cancel()
        assert await running(client, 0)


async def running(client: httpx.AsyncClient, count: int) -> bool:
    """Whether so many answers run within a second."""
    for _ in range(50):
        if f'vllm:num_requests_running{{model_name="buddy"}} {count}.0' in (await client.get("/metrics")).text:
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("data", [b"{", b"[]", b""])
async def test_the_server_wants_json(data: bytes) -> None:
    async with serving(0) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        response = await client.post("/v1/chat/completions", content=data)
        assert (response.status_code, response.json()["error"]["code"]) == (400, 400)
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/version")).json() == {"version": "buddy"}
