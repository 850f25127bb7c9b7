"""The messages of a request: their text however it is written, and what is none. Requests as a whole: test_request."""

import pytest

from proxy.wire.messages import BadRequest, Message, Permits, check_lengths, is_text, read_messages

NOTHING = Permits()
CALL = {"id": "c", "type": "function", "function": {"name": "get_bear", "arguments": '{"a": "b"}'}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


def refused(messages, permits=NOTHING):
    with pytest.raises(BadRequest) as caught:
        read_messages(messages, permits)
    assert "Zebra" not in str(caught.value)
    return caught.value.param, caught.value.code


@pytest.mark.parametrize(
    ("globs", "name", "may"),
    [
        ((), "get_bear", False),
        (("get_*",), "get_bear", True),
        (("get_*",), "set_bear", False),
        (("get_bear", "set_*"), "set_bear", True),
        (("*",), "get_bear", True),
        (("*",), "tell me a story", False),  # a sentence is no name
        (("*",), "", False),
        (("*",), "x" * 65, False),
        (("*",), "곰", False),
        (("*",), None, False),
        (("*",), ["get_bear"], False),
        (("Get_*",), "get_bear", False),
    ],
)
def test_functions_that_the_model_may_call(globs, name, may):
    assert Permits(tools=globs).tool(name) is may


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "text": "a"}, True),
        ({"type": "input_text", "text": "a"}, True),
        ({"type": "output_text", "text": "a"}, True),
        ({"type": "refusal", "refusal": "a"}, True),
        (IMAGE, False),
        ({"text": "a"}, False),
        ({"type": ["text"], "text": "a"}, False),
        ({"type": {}}, False),
        ("text", False),
        (None, False),
    ],
)
def test_parts_that_are_text(part, text):
    assert is_text(part) is text


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("image_url", "image"), ("input_image", "image"), ("image_pil", "image"), ("image_embeds", "image"),
        ("video_url", "image"), ("input_audio", "audio"), ("audio_url", "audio"), ("file", "file"), ("input_file", "file"),
    ],
)  # fmt: skip
def test_parts_that_are_none_pass_where_they_are_permitted(kind, called):
    message = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": kind}]}
    others = {"image", "audio", "file"} - {called}
    assert refused([message], Permits(parts=frozenset(others))) == ("messages[0].content[1]", "unsupported_content")
    assert read_messages([message], Permits(parts=frozenset({called}))) == (Message("user", "a", 0),)


@pytest.mark.parametrize("kind", ["Zebra", None, ["text"], {"a": 1}, 3, "", "image", "tool_result"])
def test_a_part_that_nobody_knows_never_passes(kind):
    every = Permits(parts=frozenset({"image", "audio", "file"}))
    message = {"role": "user", "content": [{"type": kind, "text": "Zebra"}]}
    assert refused([message], every) == ("messages[0].content[0]", "unsupported_content")


@pytest.mark.parametrize("part", [None, "Zebra", 3, ["Zebra"]])
def test_a_part_that_is_no_object(part):
    assert refused([{"role": "user", "content": [part]}]) == ("messages[0].content[0]", "unsupported_content")


def test_calls_are_the_assistants():
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}
    assert read_messages([message], NOTHING) == (Message("assistant", "", 0, ('{"a": "b"}',) * 2),)
    for role in ("user", "tool", "critic"):
        message = {"role": role, "content": "a", "tool_calls": [CALL]}
        assert refused([message]) == ("messages[0].tool_calls", "unsupported_value")
        assert read_messages([{**message, "tool_calls": []}], NOTHING)[0].calls == ()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a", "refusal": "b"}, "a"),
        ({"content": None, "refusal": "b"}, "b"),
        ({"content": "", "refusal": "b"}, "b"),
        ({"content": None, "refusal": {"Zebra": 1}}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}, "a\nb"),
    ],
)
def test_what_the_assistant_said(message, text):
    assert read_messages([{"role": "assistant", **message}], NOTHING)[0].text == text


@pytest.mark.parametrize("role", ["", "user\nZebra", "the Zebra", "곰", "<|im_start|>", "x" * 33])
def test_a_role_is_a_word(role):
    assert refused([{"role": role, "content": "a"}]) == ("messages[0].role", "unsupported_value")


@pytest.mark.parametrize("role", ["critic", "Assistant", "user.zoe", "x" * 32])
def test_whoever_is_not_known_is_judged_as_a_user(role):
    assert read_messages([{"role": role, "content": "a"}], NOTHING)[0].role == "user"


@pytest.mark.parametrize("name", ["347 812 5590", "the Zebra", "곰", "x" * 257, 3, ["Zebra"]])
@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "a", "name": ...}, "messages[0].name"),
        ({"role": "tool", "content": "a", "tool_call_id": ...}, "messages[0].tool_call_id"),
        ({"role": "function", "content": "a", "name": ...}, "messages[0].name"),
        ({"role": "assistant", "tool_calls": [CALL, {**CALL, "id": ...}]}, "messages[0].tool_calls[1].id"),
    ],
)
def test_what_ties_a_tool_to_its_call_is_no_sentence(message, param, name):
    def filled(value):
        if isinstance(value, dict):
            return {key: name if one is ... else filled(one) for key, one in value.items()}
        return [filled(one) for one in value] if isinstance(value, list) else value

    assert refused([filled(message)]) == (param, "unsupported_value")


@pytest.mark.parametrize("name", [None, "", "call_1", "functions.get_bear:0", "call|a/b=", "x" * 256])
def test_names_that_tie(name):
    call = {**CALL, "id": name}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "a", "tool_call_id": name}]
    assert len(read_messages(messages, NOTHING)) == 2


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ((Message("user", "x" * 32_000, 0),), None),
        ((Message("user", "x" * 32_001, 0),), "messages[0]"),
        ((Message("tool", "x" * 32_001, 3),), "messages[3]"),
        ((Message(None, "x" * 400_000, 0),), None),
        ((Message("assistant", "x" * 128_000, 2),), None),
        ((Message("assistant", "x" * 128_001, 2),), "messages[2]"),
        ((Message("assistant", "", 1, ("{}", "x" * 128_000)),), None),
        ((Message("assistant", "", 1, ("{}", "x" * 128_001)),), "messages[1].tool_calls[1].function.arguments"),
        ((Message(None, "x" * 400_000, 0), Message("user", "x", 1)), "messages"),
        ((Message("assistant", "", 0, ("x" * 32_000,) * 13),), "messages"),
        ((Message("user", "x", 0),) * 2_048, None),
        ((Message("user", "x", 0),) * 2_049, "messages"),
    ],
)
def test_lengths(messages, param):
    if param is None:
        return check_lengths(messages)
    with pytest.raises(BadRequest) as caught:
        check_lengths(messages)
    assert (caught.value.param, caught.value.code) == (param, "message_too_long")
