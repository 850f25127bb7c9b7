"""TGI behind the backend: requests that it would refuse, answers of its own shape, and its recordings where present."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson
import pytest
from connected import collect, connected, fault_of
from fake_upstream import DONE, chunk, refuses, says
from tgi_server import GETS, Event, tgi

from proxy.backends._tgi import Answer, adapted
from proxy.backends.openai import OpenAIBackend
from proxy.turn import Ask, BackendFault, Delta

SHARED = Path(os.environ.get("KINDRAIL_SHARED") or Path(__file__).parents[4] / "shared")
RECORDINGS = SHARED / "wire" / "tgi"
recorded = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="TGI's own recordings are not part of the project")

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
JSON = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}


def chat(said: str = "one two three", **more: Any) -> Event:
    return {"model": "m", "messages": [{"role": "user", "content": said}], "stream": True, **more}


def completion(prompt: str | list[str] = "one two three", **more: Any) -> Event:
    return {"model": "m", "prompt": prompt, "stream": True, **more}


@asynccontextmanager
async def behind(key: str = "key", kind: Literal["auto", "openai"] = "auto") -> AsyncIterator[OpenAIBackend]:
    async with tgi() as fake:
        backend = OpenAIBackend(fake.url, key, kind=kind)
        try:
            yield backend
        finally:
            await backend.close()


async def events_of(body: Event, route: str = "chat/completions") -> list[Event]:
    async with behind() as backend:
        return [delta.event for delta in await collect(backend, body, route)]


def choices(events: list[Event]) -> list[Event]:
    return [choice for event in events for choice in event["choices"]]


# -- the request -------------------------------------------------------------------------------------------------------

KEPT = {"messages": [{"role": "user", "content": "x"}]}
ADAPTED = [
    pytest.param({"top_p": 1}, {}, id="top_p of 1"),
    pytest.param({"top_p": 0.9}, {"top_p": 0.9}, id="top_p below 1"),
    pytest.param({"stop": "x"}, {"stop": ["x"]}, id="stop as a string"),
    pytest.param({"logit_bias": {"5": 1}}, {}, id="logit_bias as a mapping"),
    pytest.param({"max_completion_tokens": 5, "max_tokens": 7}, {"max_tokens": 5}, id="two limits"),
    pytest.param(
        {"max_completion_tokens": 5, "max_tokens": None}, {"max_tokens": 5}, id="one limit under its new name"
    ),
    pytest.param({"max_completion_tokens": 7, "max_tokens": 5}, {"max_tokens": 5}, id="two limits, the other way"),
    pytest.param({"top_logprobs": 20, "logprobs": True}, {"top_logprobs": 5, "logprobs": True}, id="top_logprobs"),
    pytest.param({"stream": None, "seed": None}, {}, id="nulls"),
    pytest.param({"temperature": 0, "n": 1}, {"temperature": 0, "n": 1}, id="what it takes"),
    pytest.param(
        {"store": False, "metadata": {"a": "b"}}, {"store": False, "metadata": {"a": "b"}}, id="what it skips"
    ),
    pytest.param({"presence_penalty": 0}, {}, id="no penalty is not one of 2"),
    pytest.param({"presence_penalty": 0.5}, {"presence_penalty": 0.5}, id="presence_penalty"),
    pytest.param(
        {"repetition_penalty": 1.5, "presence_penalty": 1}, {"presence_penalty": -0.5}, id="repetition_penalty"
    ),
    pytest.param({"response_format": {"type": "text"}}, {}, id="plain text"),
    pytest.param({"response_format": JSON}, {"response_format": {"type": "json", "value": SCHEMA}}, id="json_schema"),
    pytest.param(
        {"response_format": {"type": "regex", "value": "a+"}},
        {"response_format": {"type": "regex", "value": "a+"}},
        id="its own form",
    ),
]


@pytest.mark.parametrize(("given", "expected"), ADAPTED)
def test_a_request_is_put_into_its_form(given: Event, expected: Event) -> None:
    body = {**KEPT, **given}
    before = json.dumps(body)
    assert adapted(Ask(body)) == {**KEPT, **expected}
    assert json.dumps(body) == before


@pytest.mark.parametrize("content", [None, ""])
def test_empty_content_does_not_hide_tool_calls(content: str | None) -> None:
    called = {"role": "assistant", "content": content, "tool_calls": [{"id": "0"}]}
    both = {**called, "content": "Well"}
    silent = {"role": "assistant", "content": content}
    body = adapted(Ask({"messages": [called, both, silent]}))
    assert body["messages"] == [{"role": "assistant", "tool_calls": [{"id": "0"}]}, both, silent]


def test_a_completion_has_a_repetition_penalty_of_its_own() -> None:
    asked = completion(repetition_penalty=1.5, presence_penalty=0)
    assert adapted(Ask(asked, "completions")) == asked


REFUSED = [
    pytest.param("chat/completions", chat(n=2), "n", id="several choices"),
    pytest.param("chat/completions", chat(stop=list("abcde")), "stop", id="five stops"),
    pytest.param("chat/completions", chat(response_format={"type": "json_object"}), "response_format", id="any JSON"),
    pytest.param("completions", completion(suffix="end"), "suffix", id="a suffix"),
    pytest.param("completions", completion(list("abcde")), "prompt", id="five prompts"),
]


@pytest.mark.parametrize(("route", "body", "param"), REFUSED)
async def test_what_it_cannot_do_is_refused_by_name(route: str, body: Event, param: str) -> None:
    async with behind() as backend:
        fault = await fault_of(collect(backend, body, route))
    assert (fault.status, fault.error["type"], fault.error["param"]) == (400, "invalid_request_error", param)
    assert f"`{param}`" in str(fault)


async def test_the_server_takes_what_an_app_sends() -> None:
    wide = {"top_p": 1, "stop": "nine", "logit_bias": {"5": 1}, "max_completion_tokens": 9, "max_tokens": 8}
    more = {"presence_penalty": 0, "top_logprobs": 9, "response_format": JSON, "user": "u", "seed": None}
    answered = choices(await events_of(chat(**wide, **more)))
    assert "".join(choice["delta"]["content"] for choice in answered) == "one two three"
    async with behind(kind="openai") as backend:  # nothing adapted: the fake is as strict as TGI
        for name, value in (wide | {"response_format": JSON, "top_logprobs": 9}).items():
            if name not in ("max_completion_tokens", "max_tokens"):
                assert (await fault_of(collect(backend, chat(**{name: value})))).status == 422, name
        both = chat(max_completion_tokens=9, max_tokens=8)
        assert (await fault_of(collect(backend, both))).status == 422


# -- the answer --------------------------------------------------------------------------------------------------------


async def test_an_event_with_nothing_to_put_right_keeps_its_bytes() -> None:
    async with tgi() as fake, httpx.AsyncClient(trust_env=False) as client:
        backend = OpenAIBackend(fake.url)
        deltas = await collect(backend, chat(stream_options={"include_usage": True}))
        direct = await client.post(f"{fake.url}/v1/chat/completions", json=chat(stream_options={"include_usage": True}))
        await backend.close()
    lines = [line.removeprefix(b"data:") for line in direct.content.split(b"\n") if line.startswith(b"data:")]
    assert [delta.raw for delta in deltas] == lines[:-1]
    assert deltas[-1].event["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@pytest.mark.parametrize(
    ("more", "reason"), [({"stop": "two"}, "stop"), ({"max_tokens": 2}, "length"), ({}, "stop")], ids=str
)
@pytest.mark.parametrize("route", ["chat/completions", "completions"])
async def test_it_ends_for_openais_reasons(route: str, more: Event, reason: str) -> None:
    body = chat(**more) if route == "chat/completions" else completion(**more)
    reasons = [choice["finish_reason"] for choice in choices(await events_of(body, route))]
    assert reasons == [None] * (len(reasons) - 1) + [reason]


@pytest.mark.parametrize("counted", [False, True])
async def test_a_tool_call_ends_and_is_named_once(counted: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if counted else {}
    events = await events_of(chat("weather in Rome", tools=[WEATHER], **options))
    told = choices(events)
    first, *others = [call for choice in told[:-1] for call in choice["delta"]["tool_calls"]]
    assert first == {"index": 0, "id": "0", "type": "function", "function": {"name": "weather", "arguments": "{"}}
    assert all(call.keys() == {"index", "function"} and call["function"].keys() == {"arguments"} for call in others)
    assert "".join(call["function"]["arguments"] for call in (first, *others)) == '{"city": "Rome"}'
    assert [choice["finish_reason"] for choice in told] == [None] * (len(told) - 1) + ["tool_calls"]
    assert [bool(event.get("usage")) for event in events] == [False] * len(told) + [True] * counted


async def test_a_tool_that_is_not_needed() -> None:
    told = choices(await events_of(chat("hello there", tools=[WEATHER])))
    assert told[-1]["finish_reason"] == "stop"


async def test_completions_of_several_prompts_are_counted_together_at_the_end() -> None:
    events = await events_of(completion(["one two", "three"]), "completions")
    *told, last = events
    assert not any(event.get("usage") for event in told)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    assert last["object"] == "text_completion"
    texts = ["".join(one["text"] for one in choices(told) if one["index"] == index) for index in (0, 1)]
    assert texts == ["one two", "three"]


def through(*events: Event) -> list[Event]:
    answer = Answer()
    deltas = [told for event in events for told in answer.events(Delta(orjson.dumps(event), event))]
    told = [*deltas, *answer.end()]
    assert all(orjson.loads(delta.raw) == delta.event for delta in told)
    return [delta.event for delta in told]


def piece(call: Any, finish: str | None = None, index: Any = 0) -> Event:
    return {"choices": [{"index": index, "delta": {"tool_calls": call}, "finish_reason": finish}]}


CALL = {"index": 0, "id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("event", "reasons"),
    [
        (piece([CALL], "stop"), ["tool_calls"]),
        (piece([CALL], "eos_token"), ["tool_calls"]),
        (piece([CALL], "length"), ["length"]),
        (piece([CALL]), [None, "tool_calls"]),
        (piece(CALL), [None, "tool_calls"]),
        (piece(None, "stop"), ["stop"]),
    ],
)
def test_how_a_tool_call_ends(event: Event, reasons: list[str | None]) -> None:
    assert [choice["finish_reason"] for choice in choices(through(event))] == reasons


def test_an_event_without_choices_is_not_yet_the_end() -> None:
    told = through(piece([CALL]), {"choices": []}, piece([CALL]), {"choices": [], "usage": {"total_tokens": 1}})
    assert [len(event["choices"]) for event in told] == [1, 0, 1, 1, 0]
    assert [choice["finish_reason"] for choice in choices(told)] == [None, None, "tool_calls"]


def test_choices_out_of_order_and_nulls() -> None:
    described = {**CALL, "function": {**CALL["function"], "description": None}}
    told = choices(through(piece([described], index=1), piece([CALL], index=0), piece(None, "stop", index=1)))
    assert [choice["index"] for choice in told] == [1, 0, 1, 0]
    assert [choice["finish_reason"] for choice in told] == [None, None, "tool_calls", "tool_calls"]
    assert told[0]["delta"]["tool_calls"] == [CALL]


def test_bytes_are_kept_however_they_are_written() -> None:
    raw = b'{ "choices" : [{"index": 0, "delta": {"content": "e"}, "finish_reason": null}] }'
    delta = Delta(raw, orjson.loads(raw))
    assert list(Answer().events(delta)) == [delta]


def test_a_name_that_comes_twice_is_told_once() -> None:
    told = choices(through(piece([CALL]), piece([CALL])))
    assert told[1]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": "{}"}}]


@pytest.mark.parametrize(
    "event",
    [
        *map(piece, ("pizzicato", ["pizzicato"], 7, [{"function": "pizzicato"}], [{"index": ["pizzicato"]}])),
        *(piece(None, index=index) for index in ([1], {}, "pizzicato", None, True)),
    ],
)
def test_tool_calls_and_indices_that_are_none(event: Event) -> None:
    with pytest.raises(BackendFault) as caught:
        through(event)
    assert caught.value.error["code"] == "backend_bad_answer"
    assert "pizzicato" not in str(caught.value)


@pytest.mark.parametrize("usage", ["pizzicato", [1], {"total_tokens": {"a": 1}}, {"total_tokens": "pizzicato"}, 3])
def test_usage_that_is_none_is_not_counted(usage: Any) -> None:
    told = through({**piece(None, "stop"), "usage": usage}, {**piece(None, "stop"), "usage": {"total_tokens": 2}})
    assert [event.get("usage") for event in told[:2]] == [None, None]
    assert told[2]["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 2}


# -- errors ------------------------------------------------------------------------------------------------------------


async def test_a_streamed_error_is_an_event_of_a_stream_that_began_well() -> None:
    async with behind() as backend:
        fault = await fault_of(collect(backend, chat(max_tokens=99)))
    assert fault.status == 422
    assert "max_new_tokens" in str(fault)


async def test_a_key_that_it_does_not_know() -> None:
    async with behind("wrong") as backend:
        fault = await fault_of(collect(backend, chat()))
    assert (fault.status, fault.error["code"]) == (502, "backend_unauthorized")


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (429, b'{"error":"Model is overloaded","error_type":"overloaded"}', "Model is overloaded", "overloaded"),
        (424, b'{"error":"pizzicato","error_type":"generation"}', "The model server failed (424).", "generation"),
        (500, b'{"error":"Incomplete generation"}', "The model server failed (500).", "upstream_error"),
        (
            422,
            b'{"error":"Tool error: Failed to parse generated text: EOF \\"pizzicato\\"","error_type":"tool_error"}',
            "Tool error: Failed to parse generated text",
            "tool_error",
        ),
        (
            422,
            b'messages[0].role: invalid type: string "the pizzicato", expected a map at line 1',
            "The model server answered 422. messages[0].role: invalid type: string (...), expected a map at line 1",
            "upstream_error",
        ),
    ],
)
async def test_its_errors(status: int, body: bytes, message: str, kind: str) -> None:
    async with connected(refuses(status, body), GETS) as (backend, _):
        fault = await fault_of(collect(backend, chat()))
    assert (fault.status, str(fault), fault.error["type"], fault.headers) == (status, message, kind, {})


@pytest.mark.parametrize(
    ("payloads", "complete"),
    [
        ((json.dumps(piece([CALL])), DONE), True),
        ((json.dumps(piece([CALL])),), False),
        ((chunk("a", "eos_token"),), True),
        ((chunk("a"), chunk(choices=[], usage={"completion_tokens": 1})), False),
    ],
)
async def test_which_streams_are_complete(payloads: tuple[str, ...], complete: bool) -> None:
    async with connected(says(*payloads), kind="tgi") as (backend, fake):
        if complete:
            assert choices([delta.event for delta in await collect(backend, chat())])[-1]["finish_reason"]
        else:
            assert (await fault_of(collect(backend, chat()))).error["code"] == "backend_closed"
    assert fake.count("/info") == 0


# -- the fake against TGI's own recordings -----------------------------------------------------------------------------


def recording(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))["body"]


def shape(value: Any) -> Any:
    """Key sets alone; null, which clients add, is nothing."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items() if inner is not None}
    return [shape(inner) for inner in value[:1]] if isinstance(value, list) else type(value).__name__


