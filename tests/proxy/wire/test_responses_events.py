"""An answer as /v1/responses tells it: events and object as OpenAI's own client reads them."""

import json
from typing import get_args

import httpx
import pytest
from openai import APIError, AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from proxy.turn import Delta
from proxy.wire.responses import read
from proxy.wire.responses_events import Responses

MODELS = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(ResponseStreamEvent)[0])
}
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 3}}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def chunk(delta=None, finish_reason=None, logprobs=None, **more):
    one = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason, "logprobs": logprobs}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": [one], **more}


def call(index, arguments=None, **more):
    function = (
        {"arguments": arguments} if "name" not in more else {"name": more.pop("name"), "arguments": arguments or ""}
    )
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def end(reason="stop"):
    return [chunk(finish_reason=reason), {**chunk(), "choices": [], "usage": USAGE}]


TEXT = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"})]
CALLS = [
    chunk(call(0, id="c1", type="function", name="weather")), chunk(call(0, '{"a"')), chunk(call(1, id="c2", name="weather")),
    chunk(call(1, "{}")), chunk(call(0, ":1}")),
]  # fmt: skip
REASONING = [chunk({"role": "assistant", "reasoning": "Let"}), chunk({"reasoning_content": " me"})]


def responses(**body):
    return Responses(read(json.dumps({"model": "m", "input": "Hi", **body}).encode()), "t1", 1_700_000_000)


def parsed(raw):
    """The events, each checked against the client's model of it."""
    events = []
    for block in raw.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        MODELS[event["type"]].model_validate(event)
        events.append(event)
    return events


def told(*chunks, ends=None, **body):
    dialect = responses(stream=True, **body)
    raw = b"".join(dialect.events([Delta(b"", dialect.arrived(Delta(b"", event)).event)]) for event in chunks)
    events = parsed(raw + (ends(dialect) if ends else dialect.done()))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def short(events):
    return [event["type"].removeprefix("response.") for event in events]


TEXT_EVENTS = [
    "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
    "output_text.done", "content_part.done", "output_item.done", "completed",
]  # fmt: skip
CALL_EVENTS = [
    "created", "in_progress", "output_item.added", "function_call_arguments.delta", "output_item.added",
    "function_call_arguments.delta", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
    "function_call_arguments.done", "output_item.done", "completed",
]  # fmt: skip
REASONING_EVENTS = [
    "created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
    "reasoning_text.done", "content_part.done", "output_item.done", *TEXT_EVENTS[2:],
]  # fmt: skip


@pytest.mark.parametrize(
    ("chunks", "types"),
    [
        ([*TEXT, *end()], TEXT_EVENTS),
        ([*CALLS, *end("tool_calls")], CALL_EVENTS),
        ([*REASONING, *TEXT, *end()], REASONING_EVENTS),
        ([chunk({"refusal": "No."}), *end()], ["created", "in_progress", "output_item.added", "content_part.added", "refusal.delta", "refusal.done", "content_part.done", "output_item.done", "completed"]),
        ([], ["created", "in_progress", "completed"]),
        ([*TEXT, *end("length")], [*TEXT_EVENTS[:-1], "incomplete"]),
    ],
)  # fmt: skip
def test_the_events(chunks, types):
    assert short(told(*chunks)) == types


def text_item(text="Hello", status="completed"):
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": "msg_t1", "type": "message", "role": "assistant", "status": status, "content": content}


def call_item(number, call_id, arguments):
    told = {"id": f"fc_t1_{number}", "type": "function_call", "status": "completed"}
    return {**told, "call_id": call_id, "name": "weather", "arguments": arguments}


