"""The whole answer is the stream, added up."""

import pytest

from proxy.wire.collect import Collector


def collected(*events):
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.body()


def part(delta=None, **fields):
    return {"choices": [{"index": 0, "delta": {} if delta is None else delta, **fields}]}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        ([{}], {"role": "assistant", "content": ""}),
        ([{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}], {"role": "assistant", "content": "Hello"}),
        ([{"role": None, "content": None}, {"content": "Hi"}, {"content": None}], {"role": "assistant", "content": "Hi"}),
        ([{"role": "assistant"}, {"role": "assistant", "content": "Hi"}], {"role": "assistant", "content": "Hi"}),
        ([{"content": "Hi", "mood": 3}, {"mood": 4}], {"role": "assistant", "content": "Hi", "mood": 4}),
        ([{"note": "a", "list": [1]}, {"note": "b", "list": [2]}], {"role": "assistant", "content": "", "note": "ab", "list": [1, 2]}),
        ([{"refusal": None}, {"refusal": None}], {"role": "assistant", "content": "", "refusal": None}),
    ],
)  # fmt: skip
def test_the_message(deltas, message):
    assert collected(*map(part, deltas))["choices"][0]["message"] == message


@pytest.mark.parametrize(
    ("choices", "choice"),
    [
        ([{"finish_reason": None}, {"finish_reason": "stop"}], {"finish_reason": "stop"}),
        ([{"finish_reason": "length"}, {"finish_reason": None}], {"finish_reason": "length"}),
        ([{"finish_reason": "stop"}, {"finish_reason": "content_filter"}], {"finish_reason": "content_filter"}),
        ([{"stop_reason": None}, {"stop_reason": 128}], {"stop_reason": 128}),
        ([{"token_ids": [1]}, {"token_ids": None}, {"token_ids": [2, 3]}], {"token_ids": [1, 2, 3]}),
        (
            [{"logprobs": {"content": [{"token": "a"}]}}, {"logprobs": None}, {"logprobs": {"content": [{"token": "b"}], "refusal": None}}],
            {"logprobs": {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}},
        ),
        ([{"odd": "a"}, {"odd": "b"}], {"odd": "b"}),
        ([{"odd": {"a": 1}}, {"odd": {"b": 2}}], {"odd": {"a": 1, "b": 2}}),
    ],
)  # fmt: skip
def test_the_choice(choices, choice):
    body = collected(*(part(**fields) for fields in choices))
    assert body["choices"] == [{"index": 0, "message": {"role": "assistant", "content": ""}, **choice}]


@pytest.mark.parametrize(
    ("events", "top"),
    [
        ([{"id": "c", "object": "chat.completion.chunk"}], {"id": "c"}),
        ([{"id": "", "model": "m"}, {"id": "c", "model": "m"}], {"id": "c", "model": "m"}),
        ([{"odd": 1}, {"odd": None}], {"odd": 1}),
        ([{"system_fingerprint": None}], {"system_fingerprint": None}),
        ([{"usage": None}], {}),
        ([{"usage": {"total_tokens": 1}}, {"usage": None}], {"usage": {"total_tokens": 1}}),
        ([{"usage": {"total_tokens": 1}}, {"choices": [], "usage": {"total_tokens": 3}}], {"usage": {"total_tokens": 3}}),
    ],
)  # fmt: skip
def test_what_stands_beside_the_choice(events, top):
    body = collected(*events)
    assert body == {"object": "chat.completion", "choices": [], **top}


def test_the_choices_of_one_request_stand_in_order():
    second = {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}
    choices = collected(second, part({"content": "a"}), second)["choices"]
    assert [(one["index"], one["message"]["content"]) for one in choices] == [(0, "a"), (1, "bb")]


def called(*calls):
    return part(
        {
            "tool_calls": [
                {"index": index, "id": name, "function": {"name": name, "arguments": "{}"}} for index, name in calls
            ]
        }
    )


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([called((0, "f"))], {"content": None, "calls": ["f"]}),
        ([called((1, "g")), called((0, "f"))], {"content": None, "calls": ["f", "g"]}),
        ([part({"content": "Hi"}), called((0, "f"))], {"content": "Hi", "calls": ["f"]}),
        ([part({"content": ""}), part({"refusal": "No"}), part({"refusal": "."})], {"content": None, "refusal": "No."}),
    ],
)
def test_calls_and_refusals_leave_no_empty_text(events, message):
    told = collected(*events)["choices"][0]["message"]
    calls = [call["function"]["name"] for call in told.pop("tool_calls", [])]
    assert {**told, **({"calls": calls} if calls else {})} == {"role": "assistant", **message}
