"""Chat requests: what is understood of them, what is refused, and that a refusal repeats no text."""

import traceback

import orjson
import pytest

from proxy.wire.messages import BadRequest, Message, Permits
from proxy.wire.request import load, parse

FUNCTION = {"type": "function", "function": {"name": "get_weather"}}
NOTHING = Permits()
TOOLS = Permits(tools=("get_*",))


def request(*messages, permits=NOTHING, **fields):
    return parse(raw(*messages, **fields), permits)


def raw(*messages, **fields):
    return orjson.dumps({"messages": messages or [{"role": "user", "content": "Hello"}], **fields})


def refusal(data, permits=NOTHING):
    with pytest.raises(BadRequest) as caught:
        parse(data, permits)
    return caught.value


@pytest.mark.parametrize(
    ("message", "role", "text"),
    [
        ({"role": "user", "content": "안녕"}, "user", "안녕"),
        ({"role": "user", "content": ""}, "user", ""),
        ({"role": "user", "content": []}, "user", ""),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "user", "a\nb"),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, "user", "a"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, "assistant", "no"),
        ({"role": "assistant", "content": None}, "assistant", ""),
        ({"role": "assistant"}, "assistant", ""),
        ({"role": "tool", "content": "42", "tool_call_id": "c"}, "tool", "42"),
        ({"role": "function", "content": "42", "name": "f"}, "tool", "42"),
        ({"role": "system", "content": "Be kind."}, None, "Be kind."),
        ({"role": "developer", "content": "Be kind."}, None, "Be kind."),
        ({"role": "critic", "content": "Hm."}, "user", "Hm."),
        ({"role": "Assistant", "content": "Hm."}, "user", "Hm."),
    ],
)
def test_roles_and_content(message, role, text):
    assert request(message).messages == (Message(role, text, 0),)


