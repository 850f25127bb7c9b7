"""Events: what of them may pass, what they say, and those that the house writes itself."""

import orjson
import pytest

from proxy.turn import Delta
from proxy.wire.events import (
    Skeleton,
    admitted,
    choice,
    content,
    estimated,
    finish_reason,
    rewritten,
    told_usage,
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
    "body",
    [
        event(),
        event(delta={"role": "assistant", "content": ""}),
        event(delta={"content": None, "tool_calls": None, "reasoning_content": "", "refusal": None}),
        event(top={"system_fingerprint": "fp", "unheard_of": {"a": 1}, "prompt_logprobs": None, "usage": None}),
        event(finish_reason="stop", stop_reason="x", unheard_of=[1], logprobs={"content": []}, token_ids=[1]),
        event(delta={"content": "Hi", "mood": 3}),
        event(delta={"content": "Hi", "moods": [1, None, {"glad": True}]}),
        event(logprobs=tokens("H", "i"), token_ids=[1, 2], finish_reason="content_filter"),
        event(delta={"content": ""}, logprobs=None, token_ids=None),
        event(stop_reason="\nTom says:", odd="x-1", odder={"place": "eu/west:1", "shares": [0.5]}),
        event(
            top={"model": "a model's own name, however long " * 9, "extra": "top", "kv": {"a": 1, "host": "10.0.0.1"}}
        ),
        {"id": "c", "choices": [], "usage": {"total_tokens": 3}},
        {"id": "c"},
    ],
)
def test_what_may_pass_is_the_same_object(body):
    delta = came(body)
    assert admitted(delta, running_usage=False) is delta


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        *(
            (event(delta={"content": "Hi", name: "unjudged"}), event())
            for name in ("reasoning", "reasoning_content", "thinking", "refusal", "tool_calls", "function_call", "audio")
        ),
        (event(delta={"reasoning_content": "unjudged"}), event(delta={})),
        (event(delta={"content": [{"type": "text", "text": "unjudged"}], "mood": 3}), event(delta={"mood": 3})),
        (event(delta="unjudged"), event(delta={})),
        (event(text="unjudged"), event()),
        (event(message={"content": "unjudged"}, finish_reason="stop"), event(finish_reason="stop")),
        (event(top={"prompt_token_ids": [1, 2], "odd": 1}), event(top={"odd": 1})),
        (event(top={"prompt_logprobs": [None], "prompt_text": "p"}), event()),
        (event(top={"usage": {"total_tokens": 3}}), event()),
        # text under names that nobody knows
        *(
            (event(delta={"content": "Hi", "odd": odd}), event())
            for odd in ("unjudged", ["unjudged"], {"a": "unjudged"}, {"a": [{"b": "unjudged"}]}, {"un judged": 1})
        ),
        *(
            (event(odd=odd), event())
            for odd in ("not judged", "안녕", "x" * 65, ["unjudged"], {"a": "not judged"}, {"text": "unjudged"}, {"a b": 1})
        ),
        *(
            (event(top={"odd": odd}), event())
            for odd in ("not judged", "안녕", "x" * 65, ["unjudged"], {"a": [{"b": "unjudged"}]}, {"message": "unjudged"})
        ),
        (event(top={"not judged": None}), event()),
        (event(top={"content": "unjudged", "text": "unjudged", "token_ids": [1], "logprobs": [1]}), event()),
        (event(reasoning="unjudged", content="unjudged"), event()),
        (event(delta={"content": "Hi", "token_ids": [1]}), event()),
        (event(delta={"content": "Hi", "role": "unjudged"}), event()),
        (event(delta={"content": "Hi", "role": ["assistant"]}), event()),
        *((event(finish_reason=reason), event()) for reason in ("not judged", "x" * 33, "안녕", 3, ["stop"], {"a": "b"})),
        (event(top={"id": ["unjudged"], "model": {"a": "not judged"}}), {"choices": event()["choices"]}),
        # tokens of text that the event does not bring
        (event(delta={"content": ""}, logprobs=tokens("Hi"), token_ids=[1]), event(delta={"content": ""})),
        (event(delta={}, logprobs={"content": [], "refusal": None}, token_ids=[1]), event(delta={})),
        (event(delta={"content": "Hi", "reasoning": "Hm"}, logprobs=tokens("Hi"), token_ids=[1]), event()),
        *(
            (event(logprobs=told), event())
            for told in (
                tokens("Hi", " there"), tokens("Ho"), {**tokens("Hi"), "refusal": tokens("No")["content"]},
                tokens("Hi", top_logprobs=[{"token": "Ho"}]), tokens("Hi", text="unjudged"), {"tokens": ["Hi"]},
                ["Hi"], "Hi", {"content": ["Hi"]},
            )
        ),
        # shapes that nobody sends
        ({"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        ({"choices": [{"index": 0, "finish_reason": "stop"}]}, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        ({"id": "c", "choices": "unjudged"}, {"id": "c", "choices": []}),
        ({"id": "c", "choices": {"a": "unjudged"}}, {"id": "c", "choices": []}),
        ({"choices": [], "usage": {"total_tokens": "unjudged"}}, {"choices": [], "usage": None}),
        ({"choices": [{"index": 1, "delta": {"content": "b"}}, event()["choices"][0]]}, {"choices": event()["choices"]}),
        ({"choices": [event()["choices"][0], "unjudged"]}, {"choices": event()["choices"]}),
        ({"choices": [event()["choices"][0], {"index": 0, "delta": {"content": "unjudged"}}]}, {"choices": event()["choices"]}),
        ({"choices": [{"index": 1, "delta": {"content": "unjudged"}}]}, {"choices": []}),
    ],
)  # fmt: skip
def test_what_may_not_pass_goes_and_nothing_else(sent, left):
    before = orjson.dumps(sent)
    delta = admitted(came(sent), running_usage=False)
    assert delta.event == left
    assert orjson.loads(delta.raw) == left
    assert orjson.dumps(sent) == before, "the backend's own object was changed"