async def direct(route: str, body: Event) -> Any:
    """What the fake itself answers; a stream's events."""
    async with tgi() as fake, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{fake.url}/v1/{route}", json=body)
    if not body["stream"]:
        return response.json()
    data = [line[5:] for line in response.text.split("\n") if line.startswith("data:")]
    assert data.pop() == DONE
    return [json.loads(line) for line in data]


USAGE = {"stream_options": {"include_usage": True}}
CALLING = chat("weather in Rome", tools=[WEATHER])
SAME_SHAPE = [
    ("test_chat_hfhub_nousage", "chat/completions", chat()),
    ("test_chat_hfhub_usage", "chat/completions", chat(**USAGE)),
    ("test_chat_openai_usage", "chat/completions", chat(**USAGE)),
    ("test_json_schema_stream", "chat/completions", chat()),
    ("test_flash_llama_grammar_tools_choice_stream", "chat/completions", CALLING),
    ("test_flash_llama_grammar_tools_auto_nostream", "chat/completions", {**CALLING, "stream": False}),
    ("test_flash_llama_tool_reply_response", "chat/completions", chat(stream=False)),
    ("test_json_schema_basic", "chat/completions", chat(stream=False)),
    ("chat_llama__simple", "chat/completions", chat(stream=False, max_tokens=2)),
    ("test_flash_llama_completion_many_prompts", "completions", completion(list("abcd"), stream=False, max_tokens=1)),
    ("test_flash_llama_completion_many_prompts_stream", "completions", completion(["a b"] * 4, max_tokens=2)),
    ("test_flash_llama_completion_single_prompt", "completions", completion(stream=False, max_tokens=2)),
]


