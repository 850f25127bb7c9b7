"""A request for a response: what is refused, and the chat request that the rest comes to."""

import json

import pytest

from proxy.wire.messages import BadRequest, Permits
from proxy.wire.request import check
from proxy.wire.responses import NotKept, as_chat, read, without_instructions


def asked(**body):
    return read(json.dumps({"model": "m", "input": "Hi", **body}).encode())


def chat(**body):
    return as_chat(asked(**body), [], {})


TOOL = {"type": "function", "name": "weather", "description": "d", "parameters": {"type": "object"}, "strict": True}
NESTED = {"type": "function", "function": {name: value for name, value in TOOL.items() if name != "type"}}
OTHER = {"type": "function", "name": "time", "parameters": None, "strict": None}
NESTED_OTHER = {"type": "function", "function": {"name": "time"}}
FORM = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
PLAIN = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False, "store": False}


def test_what_is_read():
    raw = asked(
        previous_response_id="resp_1",
        metadata={"session_id": "s", "more": "x"},
        stream=True,
        store=False,
        input=[
            {"type": "item_reference", "id": "msg_1"},
            {"id": "fc_1_0"},
            {"type": "item_reference", "id": "msg_1"},
            {"type": "item_reference", "id": "rs_1_0"},
            {"role": "user", "content": "Hi"},
        ],
    )
    assert (raw.previous, raw.references, raw.session) == ("resp_1", ("msg_1", "fc_1_0"), "s")
    assert (raw.stream, raw.store) == (True, False)


def test_what_is_read_of_the_shortest():
    raw = asked()
    assert (raw.previous, raw.references, raw.session, raw.stream, raw.store) == (None, (), None, False, True)
    assert as_chat(raw, [], {}) == PLAIN


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": {}}, "input", "invalid_type"),
        ({"instructions": ["x"]}, "instructions", "invalid_type"),
        ({"previous_response_id": 1}, "previous_response_id", "invalid_type"),
        ({"max_output_tokens": True}, "max_output_tokens", "invalid_type"),
        ({"store": "no"}, "store", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"metadata": {"session_id": 7}}, "metadata.session_id", "invalid_type"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages", "unsupported_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"include": ["file_search_call.results"]}, "include", "unsupported_value"),
        ({"include": [{}]}, "include", "unsupported_value"),
        ({"truncation": "middle"}, "truncation", "invalid_value"),
    ],
)
def test_what_is_refused_at_once(body, param, code):
    with pytest.raises(BadRequest) as refused:
        asked(**body)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert f"`{param}`" in str(refused.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"'])
def test_what_is_not_json(raw):
    with pytest.raises(BadRequest) as refused:
        read(raw)
    assert refused.value.code == "invalid_json"


@pytest.mark.parametrize(
    "kind",
    [
        "web_search", "web_search_preview", "file_search", "code_interpreter", "computer_use_preview", "mcp",
        "image_generation", "local_shell", "shell", "apply_patch", "custom", "namespace", "tool_search",
    ],
)  # fmt: skip
def test_tools_of_other_kinds_are_refused(kind):
    with pytest.raises(BadRequest) as refused:
        chat(tools=[TOOL, {"type": kind, "name": "x"}])
    assert (refused.value.param, refused.value.code) == ("tools[1]", "unsupported_value")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [NESTED]}, "tools[0].name"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [OTHER]}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": [], "tools": [TOOL]}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {**FORM, "schema": None}}}, "text.format"),
        ({"text": {"format": {**FORM, "name": None}}}, "text.format"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_what_cannot_be_translated(body, param):
    with pytest.raises(BadRequest) as refused:
        chat(**body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ({"temperature": 0.5, "top_p": 0.9, "seed": 3}, {"temperature": 0.5, "top_p": 0.9, "seed": 3}),
        ({"user": "u", "safety_identifier": "s"}, {"user": "u", "safety_identifier": "s"}),
        ({"metadata": {"a": "b"}, "service_tier": "auto"}, {"metadata": {"a": "b"}, "service_tier": "auto"}),
        ({"brand_new": {"a": 1}}, {"brand_new": {"a": 1}}),
        ({"store": True}, {"store": False}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"truncation": "auto", "max_tool_calls": 3, "background": False, "n": None}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": None}}, {}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        ({"text": {"format": FORM}}, {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}}),
        ({"tools": [TOOL, OTHER]}, {"tools": [NESTED, NESTED_OTHER]}),
        ({"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}, {"tools": [NESTED], "tool_choice": "required", "parallel_tool_calls": False}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}}, {"tools": [NESTED], "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
        ({"tools": [TOOL, OTHER], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]}}, {"tools": [NESTED_OTHER], "tool_choice": "required"}),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
    ],
)  # fmt: skip
def test_the_settings(body, more):
    told = chat(**body)
    assert told == {**PLAIN, **more}
    check(told, Permits(tools=("*",), fields=frozenset({"top_logprobs"})))  # and it is a chat request


def test_the_order_of_the_messages():
    request = asked(instructions="Be kind.", previous_response_id="resp_1")
    before = [
        {"role": "system", "content": "App"},
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "B"},
    ]
    told = as_chat(request, before, {})
    assert told["messages"] == [{"role": "system", "content": "Be kind."}, *before, {"role": "user", "content": "Hi"}]
    assert without_instructions(request, told["messages"]) == [*before, {"role": "user", "content": "Hi"}]
    assert without_instructions(asked(), told["messages"]) == told["messages"]
    assert "previous_response_id" not in told
    assert "instructions" not in told


def test_a_reference_that_is_not_kept():
    request = asked(input=[{"type": "item_reference", "id": "msg_Zebra"}])
    with pytest.raises(NotKept) as refused:
        as_chat(request, [], {})
    assert (refused.value.status, refused.value.param, refused.value.code) == (404, "input", "item_not_found")
    assert "Zebra" not in str(refused.value)


def test_the_clients_object_stays_as_it_is():
    body = {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "tools": [TOOL],
    }
    request = read(json.dumps(body).encode())
    as_chat(request, [], {})
    assert request.body == body
