"""A second answer in the place of one that would not have left: when, how often, and what is known of it after."""

import asyncio
import json

import pytest
from fake_upstream import VLLM, chunk, upstream
from house import assistant, house, text_of
from model import SAFE, Model, event

from proxy.policy.load import load_policy
from proxy.turn import BackendFault

POLICY = """
policy: patient
version: 1
about: It asks once more.
audience: adult
languages: [en]
say:
  sorry: {en: Sorry.}
  fallback: {en: Mm.}
  other: {en: Something else.}
  bye: {en: Bye.}
steer:
  kinder: {en: SAY IT KINDLY}
  calm: {en: BE CALM}
phrases:
  rude: {en: [stupid]}
  loud: {en: [noise]}
  leave: {en: [good night]}
rails:
  - {id: hide, rail: pii, why: No data., entities: [EMAIL_ADDRESS], regions: [GB], recognizers: ''}
  - {id: leave, rail: phrases, why: Night., user_says: leave, user_say: bye}
  - {id: loud, rail: phrases, why: Noise., user_says: loud, user_steer: calm, assistant_says: loud}
  - {id: rude, rail: phrases, why: Kindness., assistant_says: rude, say: other}
  - {id: repeat, rail: repeat, why: Nothing twice., answers: 3}
  - {id: clamp, rail: clamp, why: Short., words: 8, sentences: 9}
"""
RETRY = "retry: {note: kinder, rails: [rude, clamp]}\n"


@pytest.fixture
def patient(tmp_path):
    def load(more=RETRY):
        (tmp_path / "patient.yaml").write_text(POLICY + more)
        return load_policy(tmp_path / "patient.yaml")

    return load


RUDE, LONG = "You are stupid. Go.", "The bear and the owl and the fox all sleep. Good."
ANSWERS = [  # what the model says, time after time; what is heard; how often it was asked
    ([SAFE], SAFE, 1),
    ([RUDE, SAFE], SAFE, 2),
    ([RUDE, RUDE, SAFE], "Something else. Go.", 2),
    ([LONG, SAFE], SAFE, 2),
    ([LONG, LONG], LONG, 2),  # a long sentence is flagged, no more
    (["Hello. You are stupid. Go."], "Hello. Something else. Go.", 1),  # something has left
    (["Such noise. You are stupid.", SAFE], SAFE, 2),  # a sentence was left out: still nothing has left
    (["Such noise. Good."], "Good.", 1),  # a rail that the policy does not name
    (["Write to bo@example.com."], "Write to <EMAIL_ADDRESS>.", 1),  # covered, and that is enough
    (["", SAFE], "", 1),
]


@pytest.mark.parametrize(("says", "heard", "asked"), ANSWERS)
@pytest.mark.parametrize("stream", [True, False])
async def test_when_the_model_is_asked_once_more(patient, says, heard, asked, stream):
    model = Model(*says)
    async with house(model, policy=patient()) as home:
        said = text_of(await home.stream("Hello, bear")) if stream else await home.say("Hello, bear")
    assert said == heard
    assert len(model.asked) == model.closed == asked
    notes = ["(SAY IT KINDLY)" in json.dumps(body["messages"]) for body in model.asked]
    assert notes == [False, True][:asked]


async def test_the_first_notes_stay(patient):
    model = Model(RUDE, SAFE)
    async with house(model, policy=patient()) as home:
        assert await home.say("What a noise") == SAFE
    contents = [body["messages"][-1]["content"] for body in model.asked]
    assert contents == ["What a noise\n\n(BE CALM)", "What a noise\n\n(BE CALM)\n\n(SAY IT KINDLY)"]


async def test_an_end_of_the_users_side_stands(patient):
    model = Model(RUDE)
    async with house(model, policy=patient()) as home:
        assert await home.say("good night") == "Bye."
    assert model.asked == []


async def test_without_the_field_nothing_is_asked_twice(patient):
    model = Model(RUDE, SAFE)
    async with house(model, policy=patient("")) as home:
        assert await home.say("Hello") == "Something else. Go."
    assert len(model.asked) == 1


async def test_a_held_answer_is_withdrawn_whole(patient):
    model = Model("Hello. It is fine. You are stupid.", SAFE)
    async with house(model, policy=patient(RETRY + "hold: message\n")) as home:
        assert text_of(await home.stream("Hello")) == SAFE


async def test_one_stream_with_one_beginning_and_one_end(patient):
    class Numbered(Model):
        async def stream(self, ask):
            async for delta in super().stream(ask):
                body = {**delta.event, "id": f"answer-{len(self.asked)}"}
                yield type(delta)(json.dumps(body).encode(), body)

    class Roles(Numbered):
        async def stream(self, ask):
            yield event({"role": "assistant", "content": ""})
            async for delta in super().stream(ask):
                yield delta

    for kind in (Numbered, Roles):
        async with house(kind(RUDE, SAFE), policy=patient()) as home:
            events = await home.stream("Hello")
        assert events.pop() == "[DONE]"
        assert "answer-1" not in {one["id"] for one in events}
        choices = [choice for one in events for choice in one["choices"]]
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
        assert sum("role" in choice["delta"] for choice in choices) == (kind is Roles)


