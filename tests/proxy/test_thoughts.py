"""Reasoning at the beginning of an answer: taken out the same however it comes, judged or left out."""

import pytest
from drive import chunked
from hypothesis import given
from hypothesis import strategies as st
from saying import zoo

from proxy.beside import Beside
from proxy.line import Line
from proxy.memo import Memo
from proxy.thoughts import Thoughts
from proxy.turn import Turn


def beside():
    return Beside(Line(zoo(), Turn("t1", "en", "", 1000.0, {}), Memo()))


async def parted(chunks, judged=False, begun=""):
    """What was taken out, what is left of it, and the answer."""
    one, found, answer = Thoughts(beside() if judged else None, begun), [], ""
    for chunk in chunks:
        thoughts, text = await one.feed(chunk)
        found, answer = [*found, *thoughts], answer + text
    thoughts, text = await one.finish()
    found, answer = [*found, *thoughts], answer + text
    assert "".join(thought.stored for thought in found) == "".join(thought.left for thought in found)
    return "".join(thought.raw for thought in found), "".join(thought.left for thought in found), answer


CASES = [
    ("<think>Hm. I see.</think>\n\nHi.", "<think>Hm. I see.</think>\n\n", "Hi."),
    ("\n <think>\nHm\n</think>Hi. </think>", "\n <think>\nHm\n</think>", "Hi. </think>"),
    ("<thinking>Hm </think> </thinking> Hi.", "<thinking>Hm </think> </thinking> ", "Hi."),
    ("[THINK]Hm</think>[/THINK]Hi.", "[THINK]Hm</think>[/THINK]", "Hi."),
    ("<think></think><think>Hm</think> Hi.", "<think></think><think>Hm</think> ", "Hi."),
    ("<think>Hm</think> <b>Hi.</b>", "<think>Hm</think> ", "<b>Hi.</b>"),
    ("<think>Hm</think> ", "<think>Hm</think> ", ""),
    ("<think>It never ends. </thin", "<think>It never ends. </thin", ""),
    # no reasoning
    ("Hi. <think>Hm</think>", "", "Hi. <think>Hm</think>"),
    ("<think", "", "<think"),
    ("<thin >Hm</think>", "", "<thin >Hm</think>"),
    ("Hm</think>Hi.", "", "Hm</think>Hi."),
    (" " * 65 + "<think>Hm</think>", "", " " * 65 + "<think>Hm</think>"),
    ("", "", ""),
    (" ", "", " "),
]


@pytest.mark.parametrize(("text", "taken", "answer"), CASES)
async def test_what_is_reasoning(text, taken, answer):
    for chunks in ([text], list(text), *(chunked(text, seed) for seed in range(5))):
        assert await parted(chunks) == (taken, "", answer)
    for chunks in ([text], list(text)):
        assert await parted(chunks, judged=True) == (taken, taken, answer)


@pytest.mark.parametrize(
    ("begun", "answer"), [("<think>\n", "Hi."), (" <think>Hm", "Hi."), ("<think>Hm</think>", "So.</think> Hi."), ("I <think>", "So.</think> Hi.")]
)  # fmt: skip
async def test_an_answer_may_go_on_within_it(begun, answer):
    text = "So.</think> Hi."
    for chunks in ([text], list(text)):
        assert await parted(chunks, begun=begun) == (text.removesuffix(answer), "", answer)


async def test_it_is_judged_between_its_marks():
    text = "<think>It is my zebra. I write to tom@mail.com now. My zebra</think> Hi."
    for chunks in ([text], list(text), *(chunked(text, seed) for seed in range(5))):
        assert await parted(chunks, judged=True) == (
            text.removesuffix("Hi."), "<think>I write to <EMAIL_ADDRESS> now. </think> ", "Hi.",
        )  # fmt: skip


PARTS = st.sampled_from(["<think>", "</think>", "<thinking>", "[THINK]", "[/THINK]", "</", "<", "a", ". B", " ", "\n"])


@given(st.lists(PARTS, max_size=20).map("".join), st.integers(0, 99), st.booleans())
async def test_property_no_chunking_changes_it_and_nothing_is_lost(text, seed, judged):
    whole = await parted([text], judged)
    assert await parted(chunked(text, seed), judged) == whole
    assert whole[0] + whole[2] == text


async def test_what_is_held_is_bounded():
    one = Thoughts(None)
    await one.feed("<think>")
    for _ in range(1000):
        await one.feed("word <</think ")
        assert len(one._held) < 10
