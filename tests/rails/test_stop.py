"""stop: which messages end the turn and how, how long it stays quiet, and what quiet lets through."""

import time

import pytest
from pydantic import ValidationError

from proxy.turn import Act, Span
from rails._sense import Sense
from rails.stop import Rail, RailOptions

LISTS = {
    "stop": {
        "en": ["stop", "no more", "don't want to play"],
        "it": ["basta", "fermati"],
        "ko": ["그만", "안 할래"],
        "but_not": {"en": ["bus stop", "don't stop"], "it": ["basta che"], "ko": ["그만큼"]},
    },
    "sleep": {
        "en": ["i'm tired", "want to sleep", "good night"],
        "it": ["ho sonno", "buonanotte"],
        "ko": ["졸려", "잘래"],
        "but_not": {"en": ["said good night"]},
    },
    "goodbye": {"en": ["bye bye", "gotta go"], "it": ["devo andare"], "ko": ["나 갈게"]},
    "again": {"en": ["go on", "play again"], "it": ["continua"], "ko": ["계속 해"]},
    "hooks": {"en": ["let's play"], "it": ["giochiamo"], "ko": ["놀자"]},
}
OPTIONS = {
    "stop": "stop",
    "sleep": "sleep",
    "goodbye": "goodbye",
    "starts_again": "again",
    "say_stop": "ok",
    "say_sleep": "night",
    "say_goodbye": "bye",
    "steer": "quiet",
}
SAYS = {"stop": "ok", "sleep": "night", "goodbye": "bye"}
HEARD = [
    ("stop!", "stop"),
    ("STOP", "stop"),
    ("no more please", "stop"),
    ("I'm tired, want to sleep now please", "sleep"),
    ("I’m tired", "sleep"),
    ("Basta, ho sonno.", "sleep"),  # the bedtime line wins
    ("fermati", "stop"),
    ("나 이제 졸려", "sleep"),
    ("그만할래", "stop"),
    ("stop, gotta go", "goodbye"),
    ("devo andare", "goodbye"),
    ("나 갈게", "goodbye"),
    ("and then the dragon flew over the big mountain and I don't want to play now mum", "stop"),
    ("good night and thank you for the story about the little bear and the moon it was nice", "sleep"),
    ("The owl told all the stars of the sky a very long story. I'm tired.", "sleep"),
    # The first phrase stands deep in its clause, the second at the end.
    ("the owl and the bear and the fox say good night to the moon and the stars and good night", "sleep"),
    ("the bear wants one more", None),
    ("Let's draw a bus stop", None),
    ("no wait, don't stop, go on", None),
    ("stop! no, go on", None),
    ("basta. anzi, continua!", None),
    ("그만, 아니 계속해", None),
    ("Gioco, basta che vinco io", None),
    ("하늘만큼 그만큼 좋아", None),
    ("Sono abbastanza bravo!", None),
    ("the owl said good night", None),
    ("tell me a story where the owl says good night to all the stars in the sky", None),
    ("", None),
]


@pytest.fixture
def rail(house):
    return Rail("stop", RailOptions(**OPTIONS), house(**LISTS))


@pytest.fixture
def quiet_turn(turn):
    def build(now=0.0):
        return turn(now=now, state={"stop": {"quiet": True, "since": 0.0, "kind": "sleep"}})

    return build


@pytest.mark.parametrize(("text", "kind"), HEARD)
async def test_heard(rail, judge, turn, text, kind):
    at = turn(now=1000.0)
    verdict = await judge(rail, text, role="user", turn=at)
    assert verdict.act is (Act.END if kind else Act.PASS)
    assert verdict.say == (SAYS[kind] if kind else "")
    assert at.recall("stop") == ({"quiet": True, "since": 1000.0, "kind": kind} if kind else {})


async def test_the_span_is_the_phrase(rail, judge):
    assert (await judge(rail, "oh, stop!", role="user")).spans == (Span(4, 8, "STOP"),)


@pytest.mark.parametrize(
    ("text", "now", "act", "steer", "memory"),
    [
        ("mmm", 60.0, Act.PASS, "quiet", {"quiet": True, "since": 60.0, "kind": "sleep"}),
        ("stop", 60.0, Act.END, "", {"quiet": True, "since": 60.0, "kind": "stop"}),
        ("let's play again", 60.0, Act.PASS, "", {"quiet": False, "since": 0.0, "kind": "sleep"}),
        ("no wait, don't stop, go on", 60.0, Act.PASS, "", {"quiet": False, "since": 0.0, "kind": "sleep"}),
        ("mmm", 1799.0, Act.PASS, "quiet", {"quiet": True, "since": 1799.0, "kind": "sleep"}),
        ("hello", 1800.0, Act.PASS, "", {"quiet": False, "since": 0.0, "kind": "sleep"}),
        ("good night", 1800.0, Act.END, "", {"quiet": True, "since": 1800.0, "kind": "sleep"}),
    ],
)
async def test_while_quiet(rail, judge, quiet_turn, text, now, act, steer, memory):
    at = quiet_turn(now)
    verdict = await judge(rail, text, role="user", turn=at)
    assert (verdict.act, "".join(verdict.steer)) == (act, steer)
    assert at.recall("stop") == memory


