"""JSON mode: valid before, valid after, or a refusal; nothing of it leaves in parts."""

import json

import pytest
from drive import chunked
from house import shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import FALLBACK, OTHER, chunk, said, zoo

from proxy import document

MAIL, MASKED = '{"to": "tom@mail.com", "n": [1, "x"]}', '{"to": "<EMAIL_ADDRESS>", "n": [1, "x"]}'


def told(text, finish="stop", **more):
    return [chunk(role="assistant", content=""), *(chunk(content=one) for one in text), chunk(finish, **more)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a" :\t1}\n', '{"a" :\t1}\n'),
        ('"Rome"', '"Rome"'),
        (MAIL, MASKED),
        ('{"to": "tom\\u0040mail.com"}', '{"to": "<EMAIL_ADDRESS>"}'),
        ("Here is the mail: tom@mail.com", "Here is the mail: <EMAIL_ADDRESS>"),
        ('{"mark": "<tool_call>{}</tool_call>"}', '{"mark": "<tool_call>{}</tool_call>"}'),
    ],
)
async def test_a_document_leaves_whole_however_it_comes(text, expected):
    for chunks in ([text], list(text), chunked(text, 1)):
        found = await said(told(chunks), json=True)
        assert (found.message, found.finish) == ({"role": "assistant", "content": expected}, "stop")
        assert (found.voice.answer.sent, "".join(found.voice.answer.stored)) == (expected, expected)


async def test_nothing_leaves_before_the_end_and_untouched_events_leave_as_they_came():
    chunks = told(list('{"a": "b. c"}'))
    found = await said(chunks, json=True)
    assert [one.raw for one in found.events] == [one.raw for one in chunks]


@pytest.mark.parametrize(
    ("text", "policy", "line"),
    [
        ('{"a": "my zebra"}', zoo(), OTHER),
        ('{"a": "my zebra"}', zoo(say=""), FALLBACK),
        ('{"a": "my", "b": "zebra"}', zoo(), OTHER),
        ('{"a": "my zeb\\u0072a', zoo(), OTHER),
        ("This is my zebra", zoo(), OTHER),
        # a call that is no JSON mode's answer, of a function that nobody offered
        ('<tool_call>{"name": "shell"}</tool_call>', zoo(), FALLBACK),
        ('Well. <tool_call>{"name": "shell"}', zoo(), FALLBACK),
    ],
)
async def test_a_blocked_document_is_a_refusal(text, policy, line):
    for chunks in ([text], list(text)):
        found = await said(told(chunks), policy, json=True)
        assert (found.message, found.finish) == ({"role": "assistant", "content": None, "refusal": line}, "stop")
        assert "zebra" not in str([one.raw for one in found.events])
        assert (found.voice.answer.sent, found.voice.stored()) == (line, [line])


async def test_one_that_is_too_long_is_refused_and_cancelled(monkeypatch):
    monkeypatch.setattr(document, "_LONGEST", 20)
    found = await said(told(['{"a": "', "x" * 40, '"}']), json=True)
    assert found.voice.ended
    assert (found.message["content"], found.message["refusal"], found.finish) == (None, FALLBACK, "stop")
    assert found.voice.answer.masked == ["<47 characters>"]


async def test_a_document_that_the_token_limit_cut_is_judged_as_text():
    found = await said(told(['{"to": "tom@mail.com", "te'], "length"), json=True)
    assert (found.message["content"], found.finish) == ('{"to": "<EMAIL_ADDRESS>", "te', "length")


async def test_an_empty_one_stays_empty_but_for_a_child():
    assert (await said(told([]), json=True)).message == {"role": "assistant", "content": ""}
    assert (await said(told([]), shipped("kids-buddy"), json=True)).message["refusal"]


TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["tom@mail.com", "Write to tom@mail.com, 010-1234-5678.", "my zebra"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(VALUES, st.booleans(), st.integers(0, 99), st.booleans())
async def test_property_valid_before_valid_after_or_refused(value, ascii_only, seed, ours):
    text = json.dumps(value, ensure_ascii=ascii_only)
    policy = zoo() if ours else shipped("general")
    whole = await said(told([text]), policy, json=True)
    pieces = await said(told(chunked(text, seed)), policy, json=True)
    assert (pieces.message, pieces.finish) == (whole.message, whole.finish)
    left = whole.message["content"]
    if left is None:
        assert whole.message["refusal"]
    else:
        json.loads(left)
        assert "tom@mail" not in left
        assert left == text or whole.acts
