"""/v1/completions: what is understood of a prompt, how it is put together again, and answers that come back as they were."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.turn import Delta
from proxy.wire.collect import Collector
from proxy.wire.completions import Completions, parse
from proxy.wire.messages import BadRequest, Message, Permits
from proxy.wire.sieve import Sieve
from proxy.wire.sse import Reader

RECORDINGS = Path(__file__).parents[4] / "shared" / "wire" / "vllm"
SCRIPT = "System: s \n User: Tom: a\nBuddy: b\nTom: c \n Buddy: "


def request(permits=None, /, **fields):
    return parse(raw(**fields), permits or Permits(choices=8))


def raw(**fields):
    return orjson.dumps({"prompt": "Hello", **fields})


def refusal(data, permits=None):
    with pytest.raises(BadRequest) as caught:
        parse(data, permits or Permits())
    return caught.value


# -- the request -------------------------------------------------------------------------------------------------------


def test_a_plain_prompt_is_the_users():
    asked = request(prompt="Hello", model="m", stream=True, metadata={"session_id": "s"}, unheard_of=[1])
    assert asked.messages == (Message("user", "Hello", 0),)
    assert asked.talk() == list(asked.messages)
    assert (asked.model, asked.stream, asked.session, asked.choices) == ("m", True, "s", 1)
    assert not asked.wants_usage
    assert request(stream_options={"include_usage": True}, stream=True).wants_usage


def test_a_prompt_with_roles_is_a_conversation():
    asked = request(prompt=SCRIPT)
    assert [(one.role, one.text) for one in asked.messages] == [
        (None, "s"),
        ("user", "Tom: a"),
        ("assistant", "b"),
        ("user", "Tom: c"),
    ]
    assert [one.index for one in asked.talk()] == [1, 2, 3]


def test_what_the_model_may_read_takes_the_place_of_what_was_said():
    asked = request(prompt=SCRIPT, model="m", temperature=1, unheard_of=[1])
    assert asked.upstream({1: "Tom: x", 3: "Tom: "}) == {
        "prompt": "System: s \n User: Tom: x\nBuddy: b\nTom:  \n Buddy: ",
        "model": "m", "temperature": 1, "unheard_of": [1], "stream": True,
    }  # fmt: skip
    assert asked.body["prompt"] == SCRIPT


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_what_nothing_changes_comes_out_as_it_came(prompt, prompts):
    assert parse(orjson.dumps({"prompt": prompt}), Permits()).upstream({})["prompt"] == prompt
    assert request(prompt=prompts).upstream({})["prompt"] == prompts


def test_of_several_prompts_each_ones_last_words_are_unanswered():
    asked = request(prompt=[SCRIPT, "Hello", "User: d\nAssistant: e\nUser: f\nAssistant: g"], n=2)
    assert asked.choices == 6
    assert [(one.role, one.text) for one in asked.talk()] == [
        ("user", "Tom: a"), ("assistant", "b"), ("user", "d"), ("assistant", "e"),  # answered
        ("user", "Tom: c"), ("user", "Hello"), ("user", "f"), ("user", "g"),
    ]  # fmt: skip
    assert [one.index for one in asked.talk()] == [1, 2, 5, 6, 3, 4, 7, 8]
    changed = asked.upstream({4: "Bye", 8: "h"})["prompt"]
    assert changed == [SCRIPT, "Bye", "User: d\nAssistant: e\nUser: f\nAssistant: h"]


def test_an_answer_that_the_app_began_is_the_assistants():
    assert request(prompt="User: d\nAssistant: e").talk()[-1] == Message("assistant", "e", 1)


@pytest.mark.parametrize(("prompt", "choices"), [([1, 2], 1), ([[1, 2], [3]], 2)])
def test_token_ids_pass_unjudged_where_the_key_allows_them(prompt, choices):
    permits = Permits(fields=frozenset({"prompt_token_ids"}), choices=2)
    asked = request(permits, prompt=prompt)
    assert (asked.messages, asked.talk(), asked.choices) == ((), [], choices)
    assert asked.upstream({})["prompt"] == prompt


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        *(
            ({name: value}, name, "unsupported_parameter")
            for name, value in {
                "echo": True, "suffix": "x", "prompt_logprobs": 1, "prompt_token_ids": [1], "prompt_embeds": "x",
                "return_token_ids": True, "messages": [{"role": "user", "content": "a"}], "logits_processors": ["x"],
            }.items()
        ),
        *(({"prompt": prompt}, "prompt", "invalid_type") for prompt in (None, 3, True, {}, [], [[]], [None], ["a", 3], [1, "a"], ["a", [1]], [True])),
        *(({"prompt": prompt}, "prompt", "unsupported_value") for prompt in ([1, 2], [[1], [2]])),
        ({"prompt": "x" * 32_001}, "prompt", "message_too_long"),
        ({"prompt": "System: " + "x" * 400_001 + "\nUser: a"}, "prompt", "message_too_long"),
        *(({"logprobs": count}, "logprobs", "invalid_type") for count in (True, "1", 1.0, [])),
        ({"logprobs": 1}, "logprobs", "unsupported_value"),
        ({"logprobs": -1}, "logprobs", "unsupported_value"),
        ({"best_of": 2}, "best_of", "unsupported_value"),
        ({"n": 2}, "n", "unsupported_value"),
        ({"n": 0}, "n", "unsupported_value"),
        ({"prompt": ["a", "b"]}, "prompt", "unsupported_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"max_tokens": "9"}, "max_tokens", "invalid_type"),
        ({"stop": [3]}, "stop", "invalid_type"),
        ({"metadata": {"session_id": 3}}, "metadata.session_id", "invalid_type"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(fields, param, code):
    fault = refusal(raw(**fields))
    assert (fault.param, fault.code) == (param, code)
    assert f"`{param}`" in str(fault)


def test_a_long_conversation_is_no_long_message():
    turn = f"User: {'x' * 9_000}\nAssistant: x\n"
    assert len(request(prompt=turn * 30).messages) == 60


def test_prompts_and_answers_together_are_bounded():
    fault = refusal(raw(prompt=["a", "b"], n=2), Permits(choices=3))
    assert (fault.param, fault.code) == ("prompt", "unsupported_value")
    assert request(Permits(choices=4), prompt=["a", "b"], n=2).choices == 4


@pytest.mark.parametrize(
    ("field", "value", "allow"),
    [
        ("echo", True, "echo"),
        ("suffix", "x", "suffix"),
        ("logprobs", 3, "top_logprobs"),
        ("prompt_logprobs", 1, "prompt_logprobs"),
    ],
)
def test_a_key_may_allow_it(field, value, allow):
    asked = request(Permits(fields=frozenset({allow})), **{field: value})
    assert asked.upstream({})[field] == value


@pytest.mark.parametrize("data", [b"", b"[]", b'"x"', b'{"prompt": "secret'])
def test_a_body_that_is_no_object(data):
    fault = refusal(data)
    assert fault.code == "invalid_json"
    assert "secret" not in str(fault)


def test_a_refusal_repeats_no_text():
    assert "xxx" not in str(refusal(raw(prompt="x" * 32_001)))


# -- the answer --------------------------------------------------------------------------------------------------------


def event(*choices, **fields):
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": list(choices), **fields}


def choice(text="Hi", index=0, **fields):
    empty = {"finish_reason": None, "stop_reason": None, "prompt_token_ids": None, "token_ids": None}
    return {"index": index, "text": text, "logprobs": None, **empty, **fields}


def logprobs(offset, *tokens, top=True):
    return {
        "text_offset": [offset + sum(map(len, tokens[:at])) for at in range(len(tokens))],
        "token_logprobs": [-0.5] * len(tokens),
        "tokens": list(tokens),
        "top_logprobs": [{token: -0.5} for token in tokens] if top else None,
    }


def came(body):
    return Delta(orjson.dumps(body), body)


def told(data):
    return [orjson.loads(one) for one in Reader().feed(data) if one != b"[DONE]"]


def through(bodies, sieve=None):
    """The events as the client gets them, where nothing but the sieve touches them."""
    dialect, sieve = Completions(), sieve or Sieve()
    return told(b"".join(dialect.events([sieve.admitted(dialect.arrived(came(body)))]) for body in bodies))


@pytest.mark.parametrize(
    "bodies",
    [
        [event(choice("Hi")), event(choice(" you", finish_reason="stop", stop_reason=37), system_fingerprint="f")],
        [event(choice("", finish_reason="length"), unheard_of=3), event(usage={"prompt_tokens": 1, "total_tokens": 2})],
        [event(choice("Hi", logprobs=logprobs(0, "H", "i"))), event(choice(" you", logprobs=logprobs(2, " you")))],
        [event(choice("Hi", logprobs=logprobs(0, "H", "i", top=False)))],
        [event(choice("Hi", logprobs={**logprobs(0, "H", "i"), "top_logprobs": [None, {"i": -0.5}]}))],
        [event(choice("a", 1)), event(choice("b", 0)), event(choice("c", 1, logprobs=logprobs(1, "c")))],
        [{"choices": [{"index": 0, "text": "Hi", "logprobs": None, "finish_reason": ""}], "id": "", "object": "text_completion"}],
    ],
)  # fmt: skip
def test_what_nobody_touches_leaves_as_it_came(bodies):
    seen = through(bodies)
    assert seen == bodies
    assert [list(one) for one in seen] == [list(one) for one in bodies]  # in its order too


def test_no_tokens_are_no_tokens():
    body = event(choice("", logprobs=logprobs(0)))
    dialect = Completions()
    assert told(dialect.events([dialect.arrived(came(body))])) == [body]


def test_inside_the_house_it_is_a_chat_chunk():
    inside = Completions().arrived(came(event(choice("Hi", logprobs=logprobs(0, "Hi")), usage=None)))
    assert inside.event == {
        "id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": None,
        "choices": [{
            "index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]},
            "finish_reason": None, "stop_reason": None, "prompt_token_ids": None, "token_ids": None,
        }],
    }  # fmt: skip
    assert orjson.loads(inside.raw) == inside.event


def test_what_stands_beside_the_text_is_the_sieves_to_judge():
    inside = Completions().arrived(
        came(event({"index": 0, "text": "a", "delta": {"content": "b"}, "message": {"content": "c"}}))
    )
    assert inside.event["choices"] == [{"index": 0, "delta": {"content": "a"}, "message": {"content": "c"}}]
    assert through([event({"index": 0, "text": "a", "message": {"content": "c"}})])[0]["choices"] == [
        {"index": 0, "text": "a", "logprobs": None}
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {"tokens": ["H", "i"], "token_logprobs": [-1]},
        {"tokens": "Hi", "token_logprobs": "Hi"},
        {"tokens": [{"a": 1}], "token_logprobs": [1]},
        {"tokens": ["Hi"], "token_logprobs": [1], "top_logprobs": ["x"]},
        {"tokens": ["Hi"], "token_logprobs": [1], "top_logprobs": [{"Hi": -1, "Ho": -2}]},  # one that was not chosen
        {"tokens": ["secret"], "token_logprobs": [1]},
        {"content": [3]},
        "Hi",
    ],
)
def test_odd_log_probabilities_do_not_leave(odd):
    assert through([event(choice("Hi", logprobs=odd))]) == [
        event({key: value for key, value in choice("Hi").items() if key != "logprobs"} | {"logprobs": None})
    ]


def test_alternatives_leave_where_the_key_allows_them():
    body = event(choice("Hi", logprobs={**logprobs(0, "Hi"), "top_logprobs": [{"Hi": -0.5, "Ho": -0.7}]}))
    assert through([body], Sieve(opened={"top_logprobs"})) == [body]


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ({"delta": {"role": "assistant"}}, {"text": ""}),
        ({"delta": {"role": "assistant", "content": ""}}, {"text": ""}),
        ({"delta": {"content": "Hi"}}, {"text": "Hi"}),
        ({"delta": {}, "finish_reason": "stop"}, {"text": "", "finish_reason": "stop"}),
        ({"finish_reason": "stop"}, {"text": "", "finish_reason": "stop"}),
        ({"delta": {"refusal": "No."}}, {"text": "No."}),
    ],
)
def test_the_houses_own_events(inside, outside):
    body = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "choices": [{"index": 0, **inside}]}
    (seen,) = told(Completions().events([came(body)]))
    assert seen == {
        "id": "cmpl-7", "object": "text_completion", "choices": [{"index": 0, "logprobs": None, **outside}]
    }  # fmt: skip


def test_tokens_are_counted_in_what_has_left():
    dialect = Completions()
    dialect.events([came({"choices": [{"index": 0, "delta": {"content": "a house line. "}}]})])
    (seen,) = told(dialect.events([dialect.arrived(came(event(choice("Hi", logprobs=logprobs(2, "Hi")))))]))
    assert seen["choices"][0]["logprobs"]["text_offset"] == [14]


def test_ends():
    dialect = Completions()
    assert dialect.done() == b"data: [DONE]\n\n"
    assert dialect.broke({"message": "m"}) == b'data: {"error":{"message":"m"}}\n\ndata: [DONE]\n\n'
    assert dialect.route == "completions"


def test_an_event_without_choices_is_left_alone():
    delta = came({"error": {"message": "m"}})
    assert Completions().arrived(delta) is delta


def test_the_whole_answer():
    dialect, collector = Completions(), Collector()
    for body in (
        event(choice("Hi", logprobs=logprobs(0, "H", "i"))),
        event(choice(" you", logprobs=logprobs(2, " you"), finish_reason="stop"), system_fingerprint="f"),
        event(usage={"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}),
    ):
        collector.add(dialect.arrived(came(body)).event)
    assert dialect.whole(collector.body()) == event(
        choice("Hi you", logprobs=logprobs(0, "H", "i", " you"), finish_reason="stop"),
        system_fingerprint="f", usage={"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["completions_stream", "completions_prompt_list_stream"])
def test_vllms_streams_leave_as_they_came(name):
    path = RECORDINGS / f"{name}.sse"
    if not path.exists():
        pytest.skip("vLLM's recordings are not beside this repository")
    data = path.read_bytes()
    dialect, sieve = Completions(), Sieve()
    deltas = [Delta(one, orjson.loads(one)) for one in Reader().feed(data) if one != b"[DONE]"]
    assert dialect.events([sieve.admitted(dialect.arrived(delta)) for delta in deltas]) + dialect.done() == data


@pytest.mark.parametrize("name", ["completions", "completions_prompt_list", "completions_echo_logprobs"])
def test_vllms_answers_come_back_from_chats_form(name):
    path = RECORDINGS / f"{name}.json"
    if not path.exists():
        pytest.skip("vLLM's recordings are not beside this repository")
    body = json.loads(path.read_text("utf-8"))["body"]
    dialect = Completions()
    chat = dialect.arrived(came(body)).event
    choices = [{"message" if key == "delta" else key: value for key, value in one.items()} for one in chat["choices"]]
    assert dialect.whole({**chat, "choices": choices}) == body
