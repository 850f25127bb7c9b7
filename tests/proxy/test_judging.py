"""A segment before the rails: no escape hides anything, however deep, and what is found is redacted where it stands."""

import json

import pytest
from saying import zoo

from proxy.judging import content, shaped
from proxy.line import Line
from proxy.memo import Memo
from proxy.turn import Segment, Turn
from proxy.wire.escapes import layers, unescaped


def line():
    return Line(zoo(), Turn("t1", "en", "", 1000.0, {}), Memo())


async def left(text, before=""):
    """What leaves of a segment; None: a rail takes its place."""
    one = line()
    judged = await content(one, Segment("assistant", text, one.turn, before), 0, 0)
    stored = judged.masked
    if judged.winner is not None:
        return None, stored
    return one.redacted(text, judged.effect.spans, "en"), stored


def deep(text, levels):
    """JSON in a string of JSON in a string ..., its characters all escaped."""
    escaped = "".join(f"\\u{ord(one):04x}" for one in text)
    for _ in range(levels):
        escaped = json.dumps(escaped)[1:-1]
    return escaped


@pytest.mark.parametrize("levels", range(6))
async def test_no_escape_hides_a_phrase_or_a_datum(levels):
    assert (await left(f'It is "{deep("my zebra", levels)}" now.'))[0] is None
    found, stored = await left(f'Write to "{deep("tom@mail.com", levels)}" now.')
    assert found == 'Write to "<EMAIL_ADDRESS>" now.'
    assert "tom" not in stored


async def test_what_stands_before_is_read_without_escapes_too():
    assert (await left("z\\u0065bra now.", "It is m\\u0079 "))[0] is None


@pytest.mark.parametrize("text", ["It is \\usepackage.", "C:\\new \\u12", "a \\u0061 and \\ud83d too", "plain"])
async def test_what_holds_nothing_leaves_as_it_stands(text):
    assert await left(text) == (text, text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", []),
        ("\\u0061", ["a"]),
        ("\\\\u0061", ["\\u0061", "a"]),
        ("\\u005cu0061", ["\\u0061", "a"]),
        ("\\ud83d\\ude00 \\ud83d", ["\U0001f600 \ufffd"]),
    ],
)
def test_layers(text, found):
    assert [plain.text for plain in layers(text)] == found
    for plain in layers(text):
        assert plain.span(0, len(plain.text)) == (0, len(text))


def test_offsets_are_those_of_the_text():
    assert unescaped("a\\u0062c").span(1, 2) == (1, 7)
    *_, last = layers("a\\\\u0062c")
    assert (last.text, last.span(1, 2)) == ("abc", (1, 8))


async def test_shape_rails_see_single_sentences():
    one = Line(zoo(more="  - {id: clamp, rail: clamp, why: one is enough, sentences: 1}"), line().turn, Memo())
    segment = Segment("assistant", "One bear. Two bears. Three.", one.turn)
    text, ends = await shaped(one, segment, segment.text, 0)
    assert (text.strip(), ends) == ("One bear.", True)
