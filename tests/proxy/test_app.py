"""The front door: routes, errors in one shape, health, and what a client that leaves causes."""

import asyncio
import json
import logging

import pytest
from fake_upstream import VLLM, chunk, upstream
from house import assistant, house, shipped, text_of

from proxy.backends.scripted import ScriptedBackend
from proxy.config import BackendEntry
from proxy.live import Reload

BUDDY = ScriptedBackend


def shape(response):
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"], error["param"]


@pytest.mark.parametrize(
    ("content", "status", "code", "param"),
    [
        (b"{", 400, "invalid_json", None),
        (b"[]", 400, "invalid_json", None),
        (b"", 400, "invalid_json", None),
        (b"{}", 400, None, "messages"),
        (b'{"messages": []}', 400, None, "messages"),
        (b'{"messages": ["x"]}', 400, None, "messages[0]"),
        (b'{"messages": [{"role": "user", "content": 3}]}', 400, "invalid_type", "messages[0].content"),
        (b'{"messages": [{"role": "user", "content": null}]}', 400, "invalid_type", "messages[0].content"),
        (b'{"messages": [{"role": "user", "content": "a"}], "stream": "yes"}', 400, "invalid_type", "stream"),
        (b'{"messages": [{"role": "user", "content": "a"}], "temperature": "hot"}', 400, "invalid_type", "temperature"),
        (b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": true}', 400, "invalid_type", "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "a"}], "stream_options": 1}', 400, "invalid_type", "stream_options"),
        (b'{"messages": [{"role": "user", "content": "a"}], "n": 2}', 400, "unsupported_value", "n"),
        (b'{"messages": [{"role": "user", "content": "a"}], "tools": [{}]}', 400, "unsupported_value", "tools[0]"),
        (b'{"messages": [{"role": "user", "content": "a"}], "model": "nobody"}', 404, None, "model"),
        (
            b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400, "unsupported_content",
            "messages[0].content[0]",
        ),
    ],
)  # fmt: skip
async def test_bad_requests_name_the_place(content, status, code, param):
    async with house(BUDDY(0)) as home:
        response = await home.client.post("/v1/chat/completions", content=content)
        assert shape(response) == (status, code, param)


async def test_a_body_too_large_is_refused_whole_or_in_pieces():
    async def pieces():
        for _ in range(3):
            yield b" " * 800

    async with house(BUDDY(0), max_body=2000) as home:
        for content in (b" " * 2400, pieces()):
            assert shape(await home.client.post("/v1/chat/completions", content=content))[:2] == (413, "body_too_large")


@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/responses/resp_1/cancel", "/v1/chat/completions/batch", "/invocations",
     "/inference/v1/generate", "/generate", "/generate_stream", "/tokenize", "/docs", "/", "/v1/chat/completions/"],
)  # fmt: skip
async def test_unknown_routes_are_denied(path):
    async with house(BUDDY(0)) as home:
        for method in ("POST", "GET"):
            response = await home.client.request(method, path, json={"messages": ["x"]}, follow_redirects=False)
            assert shape(response)[:2] == (404, "unknown_route")


async def test_a_wrong_method_is_named():
    async with house(BUDDY(0)) as home:
        assert shape(await home.client.get("/v1/chat/completions"))[:2] == (405, "method_not_allowed")


async def test_health_models_and_metrics():
    async with house(BUDDY(0)) as home:
        assert (await home.client.get("/healthz")).json() == {"status": "alive"}
        ready = await home.client.get("/readyz")
        assert (ready.status_code, ready.json()["policy"]) == (200, "kids-buddy@1")
        assert (await home.client.get("/v1/models")).json()["data"][0]["id"] == "buddy"
        await home.say("I'm tired, good night")
        page = (await home.client.get("/metrics")).text
        assert 'kindrail_turns_total{outcome="ended",policy="kids-buddy@1"} 1.0' in page
        assert 'kindrail_verdicts_total{act="end",mode="enforce",policy="kids-buddy@1",rail="stop"} 1.0' in page


async def test_what_is_no_model_is_not_listed():
    listed = {"/v1/models": (200, b'{"object": "list", "data": ["x", {"id": 3}, null, {"id": "org/m", "root": "r"}]}')}
    async with upstream(failing(500, b""), listed) as fake, house(backend_url=fake.url) as home:
        assert (await home.client.get("/v1/models")).json()["data"] == [{"id": 3}, {"id": "org/m", "root": "r"}]
        assert (await home.client.get("/v1/models/org/m")).json() == {"id": "org/m", "root": "r"}
        for name in ("x", "3", "", "org", "org/m/"):
            assert shape(await home.client.get(f"/v1/models/{name}")) == (404, "model_not_found", "model")


