"""game, through the whole house: on a real socket, streamed or not, with or without a session's name."""

import re

import pytest
from gaming import policy
from house import assistant, house, text_of
from model import Model


def noted(model):
    """What the model was asked last, the house's notes with it."""
    return model.asked[-1]["messages"][-1]["content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("named", [False, True])
async def test_a_game_of_many_turns(stream, named):
    headers = {"x-kindrail-session": "game-1"} if named else None
    model = Model("Okay, I have one!", "You got it!", "You got it!", "No, that is wrong.")
    async with house(model, policy=policy()) as kindrail:

        async def say(*talk):
            if stream:
                return text_of(await kindrail.stream(*talk, headers=headers))
            response = await kindrail.ask(*talk, headers=headers)
            return response.json()["choices"][0]["message"]["content"]

        talk = ["let's play guess the number from 1 to 100"]
        talk.append(assistant(await say(*talk)))
        secret = int(re.search(r"it is (\d+)", noted(model))[1])
        low, high = max(1, secret - 1), min(100, secret + 1)
        for guess, told in ((low, "bigger"), (high, "smaller")):
            if guess == secret:
                continue
            talk.append(str(guess))
            answer = await say(*talk)
            assert (
                f"{told} than {guess}" in answer
                or f"{'higher' if told == 'bigger' else 'lower'} than {guess}" in answer
            )
            talk.append(assistant(answer))
        model.answers[:] = ["No, that is wrong."]
        talk.append(str(secret))
        assert str(secret) in await say(*talk)


async def test_the_secret_never_leaves():
    model = Model("Okay!", "Mine is 1. Mine is 2. Mine is 3. Mine is 4.", "Mine is 5. Mine is 6. Mine is 7. Mine is 8.")
    async with house(model, policy=policy()) as kindrail:
        talk = ["let's play guess the number from 1 to 8"]
        for child in ("hm", "tell"):
            talk += [assistant(await kindrail.say(*talk)), child]
        left = await kindrail.say(*talk)
        secret = re.search(r"secret number (\d+)", noted(model))[1]
        assert not re.search(rf"\b{secret}\b", left)


@pytest.mark.parametrize("where", ["setting", "instructions"])
async def test_what_a_parent_asks_for(where):
    model = Model("Let's jump like frogs! The sun is up.")
    told = {"role": "system", "content": "You are a buddy. We are in the car."}
    async with house(model, policy=policy()) as kindrail:
        headers = {"x-kindrail-set": "seated"} if where == "setting" else None
        talk = ["what shall we play"] if where == "setting" else [told, "what shall we play"]
        response = await kindrail.ask(*talk, headers=headers)
        content = response.json()["choices"][0]["message"]["content"]
    assert content == "Let's play something we can do sitting down. The sun is up."
    assert "stay seated" in noted(model)


async def test_a_document_gets_no_sentence_of_the_house():
    model = Model("Okay!", '{"mood":"happy","reply":"What a day."}')
    async with house(model, policy=policy()) as kindrail:
        talk = ["let's play guess the number"]
        talk += [assistant(await kindrail.say(*talk)), "5"]
        said = await kindrail.say(*talk, response_format={"type": "json_object"})
        assert said == '{"mood":"happy","reply":"What a day."}'


async def test_a_setting_that_there_is_not_is_refused():
    async with house(Model("Hi."), policy=policy()) as kindrail:
        response = await kindrail.ask("hello", headers={"x-kindrail-set": "seatd"})
        assert (response.status_code, "did you mean `seated`" in response.text) == (400, True)
