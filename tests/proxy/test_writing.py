"""What a rail writes in the place of a text: it is judged by the others, and nobody reads what stood there."""

from dataclasses import replace

import pytest
from drive import drive
from test_line import Says, bound, policy

from proxy.line import Line
from proxy.memo import Memo
from proxy.turn import Act, Heard, Span, Turn, Verdict, spans_within


class Writes:
    """A rail that writes `new` in the place of `old`, wherever that stands; it sees what flows see: its session."""

    def __init__(self, old, new, say="", act=Act.REPLACE):
        self.old, self.new, self.say, self.act, self.asked = old, new, say, act, 0

    async def check(self, segment):
        self.asked += 1
        if self.old not in segment.text:
            return Verdict()
        new = segment.turn.session if self.new is None else self.new
        return Verdict(self.act, say=self.say, text=segment.text.replace(self.old, new), why="w")


ROLES = ("user", "assistant", "tool")


def wrote(old="bad", new="good", **more):
    return bound("writes", Writes(old, new, **more), roles=ROLES)


REDACTS = bound("redacts", Says("SECRET", Verdict(Act.REDACT)), roles=ROLES, masks=True)
DROPS = bound("drops", Says("ugly", Verdict(Act.DROP)))
REPLACES = bound("replaces", Says("ugly", Verdict(Act.REPLACE, say="b")))
ENDS = bound("ends", Says("ugly", Verdict(Act.END, say="bye")))


@pytest.mark.parametrize(
    ("rails", "text", "sent"),
    [
        ([wrote()], "One. A bad two. Three.", "One. A good two. Three."),
        ([wrote(say="a")], "One. A bad two. Three.", "One. [a] A good two. Three."),
        ([wrote(say="a")], "A bad one. A bad two.", "[a] A good one. A good two."),  # a line is said once
        ([wrote(new="bad", say="a")], "One. A bad two.", "One. [a] A bad two."),
        ([wrote(act=Act.END, say="a")], "One. A bad two. Three.", "One. [a] A good two."),
        # what was written is judged by the others
        ([wrote(new="SECRET"), REDACTS], "A bad one. Two.", "A <WORD> one. Two."),
        ([REDACTS, wrote()], "A bad SECRET one.", "A good <WORD> one."),
        ([wrote(new="ugly"), DROPS], "One. A bad two. Three.", "One. Three."),
        ([wrote(new="ugly", say="a"), REPLACES], "One. A bad two. Three.", "One. [a] [b] Three."),
        ([wrote(new="ugly"), ENDS], "One. A bad two. Three.", "One. [bye]"),
        # the first in policy order has the word; two writers write one after the other
        ([DROPS, wrote()], "A bad ugly one. Two.", "Two."),
        ([wrote(), bound("again", Writes("good", "best"), roles=ROLES)], "A bad one.", "A best one."),
        ([wrote("a", "bb"), bound("again", Writes("b", "a"), roles=ROLES)], "a.", "aa."),  # and not for ever
    ],
)
async def test_what_a_rail_writes_leaves_as_the_others_leave_it(rails, text, sent):
    assert (await drive(policy(*rails), text)).text == sent


@pytest.mark.parametrize(
    ("rails", "text", "stored"),
    [
        ([wrote(), REDACTS], "A bad one.", "A good one."),
        ([wrote(new="SECRET"), REDACTS], "A bad one.", "A <WORD> one."),
        ([wrote(new="SECRET"), replace(REDACTS, mode="off")], "A bad one.", "A <WORD> one."),
        ([wrote()], "A bad one.", "<11 characters>"),  # no rail masks
    ],
)
async def test_what_was_written_is_stored_masked(rails, text, stored):
    assert (await drive(policy(*rails), text)).stored == stored


def hearing(*rails, session="s", memo=None, language="en", **more):
    given = policy(*(replace(rail, of_session=True) for rail in rails), **more)
    return Line(given, Turn("t", language, session=session), memo or Memo())


