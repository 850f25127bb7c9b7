"""What a flow can read, and what it may leave for later turns: nothing that anybody wrote."""

import asyncio

import pytest
from colang_source import folder

from proxy.turn import Act, Heard, Segment
from rails._colang.folder import Place
from rails._colang.runner import FlowFault, Ran
from rails._colang.variables import Variables

# -- what flows read ---------------------------------------------------------------------------------------------------

TALK = (Heard("user", "ciao"), Heard("assistant", "Ciao, come va?"), Heard("user", "bene"))
READS = [
    ("$user_message", "hello", {}),
    ("$role", "user", {}),
    ("$lang", "it", {}),
    ("$before", "and", {"before": "and"}),
    ("$answer_so_far", "", {"before": "and"}),
    ("$last_user_message", "hello", {}),
    ("$last_bot_message", "Ciao, come va?", {}),
    ("len($history)", 3, {}),
    ("$history[0].text", "ciao", {}),
    ("$now", 77.5, {}),
    ("$whole", True, {"last": True}),
    ("$values.limit", 3, {}),
    ("$values.name", "Bo", {}),
    ("$session.bedtime", True, {}),
    ("$session.volume", None, {}),
    ("$session.asked", 2, {}),
    ("$rails.hide_private.at", 5, {}),
    ("$rails.crisis.at", None, {}),
]


@pytest.mark.parametrize(("expression", "value", "fields"), READS)
async def test_what_a_flow_can_read(of, judge, turn, expression, value, fields):
    """The app sets `bedtime` and `volume`; only the first is a name that the policy lets it set."""
    seen = turn(
        language="it", user="last of all", now=77.5, history=TALK, settings={"bedtime": True, "volume": 9},
        state={"house-flows": {"asked": 2, "bedtime": False}, "hide-private": {"at": 5}},
    )  # fmt: skip
    sets = ("$session.asked = 1", "$session.volume = 1")  # behind the `stop`: a flow of the folder has to set them
    options = {"settings": ["bedtime"], "values": {"limit": "3", "name": "Bo"}}
    flow = of(f"if {expression} == {value!r}", "  stop", *sets, **options)
    assert (await judge(flow, "hello", role="user", turn=seen, **fields)).act is Act.END


async def test_what_the_app_has_not_set_is_not_there(of, judge):
    flow = of("if $session.bedtime == None", "  stop", settings=["bedtime"])
    assert (await judge(flow, "hello", role="user")).act is Act.END


ANSWER_READS = [("$bot_message", "yes"), ("$user_message", "last"), ("$last_user_message", "last"), ("$before", "")]


@pytest.mark.parametrize(("expression", "value"), [*ANSWER_READS, ("$answer_so_far", "Well, "), ("$role", "assistant")])
async def test_what_a_flow_can_read_of_an_answer(of, judge, turn, expression, value):
    flow = of(f"if {expression} == {value!r}", "  stop", on="output")
    assert (await judge(flow, "yes", turn=turn(user="last"), before="Well, ")).act is Act.END


ENGLISH, ITALIAN, KOREAN = (
    f'define bot count{suffix}\n  "{text} $user_message."\n'
    for suffix, text in (("", "One"), (" (it)", "Una"), (" (ko)", "하나"))
)
SAYS = [  # what is written, the language of the turn, what is said
    (ENGLISH + ITALIAN + KOREAN, "en", "One x."),
    (ENGLISH + ITALIAN + KOREAN, "it", "Una x."),
    (KOREAN + ITALIAN + ENGLISH, "ko", "하나 x."),
    (ENGLISH + ITALIAN, "ko", "One x."),  # a NeMo configuration may leave languages out: the first stands in
    (ITALIAN + ENGLISH, "ko", "One x."),
]


