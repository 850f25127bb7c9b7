"""repeat: within an answer, over answers, in a loop; and that the memory is small and holds no text."""

import json
import unicodedata

import pytest
from pydantic import ValidationError

from rails.repeat import Rail, RailOptions

MOON = "The moon smiles at the bear. "
OWL = "An owl sings in the tree. "
FOX = "The fox sleeps in its den. "
CAT = "The cat dreams of a fish. "


@pytest.fixture
def make(house):
    return lambda **options: Rail("repeat", RailOptions(**options), house())


WITHIN = [
    ([MOON, OWL, MOON, FOX], MOON + OWL + FOX, "pass pass drop pass"),
    ([MOON, "THE MOON, smiles at the  bear!! "], MOON, "pass drop"),
    ([MOON, MOON, MOON, MOON, OWL], MOON, "pass drop drop end"),
    ([MOON, MOON, MOON, OWL, MOON, MOON, MOON], MOON + OWL, "pass drop drop pass drop drop end"),
    ([MOON, MOON, MOON, "\n", MOON], MOON + "\n", "pass drop drop pass end"),  # a blank line is no way out
    ([MOON, MOON, MOON, "Yes! ", MOON], MOON + "Yes! ", "pass drop drop pass drop"),
    (["Yes! ", "Yes! ", "Well done! ", "Well done! "], "Yes! Yes! Well done! Well done! ", "pass pass pass pass"),
    (["What shall we play? ", "What shall we play? "], "What shall we play? ", "pass drop"),
    (["Facciamo un gioco? ", "Facciamo un gioco!"], "Facciamo un gioco? ", "pass drop"),
    (["오늘은 뭐 하고 놀까? ", "오늘은 뭐 하고 놀까? "], "오늘은 뭐 하고 놀까? ", "pass drop"),
    (["우리 같이 놀자! ", unicodedata.normalize("NFD", "우리 같이 놀자! ")], "우리 같이 놀자! ", "pass drop"),
    (["좋아! ", "좋아! "], "좋아! 좋아! ", "pass pass"),
    (["🎉 ", "🎉 ", "🎉 "], "🎉 🎉 🎉 ", "pass pass pass"),
]


@pytest.mark.parametrize(("pieces", "sent", "acts"), WITHIN)
async def test_within_an_answer(make, answer, turn, pieces, sent, acts):
    assert await answer(make(), turn(), pieces) == (sent.rstrip(), acts.split())


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ("the moon " * 6, "end"),
        ("moon the " * 6 + "moon", "end"),  # it may begin and break off anywhere
        ("no! " * 6, "end"),
        ("we go up and down, " * 6, "end"),
        ("la luna sale, " * 6, "end"),
        ("달님 안녕 " * 6, "end"),
        ("the moon " * 5, "pass"),
        ("we go up and down again " * 6, "pass"),  # six words are no phrase but a refrain
        ("Once the moon " + "the moon " * 6, "pass"),  # not the whole piece; the next one is
        ("One, two, three, four, five, six, seven, eight, nine, ten!", "pass"),
    ],
)
async def test_loops(make, judge, text, act):
    assert (await judge(make(), text, ending="piece")).act.value == act


async def say(answer, rail, turn, state, identity, *pieces):
    """One more answer of a session; its state as Redis would give it back."""
    at = turn(id=identity, state=json.loads(json.dumps(state)))
    sent, _ = await answer(rail, at, pieces)
    return sent, at.state


async def test_over_answers(make, answer, turn):
    rail, state = make(answers=2), {}
    sent, state = await say(answer, rail, turn, state, "t1", MOON)
    sent, state = await say(answer, rail, turn, state, "t2", OWL)
    sent, state = await say(answer, rail, turn, state, "t3", FOX, MOON, OWL)
    assert sent == FOX.rstrip()  # both are among the last two answers, also after the present one was noted
    sent, state = await say(answer, rail, turn, state, "t4", CAT, MOON)
    assert sent == (CAT + MOON).rstrip()  # t1 is too long ago


async def test_no_earlier_answers(make, answer, turn):
    rail = make(answers=0)
    _, state = await say(answer, rail, turn, {}, "t1", MOON)
    sent, state = await say(answer, rail, turn, state, "t2", MOON, MOON)
    assert sent == MOON.rstrip()
    assert [turn_id for turn_id, _ in state["repeat"]["said"]] == ["t2"]


async def test_the_memory_is_bounded_and_holds_no_text(make, answer, turn):
    rail, state = make(answers=3), {}
    for number in range(6):
        pieces = [f"Sentence {index} of answer {number}. " for index in range(50)]
        sent, state = await say(answer, rail, turn, state, f"t{number}", *pieces)
        assert sent == "".join(pieces).rstrip()
    said = state["repeat"]["said"]
    assert [turn_id for turn_id, _ in said] == ["t2", "t3", "t4", "t5"]  # three earlier ones and the present
    assert all(len(digests) == 40 for _, digests in said)
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for _, digests in said for digest in digests)


async def test_shortest_counts_korean_twice(make, answer, turn):
    rail = make(shortest=8)
    assert (await answer(rail, turn(), ["Fine so. ", "Fine so. "]))[1] == ["pass", "pass"]  # 7 characters
    assert (await answer(rail, turn(), ["Fine sir. ", "Fine sir. "]))[1] == ["pass", "drop"]
    assert (await answer(rail, turn(), ["잘 자. ", "잘 자. "]))[1] == ["pass", "pass"]  # 5
    assert (await answer(rail, turn(), ["잘했어요. ", "잘했어요. "]))[1] == ["pass", "drop"]


@pytest.mark.parametrize("wrong", [{"answers": "-1"}, {"shortest": "0"}, {"times": "3"}])
def test_options_are_checked(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RailOptions(**wrong)
