"""crisis: each kind heard anywhere in the message, in every language; answered with its own line, and a person told."""

from dataclasses import replace

import pytest

from proxy.settings import read
from proxy.turn import Act, Alert, HelpLine, Phrases, PolicyError, Segment, Span, Turn
from rails import crisis
from rails.crisis import Rail, RailOptions

LISTS = {
    "danger": {"en": ["won't wake up"], "it": ["non si sveglia"], "ko": ["안 일어나"]},
    "harm": {
        "en": ["hurt myself"],
        "it": ["farmi del male"],
        "ko": ["죽고 싶"],
    },
    "hits": {"en": ["hits me"], "it": ["mi picchia"], "ko": ["때려요"], "but_not": {"en": ["robot hits me"]}},
    "scared": {"en": ["scared of daddy"], "it": ["ho paura di papà"], "ko": ["아빠가 무서"]},
    "bullies": {"en": ["call me names"], "it": ["mi prendono in giro"], "ko": ["왕따"]},
    "sad": {"en": ["nobody likes me"], "it": ["nessuno mi vuole"], "ko": ["아무도 나 안 좋아"]},
}
KINDS = {
    "doubt": {"phrases": "sad", "steer": "check_in"},
    "bullying": {"phrases": "bullies", "say": "care_bullying", "severity": "low"},
    "fear": {"phrases": "scared", "say": "care_fear", "severity": "medium"},
    "grooming": {"say": "care_grooming"},
    "abuse": {"phrases": "hits", "say": "care_abuse"},
    "selfharm": {"phrases": "harm", "say": "care_selfharm"},
    "emergency": {"phrases": "danger", "say": "care_emergency", "parents": True},
}
HELP = (
    HelpLine("GB", frozenset({"emergency", "selfharm"}), "999", frozenset()),
    HelpLine("GB", frozenset({"selfharm"}), "0800 1111", frozenset({"en"})),
    HelpLine("KR", frozenset({"emergency"}), "119", frozenset()),
    HelpLine("US", frozenset({"emergency", "selfharm"}), "911", frozenset()),
    HelpLine("NO", frozenset({"emergency"}), "113", frozenset()),
)
CASES = [
    ("I want to hurt myself", "selfharm"),
    ("we played and then we ate and after that daddy hits me when he is cross and then we went to bed", "abuse"),
    ("Voglio FARMI DEL MALE.", "selfharm"),
    ("mamma mi picchia", "abuse"),
    ("나 죽고 싶어", "selfharm"),
    ("아빠가 때려요", "abuse"),
    ("mummy won't wake up", "emergency"),
    ("엄마가 안 일어나", "emergency"),
    ("ho paura di papà", "fear"),
    ("I am scared of daddy, he hits me", "abuse"),
    ("he hits me and now mummy won't wake up", "emergency"),
    ("they call me names and I want to hurt myself", "selfharm"),
    ("mi prendono in giro", "bullying"),
    ("nobody likes me", "doubt"),
    ("nobody likes me, they call me names", "bullying"),
    ("in the game the robot hits me", ""),
    ("Tell me about the bear!", ""),
    ("", ""),
]


class Ear:
    """In the place of the learned model: hears the kind that a test wants, and keeps whether a list had a hint."""

    def __init__(self, kind="", sure=True):
        self.kind, self.sure, self.hinted = kind, sure, []

    def clashes(self):
        return iter([f"a note on {self.kind}"] if self.kind else [])

    async def ready(self, segment):
        pass

    def hear(self, segment, hinted=False):
        self.hinted.append(hinted)
        return Heard(self.kind, self.sure) if self.kind else None


class Heard:
    because = "the learned model, 0.90"

    def __init__(self, kind, sure):
        self.kind, self.sure = kind, sure


@pytest.fixture
def build(house, monkeypatch):
    def built(ear=None, kinds=KINDS, **more):
        """With an ear there is a learned model; without one the lists decide alone."""
        monkeypatch.setattr(crisis, "Sense", lambda *_, **__: ear)
        options = RailOptions(kinds=kinds, learned="child" if ear else None)
        return Rail("crisis", options, replace(house(**LISTS), **more))

    return built


@pytest.fixture
def rail(build):
    return build()


