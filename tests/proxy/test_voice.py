"""One answer on its way out: text, reasoning, refusals and calls, each its own way, and one end that is true of all."""

import itertools
import json
import random

import pytest
from drive import chunked
from house import shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import FALLBACK, OTHER, call, chunk, said, zoo

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

ROME, MAIL = '{"city": "Rome"}', '{"to": "tom@mail.com"}'
ENDS = "  - {id: clamp, rail: clamp, why: one is enough, sentences: 1}"


def calls(*parts, **more):
    return chunk(tool_calls=list(parts), **more)


def one_call(arguments=ROME, name="weather", finish="tool_calls"):
    return [calls(call(0, "a", name, "")), *(calls(call(0, arguments=one)) for one in arguments), chunk(finish)]


def texts(text, name="content"):
    return [chunk(**{name: one}) for one in text]


# -- text and calls ----------------------------------------------------------------------------------------------------


async def test_text_and_call_leave_together():
    found = await said(
        [chunk(role="assistant", content=""), *texts("I look it up."), *one_call(MAIL, "mail")], tools=["mail"]
    )
    assert (found.message["content"], found.finish) == ("I look it up.", "tool_calls")
    assert found.calls == [("mail", '{"to": "<EMAIL_ADDRESS>"}')]
    assert found.voice.stored() == ["I look it up.", '{"to": "<EMAIL_ADDRESS>"}']
    assert found.voice.message()["tool_calls"][0]["function"]["name"] == "mail"


async def test_a_call_alone_has_null_content_even_for_a_child():
    for policy in (zoo(), shipped("kids-buddy")):
        found = await said([chunk(role="assistant", content=None), *one_call()], policy)
        assert (found.message["content"], found.calls, found.finish) == (None, [("weather", ROME)], "tool_calls")


@pytest.mark.parametrize(
    ("told", "calling", "expected"),
    [("stop", True, "stop"), ("tool_calls", True, "tool_calls"), ("length", True, "length"), (None, True, "tool_calls"),
     ("tool_calls", False, "stop"), ("function_call", False, "stop"), ("length", False, "length"), (None, False, "stop")],
)  # fmt: skip
async def test_the_finish_reason_is_true(told, calling, expected):
    """vLLM says `stop` for a named tool choice; some servers say nothing."""
    parts = one_call(finish=told) if calling else [chunk(content="Hi."), chunk(told)]
    found = await said([chunk(role="assistant", content=""), *parts])
    assert (found.finish, bool(found.calls)) == (expected, calling)


@pytest.mark.parametrize(
    "blocked", [one_call(name="shell"), one_call('{"a": "my zebra"}'), one_call('{"a": "my zebra', finish="length")]
)
@pytest.mark.parametrize("order", [{}, {"must_call": True}, {"json": True}])
async def test_a_blocked_call_is_a_valid_answer(blocked, order):
    line = FALLBACK if "shell" in str(blocked[0].event) else OTHER
    found = await said([chunk(role="assistant", content=""), *blocked], **order)
    assert (found.calls, found.finish) == ([], "stop")
    expected = {"content": None, "refusal": line} if order else {"content": line}
    assert found.message == {"role": "assistant", **expected}
    assert (found.voice.answer.sent, found.voice.stored()) == (line, [line])
    assert "zebra" not in str([one.raw for one in found.events])


@pytest.mark.parametrize(
    ("text", "blocked", "content"),
    [
        ("I look it up.", one_call('{"a": "my zebra"}'), f"I look it up. {OTHER}"),
        ("I look it up.\n", one_call('{"a": "my zebra"}'), f"I look it up.\n{OTHER}"),
        ("I look it up.", one_call(name="shell"), "I look it up."),
        ("I see my zebra.", one_call('{"a": "my zebra"}'), OTHER),  # once in an answer
        ("\n\n", one_call(name="shell"), FALLBACK),
    ],
)
async def test_a_blocked_call_behind_text(text, blocked, content):
    for pieces in ([text], list(text)):
        found = await said([*texts(pieces), *blocked])
        assert (found.message, found.finish) == ({"role": "assistant", "content": content}, "stop")
        assert "".join(found.voice.stored()) == found.voice.answer.sent == content