async def test_a_second_message_of_the_turn_changes_nothing(rail, judge, turn):
    at = turn(now=1000.0)
    assert (await judge(rail, "good night", role="user", turn=at)).act is Act.END
    second = await judge(rail, "mmm", role="user", turn=at)
    assert (second.remember, second.resumes) == ({"since": 1000.0}, False)
    third = await judge(rail, "no, go on", role="user", turn=at)
    assert (third.remember, third.resumes) == ({"quiet": False}, True)


async def test_each_message_keeps_it_quiet(rail, judge, quiet_turn):
    at = quiet_turn()
    for at.now in (1700.0, 3400.0, 5100.0):
        assert (await judge(rail, "mmm", role="user", turn=at)).steer == ("quiet",)


@pytest.mark.parametrize(
    ("pieces", "sent", "acts"),
    [
        (["Sleep well. ", "Shall we play tomorrow? ", "Sweet dreams."], "Sleep well. Sweet dreams.", "pass drop pass"),
        (["One. ", "Two. ", "Three. ", "Four."], "One. Two.", "pass pass end"),
        ([("A long ", "piece"), "sentence. ", "Two. ", "Three."], "A long sentence. Two.", "pass pass pass end"),
        (["Night! ", "🌙 ", "\n", "Dream! ", "More."], "Night! 🌙 \nDream!", "pass pass pass pass end"),
        (["잘 자. ", "내일 또 할까? ", "꿈 꿔."], "잘 자. 꿈 꿔.", "pass drop pass"),
        (["Sogni d'oro! ", "Giochiamo domani?"], "Sogni d'oro!", "pass drop"),
        (['"Shall we play?" said the bear. ', "هل نلعب؟ ", "One？ "], "", "drop drop drop"),
    ],
)
async def test_quiet_answers(rail, answer, quiet_turn, pieces, sent, acts):
    assert await answer(rail, quiet_turn(), pieces) == (sent, acts.split())


@pytest.mark.parametrize("state", [{}, {"stop": {"quiet": False, "since": 0.0, "kind": "stop"}}])
async def test_otherwise_answers_pass(rail, answer, turn, state):
    pieces = ["One? ", "Two? ", "Three? ", "Four?"]
    assert await answer(rail, turn(state=state), pieces) == ("One? Two? Three? Four?", ["pass"] * 4)


async def test_nothing_draws_back_while_quiet(house, answer, turn, quiet_turn):
    rail = Rail("stop", RailOptions(**OPTIONS, hooks="hooks"), house(**LISTS))
    pieces = ["Let's play! ", "Giochiamo! ", "우리 놀자. ", "Sleep well."]
    assert await answer(rail, quiet_turn(), pieces) == ("Sleep well.", ["drop", "drop", "drop", "pass"])
    assert (await answer(rail, turn(), pieces))[1] == ["pass"] * 4


async def test_an_answer_after_the_quiet_time_passes(rail, answer, quiet_turn):
    assert await answer(rail, quiet_turn(1800.0), ["Shall we play?"]) == ("Shall we play?", ["pass"])


async def test_options_count(house, judge, answer, quiet_turn):
    rail = Rail("stop", RailOptions(**OPTIONS, quiet_for="10s", quiet_sentences="1"), house(**LISTS))
    assert (await judge(rail, "mmm", role="user", turn=quiet_turn(9.0))).steer == ("quiet",)
    assert (await judge(rail, "mmm", role="user", turn=quiet_turn(10.0))).steer == ()
    assert await answer(rail, quiet_turn(), ["One. ", "Two."]) == ("One.", ["pass", "end"])


@pytest.mark.parametrize("wrong", [{"quiet_for": "0s"}, {"quiet_for": "soon"}, {"quiet_sentences": "0"}, {"say": "x"}])
def test_options_are_checked(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RailOptions(**OPTIONS, **wrong)


@pytest.mark.parametrize("part", ["and good night to them ", "a b c d e f g good night h i j k l m n ", "bus stop "])
async def test_a_hostile_message_costs_little(rail, judge, part):
    before = time.perf_counter()
    verdict = await judge(rail, "x x x x x x " + part * (300_000 // len(part)) + "x x x x x x", role="user")
    assert time.perf_counter() - before < 2.0
    assert verdict.act is (Act.PASS if part == "bus stop " else Act.END)


@pytest.mark.parametrize(
    ("before", "text", "says"),
    [
        ("I don't want\n", "to play", "ok"),
        ("good\n", "night", "night"),
        ("stop\n", "go\n", ""),
        ("stop go\n", "on", ""),
        ("the big bus\n", "stop", "ok"),
    ],
)
async def test_a_phrase_in_instalments(rail, judge, before, text, says):
    assert (await judge(rail, text, role="user", before=before)).say == says


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("stop", []),
        ("Stop, good night!", []),  # nothing but words of the lists
        ("I saw the wolf stop near the red house", [True]),
        ("the bear is big", [False]),
    ],
)
async def test_words_of_the_lists_alone_need_no_model(house, judge, monkeypatch, text, asked):
    hinted = []
    monkeypatch.setattr(Sense, "hear", lambda *_, **given: hinted.append(given["hinted"]))
    verdict = await judge(Rail("stop", RailOptions(**OPTIONS, learned="child"), house(**LISTS)), text, role="user")
    assert hinted == asked
    assert (verdict.act is Act.END) is (not asked)