async def test_an_exception_is_logged_without_its_words(caplog, monkeypatch):
    async def breaks():
        raise KeyError("Zebra")

    async with house(BUDDY(0)) as home:
        monkeypatch.setattr(logging.getLogger("uvicorn.error"), "propagate", True)
        monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
        monkeypatch.setattr(home.services.backend, "models", breaks)
        response = await home.client.get("/v1/models")
        assert shape(response) == (500, "internal_error", None)
    assert "unforeseen KeyError at " in caplog.text
    assert "Zebra" not in caplog.text + response.text


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (None, None),
        (Reload(0.5, "accepted"), {"at": "1970-01-01T00:00:00+00:00", "result": "accepted"}),
        (
            Reload(1_800_000_000.0, "refused", "policies/a.yaml:1:2: x"),
            {"at": "2027-01-15T08:00:00+00:00", "result": "refused", "fault": "policies/a.yaml:1:2: x"},
        ),
    ],
)
async def test_ready_tells_the_policies_and_their_last_reload(last, told):
    async with house(BUDDY(0), more=["general"]) as home:
        home.services.reload = last
        ready = await home.client.get("/readyz")
    policies = {f"{name}@1": shipped(name).digest[:12] for name in ("kids-buddy", "general")}
    assert (ready.status_code, ready.json()["policies"]) == (200, policies)
    assert ready.json()["digest"] == policies["kids-buddy@1"]
    assert ready.json().get("reload") == told


async def test_not_ready_without_a_backend():
    async with house(backend_url="http://127.0.0.1:9") as home:
        ready = await home.client.get("/readyz")
        assert (ready.status_code, list(ready.json()["faults"])) == (503, ["backend"])
        assert shape(await home.ask("Hello"))[:2] == (502, "backend_unreachable")
        assert shape(await home.client.get("/v1/models"))[0] == 502


@pytest.mark.parametrize(
    ("states", "status", "code"),
    [
        (["up", "up"], "ready", 200),
        (["up", "down"], "degraded", 200),
        (["up", "down", "unknown"], "degraded", 200),
        (["down", "unknown"], "unready", 503),
        (["down", "down"], "unready", 503),
        (["unknown"], "ready", 200),
        (["up", "unknown"], "ready", 200),
    ],
)
async def test_ready_is_a_house_of_which_some_server_is_up(states, status, code):
    listed = {"/v1/models": (200, b'{"data": [{"id": "m"}]}')}
    async with upstream(failing(500, b""), listed) as fake:
        entries = {
            "up": {"url": fake.url},
            "down": {"url": "http://127.0.0.1:9"},
            "unknown": {"kind": "litellm", "models": ["x/y"]},
        }
        async with house(backends=[BackendEntry.model_validate(entries[state]) for state in states]) as home:
            ready = await home.client.get("/readyz")
    told = ready.json()
    assert (ready.status_code, told["status"]) == (code, status)
    assert told["backends"] == {f"backends[{index}]": state for index, state in enumerate(states)}
    assert told.get("faults") == (None if code == 200 else {"backend": "None of the model servers answers."})


async def test_the_model_server_is_told_which_conversation_it_is():
    buddy = BUDDY(0)
    heard, stream = [], buddy.stream
    buddy.stream = lambda ask: heard.append(ask.session) or stream(ask)
    async with house(buddy) as home:
        for talk in ("tom", "tom", "ann"):
            await home.ask("Hello", headers={"x-kindrail-session": talk})
        reply = (await home.ask("Hello")).json()["choices"][0]["message"]
        await home.ask("Hello", reply, "And then?")
    assert [heard.index(one) for one in heard] == [0, 0, 2, 3, 3]
    assert "" not in heard


async def test_headers_tell_turn_session_and_policy():
    async with house(BUDDY(0)) as home:
        response = await home.ask("Hello", headers={"x-kindrail-session": "tom-1"})
        assert response.headers["x-kindrail-policy"] == "kids-buddy@1"
        assert response.headers["x-kindrail-session"] == "tom-1"
        (entry,) = await home.audit(response.headers["x-kindrail-turn"])
        assert entry.closed["outcome"] == "answered"


@pytest.mark.parametrize("session", ["x" * 201, "caf\u00e9"])
async def test_an_impossible_session_is_refused(session):
    async with house(BUDDY(0)) as home:
        response = await home.ask("Hello", metadata={"session_id": session})
        assert shape(response) == (400, "invalid_session", "x-kindrail-session")


def failing(status, body):
    async def answer(wire):
        await wire.head(status, "application/json")
        await wire.send(body)
        await wire.end()

    return answer


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            b'{"error":{"message":"too long","type":"BadRequestError","param":"input_tokens","code":400}}',
            "too long",
        ),
        (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', "Model is overloaded"),
        (
            500,
            b'{"error":{"message":"engine dead","type":"InternalServerError","param":null,"code":500}}',
            "The model server failed (500).",
        ),
    ],
)
async def test_the_backends_errors_pass_with_status_and_message(status, body, message, stream):
    async with upstream(failing(status, body)) as fake, house(backend_url=fake.url) as home:
        response = await home.ask("Hello", stream=stream)
        assert response.status_code == status
        assert message in response.json()["error"]["message"]