@recorded
@pytest.mark.parametrize(("name", "route", "body"), SAME_SHAPE, ids=[row[0] for row in SAME_SHAPE])
async def test_the_fake_has_the_shapes_of_the_recordings(name: str, route: str, body: Event) -> None:
    real, fake = recording(name), await direct(route, body)
    if not body["stream"]:
        assert shape(fake) == shape(real)
        assert {one["finish_reason"] for one in fake["choices"]} == {one["finish_reason"] for one in real["choices"]}
        return
    for index in (0, 1, -1):
        assert shape(fake[index]) == shape(real[index]), index
    assert {one["finish_reason"] for one in choices(fake)} == {one["finish_reason"] for one in choices(real)}
    assert all(one["index"] == other["index"] for one, other in zip(choices(fake), choices(real), strict=False))


@recorded
@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*_stream*.json")), ids=lambda path: path.stem)
def test_every_recorded_stream_comes_out_in_openais_shape(path: Path) -> None:
    recorded_events = recording(path.stem)
    events = through(*(recorded_events if isinstance(recorded_events, list) else [recorded_events]))
    reasons: dict[int, list[str | None]] = {}
    for choice in choices(events):
        reasons.setdefault(choice["index"], []).append(choice["finish_reason"])
    for told in reasons.values():
        assert told[:-1] == [None] * (len(told) - 1)
        assert told[-1] in ("stop", "length", "tool_calls")
    assert all(not event["choices"] for event in events if event.get("usage"))
