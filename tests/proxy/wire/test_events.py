"""Events: what they bring, whose it is, and how they are changed."""

import orjson
import pytest

from proxy.turn import Delta
from proxy.wire.events import (
    Aside,
    aside,
    choice,
    content,
    finish_reason,
    in_words,
    index_of,
    rewritten,
    split,
    with_text,
)


def event(*, top=None, delta=None, **fields):
    first = {"index": 0, "delta": {"content": "Hi"} if delta is None else delta, **fields}
    return {"id": "c", "choices": [first], **(top or {})}


def tokens(*texts, **fields):
    """Log probabilities as vLLM tells them."""
    return {"content": [{"token": text, "logprob": -0.1, "bytes": [1], "top_logprobs": [], **fields} for text in texts]}


def came(body):
    """An event as a backend sends it: its bytes are not those that we would write."""
    return Delta(orjson.dumps(body) + b" ", body)


@pytest.mark.parametrize(
    ("body", "text", "reason"),
    [
        (event(), "Hi", None),
        (event(finish_reason="length"), "Hi", "length"),
        (event(finish_reason=""), "Hi", None),
        (event(delta={"content": None}, finish_reason="stop"), "", "stop"),
        (event(delta={"content": ["Hi"]}), "", None),
        ({"choices": [{"index": 0, "delta": None}]}, "", None),
        ({"choices": [{"delta": {"content": "Hi"}}]}, "Hi", None),
        ({"choices": [{"index": 1, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}, "Hi", "stop"),
        ({"choices": []}, "", None),
        ({"choices": None}, "", None),
        ({"choices": ["Hi"]}, "", None),
        ({}, "", None),
    ],
)
def test_what_an_event_says(body, text, reason):
    assert (content(body), finish_reason(body)) == (text, reason)


def test_other_text_drops_what_was_true_of_the_old():
    old = event(top={"odd": 1}, delta={"role": "assistant", "content": "Hi", "mood": 3}, logprobs={"content": [1]}, token_ids=[7], finish_reason=None, stop_reason="x")  # fmt: skip
    delta = with_text(old, "Yo")
    assert delta.event == event(top={"odd": 1}, delta={"role": "assistant", "content": "Yo", "mood": 3}, finish_reason=None, stop_reason="x")  # fmt: skip
    assert orjson.loads(delta.raw) == delta.event
    assert content(old) == "Hi"


def test_other_text_drops_every_list_that_may_be_its_tokens():
    numbers = {"odd": 1, "output_ids": [1, 2], "kv": {"ids": [[3]]}, "none": []}
    old = event(top=dict(numbers), delta={"content": "Hi", **numbers}, **numbers)
    left = {"odd": 1, "none": []}
    assert with_text(old, "Yo").event == event(top=left, delta={"content": "Yo", **left}, **left)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"type": "text", "text": "Hi"}, {"type": "text", "text": " there"}], {"content": "Hi there"}),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hi"}],
            {"content": "Hi", "reasoning": "Hm"},
        ),
        ([{"type": "thinking", "thinking": "Hm"}, "Hi", {"type": "text", "text": ["Hi"]}, {"text": "Hi"}], {"content": "", "reasoning": "Hm"}),
        ([], {"content": ""}),
    ],
)  # fmt: skip
def test_content_in_parts_is_put_into_words(parts, said):
    delta = in_words(came(event(delta={"role": "assistant", "content": parts}, finish_reason="stop")))
    assert delta.event == event(delta={"role": "assistant", **said}, finish_reason="stop")
    assert orjson.loads(delta.raw) == delta.event


@pytest.mark.parametrize("body", [event(), event(delta=None), {"choices": []}, {"choices": [{"delta": "Hi"}]}])
def test_content_that_is_text_stays(body):
    delta = came(body)
    assert in_words(delta) is delta


def test_other_text_for_an_event_without_a_choice():
    assert content(with_text({"id": "c", "choices": []}, "Yo").event) == "Yo"


def test_an_event_of_our_own_is_its_own_bytes():
    body = {"id": "c", "choices": []}
    delta = rewritten(body)
    assert (orjson.loads(delta.raw), delta.event) == (body, body)
    assert delta.event is not body


def test_choice_is_the_first():
    assert choice(event())["delta"] == {"content": "Hi"}


@pytest.mark.parametrize(("index", "answer"), [(0, 0), (3, 3), (-1, -1), ("1", -1), (True, -1), (None, -1), (1.0, -1)])
def test_which_answer_an_event_belongs_to(index, answer):
    assert index_of({"choices": [{"index": index}]}) == answer


def test_an_event_of_several_answers_is_split():
    one, two = {"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}
    parts = split(came({"id": "c", "choices": [one, two], "usage": {"total_tokens": 3}}))
    assert [part.event for part in parts] == [
        {"id": "c", "choices": [one]},
        {"id": "c", "choices": [two], "usage": {"total_tokens": 3}},
    ]
    single = came(event())
    assert split(single)[0] is single


@pytest.mark.parametrize(
    ("delta", "found"),
    [
        ({"content": "Hi"}, Aside()),
        ({"content": "Hi", "tool_calls": None, "reasoning": None, "refusal": ""}, Aside()),
        ({"reasoning": "Hm"}, Aside("Hm", "reasoning")),
        ({"reasoning_content": "Hm"}, Aside("Hm", "reasoning_content")),
        ({"reasoning": "Hm", "reasoning_content": "Hm"}, Aside("Hm", "reasoning")),
        ({"reasoning": {"a": "Hm"}, "refusal": ["no"], "tool_calls": "x"}, Aside()),
        ({"refusal": "No."}, Aside(refusal="No.")),
        ({"tool_calls": [{"index": 0}, "x", {"index": 1}]}, Aside(calls=({"index": 0}, {"index": 1}))),
        (None, Aside()),
    ],
)
def test_what_an_event_brings_beside_its_text(delta, found):
    assert aside({"choices": [{"index": 0, "delta": delta}]}) == found
    assert found.tells is (found != Aside())
