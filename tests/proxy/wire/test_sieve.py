"""The sieve: what of an event may pass beside the text that is judged."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.turn import Delta
from proxy.wire.sieve import Sieve
from proxy.wire.usage import told_usage


def event(*, top=None, delta=None, **fields):
    first = {"index": 0, "delta": {"content": "Hi"} if delta is None else delta, **fields}
    return {"id": "c", "choices": [first], **(top or {})}


def tokens(*texts, **fields):
    """Log probabilities as vLLM tells them."""
    told = [{"token": text, "logprob": -0.1, "bytes": list(text.encode()), "top_logprobs": []} for text in texts]
    return {"content": [{**one, **fields} for one in told]}


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
        event(odd=1, odder={"place": None, "shares": [0.5, {"a.b/c": True}]}),
        event(top={"model": "org/model-7B:v1.2@main", "service_tier": "auto", "extra": 1, "kv": {"a": 1, "b": [2]}}),
        event(logprobs=tokens("Hi", logprob=None, bytes=None)),
        *(event(finish_reason=reason) for reason in ("length", "tool_calls", "abort", "error", "repetition")),
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
        # a word, a number or an address is text too
        *((event(top={"odd": odd}), event()) for odd in ("unjudged", "tom@mail.com", {"host": "10.0.0.1"}, {"010-1234-5678": 1})),
        *((event(odd=odd), event()) for odd in ("unjudged", "tom@mail.com", {"a": "unjudged"}, {"tom@mail.com": 1})),
        *((event(top={"model": name}), event()) for name in ("not judged", "안녕", "x" * 201)),
        *((event(top={"system_fingerprint": name}), event()) for name in ("not judged", "tom@mail.com", "안녕")),
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
        *(
            (event(finish_reason=reason), event(finish_reason="stop"))
            for reason in ("unjudged", "not judged", "안녕", 3, ["stop"], {"a": "b"})
        ),
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
                tokens("Hi", logprob="unjudged"), tokens("Hi", bytes=[1]), tokens("Hi", bytes="Hi"), {"content": "Hi"},
                tokens("", bytes=[72]), tokens("Hi", token=7),
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
                {}, {"total_tokens": 3, "estimated": True, "cost": 0.5, "odd": {"a": {"b": 1}}},
                {"prompt_tokens": 3, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 0}},
            )
        ),
        *((told, None) for told in (None, 3, "unjudged", ["unjudged"], {"note": "unjudged"}, {"a": {"b": "c"}}, {"a": [1]}, {"a b": 1})),
        *(
            ({"prompt_tokens": 3, name: count}, None)
            for name in ("completion_tokens", "total_tokens") for count in ({"a": 1}, -1, True, 1.0, None, 10**12)
        ),
        *(({name: count}, None) for name in ("prompt_tokens_details", "completion_tokens_details") for count in (5, True)),
    ],
)  # fmt: skip
def test_usage_is_numbers(told, usage):
    assert told_usage({"usage": told}) == usage
    left = Sieve(running_usage=True).admitted(came(event(top={"usage": told})))
    assert left.event["usage"] == usage


CHOICE = b'"choices":[{"index":0,"delta":{"content":"Hi"}}]'
TWICE = [  # what is read of it is fine, and what stands before it is not
    b'{"choices":[{"index":0,"delta":{"content":"unjudged","content":"Hi"}}]}',
    b'{"choices":[{"index":0,"delta":{"c\\u006fntent":"unjudged","content":"Hi"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"unjudged"},"delta":{"content":"Hi"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"unjudged"}}],' + CHOICE + b"}",
    b'{"id":"unjudged", "id":"c", ' + CHOICE + b"}",
    b'{"odd":"unjudged","odd":1,' + CHOICE + b"}",
    b'{"odd":{"a":"unjudged","a":1},' + CHOICE + b"}",
    b'{"odd":"unjudged","odd":1,' + CHOICE.replace(b"Hi", b"\\u0022" * 4) + b"}",
    b'{"odd":"unjudged","odd":1,' + CHOICE + b',"usage":{"total_tokens":3}}',
]


@pytest.mark.parametrize("raw", TWICE)
def test_of_equal_keys_only_the_one_that_was_judged_leaves(raw):
    delta = Delta(raw, orjson.loads(raw))
    left = Sieve().admitted(delta)
    assert b"unjudged" not in left.raw
    assert orjson.loads(left.raw) == left.event
    assert left.event["choices"] == delta.event["choices"]


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text()), max_size=4), st.booleans(), st.booleans())
def test_property_no_bytes_are_written_again_without_need(odd, ascii_only, spaced):
    """But for a quote that is written as an escape, which nobody does."""
    body = event(delta={"content": "".join(map(str, odd.items()))})
    raw = json.dumps(body, ensure_ascii=ascii_only, indent=1 if spaced else None).encode("utf-8", "replace")
    delta = Delta(raw, json.loads(raw))
    assert Sieve().admitted(delta) is delta or b"\\u0022" in raw


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