@pytest.mark.parametrize("text", ["One bear. Two bears. Three.", "One bear. Two bears."])
async def test_an_answer_that_ends_calls_nothing(text):
    """Whether a rail ends it in mid-stream or with the last of its text."""
    for pieces in ([text], list(text)):
        found = await said([*texts(pieces), *one_call()], zoo(more=ENDS))
        assert (found.message, found.finish) == ({"role": "assistant", "content": "One bear."}, "stop")
        assert found.voice.message() == {"role": "assistant", "content": "One bear."}


async def test_a_house_line_for_all_stands_where_it_is_no_content_of_the_wrong_kind():
    for order, place in (({}, "content"), ({"json": True}, "refusal"), ({"must_call": True}, "refusal")):
        voice = (await said([], **order)).voice
        (event,) = voice.say("No.")
        assert event.event["choices"][0]["delta"][place] == "No."
        assert (voice.answer.sent, voice.stored()[-1]) == ("No.", "No.")


# -- calls written into the text ---------------------------------------------------------------------------------------

RAW = '<tool_call>\n{"name": "weather", "arguments": {"to": "%s"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RAW % "Rome", RAW % "Rome"),
        (f"I look. {RAW % 'Rome. Or Milan.'}\n{RAW % 'x'}", f"I look. {RAW % 'Rome. Or Milan.'}\n{RAW % 'x'}"),
        (RAW % "tom@mail.com", RAW % "<EMAIL_ADDRESS>"),
        (RAW % "my zebra", OTHER),
        (f"I look. {RAW % 'my zebra'} Yes.", f"I look. {OTHER} Yes."),
        ((RAW % "Rome").replace("weather", "shell"), FALLBACK),
    ],
)
async def test_a_call_in_the_text_passes_whole_or_not_at_all(text, expected):
    splits = [[text[:place], text[place:]] for place in range(1, len(text))]
    for pieces in ([text], list(text), *splits):
        found = await said([*texts(pieces), chunk("stop")])
        assert (found.message["content"], found.finish) == (expected, "stop")
        assert "".join(found.voice.stored()) == expected


async def test_an_untouched_call_in_the_text_leaves_in_the_bytes_it_came_in():
    chunks = [*texts(RAW % "Rome"), chunk("stop")]
    assert [one.raw for one in (await said(chunks)).events] == [one.raw for one in chunks]


# -- reasoning and refusals --------------------------------------------------------------------------------------------

THOUGHT = "First I look. Then comes my zebra. I write to tom@mail.com now. It is late"
THOUGHT_LEFT = "First I look. I write to <EMAIL_ADDRESS> now. It is late"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_reasoning_is_judged_under_its_own_name_and_leaves_before_the_text(name):
    for pieces in ([THOUGHT], list(THOUGHT), chunked(THOUGHT, 1)):
        chunks = [chunk(role="assistant", content=""), *texts(pieces, name), *texts("Hi. You."), chunk("stop")]
        found = await said(chunks, reasoning=True)
        assert found.message == {"role": "assistant", "content": "Hi. You.", name: THOUGHT_LEFT}
        kinds = [key for one in found.events for key in ("content", name) if one.event["choices"][0]["delta"].get(key)]
        assert kinds == sorted(kinds, key=["content", name].index, reverse=True)
        assert found.voice.answer.sent == "Hi. You."


async def test_reasoning_is_left_out_where_nobody_judges_it():
    found = await said([*texts("A thought.", "reasoning"), chunk(content="Hi.", reasoning="Hm."), chunk("stop")])
    assert found.message == {"role": "assistant", "content": "Hi."}