@pytest.mark.parametrize(("text", "kind"), CASES)
async def test_cases(rail, judge, text, kind):
    verdict = await judge(rail, text, role="user")
    ends = kind not in ("", "doubt")
    alerts = ends and kind != "bullying"
    assert verdict.act is (Act.END if ends else Act.PASS)
    assert verdict.say == (f"care_{kind}" if ends else "")
    assert verdict.steer == (("check_in",) if kind == "doubt" else ())
    assert verdict.flags == ({"review", "alert"} if alerts else {"review"} if kind else set())
    assert (verdict.alert and verdict.alert.kind) == (kind if alerts else None)
    memory = {"at": 0.0, "since": 0.0, "kind": kind, "times": 1, "parents": kind == "emergency"}
    assert verdict.remember == (memory if ends else {})


@pytest.mark.parametrize(
    ("text", "sensed", "kind"),
    [
        ("my tummy feels strange after the berries", "emergency", "emergency"),
        ("daddy hits me", "emergency", "abuse"),
        ("papà mi picchia", "selfharm", "abuse"),
        ("I am scared of daddy, he hits me", "fear", "abuse"),
        ("daddy hits me", "weather", "abuse"),
        ("daddy hits me", "", "abuse"),  # words that the model never takes back
        ("I want to hurt myself", "", "selfharm"),
        ("ho paura di papà", "", "fear"),
        ("won't wake up!!! 😭😭😭", "", "emergency"),
        ("won't wake up won't wake up", "", "emergency"),
        ("won't wake up and daddy hits me", "", "abuse"),  # a word of a certain list, behind one that is not
        ("call me names", "", "bullying"),
        # words that stand in many a game: in a longer message the model may know better
        ("and then the little bear says that mummy won't wake up", "", None),
        ("the pirates in the story call me names because of my hat", "", None),
        ("the last biscuit in the tin says that nobody likes me", "", None),
        ("a man online wants pictures", "grooming", "grooming"),
        ("nobody likes me", "selfharm", "selfharm"),
        ("they call me names", "doubt", "bullying"),
        ("the bear is big", "weather", None),  # a kind that the policy does not have
    ],
)
async def test_the_model_hears_what_no_list_says_and_the_list_names_the_kind(build, judge, text, sensed, kind):
    """A hit of a list tells which kind it is, but for a doubt: there the model may hear that it is graver."""
    verdict = await judge(build(Ear(sensed)), text, role="user")
    assert verdict.say == (f"care_{kind}" if kind else "")
    assert not verdict.steer


@pytest.mark.parametrize("kind", ["emergency", "selfharm", "bullying", "doubt"])
async def test_what_may_be_danger_is_met_as_a_doubt(build, judge, kind):
    verdict = await judge(build(Ear(kind, sure=False)), "my tummy feels strange", role="user")
    assert (verdict.act, verdict.say, verdict.alert, verdict.remember) == (Act.PASS, "", None, {})
    assert (verdict.steer, verdict.flags) == (("check_in",), {"review"})


async def test_a_single_word_may_answer_a_riddle_and_is_met_as_a_doubt(build, judge):
    lists = {**LISTS, "danger": {"en": ["ambulance"]}}
    rail = build(Ear(""), phrases={name: Phrases(words) for name, words in lists.items()})
    verdict = await judge(rail, "Ambulance!", role="user")
    assert (verdict.act, verdict.steer, verdict.alert) == (Act.PASS, ("check_in",), None)
    assert (await judge(rail, "the ambulance of the teddies is red", role="user")).steer == ()


async def test_a_doubt_of_the_list_is_one_where_the_model_hears_nothing_graver(build, judge):
    verdict = await judge(build(Ear("")), "nobody likes me", role="user")
    assert (verdict.act, verdict.steer, verdict.alert) == (Act.PASS, ("check_in",), None)


async def test_what_may_be_danger_is_nothing_to_a_policy_without_doubt(build, judge):
    rail = build(Ear("selfharm", sure=False), kinds={kind: one for kind, one in KINDS.items() if kind != "doubt"})
    verdict = await judge(rail, "my tummy feels strange", role="user")
    assert (verdict.act, verdict.steer, verdict.alert, verdict.flags) == (Act.PASS, (), None, set())


