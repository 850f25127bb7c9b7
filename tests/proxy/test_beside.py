"""Reasoning and refusals: judged by the sentence, the same however they come, and silent where a rail would speak."""

import pytest
from drive import chunked
from saying import OTHER, zoo

from proxy.beside import Beside
from proxy.line import Line
from proxy.memo import Memo
from proxy.turn import Turn

TEXT = "First I look. Then comes my zebra. I write to tom@mail.com now. It is late"
LEFT = "First I look. I write to <EMAIL_ADDRESS> now. It is late"


def beside(policy=None):
    return Beside(Line(policy or zoo(), Turn("t1", "en", "", 1000.0, {}), Memo()))


async def through(one, chunks):
    out = [await one.feed(chunk) for chunk in chunks]
    return "".join([*out, await one.finish()])


@pytest.mark.parametrize("chunks", [[TEXT], list(TEXT), *(chunked(TEXT, seed) for seed in range(6))])
async def test_what_leaves_is_the_same_however_it_comes(chunks):
    one = beside()
    assert await through(one, chunks) == LEFT
    assert (one.left, "".join(one.stored), one.silenced) == (LEFT, LEFT, False)
    assert [found.rail for found in one._line.findings] == ["zebra", "private"]
    assert OTHER not in one.left


async def test_a_sentence_leaves_once_it_is_settled():
    one = beside()
    assert await one.feed("First I look. Th") == "First I look. "
    assert await one.feed("en I run.") == ""
    assert await one.finish() == "Then I run."


async def test_it_may_go_on_and_a_phrase_on_the_seam_is_seen():
    one = beside()
    assert await through(one, ["This is my "]) == "This is my "
    assert await through(one, ["zebra. And"]) == "And"


@pytest.mark.parametrize(
    ("text", "silenced"), [("my zebra", True), ("", False), (" ", False), ("Hi. My zebra.", False)]
)
async def test_it_knows_whether_anything_is_left(text, silenced):
    one = beside()
    await through(one, [text])
    assert one.silenced is silenced


async def test_what_leaves_in_shadow_is_stored_masked():
    one = beside(zoo(more="mode: shadow"))
    assert await through(one, ["I write to tom@mail.com now."]) == "I write to tom@mail.com now."
    assert one.stored == ["I write to <EMAIL_ADDRESS> now."]