async def test_reasoning_that_comes_again_and_with_the_text_is_judged_to_its_end():
    chunks = [chunk(reasoning=a, content=b) for a, b in itertools.zip_longest(THOUGHT, "Hi. There.", fillvalue="")]
    found = await said([*chunks, *texts(" It is my zebra. So.", "reasoning"), chunk("stop")], reasoning=True)
    assert found.message["content"] == "Hi. There."
    assert "zebra" not in found.message["reasoning"]
    assert "tom@mail.com" not in found.message["reasoning"]
    assert found.message["reasoning"].endswith("So.")


INLINE = f"<think>{THOUGHT}</think>\n\n"


async def test_reasoning_in_the_text_is_left_out_or_judged():
    """As a server without a parser for reasoning sends it."""
    for pieces in ([f"{INLINE}Hi. You."], list(f"{INLINE}Hi. You."), chunked(f"{INLINE}Hi. You.", 1)):
        chunks = [chunk(role="assistant", content=""), *texts(pieces), chunk("stop")]
        found = await said(chunks)
        assert found.message == {"role": "assistant", "content": "Hi. You."}
        assert found.voice.answer.sent == "".join(found.voice.stored()) == "Hi. You."
        assert found.acts == []
        found = await said(chunks, reasoning=True)
        assert found.message == {"role": "assistant", "content": f"<think>{THOUGHT_LEFT}</think>\n\nHi. You."}
        assert found.voice.answer.sent == "".join(found.voice.stored()) == found.message["content"]
        child = await said(chunks, shipped("kids-buddy"))
        assert child.message == {"role": "assistant", "content": "Hi. You."}


@pytest.mark.parametrize(
    ("text", "reasoning", "left"),
    [
        (f"{INLINE}It is my zebra. You.", False, f"{OTHER} You."),
        (f"{INLINE}It is my zebra. You.", True, f"<think>{THOUGHT_LEFT}</think>\n\n{OTHER} You."),
        ("<think>It never ends. ", False, ""),
    ],
)
async def test_reasoning_in_the_text_before_a_house_line(text, reasoning, left):
    for pieces in ([text], list(text)):
        found = await said([*texts(pieces), chunk("stop")], reasoning=reasoning)
        assert found.message["content"] == left


async def test_a_child_hears_more_than_reasoning_that_never_ends():
    found = await said([*texts("<think>It never ends."), chunk("length")], shipped("kids-buddy"))
    assert found.message["content"] == "I'm right here."


async def test_reasoning_before_a_document():
    for reasoning, left in ((False, ROME), (True, f"<think>{THOUGHT_LEFT}</think>\n\n{ROME}")):
        found = await said([*texts(f"{INLINE}{ROME}"), chunk("stop")], json=True, reasoning=reasoning)
        assert found.message["content"] == "".join(found.voice.stored()) == left
    found = await said([*texts(f'{INLINE}{{"a": "my zebra"}}'), chunk("stop")], json=True, reasoning=True)
    assert found.message == {"role": "assistant", "content": None, "refusal": OTHER}


async def test_content_that_comes_in_parts_goes_the_same_ways():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}]},
        {"type": "text", "text": "My zebra. Hi."},
    ]
    found = await said([chunk(role="assistant", content=parts), chunk("stop")], reasoning=True)
    assert found.message == {"role": "assistant", "content": f"{OTHER} Hi.", "reasoning": "Hm. "}
    found = await said([chunk(role="assistant", content=parts), chunk("stop")])
    assert found.message == {"role": "assistant", "content": f"{OTHER} Hi."}


