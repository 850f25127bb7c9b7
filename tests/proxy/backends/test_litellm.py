"""The real LiteLLM before a server on this machine: what it is asked, what of its answers is kept, and that it asks
nobody else. It is imported once here, which takes 4 s."""

import asyncio
import json
import logging
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from fake_upstream import DONE, HELLO, chunk, no_head, no_second_event, refuses, says, upstream

from proxy.backends._member import Member
from proxy.backends.fleet import Fleet
from proxy.backends.litellm import LiteLLMBackend
from proxy.turn import Ask, BackendFault

KEY = "sk-thehouses"
SECRET = "the child said pizzicato"
PROVIDERS = ["openai", "hosted_vllm"]
pytestmark = pytest.mark.timeout(120)

_outside: list[str] = []  # addresses beyond this machine that anything in this process tried


def _listen(event, given):
    if event == "socket.connect" and isinstance(given[1], tuple):
        host = given[1][0]
    elif event == "socket.getaddrinfo":
        host = given[0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None):
        _outside.append(str(host))


@pytest.fixture(scope="module", autouse=True)
def nobody_outside_is_asked():
    _outside.clear()
    sys.addaudithook(_listen)  # hooks stay for the life of the process
    yield
    assert _outside == []


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog, capfd):
    caplog.set_level(logging.DEBUG, "LiteLLM")
    yield
    told = "".join([caplog.text, *capfd.readouterr()])
    assert SECRET not in told
    assert KEY not in told
    assert "LiteLLM" not in told


@asynccontextmanager
async def connected(answer, **patience):
    async with upstream(answer) as fake:
        backend = LiteLLMBackend(f"{fake.url}/v1", KEY, **patience)
        try:
            yield backend, fake
        finally:
            await backend.close()


def ask(model="openai/tiny", **more):
    return Ask({"model": model, "messages": [{"role": "user", "content": SECRET}], "stream": True} | more)


async def collect(backend, question=None):
    return [delta async for delta in backend.stream(question or ask())]


async def fault_of(work):
    with pytest.raises(BackendFault) as caught:
        await work
    assert "pizzicato" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_events_are_openais(provider):
    async with connected(says(*HELLO, DONE)) as (backend, _):
        deltas = await collect(backend, ask(f"{provider}/tiny"))
    assert [json.loads(delta.raw) for delta in deltas] == [delta.event for delta in deltas]
    first = deltas[0].event
    assert {name: first[name] for name in ("id", "object", "model")} == {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny",
    }  # fmt: skip
    assert [delta.event["choices"] for delta in deltas] == [
        [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "lo"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        [],
    ]
    assert [delta.event["usage"]["completion_tokens"] for delta in deltas if "usage" in delta.event] == [2]
    assert {name for delta in deltas for name in delta.event} <= {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
    }


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_client_cannot_reach_litellms_own_settings(provider):
    evil = {
        "api_base": "http://evil.example", "base_url": "http://evil.example", "api_key": "sk-other", "mock_response": "hi",
        "custom_llm_provider": "anthropic", "extra_headers": {"x-evil": "1"}, "headers": {"x-evil": "1"},
        "fallbacks": [{"model": "openai/other"}], "metadata": {"a": "b"}, "extra_body": {"evil": 1}, "num_retries": 3,
        "timeout": 0, "organization": "evil", "stream_options": {"continuous_usage_stats": True},
    }  # fmt: skip
    async with connected(says(*HELLO, DONE)) as (backend, fake):
        question = ask(f"{provider}/tiny", temperature=0.5, **evil)
        await collect(backend, replace(question, headers={"traceparent": "t"}))
    (asked,) = fake.chats
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["traceparent"] == "t"
    assert "evil" not in str(asked)
    assert asked.body == {
        "model": "tiny", "messages": [{"role": "user", "content": SECRET}], "stream": True, "temperature": 0.5,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


async def test_a_tool_call_comes_as_it_is():
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"city": "Roma"}'}}
    chunks = [
        chunk(choices=[{"index": 0, "delta": {"tool_calls": [one]}, "finish_reason": None}]) for one in (call, rest)
    ]
    end = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with connected(says(*chunks, end, DONE)) as (backend, fake):
        deltas = await collect(backend, ask(tools=tools, tool_choice="auto"))
    assert fake.chats[0].body["tools"] == tools
    choices = [choice for delta in deltas for choice in delta.event["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Roma"}'
    assert (calls[0]["id"], calls[0]["type"], calls[0]["function"]["name"]) == ("c1", "function", "weather")
    assert choices[-1]["finish_reason"] == "tool_calls"


ERROR = json.dumps({"error": {"message": "top_p is wrong", "type": "BadRequestError", "param": "top_p", "code": 400}})
LONG = json.dumps(
    {"error": {"message": "maximum context length is 1024 tokens", "type": "BadRequestError", "code": 400}}
)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, ERROR, (400, None, "top_p is wrong")),
        (400, LONG, (400, None, "maximum context length is 1024 tokens")),
        (400, f"no: {KEY}", (400, None, "")),
        (401, '{"error":"Unauthorized"}', (502, "backend_unauthorized", "refused Kindrail's key")),
        (403, "{}", (502, "backend_unauthorized", "refused Kindrail's key")),
        (404, '{"error":{"message":"no such model","code":404}}', (404, None, "no such model")),
        (422, '{"error":{"message":"too odd"}}', (422, None, "too odd")),
        (429, '{"error":{"message":"slow down"}}', (429, None, "slow down")),
        (500, '{"error":{"message":"oops"}}', (500, None, "The model server failed (500).")),
        (503, "", (503, None, "The model server failed (503).")),
    ],
)
async def test_a_fault_has_the_providers_status_and_words(provider, status, body, expected):
    async with connected(refuses(status, body.encode())) as (backend, fake):
        fault = await fault_of(collect(backend, ask(f"{provider}/tiny")))
    assert (fault.status, fault.error["code"]) == expected[:2]
    assert expected[2] in fault.error["message"]
    assert "litellm" not in fault.error["message"].lower()
    assert len(fake.chats) == 1  # it retries nothing


