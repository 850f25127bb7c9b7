"""Log probabilities: from completions' form into chat's and back, with nothing lost, and nothing odd let through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.logprobs import of_chat, of_text

NUMBER = st.one_of(st.none(), st.floats(max_value=0, allow_nan=False))
TOKENS = st.lists(st.tuples(st.text(), NUMBER, st.dictionaries(st.text(), NUMBER)), min_size=1)


@given(TOKENS, st.sampled_from(["none", "alone", "others"]), st.integers(0, 1000))
def test_there_and_back(tokens, tops, start):
    names = [name for name, _, _ in tokens]
    lists = {
        "text_offset": [start + sum(map(len, names[:at])) for at in range(len(names))],
        "token_logprobs": [value for _, value, _ in tokens],
        "tokens": names,
        "top_logprobs": None if tops == "none" else [_top(token, tops) for token in tokens],
    }
    assert of_text(of_chat(lists), start) == lists


def _top(token, tops):
    name, value, others = token
    return {**(others if tops == "others" else {}), name: value}  # a token has one probability


def test_a_token_of_which_no_alternatives_are_told():
    lists = {
        "text_offset": [0, 1],
        "token_logprobs": [None, -1],
        "tokens": ["a", "b"],
        "top_logprobs": [None, {"b": -1}],
    }
    inside = of_chat(lists)
    assert inside == {
        "content": [
            {"token": "a", "logprob": None, "top_logprobs": None},
            {"token": "b", "logprob": -1, "top_logprobs": []},
        ]
    }
    assert of_text(inside, 0) == lists


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "a",
        {},
        {"content": []},
        {"tokens": ["a"]},
        {"tokens": ["a"], "token_logprobs": []},
        {"tokens": [1], "token_logprobs": [1]},
        {"tokens": ["a"], "token_logprobs": [1], "top_logprobs": []},
        {"tokens": ["a"], "token_logprobs": [1], "top_logprobs": ["a"]},
    ],
)
def test_another_form_stays_for_the_sieve(odd):
    assert of_chat(odd) is odd


@pytest.mark.parametrize("odd", [None, "a", {}, {"content": None}, {"content": ["a"]}, {"content": [{"token": 1}]}])
def test_no_other_form_leaves(odd):
    assert of_text(odd, 0) is None