async def test_the_audit_knows_both_answers(patient):
    async with house(Model("Write to bo@example.com, stupid. Go.", RUDE), policy=patient()) as home:
        await home.say("Hello")
        (entry,) = await home.audit()
    verdicts = [(one["rail"], one["act"], one["won"], one["withdrawn"]) for one in entry.closed["verdicts"]]
    assert verdicts == [
        ("hide", "redact", False, True),
        ("rude", "replace", False, True),
        ("rude", "replace", True, False),
    ]
    texts = [(text.role, text.masked) for text in entry.texts]
    assert texts == [
        ("user", "Hello"),
        ("withdrawn", "Write to <EMAIL_ADDRESS>, stupid. "),
        ("assistant", "You are stupid. Go."),
        ("sent", "Something else. Go."),
    ]


async def test_what_it_cost_is_told_together(patient):
    class Counting(Model):
        async def stream(self, ask):
            async for delta in super().stream(ask):
                yield delta
            tokens = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            body = {"id": "c", "model": "m", "choices": [], "usage": tokens}
            yield type(delta)(json.dumps(body).encode(), body)

    async with house(Counting("You are stupid", "It is fine."), policy=patient()) as home:
        usage = (await home.ask("Hello")).json()["usage"]
        (entry,) = await home.audit()
    assert usage == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    assert entry.closed["usage"] == usage
    async with house(Counting(RUDE, "It is fine."), policy=patient()) as home:  # the first was cancelled: an estimate
        usage = (await home.ask("Hello")).json()["usage"]
    assert usage["estimated"] is True
    assert usage["completion_tokens"] > 5


async def test_what_a_withdrawn_answer_told_the_rails_is_forgotten(patient):
    """`repeat` would leave out a sentence that it has seen; what was never heard was never said."""
    said, model = LONG, Model(LONG)
    async with house(model, policy=patient()) as home:
        session = {"x-kindrail-session": "s"}
        assert (await home.ask("Hello", headers=session)).json()["choices"][0]["message"]["content"] == said
        assert len(model.asked) == 2
        again = await home.ask("Hello", assistant(said), "More", headers=session)
        assert again.json()["choices"][0]["message"]["content"] == "Good."


class Failing(Model):
    """Its second answer does not come."""

    def __init__(self, *answers, after=0):
        super().__init__(*answers)
        self.after = after

    async def stream(self, ask):
        number = 0
        async for delta in super().stream(ask):
            if len(self.asked) > 1 and number == self.after:
                raise BackendFault(502, "gone")
            number += 1
            yield delta


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after", [0, 2])
async def test_where_the_second_answer_fails_the_house_says_its_line(patient, stream, after):
    async with house(Failing(RUDE, SAFE, after=after), policy=patient()) as home:
        said = text_of(await home.stream("Hello")) if stream else await home.say("Hello")
        (entry,) = await home.audit()
    assert said == "Something else."
    assert entry.closed["outcome"] == "answered"


async def test_a_second_answer_that_breaks_off_late_is_a_fault(patient):
    async with house(Failing(RUDE, SAFE, after=8), policy=patient()) as home:
        assert (await home.ask("Hello")).status_code == 502


async def test_a_client_that_goes_cancels_the_second_answer(patient):
    left = asyncio.Event()

    async def answer(wire):
        await wire.head()
        if len(fake.chats) == 1:
            await wire.events(chunk("You are stupid. "), chunk("Go", "stop"), "[DONE]")
            return await wire.end()
        await wire.events(chunk("It"))
        await wire.until_client_leaves()
        left.set()

    async with upstream(answer, VLLM) as fake, house(policy=patient(), backend_url=fake.url) as home:
        gone = asyncio.create_task(home.ask("Hello"))
        while len(fake.chats) < 2:
            await asyncio.sleep(0.01)
        gone.cancel()
        async with asyncio.timeout(5):
            await left.wait()
            while not (found := await home.audit()) or not found[0].closed:
                await asyncio.sleep(0.02)
    assert found[0].closed["outcome"] == "disconnected"
    assert [one["withdrawn"] for one in found[0].closed["verdicts"]] == [True]


async def test_whoever_wants_several_answers_gets_what_comes(patient):
    class Both(Model):
        async def stream(self, ask):
            self.asked.append(ask.body)
            for index in (0, 1):
                body = event({"content": RUDE}, "stop").event
                body["choices"][0]["index"] = index
                yield type(event({}))(json.dumps(body).encode(), body)

    model = Both()
    async with house(model, policy=patient()) as home:
        choices = (await home.ask("Hello", n=2)).json()["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["Something else. Go."] * 2
    assert len(model.asked) == 1


async def test_reasoning_that_has_left_cannot_be_withdrawn(patient):
    class Thinks(Model):
        async def stream(self, ask):
            yield event({"reasoning_content": "Let me see. "})
            async for delta in super().stream(ask):
                yield delta

    model = Thinks(RUDE, SAFE)
    async with house(model, policy=patient()) as home:
        assert await home.say("Hello") == "Something else. Go."
    assert len(model.asked) == 1
