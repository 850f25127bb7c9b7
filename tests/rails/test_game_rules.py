"""game: the role in pretend play, and what parents and teachers ask for."""

import pytest
from gaming import Game

from rails._game.numbers import numbers

# -- roles -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "gives", "role", "drops", "sent"),
    [
        ("en", "you be the shopkeeper", "shopkeeper", "As an AI language model, I have no shop. What do you buy?", "I'm the shopkeeper in our game. Let's play on! What do you buy?"),
        ("en", "pretend you're a big scary dragon", "dragon", "I am not a dragon. Roar!", "I'm the dragon in our game. Let's play on! Roar!"),
        ("en", "you are the doctor and my bear is ill", "doctor", "I'm just a computer program.", "I'm the doctor in our game. Let's play on!"),
        ("it", "facciamo che tu eri il drago", "dragon", "Sono solo un'intelligenza artificiale. Roar!", "Nel nostro gioco io faccio il drago. Andiamo avanti! Roar!"),
        ("it", "tu fai la maestra e io l'alunno", "teacher", "Non sono una maestra. Buongiorno!", "Nel nostro gioco io faccio la maestra. Andiamo avanti! Buongiorno!"),
        ("ko", "네가 손님 해", "customer", "저는 인공지능이라서 못 해요. 사과 주세요.", "우리 놀이에서 내 역할은 손님! 계속 놀자! 사과 주세요."),
        ("ko", "너는 의사 선생님 하고 나는 환자 할게", "doctor", "나는 의사가 아니야. 어디가 아파?", "우리 놀이에서 내 역할은 의사 선생님! 계속 놀자! 어디가 아파?"),
    ],
)  # fmt: skip
async def test_a_role_is_kept(language, gives, role, drops, sent):
    game = Game(language)
    await game.hear(gives)
    assert game.state["role"] == role
    await game.hear("mmm")
    assert await game.answer(drops) == sent


@pytest.mark.parametrize(
    "text",
    [
        "you are the best",
        "are you a dragon?",
        "the dragon flies",
        "i like your dog",
        "sei un drago?",
        "il drago vola",
        "용이 날아가",
    ],
)
async def test_no_role_is_given(text):
    game = Game()
    await game.hear(text)
    assert not game.state.get("role")


async def test_the_honest_answer_wins():
    game = Game()
    await game.hear("you be the dragon")
    await game.hear("are you really a dragon?")
    assert (
        await game.answer("I am not a dragon, I'm a computer program.") == "I am not a dragon, I'm a computer program."
    )


@pytest.mark.parametrize("ends", ["stop pretending", "let's play something else", "basta fare finta", "역할놀이 그만"])
async def test_a_role_ends(ends):
    game = Game()
    await game.hear("you be the dragon")
    await game.hear(ends)
    assert await game.answer("I am not a dragon.") == "I am not a dragon."


async def test_a_role_is_told_in_every_turn():
    game = Game("it")
    for text in ("facciamo che tu eri il drago", "ciao", "che fai"):
        assert "il drago" in await game.hear(text)


# -- constraints -------------------------------------------------------------------------------------------------------

ASKED = [
    ("en", "we are in the car", "seated", "Let's jump like frogs!", "Let's play something we can do sitting down."),
    ("en", "we're on the train now", "seated", "Yay! Can you run to the door?", "Yay! Let's play something we can do sitting down."),
    ("it", "siamo in macchina", "seated", "Alzati e balla con me!", "Facciamo un gioco che va bene da seduti."),
    ("ko", "우리 지금 차 안이야", "seated", "우리 깡충깡충 뛰자!", "앉아서 할 수 있는 놀이를 하자."),
    ("en", "no monsters please", "no_scary", "A big monster came.", "Only kind and gentle friends live in our story."),
    ("it", "niente mostri", "no_scary", "Arriva un fantasma.", "Nella nostra storia ci sono solo amici gentili."),
    ("ko", "무서운 이야기 말고", "no_scary", "귀신이 나타났어.", "우리 이야기에는 착하고 다정한 친구들만 살아."),
    ("en", "the baby is sleeping", "quiet", "Can you roar like a lion?", "Let's play very softly, as quiet as a feather."),
    ("it", "il fratellino dorme", "quiet", "Batti le mani!", "Giochiamo piano piano, leggeri come una piuma."),
    ("ko", "아기가 자고 있어", "quiet", "우리 박수 치자!", "깃털처럼 살살, 조용히 놀자."),
    ("en", "don't talk about food", "no_food", "The bear eats a cake.", "Let's think of colours and clouds."),
    ("it", "non parlare di cibo", "no_food", "L'orso mangia una torta.", "Pensiamo ai colori e alle nuvole."),
    ("ko", "먹는 얘기는 하지 말자", "no_food", "곰이 과자를 먹어.", "우리 색깔이랑 구름을 생각해 보자."),
    ("en", "no mess please", "no_mess", "Let's paint the wall!", "Let's play something that keeps everything clean."),
    ("it", "senza sporcare", "no_mess", "Dipingiamo con le dita!", "Facciamo un gioco in cui resta tutto pulito."),
    ("ko", "물감은 안 돼", "no_mess", "물감을 꺼내 와.", "깨끗하게 할 수 있는 놀이를 하자."),
    ("en", "no screens today", "no_screens", "Let's watch a video!", "We don't need pictures, we make them in our heads."),
    ("it", "niente televisione", "no_screens", "Guardiamo un cartone!", "Le immagini le facciamo noi con la fantasia."),
    ("ko", "티비 말고", "no_screens", "우리 만화 보자!", "우리 머릿속으로 그림을 그려 보자."),
]  # fmt: skip