REASONING_ITEM = {
    "id": "rs_t1_0", "type": "reasoning", "status": "completed", "summary": [],
    "content": [{"type": "reasoning_text", "text": "Let me"}],
}  # fmt: skip
REFUSAL_ITEM = {**text_item(), "content": [{"type": "refusal", "refusal": "No."}]}
ANSWERS = [  # chunks, the same unstreamed, the items of both
    (TEXT, {"content": "Hello"}, [text_item()]),
    (CALLS, {"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}, {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}, [call_item(0, "c1", '{"a":1}'), call_item(1, "c2", "{}")]),
    ([*TEXT, chunk(call(0, "{}", name="weather"))], {"content": "Hello", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": "{}"}}]}, [text_item(), call_item(0, "call_t1_0", "{}")]),
    ([*REASONING, *TEXT], {"reasoning": "Let me", "content": "Hello"}, [REASONING_ITEM, text_item()]),
    ([chunk({"refusal": "N"}), chunk({"refusal": "o."})], {"content": None, "refusal": "No."}, [REFUSAL_ITEM]),
    ([], {"content": ""}, []),
]  # fmt: skip


@pytest.mark.parametrize(("chunks", "message", "items"), ANSWERS)
def test_the_last_event_is_the_answer_that_is_not_streamed(chunks, message, items):
    streamed = told(*chunks, *end(), tools=[TOOL])[-1]["response"]
    one = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    whole = responses(tools=[TOOL]).whole({"id": "c", "model": "served", "choices": [one], "usage": USAGE})
    assert whole == streamed
    assert whole["output"] == items
    assert Response.model_validate(whole).output_text == (message["content"] or "")
    done = [event["item"] for event in told(*chunks, *end()) if event["type"] == "response.output_item.done"]
    assert done == items


@pytest.mark.parametrize(
    ("reason", "status", "why", "item"),
    [
        ("stop", "completed", None, "completed"),
        ("tool_calls", "completed", None, "completed"),
        (None, "completed", None, "completed"),
        ("length", "incomplete", {"reason": "max_output_tokens"}, "incomplete"),
        ("content_filter", "incomplete", {"reason": "content_filter"}, "incomplete"),
    ],
)
def test_how_it_ended(reason, status, why, item):
    events = told(*TEXT, *end(reason))
    last = events[-1]["response"]
    assert (events[-1]["type"], last["status"], last["incomplete_details"]) == (f"response.{status}", status, why)
    assert last["output"] == [text_item(status=item)]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []


def test_the_settings_are_repeated():
    asked = {
        "instructions": "Be kind.", "metadata": {"a": "b"}, "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 9,
        "tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False,
        "previous_response_id": "resp_0", "store": False, "truncation": "auto", "user": "u", "top_logprobs": 2,
    }  # fmt: skip
    first = told(*TEXT, *end(), **asked, text={"verbosity": "low"}, reasoning={"effort": "low"})[0]["response"]
    assert {name: first[name] for name in asked if name != "tools"} == {
        name: asked[name] for name in asked if name != "tools"
    }
    assert first["tools"] == [{**TOOL, "description": None, "strict": None}]
    assert first["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert first["reasoning"] == {"effort": "low", "summary": None}
    assert (first["id"], first["created_at"], first["error"], first["usage"]) == ("resp_t1", 1_700_000_000, None, None)


def test_the_model_is_the_one_that_answered():
    events = told(*TEXT)
    assert (events[0]["response"]["model"], events[-1]["response"]["model"]) == ("m", "served")


def test_logprobs():
    content = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": None,
            "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
        }
    ]
    spelt = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
        }
    ]
    events = told(chunk({"content": "é"}, logprobs={"content": content}), chunk({"content": "a"}), *end())
    assert [event["logprobs"] for event in events if event["type"].startswith("response.output_text")] == [
        spelt,
        [],
        spelt,
    ]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == spelt


def test_reasoning_that_comes_back_is_another_item():
    last = told(*REASONING, *TEXT, chunk({"reasoning": "Hm"}), chunk({"content": "!"}), *end())[-1]["response"]
    assert [(item["id"], item["content"][0]["text"]) for item in last["output"]] == [
        ("rs_t1_0", "Let me"),
        ("msg_t1", "Hello!"),
        ("rs_t1_2", "Hm"),
    ]


@pytest.mark.parametrize("chunks", [[], [chunk({"role": "assistant", "content": ""})], TEXT, [*REASONING, *CALLS]])
def test_an_answer_that_broke_off(chunks):
    error = {"message": "Gone.", "type": "upstream_error", "param": None, "code": 502}
    events = told(*chunks, ends=lambda dialect: dialect.broke(error))
    assert short(events)[:2] == ["created", "in_progress"]
    failed, last = events[-2:]
    assert failed["type"] == "error"
    assert (failed["message"], failed["code"], failed["error"]["message"]) == ("Gone.", "502", "Gone.")
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "server_error", "message": "Gone."}
    assert all(item["status"] != "in_progress" for item in last["response"]["output"])


def test_a_limit_is_called_by_its_name():
    error = {"message": "Slow down.", "code": "rate_limit_exceeded"}
    assert told(ends=lambda dialect: dialect.broke(error))[-1]["response"]["error"]["code"] == "rate_limit_exceeded"


def test_items_kept_have_the_ids_that_were_told():
    message = {"content": "Hello", "tool_calls": [{"id": "c1"}, {"id": "c2"}]}
    kept = responses().items_kept(message)
    assert list(kept) == ["msg_t1", "fc_t1_0", "fc_t1_1"]
    assert {item["id"] for item in told(*TEXT, *CALLS, *end())[-1]["response"]["output"]} == set(kept)


# -- OpenAI's own client -----------------------------------------------------------------------------------------------


def client(chunks, ends=None):
    async def answer(request):
        raw = await request.body()
        dialect = Responses(read(raw), "t1", 1_700_000_000)
        if read(raw).stream:
            body = [dialect.events([Delta(b"", event)]) for event in chunks] + [
                ends(dialect) if ends else dialect.done()
            ]
            return StreamingResponse(iter(body), media_type="text/event-stream")
        message = {
            "role": "assistant",
            "content": "".join(one["choices"][0]["delta"].get("content") or "" for one in TEXT),
        }
        return JSONResponse(dialect.whole({"model": "m", "choices": [{"message": message}], "usage": USAGE}))

    app = Starlette(routes=[Route("/v1/responses", answer, methods=["POST"])])
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app))
    return AsyncOpenAI(base_url="http://test/v1", api_key="k", http_client=http, max_retries=0)


async def test_the_client_creates():
    answer = await client(TEXT).responses.create(model="m", input="Hi")
    assert (answer.output_text, answer.status, answer.usage.input_tokens) == ("Hello", "completed", 10)
    assert answer.usage.input_tokens_details.cached_tokens == 3


async def test_the_client_streams():
    async with client([*REASONING, *TEXT, *CALLS, *end()]).responses.stream(
        model="m", input="Hi", tools=[TOOL]
    ) as stream:
        types = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert types[-1] == "response.completed"
    assert final.output_text == "Hello"
    assert [item.arguments for item in final.output if item.type == "function_call"] == ['{"a":1}', "{}"]


async def test_the_client_parses():
    class Place(BaseModel):
        city: str

    chunks = [chunk({"content": '{"city":'}), chunk({"content": '"Rome"}'}), *end()]
    async with client(chunks).responses.stream(model="m", input="Hi", text_format=Place) as stream:
        assert (await stream.get_final_response()).output_parsed == Place(city="Rome")


async def test_the_client_raises_where_the_answer_broke_off():
    answering = client(TEXT, lambda dialect: dialect.broke({"message": "Gone.", "code": None}))
    with pytest.raises(APIError, match=r"Gone\."):
        async for _ in await answering.responses.create(model="m", input="Hi", stream=True):
            pass