@pytest.mark.parametrize(
    ("rails", "text", "read"),
    [
        ([wrote()], "a bad word", "a good word"),
        ([wrote(new="SECRET"), REDACTS], "a bad word", "a <WORD> word"),
        ([wrote(say="a")], "a bad word", "[a] a good word"),
        ([REDACTS], "a SECRET", "a <WORD>"),
    ],
)
async def test_the_model_reads_what_was_written_also_in_later_turns(rails, text, read):
    memo = Memo()
    for role in ("user", "tool"):
        heard = await hearing(*rails, memo=memo).hear([Heard(role, text)])
        assert heard.texts == (read,)
        assert heard.end is None
    for memory in (memo, Memo()):  # from the memo, and where it was lost
        later = await hearing(*rails, memo=memory).history([Heard("user", text)])
        assert later == [read.removeprefix("[a] ")]


async def test_an_answer_of_the_past_is_not_written_again():
    assert await hearing(wrote()).history([Heard("assistant", "a bad word")]) == ["a bad word"]


async def test_a_session_never_reads_what_was_written_for_another():
    memo, rail = Memo(), Writes("me", None)
    rails = [bound("writes", rail, roles=ROLES)]
    for session in ("anna", "ben", "anna"):
        assert (await hearing(*rails, session=session, memo=memo).history([Heard("user", "me")])) == [session]
    assert rail.asked == 2  # the third time it was known


@pytest.mark.parametrize(
    ("verdict", "rails", "end"),
    [
        (Verdict(Act.END, say="a", text="Well, hello."), [], "[a] Well, hello."),
        (Verdict(Act.END, text="Well, hello."), [], "Well, hello."),
        (Verdict(Act.END, text="A SECRET."), [REDACTS], "A <WORD>."),  # it is said to the user: the rails judge it
        (Verdict(Act.END, text="An ugly word."), [REPLACES], "[b]"),
        (Verdict(Act.END, text="An ugly word."), [DROPS], "[fallback]"),
        (Verdict(Act.END), [], "[fallback]"),
    ],
)
async def test_an_end_may_have_words_of_its_own(verdict, rails, end):
    heard = await hearing(bound("ends", Says("X", verdict)), *rails).hear([Heard("user", "X")])
    assert heard.end == end


async def test_a_finding_on_what_was_written_names_no_place_in_the_text():
    line = hearing(wrote(new="SECRET"), REDACTS)
    await line.hear([Heard("user", "a bad word")])
    assert [(one.rail, one.won, one.verdict.spans) for one in line.findings] == [
        ("writes", True, ()),
        ("redacts", True, ()),
    ]


class Appends:
    """A rail that puts a mark behind every text: none stays as it came."""

    async def check(self, segment):
        return Verdict(Act.REPLACE, text=f"{segment.text.rstrip()}~ ")


class Finds:
    """A rail that redacts a datum which may lie over a seam."""

    def __init__(self, datum):
        self.datum = datum

    async def check(self, segment):
        around, offset = segment.before + segment.text + segment.after, len(segment.before)
        start = around.find(self.datum)
        spans = (
            spans_within([Span(start, start + len(self.datum), "ID")], offset, len(segment.text)) if start >= 0 else ()
        )
        return Verdict(Act.REDACT, spans) if spans else Verdict()


APPENDS = bound("appends", Appends(), roles=ROLES)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("Call 212-555 now.", "Call <ID> now.~"),
        ("Call 212-\\u0035\\u0035\\u0035 now.", "Call <ID> now.~"),  # spelt so that no rail should see it
        ("One. Call 212-555 now. Two.", "One.~ Call <ID> now.~ Two.~"),
    ],
)
async def test_no_datum_gets_through_because_a_rail_writes(text, sent):
    found = bound("finds", Finds("212-555"), roles=ROLES, masks=True)
    for rails in ([APPENDS, found], [found, APPENDS]):
        assert (await drive(policy(*rails), text)).text == sent


