"""The sieve: what of an event may pass beside the text that is judged."""

import orjson
import pytest

from proxy.turn import Delta
from proxy.wire.sieve import Sieve
from proxy.wire.usage import told_usage


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
        event(finish_reason="stop", stop_reason=7, unheard_of=[1], logprobs={"content": []}, token_ids=[1]),
        event(delta={"content": "Hi", "mood": 3}),
        event(delta={"content": "Hi", "moods": [1, None, {"glad": True}]}),
        event(logprobs=tokens("H", "i"), token_ids=[1, 2], finish_reason="content_filter"),
        event(delta={"content": ""}, logprobs=None, token_ids=None),
        event(odd="x-1", odder={"place": "eu/west:1", "shares": [0.5]}),
        event(
            top={"model": "a model's own name, however long " * 9, "extra": "top", "kv": {"a": 1, "host": "10.0.0.1"}}
        ),
        {"id": "c", "choices": [], "usage": {"total_tokens": 3}},
        {"id": "c"},
    ],
)
def test_what_may_pass_is_the_same_object(body):
    delta = came(body)
    assert Sieve().admitted(delta) is delta


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
        ({"choices": [event()["choices"][0], "unjudged"]}, {"choices": event()["choices"]}),
        ({"choices": [event()["choices"][0], {"index": 0, "delta": {"content": "unjudged"}}]}, {"choices": event()["choices"]}),
    ],
)  # fmt: skip
def test_what_may_not_pass_goes_and_nothing_else(sent, left):
    before = orjson.dumps(sent)
    delta = Sieve().admitted(came(sent))
    assert delta.event == left
    assert orjson.loads(delta.raw) == left
    assert orjson.dumps(sent) == before, "the backend's own object was changed"


def test_running_usage_passes_to_those_who_asked():
    delta = came(event(top={"usage": {"total_tokens": 3}}))
    assert Sieve(running_usage=True).admitted(delta) is delta


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
    left = Sieve(running_usage=True).admitted(came(event(top={"usage": told})))
    assert left.event["usage"] == usage


def test_running_usage_goes_and_the_other_bytes_stay():
    """vLLM tells usage with every event because we asked; what the client gets is vLLM's own bytes without it."""
    raw = b'{"id":"c","choices":[{"index":0,"delta":{"content":"caf\\u00e9"}}],"usage":{"total_tokens":3}}'
    passed = Sieve().admitted(Delta(raw, orjson.loads(raw)))
    assert passed.raw == raw.replace(b',"usage":{"total_tokens":3}', b"")
    assert orjson.loads(passed.raw) == passed.event


@pytest.mark.parametrize(
    ("opened", "body"),
    [
        ("top_logprobs", event(logprobs=tokens("Hi", top_logprobs=[{"token": "Ho"}]))),
        ("top_logprobs", event(logprobs=tokens("not", "this"))),
        ("prompt_logprobs", event(top={"prompt_logprobs": [None, {"7": {"decoded_token": "a"}}]})),
        ("return_token_ids", event(top={"prompt_token_ids": [1]}, token_ids=[7])),
        ("audio", event(delta={"content": "Hi", "audio": {"data": "x"}})),
        ("echo", event(top={"prompt_text": "what was asked"})),
    ],
)
def test_a_key_opens_what_is_kept_back_otherwise(opened, body):
    delta = came(body)
    assert Sieve(opened=[opened]).admitted(delta) is delta
    assert Sieve(opened=["something_else"]).admitted(delta) is not delta


def test_of_stop_strings_those_of_the_request_are_told():
    delta = came(event(finish_reason="stop", stop_reason="\nTom says:"))
    assert Sieve(stops=["\nTom says:"]).admitted(delta) is delta
    assert Sieve(stops=["Tom"]).admitted(delta).event == event(finish_reason="stop")
