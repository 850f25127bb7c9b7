"""Usage: what a backend tells of it, added up, and what stands in for it."""

import pytest

from proxy.wire.usage import Tally, estimated, summed, told_usage


def test_no_usage_is_told_of_an_event_without():
    assert told_usage({}) is None


@pytest.mark.parametrize(
    ("messages", "events", "prompt"),
    [([{"content": "x" * 8}], 3, 2), ([{"content": "x" * 8}, {"content": None}, {}], 0, 2), ([{"content": ""}], 5, 0)],
)
def test_estimated_usage_says_so(messages, events, prompt):
    usage = estimated({"messages": messages}, events)
    assert usage == {"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": prompt + events, "estimated": True}  # fmt: skip


def test_a_prompt_that_is_text_is_estimated_too():
    assert estimated({"prompt": "x" * 8}, 1)["prompt_tokens"] == 2
    assert estimated({"prompt": ["x" * 8, "y" * 4]}, 1)["prompt_tokens"] == 3
    assert estimated({"prompt": [[7, 8], [9]]}, 1)["prompt_tokens"] == 3


def test_of_a_message_in_parts_the_text_is_estimated():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    content = [{"type": "text", "text": "x" * 8}, picture, {"type": "text", "text": None}, "y" * 4]
    assert estimated({"messages": [{"content": content}]}, 1)["prompt_tokens"] == 3


def told(index, prompt, completion):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [{"index": index, "delta": {}}], "usage": usage}


def counts(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@pytest.mark.parametrize(
    ("n", "events", "usage"),
    [
        (1, [told(0, 7, 1), told(0, 7, 2)], counts(7, 2)),
        (1, [told(0, 7, 2), {"choices": [], "usage": counts(7, 3)}], counts(7, 3)),
        (2, [told(0, 7, 2), told(1, 7, 3), told(0, 7, 4)], counts(7, 7)),  # two answers to one prompt
        (1, [told(0, 7, 2), told(1, 5, 3)], counts(12, 5)),  # one answer to each of two prompts
        (2, [told(0, 7, 1), told(1, 7, 1), told(2, 5, 1), told(3, 5, 1)], counts(12, 4)),
    ],
)
def test_what_a_cancelled_request_has_cost(n, events, usage):
    tally = Tally(n)
    for event in events:
        tally.add(event)
    assert tally.usage({"messages": []}) == usage


def test_without_a_word_of_the_backend_it_is_estimated():
    tally = Tally()
    for _ in range(3):
        tally.add({"choices": [{"index": 0, "delta": {"content": "a"}}]})
    assert tally.usage({"messages": [{"content": "x" * 8}]}) == {**counts(2, 3), "estimated": True}


@pytest.mark.parametrize(
    ("second", "total"),
    [
        (counts(3, 1), counts(10, 3)),
        ({**counts(3, 1), "estimated": True}, {**counts(10, 3), "estimated": True}),
        (
            {**counts(3, 1), "prompt_tokens_details": {"cached_tokens": 2}, "cost": None},
            {**counts(10, 3), "prompt_tokens_details": {"cached_tokens": 2}, "cost": None},
        ),
    ],
)
def test_two_requests_cost_what_both_cost(second, total):
    first = counts(7, 2)
    assert summed(first, second) == total
    assert summed(second, first) == total
    details = {"prompt_tokens_details": {"cached_tokens": 4, "audio": None}}
    assert (
        summed(details, {"prompt_tokens_details": {"cached_tokens": 3}})["prompt_tokens_details"]["cached_tokens"] == 7
    )
    assert summed({"estimated": True}, {"estimated": True}) == {"estimated": True}
    assert first == counts(7, 2)