async def test_a_datum_over_two_messages_stays_covered():
    found = bound("finds", Finds("212-\n555"), roles=ROLES, masks=True)
    said = [Heard("user", "it is 212-"), Heard("user", "555, ok?")]
    for rails in ([APPENDS, found], [found, APPENDS]):
        for_now = await hearing(*rails).hear(said)
        later = await hearing(*rails).history(said)
        assert ([one.strip() for one in for_now.texts], [one.strip() for one in later]) == (
            ["it is <ID>~", "<ID>, ok?~"],
            ["it is <ID>~", "<ID>, ok?~"],
        )


async def test_a_turn_keeps_no_beginning_of_its_answer():
    line = hearing(bound("says", Says("X", Verdict())))
    for text in ("One. ", "Two. "):  # equal but for how much stands before, of which the ends are alike
        for before in ("a" * 5000, "a" * 6000, "a" * 5000 + "b"):
            await line.content(replace(segment(line, text), before=before), 0, 0)
    kept = [key for key in line.turn.memo if key[0] == "verdict"]
    assert len(kept) == 6
    assert max(len(part) for key in kept for part in key if isinstance(part, str)) <= 300


@pytest.mark.parametrize("verdict", [Verdict(Act.DROP), Verdict(Act.REPLACE, say="a")])
async def test_what_a_rail_took_away_stays_away(verdict):
    memo = Memo()
    heard = await hearing(bound("drops", Says("X", verdict)), memo=memo).hear([Heard("user", "X marks it")])
    assert heard.texts == ("[a]" if verdict.say else "",)
    for memory in (memo, Memo()):
        assert await hearing(bound("drops", Says("X", verdict)), memo=memory).history(
            [Heard("user", "X marks it")]
        ) == [""]


async def test_an_end_behind_a_rail_that_writes_is_remembered():
    """The goodbye is said, and the latch holds."""
    stops = bound("stops", Says("stop", Verdict(Act.END, say="bye", remember={"quiet": True})))
    later = bound("later", Says("stop", Verdict(Act.END, say="b", remember={"seen": True})))
    line = hearing(wrote(), stops, later)
    heard = await line.hear([Heard("user", "stop that bad thing")])
    assert (heard.end, line.turn.recall("stops"), line.turn.recall("later")) == ("[bye]", {"quiet": True}, {})


@pytest.mark.parametrize(
    ("holds", "hold"), [([""], "sentence"), (["clause"], "sentence"), (["message", "sentence"], "message")]
)
async def test_an_answer_is_held_as_long_as_a_rail_asks(holds, hold):
    rails = [bound(f"h{n}", Says("X", Verdict(hold=one))) for n, one in enumerate(holds)]
    line = hearing(*rails)
    await line.hear([Heard("user", "X")])
    assert (line.hold, line.fork().hold) == (hold, hold)


@pytest.mark.parametrize(("second", "end"), [(Verdict(), "[bye]"), (Verdict(resumes=True), None)])
async def test_only_the_rail_itself_takes_its_end_back(second, end):
    class Stops:
        async def check(self, segment):
            return Verdict(Act.END, say="bye") if segment.text == "stop" else replace(second, remember={"n": 1})

    heard = await hearing(bound("stops", Stops())).hear([Heard("user", "stop"), Heard("user", "go on")])
    assert heard.end == end


async def test_a_line_in_front_of_a_sentence_keeps_its_spans():
    line = hearing(wrote(new="bad", say="a"), REDACTS)
    judged = await line.content(segment(line, "A bad SECRET."), 0, 0)
    assert (judged.says, judged.text) == (("a",), "A bad <WORD>.")
    assert Span(6, 12, "WORD") in judged.effect.spans


def segment(line, text):
    from proxy.turn import Segment

    return Segment("assistant", text, line.turn, last=True)