@pytest.mark.parametrize(("language", "asks", "name", "breaks", "sent"), ASKED)
async def test_what_is_asked_for_holds(language, asks, name, breaks, sent):
    game = Game(language)
    assert await game.answer(breaks) == breaks
    assert await game.hear(asks)
    assert game.state["rules"] == [name]
    await game.hear("mmm")
    assert await game.answer(breaks) == sent


@pytest.mark.parametrize(("language", "asks", "name", "breaks", "sent"), ASKED[::4])
async def test_the_app_may_ask_for_it_too(language, asks, name, breaks, sent):
    by_setting = Game(language, settings={name: True})
    await by_setting.hear("mmm")
    assert await by_setting.answer(breaks) == sent
    told = Game(language)
    await told.hear("mmm", instructions=f"You are a kind buddy. {asks}.")
    assert await told.answer(breaks) == sent
    await told.hear("mmm", instructions="You are a kind buddy.")
    assert await told.answer(breaks) == breaks
    lifted = Game(language, settings={name: False})
    await lifted.hear(asks)
    assert await lifted.answer(breaks) == breaks


HARMLESS = [
    ("seated", "The rabbit jumps over the hill."),
    ("seated", "He can run very fast."),
    ("seated", "Jump with your fingers!"),
    ("seated", "Look out of the window."),
    ("seated", "The bear can sing and dance."),
    ("seated", "Il coniglio arriva, salta e ride."),
    ("seated", "토끼가 깡충깡충 뛰어가."),
    ("seated", "곰이 일어나서 하품을 해."),
    ("seated", "Go and fetch Mummy."),  # help comes before any constraint
    ("no_scary", "There are no monsters here."),
    ("no_scary", "The kind moon hums."),
    ("no_scary", "여기 괴물은 없어."),
    ("quiet", "Let's whisper like a mouse."),
    ("quiet", "The lion roars far away."),
    ("no_food", "The star is very bright."),
    ("no_mess", "We paint it in the air with a finger."),
    ("no_screens", "Let's watch the clouds."),
]


@pytest.mark.parametrize(("name", "text"), HARMLESS)
async def test_what_breaks_nothing_passes(name, text):
    game = Game(settings={name: True})
    await game.hear("mmm")
    assert await game.answer(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "let's pretend we're in the car",
        "the bear is in the car",
        "la storia dell'orso che sta dormendo",
        "I like monsters",
        "i'm in the garden",
        "괴물 놀이 하자",
    ],
)
async def test_nothing_is_asked_for(text):
    game = Game()
    await game.hear(text)
    assert not game.state.get("rules")


async def test_an_app_s_usual_instructions_ask_for_nothing():
    told = (
        "You are a gentle story and play buddy. Never encourage climbing, running indoors or jumping from furniture. "
    )
    told += "Keep replies short and quiet. Offer pretend play: shops, monsters, food. End calmly when the child sleeps."
    game = Game()
    assert await game.hear("mmm", instructions=told) == ""
    assert "seated" not in str(game.state)
    assert await game.hear("mmm", instructions=told + "\nWe are in the car.")
    await game.hear("mmm")
    assert await game.answer("Let's jump!") == "Let's jump!"


async def test_it_is_taken_back():
    game = Game()
    await game.hear("we are in the car")
    await game.hear("we're home now!")
    assert await game.answer("Let's jump like frogs!") == "Let's jump like frogs!"


async def test_it_holds_while_games_come_and_go():
    game = Game()
    for text in ("we are in the car", "let's play guess the number", "let's play something else", "help"):
        await game.hear(text)
    assert game.state["rules"] == ["seated"]


async def test_a_line_is_said_once():
    game = Game(settings={"seated": True})
    await game.hear("mmm")
    assert await game.answer("Let's jump! Let's run! The sun is warm.") == (
        "Let's play something we can do sitting down. The sun is warm."
    )


# -- numbers -----------------------------------------------------------------------------------------------------------

NUMBERS = [
    ("is it 7?", [7]), ("twenty one", [21]), ("twenty-one", [21]), ("ventuno", [21]), ("ventitré", [23]), ("è il sei?", [6]),
    ("dove sei", []), ("일곱", [7]), ("칠이야", [7]), ("십이", [12]), ("스물하나", [21]), ("7번이야?", [7]), ("이 숫자야", []),
    ("that one", []), ("one", [1]), ("3 more guesses", []), ("I am 5 years old", []), ("3.5", []), ("at 10:30", []),
    ("1부터 20까지", [1, 20]), ("칠보다 커", [7]), ("2살", []), ("7", [7]), ("call 5551234", []), ("cento", [100]), ("백", [100]),
    ("구십구", [99]), ("아흔아홉", [99]), ("오늘은 일요일", []), ("tre volte", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "values"), NUMBERS)
def test_numbers(text, values):
    assert [number.value for number in numbers(text)] == values
