"""clamp: sentences, questions and characters of what leaves, by piece and by sentence."""

import pytest
from pydantic import ValidationError

from rails.clamp import Rail, RailOptions


@pytest.fixture
def make(house):
    return lambda **options: Rail("clamp", RailOptions(**options), house())


ANSWERS = [
    ({}, ["One. ", "Two. ", "Three. ", "Four."], "One. Two. Three. Four.", "pass pass pass pass"),
    ({}, ["One. ", "Two. ", "Three. ", "Four. ", "Five. "], "One. Two. Three. Four.", "pass pass pass pass end"),
    ({"sentences": 1}, ["하나. ", "둘. "], "하나.", "pass end"),
    # Pieces and clauses continue their sentence.
    ({"sentences": 1}, [("So ", "piece"), ("long, ", "clause"), "now. ", "2."], "So long, now.", "pass pass pass end"),
    ({"sentences": 1}, ["One. ", ("And a ", "piece")], "One.", "pass end"),
    # A sentence may end without a mark: at a line's end, with an emoji.
    ({"sentences": 2}, [("one\n", "line"), "two 🎉 ", "Three."], "one\ntwo 🎉", "pass pass end"),
    # What holds no word is no sentence.
    ({"sentences": 1}, ["One. ", ("\n", "line"), "🎉 ", "...", "Two."], "One. \n🎉 ...", "pass pass pass pass end"),
    # Questions beyond the limit are left out, the rest goes on.
    ({}, ["Who? ", "What? ", "Well. ", "Where? ", "Yes."], "Who? Well. Yes.", "pass drop pass drop pass"),
    ({"questions": 0}, ["Chi è? ", "Un orso."], "Un orso.", "drop pass"),
    ({}, ["뭐 할까? ", "같이 놀까요 ", "좋아! "], "뭐 할까? 좋아!", "pass drop pass"),
    # A question that was left out does not count.
    ({"sentences": 2}, ["Who? ", "What? ", "Yes. ", "No."], "Who? Yes.", "pass drop pass end"),
    # Characters, with the trailing space free.
    ({"characters": 10}, ["12345678. ", "2"], "12345678.", "pass end"),
    ({"characters": 9}, ["12345678. "], "12345678.", "pass"),
    ({"characters": 8}, ["12345678. "], "", "end"),
    ({"characters": 9}, ["12345678. ", "  "], "12345678.", "pass pass"),
    ({"characters": 11}, ["12345678. ", "2."], "12345678.", "pass end"),  # the space between them counts
    ({"characters": 12}, ["12345678. ", "2."], "12345678. 2.", "pass pass"),
    ({"characters": 9}, ["12345678. ", "🎉"], "12345678.", "pass end"),
    # A sentence that breaks off leaves room for its ellipsis.
    ({"characters": 7}, [("one ", "piece"), ("two ", "piece"), ("three ", "piece")], "one", "pass end"),
    ({"characters": 8}, [("one ", "piece"), ("two ", "piece"), ("three ", "piece")], "one two", "pass pass end"),
    # What the token limit broke off is left out; a sentence that it happened to finish is not.
    ({}, ["One. ", ("And the lit", "limit")], "One.", "pass end"),
    ({}, ["One. ", ("And the little bear.", "limit")], "One. And the little bear.", "pass pass"),
    ({}, [("토끼가 숲으로 갔", "limit")], "", "end"),
    ({"whole_sentences": "false"}, ["One. ", ("And the lit", "limit")], "One. And the lit", "pass pass"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "pieces", "sent", "acts"), ANSWERS)
async def test_answers(make, answer, turn, options, pieces, sent, acts):
    assert await answer(make(**options), turn(), pieces) == (sent, acts.split())


async def test_a_broken_first_sentence_loses_its_last_word_only(make, judge):
    verdict = await judge(make(), "Once upon a ti", ending="limit")
    assert (verdict.act.value, [(span.start, span.end) for span in verdict.spans]) == ("end", [(11, 14)])


async def test_a_sentence_that_did_not_leave_does_not_count(make, judge, turn):
    rail, at = make(sentences=1), turn()
    assert (await judge(rail, "One. ", turn=at, ending="sentence")).act.value == "pass"
    assert (
        await judge(rail, "Two. ", turn=at, ending="sentence")
    ).act.value == "pass"  # another rail dropped the first
    assert (await judge(rail, "Three. ", turn=at, ending="sentence", sent="Two.")).act.value == "end"


async def test_each_turn_counts_anew(make, answer, turn):
    rail = make(sentences=1)
    for identity in ("t1", "t2"):
        assert await answer(rail, turn(id=identity), ["One. ", "Two. "]) == ("One.", ["pass", "end"])


async def test_two_clamps_count_apart(house, answer, turn):
    at = turn()
    for key in ("short", "long"):
        rail = Rail(key, RailOptions(sentences=1), house())
        assert await answer(rail, at, ["One. ", "Two. "]) == ("One.", ["pass", "end"])


async def test_why_names_the_limit(make, judge, turn):
    at = turn()
    rail = make(sentences=1)
    await judge(rail, "One.", turn=at)
    assert (await judge(rail, "Two.", turn=at, sent="One.")).why == "more than 1 sentence(s)"
    assert (await judge(make(characters=3), "Four")).why == "more than 3 characters"
    assert (await judge(make(questions=0), "Who?")).why == "more than 0 question(s)"


@pytest.mark.parametrize(
    "wrong", [{"sentences": "0"}, {"questions": "-1"}, {"characters": "0"}, {"words": "-1"}, {"word": "3"}]
)
def test_options_are_checked(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RailOptions(**wrong)


SENTENCES = [
    ({"words": 4}, ["The bear sleeps. ", "The big bear sleeps well. ", "Good."], [False, True, False]),
    ({"words": 5}, ["The big bear sleeps well."], [False]),
    ({"words": 3}, ["L'orso – dorme ... bene. ", "Dorme 10 ore nella tana."], [False, True]),
    ({"words": 3}, ["곰이 굴에서 잠을 자요. ", "곰이 코 자요."], [True, False]),  # by what stands between spaces
    ({"words": 4}, [("The big bear ", "piece"), ("sleeps well in ", "piece"), "its cave. ", "Good."], [False, True, False, False]),
    ({}, ["one " * 60], [False]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "pieces", "flagged"), SENTENCES)
async def test_a_long_sentence_is_flagged_once_and_leaves(make, judge, turn, options, pieces, flagged):
    rail, at, sent, found = make(**options), turn(), "", []
    for piece in pieces:
        text, ending = (piece, "sentence") if isinstance(piece, str) else piece
        verdict = await judge(rail, text, turn=at, sent=sent, ending=ending)
        assert verdict.act.value == "pass"
        found.append("review" in verdict.flags)
        sent += text
    assert found == flagged


async def test_a_long_line_of_the_house_is_not_the_models_fault(make, judge):
    assert not (await judge(make(words=2), "We look for a grown-up.", house=True)).flags