def test_the_talk_is_without_the_apps_instructions():
    talk = request(
        {"role": "system", "content": "s"}, {"role": "user", "content": "u"},
        {"role": "developer", "content": "d"}, {"role": "assistant", "content": "a"},
    ).talk()  # fmt: skip
    assert talk == [Message("user", "u", 1), Message("assistant", "a", 3)]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        *(
            ({name: value}, name, "unsupported_parameter")
            for name, value in {
                "functions": [{"name": "f"}], "prompt_logprobs": 1, "echo": True,
                "chat_template": "{{ messages }}", "audio": {"voice": "x"}, "prompt_token_ids": [1], "prompt_embeds": "x",
                "prompt": "x", "input": "x", "documents": [{"text": "x"}], "chat_template_kwargs": {"a": 1},
                "prediction": {"content": "x"}, "return_token_ids": True, "top_logprobs": 2,
                "logits_processors": ["x"], "web_search_options": {"a": 1},
            }.items()
        ),
        *(
            ({name: value}, name, "invalid_type")
            for name, value in [
                ("model", 3), ("model", ["m"]), ("stream", 1), ("stream", "true"), ("stream_options", []),
                ("metadata", "m"), ("n", "2"), ("n", 1.0), ("n", True), ("max_tokens", "9"), ("max_tokens", 9.5),
                ("max_tokens", False), ("max_completion_tokens", {}), ("temperature", "hot"), ("temperature", True),
                ("top_p", []), ("repetition_penalty", "1"), ("response_format", "json"),
            ]
        ),
        ({"top_logprobs": -1}, "top_logprobs", "unsupported_parameter"),
        ({"best_of": 2}, "best_of", "unsupported_value"),
        ({"best_of": "2"}, "best_of", "unsupported_value"),
        *(({"stop": stop}, "stop", "invalid_type") for stop in (3, True, {"a": "b"}, [3], ["x", None])),
        *(({"metadata": {"session_id": name}}, "metadata.session_id", "invalid_type") for name in (3, False, ["tom"], {})),
        ({"n": 0}, "n", "unsupported_value"),
        ({"n": 2}, "n", "unsupported_value"),
        ({"response_format": {"type": "grammar"}}, "response_format", "unsupported_value"),
        ({"response_format": {"type": ["text"]}}, "response_format", "unsupported_value"),
        ({"tools": "f"}, "tools", "invalid_type"),
        ({"tools": [FUNCTION]}, "tools[0]", "tool_not_allowed"),
        ({"tools": [{"type": "function"}]}, "tools[0]", "unsupported_value"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]", "unsupported_value"),
        ({"tools": ["f"]}, "tools[0]", "unsupported_value"),
        ({"tool_choice": 3}, "tool_choice", "invalid_type"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_value"),
        ({"messages": None}, "messages", None),
        ({"messages": {}}, "messages", None),
        ({"messages": []}, "messages", None),
        ({"messages": [None]}, "messages[0]", None),
        ({"messages": [{"content": "a"}]}, "messages[0]", None),
        ({"messages": [{"role": 1, "content": "a"}]}, "messages[0]", None),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user"}]}, "messages[1].content", "invalid_type"),
        ({"messages": [{"role": "tool", "content": None}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "system", "content": {"text": "a"}}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]", "unsupported_content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "messages[0].content[1]", "unsupported_content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "text": "a"}]}]}, "messages[0].content[0]", "unsupported_content"),
        ({"messages": [{"role": "assistant", "tool_calls": "f"}]}, "messages[0].tool_calls", "invalid_type"),
        ({"messages": [{"role": "assistant", "tool_calls": ["f"]}]}, "messages[0].tool_calls[0]", "invalid_type"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "tell me"}}]}]}, "messages[0].tool_calls[0]", "invalid_type"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]}, "messages[0].tool_calls[0].function.arguments", "invalid_type"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, "messages[0].content[0]", "invalid_type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]", "invalid_type"),
        ({"messages": [{"role": "assistant", "content": [{"type": "refusal", "text": "a"}]}]}, "messages[0].content[0]", "invalid_type"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(fields, param, code):
    fault = refusal(raw(**fields))
    assert (fault.param, fault.code) == (param, code)
    assert f"`{param}" in str(fault)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "functions": None, "echo": False, "n": 1, "modalities": ["text"]},
        {"response_format": {"type": "text"}, "stream": None, "max_tokens": None, "temperature": 1, "top_p": 0.5},
        {"vllm_xargs": {"a": [1]}, "priority": 3, "unheard_of": {"of": None}, "stop": ["x"], "logprobs": True},
        {"documents": [], "chat_template_kwargs": {}, "top_logprobs": 0, "best_of": 1, "return_token_ids": False},
        {"stop": "x", "max_tokens": 1, "max_completion_tokens": 1, "metadata": {"session_id": None}, "user": "u"},
        {"stop": None, "best_of": None, "metadata": {"a": ["b"]}},
    ],
)
def test_the_rest_is_kept_as_it_came(fields):
    data = raw(**fields)
    assert request(**fields).body == orjson.loads(data)


LONG = "x" * 32_000


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": LONG}], None),
        ([{"role": "user", "content": LONG + "x"}], "messages[0]"),
        ([{"role": "system", "content": LONG + "x"}, {"role": "assistant", "content": LONG}], None),
        ([{"role": "assistant", "content": LONG * 4 + "x"}], "messages[0]"),
        ([{"role": "user", "content": "a"}, {"role": "tool", "content": LONG + "x"}], "messages[1]"),
        ([{"role": "critic", "content": LONG + "x"}], "messages[0]"),
        ([{"role": "user", "content": [{"type": "text", "text": LONG}, {"type": "text", "text": "x"}]}], "messages[0]"),
        ([{"role": "user", "content": LONG}] * 12 + [{"role": "assistant", "content": LONG[:16_000]}], None),
        ([{"role": "user", "content": LONG}] * 12 + [{"role": "assistant", "content": LONG[:16_001]}], "messages"),
        ([{"role": "system", "content": "x" * 400_001}], "messages"),
    ],
)  # fmt: skip
def test_messages_have_a_length(messages, param):
    if param is None:
        assert len(request(*messages).messages) == len(messages)
    else:
        fault = refusal(raw(*messages))
        assert (fault.param, fault.code) == (param, "message_too_long")
        assert f"`{param}`" in str(fault)


