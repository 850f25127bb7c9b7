"""Items of a response's input, as chat messages."""

import copy

import pytest

from proxy.wire.messages import BadRequest
from proxy.wire.responses_input import as_messages

USER = {"role": "user", "content": "Hi"}
CALL = {
    "type": "function_call",
    "id": "fc_1_0",
    "call_id": "c1",
    "name": "weather",
    "arguments": '{"a":1}',
    "status": "completed",
}
CALLED = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
SECOND = {**CALL, "call_id": "c2"}
SECOND_CALLED = {**CALLED, "id": "c2"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
ASSISTANT = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
KEPT = {
    "msg_1": {"role": "assistant", "content": "Hello"},
    "fc_1_0": {"role": "assistant", "content": None, "tool_calls": [CALLED]},
    "fc_1_1": {"role": "assistant", "content": None, "tool_calls": [SECOND_CALLED]},
}  # fmt: skip


def refer(name):
    return {"type": "item_reference", "id": name}


@pytest.mark.parametrize(
    ("said", "messages"),
    [
        ("Hi", [USER]),
        ([USER], [USER]),
        ([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], [USER]),
        ([{"role": "system", "content": "S"}, {"role": "developer", "content": "D"}, USER], [{"role": "system", "content": "S"}, {"role": "developer", "content": "D"}, USER]),
        ([USER, ASSISTANT, USER], [USER, {"role": "assistant", "content": "Hello"}, USER]),
        ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}], [{"role": "assistant", "content": "No."}]),
        ([USER, USER], [USER, USER]),
        ([{"role": "user", "content": []}], [{"role": "user", "content": ""}]),
        # tool calls
        ([CALL, OUTPUT], [{"role": "assistant", "content": None, "tool_calls": [CALLED]}, RESULT]),
        ([ASSISTANT, CALL, SECOND, OUTPUT], [{"role": "assistant", "content": "Hello", "tool_calls": [CALLED, SECOND_CALLED]}, RESULT]),
        ([CALL, OUTPUT, SECOND], [{"role": "assistant", "content": None, "tool_calls": [CALLED]}, RESULT, {"role": "assistant", "content": None, "tool_calls": [SECOND_CALLED]}]),
        ([{**OUTPUT, "output": [{"type": "input_text", "text": "sunny"}]}], [RESULT]),
        # references, reasoning
        ([USER, refer("msg_1"), USER], [USER, KEPT["msg_1"], USER]),
        ([{"id": "msg_1"}], [KEPT["msg_1"]]),
        ([refer("msg_1"), refer("fc_1_0"), refer("fc_1_1"), OUTPUT], [{"role": "assistant", "content": "Hello", "tool_calls": [CALLED, SECOND_CALLED]}, RESULT]),
        ([refer("rs_1_0"), refer("msg_1")], [KEPT["msg_1"]]),
        ([{"type": "reasoning", "id": "rs_1", "summary": []}, ASSISTANT, {"type": "reasoning", "summary": []}, CALL], [{"role": "assistant", "content": "Hello", "tool_calls": [CALLED]}]),
    ],
)  # fmt: skip
def test_items(said, messages):
    kept = copy.deepcopy(KEPT)
    assert as_messages(said, [], kept) == messages
    assert kept == KEPT


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "input_image", "image_url": "data:x", "detail": "low"}, {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}),
        ({"type": "input_image", "image_url": "data:x", "detail": "original"}, {"type": "image_url", "image_url": {"url": "data:x"}}),
        ({"type": "input_file", "filename": "a.pdf", "file_data": "data:x"}, {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x"}}),
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}),
        ({"type": "text", "text": "a"}, {"type": "text", "text": "a"}),
    ],
)  # fmt: skip
def test_parts(part, told):
    said = [{"role": "user", "content": [{"type": "input_text", "text": "See"}, part]}]
    assert as_messages(said, [], {}) == [{"role": "user", "content": [{"type": "text", "text": "See"}, told]}]


def test_one_part_that_is_no_text_stays_a_part():
    (message,) = as_messages([{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}], [], {})
    assert message["content"] == [{"type": "image_url", "image_url": {"url": "u"}}]


@pytest.mark.parametrize(
    ("before", "messages"),
    [
        ([{"role": "assistant", "content": None, "tool_calls": [CALLED, SECOND_CALLED]}], [RESULT]),
        ([{"role": "assistant", "content": "Hello"}], [KEPT["fc_1_0"], RESULT]),
        ([KEPT["fc_1_0"], RESULT, USER], [KEPT["fc_1_0"], RESULT]),  # an id of long ago: servers count them anew
    ],
)
def test_calls_that_the_previous_response_ended_with_are_said_once(before, messages):
    assert as_messages([CALL, OUTPUT], before, {}) == messages


def user(*parts):
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ("Zebra", "input[1]"),
        ({"role": 1, "content": "x"}, "input[1].role"),
        ({"role": "user"}, "input[1].content"),
        ({"type": "message", "content": "x"}, "input[1].role"),
        ({"type": "web_search_call", "id": "ws_1"}, "input[1]"),
        ({"type": "compaction", "encrypted_content": "Zebra"}, "input[1]"),
        ({"type": "item_reference"}, "input[1].id"),
        ({**CALL, "arguments": {"a": 1}}, "input[1].arguments"),
        ({**CALL, "call_id": None}, "input[1].call_id"),
        ({**OUTPUT, "output": None}, "input[1].output"),
        ({**OUTPUT, "call_id": 3}, "input[1].call_id"),
        (user("Zebra"), "input[1].content[0]"),
        (user({"type": "input_text"}), "input[1].content[0].text"),
        (user({"type": "video", "text": "Zebra"}), "input[1].content[0]"),
        (user({"type": "input_image", "file_id": "f"}), "input[1].content[0]"),
        (user({"type": "input_file", "file_url": "u"}), "input[1].content[0]"),
        (user({"type": "input_audio", "input_audio": "x"}), "input[1].content[0]"),
    ],
)
def test_what_is_refused(item, param):
    with pytest.raises(BadRequest) as refused:
        as_messages([USER, item], [], {})
    assert refused.value.param == param
    assert f"`{param}`" in str(refused.value)
    assert "Zebra" not in str(refused.value)
