"""The skeleton: events of the house's own writing, in the likeness of the backend's."""

import pytest

from proxy.wire.skeleton import Skeleton


def test_the_skeleton_speaks_for_the_house_until_it_has_learnt():
    skeleton = Skeleton("t1", "m")
    first = skeleton.part(0, role=True, content="Hi").event
    assert (first["id"], first["model"], first["object"]) == ("chatcmpl-t1", "m", "chat.completion.chunk")
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]
    skeleton.learn({"id": "theirs", "created": 7, "model": "", "odd": 1})
    skeleton.learn({"id": "too late", "created": 8, "model": "n"})
    assert skeleton.part(0, content="Yo").event == {
        "id": "theirs", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Yo"}, "finish_reason": None}],
    }  # fmt: skip
    assert skeleton.finish(0, "stop").event["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    last = skeleton.usage({"total_tokens": 3}).event
    assert (last["id"], last["choices"], last["usage"]) == ("theirs", [], {"total_tokens": 3})


def test_an_empty_id_is_not_learnt():
    skeleton = Skeleton("t1", "m")
    skeleton.learn({"id": "", "created": 0, "model": None})
    told = skeleton.finish(0, "stop").event
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
    told = skeleton.finish(0, "stop").event
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


def test_each_answer_has_its_index():
    skeleton = Skeleton("t1", "m")
    assert skeleton.part(2, refusal="No").event["choices"][0] == {
        "index": 2,
        "delta": {"refusal": "No"},
        "finish_reason": None,
    }
    assert skeleton.finish(3, "stop").event["choices"][0]["index"] == 3


def test_the_last_event_tells_what_came_with_the_usage():
    skeleton = Skeleton("t1", "m")
    last = skeleton.finish(0, "stop")
    assert skeleton.completed(last) is last
    skeleton.closing({"choices": [], "usage": {"total_tokens": 3}, "system_fingerprint": "fp"})
    assert skeleton.completed(last).event == {**last.event, "system_fingerprint": "fp"}
