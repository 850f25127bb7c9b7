"""Phrase lists: what hits, what is explained away, and where the hit stands in the original."""

import time
import unicodedata

import pytest

from proxy.phrases import Phrases
from proxy.text import plain

STOP = Phrases(
    {
        "en": ["stop", "i'm done", "light ... candle"],
        "it": ["basta", "non voglio più", "smettila"],
        "ko": ["그만", "자고 싶어"],
    },
    {"en": ["bus stop"], "it": ["basta che"], "ko": ["그만큼"]},
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Stop!", "Stop"), ("please STOP now", "STOP"), ("i’m done", "i'm done"), ("Basta, ho sonno", "Basta"),
        ("NON  VOGLIO PIU", "NON  VOGLIO PIU"), ("non voglio piu'", "non voglio piu'"), ("그만할래", "그만"), ("나 이제 그만", "그만"),
        ("자고싶어", "자고싶어"), ("light the red candle", "light the red candle"), ("light candle", "light candle"),
        ("the bus stop, stop", "stop"), ("s\u200btop", "stop"), ("ｓｔｏｐ", "stop"), (unicodedata.normalize("NFD", "그만"), "그만"),
    ],
)  # fmt: skip
def test_hits(text, words):
    hit = STOP.find(plain(text))
    assert hit is not None
    assert hit.words == words


@pytest.mark.parametrize(
    "text",
    ["bus stop", "abbastanza", "basta che vinco io", "그만큼 좋아", "하늘만큼 그만큼", "stopping", "nonstop", "", "이제그만두",
     "light a fire and then much later a candle"],
)  # fmt: skip
def test_misses(text):
    assert STOP.find(plain(text)) is None


def test_all_hits_and_no_excused_one():
    text = plain("stop at the bus stop, basta")
    assert [(hit.start, hit.words) for hit in STOP.hits(text)] == [(0, "stop"), (22, "basta")]


def test_an_accent_in_the_first_letter_is_optional():
    phrases = Phrases({"it": ["è ora", "eccoci", "È tardi"]})
    found = [phrases.find(plain(text)) for text in ("E ora", "È ora", "e' ora", "Eccoci", "e tardi", "o ora")]
    assert [hit.words if hit else None for hit in found] == ["E ora", "È ora", "e' ora", "Eccoci", "e tardi", None]


def test_a_hostile_text_costs_little():
    before = time.perf_counter()
    for part in ("a ", "stop", "bus stop ", "light ", "그만큼 ", "e\u0301\u200b "):
        STOP.find(plain(part * (300_000 // len(part))))
    assert time.perf_counter() - before < 5.0


def test_the_span_is_of_the_original():
    text = "oh, s\u200bt\u200bop now"
    hit = STOP.find(plain(text))
    assert hit is not None
    assert text[hit.start : hit.end] == "s\u200bt\u200bop"


def test_hits_before_an_offset_are_passed_over():
    text = plain("stop it and stop")
    hit = STOP.find(text, since=6)
    assert hit is not None
    assert hit.start == 12
