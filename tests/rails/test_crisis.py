"""crisis: found anywhere in the message, in every language; answered, and a person told."""

import pytest

from proxy.turn import Act, Segment, Span, Turn
from rails.crisis import Rail, RailOptions

LISTS = {
    "danger": {
        "en": ["hurt myself", "hits me"],
        "it": ["farmi del male", "mi picchia"],
        "ko": ["죽고 싶", "때려요"],
        "but_not": {"en": ["robot hits me"]},
    }
}
CASES = [
    ("I want to hurt myself", Act.END),
    ("we played and then we ate and after that daddy hits me when he is cross and then we went to bed", Act.END),
    ("Voglio FARMI DEL MALE.", Act.END),
    ("mamma mi picchia", Act.END),
    ("나 죽고 싶어", Act.END),
    ("아빠가 때려요", Act.END),
    ("in the game the robot hits me", Act.PASS),
    ("Tell me about the bear!", Act.PASS),
    ("", Act.PASS),
]


@pytest.fixture
def rail(house):
    return Rail("crisis", RailOptions(user_says="danger", say="care"), house(**LISTS))


@pytest.mark.parametrize(("text", "act"), CASES)
async def test_cases(rail, judge, text, act):
    verdict = await judge(rail, text, role="user")
    assert verdict.act is act
    assert verdict.flags == (frozenset({"review", "alert"}) if act is Act.END else frozenset())
    assert verdict.say == ("care" if act is Act.END else "")
    assert verdict.remember == ({"at": 0.0} if act is Act.END else {})


async def test_it_remembers_when_it_was(rail):
    turn = Turn("t", "en", now=1700000000.0)
    verdict = await rail.check(Segment("user", "I want to hurt myself", turn, last=True))
    assert verdict.remember == {"at": 1700000000.0}


def test_a_rail_that_broke_remembers_no_moment(rail):
    assert rail.when_broken.act is Act.END
    assert not rail.when_broken.remember


async def test_the_verdict_shows_where_but_not_what(rail, judge):
    verdict = await judge(rail, "I want to hurt myself now", role="user")
    assert verdict.spans == (Span(10, 21, "DANGER"),)
    assert "danger" in verdict.why
    assert "hurt" not in verdict.why


async def test_spans_are_offsets_of_the_raw_text(rail, judge):
    verdict = await judge(rail, "I want to h\u200burt myself", role="user")
    assert verdict.spans == (Span(10, 22, "DANGER"),)


@pytest.mark.parametrize(
    ("before", "text", "act"),
    [
        ("I want to hurt\n", "myself", Act.END),
        ("I want to\nhurt\n", "myself.", Act.END),
        ("나 죽고\n", "싶어", Act.END),
        ("I want to hurt myself\n", "ok", Act.PASS),  # found in the message before
        ("I want to hurt\n", "you", Act.PASS),
        ("robot\n", "hits me", Act.END),  # what explains a phrase away stands in the same message
    ],
)
async def test_a_phrase_in_instalments(rail, judge, before, text, act):
    assert (await judge(rail, text, role="user", before=before)).act is act


async def test_a_phrase_is_found_in_the_message_that_ends_it(rail, judge):
    verdict = await judge(rail, "I want to hurt", role="user", after="\nmyself")
    assert verdict.act is Act.PASS
    assert (await judge(rail, "myself now", role="user", before="hurt\n")).spans == (Span(0, 6, "DANGER"),)


async def test_what_a_tool_brings_is_heard(rail, judge):
    assert (await judge(rail, '{"heard": "I want to hurt myself"}', role="tool")).act is Act.END


def test_it_does_not_hear_the_model():
    assert Rail.content == {"user", "tool"}
    assert not Rail.shape
