"""The normal form and the way back, the language of a text, and what asks."""

import unicodedata

import pytest

from proxy.text import guess_language, is_json, is_question, plain, without_accents

ALL = ("en", "it", "ko")


@pytest.mark.parametrize(
    ("text", "flat", "piece", "original"),
    [
        ("call 010-1234", "call 010-1234", "010-1234", "010-1234"),
        ("call ０１０-1234", "call 010-1234", "010-1234", "０１０-1234"),
        ("s\u200bt\u200bop", "stop", "stop", "s\u200bt\u200bop"),
        ("don\u2019t stop", "don't stop", "don't", "don\u2019t"),
        (unicodedata.normalize("NFD", "나 그만할래"), "나 그만할래", "그만", unicodedata.normalize("NFD", "그만")),
        (unicodedata.normalize("NFD", "più sù"), "più sù", "sù", unicodedata.normalize("NFD", "sù")),
        ("ﬁre now", "fire now", "fire", "ﬁre"),
        ("abc e\u0300 vero, 가나\u11a8 ok", "abc è vero, 가낙 ok", "è vero, 가낙", "e\u0300 vero, 가나\u11a8"),
    ],
)
def test_plain_finds_the_way_back(text, flat, piece, original):
    found = plain(text)
    assert found.text == flat
    start = flat.index(piece)
    low, high = found.span(start, start + len(piece))
    assert text[low:high] == original


def test_without_accents():
    assert without_accents("perché no, più 그만") == "perche no, piu 그만"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello, can you tell me a story?", "en"),
        ("ciao mi racconti una storia", "it"),
        ("che bello il drago", "it"),
        ("곰돌이 이야기 해줘", "ko"),
        ("나 pizza 먹었어", "ko"),
        ("010-1234-5678로 전화해 줘", "ko"),
        ("buddy@example.com으로 편지 보내 줘", "ko"),
        ("vado a Torino", "it"),
        ("Posso chiamarti?", "it"),
        ("Dipingiamo insieme", "it"),
        ("basta!", "it"),
        ("Raccontami dell'orso", "it"),
        ("L'acqua!", "it"),
        ("Dov'è Bruno?", "it"),
        ("Mia told me what he said", "en"),
        ("Let's go, Mia said", "en"),
        ("I go to Torino with you", "en"),
        ("i want to play", "en"),
    ],
)
def test_language(text, language):
    others = [one for one in ALL if one != language]
    assert guess_language(text, ALL, others[0]) == language


@pytest.mark.parametrize("text", ["stop", "", "12345", "Bruno"])
def test_what_tells_no_language_keeps_the_session_s(text):
    assert [guess_language(text, ALL, known) for known in ALL] == list(ALL)


def test_a_policy_of_one_language_is_never_guessed():
    assert guess_language("ciao come stai", ("en",), "en") == "en"


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("How are you?", True), ("Ready? 😊 ", True), ('"Who?" ', True), ("Really?!", True), ("뭐 할까？", True), ("우리 뭐 할까", True),
        ("هل نلعب؟", True), ("같이 놀래?", True), ("뭐 먹었니", True), ("어때.", True),
        ('He asked "who?" and left.', False), ("Fine.", False), ("또 만나요!", False), ("그러니까.", False), ("이건 내 노래.", False),
        ("우리 할머니.", False), ("나는 버디야.", False), ("너 어디야", True), ("별이 빛나요.", False), ("", False),
    ],
)  # fmt: skip
def test_is_question(text, asks):
    assert is_question(text) is asks


@pytest.mark.parametrize(
    ("text", "json"),
    [("{}", True), (' [1, "a"] ', True), ("1", True), ("", False), ("{'a': 1}", False), ("NaN", False)],
)
def test_what_json_is(text, json):
    assert is_json(text) is json