async def test_in_what_a_tool_brings_the_lists_decide_alone(build, judge):
    ear = Ear("emergency")
    rail = build(ear)
    assert (await judge(rail, "daddy hits me", role="tool")).say == "care_abuse"
    assert (await judge(rail, "the bear is big", role="tool")).act is Act.PASS
    assert ear.hinted == []


async def test_the_model_is_told_whether_a_list_has_a_hint(build, judge):
    ear = Ear()
    rail = build(ear)
    long = "and then the little bear says that mummy won't wake up"
    for text in (long, "the bear is big", "daddy hits me", "won't wake up"):
        await judge(rail, text, role="user")
    assert ear.hinted == [True, False]  # and not asked where the list is certain


def test_examples_that_clash_are_noted(build):
    assert (build(Ear("fear")).notes, build(Ear()).notes, build().notes) == (["a note on fear"], [], [])


async def test_what_the_model_heard_has_no_place_but_a_reason(build, judge):
    verdict = await judge(build(Ear("grooming")), "he wants to meet me", role="user")
    assert (verdict.spans, verdict.alert) == ((), Alert("grooming", "high", False, 1, 0.0))
    assert verdict.why == "grooming: the learned model, 0.90; somebody may be in danger"


async def test_a_repeat_counts_up_keeps_the_worst_and_ages_out(rail):
    turn, told = Turn("t", "en"), []
    said = [(100.0, "daddy hits me"), (200.0, "I am scared of daddy"), (300.0, "mummy won't wake up"),
            (400.0, "they call me names"), (400.0 + 86399, "daddy hits me"), (2 * 86400.0 + 400, "daddy hits me")]  # fmt: skip
    for now, text in said:
        turn.now = now
        verdict = await rail.check(Segment("user", text, turn, last=True))
        turn.state["crisis"] = {**turn.recall("crisis"), **verdict.remember}
        memory = turn.recall("crisis")
        told.append((memory["at"], memory["since"], memory["kind"], memory["times"]))
        if verdict.alert:
            assert (verdict.alert.kind, verdict.alert.since, verdict.alert.times) == (*told[-1][2:0:-1], told[-1][3])
    assert told == [
        (100.0, 100.0, "abuse", 1),
        (200.0, 100.0, "abuse", 2),
        (300.0, 100.0, "emergency", 3),
        (400.0, 100.0, "emergency", 4),
        (86799.0, 100.0, "emergency", 5),
        (173200.0, 173200.0, "abuse", 1),
    ]


async def test_a_memory_of_an_older_version_is_understood(rail):
    turn = Turn("t", "en", now=50.0, state={"crisis": {"at": 20.0}})
    verdict = await rail.check(Segment("user", "daddy hits me", turn, last=True))
    assert verdict.remember == {"at": 50.0, "since": 20.0, "kind": "abuse", "times": 2, "parents": False}
    said = await rail.check(Segment("user", "mummy won't wake up", turn, last=True))
    assert not said.alert.parents  # it cannot tell what else there was


@pytest.mark.parametrize(
    ("said", "parents"),
    [
        (["mummy won't wake up"], True),
        (["daddy hits me"], False),
        (["mummy won't wake up", "daddy hits me"], False),  # it would tell them that there was something more
        (["daddy hits me", "mummy won't wake up"], False),  # ... as its `times` and `since` would
        (["mummy won't wake up", "daddy hits me", "mummy won't wake up"], False),
        (["they call me names", "mummy won't wake up"], False),  # nobody was told of that, and they neither
        (["nobody likes me", "mummy won't wake up"], True),  # no danger, and not counted
        (["mummy won't wake up", "mummy won't wake up"], True),
    ],
)
async def test_parents_hear_only_what_they_may(rail, said, parents):
    turn = Turn("t", "en")
    for text in said:
        verdict = await rail.check(Segment("user", text, turn, last=True))
        turn.state["crisis"] = {**turn.recall("crisis"), **verdict.remember}
    assert verdict.alert.parents is parents


async def test_after_a_day_parents_may_hear_again(rail):
    turn = Turn("t", "en", now=86400.0, state={"crisis": {"at": 0.0, "since": 0.0, "kind": "abuse", "times": 1, "parents": False}})  # fmt: skip
    assert (await rail.check(Segment("user", "mummy won't wake up", turn, last=True))).alert.parents