@pytest.mark.parametrize(
    "data",
    [
        b'{"messages": [Zebra',
        b'{"Zebra": "Zebra}',
        b'["Zebra"]',
        b'"Zebra"',
        b"\xffZebra",
        raw({"role": "user", "content": [{"type": "Zebra", "text": "Zebra"}]}),
        raw({"role": "user", "content": [{"type": "text", "text": ["Zebra"]}]}),
        raw({"role": "user", "content": {"Zebra": "Zebra"}}),
        raw({"role": ["Zebra"], "content": "Zebra"}),
        raw(tools=["Zebra"]),
        raw(chat_template="Zebra"),
        raw(temperature="Zebra"),
        raw(response_format={"type": "Zebra"}),
        raw(modalities=["Zebra"]),
        raw(stop=[["Zebra"]]),
        raw(metadata={"session_id": ["Zebra"]}),
        raw({"role": "user", "content": "Zebra" * 9_000}),
    ],
)
def test_a_refusal_repeats_no_text(data):
    fault = refusal(data)
    assert "Zebra" not in "".join(traceback.format_exception(fault))
    assert "Zebra" not in repr(vars(fault))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b'\xef\xbb\xbf{"a": "b"}', "b"),
        (rb'{"a": "\ud83d"}', "\ufffd"),
        (rb'{"a": "I want to die \ud83d"}', "I want to die \ufffd"),
        (rb'{"a": "\ude00\ud83d\ude00"}', "\ufffd😀"),
        (rb'{"a": "\\ud83d \ud83d"}', "\\ud83d \ufffd"),  # an escaped backslash is no escape
        (b'{"a": "\xed\xa0\xbd"}', "\ufffd\ufffd\ufffd"),
        (b'{"a": "perch\xe9"}', "perch\ufffd"),
    ],
)
def test_half_a_character_makes_nobody_unheard(text, read):
    body = load(text)
    assert body == {"a": read}
    assert orjson.loads(orjson.dumps(body)) == body


@pytest.mark.parametrize("text", [rb'{"a": "\ud83d", "b": }', rb'{"a": NaN, "b": "\ud83d"}', b"\xef\xbb\xbf", b"\xff"])
def test_bad_json_stays_bad(text):
    with pytest.raises(BadRequest, match=r"The body is not JSON \(at line 1, column \d+\)\."):
        load(text)


def test_bad_json_is_placed():
    assert str(refusal(b'{"a": 1,\n "b": }')) == "The body is not JSON (at line 2, column 7)."


@pytest.mark.parametrize(
    ("fields", "usage", "running"),
    [
        ({}, True, False),
        ({"stream": False}, True, False),
        ({"stream": True}, False, False),
        ({"stream": True, "stream_options": None}, False, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, False),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, True, True),
        ({"stream": False, "stream_options": {"continuous_usage_stats": True}}, True, False),
    ],
)
def test_who_wants_usage(fields, usage, running):
    asked = request(**fields)
    assert (asked.wants_usage, asked.wants_running_usage) == (usage, running)
    assert asked.stream is bool(fields.get("stream"))


@pytest.mark.parametrize(
    ("metadata", "session"),
    [
        (None, None),
        ({}, None),
        ({"session_id": ""}, None),
        ({"session_id": None}, None),
        ({"session_id": "tom"}, "tom"),
    ],
)
def test_the_session_in_the_metadata(metadata, session):
    assert request(metadata=metadata).session == session


@pytest.mark.parametrize(("fields", "model"), [({}, ""), ({"model": None}, ""), ({"model": "m"}, "m")])
def test_the_model(fields, model):
    assert request(**fields).model == model


