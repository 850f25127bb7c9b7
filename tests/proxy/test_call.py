"""What a request says: answered before, not answered yet, and an answer that the app began."""

import orjson
import pytest

from proxy.call import Conversation
from proxy.wire import completions, request
from proxy.wire.messages import Permits

CALL = {"id": "c1", "type": "function", "function": {"name": "get_bear", "arguments": "{}"}}


def of(*said):
    """`c` and a number is a call without words, `C` one with them, `e` an answer without any."""
    messages = [
        {
            "role": role,
            "content": "" if text[0] in "ce" else text,
            **({"tool_calls": [CALL]} if text[0] in "cC" else {}),
        }
        for role, text in said
    ]
    return Conversation.of(request.parse(orjson.dumps({"messages": messages}), Permits()))


def told(messages):
    return [(message.role, message.text) for message in messages]


@pytest.mark.parametrize(
    ("said", "earlier", "open_ones", "prefill"),
    [
        ("u1", "", "u1", None),
        ("s0 u1", "", "u1", None),
        ("u1 u2", "", "u1 u2", None),
        ("u1 a2 u3", "u1 a2", "u3", None),
        ("u1 a2 s0 u3", "u1 a2", "u3", None),
        ("u1 a2 t3 u4", "u1 a2", "t3 u4", None),
        ("a1 u2", "a1", "u2", None),
        ("u1 a2 u3 a4 u5 u6", "u1 a2 u3 a4", "u5 u6", None),
        ("u1 a2", "", "u1", "a2"),
        ("u1 a2 u3 a4", "u1 a2", "u3", "a4"),
        ("u1 a2 a3", "", "u1", "a3"),  # what the app puts behind them hides nobody's words
        ("u1 a2 u3 a4 a5", "u1 a2", "u3", "a5"),
        ("u1 c2 t3", "", "u1 t3", None),  # while tools are called nothing is answered
        ("u1 C2 t3", "", "u1 t3", None),
        ("u1 a2 t3", "", "u1 t3", None),
        ("u1 c2 t3 c4 t5", "", "u1 t3 t5", None),
        ("u1 c2 t3 a4", "", "u1 t3", "a4"),
        ("u1 c2 t3 a4 u5", "u1 c2 t3 a4", "u5", None),
        ("u1 a2 u3 c4 t5", "u1 a2", "u3 t5", None),
        ("u1 c2 u3", "", "u1 u3", None),
        ("u1 C2 t3 u4", "", "u1 t3 u4", None),
        ("u1 e2 u3", "", "u1 u3", None),
        ("t1", "", "t1", None),
        ("a1 t2", "", "t2", None),
        ("u1 a2 s0", "", "u1", "a2"),
        ("a1", "", "", "a1"),
        ("s0", "", "", None),
    ],
)
def test_sides(said, earlier, open_ones, prefill):
    names = {"u": "user", "t": "tool", "s": "system"} | dict.fromkeys("acCe", "assistant")

    def read(words):
        return [(names[word[0]], word) for word in words.split()]

    def heard(words):
        return [(role, "" if text[0] in "ce" else text) for role, text in read(words)]

    talk = of(*read(said))
    assert told(talk.earlier) == heard(earlier)
    assert told(talk.open) == heard(open_ones)
    assert (talk.prefill and talk.prefill.text) == prefill
    spoken = [one for one in heard(said) if one[0] != "system"]
    assert talk.said() == (spoken[:-1] if prefill else spoken)
    assert sorted((*talk.open, *talk.known), key=lambda one: one.index) == list(talk.talk)


def test_of_a_text():
    prompt = "System: s\nUser: a\nAssistant: b\nUser: c\nAssistant: Well, "
    talk = Conversation.of(completions.parse(orjson.dumps({"prompt": prompt}), Permits()))
    assert talk.said() == [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert talk.prefill.text == "Well,"


def test_of_several_texts_the_last_words_of_each_are_open():
    prompts = ["User: a\nAssistant: b\nUser: c\nAssistant:", "User: d\nAssistant:"]
    talk = Conversation.of(completions.parse(orjson.dumps({"prompt": prompts}), Permits(choices=2)))
    assert told(talk.earlier) == [("user", "a"), ("assistant", "b")]
    assert told(talk.open) == [("user", "c"), ("user", "d")]