@pytest.mark.parametrize(
    ("language", "set", "kind", "numbers"),
    [
        ("en", {}, "emergency", "999"),
        ("en", {}, "selfharm", "999 or 0800 1111"),
        ("ko", {}, "emergency", "119"),
        ("ko", {"country": "GB"}, "selfharm", "999"),  # the other one answers in English alone
        ("en", {"country": "us"}, "selfharm", "911"),
        ("en", {"country": "ZZ"}, "emergency", "999"),
        ("en", {"country": True}, "emergency", "999"),
        ("en", read("country=NO", {"country"}), "emergency", "113"),  # which is a switch's `no`, too
        ("en", read("country=no", {"country"}), "emergency", "113"),
        ("it", {}, "emergency", ""),
    ],
)
async def test_the_numbers_are_those_of_the_country(build, language, set, kind, numbers):
    rail = build(Ear(kind), help_lines=HELP, country={"en": "GB", "ko": "KR"})
    turn = Turn("t", language, settings=set)
    assert (await rail.check(Segment("user", "help", turn, last=True))).fill == {"help": numbers}
    assert rail.settings == ("country",)


def test_a_line_that_tells_a_number_needs_one(build):
    lines = {"care_fear": {"en": ("Call {help}.",), "it": ("Chiama {help}.", "Ciao."), "ko": ("안녕.",)}}
    with pytest.raises(PolicyError) as caught:
        build(lines=lines, help_lines=HELP, country={"en": "GB"})
    assert [(fault.option, fault.message) for fault in caught.value.faults] == [
        (("kinds", "fear", "say"), "`care_fear` says {help} in `en`, and there is no help line for it in `GB`"),
        (
            ("kinds", "fear", "say"),
            "`care_fear` says {help} in `it`, and there is no help line for it as `country` names none for `it`",
        ),
    ]


@pytest.mark.parametrize("kind", ["abuse", "fear"])
def test_who_may_be_afraid_of_parents_is_never_told_on_to_them(kind):
    with pytest.raises(ValueError, match=f"`{kind}` never has `parents: true`"):
        RailOptions(kinds={kind: {"say": "care", "parents": True}})


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({}, "at least 1 item"),
        ({"doubt": {"steer": "x"}}, "at least one kind"),
        ({"abuse": {}}, "either a `say`"),
        ({"abuse": {"say": "x", "steer": "y"}}, "either a `say`"),
        ({"boredom": {"say": "x"}}, "'emergency', 'selfharm'"),
    ],
)
def test_options_that_answer_nobody(kinds, message):
    with pytest.raises(ValueError, match=message):
        RailOptions(kinds=kinds)


def test_only_a_rail_that_tells_somebody_needs_a_contact(build):
    assert build().alerts
    assert not build(kinds={"bullying": {"say": "care_bullying"}, "abuse": {"say": "care", "alert": False}}).alerts


def test_a_rail_that_broke_takes_care_and_remembers_nothing(build):
    rail = build(help_lines=HELP, country={"en": "GB"})
    verdict = rail.when_broken(Segment("user", "x", Turn("t", "en"), last=True))
    assert (verdict.act, verdict.say, verdict.fill) == (Act.END, "care_emergency", {"help": "999"})
    assert (verdict.alert, verdict.remember) == (Alert("unclear", "high"), {})


async def test_the_verdict_shows_where_but_not_what(rail, judge):
    verdict = await judge(rail, "I want to hurt myself now", role="user")
    assert verdict.spans == (Span(10, 21, "SELFHARM"),)
    assert verdict.why == "selfharm: a phrase of the list harm; somebody may be in danger"


async def test_spans_are_offsets_of_the_raw_text(rail, judge):
    verdict = await judge(rail, "I want to h\u200burt myself", role="user")
    assert verdict.spans == (Span(10, 22, "SELFHARM"),)


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


async def test_what_a_tool_brings_is_heard(rail, judge):
    assert (await judge(rail, '{"heard": "I want to hurt myself"}', role="tool")).act is Act.END


def test_it_does_not_hear_the_model():
    assert Rail.content == {"user", "tool"}
    assert not Rail.shape