async def test_an_error_in_mid_stream_ends_the_stream_and_flushes_nothing():
    async def answer(wire):
        await wire.head()
        await wire.events(
            chunk("Hello there. "), chunk("My number is 010-12"), '{"error":{"message":"engine dead","code":500}}'
        )
        await wire.end()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url) as home:
        events = await home.stream("Hello")
        assert text_of([event for event in events if "choices" in event]) == "Hello there."
        assert events[-2]["error"]["message"] == "The model server failed (500)."
        assert events[-1] == "[DONE]"
        response = await home.ask("Hello")
        assert (response.status_code, response.json()["error"]["message"]) == (500, "The model server failed (500).")
        outcomes = {entry.closed["outcome"] for entry in await home.audit()}
        assert outcomes == {"backend_failed"}


@pytest.mark.parametrize(("first", "message"), [(False, "sent nothing within"), (True, "fell silent")])
async def test_a_backend_that_hangs(first, message):
    async def answer(wire):
        await wire.head()
        if first:
            await wire.events(chunk("Hello there. "), chunk("And"))
        await wire.until_client_leaves()

    patience = {"first_token_timeout": "200ms", "between_tokens_timeout": "200ms"}
    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url, **patience) as home:
        response = await home.ask("Hello")
        assert shape(response)[:2] == (504, "backend_timeout")
        assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_the_generation(stream):
    left = asyncio.Event()

    async def answer(wire):
        await wire.head()
        await wire.events(chunk("Hello there. "), chunk("And"))
        await wire.until_client_leaves()
        left.set()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url) as home:
        asking = asyncio.create_task(home.stream("Hello") if stream else home.ask("Hello"))
        while not fake.chats:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait_for(left.wait(), 2)
        for _ in range(100):
            entries = await home.audit()
            if entries and entries[0].closed:
                break
            await asyncio.sleep(0.01)
        assert entries[0].closed["outcome"] == "disconnected"


async def test_a_held_stream_is_kept_alive():
    async def answer(wire):
        await wire.head()
        await wire.events(chunk(""), chunk("So"))
        await asyncio.sleep(0.5)
        await wire.events(chunk(" long.", "stop"), "[DONE]")
        await wire.end()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url, keep_alive="100ms") as home:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        response = await home.client.post("/v1/chat/completions", json=body)
        assert response.text.count(": keep-alive\n\n") >= 2
        assert response.text.endswith("data: [DONE]\n\n")


async def test_no_text_reaches_a_log(caplog):
    async def answer(wire):
        await wire.head()
        await wire.events("{not json Zebra", chunk("x"))
        await wire.end()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url) as home:
        await home.ask("Zebra lives at 12 Oak Street")
        await home.client.post("/v1/chat/completions", content=b'{"messages": [Zebra')
        await home.ask(assistant("Zebra"), "x", model="Zebra")
    assert "Zebra" not in caplog.text


async def test_unknown_fields_pass_both_ways():
    async def answer(wire):
        await wire.head()
        await wire.events(
            chunk("Hello", kv_transfer_params={"a": 1}, extra=7),
            json.dumps({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": " there.", "mood": 3}, "finish_reason": "stop", "stop_reason": "x", "odd": [1]}]}),
            json.dumps({"id": "c", "choices": [], "usage": {"total_tokens": 7}, "system_fingerprint": "vllm-1"}),
            "[DONE]",
        )  # fmt: skip
        await wire.end()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url, policy="general") as home:
        whole = (
            await home.ask("Hello", stop=["x"], priority=3, user="u", metadata={"a": "b"}, vllm_xargs={"c": 1})
        ).json()
        asked = fake.chats[0].body
        assert (asked["priority"], asked["user"], asked["metadata"], asked["vllm_xargs"]) == (
            3,
            "u",
            {"a": "b"},
            {"c": 1},
        )
        choice = whole["choices"][0]
        assert (whole["extra"], whole["kv_transfer_params"]) == (7, {"a": 1})
        assert (choice["stop_reason"], choice["odd"], choice["message"]["mood"]) == ("x", [1], 3)
        assert (whole["system_fingerprint"], whole["usage"]) == ("vllm-1", {"total_tokens": 7})
        events = await home.stream("Hello", stream_options={"include_usage": True})
        assert events[0]["extra"] == 7
        assert events[1]["choices"][0]["odd"] == [1]
        assert (events[2]["system_fingerprint"], events[2]["usage"]) == ("vllm-1", {"total_tokens": 7})
