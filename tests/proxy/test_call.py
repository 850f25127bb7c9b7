"""What a request says: answered before, not answered yet, and an answer that the app began."""

import orjson
import pytest

from proxy.call import Conversation
from proxy.wire import completions, request
from proxy.wire.messages import Permits


def of(*said):
    messages = [{"role": role, "content": text} for role, text in said]
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
        ("u1 a2 a3", "u1 a2", "", "a3"),
        ("u1 a2 s0", "", "u1", "a2"),
        ("a1", "", "", "a1"),
        ("s0", "", "", None),
    ],
)
def test_sides(said, earlier, open_ones, prefill):
    names = {"u": "user", "a": "assistant", "t": "tool", "s": "system"}

    def read(words):
        return [(names[word[0]], word) for word in words.split()]

    talk = of(*read(said))
    assert told(talk.earlier) == read(earlier)
    assert told(talk.open) == read(open_ones)
    assert (talk.prefill and talk.prefill.text) == prefill
    assert talk.said() == read(earlier) + read(open_ones)


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
