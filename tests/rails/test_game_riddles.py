"""game: riddles and twenty questions; the house's own riddles are sound."""

import pytest
from gaming import Game, policy

from proxy.policy.trial import run_tests
from proxy.turn import plain
from rails._game import riddle
from rails._game.words import read

ASKS = {"en": "tell me a riddle", "it": "fammi un indovinello", "ko": "수수께끼 하나 내 줘"}


async def riddling(language, secret="cat", kind="riddle"):
    game = Game(language)
    await game.hear(ASKS[language])
    game.keep(secret)
    game.state["game"] |= {"turns": 1, "kind": kind}
    return game


# -- the house's riddles -----------------------------------------------------------------------------------------------


def test_there_are_riddles_enough():
    assert len(riddle.SECRETS) >= 30


@pytest.mark.parametrize("name", riddle.SECRETS)
def test_a_riddle_is_whole(name):
    secret, features = riddle.SECRETS[name], read("features")
    assert set(secret.answer) == set(secret.riddle) == {"en", "it", "ko"}
    assert not secret.yes & secret.no
    assert secret.yes | secret.no <= features.keys()
    for language, answer in secret.answer.items():
        assert secret.in_(plain(answer)), f"{answer} is not heard as the answer"
        assert not secret.in_(plain(secret.riddle[language])), "the riddle tells its answer"


@pytest.mark.parametrize("name", riddle.SECRETS)
def test_no_two_secrets_are_taken_for_each_other(name):
    words = riddle.SECRETS[name].answer.values()
    assert [
        other for other, one in riddle.SECRETS.items() if other != name and any(one.in_(plain(w)) for w in words)
    ] == []


async def test_the_house_lines_trip_nothing_of_the_rail():
    """Of the shipped policy the learned rails are left out: what they say of a line is theirs to put right."""
    assert [one for one in (await run_tests(policy())).failures if one.rail == "games"] == []


def test_the_riddles_are_lines_of_the_policy():
    assert "games/riddle moon" in policy().say


# -- asking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ASKS)
@pytest.mark.parametrize("preface", ["", "Ok! "])
async def test_the_riddle_is_the_house_s(language, preface):
    game = Game(language)
    note = await game.hear(ASKS[language])
    text = riddle.SECRETS[game.state["game"]["secret"]].riddle[language]
    assert text in note
    assert await game.answer(preface + text) == preface + text
    assert await game.answer(preface + "What has keys but opens no door? I am a piano.") == preface + text


async def test_a_riddle_does_not_come_again():
    game, seen = Game(), []
    for _ in range(10):
        await game.hear("tell me a riddle")
        seen.append(game.state["game"]["secret"])
        await game.hear("let's play something else")
    assert len(set(seen)) == 10


async def test_no_food_no_apple():
    game = Game(settings={"no_food": True})
    for _ in range(20):
        await game.hear("tell me a riddle")
        assert "food" not in riddle.SECRETS[game.state["game"]["secret"]].yes


SAID = [  # language, what the child says, what the model says, what leaves; the secret is the cat
    ("en", "a cat", "No, guess again!", "Yes, it's a cat! You guessed it!"),
    ("en", "is it kittens?", "Not quite.", "Yes, it's a cat! You guessed it!"),
    ("en", "is it the moon?", "Yes! You got it!", "Not quite! Have another guess."),
    ("en", "can it fly?", "Yes, it can fly.", "No, not that."),
    ("en", "has it got fur?", "No. Ask me more.", "Yes! Ask me more."),
    ("en", "hmm i dont know", "It is a cat!", "I won't tell the answer yet. You can guess or ask me something!"),
    ("en", "i give up", "Well tried.", "The answer was a cat. That was a good try! Well tried."),
    ("it", "i gatti", "No, riprova!", "Sì, è il gatto! Hai indovinato!"),
    ("it", "è la luna?", "Esatto!", "Non ancora! Prova un'altra volta."),
    ("it", "vola?", "Sì, vola.", "No, questo no."),
    ("it", "ha il pelo?", "No.", "Sì!"),
    ("ko", "고양이야?", "땡!", "딩동댕, 정답은 고양이! 네가 맞혔어!"),
    ("ko", "달님?", "딩동댕!", "아쉽지만 아니야! 다시 한번 맞혀 봐."),
    ("ko", "날개 있어?", "응, 있어.", "아니, 그건 아니야."),
    ("ko", "동물이야?", "아니야.", "응, 맞아!"),
    ("ko", "모르겠어", "바로 고양이야.", "정답은 아직 비밀이야. 맞혀 보거나 나한테 물어봐!"),
]


@pytest.mark.parametrize(("language", "child", "model", "sent"), SAID)
async def test_what_is_wrong_is_corrected(language, child, model, sent):
    game = await riddling(language)
    await game.hear(child)
    assert await game.answer(model) == sent


TRUE = [
    ("en", "a cat", "Yes, a cat! Well done."),
    ("en", "is it the moon?", "No, it lives on the ground."),
    ("en", "has it got fur?", "Yes, soft fur."),
    ("en", "is it a tree?", "Good try. It is not a tree."),  # no secret of the house: the model judges
    ("en", "is it nice?", "Yes, very nice."),
    ("en", "my cat sleeps in my bed", "How sweet!"),  # chat, not a guess
    ("en", "i give up", "It was a cat."),
    ("it", "ha le zampe?", "Sì, quattro."),
    ("ko", "동물이야?", "응, 맞아."),
]


@pytest.mark.parametrize(("language", "child", "model"), TRUE)
async def test_what_is_true_or_unsure_passes(language, child, model):
    game = await riddling(language)
    await game.hear(child)
    assert await game.answer(model) == model


@pytest.mark.parametrize(
    ("language", "start"),
    [
        ("en", "let's play twenty questions, think of an animal"),
        ("it", "venti domande, pensa a un animale"),
        ("ko", "스무고개 하자 동물로"),
    ],
)
async def test_twenty_questions(language, start):
    game = Game(language)
    note = await game.hear(start)
    secret = riddle.SECRETS[game.state["game"]["secret"]]
    assert "animal" in secret.yes
    assert secret.answer[language] in note
    for _ in range(20):
        await game.hear({"en": "is it nice?", "it": "è bello?", "ko": "예뻐?"}[language])
    assert game.state["game"]["asked"] == 20
    await game.hear("is it nice?")
    assert game.state["game"]["result"] == "told"  # all have been asked


@pytest.mark.parametrize(
    ("language", "says"),
    [("en", "I have a riddle for you"), ("it", "ti faccio un indovinello"), ("ko", "내가 수수께끼 낼게")],
)
async def test_the_child_s_own_riddle(language, says):
    game = Game(language)
    assert await game.hear(says)
    assert game.state["game"]["kind"] == "asked"
    assert await game.answer("Is it a cat? Yes, it is 7!") == "Is it a cat? Yes, it is 7!"
