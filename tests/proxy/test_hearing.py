"""What a child says is heard wherever a request has it, and their data reach neither the model nor the store."""

import json
from dataclasses import replace

import pytest
from house import assistant, house, shipped
from model import SAFE, Model

from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.model import Bound
from proxy.turn import Act, Heard, Turn, Verdict

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

CARE = "grown-up"
NAME = "내 이름은 민지야"
ESCAPED = json.dumps({"said": NAME})


def call(arguments="{}"):
    function = {"name": "get_weather", "arguments": arguments}
    return {**assistant(None), "tool_calls": [{"id": "c1", "type": "function", "function": function}]}


def result(text):
    return {"role": "tool", "tool_call_id": "c1", "content": text}


@pytest.mark.parametrize(
    "said",
    [
        ["I want to die", call(), result("sunny")],
        ["I want to die", {**call(), "content": "Let me see."}, result("sunny")],
        ["hi", assistant("hello"), "I want to die", call(), result("sunny"), call(), result("rain")],
        ["I want to die", assistant("Let me think."), assistant("Well,")],
        ["I want to die", assistant("")],
        ["hi", call(), result("I want to die")],
        ["hi", call(), result(json.dumps({"heard": "나 죽고 싶어"}))],
        [result("I want to die")],
        ["I want", "to die"],
        ["I", "want to", "die"],
        ["I want", call(), result("sunny"), "to die"],
    ],
)
async def test_a_child_in_danger_is_heard(said):
    model = Model(SAFE)
    async with house(model) as home:
        response = await home.ask(*said)
        assert CARE in response.json()["choices"][0]["message"]["content"]
        assert model.asked == []
        (record,) = await home.audit(response.headers["x-kindrail-turn"])
        assert [one["rail"] for one in record.closed["verdicts"] if "alert" in one["flags"]] == ["crisis"]


async def test_half_an_emoji_leaves_a_child_heard():
    async with house(Model(SAFE)) as home:
        body = rb'{"model": "m", "messages": [{"role": "user", "content": "I want to die \ud83d"}]}'
        response = await home.client.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        assert CARE in response.json()["choices"][0]["message"]["content"]


async def test_what_was_answered_is_not_heard_again():
    async with house(Model(SAFE)) as home:
        calm = await home.say("I want to die", assistant("Go to a grown-up."), "the bear is big")
        assert calm.endswith(SAFE)  # no alarm once more: the model answers, and the house flows stay with the child
        assert "999" not in calm
        assert await home.say("I want", assistant("Yes?"), "to die of laughter, said the bear") == SAFE


async def test_the_note_stands_through_a_tool_loop():
    model = Model(SAFE)
    async with house(model) as home:
        await home.ask("good night")
        for said in (["sing of the moon"], ["sing of the moon", call(), result("sunny")]):
            await home.ask("good night", assistant("Sleep tight."), *said)
    first, second = (body["messages"] for body in model.asked)
    assert "\n\n(" in first[-1]["content"]
    assert second[-3]["content"] == first[-1]["content"]


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        (["call mum: +39 347 812", "5590"], ["347", "5590"]),
        (["call mum: +39 347 812", "5590", assistant("ok"), "hi"], ["347", "5590"]),
        (["hi", call(ESCAPED), result(ESCAPED)], ["ubbfc", "민지"]),
        (["hi", call(ESCAPED), result(ESCAPED), assistant("ok"), "hi"], ["ubbfc", "민지"]),
        (["hi", call(), result(json.dumps([ESCAPED]))], ["ubbfc", "민지"]),
        (["hi", call(), result(r'{"mum": "call\n347 812 5590"}')], ["347"]),
    ],
)
async def test_the_model_reads_no_datum(said, hidden):
    model = Model(SAFE)
    async with house(model) as home:
        assert (await home.say(*said)).endswith(SAFE)  # the kind word may stand in front
    (asked,) = model.asked
    read = json.dumps(asked["messages"], ensure_ascii=False)
    assert not [one for one in hidden if one in read]
    for message in asked["messages"]:
        for one in message.get("tool_calls", ()):
            assert json.loads(one["function"]["arguments"]).keys() <= {"said"}


async def test_what_is_kept_has_no_datum():
    said = [
        {"role": "user", "content": "call mum: +39 347 812"},
        {"role": "user", "content": "5590"},
        {"type": "function_call", "call_id": "c1", "name": "listen", "arguments": ESCAPED},
        {"type": "function_call_output", "call_id": "c1", "output": ESCAPED},
    ]
    async with house(Model(SAFE)) as home:
        response = await home.client.post("/v1/responses", json={"model": "m", "input": said})
        kept, *_ = await home.services.kept.find("default", response.json()["id"], [])
    text = json.dumps(kept.messages, ensure_ascii=False)
    assert "listen" in text
    assert not [one for one in ("347", "5590", "ubbfc", "민지") if one in text]


class Writes:
    """A rail that says the same in other words."""

    async def check(self, segment):
        return Verdict(Act.REPLACE, text=f"In short: {segment.text}") if "it is" in segment.text else Verdict()


async def test_what_a_rail_wrote_is_remembered_without_the_numbers_of_a_session():
    """The memo is one for all sessions."""
    general, memo = shipped("general"), Memo()
    user, nobody = frozenset({"user"}), frozenset()
    writes = Bound("short", "short", "short", "enforce", "it is long", Writes(), False, user, nobody, ())
    policy = replace(general, rails=(writes, next(one for one in general.rails if one.masks)))
    for datum in ("jo@example.com", "tom@example.com"):
        line = Line(policy, Turn("t", "en"), memo)
        assert (await line.hear([Heard("user", f"first {datum}")])).texts == ("first <EMAIL_ADDRESS_1>",)
        (text,) = (await line.hear([Heard("user", f"it is {datum}")])).texts
        assert text == "In short: it is <EMAIL_ADDRESS>"
        assert await line.history([Heard("user", f"it is {datum}")]) == [text]
