"""/v1/embeddings: what is understood of a request, what is refused, and how it goes on."""

import orjson
import pytest

from proxy.wire.embeddings import parse
from proxy.wire.messages import BadRequest, Permits

TOKENS = Permits(fields=frozenset({"prompt_token_ids"}))


def request(permits=None, /, **fields):
    return parse(orjson.dumps({"input": "Hello", **fields}), permits or Permits())


@pytest.mark.parametrize(
    ("sent", "texts", "readable", "goes_on"),
    [
        ("User: a", ("User: a",), ["b"], "b"),  # no conversation: all of it is judged
        ("", ("",), [""], ""),
        (["a", "b"], ("a", "b"), ["c", "b"], ["c", "b"]),
        (["a"], ("a",), ["b"], ["b"]),
    ],
)
def test_texts(sent, texts, readable, goes_on):
    asked = request(input=sent, model="m", encoding_format="base64", dimensions=8, user="u", unheard_of=[1])
    assert (asked.texts, asked.model) == (texts, "m")
    rest = {"model": "m", "encoding_format": "base64", "dimensions": 8, "user": "u", "unheard_of": [1]}
    assert asked.upstream(readable) == {"input": goes_on, **rest}
    assert asked.body["input"] == sent


@pytest.mark.parametrize("sent", [[1, 2], [[1], [2]]])
def test_token_ids_pass_unjudged_where_the_key_allows_them(sent):
    asked = request(TOKENS, input=sent)
    assert asked.texts == ()
    assert asked.upstream([]) == {"input": sent}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        *(({"input": sent}, "input", "invalid_type") for sent in (None, 3, {}, [], ["a", 3], [[]], [True])),
        *(({"input": sent}, "input", "unsupported_value") for sent in ([1], [[1]])),
        ({"input": "x" * 32_001}, "input", "message_too_long"),
        ({"input": ["x" * 30_000] * 14}, "input", "message_too_long"),
        ({"input": ["x"] * 2049}, "input", "invalid_value"),
        ({"encoding_format": 3}, "encoding_format", "invalid_type"),
        ({"dimensions": "8"}, "dimensions", "invalid_type"),
        ({"dimensions": True}, "dimensions", "invalid_type"),
        ({"user": 3}, "user", "invalid_type"),
        ({"model": 3}, "model", "invalid_type"),
        *(
            ({name: value}, name, "unsupported_parameter")
            for name, value in {
                "messages": [{"role": "user", "content": "a"}], "prompt": "x", "prompt_token_ids": [1],
                "prompt_embeds": "x", "chat_template": "x", "chat_template_kwargs": {"a": 1},
            }.items()
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(fields, param, code):
    with pytest.raises(BadRequest) as caught:
        request(**fields)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert f"`{param}`" in str(caught.value)


def test_a_refusal_repeats_no_text():
    with pytest.raises(BadRequest) as caught:
        request(input="x" * 32_001)
    assert "xxx" not in str(caught.value)