def test_running_usage_passes_to_those_who_asked():
    delta = came(event(top={"usage": {"total_tokens": 3}}))
    assert admitted(delta, running_usage=True) is delta


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        *(
            (usage, usage)
            for usage in (
                {}, {"total_tokens": 3, "estimated": True, "cost": 0.5},
                {"prompt_tokens": 3, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 0}},
            )
        ),
        *((told, None) for told in (None, 3, "unjudged", ["unjudged"], {"note": "unjudged"}, {"a": {"b": "c"}}, {"a": [1]}, {"a b": 1})),
    ],
)  # fmt: skip
def test_usage_is_numbers(told, usage):
    assert told_usage({"usage": told}) == usage
    left = admitted(came(event(top={"usage": told})), running_usage=True)
    assert left.event["usage"] == usage


def test_no_usage_is_told_of_an_event_without():
    assert told_usage({}) is None


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
        ({"choices": [{"index": 1, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}, "", None),
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


def test_other_text_for_an_event_without_a_choice():
    assert content(with_text({"id": "c", "choices": []}, "Yo").event) == "Yo"


def test_an_event_of_our_own_is_its_own_bytes():
    body = {"id": "c", "choices": []}
    delta = rewritten(body)
    assert (orjson.loads(delta.raw), delta.event) == (body, body)
    assert delta.event is not body


@pytest.mark.parametrize(
    ("messages", "events", "prompt"),
    [([{"content": "x" * 8}], 3, 2), ([{"content": "x" * 8}, {"content": None}, {}], 0, 2), ([{"content": ""}], 5, 0)],
)
def test_estimated_usage_says_so(messages, events, prompt):
    usage = estimated({"messages": messages}, events)
    assert usage == {"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": prompt + events, "estimated": True}  # fmt: skip


def test_the_skeleton_speaks_for_the_house_until_it_has_learnt():
    skeleton = Skeleton("t1", "m")
    first = skeleton.text("Hi", role=True).event
    assert (first["id"], first["model"], first["object"]) == ("chatcmpl-t1", "m", "chat.completion.chunk")
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]
    skeleton.learn({"id": "theirs", "created": 7, "model": "", "odd": 1})
    skeleton.learn({"id": "too late", "created": 8, "model": "n"})
    assert skeleton.text("Yo").event == {
        "id": "theirs", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Yo"}, "finish_reason": None}],
    }  # fmt: skip
    assert skeleton.finish("stop").event["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    last = skeleton.usage({"total_tokens": 3}).event
    assert (last["id"], last["choices"], last["usage"]) == ("theirs", [], {"total_tokens": 3})


def test_an_empty_id_is_not_learnt():
    skeleton = Skeleton("t1", "m")
    skeleton.learn({"id": "", "created": 0, "model": None})
    told = skeleton.finish("stop").event
    assert (told["id"], told["model"]) == ("chatcmpl-t1", "m")
    assert told["created"] > 0


@pytest.mark.parametrize(
    ("first", "head"),
    [({"id": ["not judged"], "created": "not judged", "model": {"a": "b c"}}, {"id": "chatcmpl-t1", "model": "m"}),
     ({"id": "theirs", "created": "not judged", "model": "n"}, {"id": "theirs", "model": "n"})],
)  # fmt: skip
def test_no_text_is_learnt(first, head):
    skeleton = Skeleton("t1", "m")
    skeleton.learn(first)
    told = skeleton.finish("stop").event
    assert {name: told[name] for name in head} == head
    assert isinstance(told["created"], int)


def test_what_comes_with_the_usage_is_filtered_too():
    skeleton = Skeleton("t1", "m")
    skeleton.closing({
        "id": "late", "object": "x", "choices": [], "usage": {"total_tokens": 3}, "system_fingerprint": "fp", "odd": {"a": 1},
        "note": "not judged", "text": "unjudged", "words": ["unjudged"], "prompt_token_ids": [1],
    })  # fmt: skip
    told = skeleton.usage({"total_tokens": 3}).event
    assert set(told) == {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "odd"}
    assert (told["id"], told["object"]) == ("chatcmpl-t1", "chat.completion.chunk")


def test_choice_is_the_first():
    assert choice(event())["delta"] == {"content": "Hi"}


def test_running_usage_goes_and_the_other_bytes_stay():
    """vLLM tells usage with every event because we asked; what the client gets is vLLM's own bytes without it."""
    raw = b'{"id":"c","choices":[{"index":0,"delta":{"content":"caf\\u00e9"}}],"usage":{"total_tokens":3}}'
    passed = admitted(Delta(raw, orjson.loads(raw)), running_usage=False)
    assert passed.raw == raw.replace(b',"usage":{"total_tokens":3}', b"")
    assert orjson.loads(passed.raw) == passed.event
