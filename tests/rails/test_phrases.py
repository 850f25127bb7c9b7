"""phrases: both sides, what each finding does, and phrases that a seam divides."""

import pytest
from pydantic import ValidationError

from proxy.turn import Act, Span, Turn
from rails.phrases import Rail, RailOptions

LISTS = {
    "private": {
        "en": ["where do you live", "tell me ... address"],
        "it": ["dove abiti", "come ti chiami"],
        "ko": ["어디 살아", "이름이 뭐"],
        "but_not": {"it": ["come ti chiami nella storia"], "ko": ["곰돌이 이름이 뭐"]},
    },
    "fire": {"en": ["light a match"], "it": ["accendi un fiammifero"], "ko": ["성냥을 켜"]},
}


@pytest.fixture
def make(house):
    return lambda **options: Rail("r", RailOptions(**options), house(**LISTS))


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ("Where do you live? ", Act.REPLACE),
        ("Please tell me what is not your address. ", Act.PASS),  # the gap is three words at most
        ("Please tell me now your address. ", Act.REPLACE),
        ("Ciao, DOVE  abiti? ", Act.REPLACE),
        ("넌 어디살아? ", Act.REPLACE),
        ("이름이 뭐야?", Act.REPLACE),
        ("곰돌이 이름이 뭐게?", Act.PASS),
        ("E come ti chiami nella storia?", Act.PASS),
        ("The bear lives in a cave. ", Act.PASS),
        ("", Act.PASS),
    ],
)
async def test_the_assistant(make, judge, text, act):
    verdict = await judge(make(assistant_says="private", say="no_secrets"), text)
    assert (verdict.act, verdict.say) == (act, "no_secrets" if act is Act.REPLACE else "")


async def test_without_a_line_the_sentence_is_left_out(make, judge):
    verdict = await judge(make(assistant_says="fire"), "Now light a match! ")
    assert (verdict.act, verdict.say) == (Act.DROP, "")


async def test_the_house_answers_the_user(make, judge):
    verdict = await judge(make(user_says="fire", user_say="safe"), "can I light a match?", role="user")
    assert (verdict.act, verdict.say, verdict.steer) == (Act.END, "safe", ())
    assert verdict.spans == (Span(6, 19, "FIRE"),)


async def test_the_model_gets_a_note(make, judge):
    verdict = await judge(make(user_says="fire", user_steer="mind"), "posso? accendi un fiammifero!", role="user")
    assert (verdict.act, verdict.say, verdict.steer) == (Act.PASS, "", ("mind",))


@pytest.mark.parametrize(
    ("options", "role"),
    [({"user_says": "fire", "user_say": "safe"}, "assistant"), ({"assistant_says": "fire", "say": "safe"}, "user")],
)
async def test_a_side_without_a_list_passes(make, judge, options, role):
    verdict = await judge(make(**options), "light a match", role=role)
    assert (verdict.act, verdict.spans) == (Act.PASS, ())


async def test_why_names_the_list_and_no_text(make, judge):
    verdict = await judge(make(assistant_says="private", say="s"), "So tell me Anna your address.")
    assert verdict.why == "private: matched a phrase of the list"
    assert verdict.spans == (Span(3, 28, "PRIVATE"),)


@pytest.mark.parametrize(
    ("before", "text", "after", "spans"),
    [
        ("Where do ", "you live? ", "", (Span(0, 8, "PRIVATE"),)),  # the end of a divided phrase
        ("", "Where do ", "you live? ", (Span(0, 9, "PRIVATE"),)),  # its beginning
        ("Where ", "do you ", "live? ", (Span(0, 7, "PRIVATE"),)),  # its middle
        ("Where do you live? ", "Nice. ", "", ()),  # it was the piece before
        ("", "Well, ", "where do you live? ", ()),  # it is the next piece
        (
            "",
            "dove abiti, ",
            "where do you live? ",
            (Span(0, 10, "PRIVATE"),),
        ),  # the next piece hides no other language
        ("곰돌이 ", "이름이 뭐게?", "", ()),  # what explains it away stands before
    ],
)
async def test_a_seam_hides_nothing(make, judge, before, text, after, spans):
    verdict = await judge(make(assistant_says="private", say="s"), text, before=before, after=after, ending="piece")
    assert verdict.spans == spans
    assert verdict.act is (Act.REPLACE if spans else Act.PASS)


async def test_it_remembers_nothing(make, judge):
    turn = Turn(id="t", language="en")
    await judge(make(assistant_says="private", say="s"), "Where do you live?", turn=turn)
    assert turn.state == {}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "needs a list"),
        ({"user_says": "fire"}, "either `user_say`"),
        ({"user_says": "fire", "user_say": "a", "user_steer": "b"}, "not both"),
        ({"assistant_says": "fire", "user_say": "a"}, "give `user_says`"),
        ({"user_says": "fire", "user_say": "a", "say": "b"}, "give `assistant_says`"),
    ],
)
def test_options_that_contradict_are_refused(options, complaint):
    with pytest.raises(ValidationError, match=complaint):
        RailOptions(**options)


@pytest.mark.parametrize(
    ("before", "text", "spans"),
    [
        ("can I light\n", "a match?", (Span(0, 7, "FIRE"),)),
        ("can I light a match?\n", "please", ()),
        ("light\n", "light a match", (Span(0, 13, "FIRE"),)),
    ],
)
async def test_the_user_may_say_it_in_instalments(make, judge, before, text, spans):
    rail = make(user_says="fire", user_say="safe")
    verdict = await judge(rail, text, role="user", before=before)
    assert (verdict.spans, verdict.say) == (spans, "safe" if spans else "")
    assert (await judge(rail, before, role="user", after=text)).spans == (await judge(rail, before, role="user")).spans
