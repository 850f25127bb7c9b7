"""Every way in times every way out: no text of the model's leaves, and none of the user's arrives, but through the line."""

import itertools
import json
import shutil

import pytest
from fake_upstream import VLLM, upstream
from house import house

from proxy.config import SHIPPED_POLICIES
from proxy.policy.load import load_policy

POLICY = """
policy: matrix
version: 1
about: the word zebra never leaves, and an e-mail address never arrives
audience: adult
languages: [en]
reasoning: judge
tools: ["get_*"]
say: {sorry: {en: Sorry.}, fallback: {en: Let us talk of something else.}, other: {en: Something else.}}
phrases: {zebra: {en: [zebra]}}
rails:
  - {id: zebra, rail: phrases, why: it is never named, assistant_says: zebra, say: other}
  - {id: private, rail: pii, why: the model need not know, entities: [EMAIL_ADDRESS]}
"""
ASKED = "My address is zoe.baker@example.com, tell me about it"
FUNCTION = {"name": "get_animal", "parameters": {"type": "object", "properties": {"name": {"type": "string"}}}}
ARGUMENTS = json.dumps({"name": "a zebra"})


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    path = tmp_path_factory.mktemp("policies") / "matrix.yaml"
    shutil.copy(SHIPPED_POLICIES / "recognizers.yaml", path.parent)
    path.write_text(POLICY, encoding="utf-8")
    return load_policy(path)


def chunks(n):
    """The word in every place of an event in which a server could put it, one character at a time where it is text."""
    for index in range(n):
        yield {"index": index, "delta": {"role": "assistant", "content": ""}}
    for character, index in itertools.product("A zebra. Yes, a zebra.", range(n)):
        told = {"content": [{"token": character, "logprob": -1, "bytes": None, "top_logprobs": [{"token": "zebra"}]}]}
        delta = {"content": character, "reasoning_content": character, "refusal": character, "thinking": "a zebra"}
        yield {"index": index, "delta": delta, "logprobs": told, "text": "a zebra", "message": {"content": "a zebra"}}
    for index in range(n):
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "get_animal", "arguments": ""}}
        yield {"index": index, "delta": {"tool_calls": [call]}}
        for character in ARGUMENTS:
            yield {"index": index, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": character}}]}}
        other = {"index": 1, "id": "a zebra", "type": "function", "function": {"name": "a zebra", "arguments": "{}"}}
        yield {"index": index, "delta": {"tool_calls": [other], "function_call": {"arguments": "a zebra"}}}
        yield {"index": index, "delta": {}, "finish_reason": "stop", "stop_reason": "a zebra"}
    yield {"index": n, "delta": {"content": "a zebra"}, "finish_reason": "stop"}  # a choice that nobody asked for


def texts(n):
    for character, index in itertools.product("A zebra. Yes, a zebra.", range(n)):
        told = {"tokens": [character], "token_logprobs": [-1], "top_logprobs": [{"a zebra": -1}], "text_offset": [0]}
        yield {
            "index": index,
            "text": character,
            "logprobs": told,
            "delta": {"content": "a zebra"},
            "finish_reason": None,
        }
    for index in range(n):
        yield {"index": index, "text": "", "finish_reason": "stop", "stop_reason": "a zebra"}


async def answer(wire):
    """A server with all the doors of vLLM, TGI and others, each of which names the animal."""
    path, body = wire.asked.path, wire.asked.body
    if path == "/v1/embeddings":
        one = {"object": "embedding", "index": 0, "embedding": [0.5], "text": "a zebra"}
        return await whole(wire, {"object": "list", "data": [one], "model": "m", "note": "a zebra", "usage": {"prompt_tokens": 1, "total_tokens": 1}})  # fmt: skip
    if path not in ("/v1/chat/completions", "/v1/completions"):
        return await whole(wire, {"text": "a zebra", "generated_text": "a zebra", "choices": [{"message": {"content": "a zebra"}}]})  # fmt: skip
    n = body.get("n") or 1
    parts = (
        chunks(n)
        if path == "/v1/chat/completions"
        else texts(n * len(body["prompt"]) if isinstance(body["prompt"], list) else n)
    )
    kind = "chat.completion.chunk" if path == "/v1/chat/completions" else "text_completion"
    await wire.head()
    for part in parts:
        event = {
            "id": "x",
            "object": kind,
            "model": "m",
            "choices": [part],
            "prompt_text": "a zebra",
            "note": "a zebra",
        }
        await wire.events(json.dumps(event))
    await wire.events("[DONE]")
    await wire.end()


async def whole(wire, body):
    await wire.head(200, "application/json")
    await wire.send(json.dumps(body).encode())
    await wire.end()


def bodies(route, stream, n, tools, json_mode):
    talk = [{"role": "user", "content": ASKED}]
    common = {"model": "m", "stream": stream}
    shape = {"response_format": {"type": "json_object"}} if json_mode else {}
    offered = [{"type": "function", "function": FUNCTION}]
    forced = {"tool_choice": "required"} if tools == "forced" else {}
    match route:
        case "/v1/chat/completions":
            tools = {"tools": offered, **forced} if tools else {}
            return {**common, "messages": talk, "n": n, "logprobs": True, **shape, **tools}
        case "/v1/completions":
            return {**common, "prompt": ASKED if n == 1 else [ASKED, ASKED], "logprobs": 0}
        case "/v1/responses":
            shape = {"text": {"format": {"type": "json_object"}}} if json_mode else {}
            tools = {"tools": [{"type": "function", **FUNCTION}], **forced} if tools else {}
            return {**common, "input": ASKED, **shape, **tools}
        case "/v1/embeddings":
            return {"model": "m", "input": ASKED if n == 1 else [ASKED, ASKED]}


SERVED = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]


