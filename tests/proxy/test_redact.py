"""Stand-ins over spans, with Korean endings that agree."""

import pytest

from proxy.redact import mask, put_over, union
from proxy.turn import Span

STAND_INS = {"PERSON": "내 친구", "PLACE": "어떤 곳", "EMAIL": "<EMAIL>"}


@pytest.mark.parametrize(
    ("text", "datum", "entity", "expected"),
    [
        ("나는 김민준이야", "김민준", "PERSON", "나는 내 친구야"),
        ("지우가 왔어", "지우", "PLACE", "어떤 곳이 왔어"),
        ("지우는 착해", "지우", "PLACE", "어떤 곳은 착해"),
        ("서울을 좋아해", "서울", "PERSON", "내 친구를 좋아해"),
        ("민준이랑 놀았어", "민준", "PERSON", "내 친구랑 놀았어"),
        ("김민준이에요.", "김민준", "PERSON", "내 친구예요."),
        ("지우이모가 왔어", "지우", "PLACE", "어떤 곳이모가 왔어"),  # no particle: another word
        ("서울로 갔어", "서울", "PLACE", "어떤 곳으로 갔어"),
        ("write to a@b.it now", "a@b.it", "EMAIL", "write to <EMAIL> now"),
    ],
)
def test_redacted(text, datum, entity, expected):
    start = text.index(datum)
    assert put_over(text, [Span(start, start + len(datum), entity)], STAND_INS.__getitem__) == expected


def test_overlapping_spans_are_one():
    spans = [Span(5, 9, "B"), Span(0, 6, "A"), Span(12, 14, "C")]
    assert union(spans) == (Span(0, 9, "A"), Span(12, 14, "C"))
    assert put_over("abcdefghijklmnop", spans, mask) == "<A>jkl<C>op"
