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
        ([], {"role": "assistant", "content": ""}),
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
    assert body.pop("choices") == [{"index": 0, "message": {"role": "assistant", "content": ""}}]
    assert body == {"object": "chat.completion", **top}


def test_other_choices_are_not_mixed_in():
    body = collected(part({"content": "Hi"}), {"choices": [{"index": 1, "delta": {"content": "Zebra"}}]})
    assert len(body["choices"]) == 1
    assert body["choices"][0]["message"]["content"] == "Hi"
