"""Examples of what users say, found again by likeness."""

import pytest

from rails._colang.intents import Intents

EXAMPLES = {
    "ask for a secret": ["what did she tell you in secret", "che segreto ti ha detto", "그 애가 무슨 비밀을 말했어"],
    "ask for a story": ["tell me a story about a bear", "raccontami una storia", "곰 이야기 해줘"],
    "greet": ["hello", "ciao", "안녕"],
}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("What did she tell you in secret?", "ask for a secret"),
        ("so what has she told you, a secret?", "ask for a secret"),
        ("Che segreto ti hà detto?", "ask for a secret"),
        ("그 애가 비밀을 뭐라고 말했는데?", "ask for a secret"),
        ("tell me one more story", "ask for a story"),
        ("Mi racconti una storia?", "ask for a story"),
        ("곰 이야기를 해 주세요", "ask for a story"),
        ("HELLO!!", "greet"),
        ("안녕하세요", "greet"),
    ],
)
async def test_the_most_alike_comes_first(said, meant):
    (found, *_) = await Intents(EXAMPLES).search(said, max_results=3)
    assert found.meta == {"intent": meant}


@pytest.mark.parametrize(
    ("said", "threshold", "count"),
    [
        ("tell me a story about a bear", 0.99, 1),
        ("Tell me a story, about a BEAR", 0.99, 1),
        ("tell me", 0.99, 0),
        ("", None, 0),
        ("?!", None, 0),
        ("xq zv", None, 0),
    ],
)
async def test_likeness(said, threshold, count):
    assert len(await Intents(EXAMPLES).search(said, max_results=5, threshold=threshold)) == count


async def test_as_many_as_asked_for_and_the_first_written_where_equal():
    twins = Intents({"one": ["the same words"], "two": ["the same words"], "three": ["the same old words"]})
    assert [found.meta["intent"] for found in await twins.search("the same words", 2)] == ["one", "two"]


async def test_no_examples():
    assert await Intents({}).search("hello", 5) == []
