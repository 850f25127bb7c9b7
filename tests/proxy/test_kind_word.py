"""The kind word to who has told something private: in front of the answer, once in a session."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from drive import chunked
from house import assistant, house, shipped, text_of
from model import Model, event

from proxy.config import SHIPPED_POLICIES
from proxy.policy.load import load_policy

POLICY = """
policy: kind
version: 1
about: nothing private is kept, and that is said kindly
audience: adult
languages: [en, it, ko]
say:
  sorry: {en: Sorry., it: Scusa., ko: 미안.}
  fallback: {en: Here I am., it: Eccomi., ko: 나 여기 있어.}
  bye: {en: Bye!, it: Ciao!, ko: 안녕!}
  keep: {en: [You need not tell me that.], it: [Questo non serve dirmelo.], ko: [그런 건 말 안 해도 돼.]}
steer: {calm: {en: Be calm., it: Sii calmo., ko: 차분하게.}}
stand_ins: {DEFAULT: {en: a friend, it: un amico, ko: 친구}}
phrases:
  end: {en: [bye bye], it: [ciao ciao], ko: [안녕히]}
  grave: {en: [i am sad], it: [sono triste], ko: [슬퍼]}
rails:
  - {id: end, rail: phrases, why: who leaves is let go, user_says: end, user_say: bye}
  - {id: grave, rail: phrases, why: sorrow comes first, user_says: grave, user_steer: calm}
  - {id: private, rail: pii, why: nobody need know, say_once: keep}
  - {id: clamp, rail: clamp, why: short answers, sentences: 4}
"""
TOLD = {
    "en": ("My name is Tommy, tell me of a dragon", "The dragon naps in a cave. He dreams of cake.", "Tommy"),
    "it": ("Mi chiamo Giulia, raccontami del drago", "Il drago dorme nella grotta. Sogna una torta.", "Giulia"),
    "ko": ("내 이름은 민지야, 용 이야기 해 줘", "용이 동굴에서 낮잠을 자. 케이크 꿈을 꿔.", "민지"),
}
ASKED, STORY, _ = TOLD["en"]
SESSION = {"x-kindrail-session": "tablet"}


@functools.cache
def policy():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kind.yaml"
        shutil.copy(SHIPPED_POLICIES / "recognizers.yaml", path.parent)
        path.write_text(POLICY, encoding="utf-8")
        return load_policy(path)


def word(language="en"):
    return policy().line("keep", language)


def told(response):
    return response.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("language", TOLD)
@pytest.mark.parametrize("streamed", [False, True])
async def test_it_stands_in_front_and_the_story_goes_on(language, streamed):
    asked, story, datum = TOLD[language]
    async with house(Model(story), policy()) as home:
        said = text_of(await home.stream(asked)) if streamed else await home.say(asked)
        assert said == f"{word(language)} {story}"
        assert datum not in said


@pytest.mark.parametrize("headers", [SESSION, None])
async def test_it_is_said_once_in_a_session(headers):
    more = "The cave is warm and dry."
    async with house(Model("Hello, little star.", STORY, more), policy()) as home:
        talk, answers = ["hello"], []
        for say in (ASKED, "my name is Tommy, you know", ""):
            answers.append(told(await home.ask(*talk, headers=headers)))
            talk += [assistant(answers[-1]), say]
    assert answers == ["Hello, little star.", f"{word()} {STORY}", more]


async def test_what_leaves_does_not_hang_on_the_chunks():
    class Bits(Model):
        async def stream(self, ask):
            self.asked.append(ask.body)
            for part in list(STORY) if len(self.asked) == 1 else chunked(STORY, len(self.asked)):
                yield event({"content": part})
            yield event({}, "stop")

    async with house(Bits(), policy()) as home:
        for _ in range(4):
            assert text_of(await home.stream(ASKED)) == f"{word()} {STORY}"


@pytest.mark.parametrize(
    "asked",
    [
        "my name is Tommy, bye bye",  # the house answers
        "my name is Tommy and i am sad",  # there is something graver to say
        "look at www.example.com with the dragon",  # tells nothing of who says it
        "the dragon is called Bruno",
    ],
)
async def test_it_gives_way_and_is_said_the_next_time(asked):
    async with house(Model(STORY), policy()) as home:
        assert word() not in told(await home.ask(asked, headers=SESSION))
        assert told(await home.ask(ASKED, headers=SESSION)) == f"{word()} {STORY}"


async def test_a_document_and_a_begun_answer_have_no_place_for_it():
    async with house(Model('{"mood": "sleepy"}'), policy()) as home:
        assert json.loads(await home.say(ASKED, response_format={"type": "json_object"})) == {"mood": "sleepy"}
    async with house(Model("naps in a cave."), policy()) as home:
        assert await home.say(ASKED, assistant("The dragon ")) == "naps in a cave."


async def test_it_counts_among_the_sentences_of_an_answer():
    many = "One bear sat. Two owls flew. A fox ran. A cat slept. A dog ate. A hen sang."
    async with house(Model(many), policy()) as home:
        assert await home.say(ASKED) == f"{word()} One bear sat. Two owls flew. A fox ran."


async def test_a_sentence_that_is_blocked_leaves_it_standing():
    async with house(Model("Ask Mr Bo at 010-1234-5678. The end."), policy()) as home:
        assert await home.say(ASKED) == f"{word()} Ask Mr Bo at a friend. The end."


def test_the_childrens_policy_has_it_in_every_language():
    kids = shipped("kids-buddy")
    lines = [kids.line("keep_private_once", language, nth) for language in kids.languages for nth in range(2)]
    assert len(set(lines)) == 6
    assert not [line for line in lines if "?" in line or "secret" in line or "segret" in line or "비밀" in line]
