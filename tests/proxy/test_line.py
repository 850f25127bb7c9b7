"""The line and its laws, on the shipped policies and on rails made to break."""

import asyncio
import re
from dataclasses import replace
from functools import cache

import pytest
from drive import drive, run
from house import shipped
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer import Answer
from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.model import Bound
from proxy.turn import Act, Heard, Segment, Span, Turn, Verdict, spans_within

POLICIES = ["kids-buddy", "general", "observe"]


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
    return replace(
        shipped("general"), rails=rails, say=lines, steer={"calm": {"en": ("be calm",)}}, stand_ins={}, **more
    )


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
    rail.when_broken = Verdict(Act.END, say="crisis", flags=frozenset({"alert"}))
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


# -- property tests ----------------------------------------------------------------------------------------------------

WORDS = {
    "en": "the bear sleeps in a cave, Where do you live? What's your name? Let's light a real candle! Stop. I am Dr. "
    "Smith at 3.5 p.m. Call 555-014-2777. Mail tom@mail.com. You win! Yes. Jump from the sofa! 1. 2) Hmm... ok",
    "it": "l'orso dorme, Come ti chiami? Dove abiti? Accendi una candela vera! Basta. Ciao! via Garibaldi 12. sig.ra "
    "Rossi ecc. Chiama 333 123 4567. Scrivi a anna@posta.it. Che bello! Sì. Salta dal divano! Vuoi giocare?",
    "ko": "곰이 자요. 이름이 뭐야? 어디 살아? 촛불을 켜 보자! 그만. 안녕~ 전화는 010-1234-5678이야. 같이 놀자! 음... 그래 "
    "소파에서 뛰어내려! 뭐 할까? 좋아요. tom@mail.com 으로 보내",
}
TEXTS = st.one_of(
    [
        st.lists(
            st.sampled_from([*words.split(), "\n", "  ", "😊", "\u200b", "```", "010-1234-\n5678", "x" * 90]),
            max_size=40,
        ).map(" ".join)
        for words in WORDS.values()
    ]
)


@cache
def scripted_answers():
    from proxy.backends._buddy import reply

    asked = [
        "tell me a story",
        "my name?",
        "candle",
        "jump",
        "phone",
        "raccontami una storia",
        "dove abiti",
        "동화",
        "전화",
    ]
    return [reply([{"role": "user", "content": one}] * turns) for one in asked for turns in (1, 3, 5)]


@pytest.mark.parametrize("name", POLICIES)
@given(text=TEXTS, language=st.sampled_from(["en", "it", "ko"]))
def test_property_no_chunking_changes_what_leaves(name, text, language):
    asyncio.run(drive(shipped(name), text, seeds=1, language=language))


@pytest.mark.parametrize("name", POLICIES)
def test_recorded_answers_leave_alike_however_they_are_cut(name):
    for text in scripted_answers():
        asyncio.run(drive(shipped(name), text, seeds=4))


PROSE = {
    "en": ["The bear is here.", "we play", "Yes!", "Come in,", "one", "two"],
    "it": ["L'orso è qui.", "noi giochiamo", "Sì!", "vieni,", "uno"],
    "ko": ["곰이 왔어.", "같이 놀자", "응!", "그리고"],
}
DATA = [
    "call 010-1234-5678 now", "mail tom.baker@mail.com please", "my name is Oliver Baker", "mi chiamo Giulia Rossi",
    "내 이름은 김민준이야", "I live at 12 Oak Street", "abito in via Garibaldi 12", "chiama il 333 123 4567", "my card is 4111 1111 1111 1111",
    "tom chiocciola gmail. com ciao", "gildong 골뱅이 naver. com", "tom@ Gmail.com", "0️⃣1️⃣0️⃣ 9️⃣2️⃣3️⃣4️⃣ 5️⃣6️⃣7️⃣8️⃣ ok", "my ssn 078-05 -1120 ok",
    "call (010 ) 1234 5678 ok", "my teacher is Miss. Baker", "via Garibaldi n. 12 oggi", "call 333 123.\n4567 ok", "i go to Green Hill primary school", "우리 학교는 한빛초등학교야", "see www.tommy-baker.it now",
]  # fmt: skip


SEAMS = st.lists(st.sampled_from([" ", "\n", "  "]), min_size=14, max_size=14)


def joined(parts, seams):
    return "".join(part + seam for part, seam in zip(parts, seams, strict=False))


@given(
    st.lists(
        st.one_of(
            st.builds(joined, st.sampled_from(DATA).map(str.split), SEAMS),
            *(st.sampled_from(prose) for prose in PROSE.values()),
        ),
        max_size=14,
    ),
    SEAMS,
)
def test_property_no_part_of_a_datum_leaves(parts, seams):
    """What the detectors find in the uncut text never leaves, wherever the segmenter cut and whatever the chunking."""
    text = joined(parts, seams)
    general = shipped("kids-buddy")
    pii = next(one for one in general.rails if one.masks)
    alone = replace(general, rails=(pii,), stand_ins={})

    async def check():
        verdict = await pii.rail.check(Segment("assistant", text, Turn("t", "en"), last=True))
        done = await drive(alone, text, seeds=1)
        for span in verdict.spans:
            datum = text[span.start : span.end]
            parts = [datum, *(word for word in datum.split() if len(word) > 3 or re.search(r"\d", word))]
            assert not [part for part in parts if done.text.count(part) > _elsewhere(text, verdict.spans, part)]

    asyncio.run(check())


def _elsewhere(text, spans, word):
    """How often a word stands in the text outside of every span."""
    outside, position = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        outside.append(text[position : span.start])
        position = span.end
    return " \0 ".join([*outside, text[position:]]).count(word)
