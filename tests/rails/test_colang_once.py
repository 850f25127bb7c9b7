"""A line that a rail writes itself is said once in an answer, however often its flows say it."""

import pytest

from proxy.turn import Act

WRITTEN = {"one": "First.", "two": "Second.", "filled": "Now in {{ lang }}."}
LINES = "".join(
    f'define bot {name}{language}\n  "{text}"\n'
    for name, text in WRITTEN.items()
    for language in ("", " (it)", " (ko)")
)
SAYS = [  # the flow; what stands for each of three sentences: the line's key and the text
    (("bot filled",), [("", "Now in en. A. "), ("", ""), ("", "")]),
    (('$t = "Careful."', "bot $t"), [("", "Careful. A. "), ("", ""), ("", "")]),
    (
        ("bot one", "bot two"),
        [("house-flows/one", "Second. A. "), ("house-flows/one", "A. "), ("house-flows/one", "A. ")],
    ),
    (("bot one", "bot one"), [("house-flows/one", "A. ")] * 3),
    (("bot filled", '$bot_message = "B. "'), [("", "Now in en. B. "), ("", "B. "), ("", "B. ")]),
]


def flows(body):
    return LINES + "define subflow x\n" + "".join(f"  {line}\n" for line in body)


@pytest.mark.parametrize(("body", "said"), SAYS)
async def test_an_answer(colang, judge, turn, body, said):
    rail = colang(flows(body), output=["x"])
    now, before, found = turn(), "", []
    for _ in said:
        verdict = await judge(rail, "A. ", turn=now, before=before)
        found.append((verdict.say, verdict.text))
        assert verdict.act is (Act.REPLACE if verdict.say or verdict.text else Act.PASS)
        before += "A. "
    assert found == said


async def test_the_same_sentence_judged_again_says_the_same(colang, judge, turn):
    rail, now = colang(flows(("bot filled",)), output=["x"]), turn()
    first, again = [await judge(rail, "A. ", turn=now) for _ in range(2)]
    assert first == again
    assert first.text == "Now in en. A. "


async def test_an_earlier_answer_takes_no_line_from_this_one(colang, judge, turn):
    rail, now = colang(flows(("bot filled",)), output=["x"]), turn()
    assert (await judge(rail, "A. ", turn=now, past=True)).text == "Now in en. A. "
    assert (await judge(rail, "B. ", turn=now, before="A. ")).text == "Now in en. B. "


USER = [
    (("bot one", "bot one"), ("house-flows/one", "")),
    (("bot one", "bot two", "bot one", "bot two", "stop"), ("house-flows/one", "Second.")),
    (("bot filled", "bot filled"), ("", "Now in en.")),
]


@pytest.mark.parametrize(("body", "said"), USER)
async def test_the_users_side(colang, judge, body, said):
    verdict = await judge(colang(flows(body), input=["x"]), "hello", role="user")
    assert (verdict.act, verdict.say, verdict.text) == (Act.END, *said)