@pytest.mark.parametrize("text", ['```json\n{"animal": "my \\u007aebra"}\n```', 'It is "my \\\\u007aebra".'])
async def test_no_escape_hides_a_phrase_in_text(text):
    for name in ("content", "reasoning"):
        for pieces in ([text], list(text)):
            found = await said([*texts(pieces, name), chunk("stop")], reasoning=True)
            assert "ebra" not in str([one.raw for one in found.events])


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ("I cannot help. Write to tom@mail.com instead.", {"content": None, "refusal": "I cannot help. Write to <EMAIL_ADDRESS> instead."}),
        ("I cannot draw my zebra. Sorry.", {"content": None, "refusal": "Sorry."}),
        ("I cannot draw my zebra.", {"content": FALLBACK}),
    ],
)  # fmt: skip
async def test_a_refusal_of_the_models_own_is_judged_and_never_empty(refusal, expected):
    for pieces in ([refusal], list(refusal)):
        found = await said([chunk(role="assistant", content=""), *texts(pieces, "refusal"), chunk("stop")])
        assert (found.message, found.finish) == ({"role": "assistant", **expected}, "stop")
        left = expected.get("refusal") or expected["content"]
        assert found.voice.answer.sent == "".join(found.voice.stored()) == found.voice.message()["content"] == left


async def test_a_child_hears_no_second_line_beside_a_refusal():
    found = await said([*texts("I cannot draw this.", "refusal"), chunk("stop")], shipped("kids-buddy"))
    assert found.message == {"role": "assistant", "content": None, "refusal": "I cannot draw this."}
    found = await said([*texts("I cannot draw this.", "refusal"), chunk("stop")], shipped("kids-buddy"), json=True)
    assert found.message == {"role": "assistant", "content": None, "refusal": "I cannot draw this."}


async def test_a_refusal_is_cut_to_the_childs_measure():
    long = "What shall we play? Shall we go on? One. Two. Three. Four. Five. Six."
    heard = (await said([*texts([long]), chunk("stop")], shipped("kids-buddy"))).message["content"]
    for pieces in ([long], list(long)):
        found = await said([*texts(pieces, "refusal"), chunk("stop")], shipped("kids-buddy"))
        assert found.message["refusal"].strip() == heard
        assert len(heard) < len(long)
        assert "".join(found.voice.stored()).strip() == heard


# -- law 1 -------------------------------------------------------------------------------------------------------------

SAFE = ["The bear sat. ", "Yes! ", "Look at it, and wait. ", "3.14 is enough. "]
PLANTED = ["It is my zebra. ", "my zebra, ", "Is it My  Zebra? ", "Write to tom@mail.com now. "]
PLACES = ["content", "reasoning", "reasoning_content", "refusal", "arguments"]


@st.composite
def answers(draw):
    """Texts in some of the places where a server can put them, cut anyhow, and told by turns."""
    said_in = {place: "".join(draw(st.lists(st.sampled_from(SAFE + PLANTED), max_size=4))) for place in PLACES}
    if said_in["reasoning"]:
        said_in["reasoning_content"] = ""
    if said_in["arguments"]:
        said_in["arguments"] = json.dumps({"text": said_in["arguments"]})
    dice = random.Random(draw(st.integers(0, 999)))
    queues = {place: chunked(text, dice.random()) for place, text in said_in.items() if text}
    parts = []
    while queues:
        place = dice.choice(list(queues))
        piece = queues[place].pop(0)
        if not queues[place]:
            del queues[place]
        told = calls(call(0, "a", "weather", piece)) if place == "arguments" else chunk(**{place: piece})
        parts.append(told)
    return [*parts, chunk(draw(st.sampled_from(["stop", "tool_calls", "length"])))]


@settings(deadline=None, max_examples=150)
@given(answers(), st.sampled_from([{}, {"json": True}, {"must_call": True}]))
async def test_property_what_a_policy_replaces_never_leaves(chunks, order):
    found = await said(chunks, reasoning=True, **order)
    for value in [*found.message.values(), *(arguments for _, arguments in found.calls)]:
        folded = " ".join(str(value).lower().split())
        assert "my zebra" not in folded
    assert "tom@mail.com" not in str([found.message.get(one) for one in ("content", "refusal")] + found.calls)
    assert (found.finish == "tool_calls") <= bool(found.calls)
    if found.acts:
        assert any(
            found.message.get(one) for one in ("content", "refusal", "tool_calls", "reasoning", "reasoning_content")
        )