@pytest.mark.parametrize(("messages", "language", "text"), SAYS)
async def test_a_message_is_said_in_the_language_that_no_flow_mentions(
    colang, judge, turn, tmp_path, messages, language, text
):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "config.yml").write_text("rails: {input: {flows: [say]}}\n", "utf-8")
    flows = colang(messages + "define subflow say\n  bot count\n", input=None, output=None)
    assert (await judge(flows, "x", role="user", turn=turn(language=language))).text == text


# -- what flows remember -----------------------------------------------------------------------------------------------

KEPT = [
    ("True", True),
    ("3", 3),
    ("$now", 77.5),
    ('"asleep"', "asleep"),
    ("$lang", "it"),
    ("None", None),
]


@pytest.mark.parametrize(("value", "kept"), KEPT)
async def test_a_session_keeps_plain_values(of, judge, turn, value, kept):
    verdict = await judge(of(f"$session.mood = {value}"), "hello", role="user", turn=turn(language="it", now=77.5))
    assert verdict.remember == ({"mood": kept} if kept is not None else {"mood": None})


@pytest.mark.parametrize("value", ["$user_message", "$history", '$user_message + "!"', "$values", "1e999"])
async def test_a_session_keeps_no_text_of_users(of, judge, turn, value):
    seen = turn(history=(Heard("user", "my own words"),))
    with pytest.raises(FlowFault) as fault:
        await judge(of(f"$session.mood = {value}"), "my own words", role="user", turn=seen)
    assert "`x`" in str(fault.value)
    assert "`$session.mood`" in str(fault.value)
    assert "my own words" not in str(fault.value)


@pytest.mark.parametrize(("added", "kept"), [("calm", ["calm", "calm"]), ("my own words", None)])
def test_what_is_changed_in_place_reaches_the_session_only_as_what_is_set_does(turn, added, kept):
    state = {"flows": {"moods": ["calm"]}, "crisis": {"days": [1]}}
    segment = Segment("user", "hello", turn(state=state))
    flows = folder(
        "define subflow x\n  $x = $rails.crisis.days", variables={"session", "rails"}, words=frozenset({"calm"})
    )
    variables = Variables(flows, "flows", ("en",), (), {})
    context, ran = variables.of(segment), Ran("x", [], False, Place("house.co", 1))
    context["session"]["moods"].append(added)
    context["rails"]["crisis"]["days"].append(2)
    if kept:
        lasting = variables.lasting(context, segment, ran)
        assert lasting == {"moods": kept}
        assert lasting["moods"] is not context["session"]["moods"]
    else:
        with pytest.raises(FlowFault, match="may not be kept"):
            variables.lasting(context, segment, ran)
    assert state == {"flows": {"moods": ["calm"]}, "crisis": {"days": [1]}}


async def test_only_what_has_changed_is_remembered(of, judge, turn):
    seen = turn(state={"house-flows": {"mood": True, "count": 1}}, settings={"bedtime": True})
    flow = of("$session.mood = True", "$session.count = $session.count + 1", settings=["bedtime"])
    assert (await judge(flow, "hello", role="user", turn=seen)).remember == {"count": 2}
    assert (await judge(flow, "hello", role="user", turn=seen)).remember == {"count": 3}
    assert seen.state["house-flows"] == {"mood": True, "count": 3}


async def test_nothing_passes_from_one_session_to_another(of, turn):
    flow = of(
        "$seen = $session.count",
        "if $seen == None",
        "  $seen = 0",
        "$session.count = $seen + 1",
        'if $user_message == "hello"',
        "  $note = execute phrases(list='secrets', text=$user_message)",
    )
    turns = [turn(state={"house-flows": {"count": n}}) for n in range(300)]
    checks = (flow.check(Segment("user", "hello", one)) for one in turns)
    assert [one.remember["count"] for one in await asyncio.gather(*checks)] == list(range(1, 301))


async def test_constants_stay_what_they_are(of, judge, turn):
    flow = of("if $values.limit == 3", "  $values.limit = 4", "else", "  stop", values={"limit": "3"})
    for _ in range(2):
        assert (await judge(flow, "hello", role="user")).act is Act.PASS