@pytest.mark.parametrize("route", SERVED)
async def test_no_text_leaves_or_arrives_without_the_line(route, policy):
    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url, policy=policy) as home:
        matrix = itertools.product([False, True], [1, 2], ["", "offered", "forced"], [False, True])
        for stream, n, tools, json_mode in matrix:
            body = bodies(route, stream, n, tools, json_mode)
            response = await home.client.post(route, json=body)
            told = response.text
            assert response.status_code == 200, (body, told)
            assert "zebra" not in said(told), told
            assert "zebra" not in told.lower(), (body, told)
        assert len(fake.chats) == 24
        assert "zoe.baker" not in json.dumps([asked.body for asked in fake.chats])


def said(told):
    """Everything that an answer says, put together again from its events."""
    events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    return "".join(strings(events or json.loads(told))).lower()


def strings(value):
    if isinstance(value, str):
        yield value if len(value) < 3 else f" {value} "
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(one)


DENIED = [
    "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions/batch", "/v1/chat/completions/render",
    "/v1/chat/completions/derender", "/inference/v1/generate", "/inference", "/invocations", "/generate", "/generate_stream", "/",
    "/v1/generate", "/generative_scoring", "/v1/systemone", "/tokenize", "/detokenize", "/v1/batches", "/v1/files", "/v1/score",
    "/v1/rerank", "/rerank", "/pooling", "/classify", "/v1/moderations", "/v1/audio/speech", "/v1/audio/transcriptions",
    "/v1/audio/translations", "/v1/images/generations", "/v1/images/edits", "/v1/videos", "/v1/assistants", "/v1/threads",
    "/v1/threads/runs", "/v1/realtime", "/v1/realtime/sessions", "/v1/conversations", "/v1/responses/resp_x/cancel",
    "/v1/responses/compact", "/v1/evals", "/v1/fine_tuning/jobs", "/v1/vector_stores", "/v1/containers", "/v1/chatkit/sessions",
    "/v1/load_lora_adapter", "/reset_prefix_cache", "/sleep", "/wake_up", "/start_profile", "/info", "/load", "/version", "/ping",
    "/openapi.json", "/docs", "/redoc", "/server_info", "/api/generate", "/api/chat", "/chat/completions", "/completions",
    "/responses", "/embeddings", "/v1", "/v1/", "/v1/chat/completions/", "/v1/chat/completions/x", "/V1/chat/completions",
    "/v1/Chat/Completions", "//v1/chat/completions", "/v1//chat/completions", "/v1/chat%2Fcompletions/x", "/v1/engines/m/completions",
    "/openai/deployments/m/chat/completions", "/v1beta/models/m:generateContent", "/console", "/admin",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_no_other_door_leads_to_the_model(method, policy):
    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url, policy=policy) as home:
        for route in DENIED:
            body = {
                **bodies("/v1/chat/completions", False, 1, "", False),
                "prompt": ASKED,
                "input": ASKED,
                "inputs": ASKED,
            }
            response = await home.client.request(method, route, json=body)
            assert response.status_code in (404, 405), route
            if method != "HEAD":
                error = response.json()["error"]
                assert error["type"] == "invalid_request_error"
                assert set(error) == {"message", "type", "param", "code"}
        assert fake.asked == []


async def test_the_served_doors_take_their_own_methods_alone(policy):
    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url, policy=policy) as home:
        for route, method in itertools.product(SERVED, ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]):
            assert (await home.client.request(method, route)).status_code == 405, (route, method)
        assert fake.asked == []