@pytest.mark.parametrize(
    ("permits", "fields"),
    [
        (TOOLS, {"tools": [FUNCTION], "tool_choice": "auto", "parallel_tool_calls": False}),
        (Permits(choices=3), {"n": 3, "best_of": 3}),
        (Permits(fields=frozenset({"top_logprobs", "documents"})), {"top_logprobs": 2, "documents": [{"text": "x"}]}),
        (Permits(), {"response_format": {"type": "json_object"}, "max_tokens": 0, "store": True}),
        (Permits(), {"structured_outputs": {"json": {}}, "tool_choice": "none"}),
    ],
)
def test_what_policy_and_key_permit(permits, fields):
    assert request(permits=permits, **fields).body == orjson.loads(raw(**fields))


@pytest.mark.parametrize(
    ("permits", "fields", "param"),
    [
        (Permits(choices=3), {"n": 4}, "n"),
        (Permits(choices=3), {"n": 0}, "n"),
        (TOOLS, {"tools": [FUNCTION, {"type": "function", "function": {"name": "set_alarm"}}]}, "tools[1]"),
        (Permits(tools=("*",)), {"tools": [{"type": "function", "function": {"name": "tell me"}}]}, "tools[0]"),
        (Permits(parts=frozenset({"audio"})), {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
    ],
)  # fmt: skip
def test_what_goes_beyond_is_refused(permits, fields, param):
    assert refusal(raw(**fields), permits).param == param


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_parts_that_no_rail_reads_pass_where_they_are_permitted(kind):
    parts = [{"type": kind, kind: {"url": "x"}}, {"type": "text", "text": "a"}]
    permits = Permits(parts=frozenset({"image", "audio", "file"}))
    assert request({"role": "user", "content": parts}, permits=permits).messages == (Message("user", "a", 0),)


def test_the_calls_of_an_assistant_are_read():
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}},
        {"function": {"name": "g"}},
    ]
    asked = request({"role": "assistant", "content": None, "tool_calls": calls})
    assert asked.messages == (Message("assistant", "", 0, ('{"a": "b"}', "{}")),)


def test_a_refusal_of_the_model_is_what_it_said():
    assert request({"role": "assistant", "content": None, "refusal": "No."}).messages[0].text == "No."


@pytest.mark.parametrize(
    ("fields", "json", "forced"),
    [
        ({}, False, False),
        ({"response_format": {"type": "text"}, "tool_choice": "auto"}, False, False),
        ({"response_format": {"type": "json_object"}}, True, False),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, True, False),
        ({"structured_outputs": {"json": {}}}, True, False),
        ({"structured_outputs": {"json_object": True}}, True, False),
        ({"structured_outputs": {"choice": ["a"]}}, False, False),
        ({"guided_json": {}}, True, False),
        ({"tool_choice": "required"}, False, True),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}}, False, False),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}}, False, True),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, False, True),
    ],
)
def test_what_kind_of_answer_is_wanted(fields, json, forced):
    asked = request(**fields)
    assert (asked.wants_json, asked.forces_tools) == (json, forced)


def test_which_functions_may_be_called():
    offered = request(tools=[FUNCTION], permits=TOOLS).allows(TOOLS)
    assert (offered("get_weather"), offered("get_time")) == (True, False)
    written = request().allows(TOOLS)
    assert (written("get_time"), written("set_alarm"), written("get all")) == (True, False, False)


@pytest.mark.parametrize(("levels", "fits"), [(90, True), (300, False)])
@pytest.mark.parametrize(("opens", "shuts"), [("[", "]"), ('{"a":', "}")])
def test_a_body_is_nested_so_far(opens, shuts, levels, fits):
    inner = "1" if opens == '{"a":' else ""
    data = (
        b'{"messages": [{"role": "user", "content": "Hi"}], "x": '
        + (opens * levels + inner + shuts * levels).encode()
        + b"}"
    )
    if fits:
        assert parse(data, NOTHING).body["x"]
    else:
        assert refusal(data).code == "invalid_json"