async def test_the_time_to_come_again_is_told():
    async def busy(wire):
        await wire.head(429, "application/json", "retry-after: 7")
        await wire.send(b'{"error":{"message":"slow down"}}')
        await wire.end()

    async with connected(busy) as (backend, _):
        assert (await fault_of(collect(backend))).headers == {"retry-after": "7"}


async def test_what_cannot_be_reached_is_a_fault():
    backend = LiteLLMBackend("http://127.0.0.1:9/v1", KEY)
    assert (await fault_of(collect(backend))).status in (500, 502)
    await backend.close()


@pytest.mark.parametrize("model", ["nobody-knows-this", "nobody/knows-this"])
async def test_a_model_of_no_provider_is_told_with_the_remedy(model):
    backend = LiteLLMBackend(api_key=KEY)
    embedded = backend.whole(Ask({"model": model, "input": ["Hi"]}, "embeddings"))
    for work in (collect(backend, ask(model)), embedded):
        fault = await fault_of(work)
        message = "LiteLLM knows no provider for this model: write provider/model, or `rename` it"
        assert (fault.status, fault.error["message"], fault.error["param"]) == (400, message, "model")
    await backend.close()


@pytest.mark.parametrize(("answer", "told"), [(no_head, []), (no_second_event, ["Hel"])])
async def test_patience_ends(answer, told):
    heard = []
    async with connected(answer, first_event=0.3, between_events=0.2) as (backend, _):
        deltas = backend.stream(ask())
        fault = None
        while fault is None:
            try:
                heard += [choice["delta"].get("content") for choice in (await anext(deltas)).event["choices"]]
            except BackendFault as raised:
                fault = raised
    assert (fault.status, fault.error["code"], heard) == (504, "backend_timeout", told)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_error_within_the_stream_is_a_fault(provider):
    broken = '{"error":{"message":"EngineCore died","type":"InternalServerError","param":null,"code":500}}'
    async with connected(says(chunk("Hel"), broken, DONE)) as (backend, _):
        deltas = backend.stream(ask(f"{provider}/tiny"))
        await anext(deltas)
        assert (await fault_of(anext(deltas))).status >= 500


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_closing_the_answer_closes_the_connection(provider):
    left = asyncio.Event()

    async def endless(wire):
        await wire.head()
        await wire.events(chunk("Hel"))
        await wire.until_client_leaves()
        left.set()

    async with connected(endless) as (backend, _):
        async with aclosing(backend.stream(ask(f"{provider}/tiny"))) as deltas:
            await anext(deltas)
        async with asyncio.timeout(5):
            await left.wait()


async def test_text_completions_are_streamed():
    def text(said, finish=None):
        choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": finish}
        return json.dumps({"id": "cmpl-1", "object": "text_completion", "model": "tiny", "choices": [choice]})

    async with connected(says(text("Hel"), text("lo", "stop"), DONE)) as (backend, fake):
        deltas = await collect(
            backend, Ask({"model": "text-completion-openai/tiny", "prompt": "Hi", "stream": True}, "completions")
        )
    assert (fake.chats[0].path, fake.chats[0].body["prompt"]) == ("/v1/completions", "Hi")
    choices = [choice for delta in deltas for choice in delta.event["choices"]]
    assert "".join(choice.get("text", "") for choice in choices) == "Hello"
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_embeddings(provider):
    found = {"object": "list", "model": "tiny", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}}  # fmt: skip
    async with connected(refuses(200, json.dumps(found).encode())) as (backend, fake):
        answer = await backend.whole(Ask({"model": f"{provider}/tiny", "input": ["Hi"], "api_base": "x"}, "embeddings"))
    assert fake.chats[0].path == "/v1/embeddings"
    assert (answer["object"], answer["data"]) == ("list", found["data"])
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]) == (2, 2)
    assert set(answer) <= {"object", "model", "data", "usage"}


async def test_a_fleet_goes_on_to_it():
    async with connected(says(*HELLO, DONE)) as (backend, fake), connected(refuses(503, b"")) as (broken, _):
        members = [
            Member("backends[0]", broken, ("app",), {"app": "hosted_vllm/tiny"}),
            Member("backends[1]", backend, ("app",), {"app": "openai/tiny"}),
        ]
        many = Fleet(members)
        deltas = await collect(many, replace(ask("app"), session="2"))  # the first one's
        await many.close()
    assert len(deltas) == 4
    assert fake.chats[0].body["model"] == "tiny"


async def test_without_usage_nothing_is_fetched_to_count_with():
    async with connected(says(chunk("Hel"), chunk("lo", "stop"), DONE)) as (backend, _):
        for model in ("meta-llama/Llama-2-7b", "gpt-4o", "command-r", "claude-sonnet-4-5"):
            assert await collect(backend, ask(f"hosted_vllm/{model}"))


async def test_it_knows_nothing_beyond_openais_and_lists_what_it_was_told():
    backend = LiteLLMBackend(names=["anthropic/claude"])
    assert await backend.knows("anthropic/claude") == frozenset()
    assert [model["id"] for model in (await backend.models())["data"]] == ["anthropic/claude"]
    await backend.close()


def test_it_is_not_imported_before_it_is_asked():
    look = (
        "import sys, proxy.backends; print([name for name in ('litellm', 'openai', 'tiktoken') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
