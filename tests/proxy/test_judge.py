"""A question to a model of the operator's."""

import asyncio

import pytest
from model import Model, event
from test_line import Says, bound, policy

from proxy.judge import Judge as Asking
from proxy.line import Line
from proxy.memo import Memo
from proxy.turn import Act, BackendFault, RailFault, Turn, Verdict


def Judge(model, *rails):
    return Asking(model, Line(policy(*rails), Turn("t", "en"), Memo()))


MESSAGES = [{"role": "user", "content": "Is it safe?"}]


async def test_the_answers_text_and_what_was_asked():
    model = Model("It is safe.")
    assert await Judge(model)("guard", MESSAGES, {"temperature": 0.1, "stop": ["\n"]}) == "It is safe."
    (body,) = model.asked
    assert body == {"model": "guard", "messages": MESSAGES, "temperature": 0.1, "stop": ["\n"], "stream": True}
    assert model.closed == 1


async def test_a_setting_cannot_turn_the_stream_off():
    model = Model("Yes.")
    assert await Judge(model)("guard", MESSAGES, {"stream": False}) == "Yes."
    assert model.asked[0]["stream"] is True


class Endless(Model):
    async def stream(self, ask):
        try:
            while True:
                self.answers.append("more")
                yield event({"content": "word " * 100})
        finally:
            self.closed += 1


async def test_an_endless_answer_is_cut_and_cancelled():
    model = Endless()
    assert 20_000 < len(await Judge(model)("guard", MESSAGES, {})) < 21_000
    assert model.closed == 1


class Broken(Model):
    async def stream(self, ask):
        yield event({"content": "It is "})
        raise BackendFault(502, "broke off")


async def test_a_backend_that_breaks_off_has_not_answered():
    with pytest.raises(BackendFault, match="broke off"):
        await Judge(Broken())("guard", MESSAGES, {})


async def test_a_judge_that_is_given_up_is_cancelled():
    model = Model("a b c d", delay=10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await Judge(model)("guard", MESSAGES, {})
    assert model.closed == 1


async def test_events_without_text_say_nothing():
    class Odd(Model):
        async def stream(self, ask):
            yield event({"role": "assistant", "content": None})
            yield event({"content": "Yes"})
            yield event({"reasoning_content": "hm"})
            odd = event({})
            odd.event["choices"] = []
            yield odd

    assert await Judge(Odd())("guard", MESSAGES, {}) == "Yes"


MASKS = bound("masks", Says("Jo Smith", Verdict(Act.REDACT)), mode="off", masks=True)


async def test_what_the_policy_masks_no_other_model_reads():
    model = Model("Yes.")
    await Judge(model, MASKS)("guard", [{"role": "user", "content": "Is Jo Smith kind?"}], {})
    assert model.asked[0]["messages"] == [{"role": "user", "content": "Is <WORD> kind?"}]


async def test_what_a_rail_writes_around_a_text_is_its_own():
    model = Model("Yes.")
    framed = {"role": "user", "before": "Jo Smith asks: ", "content": "Is Jo Smith kind?", "after": " Jo Smith ends."}
    await Judge(model, MASKS)("guard", [framed], {})
    assert model.asked[0]["messages"] == [{"role": "user", "content": "Jo Smith asks: Is <WORD> kind? Jo Smith ends."}]


async def test_no_judge_reads_what_a_child_said_unmasked():
    model = Model("Yes.")
    judge = Asking(model, Line(policy(audience="child"), Turn("t", "en"), Memo()))
    with pytest.raises(RailFault, match="no rail of this policy masks what a child said"):
        await judge("guard", MESSAGES, {})
    assert model.asked == []


async def test_what_cannot_be_masked_is_not_asked():
    model, broken = Model("Yes."), bound("masks", Says("Jo", ValueError()), masks=True)
    with pytest.raises(RailFault, match="could not be masked"):
        await Judge(model, broken)("guard", [{"role": "user", "content": "Is Jo kind?"}], {})
    assert model.asked == []
