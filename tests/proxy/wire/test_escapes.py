"""Escapes undone, with the way back; and half characters made whole."""

import json

import pytest

from proxy.wire.escapes import undone, whole

HELLO = "안녕 😀"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (json.dumps({"t": HELLO}), '{"t": "안녕 😀"}'),
        (json.dumps([json.dumps({"t": HELLO})]), '["{"t": "안녕 😀"}"]'),
        (json.dumps(json.dumps(json.dumps(HELLO))), '"""안녕 😀"""'),
        (r'{"t": "a\nb\/c\""}', '{"t": "a\nb/c""}'),
        (r"so \uc548\ub155", "so 안녕"),  # no JSON, and no word either
        (r"\ud83d", "\ufffd"),
        (r"C:\temp\new", r"C:\temp\new"),  # nothing tells that these are escapes
        (r'{"cut": "\uc5', r'{"cut": "\uc5'),
        ("안녕", "안녕"),
        ("", ""),
    ],
)
def test_what_is_read(text, read):
    assert undone(text).text == read


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_way_back(levels):
    text = "my name is 민지 😀."
    for _ in range(levels):
        text = json.dumps(text)
    found = undone(text)
    start = found.text.index("민지")
    low, high = found.span(start, start + 2)
    left = text[:low] + "X" + text[high:]
    for _ in range(levels):
        left = json.loads(left)
    assert left == "my name is X 😀."


@pytest.mark.parametrize(
    ("json_text", "left"),
    [
        (r'"\ud83d\ude00"', r'"\ud83d\ude00"'),
        (r'"\ud83d"', r'"\ufffd"'),
        (r'"\uDE00 \uD83D"', r'"\ufffd \ufffd"'),
        (r'"\\ud83d"', r'"\\ud83d"'),
        (r'"\\\ud83d"', r'"\\\ufffd"'),
        ("\\", "\\"),
    ],
)
def test_half_a_pair(json_text, left):
    assert whole(json_text) == left
