"""What the line does with verdicts, on rails made to break; its laws on any text stand in test_line_laws.py."""

import asyncio
import re
from dataclasses import replace

import pytest
from drive import drive, run
from house import shipped

from proxy.answer import Answer
from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.model import Bound
from proxy.turn import Act, Alert, Heard, Span, Turn, Verdict, spans_within

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere


class Says:
    """A rail that gives one verdict wherever a word stands."""

    def __init__(self, word, verdict, seconds=0.0):
        self.word, self.verdict, self.seconds = word, verdict, seconds

    async def check(self, segment):
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.word not in segment.text:
            return Verdict()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        start = segment.text.index(self.word)
        spans = (Span(start, start + len(self.word), "WORD"),) if self.verdict.act is Act.REDACT else ()
        return replace(self.verdict, spans=spans)


def bound(id, rail, mode="enforce", roles=("user", "assistant"), shape=(), masks=False):
    key = f"{id}:shadow" if mode == "shadow" else id
    return Bound(id, "says", key, mode, "", rail, masks, frozenset(roles), frozenset(shape), ())


def policy(*rails, **more):
    lines = {key: {"en": (f"[{key}]",)} for key in ("sorry", "fallback", "a", "b", "bye", "crisis")}
    lines["turns"] = {"en": ("[one]", "[two]")}
    base = replace(shipped("general"), vault=None)
    return replace(base, rails=rails, say=lines, steer={"calm": {"en": ("be calm",)}}, stand_ins={}, **more)


def hearing(policy, *messages, state=None):
    line = Line(policy, Turn("t", "en", "", 0.0, state if state is not None else {}), Memo())
    return line, line.hear([Heard("user", message) for message in messages])


REPLACE, DROP, END = Verdict(Act.REPLACE, say="a"), Verdict(Act.DROP), Verdict(Act.END, say="bye")


@pytest.mark.parametrize(
    ("verdict", "text", "sent"),
    [
        (Verdict(Act.REDACT), "One X two. Three.", "One <WORD> two. Three."),
        (REPLACE, "One. X two. Three.", "One. [a] Three."),
        (REPLACE, "X one. Two. X three. Four.", "[a] Two. Four."),  # a house line is said once in an answer
        (DROP, "One. X two. Three.", "One. Three."),
        (DROP, "X one. Two.", "Two."),
        (DROP, "X one. X two.", "[fallback]"),
        (END, "One. X two. Three.", "One. [bye]"),
        (Verdict(Act.END), "One. X two. Three.", "One."),
        (Verdict(Act.END), "X one.", "[fallback]"),
        (Verdict(), "X one.  Two. \n", "X one.  Two. \n"),
        (DROP, "", ""),
    ],
)
async def test_what_a_verdict_does_to_an_answer(verdict, text, sent):
    assert (await drive(policy(bound("says", Says("X", verdict))), text)).text == sent


async def test_the_first_rail_has_the_word_and_no_redaction_is_lost():
    rails = (bound("r", Says("X", Verdict(Act.REDACT))), bound("e", Says("Y", END)), bound("d", Says("Y", REPLACE)))
    done = await drive(policy(*rails), "One X here. Y and X. Three.")
    assert done.text == "One <WORD> here. [bye]"
    assert [(f.rail, f.won) for f in done.line.findings] == [("r", True), ("r", False), ("e", True), ("d", False)]


async def test_an_untouched_answer_leaves_as_the_bytes_it_came_in():
    done = await run(policy(), ["Hel", "lo.", " How are", " you?"])
    assert [event.event["choices"][0]["delta"].get("content") for event in done.events] == [
        "", "Hel", "lo.", " How are", " you?", None,
    ]  # fmt: skip


async def test_variants_rotate_over_the_conversation():
    one, state = policy(bound("says", Says("X", replace(REPLACE, say="turns")))), {}
    assert [(await run(one, ["X."], state=state)).text for _ in range(3)] == ["[one]", "[two]", "[one]"]


@pytest.mark.parametrize(
    ("when_broken", "sent", "heard"),
    [("closed", "One. [sorry] Three.", "[sorry]"), ("open", "One. X two. Three.", None)],
)
async def test_a_rail_that_fails_or_is_late_is_an_event(when_broken, sent, heard):
    for rail, how in ((Says("X", RuntimeError("X")), "RuntimeError"), (Says("X", Verdict(), 0.05), "late")):
        patience = 0.01 if how == "late" else 5.0  # a busy machine is late too
        one = policy(bound("bad", rail), when_broken=when_broken, late_after=patience)
        if how == "late":
            rail.seconds = 0.05
        line, listening = hearing(one, "X")
        assert (await listening).end == heard
        assert [(f.broken, f.verdict.act.value) for f in line.findings][0][0] == how
        if how != "late":
            done = await drive(one, "One. X two. Three.")
            assert done.text == sent


async def test_a_shadow_decides_changes_nothing_and_keeps_its_own_memory():
    verdict = Verdict(Act.END, say="bye", remember={"quiet": True})
    line, listening = hearing(policy(bound("says", Says("X", verdict), "shadow")), "X")
    heard = await listening
    assert (heard.end, heard.texts) == (None, ("X",))
    assert [(f.rail, f.mode, f.won) for f in line.findings] == [("says", "shadow", False)]
    assert line.turn.state == {"says:shadow": {"quiet": True}}


@pytest.mark.parametrize(("mode", "urgent"), [("enforce", True), ("shadow", False)])
async def test_alerts_are_told_whether_or_not_the_rail_is_in_shadow(mode, urgent):
    alert = Alert("selfharm", "high")
    verdict = Verdict(Act.END, say="crisis", fill={"help": "999"}, flags=frozenset({"alert"}), alert=alert)
    one = policy(bound("crisis", Says("X", verdict), mode))
    line, listening = hearing(replace(one, say={"crisis": {"en": ("Call {help}!",)}}), "X", "hello")
    heard = await listening
    assert [found.verdict.alert for found in line.findings] == [alert]
    assert (heard.urgent, heard.end) == (urgent, "Call 999!" if urgent else None)


async def test_what_was_heard_before_the_client_went_is_recorded_and_an_alert_remembered():
    danger = Verdict(Act.END, say="bye", alert=Alert("selfharm", "high"), remember={"at": 1.0})
    slow = Says("X", Verdict())
    slow.seconds = 30
    rails = [bound("crisis", Says("X", danger)), bound("mild", Says("X", END)), bound("slow", slow)]
    line, listening = hearing(policy(*rails), "X")
    listening = asyncio.create_task(listening)
    await asyncio.sleep(0.05)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert [(found.rail, found.won) for found in line.findings] == [("crisis", False), ("mild", False)]
    assert line.turn.state == {"crisis": {"at": 1.0}}


@pytest.mark.parametrize("marked", [True, False])
async def test_the_end_of_a_rail_that_looks_for_danger_is_urgent_without_an_alert_too(marked):
    danger, other = Says("X", Verdict(Act.END, say="crisis")), Says("Y", Verdict(Act.END, say="bye"))
    danger.urgent = marked
    for text, end, urgent in (("X", "[crisis]", marked), ("X Y", "[crisis]", marked), ("Y", "[bye]", False)):
        _, listening = hearing(policy(bound("danger", danger), bound("other", other)), text)
        heard = await listening
        assert (heard.end, heard.urgent) == (end, urgent)


async def test_an_overruled_verdict_is_recorded_and_not_remembered():
    rails = (
        bound("crisis", Says("X", Verdict(Act.END, say="crisis", flags=frozenset({"alert"})))),
        bound("stop", Says("X", Verdict(Act.END, say="bye", remember={"quiet": True}))),
    )
    line, listening = hearing(policy(*rails), "X")
    heard = await listening
    assert (heard.end, heard.urgent) == ("[crisis]", True)
    assert "stop" not in line.turn.state
    assert [f.rail for f in line.findings] == ["crisis", "stop"]


async def test_all_unanswered_messages_are_judged():
    one = policy(bound("says", Says("X", END)))
    for messages in (("X", "mmm"), ("mmm", "X"), ("X", "X")):
        assert (await hearing(one, *messages)[1]).end == "[bye]"
    assert (await hearing(one, "mmm", "hm")[1]).end is None


async def test_a_stop_taken_back_in_the_same_breath_does_not_end():
    kids = shipped("kids-buddy")
    assert (await hearing(kids, "stop")[1]).end is not None
    assert (await hearing(kids, "stop", "no wait, let's go on")[1]).end is None


async def test_what_is_stored_is_masked_whatever_the_modes():
    rail = Says("X", Verdict(Act.REDACT))
    for mode in ("enforce", "shadow", "off"):
        one = policy(bound("pii", rail, mode, masks=True))
        done = await drive(one, "One X two. Three.")
        assert done.text == ("One <WORD> two. Three." if mode == "enforce" else "One X two. Three.")
        assert done.stored == "One <WORD> two. Three."
        assert (await hearing(one, "an X")[1]).masked == ("an <WORD>",)


async def test_what_could_not_be_masked_is_stored_as_a_length():
    for rails in ((), (bound("pii", Says("X", RuntimeError()), masks=True),)):
        one = policy(*rails, when_broken="open")
        assert (await hearing(one, "an X")[1]).masked == ("<4 characters>",)


async def test_history_is_redacted_once():
    rail = Says("X", Verdict(Act.REDACT))
    calls = []

    async def counted(segment):
        calls.append(segment.text)
        return await Says.check(rail, segment)

    rail.check = counted
    line = Line(policy(bound("pii", rail)), Turn("t", "en"), Memo())
    messages = [Heard("user", "an X"), Heard("assistant", "ok")]
    await line.hear(messages[:1])
    assert await line.history(messages) == ["an <WORD>", "ok"]
    assert await line.history(messages) == ["an <WORD>", "ok"]
    assert calls == ["an X", "ok"]


class Seen:
    """A rail that covers the parts of a number that may stand in several messages, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    async def check(self, segment):
        self.asked.append((segment.before, segment.text, segment.after))
        around, offset = segment.around()
        spans = [Span(*found.span(), "WORD") for found in re.finditer(r"12\s34\s?5?", around.text)]
        spans = spans_within(spans, offset, len(segment.text))
        return Verdict(Act.REDACT, spans) if spans else Verdict()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("u:12 u:34", ["<WORD>", "<WORD>"]),
        ("u:12 u:34 u:5", ["<WORD>", "<WORD>", "<WORD>"]),
        ("u:12 t:x u:34", ["<WORD>", "x", "<WORD>"]),  # each speaker's own words are joined
        ("t:12 t:34", ["<WORD>", "<WORD>"]),
        ("u:12 t:34", ["12", "34"]),
        ("u:12 a: u:34", ["<WORD>", "", "<WORD>"]),  # a call without words is no answer
        ("u:12 a:ok u:34", ["12", "ok", "34"]),
        ("a:12 a:34", ["12", "34"]),
    ],
)
async def test_what_a_speaker_told_in_instalments(said, read):
    names = {"u": "user", "a": "assistant", "t": "tool"}
    messages = [Heard(names[one[0]], one[2:]) for one in said.split(" ")]
    rails = (bound("pii", Seen(), roles=("user", "assistant", "tool"), masks=True),)
    line = Line(policy(*rails), Turn("t", "en"), Memo())
    assert await line.history(messages) == read
    assert await line.masked(messages) == read
    assert list((await line.hear(messages)).texts) == read


async def test_the_memo_knows_what_stands_around_a_message():
    line = Line(policy(bound("pii", Seen())), Turn("t", "en"), Memo())
    for said, read in ((["12"], ["12"]), (["12", "34"], ["<WORD>", "<WORD>"]), (["34"], ["34"])):
        messages = [Heard("user", one) for one in said]
        assert await line.history(messages) == read
        assert list((await line.hear(messages)).texts) == read


async def test_what_stands_around_a_message_is_bounded():
    rail = Seen()
    line = Line(policy(bound("pii", rail)), Turn("t", "en"), Memo())
    await line.hear([Heard("user", one) for one in ("a" * 900, "b", "c" * 900)])
    assert rail.asked[1] == ("a" * 199 + "\n", "b", "\n" + "c" * 199)


async def test_escapes_of_a_tool_are_undone_for_the_rails_alone():
    line = Line(policy(bound("pii", Says("né", Verdict(Act.REDACT)), roles=("tool",))), Turn("t", "en"), Memo())
    message = Heard("tool", r'{"a": "Ren\u00e9 \u00e9"}')
    assert (await line.hear([message])).texts == (r'{"a": "Re<WORD> \u00e9"}',)
    assert await line.history([message]) == [r'{"a": "Re<WORD> \u00e9"}']


@pytest.mark.parametrize("method", ["hear", "history", "redacted_only", "masked"])
async def test_others_have_their_turn_between_two_messages(method):
    line = Line(policy(bound("pii", Says("X", Verdict()), masks=True)), Turn("t", "en"), Memo())
    judging = asyncio.create_task(getattr(line, method)([Heard("user", "a")] * 50))
    turns = 0
    while not judging.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 50


async def test_who_looks_for_danger_fails_to_the_childs_side_for_a_tool_too():
    rail = Says("X", RuntimeError())
    rail.when_broken = lambda _: Verdict(Act.END, say="crisis", flags=frozenset({"alert"}))
    line = Line(policy(bound("crisis", rail, roles=("tool",)), when_broken="open"), Turn("t", "en"), Memo())
    heard = await line.hear([Heard("tool", "X")])
    assert (heard.end, heard.urgent) == ("[crisis]", True)


async def test_house_lines_are_judged_by_the_shape_rails_sentence_by_sentence():
    kids = shipped("kids-buddy")
    done = await drive(kids, "Hi. Where do you live? One fish. Two birds. Three cats. Four dogs.")
    assert done.text.count(".") + done.text.count("!") <= 4


async def test_the_first_sentence_leaves_with_the_token_that_settles_it():
    """Law 1 and no more: nothing is held longer than its own segment."""
    answer = Answer(Line(shipped("kids-buddy"), Turn("t", "en"), Memo()))
    tokens = ["The", " bear", " is", " here", ".", " He", " sings", "."]
    left = [[piece.end for piece in await answer.feed(token)] for token in tokens]
    assert left == [[], [], [], [], [], [len("The bear is here.")], [], []]


def test_a_fork_knows_what_was_found_of_the_users_side_and_keeps_its_own():
    line = Line(policy(), Turn("t", "en", memo={"suspected": True}, state={"a": {"b": 1}}), Memo())
    fork = line.fork()
    fork.turn.memo["more"] = fork.turn.state["a"]["b"] = 2
    assert (line.turn.memo, line.turn.state) == ({"suspected": True}, {"a": {"b": 1}})
    assert fork.turn.memo == {"suspected": True, "more": 2}
